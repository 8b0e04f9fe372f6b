//! What the typed side says about its rows: exact sums by currency, and the month of each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, TimestampMicrosecondType};

use crate::model::{Currency, MoneyColumn, Month, Texts, Totals};

use super::dates::MICROS_PER_DAY;

/// Sums each money column by currency. Currency codes are trimmed and upper-cased, in the sums alone.
pub(super) fn sum(money: &[MoneyColumn], fields: &[Arc<Field>], columns: &[ArrayRef], rows: usize) -> Totals {
    let mut totals = Totals { rows: rows as u64, ..Totals::default() };
    let array_of = |name: &str| {
        fields.iter().zip(columns).find(|(field, _)| field.name() == name).map(|(_, column)| column)
    };
    for column in money {
        let Some(amounts) = array_of(&column.name).filter(|amounts| amounts.null_count() < rows) else {
            continue;
        };
        let amounts = amounts.as_primitive::<Decimal128Type>();
        match &column.currency {
            Currency::Fixed(code) => {
                let sum = amounts.iter().flatten().fold(0i128, i128::saturating_add);
                totals.add(&column.name, code, sum);
            }
            Currency::Column(name) => {
                for (code, sum) in
                    array_of(name).and_then(Texts::of).map_or_else(Vec::new, |codes| by_code(amounts, codes))
                {
                    // Two spellings of one code meet here.
                    totals.add(&column.name, &code.trim_ascii().to_ascii_uppercase(), sum);
                }
            }
        }
    }
    totals
}

/// Sums by the code as it stands. A file has few currencies, and neighbours mostly share one: a list is enough.
/// Amounts without a code are summed by themselves: transaction columns are blank by design on adjustments.
fn by_code<'a>(amounts: &Decimal128Array, codes: Texts<'a>) -> Vec<(&'a str, i128)> {
    let mut sums: Vec<(&str, i128)> = Vec::new();
    let mut last = 0;
    for row in 0..amounts.len() {
        let code = codes.get(row);
        if amounts.is_null(row) || (code.is_none() && amounts.value(row) == 0) {
            continue;
        }
        let code = code.unwrap_or_default();
        if sums.get(last).is_none_or(|(known, _)| *known != code) {
            last = sums.iter().position(|(known, _)| *known == code).unwrap_or(sums.len());
            if last == sums.len() {
                sums.push((code, 0));
            }
        }
        sums[last].1 = sums[last].1.saturating_add(amounts.value(row));
    }
    sums
}

/// The month of each row's date or timestamp (UTC).
pub(super) fn months(dates: &ArrayRef) -> Vec<Option<Month>> {
    if let DataType::Date32 = dates.data_type() {
        return dates
            .as_primitive::<Date32Type>()
            .iter()
            .map(|days| days.map(Month::of_epoch_days))
            .collect();
    }
    let micros = dates.as_primitive::<TimestampMicrosecondType>();
    let month = |micros: i64| Month::of_epoch_days(micros.div_euclid(MICROS_PER_DAY) as i32);
    micros.iter().map(|micros| micros.map(month)).collect()
}
