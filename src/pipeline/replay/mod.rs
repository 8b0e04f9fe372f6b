//! Refused rows once more, after a schema or a contract has changed: those that fit now become part of their export's
//! months, and leave the quarantine.
//!
//! ```text
//! quarantine -> the same records, typed by today's schema -> those that fit, whose export is still the truth of their
//!               month -> one commit by key, as of the export -> out of the quarantine
//! ```
//!
//! A process that dies between the two commits loses and doubles nothing: who comes next publishes the same rows under
//! the same keys, which changes nothing, and takes them out.

mod export;
mod text;

use std::collections::BTreeSet;

use super::balance;
use super::commit::headline;
use super::receipt::{Outcomes, Written};
use super::{Settings, Tools, finish, look_after};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Observer, Step};
use crate::lake::{Cause, Chain, Lake, Manifest, Operation};
use crate::load::{self, Author, Change, Coverage, Loaded, Refused, Rivals, Staged, Stager};
use crate::model::{Account, Outcome, Receipt, TableSpec, WindowReceipt};
use crate::schema::Dataset;

use export::{Export, by_export};
use text::{Tried, type_again};

/// Which refused rows are tried again, and under which schemas.
#[derive(Debug, Clone)]
pub struct Replay {
    pub settings: Settings,
    pub datasets: Vec<Dataset>,
}

/// The refused rows of a lake, of one account or dataset or of all.
///
/// # Errors
/// [`Kind::Destination`] when the lake cannot be read.
pub async fn refused(lake: &Lake, account: Option<&Account>, dataset: Option<&str>) -> Result<Vec<Refused>> {
    let engine = Engine::new(&crate::engine::Options::default(), lake.store().clone())?;
    let mut found = Vec::new();
    for chain in Chain::of_table(lake, load::QUARANTINE).await? {
        if account.is_none_or(|account| *account == chain.account) {
            found.extend(load::refused_rows(lake, &engine, &chain.account, dataset).await?);
        }
    }
    Ok(found)
}

/// The account that a command without a pipeline file is about.
///
/// # Errors
/// [`Kind::Usage`] when the lake has refused rows of several and none was named.
pub async fn only_account(lake: &Lake, named: Option<Account>) -> Result<Account> {
    let chains = Chain::of_table(lake, load::QUARANTINE).await?;
    match (named, chains.as_slice()) {
        (Some(named), _) => Ok(named),
        (None, [only]) => Ok(only.account.clone()),
        (None, []) => Ok(Account::default()),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|chain| chain.account.as_str()).collect();
            Err(Error::new(Kind::Usage, "the lake has refused rows of several accounts")
                .with("accounts", names.join(", "))
                .hint("name one of them: --account ALIAS"))
        }
    }
}

/// Publishes the refused rows that fit now, each export by itself.
///
/// # Errors
/// What stops the whole command; the outcome of each export is in the receipt.
pub async fn replay(replay: Replay, observer: Observer) -> Result<Receipt> {
    let settings = &replay.settings;
    let lake = settings.open_lake().await?;
    let engine = Engine::new(&settings.engine, lake.store().clone())?;
    let tools = Tools { settings, lake: &lake, engine: &engine, observer: &observer };
    look_after(&tools, replay.datasets.iter()).await?;
    let mut outcomes = Outcomes::new(settings, std::iter::empty());
    for dataset in &replay.datasets {
        let name = dataset.name.as_str();
        let rows = load::refused_rows(&lake, &engine, &settings.account, Some(name)).await?;
        for (export, rows) in by_export(rows) {
            let mut receipt = WindowReceipt::new(export.window);
            receipt.request_id.clone_from(&export.request_id);
            receipt.blob_sha256.clone_from(&export.blob);
            match again(&tools, dataset, &export, rows, &mut receipt).await {
                Ok(written) => outcomes.add(name, receipt, Some(written)),
                Err(error) => {
                    observer.tell(Level::Info, name, Step::Done, error.to_string());
                    outcomes.add_failure(name, receipt, error);
                }
            }
        }
    }
    finish(&tools, outcomes).await
}

async fn again(
    tools: &Tools<'_>,
    dataset: &Dataset,
    export: &Export,
    rows: Vec<Refused>,
    receipt: &mut WindowReceipt,
) -> Result<Written> {
    let Tools { settings, lake, observer, .. } = *tools;
    let terms = settings.terms(&dataset.name);
    let spec = terms.table(dataset);
    receipt.treatments = terms.personal.labels();
    let (files, before): (BTreeSet<String>, u64) =
        (rows.iter().map(|row| row.file.clone()).collect(), rows.len() as u64);
    let Some(table) = Chain::new(&spec.name, &settings.account).newest(lake).await? else {
        return Err(Error::new(Kind::Destination, "rows were refused, and their table is not there")
            .with("table", &spec.name)
            .hint("the export was not committed to its end: run the pipeline again"));
    };
    let export = &export.as_known_to(&table);
    receipt.source_files = files.into_iter().collect();
    receipt.rows_read = before;
    let mut tried = type_again(settings, dataset, export, rows)?;
    let spool = lake.spool_dir()?;
    let (staged, gone, twins) =
        choose(tools, dataset, export, &table, &spec, &mut tried, spool.path()).await?;
    balance::check(&export.name(dataset), &tried.counts, &staged)?;

    receipt.hops = tried.counts.hops(&staged);
    receipt.rows_overlap = staged.overlap.rows;
    receipt.rows_quarantined = tried.counts.quarantined + tried.counts.left.rows;
    receipt.first_fault.clone_from(&tried.first_fault);
    receipt.faults = tried.faults.iter().map(|(code, count)| (code.to_string(), *count)).collect();
    receipt.notes = notes(&tried, &staged, before, twins);
    observer.tell(Level::Info, &export.name(dataset), Step::Commit, receipt.notes.join("; "));
    let written = |applied| Written { applied, staged: staged.totals(), headline: headline(&spec) };
    if gone.is_empty() {
        receipt.outcome = Outcome::Unchanged;
        return Ok(written(Box::default()));
    }
    let absent: Vec<String> = tried.absent.into_iter().collect();
    let operation = Operation {
        window: export.window,
        request_id: export.request_id.clone(),
        blob: export.blob.clone(),
        hops: receipt.hops.clone(),
        ..Operation::new(Cause::Replay, format!("refused rows of {}", export.name(dataset)))
    };
    let pending = dataset.pending.clone();
    let change = Change {
        spec: &spec,
        account: &settings.account,
        coverage: Coverage::Merge { replaces: None, months_are_whole: pending.is_none(), pending },
        extracted_at: export.extracted_at,
        staged: &staged,
        absent: &absent,
        made_of: None,
        guards: None,
        operation,
        run_id: settings.run_id,
        now: (settings.clock)(),
    };
    let Loaded::Applied(applied) = load::load(&tools.context(), &change).await? else {
        return Err(Error::new(Kind::Bug, "a replay was held by a guard"));
    };
    receipt.rows_written = applied.rows_written;
    receipt.rows_too_late = applied.rows_too_late;
    receipt.hops.extend(applied.hops.iter().cloned());
    receipt.outcome = if applied.rewritten { Outcome::Published } else { Outcome::Unchanged };
    if applied.rows_too_late > 0 {
        // A newer export came in this moment: what is live is looked at once more.
        receipt.warnings.push(NEWER_CAME.to_owned());
    } else {
        take_out(tools, dataset, export, &gone).await?;
    }
    Ok(written(applied))
}

const NEWER_CAME: &str =
    "a newer export was committed at the same moment: all rows stay in the quarantine; replay again";

/// Stages the rows that may be published; gives back what leaves the quarantine, and how many rows have a twin.
async fn choose(
    tools: &Tools<'_>,
    dataset: &Dataset,
    export: &Export,
    table: &Manifest,
    spec: &TableSpec,
    tried: &mut Tried,
    spool: &std::path::Path,
) -> Result<(Staged, BTreeSet<String>, u64)> {
    let settings = tools.settings;
    let author = Author { run_id: settings.run_id, request_id: export.request_id.clone() };
    let mut stager = Stager::new(spec, &settings.load, &settings.account, &author, spool);
    let (mut gone, mut with_twin) = (BTreeSet::new(), 0);
    // As when it was loaded: the day of overlap belongs to the neighbours.
    let window = export.window.filter(|_| export.request_id.is_some());
    let window = window.map(|window| (window, dataset.driving_date.as_str()));
    let account = &settings.account;
    let live = tried.texts.iter().map(|text| text.live(export, table, account, window));
    let live = live.collect::<Result<Vec<_>>>()?;
    let mut keyed = load::Keyed::new();
    for (text, live) in tried.texts.iter().zip(&live) {
        for row in (0..live.len()).filter(|row| live[*row]) {
            keyed.entry(text.key(row)).or_default().insert((text.file.clone(), text.line(row)));
        }
    }
    let Rivals { twins, newer } =
        load::rivals(&tools.context(), spec, table, export.extracted_at, &keyed).await?;
    for (text, live) in tried.texts.iter().zip(&live) {
        let has_twin: Vec<bool> =
            live.iter().enumerate().map(|(row, live)| *live && twins.contains(&text.key(row))).collect();
        with_twin += has_twin.iter().filter(|has| **has).count() as u64;
        let chosen = live.iter().zip(&has_twin).enumerate();
        let chosen: Vec<bool> =
            chosen.map(|(row, (live, twin))| *live && !twin && !newer.contains(&text.key(row))).collect();
        for row in (0..chosen.len()).filter(|row| chosen[*row]) {
            gone.extend(text.ids.get(&text.line(row)).into_iter().flatten().cloned());
        }
        let left = text.pick(chosen.iter().map(|chosen| !chosen))?;
        load::tally(&left, &spec.money, &mut tried.counts.left, &mut load::Digest::default())?;
        let months: Vec<_> = text.months.iter().zip(&chosen).filter(|(_, c)| **c).map(|(m, _)| *m).collect();
        stager.push_months(&text.pick(chosen.into_iter())?, &months, window)?;
    }
    Ok((stager.finish()?, gone, with_twin))
}

/// Takes rows out of the quarantine.
async fn take_out(
    tools: &Tools<'_>,
    dataset: &Dataset,
    export: &Export,
    ids: &BTreeSet<String>,
) -> Result<()> {
    let settings = tools.settings;
    let request_id = export.request_id.as_ref();
    let these = load::these_refused(&dataset.name, request_id, export.extracted_at, ids);
    let change = Change {
        spec: &load::quarantine_spec(),
        account: &settings.account,
        coverage: Coverage::Merge { replaces: Some(these), months_are_whole: false, pending: None },
        extracted_at: export.extracted_at,
        staged: &Staged::default(),
        absent: &[],
        made_of: None,
        guards: None,
        operation: Operation {
            window: export.window,
            request_id: export.request_id.clone(),
            ..Operation::new(Cause::Replay, format!("published rows of {}", export.name(dataset)))
        },
        run_id: settings.run_id,
        now: (settings.clock)(),
    };
    match load::load(&tools.context(), &change).await? {
        Loaded::Applied(_) => Ok(()),
        Loaded::Held(_) => Err(Error::new(Kind::Bug, "refused rows were held by a guard")),
    }
}

fn notes(tried: &Tried, staged: &Staged, before: u64, twins: u64) -> Vec<String> {
    let overtaken = tried.counts.left.rows - twins;
    let fit = staged.totals().rows;
    let mut notes = vec![format!("{fit} of {before} refused rows fit now and are published")];
    let mut add = |rows: u64, what: &str| notes.extend((rows > 0).then(|| format!("{rows} {what}")));
    add(staged.overlap.rows, "fit, and belong to the neighbouring window, which has them");
    add(tried.counts.quarantined - tried.headless, "still do not fit");
    add(
        overtaken,
        "fit, and stay refused: a newer export is the truth of their month, the table has a newer row under their key, or the lake was taken back",
    );
    add(
        twins,
        "fit, and stay refused: the table has another row of the same time under their key; load their file again, whole, to have both",
    );
    add(
        tried.headless,
        "cannot be tried: the lake did not keep their header yet; the next export of their window replaces them",
    );
    notes
}
