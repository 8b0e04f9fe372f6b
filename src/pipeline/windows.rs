//! Which months are asked for, in which exports, and why: a pure function of the time and of what the lake has.
//!
//! All that it needs to know of earlier runs stands in the manifests (`covered_at` of each month) and in the ledger
//! (open exports): nothing else remembers how far a pipeline is, so a backfill moves nothing.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Deserializer};

use crate::model::{Month, MovedPayment, Reason, Why, Window};

/// The service reaches back so many months, the running one included.
pub const REACH_MONTHS: u32 = 36;

/// So many months back are asked for again so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// The running month included.
    pub months: u32,
    /// `"7 days"`, `"12 hours"`; without it by every run.
    #[serde(default, deserialize_with = "span")]
    pub every: SignedDuration,
}

/// What is asked for of one dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Everything that the service can reach, in one export.
    Whole,
    /// What is due by the tiers.
    LookBack { running: Month, tiers: Vec<Tier>, per_export: u32 },
    /// These months, save those that were covered within `fresh_for`.
    Backfill { months: Window, per_export: u32, fresh_for: SignedDuration },
    /// Just these.
    Windows(Vec<Window>),
}

/// What the lake knows of one dataset; nothing on first use.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// When the newest export was finished that is the whole truth about a month.
    pub covered: BTreeMap<Month, Timestamp>,
    /// Payments that moved since, by the months whose rows they pay.
    pub moved: BTreeMap<Month, Vec<MovedPayment>>,
    /// Windows of open exports that a run may adopt, the best first.
    pub open: Vec<Window>,
}

/// One export to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    pub window: Window,
    pub why: Vec<Why>,
}

/// By so much earlier a month is due, so that a nightly run that starts earlier than the night before finds it due:
/// "1 day" is 20 hours.
const SLACK: SignedDuration = SignedDuration::from_hours(4);

/// Earnings may trail their payment by 24 hours: what was exported sooner after it is exported once more. Less the
/// slack, so that the next night is late enough.
const LAG: SignedDuration = SignedDuration::from_hours(20);

/// # Errors
/// When it is no span of time that is longer than none and shorter than a few years.
pub fn parse_span(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("'{text}' is not a span of time: write \"7 days\" or \"12 hours\"");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    let longest = SignedDuration::from_hours(24 * 1000);
    if span < SignedDuration::ZERO || span > longest { Err(wrong()) } else { Ok(span) }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SignedDuration, D::Error> {
    parse_span(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// The exports to ask for, oldest first; they never overlap. None of it is for a dataset that is pulled whole.
#[must_use]
pub fn due(ask: &Ask, now: Timestamp, past: &Past) -> Vec<Due> {
    match ask {
        Ask::Whole => Vec::new(),
        Ask::LookBack { running, tiers, per_export } => {
            // The cuts stand at the same months whatever the day: 3 cuts at the quarters.
            cut(look_back(*running, tiers, now, past), *per_export, 0, &past.open)
        }
        Ask::Backfill { months, per_export, fresh_for } => {
            let stale = months.months().filter(|month| !is_fresh(past, *month, now, *fresh_for));
            let due = stale.map(|month| (month, vec![Reason::Backfill])).collect();
            cut(due, *per_export, months.first.index(), &past.open)
        }
        Ask::Windows(windows) => {
            let due = |window: &Window| {
                let why = Why { reason: Reason::Backfill, months: window.months().collect() };
                Due { window: *window, why: vec![why] }
            };
            windows.iter().map(due).collect()
        }
    }
}

/// Whether a month of a backfill needs no new export.
#[must_use]
pub fn is_fresh(past: &Past, month: Month, now: Timestamp, fresh_for: SignedDuration) -> bool {
    past.covered.get(&month).is_some_and(|at| now.duration_since(*at).abs() < fresh_for)
}

/// The months that tiers reach, within the service's own reach.
#[must_use]
pub fn reached(running: Month, tiers: &[Tier]) -> Window {
    let months = tiers.iter().map(|tier| tier.months).max().unwrap_or(1).clamp(1, REACH_MONTHS);
    Window::new(running.plus(1 - months as i32), running)
}

/// The months that the service can reach.
#[must_use]
pub fn reach(running: Month) -> Window {
    Window::new(running.plus(1 - REACH_MONTHS as i32), running)
}

fn look_back(running: Month, tiers: &[Tier], now: Timestamp, past: &Past) -> BTreeMap<Month, Vec<Reason>> {
    let mut due = BTreeMap::new();
    for month in reached(running, tiers).months() {
        let mut reasons = Vec::new();
        if month == running {
            reasons.push(Reason::Forward);
        }
        match past.covered.get(&month) {
            _ if month == running => {}
            None => reasons.push(Reason::Gap),
            Some(at) => {
                reasons.extend(again(month, running, tiers, *at, now));
                let moved = past.moved.get(&month).into_iter().flatten();
                let unsettled = moved.filter(|payment| is_unsettled(payment.seen_at, *at, now));
                reasons.extend(unsettled.cloned().map(Reason::Payment));
            }
        }
        if !reasons.is_empty() {
            due.insert(month, reasons);
        }
    }
    due
}

/// Whether the look-back comes again to a month that was covered at an instant.
fn again(month: Month, running: Month, tiers: &[Tier], at: Timestamp, now: Timestamp) -> Option<Reason> {
    let age = u32::try_from(running.index() - month.index()).unwrap_or(0);
    let tier = tiers.iter().filter(|tier| tier.months > age).min_by_key(|tier| tier.every)?;
    let slack = SLACK.min(tier.every / 6);
    // A time to come is the mistake of a clock, and no reason to wait until it has come.
    let is_due = now.duration_since(at).abs() >= tier.every - slack;
    is_due.then_some(Reason::LookBack { months: tier.months, every: tier.every })
}

/// Whether an export of `covered_at` may not know yet what a payment that was seen at `seen_at` did to its rows.
#[must_use]
pub fn is_unsettled(seen_at: Timestamp, covered_at: Timestamp, now: Timestamp) -> bool {
    let settled_at = seen_at.saturating_add(LAG).unwrap_or(seen_at);
    covered_at < seen_at || (covered_at < settled_at && now >= settled_at)
}

/// The payments that were seen after this may still matter to a month that was covered at an instant.
#[must_use]
pub fn unsettled_since(covered_at: Timestamp) -> Timestamp {
    covered_at.saturating_sub(LAG).unwrap_or(covered_at)
}

/// Cuts due months into exports: first the windows of open exports that have one of them, so that nothing is asked for
/// twice; then, between cuts at every `per_export`-th month from `origin`, from the first due month to the last. What
/// stands between comes along: an export may take a day, whatever is in it.
fn cut(due: BTreeMap<Month, Vec<Reason>>, per_export: u32, origin: i32, open: &[Window]) -> Vec<Due> {
    let per_export = per_export.max(1) as i32;
    let block = |month: Month| (month.index() - origin).div_euclid(per_export);
    let is_free =
        |taken: &[Window], new: Window| taken.iter().all(|w| new.last < w.first || w.last < new.first);
    let mut windows: Vec<Window> = Vec::new();
    for window in open {
        if is_free(&windows, *window) && window.months().any(|month| due.contains_key(&month)) {
            windows.push(*window);
        }
    }
    let taken = windows.clone();
    let mut current: Option<Window> = None;
    for month in due.keys().filter(|month| !taken.iter().any(|window| window.contains(**month))) {
        match &mut current {
            Some(window)
                if block(window.first) == block(*month)
                    && is_free(&taken, Window::new(window.first, *month)) =>
            {
                window.last = *month;
            }
            _ => windows.extend(current.replace(Window::new(*month, *month))),
        }
    }
    windows.extend(current);
    windows.sort_unstable();
    windows.into_iter().map(|window| Due { window, why: reasons(window, &due) }).collect()
}

/// The reasons of a window, each with its months.
fn reasons(window: Window, due: &BTreeMap<Month, Vec<Reason>>) -> Vec<Why> {
    let mut months: BTreeMap<Reason, Vec<Month>> = BTreeMap::new();
    for month in window.months() {
        match due.get(&month) {
            Some(reasons) => {
                reasons.iter().for_each(|reason| months.entry(reason.clone()).or_default().push(month));
            }
            None => months.entry(Reason::Between).or_default().push(month),
        }
    }
    months.into_iter().map(|(reason, months)| Why { reason, months }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn running() -> Month {
        Month::new(2026, 11)
    }

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn tiers() -> Vec<Tier> {
        [(3, 1), (12, 7), (36, 30)].map(|(months, days)| Tier { months, every: DAY * days }).into()
    }

    fn ask(tiers: Vec<Tier>, per_export: u32) -> Ask {
        Ask::LookBack { running: running(), tiers, per_export }
    }

    fn every_run(months: u32) -> Vec<Tier> {
        vec![Tier { months, every: SignedDuration::ZERO }]
    }

    fn covered(window: Window, at: Timestamp) -> Past {
        Past { covered: window.months().map(|month| (month, at)).collect(), ..Past::default() }
    }

    fn shown(due: &[Due]) -> Vec<String> {
        let why = |why: &Why| format!("{}: {}", why.reason, crate::model::spans(&why.months));
        let one = |due: &Due| {
            format!("{} ({})", due.window, due.why.iter().map(why).collect::<Vec<_>>().join("; "))
        };
        due.iter().map(one).collect()
    }

    fn windows(due: &[Due]) -> Vec<String> {
        due.iter().map(|due| due.window.to_string()).collect()
    }

    #[test]
    fn months_of_every_run_are_asked_once_and_in_order() {
        let now = at("2026-11-23T02:00:00Z");
        let plain = |running, months, per_export| {
            let ask = Ask::LookBack { running, tiers: every_run(months), per_export };
            windows(&due(&ask, now, &Past::default()))
        };
        assert_eq!(
            plain(Month::new(2026, 2), 8, 3),
            ["2025-07..2025-09", "2025-10..2025-12", "2026-01..2026-02"]
        );
        let later = plain(Month::new(2026, 3), 8, 3);
        assert_eq!(later, ["2025-08..2025-09", "2025-10..2025-12", "2026-01..2026-03"], "the cuts stay");
        assert_eq!(plain(running(), 1, 3), ["2026-11"]);
        assert_eq!(plain(running(), 0, 0), ["2026-11"], "never nothing");
        assert_eq!(
            plain(running(), 99, 36).first().map(String::as_str),
            Some("2023-12..2024-12"),
            "the service's reach"
        );
        // A second run asks for all of it again.
        let again = due(&ask(every_run(3), 3), now, &covered(reach(running()), now));
        assert_eq!(windows(&again), ["2026-09", "2026-10..2026-11"]);
    }

    #[test]
    fn a_tier_comes_back_after_its_interval_and_not_before() {
        let now = at("2026-11-23T02:00:00Z");
        let after = |hours| {
            let past = covered(reach(running()), now - SignedDuration::from_hours(hours));
            shown(&due(&ask(tiers(), 3), now, &past))
        };
        assert_eq!(after(19), ["2026-11 (the running month: 2026-11)"]);
        let nightly = "look-back over 3 months, every day";
        assert_eq!(
            after(20),
            [
                format!("2026-09 ({nightly}: 2026-09)"),
                format!("2026-10..2026-11 (the running month: 2026-11; {nightly}: 2026-10)")
            ]
        );
        assert_eq!(after(7 * 24 - 5).len(), 2);
        assert_eq!(after(7 * 24 - 4)[0], "2025-12 (look-back over 12 months, every 7 days: 2025-12)");
        assert_eq!(after(30 * 24 - 4)[0], "2023-12 (look-back over 36 months, every 30 days: 2023-12)");
        // The clock of the machine that covered it ran ahead.
        let ahead = covered(reach(running()), now + SignedDuration::from_hours(30));
        assert_eq!(due(&ask(tiers(), 3), now, &ahead).len(), 2);
    }

    #[test]
    fn gaps_are_filled_and_what_stands_between_comes_along() {
        let now = at("2026-11-23T02:00:00Z");
        let mut past = covered(reach(running()), now);
        for month in [Month::new(2025, 1), Month::new(2025, 3), Month::new(2025, 4)] {
            past.covered.remove(&month);
        }
        assert_eq!(
            shown(&due(&ask(tiers(), 3), now, &past)),
            [
                "2025-01..2025-03 (gap, nothing covers it yet: 2025-01, 2025-03; stands between months that are due: 2025-02)",
                "2025-04 (gap, nothing covers it yet: 2025-04)",
                "2026-11 (the running month: 2026-11)",
            ]
        );
    }

    #[test]
    fn the_window_of_an_open_export_is_kept() {
        let now = at("2026-11-23T02:00:00Z");
        let window = |first, last| Window::new(Month::new(2026, first), Month::new(2026, last));
        let mut past = covered(reach(running()), now - DAY);
        // Another pipeline cut otherwise, and asked for more; the second is overlapped, the third has nothing due.
        past.open = vec![window(8, 10), window(10, 11), window(1, 2)];
        assert_eq!(windows(&due(&ask(tiers(), 3), now, &past)), ["2026-08..2026-10", "2026-11"]);
    }

    #[test]
    fn a_payment_names_months_until_they_are_exported_late_enough() {
        let seen_at = at("2026-11-20T02:10:00Z");
        let month = Month::new(2025, 5);
        let payment = MovedPayment { payment_id: "7".into(), status: "Sent".into(), seen_at };
        let asked = |covered_at: &str, now: &str| {
            let mut past = covered(reach(running()), at(covered_at));
            past.moved.insert(month, vec![payment.clone()]);
            let due = due(&ask(vec![Tier { months: 36, every: DAY * 30 }], 3), at(now), &past);
            due.iter().any(|due| due.window.contains(month))
        };
        assert!(asked("2026-11-19T00:00:00Z", "2026-11-20T02:20:00Z"), "at once");
        assert!(!asked("2026-11-20T02:30:00Z", "2026-11-20T04:00:00Z"), "not twice at once");
        assert!(asked("2026-11-20T02:30:00Z", "2026-11-21T02:00:00Z"), "once more when a day has passed");
        assert!(!asked("2026-11-21T02:00:00Z", "2026-11-30T02:00:00Z"), "and then no more");
        let now = at("2026-11-20T02:20:00Z");
        let mut past = covered(reach(running()), at("2026-11-19T12:00:00Z"));
        past.moved.insert(month, vec![payment.clone()]);
        assert_eq!(
            shown(&due(&ask(tiers(), 3), now, &past))[0],
            "2025-05 (payment 7 moved to Sent: 2025-05)"
        );
    }

    #[test]
    fn a_backfill_goes_on_where_it_stood() {
        let now = at("2026-11-23T02:00:00Z");
        let months = Window::new(Month::new(2024, 2), Month::new(2025, 1));
        let fresh_for = DAY * 7;
        let ask = Ask::Backfill { months, per_export: 3, fresh_for };
        let all = due(&ask, now, &Past::default());
        assert_eq!(
            windows(&all),
            ["2024-02..2024-04", "2024-05..2024-07", "2024-08..2024-10", "2024-11..2025-01"]
        );
        let mut past = covered(all[0].window, now - DAY);
        past.covered.extend(covered(all[2].window, now - DAY * 8).covered);
        assert_eq!(
            windows(&due(&ask, now, &past)),
            ["2024-05..2024-07", "2024-08..2024-10", "2024-11..2025-01"]
        );
        let again = Ask::Backfill { months, per_export: 3, fresh_for: SignedDuration::ZERO };
        assert_eq!(due(&again, now, &past).len(), 4);
        let ahead = covered(months, now + DAY);
        assert_eq!(due(&again, now, &ahead).len(), 4, "the clock of the machine that covered them ran ahead");
    }

    #[test]
    fn spans_are_words() {
        assert_eq!(parse_span("1 day"), Ok(DAY));
        assert_eq!(parse_span("2 weeks"), Ok(DAY * 14));
        assert_eq!(parse_span("12h"), Ok(SignedDuration::from_hours(12)));
        for wrong in ["", "1", "1 month", "-1 day", "9999 days", "soon"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    /// Any tiers, and when each month was covered, in hours before now.
    fn any_tiers() -> impl Strategy<Value = Vec<Tier>> {
        let tier = (1..=40u32, 0..40i64)
            .prop_map(|(months, days)| Tier { months, every: SignedDuration::from_hours(24 * days) });
        prop::collection::vec(tier, 1..4)
    }

    proptest! {
        #[test]
        fn exports_are_disjoint_ordered_and_bounded(
            tiers in any_tiers(),
            per_export in 1..7u32,
            hours in prop::collection::vec(prop::option::of(0..1500i64), 45),
            open in prop::collection::vec((0..45i32, 0..6i32), 0..4),
        ) {
            let now = at("2026-11-23T02:00:00Z");
            let months = hours.iter().enumerate().map(|(age, hours)| (running().plus(-(age as i32)), hours));
            let covered = months.filter_map(|(month, hours)| Some((month, now - SignedDuration::from_hours((*hours)?))));
            let open = open.iter().map(|(age, length)| Window::new(running().plus(-age - length), running().plus(-age)));
            let mut past = Past { covered: covered.collect(), open: open.collect(), ..Past::default() };
            let due_now = due(&ask(tiers.clone(), per_export), now, &past);
            for pair in due_now.windows(2) {
                prop_assert!(pair[0].window.last < pair[1].window.first);
            }
            let range = reached(running(), &tiers);
            for one in &due_now {
                let adopted = past.open.contains(&one.window);
                prop_assert!(adopted || one.window.months().count() <= per_export as usize);
                prop_assert!(adopted || (range.contains(one.window.first) && range.contains(one.window.last)));
                prop_assert!(one.why.iter().any(|why| why.reason != Reason::Between));
            }
            prop_assert!(due_now.iter().any(|one| one.window.contains(running())));
            for month in range.months() {
                let asked = due_now.iter().any(|one| one.window.contains(month));
                prop_assert!(asked || past.covered.contains_key(&month), "a gap stays: {}", month);
            }
            // Left open, the same exports are asked for the next night, and none beside them for these months.
            past.open = due_now.iter().map(|one| one.window).collect();
            let next = due(&ask(tiers, per_export), now + DAY, &past);
            for one in &due_now {
                prop_assert!(next.iter().any(|next| next.window == one.window));
            }
        }

        #[test]
        fn every_month_comes_within_its_interval(
            starts in prop::collection::vec(-110..110i64, 80),
            per_export in 1..5u32,
        ) {
            // A run each night at about two; each export is finished when it is asked for.
            let mut past = Past::default();
            let first = at("2026-09-01T02:00:00Z");
            for (night, minutes) in starts.iter().enumerate() {
                let now = first + DAY * night as i32 + SignedDuration::from_mins(*minutes);
                let running = Month::of(jiff::tz::TimeZone::UTC.to_datetime(now).date());
                let ask = Ask::LookBack { running, tiers: tiers(), per_export };
                for one in due(&ask, now, &past) {
                    past.covered.extend(one.window.months().map(|month| (month, now)));
                }
                for month in reach(running).months() {
                    let age = running.index() - month.index();
                    let every = DAY * match age { 0..3 => 1, 3..12 => 7, _ => 30 };
                    let since = now.duration_since(past.covered[&month]);
                    // What this night did not ask for is younger than the interval.
                    prop_assert!(since < every, "{} on night {}: {:?}", month, night, since);
                }
            }
        }
    }
}
