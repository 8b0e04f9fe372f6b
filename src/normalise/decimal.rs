//! THE line where a cell becomes a decimal. No rounding, ever; no float on the way.

use crate::model::{FaultCode, LOWEST, WORD_BYTES};

/// 10^0 to 10^38; a `decimal128(38, s)` holds magnitudes below the last one.
const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut index = 1;
    while index < 39 {
        powers[index] = powers[index - 1] * 10;
        index += 1;
    }
    powers
};

/// Digits that surely fit into a `u64`.
const FAST_DIGITS: usize = 18;

/// Digits of an exponent; with more of them the cell is no number that anybody means.
const EXPONENT_DIGITS: usize = 4;

/// Reads a decimal as an integer of 10^-`scale` units (`scale` at most 38). Blanks around it are ignored.
///
/// | cell | is |
/// |---|---|
/// | `-12.5`, `+3`, `.5`, `7.` | plain digits, one dot, one sign |
/// | `(12.50)` | negative, as accountants write it |
/// | `1E+3`, `1.5e-2` | powers of ten, with at most four digits of exponent |
/// | `1,234.50`, `1,234,567` | thousands commas: every group has three digits, the first one to three and no leading zero |
/// | `1,234` | [`FaultCode::NotADecimal`]: it may as well be 1.234 with a decimal comma |
/// | `1.50000000000000` | 1.5: surplus digits that are zero say nothing |
/// | `0.00000000001` at scale 10 | [`FaultCode::TooManyDigits`]: it would have to be rounded |
/// | 39 digits at the scale | [`FaultCode::TooManyDigits`] |
///
/// # Errors
/// The fault of the cell; also for a blank one, which the caller is to take as null before.
#[inline]
pub fn parse_decimal(cell: &[u8], scale: u8) -> Result<i128, FaultCode> {
    debug_assert!(usize::from(scale) < POWERS.len());
    match parse_plain(cell, scale) {
        Some(units) => Ok(units),
        None => parse_any(cell, scale),
    }
}

/// The usual cell: a sign, at most 18 digits, a dot. `None` leaves the cell to [`parse_any`].
#[inline]
fn parse_plain(cell: &[u8], scale: u8) -> Option<i128> {
    let (negative, digits) = match cell {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > FAST_DIGITS {
        return None;
    }
    let mut mantissa = 0u64;
    let mut dot = None;
    for (index, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if *byte == b'.' && dot.is_none() && digits.len() > 1 {
            dot = Some(index);
        } else {
            return None;
        }
    }
    let fraction = dot.map_or(0, |dot| digits.len() - dot - 1);
    let missing = usize::from(scale).checked_sub(fraction)?;
    if missing > FAST_DIGITS {
        return signed(negative, u128::from(mantissa).checked_mul(POWERS[missing])?);
    }
    // Two numbers of 64 bits; less than 10^36.
    let units = i128::from(mantissa) * i128::from(POWERS[missing] as u64);
    Some(if negative { -units } else { units })
}

/// The usual cell again, of at most [`WORD_BYTES`], without a look at each of them. The last bytes of `tail` are the cell's, the last
/// one lowest.
#[inline]
pub(super) fn parse_short(tail: u128, cell: &[u8], scale: u8) -> Option<i128> {
    const fn all(byte: u8) -> u128 {
        u128::from_ne_bytes([byte; WORD_BYTES])
    }
    let negative = cell.first() == Some(&b'-');
    let length = cell.len() - usize::from(negative);
    // Zeros in front of the digits.
    let own = LOWEST.get(length)?;
    let text = tail & own | all(b'0') & !own;
    // The upper bit of the lowest byte that is a dot, and perhaps of others above it.
    let dots = text ^ all(b'.');
    let dots = dots.wrapping_sub(all(1)) & !dots & all(0x80);
    let (text, digits, fraction) = match dots {
        0 => (text, length, 0),
        _ => {
            let fraction = dots.trailing_zeros() as usize / 8;
            let behind = LOWEST[fraction];
            (u128::from(b'0') << 120 | text >> 8 & !behind | text & behind, length - 1, fraction)
        }
    };
    let values = text ^ all(b'0');
    // 10 and more have a bit above the lower four, or come to have one.
    if digits == 0 || (values | values.wrapping_add(all(6))) & all(0xf0) != 0 {
        return None;
    }
    let mantissa = eight_digits((values >> 64) as u64) * POWERS[8] as u64 + eight_digits(values as u64);
    let missing = usize::from(scale).checked_sub(fraction).filter(|missing| *missing <= FAST_DIGITS)?;
    // Two numbers of 64 bits.
    let units = i128::from(mantissa) * i128::from(POWERS[missing] as u64);
    Some(if negative { -units } else { units })
}

/// The number that eight digits are, of which each is a byte, the last one lowest.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let twos = (digits >> 8 & 0x00ff_00ff_00ff_00ff) * 10 + (digits & 0x00ff_00ff_00ff_00ff);
    let fours = (twos >> 16 & 0x0000_ffff_0000_ffff) * 100 + (twos & 0x0000_ffff_0000_ffff);
    (fours >> 32) * 10_000 + (fours & 0xffff_ffff)
}

/// Every other spelling, digit by digit.
fn parse_any(cell: &[u8], scale: u8) -> Result<i128, FaultCode> {
    let cell = cell.trim_ascii();
    let (negative, cell) = match cell {
        [b'(', inner @ .., b')'] => (true, inner),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (number, exponent) = match cell.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&cell[..at], parse_exponent(&cell[at + 1..])?),
        None => (cell, 0),
    };
    let (whole, fraction) = match number.iter().position(|byte| *byte == b'.') {
        Some(at) => (&number[..at], Some(&number[at + 1..])),
        None => (number, None),
    };
    if whole.contains(&b',') && !commas_are_thousands(whole, fraction.is_some()) {
        return Err(FaultCode::NotADecimal);
    }
    let fraction = fraction.unwrap_or_default();
    let mut digits = Digits::default();
    for byte in whole.iter().filter(|byte| **byte != b',').chain(fraction) {
        digits.push(*byte)?;
    }
    if digits.seen == 0 {
        return Err(FaultCode::NotADecimal);
    }
    let power = digits.trailing_zeros + exponent - fraction.len() as i64 + i64::from(scale);
    if digits.mantissa == Some(0) {
        return Ok(0);
    }
    // The mantissa ends in a digit that is not zero: a negative power would cut that digit off.
    let factor = usize::try_from(power).ok().and_then(|power| POWERS.get(power));
    let units = digits.mantissa.zip(factor).and_then(|(mantissa, factor)| mantissa.checked_mul(*factor));
    units.and_then(|units| signed(negative, units)).ok_or(FaultCode::TooManyDigits)
}

/// Digits of any number without the zeros at either end.
struct Digits {
    // `None` once there are more than 38 of them.
    mantissa: Option<u128>,
    trailing_zeros: i64,
    seen: usize,
}

impl Default for Digits {
    fn default() -> Self {
        Digits { mantissa: Some(0), trailing_zeros: 0, seen: 0 }
    }
}

impl Digits {
    fn push(&mut self, byte: u8) -> Result<(), FaultCode> {
        if !byte.is_ascii_digit() {
            return Err(FaultCode::NotADecimal);
        }
        self.seen += 1;
        if byte == b'0' {
            // Zeros in front of the first digit have no weight.
            self.trailing_zeros += i64::from(self.mantissa != Some(0));
            return Ok(());
        }
        let shift = usize::try_from(self.trailing_zeros + 1).ok().and_then(|zeros| POWERS.get(zeros));
        self.mantissa = self
            .mantissa
            .zip(shift)
            .and_then(|(mantissa, shift)| mantissa.checked_mul(*shift))
            .and_then(|mantissa| mantissa.checked_add(u128::from(byte - b'0')));
        self.trailing_zeros = 0;
        Ok(())
    }
}

fn signed(negative: bool, units: u128) -> Option<i128> {
    // Below 10^38, which is below i128::MAX.
    let units = i128::try_from(units).ok().filter(|_| units < POWERS[38])?;
    Some(if negative { -units } else { units })
}

fn parse_exponent(text: &[u8]) -> Result<i64, FaultCode> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if !(1..=EXPONENT_DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FaultCode::NotADecimal);
    }
    Ok(digits.iter().fold(0, |sum, byte| sum * 10 + i64::from(byte - b'0')) * sign)
}

/// `1,234` alone is not enough: somewhere it means 1.234.
fn commas_are_thousands(whole: &[u8], has_dot: bool) -> bool {
    let mut groups = whole.split(|byte| *byte == b',');
    let first = groups.next().unwrap_or_default();
    let mut commas = 0;
    for group in groups {
        commas += 1;
        if group.len() != 3 {
            return false;
        }
    }
    matches!(first.len(), 1..=3) && first[0] != b'0' && (commas > 1 || has_dot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use num_bigint::BigInt;
    use proptest::prelude::*;

    use FaultCode::{NotADecimal, TooManyDigits};

    #[test]
    fn spellings_at_scale_ten() {
        let one = 10i128.pow(10);
        for (cell, units) in [
            ("0", Ok(0)),
            ("-0.00", Ok(0)),
            ("1", Ok(one)),
            ("-12.5", Ok(-12 * one - one / 2)),
            ("+3", Ok(3 * one)),
            (" 7. ", Ok(7 * one)),
            (".5", Ok(one / 2)),
            ("(12.50)", Ok(-12 * one - one / 2)),
            ("1E+3", Ok(1000 * one)),
            ("1.5e-2", Ok(15 * one / 1000)),
            ("0e9999", Ok(0)),
            ("0e99999", Err(NotADecimal)),
            ("1,234.50", Ok(1234 * one + one / 2)),
            ("-1,234,567", Ok(-1_234_567 * one)),
            ("(1,234.5)", Ok(-1234 * one - one / 2)),
            ("1.50000000000000000000000000000000000000000", Ok(one + one / 2)),
            ("000000000000000000000000000000000000000000001", Ok(one)),
            ("0.0000000001", Ok(1)),
            ("0.00000000001", Err(TooManyDigits)),
            ("1E-11", Err(TooManyDigits)),
            ("9999999999999999999999999999", Ok(10i128.pow(38) - one)),
            ("10000000000000000000000000000", Err(TooManyDigits)),
            ("1E+28", Err(TooManyDigits)),
            ("1e9999", Err(TooManyDigits)),
            ("123456789012345678901234567890123456789012", Err(TooManyDigits)),
            ("1,234", Err(NotADecimal)),
            ("0,123.5", Err(NotADecimal)),
            ("12,34.5", Err(NotADecimal)),
            ("1,2345.0", Err(NotADecimal)),
            (",123.0", Err(NotADecimal)),
            ("1.234,50", Err(NotADecimal)),
            ("1,5", Err(NotADecimal)),
            ("", Err(NotADecimal)),
            ("-", Err(NotADecimal)),
            (".", Err(NotADecimal)),
            ("()", Err(NotADecimal)),
            ("(-5)", Err(NotADecimal)),
            ("(5", Err(NotADecimal)),
            ("--5", Err(NotADecimal)),
            ("1.2.3", Err(NotADecimal)),
            ("1e", Err(NotADecimal)),
            ("e5", Err(NotADecimal)),
            ("1e5.0", Err(NotADecimal)),
            ("NaN", Err(NotADecimal)),
            ("Infinity", Err(NotADecimal)),
            ("1 234", Err(NotADecimal)),
            ("€5", Err(NotADecimal)),
            ("0x10", Err(NotADecimal)),
        ] {
            assert_eq!(parse_decimal(cell.as_bytes(), 10), units, "{cell:?}");
        }
    }

    #[test]
    fn the_short_way_takes_what_is_usual() {
        for cell in [
            "0",
            "-0.00",
            "12.5",
            "-1234567.25",
            ".5",
            "7.",
            "1234567890123456",
            "-12345678901.234",
            "123456789.123456",
        ] {
            let text = format!("9.9-9.9,1234-9.9{cell}");
            let tail = u128::from_be_bytes(*text.as_bytes().last_chunk().unwrap());
            assert_eq!(parse_short(tail, cell.as_bytes(), 10), parse_any(cell.as_bytes(), 10).ok(), "{cell}");
        }
    }

    /// The plain text of an integer of 10^-scale units.
    fn printed(units: i128, scale: u8) -> String {
        let digits = format!("{:0>width$}", units.unsigned_abs(), width = usize::from(scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
        let sign = if units < 0 { "-" } else { "" };
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    proptest! {
        #[test]
        fn what_was_printed_reads_back(units in -(10i128.pow(38) - 1)..10i128.pow(38), scale in 0u8..=38, shift in 0u32..38) {
            let units = units / 10i128.pow(shift);
            let text = printed(units, scale);
            prop_assert_eq!(parse_decimal(text.as_bytes(), scale), Ok(units));
            let more = if scale == 0 { format!("{text}.000") } else { format!("{text}000") };
            prop_assert_eq!(parse_decimal(more.as_bytes(), scale), Ok(units));
            if let Some(magnitude) = text.strip_prefix('-') {
                prop_assert_eq!(parse_decimal(format!("({magnitude})").as_bytes(), scale), Ok(units));
            }
        }

        #[test]
        fn a_big_integer_agrees(whole in "[0-9]{1,30}", fraction in "[0-9]{0,30}", exponent in -20i32..20, scale in 0u8..=38) {
            // Oracle: digits * 10^power as a big integer, exact or refused.
            let text = format!("{whole}.{fraction}e{exponent}");
            let digits: BigInt = format!("{whole}{fraction}").parse().unwrap();
            let power = i32::from(scale) + exponent - fraction.len() as i32;
            let ten = BigInt::from(10).pow(power.unsigned_abs());
            let exact = if power >= 0 {
                Some(&digits * &ten)
            } else {
                (&digits % &ten == BigInt::from(0)).then(|| &digits / &ten)
            };
            let fits = exact.filter(|units| *units < BigInt::from(10).pow(38));
            let read = parse_decimal(text.as_bytes(), scale);
            match fits {
                Some(units) => prop_assert_eq!(read.map(BigInt::from), Ok(units)),
                None => prop_assert_eq!(read, Err(TooManyDigits)),
            }
        }

        #[test]
        fn a_digit_too_many_is_never_rounded(units in -10i128.pow(30)..10i128.pow(30), scale in 0u8..30, digit in 1u8..10) {
            let text = printed(units, scale);
            let text = if scale == 0 { format!("{text}.{digit}") } else { format!("{text}{digit}") };
            prop_assert_eq!(parse_decimal(text.as_bytes(), scale), Err(TooManyDigits));
        }

        #[test]
        fn both_paths_agree(cell in "[-+]?[0-9]{0,9}[.]?[0-9]{0,9}", scale in 0u8..=38) {
            if let Some(units) = parse_plain(cell.as_bytes(), scale) {
                prop_assert_eq!(parse_any(cell.as_bytes(), scale), Ok(units));
            }
        }

        #[test]
        fn the_short_way_agrees(before in "[-.0-9]{16}", cell in "[-+]?[0-9]{0,9}[.]?[0-9]{0,9}|[-.,0-9/:e]{0,17}", scale in 0u8..=38) {
            let text = format!("{before}{cell}");
            let tail = u128::from_be_bytes(*text.as_bytes().last_chunk().unwrap());
            if let Some(units) = parse_short(tail, cell.as_bytes(), scale) {
                prop_assert_eq!(parse_any(cell.as_bytes(), scale), Ok(units));
            }
        }

        #[test]
        fn any_bytes_are_an_answer(cell in proptest::collection::vec(any::<u8>(), 0..60), scale in 0u8..=38) {
            let _ = parse_decimal(&cell, scale);
        }

        #[test]
        fn number_like_bytes_are_an_answer(cell in "[-+().,eE0-9 ]{0,50}", scale in 0u8..=38) {
            let _ = parse_decimal(cell.as_bytes(), scale);
        }
    }
}
