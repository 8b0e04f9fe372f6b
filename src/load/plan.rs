//! What a change makes of the table: which partitions it replaces, merges into, confirms or leaves alone.
//!
//! | coverage | a month | a row |
//! |---|---|---|
//! | window | is replaced, unless a newer export of it is there | that was merged in later stays |
//! | full pull | is confirmed when the pull has all its rows | the newer extraction of a key wins; pending rows are replaced as a whole |
//! | merge | | the newer extraction of a key wins |
//!
//! A row is as new as its own extraction, or as the newest export that covers its month, whichever is later. In whatever
//! order exports arrive, the table ends the same.

use std::collections::BTreeMap;

use datafusion::prelude::{Expr, col};
use jiff::Timestamp;

use super::change::{Change, Context, Coverage};
use super::guards::{Comparison, Findings};
use super::merge::{self, Raise, Rule};
use super::{Digest, StagedPart};
use crate::engine::newer_than;
use crate::error::Result;
use crate::lake::{Manifest, Object, Partition};
use crate::model::{Hop, Month, PartitionKey, RunId, Totals, Window};

/// The table as it will be, and the files that it needs.
#[derive(Default)]
pub(super) struct Plan {
    pub partitions: BTreeMap<PartitionKey, Partition>,
    pub new_files: Vec<(StagedPart, Object)>,
    pub found: Findings,
    pub rows_too_late: u64,
    // Months that the change took, and those that hold a newer export.
    pub taken: u32,
    pub passed: u32,
    pub pulled_at: Option<Timestamp>,
    pub hops: Vec<Hop>,
    // Hold the merged files until they are objects.
    spools: Vec<tempfile::TempDir>,
}

/// Plans a change on the table as it is.
///
/// # Errors
/// [`Kind::Contract`](crate::error::Kind::Contract) when rows do not balance, or the lake cannot be read.
pub(super) async fn plan(
    context: &Context<'_>,
    change: &Change<'_>,
    current: Option<&Manifest>,
) -> Result<Plan> {
    let there = || current.iter().flat_map(|current| &current.partitions);
    let mut plan = Plan {
        partitions: there().map(|p| (p.key.clone(), p.clone())).collect(),
        pulled_at: current.and_then(|current| current.pulled_at),
        ..Plan::default()
    };
    let old: Vec<&Partition> = there().collect();
    let all: Vec<&StagedPart> = change.staged.parts.iter().collect();
    match &change.coverage {
        Coverage::Window(window) => {
            let outside = replace_months(context, change, *window, &mut plan).await?;
            if plan.found.differences.is_empty() {
                // The months that are replaced have no part in a merge: their new rows are the whole truth.
                let is_replaced = |p: &&&Partition| p.key.month().is_some_and(|month| window.contains(month));
                let old: Vec<&Partition> = old.iter().filter(|p| !is_replaced(p)).copied().collect();
                if !move_rows(context, change, *window, &outside, &old, &mut plan).await? {
                    let rule = Rule { months_are_whole: true, ..Rule::default() };
                    merge_into(context, change, &outside, &rule, &old, &mut plan).await?;
                }
            }
        }
        Coverage::FullPull { pending } => pull(context, change, pending, &old, &mut plan).await?,
        Coverage::Merge { replaces, months_are_whole, pending } => {
            // What was pending before the newest pull is known better by now.
            let late = plan.pulled_at > change.extracted_at && change.extracted_at.is_some();
            let drops = pending.as_ref().filter(|_| late).map(|pending| col(pending).is_null());
            let raise = if replaces.is_some() { Raise::Nowhere } else { Raise::Everywhere };
            let months_are_whole = *months_are_whole;
            let rule = Rule { replaces: replaces.clone(), drops, months_are_whole, raise };
            merge_into(context, change, &all, &rule, &old, &mut plan).await?;
        }
        Coverage::Append { of, after, .. } => {
            let known = current.and_then(|current| current.follows.get(of).copied()).unwrap_or(0);
            if known != *after {
                // Another process was first with some of the rows.
                plan.passed = 1;
                return Ok(plan);
            }
            append(context, change, &mut plan).await?;
        }
    }
    Ok(plan)
}

/// A pull of everything: pending rows are replaced as a whole by the newest pull, others merge by key.
async fn pull(
    context: &Context<'_>,
    change: &Change<'_>,
    pending: &str,
    old: &[&Partition],
    plan: &mut Plan,
) -> Result<()> {
    let is_newest = change.extracted_at >= plan.pulled_at;
    if is_newest && let Some(guards) = change.guards {
        let chain = change.chain();
        let comparison = Comparison { guards, engine: context.engine, spec: change.spec, chain: &chain };
        comparison.pull(old, change.staged, &mut plan.found).await?;
        if !plan.found.differences.is_empty() {
            return Ok(());
        }
    }
    let blank = col(pending).is_null();
    let (replaces, drops) = match is_newest {
        // Pending rows that somebody merged in later stay.
        true => (Some(blank.and(not_newer(change.extracted_at))), None),
        // What was pending then is known better by now.
        false => (None, Some(blank)),
    };
    let parts: Vec<&StagedPart> = change.staged.parts.iter().collect();
    // A month of which the pull has every row is confirmed by it, whether they changed or not. Of the others the rows
    // that it has are written anew, with their new time.
    let incomplete = merge::not_pulled(context, change, &parts, old).await?;
    let raise = Raise::In(incomplete.clone());
    let rule = Rule { replaces, drops, months_are_whole: false, raise };
    merge_into(context, change, &parts, &rule, old, plan).await?;
    if is_newest {
        (plan.pulled_at, plan.taken) = (change.extracted_at, 1);
    } else {
        plan.passed = 1;
    }
    for partition in plan.partitions.values_mut().filter(|partition| !incomplete.contains(&partition.key)) {
        cover(partition, change.extracted_at);
    }
    Ok(())
}

/// The condition on a row that is not newer than `at`.
fn not_newer(at: Option<Timestamp>) -> Expr {
    Expr::IsNotTrue(Box::new(newer_than(at)))
}

/// Notes that an export confirms a partition; rows that were merged in later stay noted.
fn cover(partition: &mut Partition, at: Option<Timestamp>) {
    partition.covered_at = partition.covered_at.max(at);
    partition.merged_at = partition.merged_at.filter(|merged| Some(*merged) > partition.covered_at);
}

/// Merges parts into the old partitions by key.
async fn merge_into(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    rule: &Rule,
    old: &[&Partition],
    plan: &mut Plan,
) -> Result<()> {
    let parts = if rule.months_are_whole { in_time(change, parts, old, plan) } else { parts.to_vec() };
    if parts.is_empty() && rule.replaces.is_none() {
        return Ok(());
    }
    if old.iter().all(|partition| partition.objects.is_empty()) && rule.drops.is_none() {
        // Nothing to merge with: the staged files are the partitions.
        parts.iter().for_each(|part| take_part(plan, change, (*part).clone(), Take::Merged));
        return Ok(());
    }
    let merged = merge::merge(context, change, &parts, rule, old).await?;
    plan.rows_too_late += merged.rows_too_late;
    plan.hops.extend(merged.hops);
    for part in merged.parts {
        let raised = merged.raised.contains(&part.key) && rule.raise.is_in(&part.key);
        take_part(plan, change, part, if raised { Take::Raised } else { Take::Merged });
    }
    for key in merged.emptied {
        // That it has no rows is known.
        take_part(plan, change, empty_part(&key), Take::Merged);
    }
    plan.spools.push(merged.spool);
    Ok(())
}

/// The parts for which no newer export of their month is known: a month that is covered wholly has no place for what is
/// older.
fn in_time<'s>(
    change: &Change<'_>,
    parts: &[&'s StagedPart],
    old: &[&Partition],
    plan: &mut Plan,
) -> Vec<&'s StagedPart> {
    let is_late = |part: &StagedPart| {
        let covered = old.iter().find(|p| p.key == part.key).and_then(|p| p.covered_at);
        change.extracted_at.is_some() && covered > change.extracted_at
    };
    let (late, parts): (Vec<&StagedPart>, Vec<&StagedPart>) = parts.iter().partition(|part| is_late(part));
    plan.rows_too_late += late.iter().map(|part| part.totals.rows).sum::<u64>();
    plan.passed += late.len() as u32;
    parts
}

/// A row that moved into a month of the window from a month outside it stands in one of them only: the newer export
/// says in which. Gives back whether there were such rows; then the rows outside the window were merged, too.
async fn move_rows(
    context: &Context<'_>,
    change: &Change<'_>,
    window: Window,
    outside: &[&StagedPart],
    others: &[&Partition],
    plan: &mut Plan,
) -> Result<bool> {
    let staged: Vec<StagedPart> = plan.new_files.iter().map(|(part, _)| part.clone()).collect();
    let mut parts: Vec<&StagedPart> = staged.iter().collect();
    let nothing_there = others.iter().all(|partition| partition.objects.is_empty());
    if parts.is_empty() || nothing_there || !merge::clashes(context, change, &parts, others).await? {
        return Ok(false);
    }
    parts.extend(in_time(change, outside, others, plan));
    let merged = merge::merge(context, change, &parts, &Rule::default(), others).await?;
    plan.rows_too_late += merged.rows_too_late;
    plan.hops.extend(merged.hops);
    // The months of the window are planned again, without what they lose to a month that is known better.
    plan.new_files.clear();
    let empty = staged.iter().filter(|part| !merged.parts.iter().any(|found| found.key == part.key));
    let empty: Vec<StagedPart> = empty.map(|part| empty_part(&part.key)).collect();
    for part in merged.parts.into_iter().chain(empty) {
        let is_inside = part.key.month().is_some_and(|month| window.contains(month));
        if !is_inside {
            take_part(plan, change, part, Take::Merged);
            continue;
        }
        // What was planned for the month is forgotten, but for what it knows of rows that were merged in later.
        let (key, planned) = (part.key.clone(), plan.partitions.remove(&part.key));
        take_part(plan, change, part, Take::Whole);
        if let (Some(partition), Some(planned)) = (plan.partitions.get_mut(&key), planned) {
            (partition.merged_at, partition.blobs) = (planned.merged_at, planned.blobs);
        }
    }
    for key in merged.emptied.iter().filter(|key| others.iter().any(|other| other.key == **key)) {
        take_part(plan, change, empty_part(key), Take::Merged);
    }
    plan.spools.push(merged.spool);
    Ok(true)
}

/// Plans the months of a window; gives back the parts outside it, which are merged by key.
async fn replace_months<'s>(
    context: &Context<'_>,
    change: &Change<'s>,
    window: Window,
    plan: &mut Plan,
) -> Result<Vec<&'s StagedPart>> {
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
        let new = inside.get(&month).copied();
        replace_month(context, change, month, new, plan).await?;
    }
    Ok(outside)
}

async fn replace_month(
    context: &Context<'_>,
    change: &Change<'_>,
    month: Month,
    new: Option<&StagedPart>,
    plan: &mut Plan,
) -> Result<()> {
    let key = PartitionKey::of_month(change.account, Some(month));
    let part = new.cloned().unwrap_or_else(|| empty_part(&key));
    let old = plan.partitions.get(&key).cloned();
    if old.as_ref().is_some_and(|old| holds_newer(old, change.extracted_at, &part)) {
        plan.rows_too_late += part.totals.rows;
        plan.passed += 1;
        return Ok(());
    }
    plan.taken += 1;
    let Some(old) = old.filter(|old| !same_rows(old, &part)) else {
        take_part(plan, change, part, Take::Whole);
        return Ok(());
    };
    if let Some(guards) = change.guards {
        let chain = change.chain();
        let comparison = Comparison { guards, engine: context.engine, spec: change.spec, chain: &chain };
        comparison.month(month, &old, new, &mut plan.found).await?;
    }
    if old.merged_at <= change.extracted_at {
        take_part(plan, change, part, Take::Whole);
        return Ok(());
    }
    // Rows that were merged in later than this export stay, and win over its rows of their key.
    let raise = Raise::Nowhere;
    let rule = Rule { replaces: Some(not_newer(change.extracted_at)), raise, ..Rule::default() };
    let parts: Vec<&StagedPart> = new.into_iter().collect();
    let merged = merge::merge(context, change, &parts, &rule, &[&old]).await?;
    plan.rows_too_late += merged.rows_too_late;
    plan.hops.extend(merged.hops);
    let whole = merged.parts.into_iter().find(|part| part.key == key).unwrap_or_else(|| empty_part(&key));
    let merged_at = old.merged_at;
    take_part(plan, change, whole, Take::Whole);
    if let Some(partition) = plan.partitions.get_mut(&key) {
        partition.merged_at = merged_at;
        partition.blobs.splice(0..0, old.blobs);
    }
    plan.spools.push(merged.spool);
    Ok(())
}

/// Whether the lake holds a newer whole export of the month: then this one comes too late. Of two exports that were
/// finished at the same instant the one with the greater digest is kept, in whatever order they come.
fn holds_newer(old: &Partition, extracted_at: Option<Timestamp>, part: &StagedPart) -> bool {
    let tie = old.covered_at.is_some() && old.covered_at == extracted_at;
    old.covered_at > extracted_at || (tie && old.digest > part.digest.to_hex())
}

async fn append(context: &Context<'_>, change: &Change<'_>, plan: &mut Plan) -> Result<()> {
    for part in &change.staged.parts {
        let old = plan.partitions.get(&part.key).filter(|old| !old.objects.is_empty()).cloned();
        let whole = match old {
            Some(old) => {
                let (whole, spool) = merge::append(context, change, part, &old).await?;
                plan.spools.push(spool);
                whole
            }
            None => part.clone(),
        };
        take_part(plan, change, whole, Take::Merged);
    }
    plan.taken = 1;
    Ok(())
}

fn same_rows(old: &Partition, part: &StagedPart) -> bool {
    old.digest == part.digest.to_hex() && old.totals.rows == part.totals.rows
}

/// How a part takes the place of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Take {
    /// The export is the whole truth about it.
    Whole,
    /// Rows were merged into it, or went from it.
    Merged,
    /// As merged; some rows are newer now although their cells are the same, and must say so.
    Raised,
}

/// Puts a part in place of its partition, unless the rows there are the same.
fn take_part(plan: &mut Plan, change: &Change<'_>, part: StagedPart, take: Take) {
    let old = plan.partitions.remove(&part.key);
    let same = take != Take::Raised && old.as_ref().is_some_and(|old| same_rows(old, &part));
    let mut partition = match old {
        Some(old) if same => old,
        old => fresh(change, &part, old, take),
    };
    if take == Take::Whole {
        cover(&mut partition, change.extracted_at);
    }
    if !same {
        plan.new_files.extend(partition.objects.first().map(|object| (part, object.clone())));
    }
    plan.partitions.insert(partition.key.clone(), partition);
}

/// The entry of a partition whose rows are written anew.
fn fresh(change: &Change<'_>, part: &StagedPart, old: Option<Partition>, take: Take) -> Partition {
    let name = object_name(&part.hash, change.run_id);
    let object = Object { name, bytes: part.bytes, rows: part.totals.rows };
    let mut partition = Partition {
        key: part.key.clone(),
        objects: if part.totals.rows == 0 { Vec::new() } else { vec![object] },
        totals: part.totals.clone(),
        digest: part.digest.to_hex(),
        covered_at: None,
        merged_at: change.extracted_at.filter(|_| take != Take::Whole),
        blobs: change.operation.blob.clone().into_iter().collect(),
        absent: change.absent.to_vec(),
        rules: change.spec.rules,
    };
    if let Some(old) = old.filter(|_| take != Take::Whole) {
        partition.covered_at = old.covered_at;
        partition.merged_at = old.merged_at.max(partition.merged_at).filter(|at| Some(*at) > old.covered_at);
        partition.absent.retain(|column| old.absent.contains(column));
        partition.blobs.splice(0..0, old.blobs);
        partition.blobs.dedup();
    }
    partition
}

/// The hash of the file, and the random part of the run's id.
fn object_name(hash: &str, run_id: RunId) -> String {
    let run = run_id.0.simple().to_string();
    format!("{hash}-{}", &run[run.len() - 12..])
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
