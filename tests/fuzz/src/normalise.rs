//! Cells, without the columns that they become.

#[path = "../../../src/normalise/dates.rs"]
mod dates;
#[path = "../../../src/normalise/decimal.rs"]
mod decimal;
#[path = "../../../src/normalise/slashed.rs"]
mod slashed;

pub use dates::{MonthCell, parse_date, parse_month, parse_timestamp};
pub use decimal::parse_decimal;
