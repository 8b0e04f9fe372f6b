//! Merging staged rows into what the lake holds, by key, with the balance of every row and cent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, StringArray};
use datafusion::prelude::{DataFrame, Expr, col, lit};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::guards::new_files;
use super::part::staged_rows;
use super::verify::{objects_of, only_counted, table_of};
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
    /// Where the files of the parts are.
    pub spools: Vec<tempfile::TempDir>,
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
    let merge = sorted(change, old, parts, rule)?;
    let by_key_only = rule.replaces.is_none() && rule.drops.is_none();
    if by_key_only && !merge.may_share_keys(context.engine).await? {
        return add(context, change, parts, old).await;
    }
    let plan = merge.plan(context.engine)?;

    let raised = match (&plan.superseded, change.extracted_at) {
        (Some(superseded), Some(at)) if rule.raise.is_anywhere() => {
            Some(superseded.clone().filter(older_than(at)).map_err(planning)?)
        }
        _ => None,
    };
    let raised = count(spec, raised, change.account).await?.rows.into_keys().collect();
    let superseded = count(spec, plan.superseded, change.account).await?;
    let added = count(spec, plan.added.clone(), change.account).await?;
    let stale = count(spec, plan.stale, change.account).await?;
    let affected: BTreeSet<&PartitionKey> = superseded.rows.keys().chain(added.rows.keys()).collect();

    let whole: Vec<StagedPart> = parts
        .iter()
        .filter(|part| is_whole(part, old, &added, &superseded))
        .map(|&part| part.clone())
        .collect();
    let mixed: BTreeSet<&PartitionKey> =
        affected.iter().filter(|key| !whole.iter().any(|part| part.key == ***key)).copied().collect();

    let spool = context.lake.spool_dir()?;
    let mut stager = Stager::new(spec, context.options, change.account, &change.author(), spool.path());
    let is_mixed = in_partitions(&spec.partition_columns[1], &mixed);
    for rows in [plan.kept, plan.added].into_iter().flatten().filter(|_| !mixed.is_empty()) {
        let rows = rows.filter(is_mixed.clone()).map_err(planning)?;
        write("merge", &mut stager, spec, rows, change.account).await?;
    }
    let mut written = stager.finish()?.parts;
    written.extend(whole);

    let mut staged = Totals::default();
    parts.iter().for_each(|part| staged.merge(&part.totals));
    let mut arrived = added.totals.clone();
    arrived.merge(&stale.totals);
    check(spec, "merge: staged = added + stale", &staged, &arrived)?;

    let (mut expected, mut found) = (Totals::default(), Totals::default());
    old.iter().filter(|p| affected.contains(&p.key)).for_each(|p| expected.merge(&p.totals));
    expected.merge(&added.totals);
    expected.subtract(&superseded.totals);
    written.iter().for_each(|part| found.merge(&part.totals));
    check(spec, "merge: written = carried over - superseded + added", &expected, &found)?;

    let emptied = affected.iter().filter(|key| !written.iter().any(|part| part.key == ***key));
    Ok(Merged {
        emptied: emptied.map(|key| (*key).clone()).collect(),
        parts: written,
        raised,
        rows_too_late: stale.totals.rows,
        hops: hops(added.totals, superseded.totals, stale.totals),
        spools: vec![spool],
    })
}

/// Whether all rows of the part come and no old one stays beside them: then what was staged is the partition.
fn is_whole(part: &StagedPart, old: &[&Partition], added: &Counted, superseded: &Counted) -> bool {
    let old = old.iter().filter(|old| old.key == part.key).map(|old| old.totals.rows).sum::<u64>();
    added.in_partition(&part.key) == part.totals.rows && superseded.in_partition(&part.key) == old
}

/// Adds rows of which none has the key of an old one.
async fn add(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    old: &[&Partition],
) -> Result<Merged> {
    let (mut whole, mut spools, mut added) = (Vec::new(), Vec::new(), Totals::default());
    for part in parts {
        added.merge(&part.totals);
        match old.iter().find(|old| old.key == part.key && !old.objects.is_empty()) {
            Some(old) => {
                let (part, spool) = append(context, change, part, old).await?;
                whole.push(part);
                spools.push(spool);
            }
            None => whole.push((*part).clone()),
        }
    }
    Ok(Merged {
        parts: whole,
        emptied: Vec::new(),
        raised: BTreeSet::new(),
        rows_too_late: 0,
        hops: hops(added, Totals::default(), Totals::default()),
        spools,
    })
}

fn hops(added: Totals, superseded: Totals, stale: Totals) -> Vec<Hop> {
    let named = [("added by key", added), ("superseded by key", superseded), ("older than the lake", stale)];
    named.into_iter().map(|(name, totals)| Hop { name: name.into(), totals }).collect()
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
        let kept = count(change.spec, plan.plan(context.engine)?.kept, change.account).await?;
        keys.extend(kept.rows.into_keys());
    }
    Ok(keys)
}

/// Sorts the old partitions by what is known about the time of their rows.
fn sorted(change: &Change<'_>, old: &[&Partition], parts: &[&StagedPart], rule: &Rule) -> Result<Merge> {
    let chain = change.chain();
    let files = |which: &dyn Fn(&Partition) -> bool| {
        let chosen = old.iter().filter(|partition| which(partition)).flat_map(|p| objects_of(&chain, p));
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
    let chain = change.chain();
    let taken = match old.objects.as_slice() {
        [object] => {
            let file = context
                .lake
                .local_copy(&object_path(&chain, &object.name), &spool.path().join("old"))
                .await?;
            stager.begin_with(&part.key, &file, part.totals.rows)?
        }
        _ => false,
    };
    if !taken {
        let there = Arc::new(table_of(spec, Place::Lake, objects_of(&chain, old).collect()));
        let there = context.engine.session().read_table(there).map_err(planning)?;
        write("append", &mut stager, spec, there, change.account).await?;
    }
    for rows in staged_rows(&part.file)? {
        let mut rows = rows?;
        damage("append", &stager, spec, &mut rows);
        stager.push(part.key.clone(), rows)?;
    }
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

/// Sums of one part of a merge, and its rows by partition.
struct Counted {
    totals: Totals,
    rows: BTreeMap<PartitionKey, u64>,
}

impl Counted {
    fn in_partition(&self, key: &PartitionKey) -> u64 {
        self.rows.get(key).copied().unwrap_or_default()
    }
}

async fn count(spec: &TableSpec, rows: Option<DataFrame>, account: &Account) -> Result<Counted> {
    let mut counted = Counted { totals: Totals::default(), rows: BTreeMap::new() };
    let Some(rows) = rows else { return Ok(counted) };
    let rows = only_counted(rows, spec, Some(&spec.partition_columns[1]))?;
    let mut stream = MergeParts::stream(rows).await?;
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        tally(&batch, &spec.money, &mut counted.totals, &mut Digest::default())?;
        let mut here: BTreeMap<Option<&str>, u64> = BTreeMap::new();
        for value in values(&batch, spec)? {
            *here.entry(value).or_default() += 1;
        }
        for (value, rows) in here {
            *counted.rows.entry(key_of(account, value)).or_default() += rows;
        }
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
        let keys: Vec<_> = values(&batch, spec)?.iter().map(|value| key_of(account, value)).collect();
        let plain: Vec<usize> = (0..spec.schema.fields().len()).collect();
        let rows = batch.project(&plain).and_then(|rows| rows.with_schema(Arc::clone(&spec.schema)));
        let mut rows =
            rows.map_err(|cause| Error::new(Kind::Bug, "merged rows lost their shape").caused_by(cause))?;
        damage(hop, stager, spec, &mut rows);
        stager.push_keys(&rows, &keys[..rows.num_rows()])?;
    }
    Ok(())
}

/// On purpose, in test builds.
fn damage(hop: &str, stager: &Stager<'_>, spec: &TableSpec, rows: &mut RecordBatch) {
    if let (Some(mutation), Some(money)) = (&stager.options().mutation, spec.money.first()) {
        mutation.on_rows(hop, rows, &money.name);
    }
}

/// What stands in the partition column of each row.
fn values<'a>(batch: &'a RecordBatch, spec: &TableSpec) -> Result<&'a StringArray> {
    let values = batch.column_by_name(&spec.partition_columns[1]);
    values
        .and_then(|values| values.as_string_opt::<i32>())
        .ok_or_else(|| Error::new(Kind::Bug, "merged rows have no partition column"))
}

fn key_of(account: &Account, value: Option<&str>) -> PartitionKey {
    PartitionKey { account: account.clone(), value: value.unwrap_or(DEFAULT_PARTITION).to_owned() }
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
