//! The ledger: the durable record of every export, written before and after each step.
//!
//! ```text
//! claims/<wish>/0001             whose export a wish is: put-if-absent, the highest number counts
//! open/<export>                  a marker: the export may be open
//! ledger/<export>/0001.json      planned       before the request is sent
//!                 0002.json      submitted     with the service's requestId, before the first wait
//!                 0003.json      taken         by another run, because the first one is over
//!                 ...                          put-if-absent; the state is their fold
//! archive/<yyyy-mm>/<export>.json              all of them in one document, once the export is closed
//! ```
//!
//! Put-if-absent on numbered names puts all events of an export in one order, whoever writes them: a run that does not
//! know the newest one cannot write, so a run that was taken for dead and is not cannot commit.
//!
//! Finding open exports costs the same however many there ever were: markers tell which, and closed ones are archived.

mod event;

pub use event::{Entry, ExportState, LedgerEvent, Wish};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::format::{FORMAT, Needs};
use super::presence::{self, Presence};
use super::{
    Created, Lake, archive_path, archive_prefix, claims_prefix, export_prefix, open_path, open_prefix,
    together,
};
use crate::error::{Error, Kind, Result};
use crate::model::{ExportId, Month, RunId};

/// After so many seconds a marker without an event belongs to a run that ended before it wrote one.
const BEGIN_SECS: i64 = 3600;

/// The ledger of one lake, as one run writes it.
#[derive(Debug, Clone)]
pub struct Ledger {
    lake: Lake,
    run_id: RunId,
}

/// What became of the wish to work on an export.
#[derive(Debug)]
#[must_use]
pub enum Taken {
    /// This run works on it; nobody else may.
    Ours(Box<ExportState>),
    /// Another run does.
    Busy(Presence),
    /// There is nothing left to work on: another run has finished it.
    Closed,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    export: ExportId,
    run_id: RunId,
}

/// All events of a closed export.
#[derive(Debug, Serialize, Deserialize)]
struct Archived {
    format: u32,
    min_reader: u32,
    min_writer: u32,
    export: ExportId,
    events: Vec<Entry>,
}

impl Archived {
    fn of(state: &ExportState) -> Archived {
        let (export, events) = (state.id, state.entries.clone());
        Archived { format: FORMAT, min_reader: FORMAT, min_writer: FORMAT, export, events }
    }
}

impl Ledger {
    #[must_use]
    pub fn new(lake: Lake, run_id: RunId) -> Self {
        Ledger { lake, run_id }
    }

    /// Opens the record of a new export: the caller sends the request only after this returned. When the same wish is
    /// open already, that export is taken instead of a new one.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn begin(&self, wish: &Wish, at: Timestamp) -> Result<Taken> {
        loop {
            let prefix = claims_prefix(&wish.key());
            let claims = self.lake.list(&prefix).await?;
            let newest = claims.iter().filter_map(number_of).max().unwrap_or(0);
            if let Some(claim) = self.lake.get_json::<Claim>(&numbered(&prefix, newest)).await? {
                match self.claimed(&claim, at).await? {
                    Taken::Closed => {}
                    open => return Ok(open),
                }
            }
            let id = ExportId(Uuid::now_v7());
            let claim = Claim { export: id, run_id: self.run_id };
            match self.lake.create_json(&numbered(&prefix, newest + 1), &claim).await? {
                Created::Exists if !self.is_ours(&numbered(&prefix, newest + 1), id).await? => {}
                _ => {
                    // The newest claim alone counts.
                    for old in claims {
                        self.lake.remove(&old).await?;
                    }
                    return self.open(id, wish, at).await.map(|state| Taken::Ours(Box::new(state)));
                }
            }
        }
    }

    /// The export of a claim, if it is still open.
    async fn claimed(&self, claim: &Claim, now: Timestamp) -> Result<Taken> {
        if let Some(state) = self.fold_all(claim.export).await? {
            return self.take(state, now).await;
        }
        // Archived, or its run ended between the claim and the first event, or is about to write that.
        if self.archived(claim.export).await?.is_some() {
            return Ok(Taken::Closed);
        }
        Ok(presence::of(&self.lake, claim.run_id, now).await?.map_or(Taken::Closed, Taken::Busy))
    }

    /// An answer that was lost and repeated by the store is our own success.
    async fn is_ours(&self, path: &Path, id: ExportId) -> Result<bool> {
        Ok(self.lake.get_json::<Claim>(path).await?.is_some_and(|claim| claim.export == id))
    }

    async fn open(&self, id: ExportId, wish: &Wish, at: Timestamp) -> Result<ExportState> {
        let _new = self.lake.create_json(&open_path(id), &id).await?;
        let event = LedgerEvent::Planned { wish: wish.clone(), idempotency: Uuid::new_v4() };
        let entry = Entry::new(self.run_id, event, at);
        self.put(id, 1, &entry).await?;
        ExportState::fold(id, [entry])
            .ok_or_else(|| Error::new(Kind::Bug, "a ledger entry does not begin with a plan"))
    }

    /// Makes this run the one that works on an open export, unless another one does.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn take(&self, mut state: ExportState, now: Timestamp) -> Result<Taken> {
        loop {
            if state.closed {
                return Ok(Taken::Closed);
            }
            if state.owner == self.run_id {
                return Ok(Taken::Ours(Box::new(state)));
            }
            if let Some(running) = presence::of(&self.lake, state.owner, now).await? {
                return Ok(Taken::Busy(running));
            }
            let event = LedgerEvent::Taken { epoch: state.epoch + 1 };
            match self.append(&mut state, event, now).await {
                Err(error) if error.kind() == Kind::Pending => {}
                taken => return taken.map(|()| Taken::Ours(Box::new(state))),
            }
            // Somebody was quicker.
            match self.fold_all(state.id).await? {
                Some(fresh) => state = fresh,
                None => return Ok(Taken::Closed),
            }
        }
    }

    /// Appends an event and folds it into the state.
    ///
    /// # Errors
    /// [`Kind::Destination`]; [`Kind::Pending`] when another run has taken the export over.
    pub async fn append(&self, state: &mut ExportState, event: LedgerEvent, at: Timestamp) -> Result<()> {
        let entry = Entry::new(self.run_id, event, at);
        self.put(state.id, state.entries.len() as u32 + 1, &entry).await?;
        state.push(entry);
        if state.closed { self.archive(state).await } else { Ok(()) }
    }

    /// Adds to the record of a closed export what a person did with it later.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn note(&self, state: &mut ExportState, event: LedgerEvent, at: Timestamp) -> Result<()> {
        state.push(Entry::new(self.run_id, event, at));
        let path = archive_path(month_of(state.id), state.id);
        self.lake.replace_json(&path, &Archived::of(state)).await
    }

    /// Fails when another run has taken the export over: what went wrong for this run is then of no interest, because the
    /// other one has cleaned up behind it.
    ///
    /// # Errors
    /// [`Kind::Pending`]; as [`Ledger::open_exports`].
    pub async fn check_ours(&self, state: &ExportState) -> Result<()> {
        let now = self.export(state.id).await?;
        let ours = now.is_some_and(|now| now.owner == self.run_id && !now.closed);
        if ours { Ok(()) } else { Err(taken_over(state.id)) }
    }

    /// The exports that are not closed, oldest first.
    ///
    /// # Errors
    /// [`Kind::Destination`]; [`Kind::Contract`] for an entry that this build cannot read.
    pub async fn open_exports(&self, now: Timestamp) -> Result<Vec<ExportState>> {
        let mut open = Vec::new();
        for marker in self.lake.list_all(&open_prefix()).await? {
            let Some(id) =
                marker.location.filename().and_then(|name| Uuid::parse_str(name).ok()).map(ExportId)
            else {
                continue;
            };
            match self.fold_all(id).await? {
                Some(state) if !state.closed => open.push(state),
                // Its run ended before everything was put away.
                Some(state) => self.tidy(self.archive(&state)).await,
                None if self.archived(id).await?.is_some() => self.tidy(self.put_rest_away(id)).await,
                // Its run ended before the first event, or is about to write it.
                None if now.as_second() - marker.last_modified.timestamp() > BEGIN_SECS => {
                    self.tidy(self.lake.remove(&marker.location)).await;
                }
                None => {}
            }
        }
        Ok(open)
    }

    /// Every export that was planned in a month or later, closed ones included, oldest first.
    ///
    /// # Errors
    /// As [`Ledger::open_exports`].
    pub async fn exports_since(&self, month: Month, now: Timestamp) -> Result<Vec<ExportState>> {
        let mut found = self.open_exports(now).await?;
        for path in self.lake.list(&archive_prefix()).await? {
            let planned = path.parts().rev().nth(1).and_then(|part| Month::parse(part.as_ref()).ok());
            if planned.is_some_and(|planned| planned >= month) {
                found.extend(self.read_archived(&path).await?);
            }
        }
        found.sort_by_key(|state| state.id.0);
        Ok(found)
    }

    /// The run's note, if it is at work.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn at_work(&self, run_id: RunId, now: Timestamp) -> Result<Option<Presence>> {
        presence::of(&self.lake, run_id, now).await
    }

    /// The notes of all runs at work, the one that began first first.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn all_at_work(&self, now: Timestamp) -> Result<Vec<Presence>> {
        presence::all(&self.lake, now).await
    }

    /// One export, open or closed.
    ///
    /// # Errors
    /// As [`Ledger::open_exports`].
    pub async fn export(&self, id: ExportId) -> Result<Option<ExportState>> {
        match self.fold_all(id).await? {
            Some(state) => Ok(Some(state)),
            None => self.archived(id).await,
        }
    }

    /// Puts all events into one document, and takes them and the marker away. A run that ends in between leaves the
    /// marker until the last, by which the next one finds the rest.
    async fn archive(&self, state: &ExportState) -> Result<()> {
        let path = archive_path(month_of(state.id), state.id);
        let _there = self.lake.create_json(&path, &Archived::of(state)).await?;
        let prefix = export_prefix(state.id);
        let events = (1..=state.entries.len()).map(|number| numbered(&prefix, number as u32));
        self.put_away(state.id, events.collect()).await
    }

    /// Puts away what a run that ended in between has left.
    async fn put_rest_away(&self, id: ExportId) -> Result<()> {
        let mut events = self.lake.list(&export_prefix(id)).await?;
        events.sort();
        self.put_away(id, events).await
    }

    async fn put_away(&self, id: ExportId, events: Vec<Path>) -> Result<()> {
        // The first one first: without it the rest is nothing, while a part of the rest looks like an open export.
        if let Some(first) = events.first() {
            self.lake.remove(first).await?;
        }
        together(events.iter().skip(1).map(|event| self.lake.remove(event)).collect()).await?;
        self.lake.remove(&open_path(id)).await
    }

    /// Mends what an earlier run left. Who may only read the lake, or only looks (the run without an id), leaves it to
    /// the next who may write.
    async fn tidy(&self, mending: impl Future<Output = Result<()>>) {
        if !self.run_id.0.is_nil() {
            let _still_there = mending.await;
        }
    }

    async fn archived(&self, id: ExportId) -> Result<Option<ExportState>> {
        self.read_archived(&archive_path(month_of(id), id)).await
    }

    async fn read_archived(&self, path: &Path) -> Result<Option<ExportState>> {
        let Some(bytes) = self.lake.get(path).await? else { return Ok(None) };
        self.lake.parse_json::<Needs>(&bytes, path)?.check_reader(path.as_ref())?;
        let archived: Archived = self.lake.parse_json(&bytes, path)?;
        Ok(ExportState::fold(archived.export, archived.events))
    }

    /// The state by the events; `None` without the first one.
    async fn fold_all(&self, id: ExportId) -> Result<Option<ExportState>> {
        let mut paths = self.lake.list(&export_prefix(id)).await?;
        paths.sort();
        if paths.first().and_then(number_of) != Some(1) {
            return Ok(None);
        }
        let entries = together(paths.iter().map(|path| self.read(path)).collect()).await?;
        // What another run puts away at this moment is closed.
        if entries.iter().any(Option::is_none) {
            return self.archived(id).await;
        }
        Ok(ExportState::fold(id, entries.into_iter().flatten()))
    }

    async fn read(&self, path: &Path) -> Result<Option<Entry>> {
        let Some(bytes) = self.lake.get(path).await? else { return Ok(None) };
        self.lake.parse_json::<Needs>(&bytes, path)?.check_reader(path.as_ref())?;
        self.lake.parse_json(&bytes, path).map(Some)
    }

    async fn put(&self, id: ExportId, number: u32, entry: &Entry) -> Result<()> {
        let path = numbered(&export_prefix(id), number);
        let ours = match self.lake.create_json(&path, entry).await? {
            // The number is free again when the events were put away, which they are after the archive was written.
            Created::New if number > 1 && self.is_archived(id).await? => {
                self.lake.remove(&path).await?;
                false
            }
            Created::New => true,
            // An answer that was lost and repeated by the store is our own success.
            Created::Exists => self.lake.get_json::<Entry>(&path).await?.is_some_and(|there| there == *entry),
        };
        if ours { Ok(()) } else { Err(taken_over(id).with("entry", path)) }
    }

    async fn is_archived(&self, id: ExportId) -> Result<bool> {
        Ok(self.lake.size(&archive_path(month_of(id), id)).await?.is_some())
    }
}

impl Wish {
    /// Equal for equal wishes, and fit for a path.
    fn key(&self) -> String {
        let Wish { dataset, account, window, filter, api } = self;
        let text = serde_json::json!([dataset, account, window, filter, api]).to_string();
        blake3::hash(text.as_bytes()).to_hex()[..20].to_owned()
    }
}

/// For people: `transaction_history 2026-07..2026-09`.
impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.window {
            Some(window) => write!(f, "{} {window}", self.dataset),
            None => self.dataset.fmt(f),
        }
    }
}

/// The month in which an export was planned: its id says the time.
fn month_of(id: ExportId) -> Month {
    let secs = id.0.get_timestamp().map_or(0, |time| time.to_unix().0);
    let at = Timestamp::from_second(i64::try_from(secs).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    Month::of(TimeZone::UTC.to_datetime(at).date())
}

fn taken_over(id: ExportId) -> Error {
    Error::new(Kind::Pending, "another run has taken this export over")
        .with("export", id)
        .hint("let the other run finish, then run again: it goes on from the ledger")
}

fn numbered(prefix: &Path, number: u32) -> Path {
    Path::from(format!("{prefix}/{number:04}.json"))
}

fn number_of(path: &Path) -> Option<u32> {
    path.filename()?.strip_suffix(".json")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::presence::Present;
    use crate::model::{Account, DatasetName, RequestId, Window};

    fn wish() -> Wish {
        Wish {
            dataset: DatasetName::parse("payments").unwrap(),
            account: Account::parse("contoso").unwrap(),
            window: Some(Window::new(Month::new(2026, 1), Month::new(2026, 3))),
            filter: Some("x ge 1".into()),
            api: "https://api.example/".into(),
        }
    }

    fn ours(taken: Taken) -> ExportState {
        match taken {
            Taken::Ours(state) => *state,
            other => panic!("{other:?}"),
        }
    }

    async fn ledger(lake: &Lake) -> Ledger {
        Ledger::new(lake.clone(), RunId(Uuid::now_v7()))
    }

    #[tokio::test]
    async fn an_export_has_one_owner_and_a_stale_one_cannot_write() {
        let now = Timestamp::now();
        let lake = Lake::in_memory(now).await.unwrap();
        let first = ledger(&lake).await;
        let present = Present::begin(&lake, first.run_id, Timestamp::now).await.unwrap();
        let mut state = ours(first.begin(&wish(), now).await.unwrap());
        let submitted = LedgerEvent::Submitted { request_id: RequestId("r-1".into()), requested_at: None };
        first.append(&mut state, submitted, now).await.unwrap();

        let second = ledger(&lake).await;
        let found = second.open_exports(now).await.unwrap();
        assert_eq!(found, [state.clone()]);
        assert!(matches!(second.take(found[0].clone(), now).await.unwrap(), Taken::Busy(_)));
        assert!(matches!(second.begin(&wish(), now).await.unwrap(), Taken::Busy(_)), "no second export");

        // Its note is not renewed any more: it is taken for dead.
        let later = now + jiff::SignedDuration::from_mins(10);
        let mut taken = ours(second.take(found[0].clone(), later).await.unwrap());
        assert_eq!((taken.epoch, taken.owner), (2, second.run_id));
        let late = first.append(&mut state, LedgerEvent::Committing, later).await;
        assert_eq!(late.unwrap_err().kind(), Kind::Pending, "a stale epoch commits nothing");
        second.append(&mut taken, LedgerEvent::Committing, later).await.unwrap();
        present.end().await;

        // Nor when the other one has finished it, and the numbers are free again.
        second
            .append(&mut taken, LedgerEvent::Committed { manifest: 1, cleanup: false }, later)
            .await
            .unwrap();
        let late = first.append(&mut state, LedgerEvent::Committing, later).await;
        assert_eq!(late.unwrap_err().kind(), Kind::Pending);
        let third = ledger(&lake).await;
        assert!(matches!(third.take(found[0].clone(), later).await.unwrap(), Taken::Closed));
        assert!(lake.list(&export_prefix(state.id)).await.unwrap().is_empty(), "what was refused is gone");
    }

    #[tokio::test]
    async fn a_closed_export_is_one_document_and_its_wish_may_be_had_again() {
        let now = Timestamp::now();
        let lake = Lake::in_memory(now).await.unwrap();
        let ledger = ledger(&lake).await;
        let mut state = ours(ledger.begin(&wish(), now).await.unwrap());
        let committed = LedgerEvent::Committed { manifest: 3, cleanup: true };
        ledger.append(&mut state, committed, now).await.unwrap();
        assert_eq!(ledger.open_exports(now).await.unwrap().len(), 1, "it is yet to be deleted");
        ledger.append(&mut state, LedgerEvent::Deleted, now).await.unwrap();

        assert!(ledger.open_exports(now).await.unwrap().is_empty());
        assert!(lake.list(&export_prefix(state.id)).await.unwrap().is_empty());
        assert_eq!(ledger.export(state.id).await.unwrap(), Some(state.clone()));
        assert_eq!(ledger.exports_since(month_of(state.id), now).await.unwrap(), [state.clone()]);
        let again = ours(ledger.begin(&wish(), now).await.unwrap());
        assert_ne!(again.id, state.id);
        let claims = lake.list(&claims_prefix(&wish().key())).await.unwrap();
        assert_eq!(claims.iter().filter_map(number_of).collect::<Vec<_>>(), [2], "old claims go");
    }

    #[tokio::test]
    async fn what_a_killed_run_left_half_archived_is_put_away() {
        let now = Timestamp::now();
        let lake = Lake::in_memory(now).await.unwrap();
        let ledger = ledger(&lake).await;
        let mut state = ours(ledger.begin(&wish(), now).await.unwrap());
        ledger.append(&mut state, LedgerEvent::Status { status: "Queued".into() }, now).await.unwrap();
        let closing = Entry::new(ledger.run_id, LedgerEvent::Failed { reason: "gone".into() }, now);
        ledger.put(state.id, 3, &closing).await.unwrap();
        // Killed before the archive, and after the first event was taken away.
        for _ in 0..2 {
            assert!(ledger.open_exports(now).await.unwrap().is_empty());
            assert!(lake.list(&export_prefix(state.id)).await.unwrap().is_empty());
            assert!(lake.list(&open_prefix()).await.unwrap().is_empty());
            let _new = lake.create_json(&open_path(state.id), &state.id).await.unwrap();
            let _new = lake.create_json(&numbered(&export_prefix(state.id), 2), &closing).await.unwrap();
        }
    }
}
