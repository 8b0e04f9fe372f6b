//! A lake at a glance.

use jiff::Timestamp;
use serde::Serialize;

use super::{Account, AtWork, DatasetName, Expiry, Month, Outcome, RequestId, RunId, Window};

#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub lake: String,
    pub at: Timestamp,
    /// By name and account.
    pub tables: Vec<TableStatus>,
    /// The newest receipt.
    pub last_run: Option<LastRun>,
    /// Runs that show signs of life.
    pub at_work: Vec<AtWork>,
    /// What the sign-ins will lose one day, the next one first, as the last run of each account knew it.
    pub expiries: Vec<AccountExpiry>,
    /// What the service still works on, or nobody has fetched.
    pub open_exports: Vec<OpenExport>,
    pub held: Vec<HeldWindow>,
    pub tags: u64,
    /// By dataset.
    pub lateness: Vec<Lateness>,
    /// Months that the service can still reach and no export covers, by dataset and account.
    pub uncovered: Vec<Uncovered>,
}

/// What nothing in the lake is the whole truth about.
#[derive(Debug, Clone, Serialize)]
pub struct Uncovered {
    pub dataset: String,
    pub account: Account,
    /// The oldest first.
    pub months: Vec<Leaving>,
}

/// A month on its way out of the service's reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Leaving {
    pub month: Month,
    /// Days in which it can still be asked for, today included.
    pub days_left: i32,
}

/// One table of one account.
#[derive(Debug, Clone, Serialize)]
pub struct TableStatus {
    pub table: String,
    pub account: Account,
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// First and last month that is there, of a dataset.
    pub months: Option<Window>,
    /// Months between them of which nothing was ever loaded.
    pub gaps: Vec<Month>,
    /// When the newest export that is in it was finished.
    pub extracted_at: Option<Timestamp>,
    pub version: u64,
    pub committed_at: Timestamp,
}

#[derive(Debug, Clone, Serialize)]
pub struct LastRun {
    pub run_id: RunId,
    pub command: String,
    pub account: Account,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    /// Of its windows.
    pub outcomes: Vec<Outcome>,
    pub exit_code: u8,
}

#[derive(Debug, Clone, Serialize)]
pub struct OpenExport {
    pub dataset: DatasetName,
    pub account: Account,
    /// `None`: the whole reachable history.
    pub window: Option<Window>,
    pub request_id: Option<RequestId>,
    /// The service's own word.
    pub status: Option<String>,
    pub planned_at: Timestamp,
    /// Exports that may stand at the service besides this one, because an answer was lost.
    pub orphans: u32,
}

/// What the sign-in of an account will lose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountExpiry {
    pub account: Account,
    #[serde(flatten)]
    pub expiry: Expiry,
}

#[derive(Debug, Clone, Serialize)]
pub struct HeldWindow {
    pub id: String,
    /// `transaction_history 2026-07..2026-09 of contoso`
    pub scope: String,
    pub reason: String,
    pub held_at: Timestamp,
}

/// How long after its month a row of a dataset still changes.
#[derive(Debug, Clone, Serialize)]
pub struct Lateness {
    pub dataset: String,
    /// Different UTC days on which changes were seen.
    pub nights: u64,
    /// Nights that a proposal needs.
    pub nights_needed: u64,
    /// Ascending.
    pub ages: Vec<Age>,
    /// `None`: not measured yet.
    pub proposed: Option<Tiers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Age {
    /// From the row's month to the one in which the change was seen.
    pub months: u32,
    pub changed_keys: u64,
}

/// How many months, the running one included, to ask for again how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tiers {
    pub nightly_months: u32,
    pub weekly_months: u32,
    pub monthly_months: u32,
}
