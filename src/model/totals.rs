//! Control totals: row count and exact sum per money column and currency, taken at every hop.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Fraction digits of every money column (see `schemas/`): sums are integers of 10⁻¹⁰ units.
pub const MONEY_SCALE: u8 = 10;

/// Which cells of a text row are an amount and its currency, by position in the header: what the count on the
/// text side needs to know of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyCell {
    /// The table's name of the column.
    pub column: String,
    pub amount: usize,
    pub currency: CurrencyCell,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CurrencyCell {
    At(usize),
    Fixed(String),
}

/// Rows, and exact sums by (column, currency) in units of 10^-[`MONEY_SCALE`].
///
/// A sum that is zero stands only when a cell was seen; [`Totals::differences`] treats a missing sum as zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub sums: BTreeMap<(String, String), i128>,
}

impl Totals {
    /// Adds `units` to the sum of a column and currency.
    ///
    /// An overflow of 38 digits is a defect of the input that no ledger can hold; it saturates, and so
    /// cannot balance against the other side.
    pub fn add(&mut self, column: &str, currency: &str, units: i128) {
        // The map is looked up by reference first: the key is built only for a new pair.
        if let Some(sum) =
            self.sums.iter_mut().find(|((c, k), _)| c == column && k == currency).map(|(_, sum)| sum)
        {
            *sum = sum.saturating_add(units);
        } else {
            self.sums.insert((column.to_owned(), currency.to_owned()), units);
        }
    }

    pub fn merge(&mut self, other: &Totals) {
        self.rows += other.rows;
        for ((column, currency), units) in &other.sums {
            self.add(column, currency, *units);
        }
    }

    /// Takes `other` away; used for rows that are superseded.
    pub fn subtract(&mut self, other: &Totals) {
        self.rows = self.rows.saturating_sub(other.rows);
        for ((column, currency), units) in &other.sums {
            self.add(column, currency, -*units);
        }
    }

    /// What differs between two sides, as text: empty when they balance.
    #[must_use]
    pub fn differences(&self, other: &Totals) -> Vec<String> {
        let mut found = Vec::new();
        if self.rows != other.rows {
            found.push(format!("rows {} against {}", self.rows, other.rows));
        }
        let keys = self.sums.keys().chain(other.sums.keys()).collect::<std::collections::BTreeSet<_>>();
        for key in keys {
            let left = self.sums.get(key).copied().unwrap_or(0);
            let right = other.sums.get(key).copied().unwrap_or(0);
            if left != right {
                found.push(format!(
                    "{} {} {} against {}",
                    key.0,
                    key.1,
                    format_money(left),
                    format_money(right)
                ));
            }
        }
        found
    }

    /// Sums of one column by currency.
    pub fn of(&self, column: &str) -> impl Iterator<Item = (&str, i128)> {
        self.sums.iter().filter(move |((c, _), _)| c == column).map(|((_, k), units)| (k.as_str(), *units))
    }
}

/// `12.3400000000` as `12.34`: needless zeros after the second fraction digit say nothing.
#[must_use]
pub fn shorten_decimal(mut text: String) -> String {
    if let Some(point) = text.find('.') {
        while text.len() > point + 3 && text.ends_with('0') {
            text.pop();
        }
    }
    text
}

/// The plain decimal text of an amount in units of 10^-[`MONEY_SCALE`], with at least two and no
/// needless fraction digits: `-1234.50`, `0.00`, `0.125`.
#[must_use]
pub fn format_money(units: i128) -> String {
    let one = 10u128.pow(u32::from(MONEY_SCALE));
    let magnitude = units.unsigned_abs();
    let mut text = String::new();
    if units < 0 {
        text.push('-');
    }
    let _ = write!(text, "{}.{:0width$}", magnitude / one, magnitude % one, width = usize::from(MONEY_SCALE));
    let keep = text.len() - usize::from(MONEY_SCALE) + 2;
    while text.len() > keep && text.ends_with('0') {
        text.pop();
    }
    text
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    column: String,
    currency: String,
    // Decimals are strings in JSON: a number would become a float in most readers.
    sum: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    rows: u64,
    sums: Vec<Line>,
}

impl Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sums = self
            .sums
            .iter()
            .map(|((column, currency), units)| Line {
                column: column.clone(),
                currency: currency.clone(),
                sum: format_money(*units),
            })
            .collect();
        Lines { rows: self.rows, sums }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Totals {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines = Lines::deserialize(deserializer)?;
        let mut totals = Totals { rows: lines.rows, sums: BTreeMap::new() };
        for line in lines.sums {
            let units = parse_money(&line.sum)
                .ok_or_else(|| serde::de::Error::custom(format!("'{}' is not an amount", line.sum)))?;
            totals.sums.insert((line.column, line.currency), units);
        }
        Ok(totals)
    }
}

/// The inverse of [`format_money`], for totals that we wrote ourselves.
fn parse_money(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > usize::from(MONEY_SCALE) || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let units = format!("{whole}{fraction:0<width$}", width = usize::from(MONEY_SCALE));
    units.parse::<i128>().ok().map(|units| sign * units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_print_exactly_and_read_back() {
        for (units, text) in [
            (0, "0.00"),
            (12_345_000_000, "1.2345"),
            (-5_000_000_000, "-0.50"),
            (-1, "-0.0000000001"),
            (1_000_000_000_000, "100.00"),
        ] {
            assert_eq!(format_money(units), text);
            assert_eq!(parse_money(text), Some(units));
        }
        let mut totals = Totals { rows: 2, ..Totals::default() };
        totals.add("earning_amount", "EUR", i128::MAX / 3);
        let json = serde_json::to_string(&totals).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&json).unwrap(), totals);
    }

    #[test]
    fn a_cent_more_is_a_difference() {
        let mut left = Totals::default();
        left.add("a", "EUR", 100);
        let mut right = left.clone();
        assert!(left.differences(&right).is_empty());
        right.add("a", "EUR", 1);
        assert_eq!(left.differences(&right).len(), 1);
        right.add("a", "EUR", -1);
        right.add("a", "USD", 0);
        assert!(left.differences(&right).is_empty(), "a zero sum is no difference");
    }
}
