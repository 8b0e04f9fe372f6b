//! One local Parquet file of one partition, written row group by row group, each sorted.
//!
//! The columns of a row group are gathered and encoded one by one, on all cores: a column is in memory only while it is
//! encoded.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{SortColumn, interleave, interleave_record_batch, lexsort_to_indices};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::spread::is_distinct;
use super::{Author, Digest, Options, StagedPart};
use crate::error::{Error, Kind, Result};
use crate::model::{PartitionKey, TableSpec, Totals};

/// Fewer rows are not worth a thread.
const ROWS_FOR_THREADS: usize = 2048;

/// One file that is being written.
pub(super) struct PartWriter {
    key: PartitionKey,
    path: PathBuf,
    author: Author,
    // Made at the first row group: what stands in that decides how columns are encoded.
    open: Option<OpenFile>,
    /// Of the rows that were given for this partition.
    pub(super) totals: Totals,
    pub(super) digest: Digest,
}

struct OpenFile {
    file: SerializedFileWriter<HashingFile>,
    columns: ArrowRowGroupWriterFactory,
    groups: usize,
}

/// Rows of a partition: where each of them stands in some batches.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub batches: &'a [RecordBatch],
    /// Batch and row.
    pub places: &'a [(usize, usize)],
}

impl Rows<'_> {
    /// One column of the rows.
    fn column(&self, index: usize) -> Result<ArrayRef, ArrowError> {
        let arrays: Vec<&dyn Array> = self.batches.iter().map(|batch| batch.column(index).as_ref()).collect();
        match arrays.first() {
            // Columns that the file lacks are many, and cost nothing.
            Some(first) if arrays.iter().all(|array| array.null_count() == array.len()) => {
                Ok(new_null_array(first.data_type(), self.places.len()))
            }
            _ => interleave(&arrays, self.places),
        }
    }

    /// The places in the order of the sort columns.
    fn sorted(&self, by: &[String]) -> Result<Vec<(usize, usize)>, ArrowError> {
        let Some(first) = self.batches.first() else { return Ok(Vec::new()) };
        let columns = by.iter().filter_map(|name| first.schema().index_of(name).ok());
        let columns = columns.map(|index| Ok(SortColumn { values: self.column(index)?, options: None }));
        let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
        if columns.is_empty() {
            return Ok(self.places.to_vec());
        }
        let order = lexsort_to_indices(&columns, None)?;
        Ok(order.values().iter().map(|&index| self.places[index as usize]).collect())
    }
}

impl PartWriter {
    pub(super) fn new(key: PartitionKey, path: PathBuf, author: Author) -> Self {
        let (totals, digest) = (Totals::default(), Digest::default());
        PartWriter { key, path, author, open: None, totals, digest }
    }

    /// Sorts the rows and writes them as one row group.
    pub(super) fn write(&mut self, spec: &TableSpec, options: &Options, rows: Rows<'_>) -> Result<()> {
        let not_sorted = |cause| {
            Error::new(Kind::Bug, "rows could not be sorted").with("table", &spec.name).caused_by(cause)
        };
        let places = rows.sorted(&spec.sort).map_err(not_sorted)?;
        let mut sorted = Rows { batches: rows.batches, places: &places };
        let damaged;
        let damaged_places: Vec<(usize, usize)>;
        if let (Some(mutation), Some(money)) = (&options.mutation, spec.money.first()) {
            let batches: Vec<&RecordBatch> = rows.batches.iter().collect();
            let mut batch = interleave_record_batch(&batches, &places).map_err(not_sorted)?;
            mutation.on_rows("write", &mut batch, &money.name);
            damaged_places = (0..batch.num_rows()).map(|row| (0, row)).collect();
            damaged = [batch];
            sorted = Rows { batches: &damaged, places: &damaged_places };
        }
        let failed = |cause| not_written(cause, &self.path);
        if self.open.is_none() {
            self.open = Some(self.open(spec, options, sorted)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let writers = open.columns.create_column_writers(open.groups).map_err(failed)?;
        let chunks = encode(spec, sorted, writers).map_err(failed)?;
        let mut group = open.file.next_row_group().map_err(failed)?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group).map_err(failed)?;
        }
        group.close().map_err(failed)?;
        open.groups += 1;
        Ok(())
    }

    fn open(&self, spec: &TableSpec, options: &Options, first: Rows<'_>) -> Result<OpenFile> {
        let file = File::create(&self.path).map_err(|cause| not_written(cause, &self.path))?;
        let file = HashingFile { file, hasher: blake3::Hasher::new(), bytes: 0 };
        let properties = self.properties(spec, options, first)?;
        let writer = ArrowWriter::try_new(file, spec.schema.clone(), Some(properties));
        let (file, columns) = writer
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(|cause| not_written(cause, &self.path))?;
        Ok(OpenFile { file, columns, groups: 0 })
    }

    fn properties(&self, spec: &TableSpec, options: &Options, first: Rows<'_>) -> Result<WriterProperties> {
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
                .set_column_bloom_filter_max_ndv(column, first.places.len().max(1) as u64);
        }
        for (index, field) in spec.schema.fields().iter().enumerate() {
            let column = ColumnPath::from(field.name().as_str());
            // A dictionary of values that each stand once is the column a second time.
            if is_distinct(first, index) {
                properties = properties.set_column_dictionary_enabled(column, false);
            }
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
    pub(super) fn finish(self) -> Result<Option<StagedPart>> {
        let Some(open) = self.open else { return Ok(None) };
        let file = open.file.into_inner().map_err(|cause| not_written(cause, &self.path))?;
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

/// Encodes the columns of one row group, on as many threads as there are cores.
fn encode(
    spec: &TableSpec,
    rows: Rows<'_>,
    writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let next = Mutex::new(writers.into_iter().enumerate());
    let take = || next.lock().map_or_else(|broken| broken.into_inner().next(), |mut next| next.next());
    let work = || {
        let mut done = Vec::new();
        while let Some((index, mut writer)) = take() {
            let column = rows.column(index)?;
            for leaf in compute_leaves(spec.schema.field(index), &column)? {
                writer.write(&leaf)?;
            }
            done.push((index, unshared(writer.close()?)?));
        }
        Ok::<_, ParquetError>(done)
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let others = if rows.places.len() < ROWS_FOR_THREADS { 0 } else { cores - 1 };
    let mut chunks = std::thread::scope(|threads| {
        let others: Vec<_> = (0..others).map(|_| threads.spawn(work)).collect();
        let mut chunks = work()?;
        for other in others {
            let done = other.join().map_err(|_| ParquetError::General("an encoder stopped".to_owned()))?;
            chunks.extend(done?);
        }
        Ok::<_, ParquetError>(chunks)
    })?;
    chunks.sort_by_key(|(index, _)| *index);
    Ok(chunks.into_iter().map(|(_, chunk)| chunk).collect())
}

/// Parquet's smallest and greatest decimal of a chunk are slices of the buffer with all of its values, and stay in memory
/// until the file is closed: here they become values of their own.
fn unshared(mut chunk: ArrowColumnChunk) -> Result<ArrowColumnChunk, ParquetError> {
    let metadata = &mut chunk.close_mut().metadata;
    let Some(Statistics::FixedLenByteArray(shared)) = metadata.statistics() else { return Ok(chunk) };
    let own = |value: Option<&FixedLenByteArray>| {
        value.map(|value| FixedLenByteArray::from(ByteArray::from(value.data().to_vec())))
    };
    let statistics = ValueStatistics::new(
        own(shared.min_opt()),
        own(shared.max_opt()),
        shared.distinct_count(),
        shared.null_count_opt(),
        false,
    )
    .with_min_is_exact(shared.min_is_exact())
    .with_max_is_exact(shared.max_is_exact())
    .with_backwards_compatible_min_max(shared.is_min_max_backwards_compatible());
    let statistics = Statistics::FixedLenByteArray(statistics);
    *metadata = metadata.clone().into_builder().set_statistics(statistics).build()?;
    Ok(chunk)
}

/// The order inside each row group, as the file tells it to readers.
fn sorting_columns(spec: &TableSpec) -> Vec<SortingColumn> {
    let index = |name: &String| spec.schema.index_of(name).ok().and_then(|index| i32::try_from(index).ok());
    let indexes = spec.sort.iter().filter_map(index);
    indexes.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
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
