//! Which months are asked for, and in which exports.

use jiff::civil::Date;

use crate::model::{Month, Window};

/// The last `months` months up to the one of `today`, cut into exports of at most `per_export` months, oldest
/// first. The newest export is the one that may be short of months: the older ones keep their bounds for longer.
#[must_use]
pub fn windows(today: Date, months: u32, per_export: u32) -> Vec<Window> {
    let last = Month::of(today);
    let first = last.plus(1 - months.max(1) as i32);
    let per_export = per_export.max(1) as i32;
    let mut windows = Vec::new();
    let mut start = first;
    while start <= last {
        let end = start.plus(per_export - 1).min(last);
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
        assert_eq!(windows(Date::constant(2026, 2, 1), 1, 3).len(), 1);
        assert_eq!(windows(Date::constant(2026, 2, 1), 0, 0).len(), 1, "never nothing");
    }
}
