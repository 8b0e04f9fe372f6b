//! Control totals from the text side. This file shares no parsing with `decimal.rs`: a mistake there must show as
//! a difference here, not stand in both sums.

use crate::model::{Currency, CurrencyCell, MONEY_SCALE, MoneyCell, QuarantinedRow, RawBatch, Totals};
use crate::schema::{Dataset, HeaderMatch};

/// The sums of a batch as its text says them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub totals: Totals,
    /// Cells that hold no amount that can be read exactly; they are in no sum. A row that has one should be
    /// among the refused: anything else will not balance.
    pub unread: u64,
}

/// The money cells of a file with this header.
#[must_use]
pub fn money_cells(dataset: &Dataset, matched: &HeaderMatch) -> Vec<MoneyCell> {
    let columns = &dataset.newest().columns;
    let cell_of = |name: &str| {
        columns
            .iter()
            .zip(&matched.cells)
            .find(|(column, _)| column.name == name)
            .and_then(|(_, cell)| *cell)
    };
    let money = columns.iter().zip(&matched.cells).filter_map(|(column, cell)| {
        let currency = match column.currency.as_ref()? {
            Currency::Fixed(code) => CurrencyCell::Fixed(code.clone()),
            Currency::Column(name) => CurrencyCell::At(cell_of(name)?),
        };
        Some(MoneyCell {
            column: column.name.clone(),
            amount: (*cell)?,
            currency,
        })
    });
    money.collect()
}

/// Sums the money of all rows but the refused ones (they are recognised by their line, so `refused` may hold rows of
/// other batches of the same file). Blank amounts, and zero without a currency, are in no sum.
#[must_use]
pub fn tally(raw: &RawBatch, money: &[MoneyCell], refused: &[QuarantinedRow]) -> Tally {
    let mut refused_lines: Vec<u64> = refused.iter().map(|row| row.line).collect();
    refused_lines.sort_unstable();
    let kept: Vec<usize> = (0..raw.rows())
        .filter(|row| refused_lines.binary_search(&raw.line(*row)).is_err())
        .collect();
    let mut tally = Tally::default();
    tally.totals.rows = kept.len() as u64;
    for cells in money {
        let mut sums: Vec<(String, i128)> = Vec::new();
        for &row in &kept {
            let text = raw.cell(row, cells.amount).unwrap_or_default().trim_ascii();
            if text.is_empty() {
                continue;
            }
            let Some(units) = units_of(text) else {
                tally.unread += 1;
                continue;
            };
            let currency = match &cells.currency {
                CurrencyCell::Fixed(code) => code.as_bytes(),
                CurrencyCell::At(index) => raw.cell(row, *index).unwrap_or_default().trim_ascii(),
            };
            if currency.is_empty() && units == 0 {
                continue;
            }
            match sums
                .iter_mut()
                .find(|(code, _)| code.as_bytes().eq_ignore_ascii_case(currency))
            {
                Some((_, sum)) => *sum = sum.saturating_add(units),
                None => sums.push((String::from_utf8_lossy(currency).to_ascii_uppercase(), units)),
            }
        }
        for (currency, units) in sums {
            tally.totals.add(&cells.column, &currency, units);
        }
    }
    tally
}

/// An amount in units of 10^-[`MONEY_SCALE`]: the digits are laid side by side in a buffer, padded with zeros to the
/// right place, and read as an integer by the standard library.
fn units_of(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, text) = match text.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => ("-", inner),
        None if text.starts_with('-') => ("-", &text[1..]),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mut line = Line::new(sign.as_bytes());
    let whole = whole.trim_start_matches('0').bytes().filter(|byte| *byte != b',');
    let digits = whole.clone().chain(fraction.bytes());
    // The point stands behind so many digits, once the exponent and the scale have moved it to the right.
    let point = whole.count() as i64 + i64::from(exponent) + i64::from(MONEY_SCALE);
    let mut place = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        if place < point {
            line.write(digit)?;
        } else if digit != b'0' {
            return None;
        }
        place += 1;
    }
    if place == 0 && !number.contains('0') {
        return None;
    }
    // A zero stays a zero wherever its point goes; only real digits need their zeros behind them.
    while line.has_digits && place < point {
        line.write(b'0')?;
        place += 1;
    }
    if !line.has_digits {
        return Some(0);
    }
    std::str::from_utf8(&line.bytes[..line.length]).ok()?.parse().ok()
}

/// A line of text on the stack: a sign and 39 digits are all that an `i128` prints.
struct Line {
    bytes: [u8; 48],
    length: usize,
    has_digits: bool,
}

impl Line {
    fn new(sign: &[u8]) -> Self {
        let mut line = Line {
            bytes: [0; 48],
            length: sign.len(),
            has_digits: false,
        };
        line.bytes[..sign.len()].copy_from_slice(sign);
        line
    }

    /// Adds a digit; zeros in front of all others say nothing and are left out. `None` when the line is full.
    fn write(&mut self, digit: u8) -> Option<()> {
        if digit == b'0' && !self.has_digits {
            return Some(());
        }
        *self.bytes.get_mut(self.length)? = digit;
        self.length += 1;
        self.has_digits = true;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        let one = 10i128.pow(10);
        for (text, units) in [
            ("0", Some(0)),
            ("-0.00", Some(0)),
            ("0e99", Some(0)),
            (
                "00000000000000000000000000000000000000000000000000000000000012.5",
                Some(12 * one + one / 2),
            ),
            ("12.5", Some(12 * one + one / 2)),
            ("-12.5", Some(-12 * one - one / 2)),
            ("(12.5)", Some(-12 * one - one / 2)),
            ("+.5", Some(one / 2)),
            ("7.", Some(7 * one)),
            ("1,234.50", Some(1234 * one + one / 2)),
            ("1E+3", Some(1000 * one)),
            ("1.5e-2", Some(15 * one / 1000)),
            ("0.0000000001", Some(1)),
            (
                "0.000000000100000000000000000000000000000000000000000000000000000000000000000000000",
                Some(1),
            ),
            ("0.00000000001", None),
            ("1e-11", None),
            ("1e99", None),
            ("", None),
            (".", None),
            ("-", None),
            ("abc", None),
            ("--5", None),
        ] {
            assert_eq!(units_of(text.as_bytes()), units, "{text}");
        }
    }

    #[test]
    fn refused_rows_and_blanks_are_in_no_sum() {
        let mut raw = RawBatch::new();
        raw.push_row(2, b"1.50eur ", &[4, 8]);
        raw.push_row(3, b"2EUR", &[1, 4]);
        raw.push_row(4, b"EUR", &[0, 3]);
        raw.push_row(5, b"0", &[1, 1]);
        raw.push_row(6, b"xUSD", &[1, 4]);
        raw.push_row(7, b"100EUR", &[3, 6]);
        let money = [MoneyCell {
            column: "earned".to_owned(),
            amount: 0,
            currency: CurrencyCell::At(1),
        }];
        let fault = crate::model::Fault {
            code: crate::model::FaultCode::NotADate,
            column: None,
            expected: String::new(),
            found: String::new(),
        };
        let refused = [QuarantinedRow {
            line: 7,
            fault,
            record: Vec::new(),
        }];
        let tally = tally(&raw, &money, &refused);
        assert_eq!(tally.unread, 1);
        assert_eq!(tally.totals.rows, 5);
        assert_eq!(
            tally.totals.of("earned").collect::<Vec<_>>(),
            [("EUR", 35_000_000_000)]
        );
    }
}
