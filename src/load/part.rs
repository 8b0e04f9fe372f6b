//! One local Parquet file of one partition, written row group by row group.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::chunk::Chunk;
use super::order::sort_columns;
use super::{Author, Digest, StagedPart};
use crate::error::{Error, Kind, Result};
use crate::model::{PartitionKey, TableSpec, Totals};

/// One file that is being written.
pub(super) struct PartWriter {
    key: PartitionKey,
    path: PathBuf,
    author: Author,
    // Made at the first row group.
    open: Option<SerializedFileWriter<HashingFile>>,
    /// Of the rows that were given for this partition.
    pub(super) totals: Totals,
    pub(super) digest: Digest,
}

impl PartWriter {
    pub(super) fn new(key: PartitionKey, path: PathBuf, author: Author) -> Self {
        let (totals, digest) = (Totals::default(), Digest::default());
        PartWriter { key, path, author, open: None, totals, digest }
    }

    /// Writes a row group.
    pub(super) fn append(&mut self, spec: &TableSpec, level: ZstdLevel, group: Vec<Chunk>) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(self.open(spec, level)?);
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        let write = || {
            let descr = file.schema_descr().columns().to_vec();
            let mut row_group = file.next_row_group()?;
            for (chunk, descr) in group.into_iter().zip(descr) {
                chunk.append(descr, &mut row_group)?;
            }
            row_group.close()
        };
        write().map_err(|cause| not_written(cause, &self.path)).map(|_| ())
    }

    fn open(&self, spec: &TableSpec, level: ZstdLevel) -> Result<SerializedFileWriter<HashingFile>> {
        let file = File::create(&self.path).map_err(|cause| not_written(cause, &self.path))?;
        let file = HashingFile { file, hasher: blake3::Hasher::new(), bytes: 0 };
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_created_by(format!("payoutlake {}", env!("CARGO_PKG_VERSION")))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_sorting_columns(Some(sorting_columns(spec)))
            .set_key_value_metadata(Some(self.footer(spec)))
            .build();
        let writer = ArrowWriter::try_new(file, spec.schema.clone(), Some(properties));
        let writer = writer.and_then(ArrowWriter::into_serialized_writer);
        Ok(writer.map_err(|cause| not_written(cause, &self.path))?.0)
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
        let file = open.into_inner().map_err(|cause| not_written(cause, &self.path))?;
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
    let columns = sort_columns(spec).into_iter().filter_map(|index| i32::try_from(index).ok());
    columns.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
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
