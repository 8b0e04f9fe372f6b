//! Reads an object back from the lake and counts it again: written = what the object holds.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, ident};
use futures::TryStreamExt;
use object_store::path::Path;
use parquet::errors::ParquetError;

use super::{Digest, StagedPart, tally};
use crate::engine::{ParquetFile, ParquetFiles, Place, StoredFile, failed};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Lake, Partition, object_path};
use crate::model::{Currency, PartitionKey, TableSpec, Totals};

/// Compares an object with the rows that were staged for it, from the bytes that the store gives back: these are counted.
///
/// # Errors
/// [`Kind::Contract`] when rows, cents or hashes differ, [`Kind::Destination`] when it cannot be read.
pub(super) async fn verify(lake: &Lake, spec: &TableSpec, part: &StagedPart, at: Path) -> Result<Totals> {
    let object = StoredFile { store: Arc::clone(lake.store()), path: at, bytes: part.bytes };
    let unreadable =
        |cause: ParquetError| failed(DataFusionError::from(cause), "an object could not be read back");
    let mut batches = object.rows_coded(counted_columns(spec)).await.map_err(unreadable)?;
    let money = spec.money.clone();
    // On a core of its own.
    let counted = tokio::spawn(async move {
        let (mut totals, mut digest) = (Totals::default(), Digest::default());
        while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
            tally(&batch, &money, &mut totals, &mut digest)?;
        }
        Ok::<_, Error>((totals, digest))
    });
    let (totals, digest) = counted.await.map_err(|cause| {
        Error::new(Kind::Bug, "the read-back of an object stopped unexpectedly").caused_by(cause)
    })??;
    let mut differences = part.totals.differences(&totals);
    if digest != part.digest {
        differences.push("the row hashes differ".to_owned());
    }
    if differences.is_empty() {
        return Ok(totals);
    }
    Err(Error::new(Kind::Contract, "the rows read back from an object are not the rows that were written")
        .with("hop", "write")
        .with("table", &spec.name)
        .with("partition", &part.key)
        .with("differs", differences.join(", "))
        .hint(
            "nothing was committed; check disk and memory of this machine, then run the same command again",
        ))
}

/// Files of one table, with its partition columns.
pub(super) fn table_of(spec: &TableSpec, place: Place, files: Vec<ParquetFile>) -> ParquetFiles {
    ParquetFiles::new(place, Arc::clone(&spec.schema), &spec.partition_columns, files)
}

pub(super) fn file(key: &PartitionKey, path: Path, bytes: u64, rows: u64) -> ParquetFile {
    let partition = vec![key.account.to_string(), key.value.clone()];
    ParquetFile { path, bytes, rows, partition, only: None }
}

/// The objects of a partition.
pub(super) fn objects_of(chain: &Chain, part: &Partition) -> impl Iterator<Item = ParquetFile> {
    part.objects.iter().map(|o| file(&part.key, object_path(chain, &o.name), o.bytes, o.rows))
}

/// Only the columns that [`tally()`] reads, and `also`.
pub(super) fn only_counted(rows: DataFrame, spec: &TableSpec, also: Option<&str>) -> Result<DataFrame> {
    let mut columns = counted_columns(spec);
    columns.extend(also);
    let columns = columns.into_iter().map(ident).collect::<Vec<_>>();
    rows.select(columns).map_err(|cause| failed(cause, "the rows could not be counted"))
}

/// The columns that [`tally()`] reads, each once.
fn counted_columns(spec: &TableSpec) -> Vec<&str> {
    let currencies = spec.money.iter().filter_map(|money| match &money.currency {
        Currency::Column(currency) => Some(currency.as_str()),
        Currency::Fixed(_) => None,
    });
    let money = spec.money.iter().map(|money| money.name.as_str());
    let mut columns: Vec<&str> = ["_pc_row_hash"].into_iter().chain(money).chain(currencies).collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}
