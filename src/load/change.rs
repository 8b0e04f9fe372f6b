//! What an export changes in the table, and the commit that makes it visible.
//!
//! The table is read, the change is planned on it, objects are written and read back, and one put-if-absent
//! of the next manifest makes them the table. Another writer that was first makes us plan again.

use std::collections::BTreeMap;

use datafusion::prelude::{Expr, col};
use jiff::Timestamp;

use super::publish::{self, Publish};
use super::{Digest, Options, Staged, StagedPart, guards, merge, verify};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::lake::{self, CommitOutcome, Lake, Manifest, Object, Partition, object_path};
use crate::model::{Account, Hop, Month, PartitionKey, RunId, TableSpec, Totals, Window};

/// What a change works with.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    pub lake: &'a Lake,
    pub engine: &'a Engine,
    pub options: &'a Options,
    pub publish: Publish,
}

/// What the staged rows are the whole truth about.
#[derive(Debug, Clone)]
pub enum Coverage {
    /// All rows of these months of the account: they are replaced.
    Window(Window),
    /// All rows that the service can reach: they merge by key, rows beyond its reach stay, and all rows in which
    /// the column `pending` is still blank are replaced.
    FullPull { pending: String },
    /// Nothing: rows are merged by key, the newer extraction wins, nothing else is removed.
    Merge {
        /// Old rows that go whatever their key.
        replaces: Option<Expr>,
    },
}

/// Rows on their way into a table.
#[derive(Debug)]
pub struct Change<'a> {
    pub spec: &'a TableSpec,
    pub account: &'a Account,
    pub coverage: Coverage,
    /// When the export was finished; `None` for hand-downloaded files.
    pub extracted_at: Option<Timestamp>,
    pub staged: &'a Staged,
    pub run_id: RunId,
    pub now: Timestamp,
}

/// What became of a change.
#[derive(Debug)]
#[must_use]
pub enum Loaded {
    Applied(Box<Applied>),
    /// A guard refuses it; the lake was left as it is.
    Held(Vec<String>),
}

#[derive(Debug, Default)]
pub struct Applied {
    /// Whether the table's rows changed.
    pub rewritten: bool,
    /// Rows that were left out because the lake holds a newer extraction of them.
    pub rows_too_late: u64,
    /// Rows in the partitions that were written.
    pub rows_written: u64,
    pub files_written: u64,
    pub bytes_written: u64,
    /// The table's newest manifest after this.
    pub manifest: Option<Manifest>,
    pub hops: Vec<Hop>,
}

/// The table as it will be, and the files that it needs.
struct Plan {
    partitions: BTreeMap<PartitionKey, Partition>,
    new_files: Vec<StagedPart>,
    held: Vec<String>,
    rows_too_late: u64,
    hops: Vec<Hop>,
    // Holds the merged files until they are objects.
    _spool: Option<tempfile::TempDir>,
}

/// How often a change is planned again because another writer was first.
const MAX_CONFLICTS: u32 = 20;

/// Applies a change to its table: plan, write objects, read them back, commit, publish.
///
/// # Errors
/// [`Kind::Contract`] when rows or cents do not balance (nothing is committed), [`Kind::Destination`] when
/// the lake fails.
pub async fn load(context: &Context<'_>, change: &Change<'_>) -> Result<Loaded> {
    let mut current = lake::newest(context.lake, &change.spec.name).await?;
    for _ in 0..MAX_CONFLICTS {
        if let Some(current) = &current {
            current.check_writable()?;
            current.check_columns(&change.spec.schema)?;
        }
        let plan = plan(context, change, current.as_ref()).await?;
        if !plan.held.is_empty() {
            return Ok(Loaded::Held(plan.held));
        }
        let before = || current.iter().flat_map(|current| &current.partitions);
        // The first load makes the table, also when it has no row.
        if current.is_some() && plan.partitions.values().eq(before()) {
            // Nothing to say, not even a newer extraction time.
            return Ok(Loaded::Applied(Box::new(applied(plan, current, false))));
        }
        let objects = |partition: &Partition| partition.objects.clone();
        let rewritten = !plan.partitions.values().map(objects).eq(before().map(objects));
        put_objects(context, change, &plan.new_files).await?;
        let manifest = next_manifest(change, current.as_ref(), &plan);
        match lake::commit(context.lake, &manifest).await? {
            CommitOutcome::Committed => {
                publish::publish(context.lake, context.publish, &manifest).await?;
                return Ok(Loaded::Applied(Box::new(applied(plan, Some(manifest), rewritten))));
            }
            CommitOutcome::Conflict(winner) => current = Some(*winner),
        }
    }
    Err(Error::new(Kind::Destination, "other writers kept changing the table")
        .with("table", &change.spec.name)
        .with("attempts", MAX_CONFLICTS)
        .hint("nothing was committed; run again when fewer runs write this lake"))
}

fn applied(plan: Plan, manifest: Option<Manifest>, rewritten: bool) -> Applied {
    Applied {
        rewritten,
        rows_too_late: plan.rows_too_late,
        rows_written: plan.new_files.iter().map(|part| part.totals.rows).sum(),
        files_written: plan.new_files.len() as u64,
        bytes_written: plan.new_files.iter().map(|part| part.bytes).sum(),
        manifest,
        hops: plan.hops,
    }
}

async fn plan(context: &Context<'_>, change: &Change<'_>, current: Option<&Manifest>) -> Result<Plan> {
    let there = || current.iter().flat_map(|current| &current.partitions);
    let mut plan = Plan {
        partitions: there().map(|p| (p.key.clone(), p.clone())).collect(),
        new_files: Vec::new(),
        held: Vec::new(),
        rows_too_late: 0,
        hops: Vec::new(),
        _spool: None,
    };
    let of_account: Vec<&Partition> = there().filter(|p| p.key.account == *change.account).collect();
    match &change.coverage {
        Coverage::Window(window) => {
            let outside = replace_months(context, change, *window, &mut plan);
            if !plan.held.is_empty() {
                return Ok(plan);
            }
            // The months that are replaced have no part in a merge: their new rows are the whole truth.
            let is_replaced = |p: &&&Partition| p.key.month().is_some_and(|month| window.contains(month));
            let old: Vec<&Partition> = of_account.iter().filter(|p| !is_replaced(p)).copied().collect();
            merge_into(context, change, &outside, None, &old, &mut plan).await?;
        }
        Coverage::FullPull { pending } => {
            if of_account.iter().any(|p| p.extracted_at > change.extracted_at) {
                // A newer pull of everything is there already.
                plan.rows_too_late = change.staged.totals().rows;
                return Ok(plan);
            }
            plan.held.extend(guards::shrunk_pull(&context.options.guards, &of_account, change.staged));
            if !plan.held.is_empty() {
                return Ok(plan);
            }
            let parts: Vec<&StagedPart> = change.staged.parts.iter().collect();
            let blank = col(pending).is_null();
            merge_into(context, change, &parts, Some(blank), &of_account, &mut plan).await?;
        }
        Coverage::Merge { replaces } => {
            let parts: Vec<&StagedPart> = change.staged.parts.iter().collect();
            merge_into(context, change, &parts, replaces.clone(), &of_account, &mut plan).await?;
        }
    }
    Ok(plan)
}

/// Merges parts into the old partitions by key.
async fn merge_into(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    replaces: Option<Expr>,
    old: &[&Partition],
    plan: &mut Plan,
) -> Result<()> {
    if old.is_empty() {
        // Nothing to merge with: the staged files are the partitions.
        parts.iter().for_each(|part| take_part(plan, change, (*part).clone(), false));
        return Ok(());
    }
    if parts.is_empty() && replaces.is_none() {
        return Ok(());
    }
    let merged = merge::merge(context, change, parts, replaces, old).await?;
    plan.rows_too_late += merged.rows_too_late;
    plan.hops.extend(merged.hops);
    merged.parts.into_iter().for_each(|part| take_part(plan, change, part, false));
    for key in merged.emptied {
        plan.partitions.remove(&key);
    }
    plan._spool = Some(merged.spool);
    Ok(())
}

/// Plans the months of a window; gives back the parts outside it, which are merged by key.
fn replace_months<'s>(
    context: &Context<'_>,
    change: &Change<'s>,
    window: Window,
    plan: &mut Plan,
) -> Vec<&'s StagedPart> {
    let mut inside: BTreeMap<Month, &StagedPart> = BTreeMap::new();
    let mut outside = Vec::new();
    for part in &change.staged.parts {
        match part.key.month() {
            Some(month) if window.contains(month) => {
                inside.insert(month, part);
            }
            _ => outside.push(part),
        }
    }
    for month in window.months() {
        let key = PartitionKey::of_month(change.account, Some(month));
        let old = plan.partitions.get(&key);
        let old_rows = old.map_or(0, |old| old.totals.rows);
        let new_rows = inside.get(&month).map_or(0, |part| part.totals.rows);
        if is_newer(old, change.extracted_at) {
            plan.rows_too_late += new_rows;
            continue;
        }
        if let Some(reason) = guards::shrunk_month(&context.options.guards, month, old_rows, new_rows) {
            plan.held.push(reason);
            continue;
        }
        let part = inside.get(&month).map_or_else(|| empty_part(&key), |part| (*part).clone());
        take_part(plan, change, part, true);
    }
    outside
}

/// Whether the lake holds a newer whole export of the month: then this one comes too late.
fn is_newer(old: Option<&Partition>, extracted_at: Option<Timestamp>) -> bool {
    old.is_some_and(|old| old.whole && old.extracted_at.is_some() && old.extracted_at > extracted_at)
}

/// Puts a part in place of its partition, unless the rows there are the same.
fn take_part(plan: &mut Plan, change: &Change<'_>, part: StagedPart, whole: bool) {
    let old = plan.partitions.get(&part.key);
    let digest = part.digest.to_hex();
    let same = old.is_some_and(|old| old.digest == digest && old.totals.rows == part.totals.rows);
    let extracted_at = match old {
        // Rows that are merged in do not make the rest of a whole month any newer.
        Some(old) if !whole && old.whole => old.extracted_at,
        Some(old) if !whole => old.extracted_at.max(change.extracted_at),
        _ => change.extracted_at,
    };
    let objects = match old {
        Some(old) if same => old.objects.clone(),
        _ if part.totals.rows == 0 => Vec::new(),
        _ => vec![Object { hash: part.hash.clone(), bytes: part.bytes, rows: part.totals.rows }],
    };
    let whole = whole || old.is_some_and(|old| old.whole);
    let partition = Partition {
        key: part.key.clone(),
        objects,
        totals: part.totals.clone(),
        digest,
        extracted_at,
        whole,
    };
    plan.partitions.insert(part.key.clone(), partition);
    if !same && part.totals.rows > 0 {
        plan.new_files.push(part);
    }
}

/// A month of which a whole export has no row: it is covered all the same.
fn empty_part(key: &PartitionKey) -> StagedPart {
    StagedPart {
        key: key.clone(),
        file: std::path::PathBuf::new(),
        hash: String::new(),
        bytes: 0,
        totals: Totals::default(),
        digest: Digest::default(),
    }
}

/// Makes the files objects, durably, and reads each one back.
async fn put_objects(context: &Context<'_>, change: &Change<'_>, files: &[StagedPart]) -> Result<()> {
    for part in files {
        context.lake.put_file(&part.file, &object_path(&change.spec.name, &part.hash)).await?;
        verify::verify(context.engine, change.spec, part).await?;
    }
    Ok(())
}

fn next_manifest(change: &Change<'_>, current: Option<&Manifest>, plan: &Plan) -> Manifest {
    Manifest::next(
        current,
        change.spec,
        plan.partitions.values().cloned().collect(),
        commit_id(plan),
        change.run_id,
        change.now,
    )
}

/// Names the content: the same partitions give the same id.
fn commit_id(plan: &Plan) -> String {
    let mut hasher = blake3::Hasher::new();
    for partition in plan.partitions.values() {
        hasher.update(partition.key.to_string().as_bytes());
        hasher.update(partition.digest.as_bytes());
        for object in &partition.objects {
            hasher.update(object.hash.as_bytes());
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}
