//! Which months are asked for, and in which exports.

use jiff::civil::Date;

use crate::model::{Month, Window};

/// The last `months` months up to the one of `today`, cut into exports of at most `per_export` months, oldest
/// first. The cuts stand at the same months whatever the day (3: at the quarters), so that the next night asks for
/// the same windows; the first and the last export may be shorter.
#[must_use]
pub fn windows(today: Date, months: u32, per_export: u32) -> Vec<Window> {
    let last = Month::of(today);
    let first = last.plus(1 - months.max(1) as i32);
    let per_export = per_export.max(1) as i32;
    let mut windows = Vec::new();
    let mut start = first;
    while start <= last {
        let months_to_cut = per_export - start.index().rem_euclid(per_export);
        let end = start.plus(months_to_cut - 1).min(last);
        windows.push(Window::new(start, end));
        start = end.plus(1);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_covered_once_and_in_order() {
        let found: Vec<String> =
            windows(Date::constant(2026, 2, 11), 8, 3).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["2025-07..2025-09", "2025-10..2025-12", "2026-01..2026-02"]);
        let later = windows(Date::constant(2026, 3, 1), 8, 3);
        let later: Vec<String> = later.iter().map(ToString::to_string).collect();
        assert_eq!(later, ["2025-08..2025-09", "2025-10..2025-12", "2026-01..2026-03"], "the cuts stay");
        assert_eq!(windows(Date::constant(2026, 2, 1), 1, 3).len(), 1);
        assert_eq!(windows(Date::constant(2026, 2, 1), 0, 0).len(), 1, "never nothing");
    }
}
