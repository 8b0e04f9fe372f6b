//! Money as integers: every amount is an `i64` or `i128` in units of 10⁻¹⁰ of its currency.

use std::fmt;

/// Units in 1 of a currency.
pub const ONE: i64 = 10_000_000_000;

/// Fraction digits of a unit.
pub const SCALE: usize = 10;

/// Units in a cent: the step of every USD twin.
const CENT: i128 = 100_000_000;

/// A currency of the corpus.
pub struct Currency {
    /// ISO 4217 code.
    pub code: &'static str,
    /// Digits that its smallest coin has: JPY 0, KWD 3.
    pub decimals: usize,
    /// Middle of its exchange rate, in 10⁻¹² USD.
    pub usd: u64,
}

pub const USD: usize = 0;
pub const EUR: usize = 1;
pub const SEK: usize = 2;
pub const JPY: usize = 3;
pub const KWD: usize = 4;

/// Indexed by the constants above.
pub const CURRENCIES: [Currency; 5] = [
    Currency { code: "USD", decimals: 2, usd: 1_000_000_000_000 },
    Currency { code: "EUR", decimals: 2, usd: 1_084_512_345_677 },
    Currency { code: "SEK", decimals: 2, usd: 95_137_204_511 },
    Currency { code: "JPY", decimals: 0, usd: 6_702_318_209 },
    Currency { code: "KWD", decimals: 3, usd: 3_251_907_440_823 },
];

impl Currency {
    /// Units in the smallest coin.
    #[must_use]
    pub fn coin(&self) -> i128 {
        10_i128.pow((SCALE - self.decimals) as u32)
    }
}

/// `value / step`, rounded to the nearest, halves to the even neighbour.
#[must_use]
pub fn divide_half_even(value: i128, step: i128) -> i128 {
    // One division: those of 128 bits are calls, and this is where the time of a row goes.
    let cut = value / step;
    let over = value - cut * step;
    let (quotient, rest) = if over < 0 { (cut - 1, over + step) } else { (cut, over) };
    match (rest * 2).cmp(&step) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + quotient.rem_euclid(2),
    }
}

/// `units` times a rate in 10⁻¹², rounded half-even to whole cents.
#[must_use]
pub fn to_usd(units: i64, rate: u64) -> i64 {
    const RATE_ONE: i128 = 1_000_000_000_000;
    let cents = divide_half_even(i128::from(units) * i128::from(rate), RATE_ONE * CENT);
    (cents * CENT) as i64
}

/// `units` times `part / whole`, rounded half-even to the smallest coin of `currency`.
#[must_use]
pub fn share(units: i128, part: i128, whole: i128, currency: usize) -> i128 {
    let coin = CURRENCIES[currency].coin();
    divide_half_even(units * part, whole * coin) * coin
}

/// An exact amount; prints and serialises as plain decimal digits without trailing zeros: `-12.5`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(
    /// In units of 10⁻¹⁰ of the currency.
    pub i128,
);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let one = u128::from(ONE.unsigned_abs());
        let (whole, fraction) = (magnitude / one, magnitude % one);
        let sign = if self.0 < 0 { "-" } else { "" };
        let digits = format!("{fraction:010}");
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        f.pad(&format!("{sign}{whole}{point}{digits}"))
    }
}

impl serde::Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour_on_both_sides_of_zero() {
        for (value, expected) in [
            (25, 2),
            (35, 4),
            (26, 3),
            (24, 2),
            (-25, -2),
            (-35, -4),
            (-26, -3),
            (0, 0),
            (5, 0),
            (-5, 0),
            (15, 2),
        ] {
            assert_eq!(divide_half_even(value, 10), expected, "{value}");
        }
    }

    #[test]
    fn a_usd_twin_is_whole_cents() {
        assert_eq!(to_usd(ONE, 1_084_512_345_677), 10_800_000_000);
        assert_eq!(to_usd(50_000_000, 1_000_000_000_000), 0, "half a cent goes to the even 0");
        assert_eq!(to_usd(150_000_000, 1_000_000_000_000), 200_000_000);
    }

    #[test]
    fn amounts_print_plain_digits() {
        assert_eq!(Amount(-125_000_000_000).to_string(), "-12.5");
        assert_eq!(Amount(-1).to_string(), "-0.0000000001");
        assert_eq!(Amount(0).to_string(), "0");
    }
}
