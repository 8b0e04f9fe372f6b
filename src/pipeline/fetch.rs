//! Steps 1 to 3 for one export: submit, wait, download, with the ledger before and after each step.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Raw, Shared, Wanted};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::lake::{ExportState, LedgerEvent, raw_path};
use crate::model::ExportId;
use crate::source::{BlobLocation, Download, ExportRequest, FileFormat, Status, next_poll};

/// The bytes of an export on local disk.
pub(super) struct Fetched {
    pub state: ExportState,
    pub file: std::path::PathBuf,
    // Holds the file.
    pub _spool: tempfile::TempDir,
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

/// Brings the bytes of one export home, adopting what an earlier run left open.
///
/// # Errors
/// [`Kind::Pending`] at the deadline, [`Kind::Source`] when the service gave the export up for good, and
/// whatever the source or the lake answers.
pub(super) async fn fetch(shared: &Shared, wanted: &Wanted, adopted: Option<ExportState>) -> Result<Fetched> {
    let mut adopted = adopted;
    for attempt in 1..=shared.plan.wait.max_attempts.max(1) {
        let mut state = match adopted.take() {
            Some(state) => {
                tell(shared, wanted, Step::Submit, "goes on with the export that an earlier run asked for");
                state
            }
            None => begin(shared, wanted).await?,
        };
        if let Some(found) = from_lake(shared, &state).await? {
            return Ok(found);
        }
        if state.request_id.is_none() {
            submit(shared, wanted, &mut state).await?;
        }
        match wait(shared, wanted, &mut state).await? {
            Waited::Ready(location, at) => return download(shared, wanted, state, location, at).await,
            Waited::Lost(reason) => {
                let message = format!("{reason} (attempt {attempt})");
                shared.observer.tell(Level::Warn, &wanted.scope(), Step::Wait, message);
                append(shared, &mut state, LedgerEvent::Failed { reason }).await?;
            }
        }
    }
    Err(Error::new(Kind::Source, "Partner Center gave the export up")
        .with("export", wanted.scope())
        .with("attempts", shared.plan.wait.max_attempts.max(1))
        .hint("nothing was changed for these months; run again in a few minutes, and report it to Microsoft if it stays"))
}

async fn begin(shared: &Shared, wanted: &Wanted) -> Result<ExportState> {
    let planned = LedgerEvent::Planned {
        dataset: wanted.dataset.name.clone(),
        account: shared.plan.settings.account.clone(),
        window: wanted.window,
        filter: wanted.filter.clone(),
        api: shared.plan.api_label(),
        idempotency: Uuid::new_v4(),
    };
    let now = (shared.plan.settings.clock)();
    shared.ledger.begin(ExportId(Uuid::now_v7()), planned, now).await
}

async fn append(shared: &Shared, state: &mut ExportState, event: LedgerEvent) -> Result<()> {
    shared.ledger.append(state, event, (shared.plan.settings.clock)()).await
}

/// The blob that an earlier run downloaded and did not commit.
async fn from_lake(shared: &Shared, state: &ExportState) -> Result<Option<Fetched>> {
    let Some((sha256, ..)) = &state.blob else { return Ok(None) };
    let spool = shared.lake.spool_dir()?;
    let file = spool.path().join("blob");
    if !shared.lake.copy_to(&raw_path(sha256), &file).await? {
        return Ok(None);
    }
    Ok(Some(Fetched { state: state.clone(), file, _spool: spool }))
}

async fn submit(shared: &Shared, wanted: &Wanted, state: &mut ExportState) -> Result<()> {
    let request =
        ExportRequest { path: wanted.path.clone(), filter: wanted.filter.clone(), format: FileFormat::Csv };
    let export = shared.client.submit(&request, state.idempotency).await;
    let export = export.map_err(|error| error.with("export", wanted.scope()))?;
    tell(shared, wanted, Step::Submit, &format!("queued as {}", export.request_id));
    append(shared, state, LedgerEvent::Submitted { request_id: export.request_id }).await
}

/// Looks at the export until it is ready, lost, or the deadline has come.
async fn wait(shared: &Shared, wanted: &Wanted, state: &mut ExportState) -> Result<Waited> {
    let Some(id) = state.request_id.clone() else {
        return Err(Error::new(Kind::Bug, "an export without a request id is waited for"));
    };
    let deadline = Duration::from_secs(shared.plan.wait.deadline_minutes.saturating_mul(60));
    let started = tokio::time::Instant::now();
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
            // Completed without an address is waited for like everything else: it may come late.
            _ => {}
        }
        let pause = next_poll(&shared.plan.source, attempt);
        if started.elapsed() + pause > deadline {
            break;
        }
        tokio::time::sleep(pause).await;
    }
    Err(Error::new(Kind::Pending, "the export is still running at the service")
        .with("export", wanted.scope())
        .with("request", id)
        .with("waited", format!("{} minutes", started.elapsed().as_secs() / 60))
        .hint("run the same command later: it goes on with this export and does not queue a new one"))
}

async fn download(
    shared: &Shared,
    wanted: &Wanted,
    mut state: ExportState,
    location: BlobLocation,
    finished_at: Timestamp,
) -> Result<Fetched> {
    let spool = shared.lake.spool_dir()?;
    let file = spool.path().join("blob");
    let mut location = location;
    for _ in 0..=MAX_NEW_ADDRESSES {
        match shared.client.download(&location, &file, &shared.observer, &wanted.scope()).await? {
            Download::Done(done) => {
                if shared.plan.settings.raw == Raw::Keep {
                    shared.lake.put_file(&file, &raw_path(&done.sha256)).await?;
                }
                let downloaded =
                    LedgerEvent::Downloaded { sha256: done.sha256, bytes: done.bytes, finished_at };
                append(shared, &mut state, downloaded).await?;
                tell(shared, wanted, Step::Normalise, "waits for its turn");
                return Ok(Fetched { state, file, _spool: spool });
            }
            Download::Expired => match wait(shared, wanted, &mut state).await? {
                Waited::Ready(fresh, _) => location = fresh,
                Waited::Lost(reason) => {
                    append(shared, &mut state, LedgerEvent::Failed { reason: reason.clone() }).await?;
                    return Err(Error::new(Kind::Source, reason)
                        .with("export", wanted.scope())
                        .hint("run again: a new export will be asked for"));
                }
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
