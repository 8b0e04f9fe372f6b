//! Refused rows as a table like any other: raw text, line, column, fault, origin.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, FixedSizeBinaryBuilder, Int32Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::{Expr, col, lit};
use jiff::Timestamp;

use crate::engine::newer_than;
use crate::error::{Error, Kind, Result};
use crate::model::{DatasetName, QuarantinedRow, RequestId, RunId, TableSpec, Window};

/// The table's name.
pub const QUARANTINE: &str = "quarantine";

/// Where refused rows came from.
#[derive(Debug, Clone)]
pub struct QuarantineOrigin<'a> {
    pub dataset: &'a DatasetName,
    pub window: Option<Window>,
    pub source_file: &'a str,
    pub run_id: RunId,
    pub request_id: Option<&'a RequestId>,
    pub extracted_at: Option<Timestamp>,
    pub loaded_at: Timestamp,
    pub schema_version: u32,
    /// The header of the text, as a CSV record.
    pub header: &'a str,
    /// Whether the export is the whole truth about its window.
    pub whole: bool,
    /// Columns of which the records have nothing as it was, by comma.
    pub treated: &'a str,
}

/// The shape of the quarantine: partitioned by account and dataset.
#[must_use]
pub fn quarantine_spec() -> TableSpec {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        text("fault", false),
        // Published name of the column at fault; NULL when the whole record is.
        text("column", true),
        text("expected", false),
        text("found", false),
        // The record as CSV; `raw_bytes` has it where it is not UTF-8.
        text("raw", false),
        Field::new("raw_bytes", DataType::Binary, true),
        // The months that the export covered, YYYY-MM.
        text("window_first", true),
        text("window_last", true),
        text("_pc_run_id", false),
        text("_pc_request_id", true),
        Field::new("_pc_extracted_at", instant.clone(), true),
        Field::new("_pc_loaded_at", instant, false),
        text("_pc_source_file", false),
        Field::new("_pc_source_line", DataType::Int64, false),
        Field::new("_pc_schema_version", DataType::Int32, false),
        text("_pc_row_key", false),
        Field::new("_pc_row_hash", DataType::FixedSizeBinary(16), false),
        // What a replay needs; NULL in rows of lakes that did not keep it yet.
        // The header of the record's text, as CSV.
        text("header", true),
        text("blob_sha256", true),
        // Whether the export was the whole truth about its window.
        Field::new("whole", DataType::Boolean, true),
        // Columns of personal data that are hashed, masked or dropped in the record.
        text("treated", true),
    ]);
    TableSpec {
        name: QUARANTINE.to_owned(),
        schema: Arc::new(schema),
        partition_columns: ["account".to_owned(), "dataset".to_owned()],
        sort: vec!["_pc_source_file".to_owned(), "_pc_source_line".to_owned()],
        lookup: Vec::new(),
        vanishing: Vec::new(),
        schema_version: 1,
        rules: 1,
        money: Vec::new(),
    }
}

/// The old quarantine rows that a new export of the same window replaces: those of exports that it covers.
#[must_use]
pub fn replaced_by_window(
    dataset: &DatasetName,
    window: Option<Window>,
    extracted_at: Option<Timestamp>,
) -> Expr {
    let not_newer = Expr::IsNotTrue(Box::new(newer_than(extracted_at)));
    let same_dataset = col("dataset").eq(lit(dataset.as_str()));
    let covered = match window {
        Some(window) => col("window_first")
            .gt_eq(lit(window.first.to_string()))
            .and(col("window_last").lt_eq(lit(window.last.to_string()))),
        // A full pull covers the full pulls before it, and no hand-downloaded file.
        None => col("window_first").is_null().and(col("_pc_request_id").is_not_null()),
    };
    same_dataset.and(covered).and(not_newer)
}

/// The old quarantine rows of the same bytes.
#[must_use]
pub fn replaced_by_blob(dataset: &DatasetName, blob: &str) -> Expr {
    col("dataset").eq(lit(dataset.as_str())).and(col("blob_sha256").eq(lit(blob)))
}

/// Refused rows in the shape of [`quarantine_spec`].
///
/// The key of a row is made of dataset, record and fault, so that the same refused row of the same export is
/// there once however often it is loaded.
///
/// # Errors
/// [`Kind::Bug`].
pub fn quarantined_batch(rows: &[QuarantinedRow], origin: &QuarantineOrigin<'_>) -> Result<RecordBatch> {
    let mut texts: [StringBuilder; 8] = std::array::from_fn(|_| StringBuilder::new());
    let (mut bytes, mut hashes) = (BinaryBuilder::new(), FixedSizeBinaryBuilder::new(16));
    let (mut lines, mut keys) = (Int64Builder::new(), StringBuilder::new());
    for row in rows {
        let [fault, column, expected, found, raw, first, last, request] = &mut texts;
        fault.append_value(row.fault.code.as_str());
        column.append_option(row.fault.column.as_deref());
        expected.append_value(&row.fault.expected);
        found.append_value(&row.fault.found);
        raw.append_value(String::from_utf8_lossy(row.kept()));
        bytes.append_option(std::str::from_utf8(row.kept()).is_err().then_some(row.kept()));
        first.append_option(origin.window.map(|window| window.first.to_string()));
        last.append_option(origin.window.map(|window| window.last.to_string()));
        request.append_option(origin.request_id.map(|id| id.0.as_str()));
        lines.append_value(row.line as i64);
        let hash = hash(row, origin);
        keys.append_value(hash.to_hex());
        hashes.append_value(&hash.as_bytes()[..16]).map_err(malformed)?;
    }
    let [fault, column, expected, found, raw, first, last, request] =
        texts.map(|mut text| array(text.finish()));
    let count = rows.len();
    let columns: Vec<ArrayRef> = vec![
        fault,
        column,
        expected,
        found,
        raw,
        array(bytes.finish()),
        first,
        last,
        repeated_text(Some(&origin.run_id.to_string()), count),
        request,
        instants(origin.extracted_at, count),
        instants(Some(origin.loaded_at), count),
        repeated_text(Some(origin.source_file), count),
        array(lines.finish()),
        versions(origin.schema_version, count),
        array(keys.finish()),
        array(hashes.finish()),
        repeated_text(Some(origin.header), count),
        repeated_text(None, count),
        array(BooleanArray::from(vec![origin.whole; count])),
        repeated_text(Some(origin.treated), count),
    ];
    RecordBatch::try_new(quarantine_spec().schema, columns).map_err(malformed)
}

/// The rows of [`quarantined_batch`], of which the SHA-256 of the bytes that they came in is known now.
///
/// # Errors
/// [`Kind::Bug`].
pub fn of_blob(batch: &RecordBatch, blob: Option<&str>) -> Result<RecordBatch> {
    let schema = batch.schema();
    let index = schema.index_of("blob_sha256").map_err(malformed)?;
    let mut columns = batch.columns().to_vec();
    columns[index] = repeated_text(blob, batch.num_rows());
    RecordBatch::try_new(schema, columns).map_err(malformed)
}

fn hash(row: &QuarantinedRow, origin: &QuarantineOrigin<'_>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in [
        origin.dataset.as_str().as_bytes(),
        row.fault.code.as_str().as_bytes(),
        row.fault.column.as_deref().unwrap_or_default().as_bytes(),
        row.kept(),
        &row.line.to_le_bytes(),
    ] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

fn array(values: impl arrow::array::Array + 'static) -> ArrayRef {
    Arc::new(values)
}

fn repeated_text(value: Option<&str>, count: usize) -> ArrayRef {
    let mut builder = StringBuilder::new();
    (0..count).for_each(|_| builder.append_option(value));
    array(builder.finish())
}

fn instants(at: Option<Timestamp>, count: usize) -> ArrayRef {
    let mut builder = TimestampMicrosecondBuilder::new();
    (0..count).for_each(|_| builder.append_option(at.map(Timestamp::as_microsecond)));
    array(builder.finish().with_timezone("UTC"))
}

fn versions(version: u32, count: usize) -> ArrayRef {
    let mut builder = Int32Builder::new();
    (0..count).for_each(|_| builder.append_value(version as i32));
    array(builder.finish())
}

fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Kind::Bug, "the quarantine could not be built").caused_by(cause)
}
