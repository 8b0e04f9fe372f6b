//! Steps 1 to 3 for one export: submit, wait, download, with the ledger before and after each step.

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Raw, Shared, Wanted};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::lake::{ExportSpool, ExportState, LedgerEvent, Presence, RENEWED_EVERY, Taken, raw_path};
use crate::source::{Asked, BlobLocation, Download, ExportRequest, FileFormat, Status, next_poll};

/// The bytes of an export on local disk.
pub(super) struct Fetched {
    pub state: ExportState,
    // Holds the file.
    pub spool: ExportSpool,
}

/// What one attempt at an export came to.
enum Waited {
    /// The address of the blob, and when its rows were extracted at the earliest: an export that was finished
    /// when it was first looked at is as old as its request.
    Ready(BlobLocation, Timestamp),
    /// The service gave it up, or does not know it any more: only a new request helps.
    Lost(String),
}

/// How often an expired address is asked for again.
const MAX_NEW_ADDRESSES: u32 = 3;

/// How often a run sends the request of one export when answers are lost: each time an export may stay behind at the
/// service that nobody fetches.
const MAX_REQUESTS: u32 = 2;

/// Between two looks at whether the run that works on an export is still there.
const LOOK_AT_OWNER: std::time::Duration = std::time::Duration::from_secs(1);

/// Brings the bytes of one export home, going on with what an earlier run left open.
///
/// # Errors
/// [`Kind::Pending`] at the deadline, or when another run works on it; [`Kind::Source`] when the service gave the export
/// up for good; and whatever the source or the lake answers.
pub(super) async fn fetch(shared: &Shared, wanted: &Wanted, open: Option<ExportState>) -> Result<Fetched> {
    let mut open = open;
    for attempt in 1..=shared.plan.wait.max_attempts.max(1) {
        let mut state = own(shared, wanted, open.take()).await?;
        if let Some(found) = from_lake(shared, &state).await? {
            return Ok(found);
        }
        if state.request_id.is_none() {
            submit(shared, wanted, &mut state).await?;
        }
        let lost = match wait(shared, wanted, &mut state).await? {
            Waited::Ready(location, at) => match download(shared, wanted, &mut state, location, at).await? {
                Ok(spool) => return Ok(Fetched { state, spool }),
                Err(reason) => reason,
            },
            Waited::Lost(reason) => reason,
        };
        let message = format!("{lost} (attempt {attempt})");
        shared.observer.tell(Level::Warn, &wanted.scope(), Step::Wait, message);
        append(shared, &mut state, LedgerEvent::Failed { reason: lost }).await?;
    }
    Err(Error::new(Kind::Source, "Partner Center gave the export up")
        .with("export", wanted.scope())
        .with("attempts", shared.plan.wait.max_attempts.max(1))
        .hint("nothing was changed for these months; run again in a few minutes, and report it to Microsoft if it stays"))
}

/// Makes this run the one that works on the export: on the open one, if there is one, or on a new one.
///
/// # Errors
/// [`Kind::Pending`] when another run works on it and is alive.
async fn own(shared: &Shared, wanted: &Wanted, open: Option<ExportState>) -> Result<ExportState> {
    let mut open = open;
    let mut other: Option<Presence> = None;
    loop {
        let now = (shared.plan.settings.clock)();
        let taken = match open.take() {
            Some(state) => shared.ledger.take(state, now).await?,
            None => shared.ledger.begin(&wanted.wish(&shared.plan), now).await?,
        };
        match taken {
            Taken::Ours(state) => {
                if state.entries.len() > 1 {
                    let message = "goes on with the export that an earlier run asked for";
                    tell(shared, wanted, Step::Submit, message);
                }
                return Ok(*state);
            }
            // Another run has finished it: what this run wants is newer.
            Taken::Closed => {}
            Taken::Busy(running) => {
                let alive = other.as_ref().is_some_and(|seen| seen.renewed_at != running.renewed_at);
                if alive || Instant::now() >= shared.deadline {
                    return Err(busy(wanted, &running));
                }
                if other.is_none() {
                    let message = format!(
                        "run {} on {} works on it; whether it is alive shows within {} seconds",
                        running.run_id,
                        running.host,
                        RENEWED_EVERY.as_secs()
                    );
                    tell(shared, wanted, Step::Submit, &message);
                }
                other = Some(running);
                tokio::time::sleep(LOOK_AT_OWNER).await;
            }
        }
    }
}

fn busy(wanted: &Wanted, running: &Presence) -> Error {
    Error::new(Kind::Pending, "another run works on this export")
        .with("export", wanted.scope())
        .with("run", running.run_id)
        .with("host", &running.host)
        .with("since", running.since)
        .hint("let the other run finish, then run again; if it has died, its exports are free two minutes after its last sign of life")
}

async fn append(shared: &Shared, state: &mut ExportState, event: LedgerEvent) -> Result<()> {
    shared.ledger.append(state, event, (shared.plan.settings.clock)()).await
}

/// The blob that an earlier run downloaded and did not commit.
async fn from_lake(shared: &Shared, state: &ExportState) -> Result<Option<Fetched>> {
    let Some((sha256, ..)) = &state.blob else { return Ok(None) };
    let spool = shared.lake.export_spool(state.id)?;
    if !shared.lake.copy_to(&raw_path(sha256), &spool.blob()).await? {
        return Ok(None);
    }
    Ok(Some(Fetched { state: state.clone(), spool }))
}

/// Sends the request. When its answer is lost, that is written down before it is sent again under the same id.
async fn submit(shared: &Shared, wanted: &Wanted, state: &mut ExportState) -> Result<()> {
    if state.may_be_asked() {
        let reason = "the run that asked ended before it had an answer".to_owned();
        append(shared, state, LedgerEvent::Unanswered { reason }).await?;
    }
    let request =
        ExportRequest { path: wanted.path.clone(), filter: wanted.filter.clone(), format: FileFormat::Csv };
    let mut sent = 0;
    loop {
        let asked = shared.client.submit(&request, state.idempotency).await;
        sent += 1;
        let asked = match asked {
            Ok(asked) => asked,
            Err(error) => {
                let reason = error.message().to_owned();
                append(shared, state, LedgerEvent::NotQueued { reason }).await?;
                return Err(error.with("export", wanted.scope()));
            }
        };
        match asked {
            Asked::Queued(export) => {
                tell(shared, wanted, Step::Submit, &format!("queued as {}", export.request_id));
                let (request_id, requested_at) = (export.request_id, export.requested_at);
                return append(shared, state, LedgerEvent::Submitted { request_id, requested_at }).await;
            }
            Asked::Unanswered(error) => {
                let reason = error.message().to_owned();
                append(shared, state, LedgerEvent::Unanswered { reason }).await?;
                if sent >= MAX_REQUESTS {
                    return Err(error.with("export", wanted.scope()).hint(
                        "run again later: the request is repeated under the same id; if the service did not know it, an export may \
                         stay behind there, which does no harm",
                    ));
                }
                let message = format!("{error}; asks again under the same id");
                shared.observer.tell(Level::Warn, &wanted.scope(), Step::Submit, message);
            }
        }
    }
}

/// Looks at the export until it is ready, lost, or the deadline has come.
async fn wait(shared: &Shared, wanted: &Wanted, state: &mut ExportState) -> Result<Waited> {
    let Some(id) = state.request_id.clone() else {
        return Err(Error::new(Kind::Bug, "an export without a request id is waited for"));
    };
    let (started, mut without_address) = (Instant::now(), 0);
    for attempt in 0.. {
        let Some(export) = shared.client.status(&wanted.path, &id).await? else {
            return Ok(Waited::Lost(format!("the service does not know request {id} any more")));
        };
        let status = export.status.to_string();
        if state.status.as_ref() != Some(&status) {
            tell(shared, wanted, Step::Wait, &status);
            append(shared, state, LedgerEvent::Status { status }).await?;
        }
        match (export.status, export.blob) {
            (Status::Completed, Some(location)) => {
                let at = if attempt == 0 { state.planned_at } else { (shared.plan.settings.clock)() };
                return Ok(Waited::Ready(location, at));
            }
            (Status::Failed, _) => {
                return Ok(Waited::Lost(format!("the service reports request {id} as Failed")));
            }
            (Status::Completed, None) => {
                without_address += 1;
                if without_address >= shared.plan.wait.max_looks_without_address.max(1) {
                    return Ok(Waited::Lost(format!(
                        "the service reports request {id} as Completed and gives no address, {without_address} times"
                    )));
                }
            }
            _ => {}
        }
        let pause = next_poll(&shared.plan.source, attempt);
        if Instant::now() + pause > shared.deadline {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Err(Error::new(Kind::Pending, "the export is still running at the service")
        .with("export", wanted.scope())
        .with("request", id)
        .with("asked for", state.planned_at)
        .with("waited", format!("{} minutes", started.elapsed().as_secs() / 60))
        .hint("run the same command later: it goes on with this export and does not queue a new one"))
}

/// Where the bytes are, or why the service does not have them any more.
async fn download(
    shared: &Shared,
    wanted: &Wanted,
    state: &mut ExportState,
    location: BlobLocation,
    finished_at: Timestamp,
) -> Result<std::result::Result<ExportSpool, String>> {
    let spool = shared.lake.export_spool(state.id)?;
    let file = spool.blob();
    let mut location = location;
    append(shared, state, LedgerEvent::Located { address: location.to_string() }).await?;
    // Nobody closes the semaphore.
    let _turn = shared.downloads.acquire().await.ok();
    for _ in 0..=MAX_NEW_ADDRESSES {
        let downloaded = shared.client.download(&location, &file, &shared.observer, &wanted.scope()).await;
        if downloaded.is_err() {
            shared.ledger.check_ours(state).await?;
        }
        match downloaded? {
            Download::Done(done) => {
                if shared.plan.settings.raw != Raw::None {
                    shared.lake.put_file(&file, &raw_path(&done.sha256)).await?;
                }
                let downloaded =
                    LedgerEvent::Downloaded { sha256: done.sha256, bytes: done.bytes, finished_at };
                append(shared, state, downloaded).await?;
                tell(shared, wanted, Step::Normalise, "waits for its turn");
                return Ok(Ok(spool));
            }
            Download::Expired => match wait(shared, wanted, state).await? {
                Waited::Ready(fresh, _) => location = fresh,
                Waited::Lost(reason) => return Ok(Err(reason)),
            },
        }
    }
    Err(Error::new(Kind::Source, "the address of the export's file expires before it can be used")
        .with("export", wanted.scope())
        .with("addresses tried", MAX_NEW_ADDRESSES + 1)
        .hint("check that this machine's clock is right, then run again: the ledger keeps the export"))
}

fn tell(shared: &Shared, wanted: &Wanted, step: Step, message: &str) {
    shared.observer.tell(Level::Info, &wanted.scope(), step, message);
}
