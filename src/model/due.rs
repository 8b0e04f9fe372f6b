//! What a run would ask for, and why.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use super::{Account, DatasetName, Month, Window};

/// Why a month is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is the running month.
    Forward,
    /// No export is the whole truth about it yet.
    Gap,
    /// The look-back over so many months comes to it again.
    LookBack {
        months: u32,
        #[serde(rename = "every_secs", serialize_with = "seconds")]
        every: SignedDuration,
    },
    /// A payment moved that pays rows of it.
    Payment(MovedPayment),
    /// Somebody asked for it.
    Backfill,
    /// It stands between months that are due: one export of all costs less than two.
    Between,
    /// The dataset is always pulled whole.
    Whole,
}

/// A payment that came, or moved to another status or date.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MovedPayment {
    pub payment_id: String,
    /// Where it is now, in the service's own word.
    pub status: String,
    /// When the lake learned of it.
    pub seen_at: Timestamp,
}

/// One reason, and the months that it holds for; none for a dataset that is pulled whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    #[serde(flatten)]
    pub reason: Reason,
    pub months: Vec<Month>,
}

/// One export that a run would ask for.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedExport {
    pub dataset: DatasetName,
    pub account: Account,
    /// `None`: the whole reachable history.
    pub window: Option<Window>,
    /// The request as it would be sent.
    pub url: String,
    /// The text of `$filter`.
    pub filter: Option<String>,
    /// Whether its rows take the place of those that are there; a filtered export only merges by key.
    pub replaces: bool,
    pub why: Vec<Why>,
    /// Rows that the lake has of these months.
    pub rows_there: u64,
    /// When the oldest export was finished that is the whole truth about one of these months.
    pub covered_at: Option<Timestamp>,
    /// When an earlier run asked for it: this one goes on with that export.
    pub asked_at: Option<Timestamp>,
}

/// What a run would do, before it does it.
#[derive(Debug, Clone, Serialize)]
pub struct Preview {
    pub lake: String,
    pub account: Account,
    /// Whether the lake has nothing of this account yet.
    pub first_use: bool,
    pub exports: Vec<PlannedExport>,
    pub estimate: Estimate,
    /// Months that the service can still reach, that nothing covers, and that are not asked for.
    pub left_out: Vec<LeftOut>,
    /// Months of a backfill that are not asked for: they are covered newly enough.
    pub fresh: Vec<Month>,
}

/// How much a run asks for.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    pub exports: u32,
    pub months: u32,
    /// Exports that wait at the same time.
    pub at_a_time: u32,
    /// Hours after which all are finished if the service keeps its promise of 24 hours for each.
    pub at_most_hours: u32,
    /// Rows that the lake has of these months; of those that it does not cover, as many as the others have. `None`
    /// before the first.
    pub rows: Option<u64>,
    /// What the newest run took for its exports, in seconds.
    pub last_run: Option<Measured>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    pub exports: u32,
    pub seconds: i64,
}

/// Months of a dataset that nobody asks for.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    pub dataset: DatasetName,
    pub months: Vec<Month>,
}

fn seconds<S: Serializer>(every: &SignedDuration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(every.as_secs())
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Forward => f.write_str("the running month"),
            Reason::Gap => f.write_str("gap, nothing covers it yet"),
            Reason::LookBack { months, every } => {
                let plural = if *months == 1 { "" } else { "s" };
                write!(f, "look-back over {months} month{plural}, {}", often(*every))
            }
            Reason::Payment(MovedPayment { payment_id, status, .. }) => {
                write!(f, "payment {payment_id} moved to {status}")
            }
            Reason::Backfill => f.write_str("backfill"),
            Reason::Between => f.write_str("stands between months that are due"),
            Reason::Whole => f.write_str("pulled whole by every run"),
        }
    }
}

/// `every 7 days`.
fn often(every: SignedDuration) -> String {
    match (every.as_secs(), every.as_hours()) {
        (0, _) => "every run".to_owned(),
        (_, 24) => "every day".to_owned(),
        (_, hours) if hours >= 24 && hours % 24 == 0 => format!("every {} days", hours / 24),
        (_, 1) => "every hour".to_owned(),
        (seconds, hours) if hours > 0 && seconds % 3600 == 0 => format!("every {hours} hours"),
        (seconds, _) => format!("every {seconds} seconds"),
    }
}

/// Payments that are named one by one.
const SHOWN_PAYMENTS: usize = 3;

/// One line for each reason with its months, and the first payments by name.
#[must_use]
pub fn reasons_in_words(all: &[Why]) -> Vec<String> {
    let line = |why: &Why| match why.months.is_empty() {
        true => why.reason.to_string(),
        false => format!("{}: {}", why.reason, spans(&why.months)),
    };
    let (payments, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|why| matches!(why.reason, Reason::Payment(_)));
    let shown = payments.iter().take(SHOWN_PAYMENTS);
    let mut lines: Vec<String> = others.iter().chain(shown).map(|why| line(why)).collect();
    if payments.len() > SHOWN_PAYMENTS {
        lines.push(format!("and {} more payments that moved", payments.len() - SHOWN_PAYMENTS));
    }
    lines
}

/// Months as spans: `2026-01..2026-03, 2026-05`.
#[must_use]
pub fn spans(months: &[Month]) -> String {
    let mut spans: Vec<Window> = Vec::new();
    for month in months {
        match spans.last_mut() {
            Some(last) if last.last.plus(1) == *month => last.last = *month,
            _ => spans.push(Window::new(*month, *month)),
        }
    }
    spans.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let look_back = |hours| Reason::LookBack { months: 3, every: SignedDuration::from_hours(hours) };
        let words = |hours| look_back(hours).to_string();
        assert_eq!(words(0), "look-back over 3 months, every run");
        assert_eq!(words(24), "look-back over 3 months, every day");
        assert_eq!(words(7 * 24), "look-back over 3 months, every 7 days");
        assert_eq!(words(36), "look-back over 3 months, every 36 hours");
        let months = [1, 2, 3, 5].map(|month| Month::new(2026, month));
        assert_eq!(spans(&months), "2026-01..2026-03, 2026-05");
        assert_eq!(spans(&[]), "");
        let payment = |id: u8| {
            let seen_at = Timestamp::UNIX_EPOCH;
            let payment = MovedPayment { payment_id: id.to_string(), status: "Sent".to_owned(), seen_at };
            Why { reason: Reason::Payment(payment), months: months[..1].to_vec() }
        };
        let mut whys: Vec<Why> = (1..=5).map(payment).collect();
        whys.push(Why { reason: Reason::Gap, months: months[1..].to_vec() });
        let lines = reasons_in_words(&whys);
        assert_eq!(lines[0], "gap, nothing covers it yet: 2026-02..2026-03, 2026-05");
        assert_eq!(lines[1], "payment 1 moved to Sent: 2026-01");
        assert_eq!(lines[4..], ["and 2 more payments that moved"]);
    }
}
