//! What an export changes in the table, and the commit that makes it visible.
//!
//! The table is read, the change is planned on it, objects are written and read back, and one put-if-absent
//! of the next manifest makes them the table. Another writer that was first makes us plan again.

use std::collections::BTreeMap;

use datafusion::prelude::Expr;
use jiff::Timestamp;

use super::publish::{self, Publish};
use super::{Digest, Options, Staged, StagedPart, merge, verify};
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
    /// Hold a full pull that has no row although the lake has some.
    pub refuse_empty: bool,
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
    /// Whether any object was written.
    pub rewritten: bool,
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
        }
        let plan = plan(context, change, current.as_ref()).await?;
        if !plan.held.is_empty() {
            return Ok(Loaded::Held(plan.held));
        }
        let before: Vec<&Partition> = current.iter().flat_map(|current| &current.partitions).collect();
        if plan.partitions.values().eq(before.iter().copied()) {
            // Nothing to say, not even a newer extraction time.
            return Ok(Loaded::Applied(Box::new(Applied { manifest: current, ..Applied::default() })));
        }
        put_objects(context, change, &plan.new_files).await?;
        let manifest = next_manifest(change, current.as_ref(), &plan);
        match lake::commit(context.lake, &manifest).await? {
            CommitOutcome::Committed => {
                publish::publish(context.lake, context.publish, &manifest).await?;
                return Ok(Loaded::Applied(Box::new(applied(plan, manifest))));
            }
            CommitOutcome::Conflict(winner) => current = Some(*winner),
        }
    }
    Err(Error::new(Kind::Destination, "other writers kept changing the table")
        .with("table", &change.spec.name)
        .with("attempts", MAX_CONFLICTS)
        .hint("nothing was committed; run again when fewer runs write this lake"))
}

fn applied(plan: Plan, manifest: Manifest) -> Applied {
    Applied {
        rewritten: !plan.new_files.is_empty(),
        rows_written: plan.new_files.iter().map(|part| part.totals.rows).sum(),
        files_written: plan.new_files.len() as u64,
        bytes_written: plan.new_files.iter().map(|part| part.bytes).sum(),
        manifest: Some(manifest),
        hops: plan.hops,
    }
}

async fn plan(context: &Context<'_>, change: &Change<'_>, current: Option<&Manifest>) -> Result<Plan> {
    let partitions = current.iter().flat_map(|c| &c.partitions).map(|p| (p.key.clone(), p.clone())).collect();
    let mut plan =
        Plan { partitions, new_files: Vec::new(), held: Vec::new(), hops: Vec::new(), _spool: None };
    let to_merge = match &change.coverage {
        Coverage::Window(window) => replace_months(context, change, *window, &mut plan),
        Coverage::Merge { .. } => change.staged.parts.iter().collect(),
    };
    if let (Coverage::Merge { replaces: Some(_) }, true) = (&change.coverage, change.refuse_empty) {
        plan.held.extend(emptied(change, current));
    }
    let replaces = match &change.coverage {
        Coverage::Merge { replaces } => replaces.clone(),
        Coverage::Window(_) => None,
    };
    if to_merge.is_empty() && replaces.is_none() {
        return Ok(plan);
    }
    // The months that are replaced have no part in a merge: their new rows are the whole truth.
    let is_replaced = |key: &PartitionKey| match &change.coverage {
        Coverage::Window(window) => key.month().is_some_and(|month| window.contains(month)),
        Coverage::Merge { .. } => false,
    };
    let old = current.iter().flat_map(|current| &current.partitions);
    let old: Vec<&Partition> =
        old.filter(|p| p.key.account == *change.account && !is_replaced(&p.key)).collect();
    if old.is_empty() {
        // Nothing to merge with: the staged files are the partitions.
        for part in to_merge {
            take_part(&mut plan, change, part.clone(), false);
        }
        return Ok(plan);
    }
    let merged = merge::merge(context, change, &to_merge, replaces, &old).await?;
    plan.hops.extend(merged.hops);
    for part in merged.parts {
        take_part(&mut plan, change, part, false);
    }
    for key in merged.emptied {
        plan.partitions.remove(&key);
    }
    plan._spool = Some(merged.spool);
    Ok(plan)
}

/// Why a full pull without any row is not believed.
fn emptied(change: &Change<'_>, current: Option<&Manifest>) -> Option<String> {
    let there = current.iter().flat_map(|current| &current.partitions);
    let rows = there.filter(|p| p.key.account == *change.account).map(|p| p.totals.rows).sum::<u64>();
    (change.staged.parts.is_empty() && rows > 0)
        .then(|| format!("the lake has {rows} rows of this account and this export none"))
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
        if is_newer(old, change.extracted_at) {
            continue;
        }
        let old_rows = old.map_or(0, |old| old.totals.rows);
        let new_rows = inside.get(&month).map_or(0, |part| part.totals.rows);
        if let Some(reason) = shrink(&context.options.guards, month, old_rows, new_rows) {
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

/// Why a month may not be replaced by so few rows.
fn shrink(guards: &super::Guards, month: Month, old: u64, new: u64) -> Option<String> {
    let lost = old.saturating_sub(new);
    let too_much = old >= guards.shrink_floor_rows
        && u128::from(lost) * 100 > u128::from(old) * u128::from(guards.max_shrink_percent);
    if old > 0 && new == 0 {
        return Some(format!("{month} has {old} rows in the lake and none in this export"));
    }
    too_much.then(|| {
        format!(
            "{month} has {old} rows in the lake and only {new} in this export: more than {} % would vanish",
            guards.max_shrink_percent
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Guards;

    #[test]
    fn a_month_may_shrink_a_little_and_never_vanish() {
        let guards = Guards { max_shrink_percent: 10, shrink_floor_rows: 100, ..Guards::default() };
        let month = Month::new(2026, 9);
        assert_eq!(shrink(&guards, month, 1000, 900), None);
        assert!(shrink(&guards, month, 1000, 899).is_some());
        assert_eq!(shrink(&guards, month, 99, 1), None, "below the floor");
        assert!(shrink(&guards, month, 1, 0).is_some(), "to nothing");
        assert_eq!(shrink(&guards, month, 0, 0), None);
        assert_eq!(shrink(&guards, month, 10, 1000), None);
    }
}
