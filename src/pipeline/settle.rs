//! Steps 4 to 7 for one export that was fetched: process, hold or commit, write the ledger, fill the receipt.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use jiff::Timestamp;

use super::balance::Counts;
use super::fetch::Fetched;
use super::process::{Input, Processed, process};
use super::receipt::{Outcomes, Written};
use super::{Cleanup, Settings, Shared, Wanted};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Lake, LedgerEvent};
use crate::load::{self, Applied, Change, Context, Coverage, Guards, Loaded, Stager};
use crate::model::{Outcome, PartitionKey, RequestId, TableSpec, Window, WindowReceipt};
use crate::normalise::Origin;
use crate::schema::Dataset;

/// Settles one export; its failure is written down and does not stop the others.
pub(super) async fn settle(
    shared: &Arc<Shared>,
    wanted: &Wanted,
    fetched: Result<Fetched>,
    outcomes: &mut Outcomes,
) {
    let mut receipt = WindowReceipt::new(wanted.window);
    let settled = match fetched {
        Ok(fetched) => settle_fetched(shared, wanted, fetched, &mut receipt).await,
        Err(error) => Err(error),
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

async fn settle_fetched(
    shared: &Arc<Shared>,
    wanted: &Wanted,
    fetched: Fetched,
    receipt: &mut WindowReceipt,
) -> Result<Written> {
    let Fetched { mut state, file, _spool } = fetched;
    let (sha256, bytes, finished_at) = state.blob.clone().unwrap_or_default();
    receipt.request_id.clone_from(&state.request_id);
    receipt.blob_sha256 = Some(sha256);
    receipt.blob_bytes = bytes;
    let source = Source {
        dataset: wanted.dataset.clone(),
        file,
        name: blob_name(state.request_id.as_ref()),
        window: wanted.window,
        whole: true,
        request_id: state.request_id.clone(),
        extracted_at: Some(finished_at),
        scope: wanted.scope(),
    };
    let now = shared.plan.settings.clock;
    let loaded =
        commit_source(&shared.plan.settings, &shared.lake, &shared.engine, &shared.observer, source, receipt);
    match loaded.await {
        Ok(written) => {
            let committed = LedgerEvent::Committed { manifest: written.manifest_version() };
            shared.ledger.append(&mut state, committed, now()).await?;
            if let (Cleanup::Delete, Some(id)) = (shared.plan.cleanup, state.request_id.clone()) {
                clean_up(shared, wanted, &id, &mut state).await;
            }
            Ok(written)
        }
        Err(error) => {
            // What the bytes say stays so: the next run asks for a fresh export.
            if error.kind() == Kind::Contract {
                shared
                    .ledger
                    .append(&mut state, LedgerEvent::Held { reason: error.to_string() }, now())
                    .await?;
            }
            Err(error)
        }
    }
}

/// The rows are safe: a clean-up that fails is told and does no harm.
async fn clean_up(shared: &Shared, wanted: &Wanted, id: &RequestId, state: &mut crate::lake::ExportState) {
    let deleted = shared.client.delete(&wanted.path, id).await;
    let recorded = match deleted {
        Ok(_) => shared.ledger.append(state, LedgerEvent::Deleted, (shared.plan.settings.clock)()).await,
        Err(error) => Err(error),
    };
    if let Err(error) = recorded {
        let message = format!("the export stays at the service: {error}");
        shared.observer.tell(Level::Warn, &wanted.scope(), Step::Done, message);
    }
}

fn blob_name(request_id: Option<&RequestId>) -> String {
    request_id.map_or_else(|| "export".to_owned(), |id| id.to_string())
}

/// A file with rows, on local disk, and what it covers.
pub(super) struct Source {
    pub dataset: Dataset,
    pub file: std::path::PathBuf,
    pub name: String,
    pub window: Option<Window>,
    /// Whether it is the whole truth about the window (or, without one, about everything reachable).
    pub whole: bool,
    pub request_id: Option<RequestId>,
    pub extracted_at: Option<Timestamp>,
    pub scope: String,
}

/// Processes a file and commits its rows, then the refused ones: a crash in between leaves the export open in the
/// ledger, and the next run does both again.
///
/// # Errors
/// [`Kind::Contract`] when it does not balance or a guard holds it; [`Kind::Destination`].
pub(super) async fn commit_source(
    settings: &Settings,
    lake: &Lake,
    engine: &Engine,
    observer: &Observer,
    source: Source,
    receipt: &mut WindowReceipt,
) -> Result<Written> {
    let spec = source.dataset.table();
    let spool = lake.spool_dir()?;
    let (source, processed) = process_on_thread(settings, observer, source, &spec, spool.path()).await?;
    describe(receipt, &processed);
    hold_if_refused(&settings.load.guards, &source, &processed)?;

    observer.tell(Level::Info, &source.scope, Step::Commit, "the rows balance");
    let context = Context { lake, engine, options: &settings.load, publish: settings.publish };
    let change = Change {
        spec: &spec,
        account: &settings.account,
        coverage: coverage(&source),
        extracted_at: source.extracted_at,
        staged: &processed.staged,
        run_id: settings.run_id,
        now: (settings.clock)(),
    };
    let applied = match load::load(&context, &change).await? {
        Loaded::Applied(applied) => applied,
        Loaded::Held(reasons) => return Err(held(&source, &reasons.join("; "), Limit::Shrink)),
    };
    commit_quarantine(&context, settings, &source, &processed).await?;
    receipt.outcome = if applied.rewritten { Outcome::Published } else { Outcome::Unchanged };
    receipt.rows_written = applied.rows_written;
    receipt.rows_too_late = applied.rows_too_late;
    receipt.hops.extend(applied.hops.iter().cloned());
    receipt.warnings.extend(strays(&source, &processed));
    observer.tell(Level::Info, &source.scope, Step::Done, outcome_text(&applied));
    let headline = spec.money.iter().map(|money| money.name.clone());
    let headline = headline.filter(|name| spec.schema.field_with_name(name).is_ok_and(|f| !f.is_nullable()));
    Ok(Written { staged: processed.staged.totals(), headline: headline.collect(), applied })
}

/// Rows that no window of a request explains.
fn strays(source: &Source, processed: &Processed) -> Option<String> {
    let window = source.window.filter(|_| source.whole)?;
    let outside = processed
        .staged
        .parts
        .iter()
        .filter(|part| !part.key.month().is_some_and(|month| window.contains(month)));
    let rows = outside.map(|part| part.totals.rows).sum::<u64>();
    (rows > 0).then(|| {
        format!("{rows} rows lie outside the months that were asked for; they were merged by key into their own months")
    })
}

fn outcome_text(applied: &Applied) -> String {
    match applied.rewritten {
        true => format!("{} rows in {} files", applied.rows_written, applied.files_written),
        false => "the lake holds these rows already: nothing was rewritten".to_owned(),
    }
}

async fn process_on_thread(
    settings: &Settings,
    observer: &Observer,
    source: Source,
    spec: &TableSpec,
    spool: &Path,
) -> Result<(Source, Processed)> {
    let (settings, observer) = (settings.clone(), observer.clone());
    let (spec, spool) = (spec.clone(), spool.to_owned());
    let work = tokio::task::spawn_blocking(move || {
        let processed = process(&Input {
            dataset: &source.dataset,
            spec: &spec,
            account: &settings.account,
            window: source.window,
            file: &source.file,
            name: &source.name,
            origin: Origin {
                run_id: settings.run_id,
                request_id: source.request_id.clone(),
                extracted_at: source.extracted_at,
                loaded_at: settings.now,
                source_file: source.name.clone(),
            },
            decode: &settings.decode,
            load: &settings.load,
            spool: &spool,
            observer: &observer,
            scope: &source.scope,
        })?;
        Ok((source, processed))
    });
    work.await.map_err(|cause| {
        Error::new(Kind::Bug, "a stage stopped unexpectedly")
            .hint("nothing was committed for this window; please report it")
            .caused_by(cause)
    })?
}

/// What the rows are the whole truth about. Payments have no window: they are pulled whole.
fn coverage(source: &Source) -> Coverage {
    match (source.whole, source.window, &source.dataset.pending) {
        (true, Some(window), _) => Coverage::Window(window),
        (true, None, Some(pending)) => Coverage::FullPull { pending: pending.clone() },
        _ => Coverage::Merge { replaces: None },
    }
}

async fn commit_quarantine(
    context: &Context<'_>,
    settings: &Settings,
    source: &Source,
    processed: &Processed,
) -> Result<()> {
    let spec = load::quarantine_spec();
    let spool = context.lake.spool_dir()?;
    let mut stager = Stager::new(&spec, context.options, &settings.account, spool.path().to_owned());
    let key = PartitionKey { account: settings.account.clone(), value: source.dataset.name.to_string() };
    for batch in &processed.quarantine {
        stager.push(key.clone(), RecordBatch::clone(batch))?;
    }
    let staged = stager.finish()?;
    if staged.totals().rows != processed.counts.quarantined {
        return Err(Error::new(Kind::Contract, "refused rows were lost on the way to the quarantine")
            .with("hop", "quarantine")
            .with("file", &source.name)
            .with(
                "differs",
                format!("rows {} against {}", processed.counts.quarantined, staged.totals().rows),
            )
            .hint("the good rows are committed; run again, and report this if it stays"));
    }
    let known = crate::lake::newest(context.lake, &spec.name).await?;
    let nothing_there = known.is_none_or(|manifest| manifest.partition(&key).is_none());
    if staged.parts.is_empty() && nothing_there {
        return Ok(());
    }
    let replaces = source.whole.then(|| load::replaced_by_window(&source.dataset.name, source.window));
    let change = Change {
        spec: &spec,
        account: &settings.account,
        coverage: Coverage::Merge { replaces },
        extracted_at: source.extracted_at,
        staged: &staged,
        run_id: settings.run_id,
        now: (settings.clock)(),
    };
    match load::load(context, &change).await? {
        Loaded::Applied(_) => Ok(()),
        Loaded::Held(reasons) => Err(Error::new(Kind::Bug, reasons.join("; "))),
    }
}

fn hold_if_refused(guards: &Guards, source: &Source, processed: &Processed) -> Result<()> {
    let Counts { read, quarantined, .. } = processed.counts;
    let share = u128::from(guards.max_quarantined_percent);
    if u128::from(quarantined) * 100 <= u128::from(read) * share {
        return Ok(());
    }
    let first = processed.first_fault.clone().unwrap_or_default();
    let reason = format!("{quarantined} of {read} rows are refused, more than {share} %");
    Err(held(source, &reason, Limit::Quarantined).with("first", first))
}

/// Which guard holds an export.
#[derive(Clone, Copy)]
enum Limit {
    Shrink,
    Quarantined,
}

fn held(source: &Source, reason: &str, limit: Limit) -> Error {
    let step = match (limit, source.request_id.is_some()) {
        (Limit::Quarantined, false) => "give a higher --max-quarantined-percent",
        (Limit::Quarantined, true) => {
            "raise `load.guards.max_quarantined_percent` in the pipeline file and run again"
        }
        (Limit::Shrink, true) => "raise `load.guards.max_shrink_percent` in the pipeline file and run again",
        (Limit::Shrink, false) => "leave --covers out: the rows then merge by key and remove nothing",
    };
    Error::new(Kind::Contract, format!("held back: {reason}"))
        .with("export", &source.scope)
        .with("file", &source.name)
        .hint(format!(
            "the lake was left as it is for these months; look at the file, and if it is right {step}"
        ))
}

fn describe(receipt: &mut WindowReceipt, processed: &Processed) {
    receipt.source_files = processed.files.iter().map(|file| file.name.clone()).collect();
    receipt.schema_version = processed.files.iter().filter_map(|file| file.schema_version).max();
    receipt.rows_read = processed.counts.read;
    receipt.rows_quarantined = processed.counts.quarantined;
    receipt.rows_overlap = processed.staged.overlap.rows;
    receipt.hops = processed.counts.hops(&processed.staged);
    receipt.faults = processed.faults.iter().map(|(code, count)| (code.clone(), *count)).collect();
    receipt.first_fault.clone_from(&processed.first_fault);
    for file in &processed.files {
        // One file alone is named by the receipt already.
        let prefix = if processed.files.len() > 1 { format!("{}: ", file.name) } else { String::new() };
        let named = |texts: &[String]| texts.iter().map(|text| format!("{prefix}{text}")).collect::<Vec<_>>();
        receipt.warnings.extend(named(&file.warnings));
        receipt.notes.extend(named(&file.notes));
    }
}
