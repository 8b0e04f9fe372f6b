//! Days as numbers since 1970-01-01 and instants as seconds since then: cheap to compare and to add.

use jiff::civil::Date;

use crate::model::Month;

pub const DAY_SECS: i64 = 86_400;

/// Days since 1970-01-01.
#[must_use]
pub fn day_of(date: Date) -> i32 {
    (date - Date::constant(1970, 1, 1)).get_days()
}

/// Day number `day` (1 is the first) of a month, as days since 1970-01-01.
#[must_use]
pub fn day_in(month: Month, day: i32) -> i32 {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": days_from_civil for the first of a month.
    let number = i32::from(month.number());
    let year = if number <= 2 { month.year() - 1 } else { month.year() };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_from_march = (number + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 + day - 1
}

/// Year, month and day of a number of days since 1970-01-01.
#[must_use]
pub fn civil(day: i32) -> (i32, u8, u8) {
    let month = Month::of_epoch_days(day);
    (month.year(), month.number(), (day - day_in(month, 1) + 1) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_with_the_calendar() {
        let mut date = Date::constant(1999, 12, 28);
        while date < Date::constant(2033, 1, 1) {
            let day = day_of(date);
            assert_eq!(day_in(Month::of(date), i32::from(date.day())), day, "{date}");
            assert_eq!(civil(day), (i32::from(date.year()), date.month() as u8, date.day() as u8), "{date}");
            date = date.tomorrow().unwrap();
        }
    }
}
