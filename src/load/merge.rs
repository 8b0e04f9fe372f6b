//! Merging staged rows into what the lake holds, by key, with the balance of every row and cent.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::prelude::{DataFrame, Expr, col, lit};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::guards::new_files;
use super::verify::{file, only_counted, table_of};
use super::{Change, Context, Digest, StagedPart, Stager, tally};
use crate::engine::{Merge, MergeParts, Place, older_than};
use crate::error::{Error, Kind, Result};
use crate::lake::{Partition, object_path};
use crate::model::{Account, DEFAULT_PARTITION, Hop, PartitionKey, TableSpec, Totals};

/// The partitions that a merge rewrites.
pub(super) struct Merged {
    pub parts: Vec<StagedPart>,
    /// Partitions in which no row is left.
    pub emptied: Vec<PartitionKey>,
    /// Partitions with a row that is newer now than it was, also where all its cells are the same.
    pub raised: BTreeSet<PartitionKey>,
    /// New rows that are older than what the lake holds, or do not count.
    pub rows_too_late: u64,
    pub hops: Vec<Hop>,
    pub spool: tempfile::TempDir,
}

/// What holds besides the keys.
#[derive(Default)]
pub(super) struct Rule {
    /// Old rows that go whatever their key and time.
    pub replaces: Option<Expr>,
    /// New rows that do not count.
    pub drops: Option<Expr>,
    /// Whether a month that a newer export covers has no place for older rows.
    pub months_are_whole: bool,
    /// Where rows are written anew only because they are newer now.
    pub raise: Raise,
}

#[derive(Default)]
pub(super) enum Raise {
    #[default]
    Everywhere,
    Nowhere,
    In(BTreeSet<PartitionKey>),
}

impl Raise {
    fn is_anywhere(&self) -> bool {
        match self {
            Raise::Everywhere => true,
            Raise::Nowhere => false,
            Raise::In(keys) => !keys.is_empty(),
        }
    }

    pub fn is_in(&self, key: &PartitionKey) -> bool {
        match self {
            Raise::Everywhere => true,
            Raise::Nowhere => false,
            Raise::In(keys) => keys.contains(key),
        }
    }
}

/// Merges `parts` into the `old` partitions.
pub(super) async fn merge(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    rule: &Rule,
    old: &[&Partition],
) -> Result<Merged> {
    let spec = change.spec;
    let spool = context.lake.spool_dir()?;
    let plan = sorted(change, old, parts, rule)?.plan(context.engine)?;

    let raised = match (&plan.superseded, change.extracted_at) {
        (Some(superseded), Some(at)) if rule.raise.is_anywhere() => {
            Some(superseded.clone().filter(older_than(at)).map_err(planning)?)
        }
        _ => None,
    };
    let raised = count(spec, raised, change.account).await?.keys;
    let superseded = count(spec, plan.superseded, change.account).await?;
    let added = count(spec, plan.added.clone(), change.account).await?;
    let stale = count(spec, plan.stale, change.account).await?;
    let affected: BTreeSet<&PartitionKey> = superseded.keys.union(&added.keys).collect();

    let mut stager = Stager::new(spec, context.options, change.account, &change.author(), spool.path());
    if let Some(kept) = plan.kept {
        let kept = kept.filter(in_partitions(&spec.partition_columns[1], &affected)).map_err(planning)?;
        write("merge", &mut stager, spec, kept, change.account).await?;
    }
    if let Some(added) = plan.added {
        write("merge", &mut stager, spec, added, change.account).await?;
    }
    let written = stager.finish()?;

    let mut staged = Totals::default();
    parts.iter().for_each(|part| staged.merge(&part.totals));
    let mut arrived = added.totals.clone();
    arrived.merge(&stale.totals);
    check(spec, "merge: staged = added + stale", &staged, &arrived)?;

    let mut expected = Totals::default();
    old.iter().filter(|p| affected.contains(&p.key)).for_each(|p| expected.merge(&p.totals));
    expected.merge(&added.totals);
    expected.subtract(&superseded.totals);
    check(spec, "merge: written = carried over - superseded + added", &expected, &written.totals())?;

    let emptied = affected.iter().filter(|key| !written.parts.iter().any(|part| part.key == ***key));
    Ok(Merged {
        emptied: emptied.map(|key| (*key).clone()).collect(),
        parts: written.parts,
        raised,
        rows_too_late: stale.totals.rows,
        hops: vec![
            Hop { name: "added by key".into(), totals: added.totals },
            Hop { name: "superseded by key".into(), totals: superseded.totals },
            Hop { name: "older than the lake".into(), totals: stale.totals },
        ],
        spool,
    })
}

/// Whether a key of the new rows stands in the old partitions.
pub(super) async fn clashes(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    old: &[&Partition],
) -> Result<bool> {
    let merge = sorted(change, old, parts, &Rule::default())?;
    if !merge.may_share_keys(context.engine).await? {
        return Ok(false);
    }
    let plan = merge.plan(context.engine)?;
    Ok(is_any(plan.stale).await? || is_any(plan.superseded).await?)
}

/// Whether there is a row. Of the files nothing is read but their keys.
async fn is_any(rows: Option<DataFrame>) -> Result<bool> {
    let Some(rows) = rows else { return Ok(false) };
    let first = rows.select(vec![col("_pc_row_key")]).and_then(|keys| keys.limit(0, Some(1)));
    let mut stream = MergeParts::stream(first.map_err(planning)?).await?;
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The partitions with a keyed row that the pull does not have.
pub(super) async fn not_pulled(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    old: &[&Partition],
) -> Result<BTreeSet<PartitionKey>> {
    // As if the pull were newer than everything: what it does not supersede it does not have.
    let at = Some(Timestamp::MAX);
    let merge = Merge { new_extracted_at: at, ..sorted(change, old, parts, &Rule::default())? };
    let losers = [merge.winners.clone(), merge.mixed.clone(), merge.losers.clone()];
    let mut keys = BTreeSet::new();
    for losers in losers.into_iter().flatten() {
        let plan =
            Merge { losers: Some(losers), new: merge.new.clone(), new_extracted_at: at, ..Merge::default() };
        keys.extend(count(change.spec, plan.plan(context.engine)?.kept, change.account).await?.keys);
    }
    Ok(keys)
}

/// Sorts the old partitions by what is known about the time of their rows.
fn sorted(change: &Change<'_>, old: &[&Partition], parts: &[&StagedPart], rule: &Rule) -> Result<Merge> {
    let files = |which: &dyn Fn(&Partition) -> bool| {
        let chosen = old.iter().filter(|partition| which(partition)).flat_map(|p| {
            let path = |name: &str| object_path(&change.chain(), name);
            p.objects.iter().map(move |o| file(&p.key, path(&o.name), o.bytes, o.rows))
        });
        let chosen: Vec<_> = chosen.collect();
        (!chosen.is_empty()).then(|| Arc::new(table_of(change.spec, Place::Lake, chosen)))
    };
    // `None` is earlier than every time.
    let is_winner = |p: &Partition| p.covered_at > change.extracted_at;
    let is_mixed = |p: &Partition| !is_winner(p) && p.merged_at > change.extracted_at;
    Ok(Merge {
        winners: files(&is_winner),
        mixed: files(&is_mixed),
        losers: files(&|p| !is_winner(p) && !is_mixed(p)),
        new: (!parts.is_empty())
            .then(|| new_files(parts))
            .transpose()?
            .map(|files| Arc::new(table_of(change.spec, Place::Local, files))),
        new_extracted_at: change.extracted_at,
        replaces: rule.replaces.clone(),
        drops: rule.drops.clone(),
    })
}

/// Adds a part to what stands in its partition, without looking at keys.
pub(super) async fn append(
    context: &Context<'_>,
    change: &Change<'_>,
    part: &StagedPart,
    old: &Partition,
) -> Result<(StagedPart, tempfile::TempDir)> {
    let spec = change.spec;
    let spool = context.lake.spool_dir()?;
    let mut stager = Stager::new(spec, context.options, change.account, &change.author(), spool.path());
    let session = context.engine.session();
    let read = |place, files| session.read_table(Arc::new(table_of(spec, place, files))).map_err(planning);
    let path = |name: &str| object_path(&change.chain(), name);
    let taken = match old.objects.as_slice() {
        [object] => {
            let file = context.lake.local_copy(&path(&object.name), &spool.path().join("old")).await?;
            stager.begin_with(&part.key, &file, part.totals.rows)?
        }
        _ => false,
    };
    if !taken {
        let there = old.objects.iter().map(|o| file(&old.key, path(&o.name), o.bytes, o.rows)).collect();
        write("append", &mut stager, spec, read(Place::Lake, there)?, change.account).await?;
    }
    write("append", &mut stager, spec, read(Place::Local, new_files(&[part])?)?, change.account).await?;
    let mut written = stager.finish()?;
    match written.parts.pop() {
        // Whether that is so is seen when the object is read back.
        Some(mut whole) if written.parts.is_empty() => {
            whole.totals = old.totals.clone();
            whole.totals.merge(&part.totals);
            whole.digest = Digest::of_hex(&old.digest)?.plus(part.digest);
            Ok((whole, spool))
        }
        _ => Err(Error::new(Kind::Bug, "rows of one partition became several").with("table", &spec.name)),
    }
}

fn check(spec: &TableSpec, hop: &str, left: &Totals, right: &Totals) -> Result<()> {
    let differences = left.differences(right);
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Contract, "rows or cents were lost while merging")
        .with("hop", hop)
        .with("table", &spec.name)
        .with("differs", differences.join(", "))
        .hint("nothing was committed; this is a defect of payoutlake or of the machine: please report it"))
}

/// Rows, sums and partitions of one part of a merge.
struct Counted {
    totals: Totals,
    keys: BTreeSet<PartitionKey>,
}

async fn count(spec: &TableSpec, rows: Option<DataFrame>, account: &Account) -> Result<Counted> {
    let mut counted = Counted { totals: Totals::default(), keys: BTreeSet::new() };
    let Some(rows) = rows else { return Ok(counted) };
    let rows = only_counted(rows, spec, Some(&spec.partition_columns[1]))?;
    let mut stream = MergeParts::stream(rows).await?;
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        tally(&batch, &spec.money, &mut counted.totals, &mut Digest::default())?;
        counted.keys.extend(keys(&batch, spec, account)?);
    }
    Ok(counted)
}

async fn write(
    hop: &str,
    stager: &mut Stager<'_>,
    spec: &TableSpec,
    rows: DataFrame,
    account: &Account,
) -> Result<()> {
    let mut stream = MergeParts::stream(rows).await?;
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        let keys = keys(&batch, spec, account)?;
        let plain: Vec<usize> = (0..spec.schema.fields().len()).collect();
        let rows = batch.project(&plain).and_then(|rows| rows.with_schema(Arc::clone(&spec.schema)));
        let mut rows =
            rows.map_err(|cause| Error::new(Kind::Bug, "merged rows lost their shape").caused_by(cause))?;
        if let (Some(mutation), Some(money)) = (&stager.options().mutation, spec.money.first()) {
            mutation.on_rows(hop, &mut rows, &money.name);
        }
        stager.push_keys(&rows, &keys[..rows.num_rows()])?;
    }
    Ok(())
}

/// The partition of each row.
fn keys(batch: &RecordBatch, spec: &TableSpec, account: &Account) -> Result<Vec<PartitionKey>> {
    let values = batch
        .column_by_name(&spec.partition_columns[1])
        .and_then(|values| values.as_string_opt::<i32>())
        .ok_or_else(|| Error::new(Kind::Bug, "merged rows have no partition column"))?;
    let key = |row| PartitionKey {
        account: account.clone(),
        value: if values.is_null(row) { DEFAULT_PARTITION.to_owned() } else { values.value(row).to_owned() },
    };
    Ok((0..values.len()).map(key).collect())
}

/// The condition on a row of these partitions.
pub(super) fn in_partitions(column: &str, keys: &BTreeSet<&PartitionKey>) -> Expr {
    let values = keys.iter().filter(|key| key.value != DEFAULT_PARTITION).map(|key| lit(key.value.clone()));
    let named = col(column).in_list(values.collect(), false);
    if keys.iter().any(|key| key.value == DEFAULT_PARTITION) {
        return named.or(col(column).is_null());
    }
    named
}

fn planning(cause: datafusion::error::DataFusionError) -> Error {
    crate::engine::failed(cause, "the merge could not be computed")
}
