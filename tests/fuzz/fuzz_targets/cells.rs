//! One cell as a date, a time, a month and an amount.
//!
//! What is read and printed reads back as the same; an order of day and month changes no cell that needs none; and an
//! amount that the typed side reads is what the census makes of the same bytes, or no file with it would balance.

#![no_main]

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use libfuzzer_sys::fuzz_target;
use payoutlake_fuzz::decode::census_of_record;
use payoutlake_fuzz::model::{CurrencyCell, DateOrder, MONEY_SCALE, MoneyCell, RawBatch};
use payoutlake_fuzz::normalise::{MonthCell, parse_date, parse_decimal, parse_month, parse_timestamp};

fuzz_target!(|cell: &[u8]| {
    for order in [None, Some(DateOrder::MonthFirst), Some(DateOrder::DayFirst)] {
        dates(cell, order);
    }
    for scale in [0, 2, 10, 20, 38] {
        if let Ok(units) = parse_decimal(cell, scale) {
            assert_eq!(parse_decimal(printed(units, scale).as_bytes(), scale), Ok(units));
        }
    }
    balances(cell);
});

fn dates(cell: &[u8], order: Option<DateOrder>) {
    let (date, time, month) =
        (parse_date(cell, order), parse_timestamp(cell, order), parse_month(cell, order));
    if let Ok(days) = date {
        let text = (Date::constant(1970, 1, 1) + days.days()).to_string();
        assert_eq!(parse_date(text.as_bytes(), None), Ok(days));
        assert_eq!(time, Ok(i64::from(days) * 86_400_000_000), "a date is its midnight");
    }
    if let Ok(micros) = time {
        // An offset can lead out of the years that are business dates.
        let text = Timestamp::from_microsecond(micros).unwrap().to_string();
        if text.starts_with("19") || text.starts_with('2') {
            assert_eq!(parse_timestamp(text.as_bytes(), None), Ok(micros));
        }
    }
    if let Ok(MonthCell::Month(month)) = month {
        assert_eq!(parse_month(month.to_string().as_bytes(), None), Ok(MonthCell::Month(month)));
    }
    if order.is_none() {
        for order in [DateOrder::MonthFirst, DateOrder::DayFirst] {
            assert!(date.is_err() || date == parse_date(cell, Some(order)));
            assert!(time.is_err() || time == parse_timestamp(cell, Some(order)));
            assert!(month.is_err() || month == parse_month(cell, Some(order)));
        }
    }
}

fn printed(units: i128, scale: u8) -> String {
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    format!("{}{whole}.{fraction}", if units < 0 { "-" } else { "" })
}

fn balances(cell: &[u8]) {
    let mut row = RawBatch::new();
    row.push_row(2, cell, &[cell.len()]);
    let currency = CurrencyCell::Fixed("EUR".to_owned());
    let census =
        census_of_record(&row.record(0), &[MoneyCell { column: "amount".to_owned(), amount: 0, currency }]);
    if !cell.trim_ascii().is_empty()
        && let Ok(units) = parse_decimal(cell, MONEY_SCALE)
    {
        assert_eq!(census.unreadable, 0);
        assert_eq!(census.sums.values().sum::<i128>(), units);
    }
}
