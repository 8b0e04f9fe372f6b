//! The ledger: the durable record of every export, written before and after each step.
//!
//! Each export has a folder of numbered events, put-if-absent; its state is their fold. A run that finds an
//! open export of the same coverage adopts it instead of queueing a second day of waiting.
//!
//! Which exports may be open is told by a marker beside the ledger, made before the first event and removed after the
//! last: finding them costs the same however many exports there ever were.

use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::{FORMAT, Needs};
use super::{Created, Lake, export_prefix, open_path, open_prefix};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, DatasetName, ExportId, RequestId, RunId, Window};

/// After so many seconds a marker without an event belongs to a run that ended before it wrote one.
const BEGIN_SECS: i64 = 3600;

/// One step in the life of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LedgerEvent {
    /// Written before the request is sent.
    Planned {
        dataset: DatasetName,
        account: Account,
        /// `None`: the whole reachable history.
        window: Option<Window>,
        filter: Option<String>,
        /// The API that is asked, without credentials: an export of another host is not ours to adopt.
        api: String,
        /// Sent as `ms-requestid`; the same when the request is repeated.
        idempotency: Uuid,
    },
    Submitted {
        request_id: RequestId,
    },
    /// The service's own word.
    Status {
        status: String,
    },
    /// The blob is in the lake as `raw/<sha256>`.
    Downloaded {
        sha256: String,
        bytes: u64,
        finished_at: Timestamp,
    },
    /// The rows are in the table's manifest of this version (also when nothing had to be rewritten).
    Committed {
        manifest: u64,
    },
    /// A guard or the balance refused the content.
    Held {
        reason: String,
    },
    /// The service gave it up, or it vanished there.
    Failed {
        reason: String,
    },
    /// Removed from the service after the commit.
    Deleted,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    format: u32,
    min_reader: u32,
    min_writer: u32,
    at: Timestamp,
    run_id: RunId,
    #[serde(flatten)]
    event: LedgerEvent,
}

/// The fold of an export's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportState {
    pub id: ExportId,
    pub planned_at: Timestamp,
    pub dataset: DatasetName,
    pub account: Account,
    pub window: Option<Window>,
    pub filter: Option<String>,
    pub api: String,
    pub idempotency: Uuid,
    pub request_id: Option<RequestId>,
    pub status: Option<String>,
    /// SHA-256 and size of the downloaded blob, and when the service had finished it.
    pub blob: Option<(String, u64, Timestamp)>,
    /// Committed, held or failed: nothing is left to wait for.
    pub closed: bool,
    // Number of the newest event.
    last: u32,
}

/// The ledger of one lake, as one run writes it.
#[derive(Debug, Clone)]
pub struct Ledger {
    lake: Lake,
    run_id: RunId,
}

impl Ledger {
    #[must_use]
    pub fn new(lake: Lake, run_id: RunId) -> Self {
        Ledger { lake, run_id }
    }

    /// Opens the record of a new export: the caller sends the request only after this returned.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn begin(&self, id: ExportId, event: LedgerEvent, at: Timestamp) -> Result<ExportState> {
        let mut state = None;
        let _new = self.lake.create_json(&open_path(id), &id).await?;
        self.put(id, 1, &event, at).await?;
        fold(&mut state, id, 1, event, at);
        state.ok_or_else(|| Error::new(Kind::Bug, "a ledger entry does not begin with a plan"))
    }

    /// Appends an event and folds it into the state.
    ///
    /// # Errors
    /// [`Kind::Destination`]; [`Kind::Pending`] when another process works on the same export.
    pub async fn append(&self, state: &mut ExportState, event: LedgerEvent, at: Timestamp) -> Result<()> {
        let (id, number) = (state.id, state.last + 1);
        self.put(id, number, &event, at).await?;
        let was_closed = state.closed;
        let mut folded = Some(state.clone());
        fold(&mut folded, id, number, event, at);
        if let Some(folded) = folded {
            *state = folded;
        }
        if state.closed && !was_closed {
            self.lake.remove(&open_path(id)).await?;
        }
        Ok(())
    }

    /// The exports that are not closed, oldest first.
    ///
    /// # Errors
    /// [`Kind::Destination`]; [`Kind::Contract`] for an entry that this build cannot read.
    pub async fn open_exports(&self, now: Timestamp) -> Result<Vec<ExportState>> {
        let mut open = Vec::new();
        for marker in self.lake.list_all(&open_prefix()).await? {
            let id = marker.location.filename().and_then(|name| Uuid::parse_str(name).ok()).map(ExportId);
            let Some(id) = id else { continue };
            match self.fold_all(id).await? {
                Some(state) if !state.closed => open.push(state),
                // Its run ended between the last event and the marker.
                Some(_) => self.tidy(&marker.location).await,
                // Its run ended before the first event, or is about to write it.
                None if now.as_second() - marker.last_modified.timestamp() > BEGIN_SECS => {
                    self.tidy(&marker.location).await;
                }
                None => {}
            }
        }
        Ok(open)
    }

    /// Takes a stale marker away. Who may only read the lake, or only looks (the run without an id), leaves it to the
    /// next who may write.
    async fn tidy(&self, marker: &Path) {
        if self.run_id.0.is_nil() {
            return;
        }
        let _still_there = self.lake.remove(marker).await;
    }

    async fn fold_all(&self, id: ExportId) -> Result<Option<ExportState>> {
        let mut state = None;
        for path in self.lake.list(&export_prefix(id)).await? {
            let Some(number) = number_of(&path) else { continue };
            let Some(entry) = self.read(&path).await? else { continue };
            fold(&mut state, id, number, entry.event, entry.at);
        }
        Ok(state)
    }

    async fn read(&self, path: &Path) -> Result<Option<Entry>> {
        let Some(bytes) = self.lake.get(path).await? else { return Ok(None) };
        self.lake.parse_json::<Needs>(&bytes, path)?.check_reader(path.as_ref())?;
        self.lake.parse_json(&bytes, path).map(Some)
    }

    async fn put(&self, id: ExportId, number: u32, event: &LedgerEvent, at: Timestamp) -> Result<()> {
        let path = Path::from(format!("{}/{number:04}.json", export_prefix(id)));
        let entry = Entry {
            format: FORMAT,
            min_reader: FORMAT,
            min_writer: FORMAT,
            at,
            run_id: self.run_id,
            event: event.clone(),
        };
        match self.lake.create_json(&path, &entry).await? {
            Created::New => Ok(()),
            // An answer that was lost and repeated by the store is our own success.
            Created::Exists => match self.lake.get_json::<Entry>(&path).await? {
                Some(there) if there.run_id == self.run_id && there.event == *event => Ok(()),
                _ => Err(Error::new(Kind::Pending, "another run works on the same export")
                    .with("export", id)
                    .with("entry", path)
                    .hint("let the other run finish, then run again: it goes on from the ledger")),
            },
        }
    }
}

fn number_of(path: &Path) -> Option<u32> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

fn closes(event: &LedgerEvent) -> bool {
    matches!(
        event,
        LedgerEvent::Committed { .. }
            | LedgerEvent::Held { .. }
            | LedgerEvent::Failed { .. }
            | LedgerEvent::Deleted
    )
}

fn fold(state: &mut Option<ExportState>, id: ExportId, number: u32, event: LedgerEvent, at: Timestamp) {
    if let LedgerEvent::Planned { dataset, account, window, filter, api, idempotency } = event {
        *state = Some(ExportState {
            id,
            planned_at: at,
            dataset,
            account,
            window,
            filter,
            api,
            idempotency,
            request_id: None,
            status: None,
            blob: None,
            closed: false,
            last: number,
        });
        return;
    }
    let Some(state) = state else { return };
    state.last = number;
    state.closed |= closes(&event);
    match event {
        LedgerEvent::Submitted { request_id } => state.request_id = Some(request_id),
        LedgerEvent::Status { status } => state.status = Some(status),
        LedgerEvent::Downloaded { sha256, bytes, finished_at } => {
            state.blob = Some((sha256, bytes, finished_at));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Month;

    fn planned() -> LedgerEvent {
        LedgerEvent::Planned {
            dataset: DatasetName::parse("payments").unwrap(),
            account: Account::parse("contoso").unwrap(),
            window: Some(Window::new(Month::new(2026, 1), Month::new(2026, 3))),
            filter: Some("x ge 1".into()),
            api: "https://api.example/".into(),
            idempotency: Uuid::nil(),
        }
    }

    #[tokio::test]
    async fn another_process_finds_an_open_export_and_not_a_closed_one() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(dir.path().to_str().unwrap(), Timestamp::UNIX_EPOCH).await.unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let first = Ledger::new(lake.clone(), RunId(Uuid::now_v7()));
        let mut state = first.begin(ExportId(Uuid::now_v7()), planned(), now).await.unwrap();
        let request_id = RequestId("r-1".into());
        first
            .append(&mut state, LedgerEvent::Submitted { request_id: request_id.clone() }, now)
            .await
            .unwrap();

        let second = Ledger::new(lake, RunId(Uuid::now_v7()));
        let mut found = second.open_exports(now).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].request_id, Some(request_id));
        assert_eq!(found[0], state);

        second.append(&mut found[0], LedgerEvent::Failed { reason: "gone".into() }, now).await.unwrap();
        assert!(second.open_exports(now).await.unwrap().is_empty());
        // The first process still believes that the export is open: its next event is refused.
        let late = first.append(&mut state, LedgerEvent::Status { status: "Queued".into() }, now).await;
        assert_eq!(late.unwrap_err().kind(), Kind::Pending);
    }
}
