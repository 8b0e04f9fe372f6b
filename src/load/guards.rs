//! When a change is not believed: never overwrite with less.

use serde::{Deserialize, Serialize};

use super::Staged;
use crate::lake::Partition;
use crate::model::Month;

/// When a window is held instead of committed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// A month that would lose more than this share of its rows is held, in percent. Only 100 lets it lose all.
    pub max_shrink_percent: u32,
    /// A month that had fewer rows than this may shrink freely, but not to nothing.
    pub shrink_floor_rows: u64,
    /// An export of which more than this share of the rows is refused is held, in percent.
    pub max_quarantined_percent: u32,
}

impl Default for Guards {
    fn default() -> Self {
        Guards { max_shrink_percent: 10, shrink_floor_rows: 100, max_quarantined_percent: 1 }
    }
}

/// Why a month may not be replaced by so few rows.
pub(super) fn shrunk_month(guards: &Guards, month: Month, old: u64, new: u64) -> Option<String> {
    shrunk(guards, &month.to_string(), old, new)
}

/// Why a pull of everything is not believed: it has too few of the rows that the service can still reach.
pub(super) fn shrunk_pull(guards: &Guards, old: &[&Partition], staged: &Staged) -> Option<String> {
    // What stands before the first month of the pull may have left the service's reach.
    let first = staged.parts.iter().filter_map(|part| part.key.month()).min();
    let reachable = |p: &&&Partition| match (p.key.month(), first) {
        (Some(month), Some(first)) => month >= first,
        _ => true,
    };
    let old = old.iter().filter(reachable).map(|p| p.totals.rows).sum();
    shrunk(guards, "the account", old, staged.totals().rows)
}

fn shrunk(guards: &Guards, what: &str, old: u64, new: u64) -> Option<String> {
    let lost = u128::from(old.saturating_sub(new)) * 100;
    let allowed = u128::from(old) * u128::from(guards.max_shrink_percent);
    if lost <= allowed || (old < guards.shrink_floor_rows && new > 0) {
        return None;
    }
    let percent = guards.max_shrink_percent;
    Some(format!(
        "{what} has {old} rows in the lake and {new} in this export: more than {percent} % would vanish"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_may_shrink_a_little_and_never_vanish() {
        let guards = Guards::default();
        let held = |old, new| shrunk_month(&guards, Month::new(2026, 9), old, new).is_some();
        assert!(!held(1000, 900));
        assert!(held(1000, 899));
        assert!(!held(99, 1), "below the floor");
        assert!(held(1, 0), "to nothing");
        assert!(!held(0, 0));
        assert!(!held(10, 1000));
        let open = Guards { max_shrink_percent: 100, ..guards };
        assert_eq!(shrunk_month(&open, Month::new(2026, 9), 1000, 0), None);
    }
}
