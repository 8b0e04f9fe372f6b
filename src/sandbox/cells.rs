//! Text cells of a delimited file: written straight into one buffer, no string per cell.

use super::corpus::calendar::{DAY_SECS, civil};
use super::corpus::money::{ONE, SCALE};

/// The byte order mark that the service glues to the first header.
pub const BOM: &[u8] = b"\xEF\xBB\xBF";

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A column of a file: its published spelling, and how a row's cell is written.
pub struct Column<R> {
    pub name: &'static str,
    pub cell: fn(&R, &mut Cells),
}

/// A buffer of records.
pub struct Cells {
    bytes: Vec<u8>,
    separator: u8,
}

impl Cells {
    /// `separator` is a comma or a tab.
    #[must_use]
    pub fn new(separator: u8) -> Self {
        Cells { bytes: Vec::with_capacity(1 << 17), separator }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn next_cell(&mut self) {
        self.bytes.push(self.separator);
    }

    pub fn end_record(&mut self) {
        self.raw(b"\r\n");
    }

    /// Quoted only when it must be, with doubled quotes (RFC 4180).
    pub fn text(&mut self, text: &str) {
        self.quoted(text, |_| ());
    }

    /// `text`, a blank and a number in one cell.
    pub fn numbered(&mut self, text: &str, number: usize) {
        self.quoted(text, |cells| {
            cells.bytes.push(b' ');
            cells.digits(number as u64, 1);
        });
    }

    fn quoted(&mut self, text: &str, then: impl FnOnce(&mut Self)) {
        let separator = self.separator;
        if !text.bytes().any(|byte| byte == separator || matches!(byte, b'"' | b'\r' | b'\n')) {
            self.raw(text.as_bytes());
            return then(self);
        }
        self.bytes.push(b'"');
        for byte in text.bytes() {
            if byte == b'"' {
                self.bytes.push(b'"');
            }
            self.bytes.push(byte);
        }
        then(self);
        self.bytes.push(b'"');
    }

    pub fn int(&mut self, value: i64) {
        if value < 0 {
            self.bytes.push(b'-');
        }
        self.digits(value.unsigned_abs(), 1);
    }

    /// Decimal digits with leading zeros up to `width`.
    pub fn digits(&mut self, mut value: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        while value > 0 {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
        }
        let start = at.min(digits.len() - width);
        self.raw(&digits[start..]);
    }

    /// An amount in units of 10⁻¹⁰: all digits that are not trailing zeros, and at least `decimals` of them.
    pub fn money(&mut self, units: i64, decimals: usize) {
        self.scaled(units, ONE.unsigned_abs(), SCALE, decimals);
    }

    /// As [`Cells::money`], for sums.
    pub fn sum(&mut self, units: i128, decimals: usize) {
        match i64::try_from(units) {
            Ok(units) => self.money(units, decimals),
            Err(_) => {
                let text = super::corpus::money::Amount(units).to_string();
                self.text(&text);
            }
        }
    }

    /// A number in ten-thousandths: `37500` is `3.75`.
    pub fn ten_thousandths(&mut self, value: i64) {
        self.scaled(value, 10_000, 4, 2);
    }

    /// An exchange rate in 10⁻¹², with all its digits: `1.084512345677`.
    pub fn rate(&mut self, rate: u64) {
        self.scaled(rate as i64, 1_000_000_000_000, 12, 1);
    }

    fn scaled(&mut self, value: i64, one: u64, scale: usize, decimals: usize) {
        if value < 0 {
            self.bytes.push(b'-');
        }
        let magnitude = value.unsigned_abs();
        self.digits(magnitude / one, 1);
        let start = self.bytes.len();
        self.bytes.push(b'.');
        self.digits(magnitude % one, scale);
        let keep = if decimals == 0 { start } else { start + 1 + decimals };
        while self.bytes.len() > keep && matches!(self.bytes.last(), Some(b'0' | b'.')) {
            self.bytes.pop();
        }
    }

    /// `yyyy-MM-dd` of days since 1970-01-01.
    pub fn date(&mut self, day: i32) {
        let (year, month, day) = civil(day);
        self.digits(year as u64, 4);
        self.bytes.push(b'-');
        self.digits(month.into(), 2);
        self.bytes.push(b'-');
        self.digits(day.into(), 2);
    }

    /// `yyyy-MM-ddTHH:mm:ssZ` of seconds since 1970-01-01.
    pub fn time(&mut self, at: i64) {
        self.date(at.div_euclid(DAY_SECS) as i32);
        let second = at.rem_euclid(DAY_SECS) as u64;
        for (mark, part) in [(b'T', second / 3_600), (b':', second / 60 % 60), (b':', second % 60)] {
            self.bytes.push(mark);
            self.digits(part, 2);
        }
        self.bytes.push(b'Z');
    }

    /// `Sep-2020`, as the payout statement prints months.
    pub fn month(&mut self, month: crate::model::Month) {
        self.raw(MONTHS[usize::from(month.number()) - 1].as_bytes());
        self.bytes.push(b'-');
        self.digits(month.year() as u64, 4);
    }

    /// 32 hexadecimal digits in the groups of a GUID.
    pub fn guid(&mut self, id: u128) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'-'; 36];
        let mut at = 0;
        for byte in id.to_be_bytes() {
            if matches!(at, 8 | 13 | 18 | 23) {
                at += 1;
            }
            text[at] = HEX[usize::from(byte >> 4)];
            text[at + 1] = HEX[usize::from(byte & 15)];
            at += 2;
        }
        self.raw(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Month;

    fn written(write: impl Fn(&mut Cells)) -> String {
        let mut cells = Cells::new(b',');
        write(&mut cells);
        String::from_utf8(cells.bytes).unwrap()
    }

    #[test]
    fn quotes_stand_only_where_they_must() {
        for (text, expected) in [
            ("plain; semicolon", "plain; semicolon"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("tab\tbed", "tab\tbed"),
            ("", ""),
        ] {
            assert_eq!(written(|cells| cells.text(text)), expected);
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        for (units, decimals, expected) in [
            (0, 2, "0.00"),
            (125_000_000_000, 2, "12.50"),
            (-125_000_000_000, 0, "-12.5"),
            (-50_000_000_000, 0, "-5"),
            (1, 2, "0.0000000001"),
            (1_000_000_000_000, 0, "100"),
            (12_340_000_000, 3, "1.234"),
        ] {
            assert_eq!(written(|cells| cells.money(units, decimals)), expected);
        }
        assert_eq!(written(|cells| cells.rate(6_702_318_209)), "0.006702318209");
        assert_eq!(written(|cells| cells.rate(1_000_000_000_000)), "1.0");
        assert_eq!(written(|cells| cells.ten_thousandths(37_500)), "3.75");
        assert_eq!(written(|cells| cells.int(-120)), "-120");
        assert_eq!(written(|cells| cells.int(0)), "0");
    }

    #[test]
    fn dates_are_spelled_as_documented() {
        assert_eq!(written(|cells| cells.time(1_790_812_799)), "2026-09-30T23:59:59Z");
        assert_eq!(written(|cells| cells.date(20_454)), "2026-01-01");
        assert_eq!(written(|cells| cells.month(Month::new(2020, 9))), "Sep-2020");
        assert_eq!(written(|cells| cells.guid(0x1234)), "00000000-0000-0000-0000-000000001234");
    }
}
