//! One local Parquet file of one partition, written row group by row group, each sorted.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat, interleave_record_batch, lexsort_to_indices};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::{Author, Digest, Options, StagedPart, tally};
use crate::error::{Error, Kind, Result};
use crate::model::{PartitionKey, TableSpec, Totals};

/// Rows of one partition on their way to a file.
pub(super) struct PartWriter {
    key: PartitionKey,
    path: PathBuf,
    author: Author,
    buffer: Vec<RecordBatch>,
    buffer_bytes: usize,
    // Made at the first flush: bloom filters are sized by the rows.
    writer: Option<ArrowWriter<HashingFile>>,
    totals: Totals,
    digest: Digest,
}

impl PartWriter {
    pub(super) fn new(key: PartitionKey, path: PathBuf, author: Author) -> Self {
        PartWriter {
            key,
            path,
            author,
            buffer: Vec::new(),
            buffer_bytes: 0,
            writer: None,
            totals: Totals::default(),
            digest: Digest::default(),
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.buffer_bytes
    }

    pub(super) fn push(&mut self, spec: &TableSpec, batch: RecordBatch) -> Result<()> {
        tally(&batch, &spec.money, &mut self.totals, &mut self.digest)?;
        self.buffer_bytes += batch.get_array_memory_size();
        self.buffer.push(batch);
        Ok(())
    }

    /// Sorts what is buffered and writes it as one row group.
    pub(super) fn flush(&mut self, spec: &TableSpec, options: &Options) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let batches = std::mem::take(&mut self.buffer);
        self.buffer_bytes = 0;
        let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        if self.writer.is_none() {
            self.writer = Some(self.open(spec, options, rows)?);
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut sorted = sort(&batches, &spec.sort).map_err(|cause| {
            Error::new(Kind::Bug, "rows could not be sorted").with("table", &spec.name).caused_by(cause)
        })?;
        drop(batches);
        if let (Some(mutation), Some(money)) = (&options.mutation, spec.money.first()) {
            mutation.on_rows("write", &mut sorted, &money.name);
        }
        let written = writer.write(&sorted).and_then(|()| writer.flush());
        written.map_err(|cause| not_written(cause, &self.path))
    }

    fn open(&self, spec: &TableSpec, options: &Options, rows: usize) -> Result<ArrowWriter<HashingFile>> {
        let file = File::create(&self.path).map_err(|cause| not_written(cause, &self.path))?;
        let file = HashingFile { file, hasher: blake3::Hasher::new(), bytes: 0 };
        ArrowWriter::try_new(file, spec.schema.clone(), Some(self.properties(spec, options, rows)?))
            .map_err(|cause| not_written(cause, &self.path))
    }

    fn properties(&self, spec: &TableSpec, options: &Options, rows: usize) -> Result<WriterProperties> {
        let level = ZstdLevel::try_new(options.zstd_level).map_err(|cause| {
            Error::new(Kind::Config, "the zstd level is out of range")
                .with("load.zstd_level", options.zstd_level)
                .hint("use 1 to 22")
                .caused_by(cause)
        })?;
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(format!("payoutlake {}", env!("CARGO_PKG_VERSION")))
            // Row groups end where we say so: each is sorted by itself.
            .set_max_row_group_row_count(None)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns(Some(sorting_columns(spec)))
            .set_key_value_metadata(Some(self.footer(spec)));
        for name in &spec.lookup {
            let column = ColumnPath::from(name.as_str());
            properties = properties
                .set_column_bloom_filter_enabled(column.clone(), true)
                .set_column_bloom_filter_max_ndv(column, rows.max(1) as u64);
        }
        Ok(properties.build())
    }

    /// What a file says of itself when somebody finds it alone.
    fn footer(&self, spec: &TableSpec) -> Vec<KeyValue> {
        let mut facts = vec![
            ("table", spec.name.clone()),
            ("schema_version", spec.schema_version.to_string()),
            ("account", self.key.account.to_string()),
            ("partition", format!("{}={}", spec.partition_columns[1], self.key.value)),
            ("run_id", self.author.run_id.to_string()),
        ];
        facts.extend(self.author.request_id.as_ref().map(|id| ("request_id", id.to_string())));
        facts.into_iter().map(|(key, value)| KeyValue::new(format!("payoutlake.{key}"), value)).collect()
    }

    /// Closes the file; `None` when no row came.
    pub(super) fn finish(mut self, spec: &TableSpec, options: &Options) -> Result<Option<StagedPart>> {
        self.flush(spec, options)?;
        let Some(writer) = self.writer else { return Ok(None) };
        let file = writer.into_inner().map_err(|cause| not_written(cause, &self.path))?;
        file.file.sync_all().map_err(|cause| not_written(cause, &self.path))?;
        Ok(Some(StagedPart {
            key: self.key,
            file: self.path,
            hash: file.hasher.finalize().to_hex().to_string(),
            bytes: file.bytes,
            totals: self.totals,
            digest: self.digest,
        }))
    }
}

/// The order inside each row group, as the file tells it to readers.
fn sorting_columns(spec: &TableSpec) -> Vec<SortingColumn> {
    let index = |name: &String| spec.schema.index_of(name).ok().and_then(|index| i32::try_from(index).ok());
    let indexes = spec.sort.iter().filter_map(index);
    indexes.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
}

/// All rows of the batches as one batch, ordered by the sort columns.
fn sort(batches: &[RecordBatch], by: &[String]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let columns = by.iter().filter(|name| batches.iter().all(|batch| batch.column_by_name(name).is_some()));
    let columns = columns.map(|name| {
        let parts = batches.iter().filter_map(|batch| batch.column_by_name(name).map(AsRef::as_ref));
        Ok(SortColumn { values: concat(&parts.collect::<Vec<_>>())?, options: None })
    });
    let columns = columns.collect::<Result<Vec<_>, arrow::error::ArrowError>>()?;
    let places: Vec<(usize, usize)> = (batches.iter().enumerate())
        .flat_map(|(batch, rows)| (0..rows.num_rows()).map(move |row| (batch, row)))
        .collect();
    let ordered = if columns.is_empty() {
        places
    } else {
        let order = lexsort_to_indices(&columns, None)?;
        order.values().iter().map(|&index| places[index as usize]).collect()
    };
    interleave_record_batch(&batches.iter().collect::<Vec<_>>(), &ordered)
}

fn not_written(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>, path: &std::path::Path) -> Error {
    let cause = cause.into();
    let kind = match cause.downcast_ref::<ParquetError>() {
        // An I/O failure arrives as External; anything else is a defect of ours.
        Some(ParquetError::External(_)) | None => Kind::Destination,
        Some(_) => Kind::Bug,
    };
    Error::new(kind, "a Parquet file could not be written")
        .with("file", path.display())
        .hint("nothing was committed; check the disk and run the same command again")
        .caused_by(cause)
}

/// Hashes and counts what is written: objects are named by their content.
struct HashingFile {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for HashingFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.file.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
