//! Refused rows as the quarantine keeps them, read back: to be shown, and to be tried again.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use datafusion::prelude::{DataFrame, Expr, col, ident, lit};
use futures::TryStreamExt;
use jiff::Timestamp;

use super::verify::{file, table_of};
use super::{Context, QUARANTINE, quarantine_spec};
use crate::engine::{Engine, MergeParts, ParquetFile, Place, extracted_at, failed};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Lake, Manifest, object_path};
use crate::model::{Account, DatasetName, Month, RequestId, TableSpec, Window};

/// One refused row, and all that is known of where it came from.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Made of dataset, record, line and fault.
    pub id: String,
    pub account: Account,
    pub dataset: DatasetName,
    pub fault: String,
    /// Published name of the column at fault; `None` when the whole record is.
    pub column: Option<String>,
    pub expected: String,
    pub found: String,
    /// The record as CSV.
    pub record: Vec<u8>,
    /// The header as CSV; `None` in lakes that did not keep it yet.
    pub header: Option<String>,
    pub window: Option<Window>,
    pub whole: bool,
    /// Columns of which the record has nothing as it was, by comma.
    pub treated: String,
    pub blob: Option<String>,
    pub run_id: String,
    pub request_id: Option<RequestId>,
    pub extracted_at: Option<Timestamp>,
    pub loaded_at: Timestamp,
    pub file: String,
    pub line: u64,
    pub schema_version: i32,
}

/// The refused rows of an account, by dataset, file and line.
///
/// # Errors
/// [`Kind::Destination`] when the lake cannot be read.
pub async fn refused_rows(
    lake: &Lake,
    engine: &Engine,
    account: &Account,
    dataset: Option<&str>,
) -> Result<Vec<Refused>> {
    let Some(manifest) = Chain::new(QUARANTINE, account).newest(lake).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let chosen = manifest.partitions.iter().filter(|part| dataset.is_none_or(|name| part.key.value == name));
    for name in chosen.map(|part| part.key.value.clone()).collect::<Vec<_>>() {
        let files = files(&manifest, |value| value == name);
        if files.is_empty() {
            continue;
        }
        let dataset = DatasetName::parse(&name)
            .map_err(|invalid| Error::new(Kind::Destination, invalid.0).with("table", QUARANTINE))?;
        let table = table_of(&quarantine_spec(), Place::Lake, files);
        let rows = engine.session().read_table(Arc::new(table)).map_err(reading)?;
        let mut batches = MergeParts::stream(rows).await?;
        while let Some(batch) = batches.try_next().await.map_err(reading)? {
            for row in 0..batch.num_rows() {
                found.push(Columns(&batch).refused(row, account, &dataset)?);
            }
        }
    }
    found.sort_by(|a, b| (&a.dataset, &a.file, a.line).cmp(&(&b.dataset, &b.file, b.line)));
    Ok(found)
}

/// The condition on the refused rows with these ids that came with one extraction.
#[must_use]
pub fn these_refused(
    dataset: &DatasetName,
    request_id: Option<&RequestId>,
    at: Option<Timestamp>,
    ids: &BTreeSet<String>,
) -> Expr {
    let request = match request_id {
        Some(id) => col("_pc_request_id").eq(lit(id.0.clone())),
        None => col("_pc_request_id").is_null(),
    };
    let ids = ids.iter().map(|id| lit(id.clone())).collect();
    col("dataset")
        .eq(lit(dataset.as_str()))
        .and(request)
        .and(extracted_at(at))
        .and(one_of("_pc_row_key", ids))
}

/// Rows by key, each named by its file and line.
pub type Keyed = BTreeMap<String, BTreeSet<(String, u64)>>;

/// Keys under which the table holds other rows.
#[derive(Debug, Default)]
pub struct Rivals {
    /// Of the same extraction. One export may have a key twice, and both rows count; but by key the one would take the
    /// place of the other.
    pub twins: BTreeSet<String>,
    /// Of a newer one.
    pub newer: BTreeSet<String>,
}

/// The keys among these under which the table holds another row that is as new, or newer.
///
/// # Errors
/// [`Kind::Destination`] when the lake cannot be read.
pub async fn rivals(
    context: &Context<'_>,
    spec: &TableSpec,
    manifest: &Manifest,
    at: Option<Timestamp>,
    rows: &Keyed,
) -> Result<Rivals> {
    let mut found = Rivals::default();
    let files = files(manifest, |_| true);
    if rows.is_empty() || files.is_empty() {
        return Ok(found);
    }
    let keys = rows.keys().map(|key| lit(key.clone())).collect();
    let table = context.engine.session().read_table(Arc::new(table_of(spec, Place::Lake, files)));
    let there = table.and_then(|table: DataFrame| {
        let names = ["_pc_row_key", "_pc_source_file", "_pc_source_line", "_pc_extracted_at"].map(ident);
        table.filter(one_of("_pc_row_key", keys))?.select(names.to_vec())
    });
    let mut batches = MergeParts::stream(there.map_err(reading)?).await?;
    while let Some(batch) = batches.try_next().await.map_err(reading)? {
        let columns = Columns(&batch);
        for row in 0..batch.num_rows() {
            let key = columns.text("_pc_row_key", row)?.unwrap_or_default();
            let place = (columns.text("_pc_source_file", row)?.unwrap_or_default(), columns.line(row)?);
            let there = columns.time("_pc_extracted_at", row)?;
            let is_other = rows.get(&key).is_some_and(|known| !known.contains(&place));
            // A time that nobody knows is older than any.
            match there.cmp(&at) {
                Ordering::Greater => found.newer.insert(key),
                Ordering::Equal if is_other => found.twins.insert(key),
                _ => false,
            };
        }
    }
    Ok(found)
}

fn one_of(column: &str, values: Vec<Expr>) -> Expr {
    col(column).in_list(values, false)
}

fn files(manifest: &Manifest, which: impl Fn(&str) -> bool) -> Vec<ParquetFile> {
    let chain = manifest.chain();
    let chosen = manifest.partitions.iter().filter(|part| which(&part.key.value));
    let files = chosen.flat_map(|part| part.objects.iter().map(move |object| (part, object)));
    files.map(|(part, o)| file(&part.key, object_path(&chain, &o.name), o.bytes, o.rows)).collect()
}

/// Cells of a batch by the names of their columns.
struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn refused(&self, row: usize, account: &Account, dataset: &DatasetName) -> Result<Refused> {
        let text = |name| self.text(name, row);
        let must = |name| Ok::<_, Error>(self.text(name, row)?.unwrap_or_default());
        let month = |text: Option<String>| text.and_then(|text| Month::parse(&text).ok());
        let window = month(text("window_first")?).zip(month(text("window_last")?));
        let bytes = self.0.column_by_name("raw_bytes").and_then(|column| column.as_binary_opt::<i32>());
        let bytes = bytes.filter(|bytes| bytes.is_valid(row)).map(|bytes| bytes.value(row).to_vec());
        let version = self.0.column_by_name("_pc_schema_version");
        let version = version.and_then(|column| column.as_primitive_opt::<Int32Type>());
        let whole = self.0.column_by_name("whole").and_then(|column| column.as_boolean_opt());
        Ok(Refused {
            id: must("_pc_row_key")?,
            account: account.clone(),
            dataset: dataset.clone(),
            fault: must("fault")?,
            column: text("column")?,
            expected: must("expected")?,
            found: must("found")?,
            record: bytes.map_or_else(|| Ok::<_, Error>(must("raw")?.into_bytes()), Ok)?,
            header: text("header")?,
            window: window.map(|(first, last)| Window::new(first, last)),
            whole: whole.is_some_and(|whole| whole.is_valid(row) && whole.value(row)),
            treated: must("treated")?,
            blob: text("blob_sha256")?,
            run_id: must("_pc_run_id")?,
            request_id: text("_pc_request_id")?.map(RequestId),
            extracted_at: self.time("_pc_extracted_at", row)?,
            loaded_at: self.time("_pc_loaded_at", row)?.unwrap_or_default(),
            file: must("_pc_source_file")?,
            line: self.line(row)?,
            schema_version: version.map_or(0, |version| version.value(row)),
        })
    }

    fn text(&self, name: &str, row: usize) -> Result<Option<String>> {
        let column = self.0.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let column = column.ok_or_else(|| unlike(name))?;
        Ok(column.is_valid(row).then(|| column.value(row).to_owned()))
    }

    fn time(&self, name: &str, row: usize) -> Result<Option<Timestamp>> {
        let column = self.0.column_by_name(name);
        let column = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let column = column.ok_or_else(|| unlike(name))?;
        Ok(column.is_valid(row).then(|| Timestamp::from_microsecond(column.value(row)).unwrap_or_default()))
    }

    fn line(&self, row: usize) -> Result<u64> {
        let column = self.0.column_by_name("_pc_source_line");
        let column = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
        Ok(column.ok_or_else(|| unlike("_pc_source_line"))?.value(row).unsigned_abs())
    }
}

fn unlike(name: &str) -> Error {
    Error::new(Kind::Bug, "a column of the lake is not as it was written").with("column", name)
}

fn reading(cause: datafusion::error::DataFusionError) -> Error {
    failed(cause, "refused rows could not be read")
}
