//! Cells to days, instants and months. Every accepted spelling has one meaning; the rest is refused.

use crate::model::{DateOrder, FaultCode, Month};

use super::slashed::Slashed;

const MICROS_PER_SECOND: i64 = 1_000_000;
pub(super) const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// A year outside is a slip of the pen or a place-holder (0001-01-01, 9999-12-31), not a business date.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2999;

/// Texts that Partner Center writes instead of a month; they are kept as they stand.
const NO_MONTH: [&str; 2] = ["Not applicable", "Not available"];

const MONTH_NAMES: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// A written point in time.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// Since 1970-01-01, as written, before the offset.
    pub days: i32,
    /// Since midnight, as written.
    pub micros: i64,
    /// East of Greenwich.
    pub offset_minutes: i64,
}

/// Days since 1970-01-01.
///
/// Accepted: `yyyy-MM-dd`, `M/d/yyyy`, and any spelling of [`parse_timestamp`] at midnight and without an offset.
///
/// # Errors
/// [`FaultCode::NotADate`]; [`FaultCode::AmbiguousDate`] for slashes without an order.
pub fn parse_date(cell: &[u8], order: Option<DateOrder>) -> Result<i32, FaultCode> {
    match parse_moment(cell.trim_ascii(), order, FaultCode::NotADate)? {
        Moment { days, micros: 0, offset_minutes: 0 } => Ok(days),
        _ => Err(FaultCode::NotADate),
    }
}

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// Accepted: `yyyy-MM-ddTHH:mm:ss`, with a blank instead of `T`, with one to nine fraction digits, with `Z` or an
/// offset `+hh:mm`; without an offset it is UTC. Also `M/d/yyyy h:mm:ss AM`, or the day first: which of them holds is for
/// the whole column to say. A bare date is its midnight. Fraction digits beyond the sixth are cut off, not refused: the
/// service prints seven, and time is not money.
///
/// # Errors
/// [`FaultCode::NotATimestamp`]; [`FaultCode::AmbiguousDate`] for slashes without an order.
pub fn parse_timestamp(cell: &[u8], order: Option<DateOrder>) -> Result<i64, FaultCode> {
    let moment = parse_moment(cell.trim_ascii(), order, FaultCode::NotATimestamp)?;
    let local = i64::from(moment.days) * MICROS_PER_DAY + moment.micros;
    Ok(local - moment.offset_minutes * 60 * MICROS_PER_SECOND)
}

/// What a month column holds: a month, or the text that says why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MonthCell<'a> {
    Month(Month),
    Text(&'a [u8]),
}

/// Accepted: `Sep-2020`, `September 2020`, `2020-09`, `09/2020`, any date; `Not applicable` and `Not available`
/// are kept as they stand.
///
/// # Errors
/// [`FaultCode::NotAMonth`]; [`FaultCode::AmbiguousDate`] for a date with slashes without an order.
pub fn parse_month(cell: &[u8], order: Option<DateOrder>) -> Result<MonthCell<'_>, FaultCode> {
    let cell = cell.trim_ascii();
    if NO_MONTH.iter().any(|text| cell.eq_ignore_ascii_case(text.as_bytes())) {
        return Ok(MonthCell::Text(cell));
    }
    let numbers = match cell {
        [year @ .., b'-', a, b] if year.len() == 4 => number(year).zip(number(&[*a, *b])),
        [month @ .., b'/', a, b, c, d] if month.len() <= 2 => number(&[*a, *b, *c, *d]).zip(number(month)),
        _ => None,
    };
    let written = numbers.or_else(|| named_month(cell));
    if let Some((year, month)) = written {
        let month =
            u8::try_from(month).ok().filter(|month| (1..=12).contains(month) && YEARS.contains(&year));
        return month.map(|month| MonthCell::Month(Month::new(year, month))).ok_or(FaultCode::NotAMonth);
    }
    let moment = parse_moment(cell, order, FaultCode::NotAMonth)?;
    Ok(MonthCell::Month(Month::of_epoch_days(moment.days)))
}

/// `Sep-2020`, `September 2020` -> (year, month).
fn named_month(cell: &[u8]) -> Option<(i32, i32)> {
    let at = cell.iter().position(|byte| matches!(byte, b'-' | b' '))?;
    let (name, year) = (&cell[..at], &cell[at + 1..]);
    let is_name = |full: &&str| {
        let full = full.as_bytes();
        name.eq_ignore_ascii_case(full) || name.eq_ignore_ascii_case(&full[..3])
    };
    let month = MONTH_NAMES.iter().position(is_name)?;
    if year.len() != 4 {
        return None;
    }
    Some((number(year)?, i32::try_from(month).ok()? + 1))
}

/// `wrong` for a cell that is no moment.
fn parse_moment(cell: &[u8], order: Option<DateOrder>, wrong: FaultCode) -> Result<Moment, FaultCode> {
    if cell.len() >= 10 && cell[4] == b'-' && cell[7] == b'-' {
        return parse_iso(cell).ok_or(wrong);
    }
    let slashed = Slashed::parse(cell).filter(|slashed| slashed.is_date()).ok_or(wrong)?;
    slashed.moment(order.ok_or(FaultCode::AmbiguousDate)?).ok_or(wrong)
}

fn parse_iso(cell: &[u8]) -> Option<Moment> {
    const YEAR: Template = Template::new(b"0000-00-");
    const DATE: Template = Template::new(b"00-00-00");
    let (year, date) = (YEAR.digits(cell)?, DATE.digits(cell.get(2..)?)?);
    let days = civil_days(pair(year, 0) * 100 + pair(date, 0), pair(date, 3), pair(date, 6))?;
    match &cell[10..] {
        [] => Some(Moment { days, micros: 0, offset_minutes: 0 }),
        [b'T' | b't' | b' ', time @ ..] => parse_time(days, time),
        _ => None,
    }
}

/// `HH:mm:ss[.f{1,9}][Z|+hh:mm]`.
fn parse_time(days: i32, time: &[u8]) -> Option<Moment> {
    const CLOCK: Template = Template::new(b"00:00:00");
    let clock = CLOCK.digits(time)?;
    let seconds = clock_seconds(pair(clock, 0), pair(clock, 3), pair(clock, 6))?;
    let mut rest = &time[8..];
    let mut micros = 0;
    if let [b'.', fraction @ ..] = rest {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&length) {
            return None;
        }
        const UNITS: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
        let digits = &fraction[..length.min(6)];
        micros = digits.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0')) * UNITS[digits.len()];
        rest = &fraction[length..];
    }
    let offset_minutes = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            // No place on earth is further than 14 hours from Greenwich.
            if hours > 14 || minutes > 59 {
                return None;
            }
            let minutes = i64::from(hours * 60 + minutes);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(Moment { days, micros: self::micros(seconds) + micros, offset_minutes })
}

pub(super) fn micros(seconds: i64) -> i64 {
    seconds * MICROS_PER_SECOND
}

pub(super) fn clock_seconds(hour: i32, minute: i32, second: i32) -> Option<i64> {
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from(hour * 3600 + minute * 60 + second))
}

const WORD_BYTES: usize = size_of::<u64>();

/// How a word of text looks: digits where the template has a zero, and else the same bytes.
struct Template {
    bytes: u64,
    /// What makes the highest bit of a byte appear once it differs by too much.
    beyond: u64,
}

impl Template {
    const fn new(template: &[u8; WORD_BYTES]) -> Self {
        let mut beyond = [0x7f; WORD_BYTES];
        let mut index = 0;
        while index < WORD_BYTES {
            if template[index] == b'0' {
                beyond[index] -= 9;
            }
            index += 1;
        }
        Template { bytes: u64::from_le_bytes(*template), beyond: u64::from_le_bytes(beyond) }
    }

    /// The digits with which a text begins, each as a number.
    #[inline]
    fn digits(&self, text: &[u8]) -> Option<[u8; WORD_BYTES]> {
        let differs = u64::from_le_bytes(*text.first_chunk()?) ^ self.bytes;
        let is_wrong = (differs | differs.wrapping_add(self.beyond)) & u64::from_le_bytes([0x80; WORD_BYTES]);
        (is_wrong == 0).then(|| differs.to_le_bytes())
    }
}

/// The number that two digits are.
#[inline]
fn pair(digits: [u8; WORD_BYTES], at: usize) -> i32 {
    i32::from(digits[at]) * 10 + i32::from(digits[at + 1])
}

/// One to four plain digits.
#[inline]
pub(super) fn number(digits: &[u8]) -> Option<i32> {
    if digits.is_empty() || digits.len() > 4 {
        return None;
    }
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i32::from(byte - b'0')))
}

/// Days since 1970-01-01 of the first day of each of [`YEARS`], and of the one behind the last.
const FIRST_DAYS: [i32; (*YEARS.end() - *YEARS.start()) as usize + 2] = {
    let mut days = [-25_567; _];
    let (mut index, mut year) = (1, *YEARS.start());
    while index < days.len() {
        let is_leap = year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
        days[index] = days[index - 1] + if is_leap { 366 } else { 365 };
        (index, year) = (index + 1, year + 1);
    }
    days
};

/// Days before each month of a year that has no leap day, and before the next year.
const DAYS_BEFORE: [i32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

/// Days since 1970-01-01 of a date that exists.
#[inline]
pub(super) fn civil_days(year: i32, month: i32, day: i32) -> Option<i32> {
    let at = usize::try_from(year - YEARS.start()).ok()?;
    let (first, next) = (*FIRST_DAYS.get(at)?, *FIRST_DAYS.get(at + 1)?);
    let month = usize::try_from(month - 1).ok()?;
    let (before, end) = (*DAYS_BEFORE.get(month)?, *DAYS_BEFORE.get(month + 1)?);
    let leap_days = next - first - 365;
    let length = end - before + if month == 1 { leap_days } else { 0 };
    let day_of_year = before + if month > 1 { leap_days } else { 0 } + day - 1;
    (day >= 1 && day <= length).then_some(first + day_of_year)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::Date;
    use jiff::{Timestamp, ToSpan};
    use proptest::prelude::*;

    const MONTH_FIRST: Option<DateOrder> = Some(DateOrder::MonthFirst);

    fn micros(text: &str) -> Option<i64> {
        Some(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn timestamps() {
        for (cell, expected) in [
            ("2026-09-01", micros("2026-09-01T00:00:00Z")),
            ("2026-09-01T10:11:12", micros("2026-09-01T10:11:12Z")),
            (" 2026-09-01 10:11:12 ", micros("2026-09-01T10:11:12Z")),
            ("2026-09-01T10:11:12.1Z", micros("2026-09-01T10:11:12.1Z")),
            ("2026-09-01T10:11:12.1234567Z", micros("2026-09-01T10:11:12.123456Z")),
            ("2026-09-01T01:00:00+02:00", micros("2026-08-31T23:00:00Z")),
            ("2026-09-01T01:00:00-05:30", micros("2026-09-01T06:30:00Z")),
            ("9/1/2026", micros("2026-09-01T00:00:00Z")),
            ("9/15/2026 12:00:01 AM", micros("2026-09-15T00:00:01Z")),
            ("09/15/2026 12:30:00 pm", micros("2026-09-15T12:30:00Z")),
            ("15/9/2026", None),
            ("9/15/2026 14:30:00", None),
            ("9/15/26", None),
            ("2026-02-29", None),
            ("2026-9-1", None),
            ("2026-09-01T24:00:00", None),
            ("2026-09-01T10:60:00", None),
            ("2026-09-01T10:11:60", None),
            ("2026-09-01T10:11", None),
            ("2026-09-01T10:11:12.", None),
            ("2026-09-01T10:11:12.1234567890", None),
            ("2026-09-01T10:11:12+15:00", None),
            ("2026-09-01X10:11:12", None),
            ("0001-01-01", None),
            ("9999-12-31", None),
            ("20260901", None),
            ("46000", None),
            ("", None),
        ] {
            assert_eq!(parse_timestamp(cell.as_bytes(), MONTH_FIRST).ok(), expected, "{cell:?}");
        }
    }

    /// Bytes are looked at by the word: each of them must count.
    #[test]
    fn a_byte_that_does_not_belong_there_is_seen() {
        let text = b"2026-10-17T10:11:12";
        for (at, byte) in (0..text.len()).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
            let mut cell = *text;
            cell[at] = byte;
            let fits = match text[at] {
                b'T' => b"Tt ".contains(&byte),
                digit if digit.is_ascii_digit() => byte.is_ascii_digit(),
                mark => byte == mark,
            };
            let fits = fits && number(&cell[..4]).is_some_and(|year| YEARS.contains(&year));
            let text = String::from_utf8_lossy(&cell);
            let expected = format!("{text}Z").parse::<Timestamp>().ok().filter(|_| fits);
            assert_eq!(parse_timestamp(&cell, None).ok(), expected.map(Timestamp::as_microsecond), "{text}");
        }
    }

    #[test]
    fn slashes_mean_what_the_order_says_and_nothing_without_one() {
        let september_10 = parse_date(b"2026-09-10", None).unwrap();
        let october_9 = parse_date(b"2026-10-09", None).unwrap();
        let day_first = Some(DateOrder::DayFirst);
        assert_eq!(parse_date(b"9/10/2026", MONTH_FIRST), Ok(september_10));
        assert_eq!(parse_date(b"9/10/2026", day_first), Ok(october_9));
        assert_eq!(parse_month(b"9/10/2026", day_first), Ok(MonthCell::Month(Month::new(2026, 10))));
        // Also where one order alone gives a date: that is for the column to find.
        for cell in [&b"9/10/2026"[..], b"9/15/2026", b"15/9/2026", b"9/9/2026 1:00:00 AM"] {
            assert_eq!(parse_date(cell, None), Err(FaultCode::AmbiguousDate));
            assert_eq!(parse_timestamp(cell, None), Err(FaultCode::AmbiguousDate));
            assert_eq!(parse_month(cell, None), Err(FaultCode::AmbiguousDate));
        }
        assert_eq!(parse_date(b"15/15/2026", None), Err(FaultCode::NotADate));
        assert_eq!(parse_date(b"9/15/2026", day_first), Err(FaultCode::NotADate));
    }

    #[test]
    fn a_date_has_no_time() {
        let day = parse_date(b"2026-09-15", None).unwrap();
        for same in
            ["2026-09-15T00:00:00Z", "2026-09-15 00:00:00.0000000", "9/15/2026", "9/15/2026 12:00:00 AM"]
        {
            assert_eq!(parse_date(same.as_bytes(), MONTH_FIRST), Ok(day), "{same}");
        }
        for bad in ["2026-09-15T00:00:01Z", "2026-09-15T00:00:00+02:00", "2026-09-31", "9/15/2026 1:00:00 AM"]
        {
            assert_eq!(parse_date(bad.as_bytes(), MONTH_FIRST), Err(FaultCode::NotADate), "{bad}");
        }
    }

    #[test]
    fn months() {
        let september = Ok(MonthCell::Month(Month::new(2020, 9)));
        for same in [
            "Sep-2020",
            "September 2020",
            "sep 2020",
            "2020-09",
            "09/2020",
            "9/2020",
            "2020-09-30",
            " 2020-09-01T00:00:00Z",
        ] {
            assert_eq!(parse_month(same.as_bytes(), None), september, "{same}");
        }
        assert_eq!(parse_month(b" Not applicable", None), Ok(MonthCell::Text(b"Not applicable")));
        assert_eq!(parse_month(b"Not available", None), Ok(MonthCell::Text(b"Not available")));
        for bad in
            ["Sept-2020", "2020-13", "13/2020", "00/2020", "2020", "Sep-20", "n/a", "2020-9", "1800-01"]
        {
            assert_eq!(parse_month(bad.as_bytes(), None), Err(FaultCode::NotAMonth), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_day_reads_back(days in 0i32..401_768) {
            let date = Date::constant(1900, 1, 1).checked_add(days.days()).unwrap();
            let epoch = (date - Date::constant(1970, 1, 1)).get_days();
            prop_assert_eq!(parse_date(date.to_string().as_bytes(), None), Ok(epoch));
            let (month, day, year) = (date.month(), date.day(), date.year());
            for (order, text) in [
                (DateOrder::MonthFirst, format!("{month}/{day}/{year}")),
                (DateOrder::DayFirst, format!("{day:02}/{month:02}/{year}")),
            ] {
                prop_assert_eq!(parse_date(text.as_bytes(), Some(order)), Ok(epoch));
                let proves = Slashed::parse(text.as_bytes()).unwrap().proves();
                prop_assert_eq!(proves, (day > 12).then_some(order));
            }
        }

        #[test]
        fn every_microsecond_reads_back(micros in -2_208_988_800_000_000i64..32_503_680_000_000_000) {
            let text = Timestamp::from_microsecond(micros).unwrap().to_string();
            prop_assert_eq!(parse_timestamp(text.as_bytes(), None), Ok(micros));
        }

        #[test]
        fn any_bytes_are_an_answer(cell in proptest::collection::vec(any::<u8>(), 0..40)) {
            for order in [None, MONTH_FIRST] {
                let _ = (parse_date(&cell, order), parse_timestamp(&cell, order), parse_month(&cell, order));
            }
        }

        #[test]
        fn date_like_bytes_are_an_answer(cell in "[-/:.TZ 0-9APMa-c+]{0,32}") {
            let cell = cell.as_bytes();
            for order in [None, MONTH_FIRST] {
                let _ = (parse_date(cell, order), parse_timestamp(cell, order), parse_month(cell, order));
            }
        }
    }
}
