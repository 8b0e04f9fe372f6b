//! Steps 4 to 7 for one file: process, hold or commit, fill the receipt.

use std::collections::BTreeSet;
use std::path::Path;

use arrow::array::RecordBatch;
use jiff::{SignedDuration, Timestamp};

use super::process::{Input, Processed, process};
use super::receipt::Written;
use super::{Settings, Tools, held, refusal};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Cause, Chain, ExportState, Ledger, LedgerEvent, Operation};
use crate::load::{self, Applied, Author, Change, Context, Coverage, Loaded, Staged, Stager};
use crate::model::{Outcome, PartitionKey, RequestId, TableSpec, Totals, Window, WindowReceipt};
use crate::normalise::Origin;
use crate::schema::{Dataset, RULES};

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
    /// False: a person has looked at it and wants it as it is.
    pub guarded: bool,
    /// The id under which it was held, if a person has accepted it now.
    pub held_as: Option<String>,
}

/// Stands before the commit of an export: a run from which another has taken it, because it was slow and looked dead,
/// does not pass.
pub(super) struct Fence<'a> {
    pub ledger: &'a Ledger,
    pub state: &'a mut ExportState,
    pub clock: fn() -> Timestamp,
}

impl Fence<'_> {
    async fn pass(&mut self) -> Result<()> {
        self.ledger.append(self.state, LedgerEvent::Committing, (self.clock)()).await
    }
}

/// A file that was read: its rows are on local disk, and nothing is in the lake.
pub(super) struct ReadSource {
    source: Source,
    spec: TableSpec,
    processed: Processed,
    _spool: tempfile::TempDir,
}

/// A file of which it is known what is to be committed.
pub(super) enum Prepared {
    Read(Box<ReadSource>),
    /// The months were made of the same bytes: there is nothing to read.
    Same(Box<Source>),
}

/// Reads a file, unless the months were made of the same bytes.
///
/// # Errors
/// Those of [`read_source`].
pub(super) async fn prepare(
    tools: &Tools<'_>,
    source: Source,
    receipt: &mut WindowReceipt,
) -> Result<Prepared> {
    let terms = tools.settings.terms(&source.dataset.name);
    receipt.treatments = terms.personal.labels();
    let (spec, staged) = (terms.table(&source.dataset), Staged::default());
    let change = change(tools.settings, &source, receipt, &spec, &staged);
    if let Some(window) = source.window.filter(|_| change.made_of.is_some())
        && load::is_confirmed(&tools.context(), &change, window).await?
    {
        return Ok(Prepared::Same(Box::new(source)));
    }
    Ok(Prepared::Read(Box::new(read_source(tools, source).await?)))
}

/// Commits a file, or confirms the months that were made of the same bytes.
///
/// # Errors
/// Those of [`read_source`] and [`commit_read`].
pub(super) async fn commit_prepared(
    tools: &Tools<'_>,
    prepared: Prepared,
    receipt: &mut WindowReceipt,
    fence: Option<Fence<'_>>,
) -> Result<Written> {
    let (source, mut fence) = match prepared {
        Prepared::Read(read) => return commit_read(tools, *read, receipt, fence).await,
        Prepared::Same(source) => (*source, fence),
    };
    let (spec, staged) =
        (tools.settings.terms(&source.dataset.name).table(&source.dataset), Staged::default());
    let change = change(tools.settings, &source, receipt, &spec, &staged);
    if let Some(window) = source.window {
        if let Some(fence) = &mut fence {
            fence.pass().await?;
        }
        if let Some((applied, totals)) = load::confirm(&tools.context(), &change, window).await? {
            return unchanged(tools, &source, receipt, applied, totals).await;
        }
    }
    // The months have changed meanwhile.
    commit_read(tools, read_source(tools, source).await?, receipt, fence).await
}

/// The bytes are those that the months of the window were made of: there is nothing to read.
async fn unchanged(
    tools: &Tools<'_>,
    source: &Source,
    receipt: &mut WindowReceipt,
    applied: Applied,
    totals: Totals,
) -> Result<Written> {
    // None were refused: those of another export of these months go, also when a crash has come between once.
    let blob = receipt.blob_sha256.clone();
    commit_quarantine(&tools.context(), tools.settings, source, (&[], 0), blob.as_deref()).await?;
    held::overtake(tools, source, source.held_as.as_deref()).await?;
    receipt.outcome = Outcome::Unchanged;
    receipt.warnings.extend(from_the_future(&applied, (tools.settings.clock)()));
    receipt.notes.push(format!(
        "the bytes are those of the export that the {} rows of these months were made of: nothing was read",
        totals.rows
    ));
    tools.observer.tell(Level::Info, &source.scope, Step::Done, outcome_text(&applied));
    let spec = tools.settings.terms(&source.dataset.name).table(&source.dataset);
    Ok(Written { staged: totals, headline: headline(&spec), applied: Box::new(applied) })
}

/// The change that a file makes, but for what reading it tells.
fn change<'a>(
    settings: &'a Settings,
    source: &Source,
    receipt: &WindowReceipt,
    spec: &'a TableSpec,
    staged: &'a Staged,
) -> Change<'a> {
    Change {
        spec,
        account: &settings.account,
        coverage: coverage(source),
        extracted_at: source.extracted_at,
        staged,
        absent: &[],
        made_of: made_of(settings, source, receipt),
        guards: source.guarded.then_some(&settings.load.guards),
        operation: operation(source, receipt),
        run_id: settings.run_id,
        now: (settings.clock)(),
    }
}

/// A hash of all that decides what the rows of a window are. `None` for what is not the whole truth about one.
fn made_of(settings: &Settings, source: &Source, receipt: &WindowReceipt) -> Option<String> {
    let window = source.window.filter(|_| source.whole)?;
    let blob = receipt.blob_sha256.as_ref()?;
    let terms = settings.terms(&source.dataset.name);
    let (contract, personal) = (terms.contract, terms.personal.labels());
    let rules = (env!("CARGO_PKG_VERSION"), RULES);
    let all = format!(
        "{blob} {window} {rules:?} {contract:?} {personal:?} {:?} {:?}",
        settings.decode, source.dataset
    );
    Some(blake3::hash(all.as_bytes()).to_hex().to_string())
}

/// Decodes, types and stages a file.
///
/// # Errors
/// [`Kind::Contract`] when it does not balance; [`Kind::Destination`].
pub(super) async fn read_source(tools: &Tools<'_>, source: Source) -> Result<ReadSource> {
    let Tools { settings, lake, observer, .. } = *tools;
    let spec = settings.terms(&source.dataset.name).table(&source.dataset);
    let spool = lake.spool_dir()?;
    let (source, processed) = process_on_thread(settings, observer, source, &spec, spool.path()).await?;
    Ok(ReadSource { source, spec, processed, _spool: spool })
}

/// Commits the rows of a file that was read, then the refused ones: a crash in between leaves the export open in the ledger,
/// and the next run does the rest.
///
/// # Errors
/// [`Kind::Contract`] when a guard holds it; [`Kind::Destination`]; [`Kind::Pending`] when the export is another run's by
/// now.
pub(super) async fn commit_read(
    tools: &Tools<'_>,
    read: ReadSource,
    receipt: &mut WindowReceipt,
    fence: Option<Fence<'_>>,
) -> Result<Written> {
    let Tools { settings, observer, .. } = *tools;
    let ReadSource { source, spec, processed, _spool } = read;
    let terms = settings.terms(&source.dataset.name);
    describe(receipt, &processed);
    let guards = source.guarded.then_some(&settings.load.guards);
    if let Some(guards) = guards {
        let differences = refusal::found(terms.contract, guards, &source, &processed);
        if !differences.is_empty() {
            return Err(held::hold(tools, &source, differences, receipt).await?);
        }
    }

    observer.tell(Level::Info, &source.scope, Step::Commit, "the rows balance");
    let context = tools.context();
    if let Some(repeated) = load::repeated_keys(&context, &spec, &processed.staged).await? {
        observer.tell(Level::Info, &source.scope, Step::Commit, repeated.to_string());
        receipt.notes.push(repeated.to_string());
    }
    let absent: BTreeSet<&String> = processed.files.iter().flat_map(|file| &file.absent).collect();
    let absent: Vec<String> = absent.into_iter().cloned().collect();
    let change = change(settings, &source, receipt, &spec, &processed.staged);
    // Refused rows, rows of other months and whatever is warned of are to be looked at again.
    let all_here = processed.counts.quarantined == 0
        && strays(&source, &processed).is_none()
        && processed.files.iter().all(|file| file.warnings.is_empty());
    let made_of = change.made_of.filter(|_| all_here);
    let change = Change { absent: &absent, made_of, ..change };
    if let Some(mut fence) = fence {
        fence.pass().await?;
    }
    let applied = match load::load(&context, &change).await? {
        Loaded::Applied(applied) => applied,
        Loaded::Held(differences) => {
            return Err(held::hold(tools, &source, differences, receipt).await?);
        }
    };
    if source.whole && applied.overtaken {
        // What was refused in an export that came too late is known better by now.
        forget_refused(receipt);
    } else {
        let refused = (processed.quarantine.as_slice(), processed.counts.quarantined);
        commit_quarantine(&context, settings, &source, refused, receipt.blob_sha256.as_deref()).await?;
    }
    held::overtake(tools, &source, source.held_as.as_deref()).await?;
    receipt.outcome = if applied.rewritten { Outcome::Published } else { Outcome::Unchanged };
    receipt.rows_written = applied.rows_written;
    receipt.rows_too_late += applied.rows_too_late;
    receipt.hops.extend(applied.hops.iter().cloned());
    receipt.notes.extend(applied.news.iter().cloned());
    receipt.warnings.extend(strays(&source, &processed));
    receipt.warnings.extend(from_the_future(&applied, (settings.clock)()));
    observer.tell(Level::Info, &source.scope, Step::Done, outcome_text(&applied));
    Ok(Written { staged: processed.staged.totals(), headline: headline(&spec), applied })
}

/// The money columns that every row has.
pub(super) fn headline(spec: &TableSpec) -> Vec<String> {
    let names = spec.money.iter().map(|money| money.name.clone());
    names.filter(|name| spec.schema.field_with_name(name).is_ok_and(|f| !f.is_nullable())).collect()
}

/// For the history of the table.
fn operation(source: &Source, receipt: &WindowReceipt) -> Operation {
    Operation {
        window: source.window,
        request_id: source.request_id.clone(),
        blob: receipt.blob_sha256.clone(),
        blob_bytes: receipt.blob_sha256.is_some().then_some(receipt.blob_bytes),
        texts: receipt.texts.clone(),
        hops: receipt.hops.clone(),
        ..Operation::new(
            if source.request_id.is_some() { Cause::Export } else { Cause::File },
            source.scope.clone(),
        )
    }
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

/// A clock that ran ahead, here or on another host, makes every right export come too late until its time has come.
fn from_the_future(applied: &Applied, now: Timestamp) -> Option<String> {
    let manifest = applied.manifest.as_ref()?;
    let covered = manifest.partitions.iter().filter_map(|partition| partition.covered_at);
    let newest = covered.chain(manifest.pulled_at).max()?;
    (newest > now.saturating_add(MAX_AHEAD).unwrap_or(Timestamp::MAX)).then(|| {
        format!(
            "the lake holds an export from the future ({newest}): the clock of a machine that wrote it ran ahead, and what \
             is asked for until then comes too late; set the clocks right, and go back with `payoutlake lake rollback`"
        )
    })
}

/// By so much the clocks of two machines may differ.
const MAX_AHEAD: SignedDuration = SignedDuration::from_mins(10);

fn outcome_text(applied: &Applied) -> String {
    if applied.overtaken {
        return "the lake holds a newer export already: nothing was taken from this one".to_owned();
    }
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
            whole: source.whole,
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
            normalise: &settings.terms(&source.dataset.name),
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
    let pending = &source.dataset.pending;
    match (source.whole, source.window, pending) {
        (true, Some(window), _) => Coverage::Window(window),
        (true, None, Some(pending)) => Coverage::FullPull { pending: pending.clone() },
        _ => {
            let months_are_whole = pending.is_none();
            Coverage::Merge { replaces: None, months_are_whole, pending: pending.clone() }
        }
    }
}

/// The months of the refused rows are known from a newer export: they are in no table.
fn forget_refused(receipt: &mut WindowReceipt) {
    let refused = std::mem::take(&mut receipt.rows_quarantined);
    if refused > 0 {
        receipt.rows_too_late += refused;
        (receipt.faults, receipt.first_fault) = (Vec::new(), None);
        receipt.notes.push(format!(
            "{refused} refused rows are not kept: a newer export is the truth of their months"
        ));
    }
}

async fn commit_quarantine(
    context: &Context<'_>,
    settings: &Settings,
    source: &Source,
    (refused, count): (&[RecordBatch], u64),
    blob: Option<&str>,
) -> Result<()> {
    let spec = load::quarantine_spec();
    let spool = context.lake.spool_dir()?;
    let author = Author { run_id: settings.run_id, request_id: source.request_id.clone() };
    let mut stager = Stager::new(&spec, context.options, &settings.account, &author, spool.path());
    let key = PartitionKey { account: settings.account.clone(), value: source.dataset.name.to_string() };
    for batch in refused {
        stager.push(key.clone(), load::of_blob(batch, blob)?)?;
    }
    let staged = stager.finish()?;
    if staged.totals().rows != count {
        return Err(Error::new(Kind::Contract, "refused rows were lost on the way to the quarantine")
            .with("hop", "quarantine")
            .with("file", &source.name)
            .with("differs", format!("rows {count} against {}", staged.totals().rows))
            .hint("the good rows are committed; run again, and report this if it stays"));
    }
    if staged.parts.is_empty() {
        let known = Chain::new(&spec.name, &settings.account).newest(context.lake).await?;
        let there = known.and_then(|known| known.partition(&key).map(|part| part.totals.rows));
        if there.unwrap_or(0) == 0 {
            return Ok(());
        }
    }
    // The same bytes once more, under other schemas or another encoding: what is still refused of them is known now.
    let same = blob.map(|blob| load::replaced_by_blob(&source.dataset.name, blob));
    let covered = source
        .whole
        .then(|| load::replaced_by_window(&source.dataset.name, source.window, source.extracted_at));
    let replaces = match (covered, same) {
        (Some(covered), Some(same)) => Some(covered.or(same)),
        (one, other) => one.or(other),
    };
    let change = Change {
        spec: &spec,
        account: &settings.account,
        coverage: Coverage::Merge { replaces, months_are_whole: false, pending: None },
        extracted_at: source.extracted_at,
        staged: &staged,
        absent: &[],
        made_of: None,
        guards: None,
        operation: Operation {
            window: source.window,
            request_id: source.request_id.clone(),
            ..Operation::new(Cause::Derived, format!("refused rows of {}", source.scope))
        },
        run_id: settings.run_id,
        now: (settings.clock)(),
    };
    match load::load(context, &change).await? {
        Loaded::Applied(_) => Ok(()),
        Loaded::Held(_) => Err(Error::new(Kind::Bug, "refused rows were held by a guard")),
    }
}

fn describe(receipt: &mut WindowReceipt, processed: &Processed) {
    receipt.source_files = processed.files.iter().map(|file| file.text.name.clone()).collect();
    receipt.texts = processed.files.iter().map(|file| file.text.clone()).collect();
    receipt.schema_version = processed.files.iter().filter_map(|file| file.schema_version).max();
    receipt.rows_read = processed.counts.read;
    receipt.rows_quarantined = processed.counts.quarantined;
    receipt.rows_overlap = processed.staged.overlap.rows;
    receipt.hops = processed.counts.hops(&processed.staged);
    receipt.rows_discarded = processed.counts.discarded.rows;
    receipt.faults = processed.faults.iter().map(|(code, count)| (code.to_string(), *count)).collect();
    receipt.decisions = processed.decisions.iter().map(|(what, count)| (what.clone(), *count)).collect();
    let decided = processed.decisions.iter().map(|(what, count)| format!("{count} {what}"));
    receipt.notes.extend(decided);
    receipt.first_fault.clone_from(&processed.first_fault);
    for file in &processed.files {
        // One file alone is named by the receipt already.
        let prefix = if processed.files.len() > 1 { format!("{}: ", file.text.name) } else { String::new() };
        let named = |texts: &[String]| texts.iter().map(|text| format!("{prefix}{text}")).collect::<Vec<_>>();
        receipt.warnings.extend(named(&file.warnings));
        receipt.notes.extend(named(&file.notes));
    }
}
