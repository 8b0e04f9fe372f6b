//! The table of restatements: one line for each field of a row that changed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, FixedSizeBinaryBuilder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::lake::Manifest;
use crate::model::{Currency, MONEY_SCALE, MoneyColumn, Month, PartitionKey, TableSpec};

/// The table's name.
pub const RESTATEMENTS: &str = "restatements";

/// The shape of the table: partitioned by account and the month in which the change was seen.
///
/// | column | meaning |
/// |---|---|
/// | `dataset` | the table that changed |
/// | `change` | `added`, `removed`, `changed`; `loaded`: a month's first rows, in one line for all of them |
/// | `cause` | `export`, `file`, `rollback`, `replay`; `upgrade`: rows that two payoutlakes typed by different rules, or whose personal data was treated differently |
/// | `row_key` | key of the row; NULL for `loaded` |
/// | `period` | the month that the row stands in, `YYYY-MM`; NULL for rows without a date |
/// | `field`, `old_value`, `new_value` | the column, and its text before and after; `field` is NULL in the line of the row as such |
/// | `currency`, `moved` | for money columns: by how much the sum in that currency moved |
/// | `rows` | by how much the number of rows moved: 1, -1, 0, or the count of `loaded` |
/// | `version`, `seen_at` | the commit that made the change |
/// | `old_extracted_at`, `new_extracted_at` | when the exports were finished that told the old and the new row |
#[must_use]
pub fn restatements_spec() -> TableSpec {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        text("dataset", false),
        text("change", false),
        text("cause", false),
        text("row_key", true),
        text("period", true),
        text("field", true),
        text("old_value", true),
        text("new_value", true),
        text("currency", true),
        Field::new("moved", DataType::Decimal128(38, MONEY_SCALE as i8), true),
        Field::new("rows", DataType::Int64, false),
        Field::new("version", DataType::Int64, false),
        Field::new("seen_at", instant.clone(), false),
        Field::new("old_extracted_at", instant.clone(), true),
        Field::new("new_extracted_at", instant, true),
        text("_pc_run_id", false),
        text("_pc_row_key", false),
        Field::new("_pc_row_hash", DataType::FixedSizeBinary(16), false),
    ]);
    let name = |name: &str| name.to_owned();
    TableSpec {
        name: name(RESTATEMENTS),
        schema: Arc::new(schema),
        partition_columns: [name("account"), name("seen_month")],
        sort: vec![name("dataset"), name("version"), name("period"), name("row_key"), name("field")],
        lookup: vec![name("row_key")],
        vanishing: Vec::new(),
        schema_version: 1,
        rules: 1,
        money: vec![MoneyColumn { name: name("moved"), currency: Currency::Column(name("currency")) }],
    }
}

/// One line.
#[derive(Debug, Clone, Default)]
pub(super) struct Line<'a> {
    pub change: &'static str,
    pub row_key: Option<&'a str>,
    pub period: Option<&'a str>,
    pub field: Option<&'a str>,
    pub old_value: Option<String>,
    pub new_value: Option<String>,
    pub currency: Option<&'a str>,
    /// In units of 10^-[`MONEY_SCALE`].
    pub moved: Option<i128>,
    pub rows: i64,
    /// Microseconds since 1970-01-01.
    pub old_extracted_at: Option<i64>,
    pub new_extracted_at: Option<i64>,
}

impl Line<'_> {
    /// Whether a row came or went, instead of changing.
    pub fn rows_moved(&self) -> bool {
        self.change != "changed"
    }
}

/// Lines of one version, as columns.
pub(super) struct Lines<'a> {
    manifest: &'a Manifest,
    cause: &'static str,
    numbered: u64,
    texts: [StringBuilder; 11],
    moved: Decimal128Builder,
    numbers: [Int64Builder; 2],
    times: [TimestampMicrosecondBuilder; 3],
    hashes: FixedSizeBinaryBuilder,
    held: usize,
}

impl<'a> Lines<'a> {
    pub fn new(manifest: &'a Manifest, cause: &'static str) -> Self {
        Lines {
            manifest,
            cause,
            numbered: 0,
            texts: std::array::from_fn(|_| StringBuilder::new()),
            moved: Decimal128Builder::new(),
            numbers: std::array::from_fn(|_| Int64Builder::new()),
            times: std::array::from_fn(|_| TimestampMicrosecondBuilder::new()),
            hashes: FixedSizeBinaryBuilder::new(16),
            held: 0,
        }
    }

    /// The same, numbering its lines after the first `count`.
    pub fn after(mut self, count: u64) -> Self {
        self.numbered = count;
        self
    }

    /// The number of the last line.
    pub fn numbered(&self) -> u64 {
        self.numbered
    }

    pub fn len(&self) -> usize {
        self.held
    }

    pub fn push(&mut self, line: &Line<'_>) -> Result<()> {
        self.numbered += 1;
        self.held += 1;
        let dataset = self.manifest.table.as_str();
        let key = format!("{dataset}/{}/{}", self.manifest.version, self.numbered);
        let run_id = self.manifest.run_id.to_string();
        let texts = [
            Some(dataset),
            Some(line.change),
            Some(self.cause),
            line.row_key,
            line.period,
            line.field,
            line.old_value.as_deref(),
            line.new_value.as_deref(),
            line.currency,
            Some(run_id.as_str()),
            Some(key.as_str()),
        ];
        let mut hasher = blake3::Hasher::new();
        for (builder, text) in self.texts.iter_mut().zip(texts) {
            builder.append_option(text);
            hasher.update(&(text.map_or(u64::MAX, |text| text.len() as u64)).to_le_bytes());
            hasher.update(text.unwrap_or_default().as_bytes());
        }
        self.moved.append_option(line.moved);
        hasher.update(&line.moved.unwrap_or(0).to_le_bytes());
        for (builder, number) in self.numbers.iter_mut().zip([line.rows, self.manifest.version as i64]) {
            builder.append_value(number);
            hasher.update(&number.to_le_bytes());
        }
        let seen_at = Some(self.manifest.committed_at.as_microsecond());
        let times = [seen_at, line.old_extracted_at, line.new_extracted_at];
        self.times.iter_mut().zip(times).for_each(|(builder, time)| builder.append_option(time));
        self.hashes.append_value(&hasher.finalize().as_bytes()[..16]).map_err(malformed)
    }

    /// The partition that all lines belong to: the month in which the version was committed.
    pub fn partition(&self) -> PartitionKey {
        let day = jiff::tz::TimeZone::UTC.to_datetime(self.manifest.committed_at).date();
        PartitionKey::of_month(&self.manifest.account, Some(Month::of(day)))
    }

    /// The lines so far, which are then forgotten.
    pub fn take(&mut self) -> Result<RecordBatch> {
        self.held = 0;
        let mut columns: Vec<ArrayRef> =
            self.texts.iter_mut().map(|text| Arc::new(text.finish()) as ArrayRef).collect();
        let ours = columns.split_off(9);
        let moved = self.moved.finish().with_precision_and_scale(38, MONEY_SCALE as i8).map_err(malformed)?;
        columns.push(Arc::new(moved));
        columns.extend(self.numbers.iter_mut().map(|numbers| Arc::new(numbers.finish()) as ArrayRef));
        columns.extend(
            self.times.iter_mut().map(|times| Arc::new(times.finish().with_timezone("UTC")) as ArrayRef),
        );
        columns.extend(ours);
        columns.push(Arc::new(self.hashes.finish()));
        RecordBatch::try_new(restatements_spec().schema, columns).map_err(malformed)
    }
}

pub(super) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_microsecond)
}

fn malformed(cause: arrow::error::ArrowError) -> Error {
    Error::new(Kind::Bug, "restatements could not be built").caused_by(cause)
}
