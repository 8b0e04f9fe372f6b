//! Numbers as people read them.

/// `1234567` as `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    group(&number.to_string())
}

/// `-1234567.50` as `-1,234,567.50`.
#[must_use]
pub fn money(plain: &str) -> String {
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |rest| ("-", rest));
    let (whole, fraction) =
        digits.split_once('.').map_or((digits, String::new()), |(w, f)| (w, format!(".{f}")));
    format!("{sign}{}{fraction}", group(whole))
}

fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in decimal units: `61.3 MB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

/// `4.2 s`, `3 min 12 s`.
#[must_use]
pub fn duration(duration: jiff::SignedDuration) -> String {
    let tenths = duration.as_millis().max(0) / 100;
    match tenths {
        0..600 => format!("{}.{} s", tenths / 10, tenths % 10),
        _ => format!("{} min {} s", tenths / 600, tenths % 600 / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_never_changed() {
        assert_eq!(count(0), "0");
        assert_eq!(count(123_456), "123,456");
        assert_eq!(money("-1234567.5001"), "-1,234,567.5001");
        assert_eq!(money("12.30"), "12.30");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(61_349_000), "61.3 MB");
        assert_eq!(duration(jiff::SignedDuration::from_millis(4_249)), "4.2 s");
        assert_eq!(duration(jiff::SignedDuration::from_secs(192)), "3 min 12 s");
    }
}
