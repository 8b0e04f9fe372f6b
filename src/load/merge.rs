//! Merging staged rows into what the lake holds, by key, with the balance of every row and cent.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use datafusion::prelude::{DataFrame, Expr, col, lit};
use futures::TryStreamExt;

use super::verify::{counted, file, table_of};
use super::{Change, Context, Digest, StagedPart, Stager, tally};
use crate::engine::{Merge, MergeParts, Place};
use crate::error::{Error, Kind, Result};
use crate::lake::{Partition, object_path};
use crate::model::{Account, DEFAULT_PARTITION, Hop, PartitionKey, TableSpec, Totals};

/// The partitions that a merge rewrites.
pub(super) struct Merged {
    pub parts: Vec<StagedPart>,
    /// Partitions in which no row is left.
    pub emptied: Vec<PartitionKey>,
    /// New rows that are older than what the lake holds.
    pub rows_too_late: u64,
    pub hops: Vec<Hop>,
    pub spool: tempfile::TempDir,
}

/// Merges `parts` into the `old` partitions of the account.
pub(super) async fn merge(
    context: &Context<'_>,
    change: &Change<'_>,
    parts: &[&StagedPart],
    replaces: Option<Expr>,
    old: &[&Partition],
) -> Result<Merged> {
    let spec = change.spec;
    let spool = context.lake.spool_dir()?;
    let old_files = old.iter().flat_map(|p| {
        p.objects.iter().map(|o| file(&p.key, object_path(&spec.name, &o.hash), o.bytes, o.rows))
    });
    let new_files = parts.iter().map(|part| {
        // The store of local files names them by their absolute path.
        let path = object_store::path::Path::from_absolute_path(&part.file).map_err(|cause| {
            Error::new(Kind::Destination, "a staged file cannot be named")
                .with("file", part.file.display())
                .caused_by(cause)
        })?;
        Ok(file(&part.key, path, part.bytes, part.totals.rows))
    });
    let plan = Merge {
        old: Arc::new(table_of(spec, Place::Lake, old_files.collect())),
        new: Arc::new(table_of(spec, Place::Local, new_files.collect::<Result<_>>()?)),
        new_extracted_at: change.extracted_at,
        replaces,
    };
    let plan = plan.plan(context.engine)?;

    let superseded = count(spec, plan.superseded.clone(), change.account).await?;
    let added = count(spec, plan.added.clone(), change.account).await?;
    let stale = count(spec, plan.stale.clone(), change.account).await?;
    let affected: BTreeSet<&PartitionKey> = superseded.keys.union(&added.keys).collect();

    let mut stager = Stager::new(spec, context.options, change.account, spool.path().to_owned());
    let kept = plan.kept.filter(in_partitions(&spec.partition_columns[1], &affected)).map_err(planning)?;
    write(&mut stager, spec, kept, change.account).await?;
    write(&mut stager, spec, plan.added, change.account).await?;
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
        rows_too_late: stale.totals.rows,
        hops: vec![
            Hop { name: "added by key".into(), totals: added.totals },
            Hop { name: "superseded by key".into(), totals: superseded.totals },
            Hop { name: "older than the lake".into(), totals: stale.totals },
        ],
        spool,
    })
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

async fn count(spec: &TableSpec, rows: DataFrame, account: &Account) -> Result<Counted> {
    let rows = counted(rows, spec, Some(&spec.partition_columns[1]))?;
    let mut stream = MergeParts::stream(rows).await?;
    let mut counted = Counted { totals: Totals::default(), keys: BTreeSet::new() };
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        tally(&batch, &spec.money, &mut counted.totals, &mut Digest::default())?;
        counted.keys.extend(keys(&batch, spec, account)?);
    }
    Ok(counted)
}

async fn write(stager: &mut Stager<'_>, spec: &TableSpec, rows: DataFrame, account: &Account) -> Result<()> {
    let mut stream = MergeParts::stream(rows).await?;
    while let Some(batch) = stream.try_next().await.map_err(planning)? {
        let keys = keys(&batch, spec, account)?;
        let plain: Vec<usize> = (0..spec.schema.fields().len()).collect();
        let rows = batch.project(&plain).and_then(|rows| rows.with_schema(Arc::clone(&spec.schema)));
        let mut rows =
            rows.map_err(|cause| Error::new(Kind::Bug, "merged rows lost their shape").caused_by(cause))?;
        if let (Some(mutation), Some(money)) = (&stager.options().mutation, spec.money.first()) {
            mutation.on_rows("merge", &mut rows, &money.name);
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

fn in_partitions(column: &str, keys: &BTreeSet<&PartitionKey>) -> Expr {
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
