//! Calendar months and spans of them.

use std::fmt;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::Invalid;

/// A calendar month; printed and stored as `YYYY-MM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32); // months since 0000-01

/// Whole months, both ends included: the span of earning periods that one export is the whole truth about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    pub first: Month,
    pub last: Month,
}

impl Month {
    /// `month` is 1 to 12.
    #[must_use]
    pub fn new(year: i32, month: u8) -> Self {
        debug_assert!((1..=12).contains(&month));
        Month(year * 12 + i32::from(month) - 1)
    }

    /// # Errors
    /// When the text is not `YYYY-MM`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid(format!("'{text}' is not a month: write YYYY-MM"));
        let (year, month) = text.split_once('-').ok_or_else(invalid)?;
        if year.len() != 4 || month.len() != 2 || !text.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
            return Err(invalid());
        }
        let year = year.parse().map_err(|_| invalid())?;
        match month.parse() {
            Ok(month @ 1..=12) => Ok(Month::new(year, month)),
            _ => Err(invalid()),
        }
    }

    #[must_use]
    pub fn of(date: Date) -> Self {
        Month(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// The month of a number of days since 1970-01-01, by the civil calendar (proleptic Gregorian).
    #[must_use]
    pub fn of_epoch_days(days: i32) -> Self {
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days, without the day.
        let shifted = i64::from(days) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let months = (era * 400 + year_of_era) * 12 + month_from_march + 2;
        Month(months as i32)
    }

    /// Months since January of the year 0.
    #[must_use]
    pub fn index(self) -> i32 {
        self.0
    }

    #[must_use]
    pub fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    /// 1 to 12.
    #[must_use]
    pub fn number(self) -> u8 {
        (self.0.rem_euclid(12) + 1) as u8
    }

    /// `2026-09`, as [`Month`] is displayed, for years of up to four digits.
    #[must_use]
    pub fn text(self) -> [u8; 7] {
        let (year, month) = (self.year().unsigned_abs(), u32::from(self.number()));
        let digit = |number: u32| b'0' + (number % 10) as u8;
        [
            digit(year / 1000),
            digit(year / 100),
            digit(year / 10),
            digit(year),
            b'-',
            digit(month / 10),
            digit(month),
        ]
    }

    /// The month `months` later (earlier when negative).
    #[must_use]
    pub fn plus(self, months: i32) -> Self {
        Month(self.0 + months)
    }

    #[must_use]
    pub fn first_day(self) -> Date {
        Date::new(self.year() as i16, self.number() as i8, 1).expect("years between 0 and 9999")
    }

    #[must_use]
    pub fn last_day(self) -> Date {
        self.first_day().last_of_month()
    }
}

impl Window {
    /// # Panics
    /// When `last` is before `first`.
    #[must_use]
    pub fn new(first: Month, last: Month) -> Self {
        assert!(first <= last, "a window ends after it begins");
        Window { first, last }
    }

    #[must_use]
    pub fn contains(self, month: Month) -> bool {
        self.first <= month && month <= self.last
    }

    pub fn months(self) -> impl Iterator<Item = Month> {
        (self.first.0..=self.last.0).map(Month)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.number())
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return self.first.fmt(f);
        }
        write!(f, "{}..{}", self.first, self.last)
    }
}

impl Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Month::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_is_displayed() {
        for months in (0..120_000).step_by(7) {
            let month = Month::new(0, 1).plus(months);
            assert_eq!(month.text(), month.to_string().as_bytes());
        }
    }

    #[test]
    fn months_of_days_agree_with_the_calendar() {
        let epoch = Date::constant(1970, 1, 1);
        let mut date = Date::constant(1899, 12, 1);
        while date < Date::constant(2101, 1, 1) {
            let days = (date - epoch).get_days();
            assert_eq!(Month::of_epoch_days(days), Month::of(date), "{date}");
            date = date.tomorrow().unwrap();
        }
    }

    #[test]
    fn only_whole_months_parse() {
        assert_eq!(Month::parse("2026-09").unwrap().to_string(), "2026-09");
        for bad in ["2026-9", "2026-13", "2026-00", "26-09", "2026-09-01", "2026-0x", ""] {
            assert!(Month::parse(bad).is_err(), "{bad}");
        }
    }
}
