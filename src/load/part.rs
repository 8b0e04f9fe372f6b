//! One local Parquet file of one partition, written row group by row group.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;

use super::chunk::Chunk;
use super::order::sort_columns;
use super::{Author, Digest, StagedPart};
use crate::error::{Error, Kind, Result};
use crate::model::{PartitionKey, TableSpec, Totals};

/// Hashing takes less time of larger pieces, and so does the disk.
type Sink = BufWriter<HashingFile>;

/// Bytes; there is one for each partition that is being written.
const WRITTEN_AT_ONCE: usize = 64 << 10;

/// One file that is being written.
pub(super) struct PartWriter {
    key: PartitionKey,
    path: PathBuf,
    author: Author,
    // Made at the first row group.
    open: Option<SerializedFileWriter<Sink>>,
    /// Files with the row groups before.
    aside: Vec<PathBuf>,
    /// Of the rows that were given for this partition.
    pub(super) totals: Totals,
    pub(super) digest: Digest,
}

impl PartWriter {
    pub(super) fn new(key: PartitionKey, path: PathBuf, author: Author) -> Self {
        let (totals, digest) = (Totals::default(), Digest::default());
        PartWriter { key, path, author, open: None, aside: Vec::new(), totals, digest }
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

    /// The file that row groups are written to by now, a second time, where [`begin_to_disk`] does something.
    pub(super) fn file(&self) -> Option<File> {
        if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
            return None;
        }
        self.open.as_ref()?.inner().get_ref().file.try_clone().ok()
    }

    /// Ends the file so far, to be a part of the whole: the metadata of its row groups stay in memory no longer.
    pub(super) fn set_aside(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let aside = self.path.with_extension(format!("{}.parquet", self.aside.len()));
        closed(open).map_err(|cause| not_written(cause, &self.path))?;
        std::fs::rename(&self.path, &aside).map_err(|cause| not_written(cause, &aside))?;
        self.aside.push(aside);
        Ok(())
    }

    /// Makes one file of all that was set aside.
    pub(super) fn bring_together(&mut self, spec: &TableSpec, level: ZstdLevel) -> Result<()> {
        if self.aside.is_empty() {
            return Ok(());
        }
        self.set_aside()?;
        let mut whole = self.open(spec, level)?;
        for aside in std::mem::take(&mut self.aside) {
            let copied = FinishedFile::open(&aside).and_then(|file| file.copy(usize::MAX, &mut whole));
            copied.map_err(|cause| not_written(cause, &aside))?;
            std::fs::remove_file(&aside).map_err(|cause| not_written(cause, &aside))?;
        }
        self.open = Some(whole);
        Ok(())
    }

    /// Begins with the row groups of a finished file, behind which `more` rows are to come. They stand as they
    /// are, but for the last ones as long as these have no more rows than what follows them: so a file that grows by a few
    /// rows at a time has about as many row groups as its number of rows has bits, and writing it does not take longer and
    /// longer. Gives back the rows of the last ones; `None` for a file of another shape, of which nothing is taken.
    pub(super) fn begin_with(
        &mut self,
        spec: &TableSpec,
        level: ZstdLevel,
        finished: &Path,
        more: u64,
    ) -> Result<Option<Vec<RecordBatch>>> {
        let failed = |cause| not_written(cause, finished);
        let mut begun = self.open(spec, level)?;
        let file = FinishedFile::open(finished).map_err(failed)?;
        let metadata = file.reader.metadata();
        let has_indexes = metadata.column_index().is_some() && metadata.offset_index().is_some();
        if metadata.file_metadata().schema_descr() != begun.schema_descr() || !has_indexes {
            return Ok(None);
        }
        let (mut kept, mut behind) = (file.reader.num_row_groups(), more);
        for group in metadata.row_groups().iter().rev() {
            let rows = group.num_rows().unsigned_abs();
            if rows > behind {
                break;
            }
            (kept, behind) = (kept - 1, behind + rows);
        }
        let last = file.rows((kept..file.reader.num_row_groups()).collect()).map_err(failed)?;
        file.copy(kept, &mut begun).map_err(failed)?;
        self.open = Some(begun);
        Ok(Some(last))
    }

    fn open(&self, spec: &TableSpec, level: ZstdLevel) -> Result<SerializedFileWriter<Sink>> {
        let file = File::create(&self.path).map_err(|cause| not_written(cause, &self.path))?;
        let file = HashingFile { file, hasher: blake3::Hasher::new(), bytes: 0 };
        let file = BufWriter::with_capacity(WRITTEN_AT_ONCE, file);
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

    /// Closes the file; `None` when no row came. Its bytes come to the disk when it is put into a lake.
    pub(super) fn finish(self) -> Result<Option<StagedPart>> {
        let Some(open) = self.open else { return Ok(None) };
        let file = closed(open).map_err(|cause| not_written(cause, &self.path))?;
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

/// All bytes are written, if not yet on the disk.
fn closed(open: SerializedFileWriter<Sink>) -> Result<HashingFile, ParquetError> {
    open.into_inner()?.into_inner().map_err(|failed| ParquetError::from(failed.into_error()))
}

/// The rows of a file that was written here.
///
/// # Errors
/// [`Kind::Destination`] when it cannot be read.
pub(super) fn staged_rows(file: &Path) -> Result<impl Iterator<Item = Result<RecordBatch>>> {
    let unreadable = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::new(Kind::Destination, "a file that was just written cannot be read")
            .with("file", file.display())
            .hint("nothing was committed; check the disk and run the same command again")
            .caused_by(cause)
    };
    let open = || ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.build();
    let rows = open().map_err(|cause| unreadable(cause.into()))?;
    Ok(rows.map(move |batch| batch.map_err(|cause| unreadable(cause.into()))))
}

/// Bytes of a file from some place on.
struct Piece {
    from: u64,
    bytes: Bytes,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.from + self.bytes.len() as u64
    }
}

impl ChunkReader for Piece {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.get_bytes(start, self.len().saturating_sub(start) as usize)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let inside = start.checked_sub(self.from).map(|start| start as usize);
        let inside = inside.filter(|start| start.saturating_add(length) <= self.bytes.len());
        let missing = || ParquetError::EOF(format!("{length} bytes at {start}"));
        inside.map(|start| self.bytes.slice(start..start + length)).ok_or_else(missing)
    }
}

/// A file of which row groups are taken as they stand.
struct FinishedFile {
    file: File,
    reader: SerializedFileReader<File>,
}

impl FinishedFile {
    fn open(path: &Path) -> Result<Self, ParquetError> {
        let file = File::open(path)?;
        let options = ReadOptionsBuilder::new().with_page_index().with_encoding_stats_as_mask(false).build();
        let reader = SerializedFileReader::new_with_options(file.try_clone()?, options)?;
        Ok(FinishedFile { file, reader })
    }

    /// The rows of some row groups.
    fn rows(&self, groups: Vec<usize>) -> Result<Vec<RecordBatch>, ParquetError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.file.try_clone()?)?;
        Ok(reader.with_row_groups(groups).build()?.collect::<Result<_, _>>()?)
    }

    /// Appends the first row groups, so many, to another file; the pages of each come in one piece.
    fn copy<W: Write + Send>(
        &self,
        groups: usize,
        to: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        let metadata = self.reader.metadata();
        let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
            return Err(ParquetError::General("the file has no page index".to_owned()));
        };
        for ((group, columns), offsets) in metadata.row_groups().iter().zip(columns).zip(offsets).take(groups)
        {
            let ranges = group.columns().iter().map(|chunk| chunk.byte_range());
            let (from, to_byte) = ranges
                .fold((u64::MAX, 0), |(from, to), (start, length)| (from.min(start), to.max(start + length)));
            let bytes = self.file.get_bytes(from, to_byte.saturating_sub(from) as usize)?;
            let piece = Piece { from, bytes };
            let mut row_group = to.next_row_group()?;
            for ((chunk, column), offsets) in group.columns().iter().zip(columns).zip(offsets) {
                let close = ColumnCloseResult {
                    bytes_written: chunk.compressed_size().unsigned_abs(),
                    rows_written: group.num_rows().unsigned_abs(),
                    metadata: chunk.clone(),
                    bloom_filter: Sbbf::read_from_column_chunk(chunk, &self.file)?,
                    column_index: Some(column.clone()),
                    offset_index: Some(offsets.clone()),
                };
                row_group.append_column(&piece, close)?;
            }
            row_group.close()?;
        }
        Ok(())
    }
}

/// The order inside each row group, as the file tells it to readers.
fn sorting_columns(spec: &TableSpec) -> Vec<SortingColumn> {
    let columns = sort_columns(spec).into_iter().filter_map(|index| i32::try_from(index).ok());
    columns.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
}

fn not_written(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>, path: &Path) -> Error {
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

/// Lets what was written go to the disk while more is typed. What fails is told by the sync at the end, of which little is left
/// then.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "sync_file_range has no safe wrapper")]
pub(super) fn begin_to_disk(file: &File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as the file, and no memory is handed over.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn begin_to_disk(_file: &File) {}

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
