//! The table of control totals: what was counted at every hop on the way to each version of a table.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use super::Stager;
use crate::error::{Error, Kind, Result};
use crate::lake::Manifest;
use crate::model::{Hop, MONEY_SCALE, Month, PartitionKey, TableSpec};

/// The table's name.
pub const CONTROL_TOTALS: &str = "control_totals";

/// The first hop of each version: the bytes and the texts in them.
const RECEIVED: &str = "received";

/// The last hop of each version: the whole table after it.
const TABLE: &str = "table";

/// The shape of the table: partitioned by account and the month in which the version was committed.
///
/// | column | meaning |
/// |---|---|
/// | `dataset`, `version` | the table, and its version that was made of what was counted |
/// | `window_first`, `window_last` | the months that the export covered, `YYYY-MM`; NULL for all, or for a file |
/// | `blob_sha256` | the bytes that the rows came from; NULL for a rollback |
/// | `step`, `hop` | number and name of the place where it was counted: `received`, `text`, `quarantined`, `normalised`, `overlap`, `staged`; where there are any, `discarded` and `nulled` by the contract, and `left` in quarantine by a replay; what a merge by key took and left, `read back`, and the whole `table` afterwards |
/// | `rows` | rows at that hop, in the line without a column; of `received`, the records of a text |
/// | `file`, `bytes`, `crc32` | of `received`: each text with its size and, of a zip entry, the CRC-32 (hex) that was found to be right; the line without a file is the size of what was downloaded, packed as it came |
/// | `column`, `currency`, `sum` | the exact sum of a money column in a currency at that hop |
/// | `committed_at` | when the version was committed |
#[must_use]
pub fn control_totals_spec() -> TableSpec {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let number = |name: &str, nullable| Field::new(name, DataType::Int64, nullable);
    let schema = Schema::new(vec![
        text("dataset", false),
        text("hop", false),
        text("column", true),
        text("currency", true),
        text("window_first", true),
        text("window_last", true),
        text("blob_sha256", true),
        text("file", true),
        text("crc32", true),
        number("version", false),
        number("step", false),
        number("rows", true),
        number("bytes", true),
        Field::new("sum", DataType::Decimal128(38, MONEY_SCALE as i8), true),
        Field::new("committed_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        text("_pc_run_id", false),
        text("_pc_request_id", true),
        text("_pc_row_key", false),
        Field::new("_pc_row_hash", DataType::FixedSizeBinary(16), false),
    ]);
    let name = |name: &str| name.to_owned();
    TableSpec {
        name: name(CONTROL_TOTALS),
        schema: Arc::new(schema),
        partition_columns: [name("account"), name("committed_month")],
        sort: vec![name("dataset"), name("version"), name("step"), name("column"), name("currency")],
        lookup: Vec::new(),
        vanishing: Vec::new(),
        schema_version: 2,
        rules: 1,
        money: Vec::new(),
    }
}

/// Writes the lines of one version; none of them is a restatement.
pub(super) fn write(manifest: &Manifest, out: &mut Stager<'_>) -> Result<u64> {
    let table = Hop { name: TABLE.to_owned(), totals: manifest.totals() };
    let mut lines = Lines::new();
    let received = Line { hop: RECEIVED, ..Line::default() };
    if let Some(bytes) = manifest.operation.blob_bytes {
        lines.push(manifest, Line { bytes: Some(bytes), ..received })?;
    }
    for text in &manifest.operation.texts {
        let crc32 = text.packed.as_ref().map(|packed| packed.crc32.as_str());
        let (rows, bytes) = (Some(text.records), Some(text.bytes));
        lines.push(manifest, Line { file: Some(&text.name), crc32, rows, bytes, ..received })?;
    }
    for (step, hop) in manifest.operation.hops.iter().chain([&table]).enumerate() {
        let at = Line { step: step as i64 + 1, hop: &hop.name, ..Line::default() };
        lines.push(manifest, Line { rows: Some(hop.totals.rows), ..at })?;
        for ((column, currency), sum) in &hop.totals.sums {
            lines.push(
                manifest,
                Line { of: Some((column.as_str(), currency.as_str())), sum: Some(*sum), ..at },
            )?;
        }
    }
    let day = jiff::tz::TimeZone::UTC.to_datetime(manifest.committed_at).date();
    out.push(PartitionKey::of_month(&manifest.account, Some(Month::of(day))), lines.finish()?)?;
    Ok(0)
}

/// What one line says besides what is said of the whole version.
#[derive(Clone, Copy, Default)]
struct Line<'a> {
    step: i64,
    hop: &'a str,
    /// Column and currency of a sum.
    of: Option<(&'a str, &'a str)>,
    rows: Option<u64>,
    sum: Option<i128>,
    file: Option<&'a str>,
    crc32: Option<&'a str>,
    bytes: Option<u64>,
}

struct Lines {
    // In the order of the columns.
    texts: [StringBuilder; 12],
    numbers: [Int64Builder; 4],
    sums: Decimal128Builder,
    times: TimestampMicrosecondBuilder,
    hashes: FixedSizeBinaryBuilder,
}

impl Lines {
    fn new() -> Self {
        Lines {
            texts: std::array::from_fn(|_| StringBuilder::new()),
            numbers: std::array::from_fn(|_| Int64Builder::new()),
            sums: Decimal128Builder::new(),
            times: TimestampMicrosecondBuilder::new(),
            hashes: FixedSizeBinaryBuilder::new(16),
        }
    }

    fn push(&mut self, manifest: &Manifest, line: Line<'_>) -> Result<()> {
        let operation = &manifest.operation;
        let Line { step, hop, of, rows, sum, file, crc32, bytes } = line;
        let (column, currency) = of.unzip();
        let window = operation.window.map(|window| (window.first.to_string(), window.last.to_string()));
        let (first, last) = window.unzip();
        let run_id = manifest.run_id.to_string();
        let dataset = manifest.table.as_str();
        let key = [file.or(column), currency].map(Option::unwrap_or_default).join("/");
        let key = format!("{dataset}/{}/{step}/{key}", manifest.version);
        let texts = [
            Some(dataset),
            Some(hop),
            column,
            currency,
            first.as_deref(),
            last.as_deref(),
            operation.blob.as_deref(),
            file,
            crc32,
            Some(run_id.as_str()),
            operation.request_id.as_ref().map(|id| id.0.as_str()),
            Some(key.as_str()),
        ];
        let mut hasher = blake3::Hasher::new();
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
            hasher.update(&(text.map_or(u64::MAX, |text| text.len() as u64)).to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        let [version, rows, bytes] =
            [Some(manifest.version), rows, bytes].map(|number| number.map(|n| n as i64));
        for (builder, number) in self.numbers.iter_mut().zip([version, Some(step), rows, bytes]) {
            builder.append_option(number);
            hasher.update(&number.unwrap_or(-1).to_le_bytes());
        }
        self.sums.append_option(sum);
        hasher.update(&sum.unwrap_or(0).to_le_bytes());
        self.times.append_value(manifest.committed_at.as_microsecond());
        self.hashes.append_value(&hasher.finalize().as_bytes()[..16]).map_err(malformed)
    }

    fn finish(mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|text| Arc::new(text.finish()) as ArrayRef).collect();
        let ours = columns.split_off(9);
        columns.extend(self.numbers.iter_mut().map(|numbers| Arc::new(numbers.finish()) as ArrayRef));
        let sums = self.sums.finish().with_precision_and_scale(38, MONEY_SCALE as i8).map_err(malformed)?;
        columns.push(Arc::new(sums));
        columns.push(Arc::new(self.times.finish().with_timezone("UTC")));
        columns.extend(ours);
        columns.push(Arc::new(self.hashes.finish()));
        RecordBatch::try_new(control_totals_spec().schema, columns).map_err(malformed)
    }
}

fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Kind::Bug, "control totals could not be built").caused_by(cause)
}
