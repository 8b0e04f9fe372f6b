//! What is written down about an export, and the state that it adds up to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::lake::format::FORMAT;
use crate::model::{Account, DatasetName, ExportId, RequestId, RunId, Window};

/// What is asked for, and of whom: two exports with the same coverage are one wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    pub dataset: DatasetName,
    pub account: Account,
    /// `None`: the whole reachable history.
    pub window: Option<Window>,
    pub filter: Option<String>,
    /// The API that is asked, without credentials: an export of another host is not ours to adopt.
    pub api: String,
}

/// One step in the life of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LedgerEvent {
    /// Written before the request is sent.
    Planned {
        #[serde(flatten)]
        wish: Wish,
        /// Sent as `ms-requestid`; the same when the request is repeated.
        idempotency: Uuid,
    },
    /// The run that writes this works on the export from now on; what an earlier one still writes is refused.
    Taken { epoch: u32 },
    /// A request may have reached the service, and its answer is not known: when the service does not honour the
    /// repeated `ms-requestid`, an export stays behind there that nobody fetches.
    Unanswered { reason: String },
    /// The service refused the request, or could not be reached: no export came of it.
    NotQueued { reason: String },
    Submitted {
        request_id: RequestId,
        /// By the service's clock.
        #[serde(default)]
        requested_at: Option<Timestamp>,
    },
    /// The service's own word.
    Status { status: String },
    /// Where the blob is, without the signature of its address.
    Located { address: String },
    /// The blob is in the lake as `raw/<sha256>`.
    Downloaded { sha256: String, bytes: u64, finished_at: Timestamp },
    /// Written right before the commit: whoever cannot write it has lost the export to another run.
    Committing,
    /// The rows are in the table's manifest of this version (also when nothing had to be rewritten).
    Committed {
        manifest: u64,
        /// Whether the export is yet to be deleted at the service.
        #[serde(default)]
        cleanup: bool,
    },
    /// A guard or the balance refused the content.
    Held { reason: String },
    /// The service gave it up, or it vanished there, or nobody came back for it.
    Failed { reason: String },
    /// Removed from the service.
    Deleted,
    /// It stays at the service although it was to be deleted.
    Kept { reason: String },
}

/// An event as it stands in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    format: u32,
    min_reader: u32,
    min_writer: u32,
    pub at: Timestamp,
    pub run_id: RunId,
    #[serde(flatten)]
    pub event: LedgerEvent,
}

impl Entry {
    pub(super) fn new(run_id: RunId, event: LedgerEvent, at: Timestamp) -> Self {
        Entry { format: FORMAT, min_reader: FORMAT, min_writer: FORMAT, at, run_id, event }
    }
}

/// The fold of an export's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportState {
    pub id: ExportId,
    pub planned_at: Timestamp,
    pub wish: Wish,
    pub idempotency: Uuid,
    /// The run that works on it, or did last.
    pub owner: RunId,
    /// How many runs have worked on it.
    pub epoch: u32,
    pub request_id: Option<RequestId>,
    /// Exports that may stand at the service besides this one: requests of which the answer was lost, and which the
    /// service did not recognise when they were repeated, as far as its own times tell.
    pub orphans: u32,
    pub status: Option<String>,
    /// SHA-256 and size of the downloaded blob, and when the service had finished it.
    pub blob: Option<(String, u64, Timestamp)>,
    /// The table's version that has the rows.
    pub committed: Option<u64>,
    /// Nothing is left to do.
    pub closed: bool,
    /// Every event, oldest first.
    pub entries: Vec<Entry>,
}

impl ExportState {
    pub(super) fn fold(id: ExportId, entries: impl IntoIterator<Item = Entry>) -> Option<ExportState> {
        let mut entries = entries.into_iter();
        let first = entries.next()?;
        let LedgerEvent::Planned { wish, idempotency } = first.event.clone() else { return None };
        let mut state = ExportState {
            id,
            planned_at: first.at,
            wish,
            idempotency,
            owner: first.run_id,
            epoch: 1,
            request_id: None,
            orphans: 0,
            status: None,
            blob: None,
            committed: None,
            closed: false,
            entries: vec![first],
        };
        entries.for_each(|entry| state.push(entry));
        Some(state)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        match &entry.event {
            LedgerEvent::Planned { .. }
            | LedgerEvent::NotQueued { .. }
            | LedgerEvent::Located { .. }
            | LedgerEvent::Committing => {}
            LedgerEvent::Taken { epoch } => {
                self.owner = entry.run_id;
                self.epoch = *epoch;
            }
            LedgerEvent::Unanswered { .. } => self.orphans += 1,
            LedgerEvent::Submitted { request_id, requested_at } => {
                self.request_id = Some(request_id.clone());
                // Asked for before the last answer was lost: the service recognised the repeat.
                let lost =
                    self.entries.iter().rev().find(|e| matches!(e.event, LedgerEvent::Unanswered { .. }));
                if lost.zip(*requested_at).is_some_and(|(lost, requested_at)| requested_at <= lost.at) {
                    self.orphans -= 1;
                }
            }
            LedgerEvent::Status { status } => self.status = Some(status.clone()),
            LedgerEvent::Downloaded { sha256, bytes, finished_at } => {
                self.blob = Some((sha256.clone(), *bytes, *finished_at));
            }
            LedgerEvent::Committed { manifest, cleanup } => {
                self.committed = Some(*manifest);
                self.closed |= !cleanup;
            }
            LedgerEvent::Held { .. }
            | LedgerEvent::Failed { .. }
            | LedgerEvent::Deleted
            | LedgerEvent::Kept { .. } => self.closed = true,
        }
        self.entries.push(entry);
    }

    /// Whether the run that worked on it before this one may have sent a request of which it did not write down the
    /// outcome.
    #[must_use]
    pub fn may_be_asked(&self) -> bool {
        let before = self.entries.iter().rev().nth(1);
        self.request_id.is_none()
            && self.epoch > 1
            && before.is_some_and(|entry| !matches!(entry.event, LedgerEvent::NotQueued { .. }))
    }

    /// Whether its rows are still to come.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.closed && self.committed.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Month;

    fn run() -> RunId {
        RunId(Uuid::now_v7())
    }

    fn wish() -> Wish {
        Wish {
            dataset: DatasetName::parse("payments").unwrap(),
            account: Account::parse("contoso").unwrap(),
            window: Some(Window::new(Month::new(2026, 1), Month::new(2026, 3))),
            filter: None,
            api: "https://api.example/".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_request_that_never_left_leaves_no_orphan() {
        let wish = wish();
        let planned = || LedgerEvent::Planned { wish: wish.clone(), idempotency: Uuid::nil() };
        let refused = || LedgerEvent::NotQueued { reason: "cannot be reached".to_owned() };
        let taken = |epoch| LedgerEvent::Taken { epoch };
        for (events, may_be_asked) in [
            (vec![planned()], false),
            (vec![planned(), taken(2)], true),
            (vec![planned(), refused(), taken(2)], false),
            // The second run sent it and was killed.
            (vec![planned(), refused(), taken(2), taken(3)], true),
        ] {
            let entries = events.iter().map(|event| Entry::new(run(), event.clone(), at(0)));
            let state = ExportState::fold(ExportId(Uuid::now_v7()), entries).unwrap();
            assert_eq!(state.may_be_asked(), may_be_asked, "{events:?}");
        }
    }

    #[test]
    fn a_repeat_that_the_service_recognised_leaves_no_orphan() {
        let wish = wish();
        for (requested_at, orphans) in [(Some(at(5)), 0), (Some(at(15)), 1), (None, 1)] {
            let events = [
                (0, LedgerEvent::Planned { wish: wish.clone(), idempotency: Uuid::nil() }),
                (10, LedgerEvent::Unanswered { reason: "reset".to_owned() }),
                (20, LedgerEvent::Submitted { request_id: RequestId("r".to_owned()), requested_at }),
            ];
            let entries = events.into_iter().map(|(second, event)| Entry::new(run(), event, at(second)));
            let state = ExportState::fold(ExportId(Uuid::now_v7()), entries).unwrap();
            assert_eq!(state.orphans, orphans, "{requested_at:?}");
            assert!(state.is_waiting());
        }
    }
}
