//! One export that was fetched: what it became is written into the ledger, and it is cleaned up.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::commit::{Fence, Prepared, Source, commit_prepared, prepare};
use super::fetch::Fetched;
use super::receipt::{Outcomes, Written};
use super::{Cleanup, Shared, Wanted};
use crate::error::{Kind, Result};
use crate::event::{Level, Step};
use crate::lake::{ExportSpool, ExportState, LedgerEvent};
use crate::model::{RequestId, WindowReceipt};
use crate::source::Deleted;

/// An export that was fetched, read as far as that is necessary, and not committed.
pub(super) struct Ready {
    state: ExportState,
    // Holds the file.
    spool: ExportSpool,
    receipt: WindowReceipt,
    prepared: Result<Prepared>,
    turn: Option<OwnedSemaphorePermit>,
}

/// Reads an export that was fetched, while the one before is committed. `turn` has one permit, which stays with what was
/// read until that is committed: memory is for one reader and one commit.
pub(super) async fn read(shared: &Shared, wanted: &Wanted, fetched: Fetched, turn: Arc<Semaphore>) -> Ready {
    let Fetched { state, spool } = fetched;
    let mut receipt = WindowReceipt::new(wanted.window);
    let (sha256, bytes, finished_at) = state.blob.clone().unwrap_or_default();
    receipt.request_id.clone_from(&state.request_id);
    receipt.blob_sha256 = Some(sha256);
    receipt.blob_bytes = bytes;
    let source = Source {
        dataset: wanted.dataset.clone(),
        file: spool.blob(),
        name: blob_name(state.request_id.as_ref()),
        window: wanted.window,
        whole: wanted.whole,
        request_id: state.request_id.clone(),
        extracted_at: Some(finished_at),
        scope: wanted.scope(),
        guarded: true,
        held_as: None,
    };
    // Nobody closes the semaphore.
    let turn = turn.acquire_owned().await.ok();
    let prepared = prepare(&shared.tools(), source, &mut receipt).await;
    Ready { state, spool, receipt, prepared, turn }
}

/// Settles one export; its failure is written down and does not stop the others.
pub(super) async fn settle(shared: &Shared, wanted: &Wanted, ready: Result<Ready>, outcomes: &mut Outcomes) {
    let (receipt, settled) = match ready {
        Ok(ready) => settle_ready(shared, wanted, ready).await,
        Err(error) => (WindowReceipt::new(wanted.window), Err(error)),
    };
    match settled {
        Ok(written) => outcomes.add(wanted.dataset.name.as_str(), receipt, Some(written)),
        Err(error) => {
            // The receipt explains it; this tells while the others go on.
            shared.observer.tell(Level::Info, &wanted.scope(), Step::Done, error.to_string());
            outcomes.add_failure(wanted.dataset.name.as_str(), receipt, error);
        }
    }
}

async fn settle_ready(shared: &Shared, wanted: &Wanted, ready: Ready) -> (WindowReceipt, Result<Written>) {
    let Ready { mut state, spool, mut receipt, prepared, turn } = ready;
    // From here on the next one may read. Where nothing was read, the two would only look at the same manifests.
    let _turn = turn.filter(|_| !matches!(prepared, Ok(Prepared::Read(_))));
    let written = match prepared {
        Ok(prepared) => commit(shared, wanted, &mut state, prepared, &mut receipt).await,
        Err(error) => Err(error),
    };
    let settled = end(shared, state, spool, written).await;
    (receipt, settled)
}

async fn commit(
    shared: &Shared,
    wanted: &Wanted,
    state: &mut ExportState,
    prepared: Prepared,
    receipt: &mut WindowReceipt,
) -> Result<Written> {
    if !wanted.whole && wanted.dataset.pending.is_some() {
        receipt.notes.push(PENDING_STAYS.to_owned());
    }
    let fence = Fence { ledger: &shared.ledger, state, clock: shared.plan.settings.clock };
    commit_prepared(&shared.tools(), prepared, receipt, Some(fence)).await
}

/// Writes into the ledger what became of the export.
async fn end(
    shared: &Shared,
    mut state: ExportState,
    spool: ExportSpool,
    written: Result<Written>,
) -> Result<Written> {
    let now = shared.plan.settings.clock;
    match written {
        Ok(written) => {
            let cleanup = shared.plan.cleanup == Cleanup::Delete && state.request_id.is_some();
            let committed = LedgerEvent::Committed { manifest: written.manifest_version(), cleanup };
            shared.ledger.append(&mut state, committed, now()).await?;
            spool.remove();
            if cleanup {
                clean_up(shared, &mut state).await;
            }
            Ok(written)
        }
        Err(error) => {
            // What the bytes say stays so: the next run asks for a fresh export.
            if error.kind() == Kind::Contract {
                let held = LedgerEvent::Held { reason: error.to_string() };
                shared.ledger.append(&mut state, held, now()).await?;
                spool.remove();
            } else {
                shared.ledger.check_ours(&state).await?;
            }
            Err(error)
        }
    }
}

/// A pending row has no lasting key, and only a pull without a filter tells that it is pending no more.
const PENDING_STAYS: &str =
    "the pull is filtered: rows that were pending before stay until one without a filter";

/// Deletes an export at the service. The rows are safe: a clean-up that fails is told, does no harm, and is tried again
/// by the next run, until the export is as old as nobody waits for.
pub(super) async fn clean_up(shared: &Shared, state: &mut ExportState) {
    let scope = state.wish.to_string();
    let now = shared.plan.settings.clock;
    let deleted = match (&state.request_id, shared.plan.path_of(&state.wish.dataset)) {
        (Some(id), Some(path)) => shared.client.delete(path, id).await,
        // Nobody can be asked: the dataset is not in the pipeline any more.
        _ => Ok(Deleted::StillProcessing),
    };
    let event = match deleted {
        Ok(Deleted::Deleted | Deleted::Gone) => Some(LedgerEvent::Deleted),
        Ok(Deleted::StillProcessing) => None,
        Err(error) => {
            let message = format!("the export stays at the service: {error}");
            shared.observer.tell(Level::Warn, &scope, Step::Done, message);
            None
        }
    };
    let given_up = shared.plan.gives_up(state);
    let kept = || LedgerEvent::Kept { reason: "it could not be deleted within two days".to_owned() };
    if let Some(event) = event.or_else(|| given_up.then(kept))
        && let Err(error) = shared.ledger.append(state, event, now()).await
    {
        let message = format!("that the export was deleted could not be written down: {error}");
        shared.observer.tell(Level::Warn, &scope, Step::Done, message);
    }
}

fn blob_name(request_id: Option<&RequestId>) -> String {
    request_id.map_or_else(|| "export".to_owned(), |id| id.to_string())
}
