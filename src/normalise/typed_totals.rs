//! What the typed side says about its rows: exact sums by currency, and the month of each row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
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
                let codes = array_of(name).and_then(Texts::of);
                // Amounts without a code are summed by themselves: transaction columns are blank by design on adjustments.
                for (code, sum) in codes.map_or_else(Vec::new, |codes| codes.sums(amounts, 0..rows)) {
                    // Two spellings of one code meet here.
                    totals.add(&column.name, &code.trim_ascii().to_ascii_uppercase(), sum);
                }
            }
        }
    }
    totals
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
