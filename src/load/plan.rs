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

use std::collections::{BTreeMap, BTreeSet};

use datafusion::prelude::{Expr, col};
use jiff::Timestamp;

use super::change::{Change, Context, Coverage};
use super::guards::{Comparison, Findings};
use super::merge::{self, Merged, Raise, Rule};
use super::{Digest, StagedPart};
use crate::engine::newer_than;
use crate::error::Result;
use crate::lake::{Manifest, Object, Partition};
use crate::model::{Hop, PartitionKey, RunId, Totals, Window};

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

impl Plan {
    /// The months as they are, confirmed by the same bytes once more, and what they hold; `None` when one of them holds
    /// anything else.
    pub(super) fn confirming(
        current: &Manifest,
        change: &Change<'_>,
        window: Window,
    ) -> Option<(Plan, Totals)> {
        let partitions = current.partitions.iter().map(|p| (p.key.clone(), p.clone())).collect();
        let mut plan = Plan { partitions, pulled_at: current.pulled_at, ..Plan::default() };
        let mut totals = Totals::default();
        for month in window.months() {
            let partition = plan.partitions.get_mut(&PartitionKey::of_month(change.account, Some(month)))?;
            let is_same = partition.made_of.is_some() && partition.made_of == change.made_of;
            if !is_same || partition.covered_at > change.extracted_at {
                return None;
            }
            cover(partition, change.extracted_at);
            totals.merge(&partition.totals);
            plan.taken += 1;
        }
        Some((plan, totals))
    }
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
        Coverage::Window(window) => replace_months(context, change, *window, &old, &mut plan).await?,
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
        let before = old.iter().find(|old| old.key == partition.key);
        if before.is_some_and(|old| old.objects != partition.objects) {
            // All its rows are of this pull now.
            (partition.absent, partition.rules) = (change.absent.to_vec(), change.spec.rules);
            partition.treat(&change.spec.schema, None);
        }
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
    let mut parts = parts.to_vec();
    if rule.months_are_whole {
        parts.retain(|part| !comes_too_late(change, part, plan));
    }
    if parts.is_empty() && rule.replaces.is_none() {
        return Ok(());
    }
    if old.iter().all(|partition| partition.objects.is_empty()) && rule.drops.is_none() {
        // Nothing to merge with: the staged files are the partitions.
        parts.iter().for_each(|part| take_part(plan, change, (*part).clone(), Take::Merged));
        return Ok(());
    }
    let merged = merge::merge(context, change, &parts, rule, old).await?;
    take_merged(change, merged, &rule.raise, plan);
    Ok(())
}

/// A month that a newer export covers wholly has no place for what is older: notes so.
fn comes_too_late(change: &Change<'_>, part: &StagedPart, plan: &mut Plan) -> bool {
    let covered_at = plan.partitions.get(&part.key).and_then(|there| there.covered_at);
    let late = change.extracted_at.is_some() && covered_at > change.extracted_at;
    if late {
        plan.rows_too_late += part.totals.rows;
        plan.passed += 1;
    }
    late
}

/// Takes over what a merge by key left of the partitions.
fn take_merged(change: &Change<'_>, merged: Merged, raise: &Raise, plan: &mut Plan) {
    plan.rows_too_late += merged.rows_too_late;
    plan.hops.extend(merged.hops);
    for part in merged.parts {
        let raised = merged.raised.contains(&part.key) && raise.is_in(&part.key);
        take_part(plan, change, part, if raised { Take::Raised } else { Take::Merged });
    }
    for key in merged.emptied {
        // That it has no rows is known.
        take_part(plan, change, empty_part(&key), Take::Merged);
    }
    plan.spools.extend(merged.spools);
}

/// Plans the months of a window, and the file's rows of other months.
///
/// A month that a newer export covers is left alone; one that holds just these rows is only confirmed. From the others
/// all rows go, save those that were merged in later than this export. The new rows are merged by key with all rows that
/// stand, in whatever month: a row that moved stands in one month only, and the newer export says in which.
async fn replace_months(
    context: &Context<'_>,
    change: &Change<'_>,
    window: Window,
    old: &[&Partition],
    plan: &mut Plan,
) -> Result<()> {
    let months = compare_months(context, change, window, plan).await?;
    if !plan.found.differences.is_empty() {
        return Ok(());
    }
    let is_inside = |part: &&StagedPart| part.key.month().is_some_and(|month| window.contains(month));
    let mut outside: Vec<&StagedPart> = change.staged.parts.iter().filter(|part| !is_inside(part)).collect();
    outside.retain(|part| !comes_too_late(change, part, plan));

    let stay = |p: &&&Partition| months.taken.contains(&p.key) && p.merged_at > change.extracted_at;
    let stand = |p: &&&Partition| !months.taken.contains(&p.key) || stay(p);
    let standing: Vec<&Partition> = old.iter().filter(stand).copied().collect();
    let mut parts: Vec<&StagedPart> = months.changed.iter().filter(|part| part.totals.rows > 0).collect();
    if old.iter().any(|p| stay(&p)) || clashes(context, change, &parts, &standing).await? {
        parts.extend(outside);
        return replace_and_merge(context, change, &months, &parts, &standing, plan).await;
    }
    months.changed.into_iter().for_each(|part| take_part(plan, change, part, Take::Whole));
    let rule = Rule { months_are_whole: true, ..Rule::default() };
    merge_into(context, change, &outside, &rule, &standing, plan).await
}

/// Months of a window.
#[derive(Default)]
struct Months {
    /// Those about which the export has the last word.
    taken: BTreeSet<PartitionKey>,
    /// Those of them whose rows it changes, with its rows.
    changed: Vec<StagedPart>,
}

/// Compares what the export and the lake hold of each month of the window, and notes those that are the same.
async fn compare_months(
    context: &Context<'_>,
    change: &Change<'_>,
    window: Window,
    plan: &mut Plan,
) -> Result<Months> {
    let mut months = Months::default();
    for month in window.months() {
        let key = PartitionKey::of_month(change.account, Some(month));
        let new = change.staged.parts.iter().find(|part| part.key == key);
        let part = new.cloned().unwrap_or_else(|| empty_part(&key));
        let old = plan.partitions.get(&key).cloned();
        if old.as_ref().is_some_and(|old| holds_newer(old, change.extracted_at, &part)) {
            plan.rows_too_late += part.totals.rows;
            plan.passed += 1;
            continue;
        }
        plan.taken += 1;
        months.taken.insert(key);
        match old {
            Some(old) if same_rows(&old, &part) => take_part(plan, change, part, Take::Whole),
            Some(old) => {
                if let Some(guards) = change.guards {
                    let chain = change.chain();
                    let comparison =
                        Comparison { guards, engine: context.engine, spec: change.spec, chain: &chain };
                    comparison.month(month, &old, new, &mut plan.found).await?;
                }
                months.changed.push(part);
            }
            None => months.changed.push(part),
        }
    }
    Ok(months)
}

/// Whether a key of the new rows stands already.
async fn clashes(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    standing: &[&Partition],
) -> Result<bool> {
    if parts.is_empty() || standing.iter().all(|partition| partition.objects.is_empty()) {
        return Ok(false);
    }
    merge::clashes(context, change, parts, standing).await
}

/// The months of a window where some rows stay, or where keys stand in several months.
async fn replace_and_merge(
    context: &Context<'_>,
    change: &Change<'_>,
    months: &Months,
    parts: &[&StagedPart],
    standing: &[&Partition],
    plan: &mut Plan,
) -> Result<()> {
    let taken: BTreeSet<&PartitionKey> = months.taken.iter().collect();
    let in_taken = merge::in_partitions(&change.spec.partition_columns[1], &taken);
    let rule = Rule { replaces: Some(in_taken.and(not_newer(change.extracted_at))), ..Rule::default() };
    let mut merged = merge::merge(context, change, parts, &rule, standing).await?;
    for part in &months.changed {
        let whole = merged.parts.iter().position(|found| found.key == part.key);
        let stays = standing.iter().any(|p| p.key == part.key) && !merged.emptied.contains(&part.key);
        match (whole, plan.partitions.get_mut(&part.key)) {
            (Some(index), _) => take_part(plan, change, merged.parts.swap_remove(index), Take::Whole),
            (None, Some(partition)) if stays => {
                cover(partition, change.extracted_at);
                partition.made_of = None;
            }
            _ => take_part(plan, change, empty_part(&part.key), Take::Whole),
        }
        if let Some(partition) = plan.partitions.get_mut(&part.key).filter(|there| !same_rows(there, part)) {
            // Some rows of the export stand in another month, which knows better.
            partition.made_of = None;
        }
    }
    // What is taken is settled by now.
    merged.parts.retain(|part| !months.taken.contains(&part.key));
    merged.emptied.retain(|key| !months.taken.contains(key));
    take_merged(change, merged, &rule.raise, plan);
    Ok(())
}

/// Whether the lake holds a newer whole export of the month: then this one comes too late. Of two exports that were
/// finished at the same instant the one with the greater digest is kept, in whatever order they come. A month into which
/// other files were merged since tells nothing about the export that covers it.
fn holds_newer(old: &Partition, extracted_at: Option<Timestamp>, part: &StagedPart) -> bool {
    let tie = old.covered_at.is_some() && old.covered_at == extracted_at && old.blobs.len() <= 1;
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
        partition.made_of = change.made_of.clone().filter(|_| partition.merged_at.is_none());
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
        made_of: None,
        absent: change.absent.to_vec(),
        treatments: BTreeMap::new(),
        rules: change.spec.rules,
    };
    // Of a month that is replaced, rows that were merged in later than this export stay.
    let beside = old.filter(|old| take != Take::Whole || old.merged_at > change.extracted_at);
    partition.treat(&change.spec.schema, beside.as_ref());
    if let Some(old) = beside {
        partition.covered_at = old.covered_at;
        partition.merged_at = old.merged_at.max(partition.merged_at).filter(|at| Some(*at) > old.covered_at);
        // Rows of both are in it.
        partition.absent.extend(old.absent.iter().filter(|column| !change.absent.contains(column)).cloned());
        partition.rules = partition.rules.min(old.rules);
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
