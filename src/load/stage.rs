//! Splits rows by partition, and sets aside those that belong to a neighbouring window.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::thread;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::ZstdLevel;

use super::cores::{on_cores, on_threads};
use super::encode::encode;
use super::keys::Keys;
use super::order::{Order, sort_columns};
use super::part::{PartWriter, begin_to_disk};
use super::rows::{Place, Rows, memory_of};
use super::tally::{Counted, Currencies, Tally};
use super::{Digest, Options};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, Month, PartitionKey, RequestId, RunId, TableSpec, Totals, Window};

/// What a column of a row group takes in memory until its file is closed: statistics and indexes, about.
const CHUNK_METADATA_BYTES: usize = 1 << 10;

/// Takes typed rows and leaves one sorted Parquet file for each partition in `dir`.
pub struct Stager<'a> {
    spec: &'a TableSpec,
    options: &'a Options,
    account: Account,
    author: Author,
    dir: PathBuf,
    parts: BTreeMap<PartitionKey, Part>,
    /// Batches of which rows wait for their row group.
    batches: Vec<RecordBatch>,
    /// Arrow memory and rows of the batches.
    waiting_bytes: usize,
    waiting_rows: usize,
    /// Row groups whose metadata are in memory.
    row_groups: usize,
    overlap: Totals,
    currencies: Currencies,
    keys: Keys,
    /// Of the batches that wait: where they stand in memory.
    dictionaries: HashSet<usize>,
}

/// One partition: its file, and its rows that are not in it yet.
struct Part {
    writer: PartWriter,
    waiting: Vec<Place>,
    /// Of all rows that were taken for it.
    tally: Tally,
}

/// Who writes a file: it stands in the file's footer.
#[derive(Debug, Clone)]
pub struct Author {
    pub run_id: RunId,
    /// The export that made the file necessary; a merged file has rows of earlier ones too.
    pub request_id: Option<RequestId>,
}

/// What an export became: files on local disk, not yet in the lake.
#[derive(Debug, Default)]
pub struct Staged {
    /// Sorted by partition.
    pub parts: Vec<StagedPart>,
    /// Rows of the day before and after the window: their own windows are the truth about them.
    pub overlap: Totals,
    /// Whether a key may stand on more than one row.
    pub may_repeat: bool,
}

#[derive(Debug, Clone)]
pub struct StagedPart {
    pub key: PartitionKey,
    pub file: PathBuf,
    /// blake3 of the file, in hex.
    pub hash: String,
    pub bytes: u64,
    pub totals: Totals,
    pub digest: Digest,
}

impl Staged {
    /// Rows and sums of all parts.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.parts.iter().for_each(|part| totals.merge(&part.totals));
        totals
    }
}

impl<'a> Stager<'a> {
    #[must_use]
    pub fn new(
        spec: &'a TableSpec,
        options: &'a Options,
        account: &Account,
        author: &Author,
        dir: &Path,
    ) -> Self {
        Stager {
            spec,
            options,
            account: account.clone(),
            author: author.clone(),
            dir: dir.to_owned(),
            parts: BTreeMap::new(),
            batches: Vec::new(),
            waiting_bytes: 0,
            waiting_rows: 0,
            row_groups: 0,
            overlap: Totals::default(),
            currencies: Currencies::default(),
            keys: Keys::new(dir, options.memory),
            dictionaries: HashSet::new(),
        }
    }

    #[must_use]
    pub fn options(&self) -> &'a Options {
        self.options
    }

    /// Adds rows by month. With a window, rows of the one day before and after it are counted as overlap
    /// and left out; rows further away stay, and will be merged by key.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn push_months(
        &mut self,
        batch: &RecordBatch,
        months: &[Option<Month>],
        window: Option<(Window, &str)>,
    ) -> Result<()> {
        let mut rows_of: BTreeMap<Option<Month>, Vec<u32>> = BTreeMap::new();
        let mut overlap = Vec::new();
        for (row, month) in months.iter().enumerate() {
            match window {
                Some((window, date)) if is_overlap(batch, row, *month, window, date)? => overlap.push(row),
                _ => rows_of.entry(*month).or_default().push(row as u32),
            }
        }
        if !overlap.is_empty() {
            let mut tally = Tally::default();
            let counted = Counted::of(batch, &self.spec.money, &mut self.currencies)?;
            counted.add(overlap.into_iter(), &mut tally);
            let (overlap, mut digest) = (&mut self.overlap, Digest::default());
            tally.add_to(&self.currencies, &self.spec.money, overlap, &mut digest);
        }
        let rows_of = rows_of
            .into_iter()
            .map(|(month, rows)| (PartitionKey::of_month(&self.account, month), rows))
            .collect();
        self.take(batch, rows_of)
    }

    /// Adds rows whose partitions are known, one key for each row.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn push_keys(&mut self, batch: &RecordBatch, keys: &[PartitionKey]) -> Result<()> {
        let mut rows_of: BTreeMap<PartitionKey, Vec<u32>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            match rows_of.get_mut(key) {
                Some(rows) => rows.push(row as u32),
                None => {
                    rows_of.insert(key.clone(), vec![row as u32]);
                }
            }
        }
        self.take(batch, rows_of)
    }

    /// Adds rows of one partition.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn push(&mut self, key: PartitionKey, batch: RecordBatch) -> Result<()> {
        let rows = (0..batch.num_rows() as u32).collect();
        self.take(&batch, BTreeMap::from([(key, rows)]))
    }

    /// Begins a partition with what stands in a finished file of it: see [`PartWriter::begin_with`]. What is taken as it stands is
    /// not counted here. False for a file of another shape, of which nothing is taken.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be read or written.
    pub(super) fn begin_with(&mut self, key: &PartitionKey, finished: &Path, more: u64) -> Result<bool> {
        let (spec, level) = (self.spec, zstd_level(self.options)?);
        let Some(last) = self.part(key).writer.begin_with(spec, level, finished, more)? else {
            return Ok(false);
        };
        for rows in last {
            self.push(key.clone(), rows)?;
        }
        Ok(true)
    }

    fn part(&mut self, key: &PartitionKey) -> &mut Part {
        let (number, dir, author) = (self.parts.len(), &self.dir, &self.author);
        self.parts.entry(key.clone()).or_insert_with(|| {
            let path = dir.join(format!("{number:05}.parquet"));
            let writer = PartWriter::new(key.clone(), path, author.clone());
            Part { writer, waiting: Vec::new(), tally: Tally::default() }
        })
    }

    fn take(&mut self, batch: &RecordBatch, rows_of: BTreeMap<PartitionKey, Vec<u32>>) -> Result<()> {
        let place = self.batches.len() as u32;
        let taken: usize = rows_of.values().map(Vec::len).sum();
        if taken == 0 {
            return Ok(());
        }
        // While the rows of the batch are in the cache of a core.
        let counted = Counted::of(batch, &self.spec.money, &mut self.currencies)?;
        for (key, rows) in rows_of.into_iter().filter(|(_, rows)| !rows.is_empty()) {
            let part = self.part(&key);
            counted.add(rows.iter().map(|row| *row as usize), &mut part.tally);
            part.waiting.extend(rows.into_iter().map(|row| (place, row)));
        }
        // Those of the overlap too: at worst somebody looks for nothing.
        self.keys.add(batch).map_err(|cause| not_kept(cause, &self.dir))?;
        self.waiting_bytes += memory_of(batch, &mut self.dictionaries);
        self.waiting_rows += taken;
        self.batches.push(batch.clone());
        self.make_room()
    }

    /// Of the row groups in open files, about.
    fn footer_bytes(&self) -> u64 {
        (self.row_groups * self.spec.schema.fields().len() * CHUNK_METADATA_BYTES) as u64
    }

    /// Writes row groups when one is full, or when all that waits is too much.
    fn make_room(&mut self) -> Result<()> {
        let Options { memory, .. } = self.options;
        let row_bytes = self.waiting_bytes / self.waiting_rows.max(1);
        let largest = self.parts.values().map(|part| part.waiting.len()).max().unwrap_or_default();
        let full = (largest * row_bytes) as u64 > memory.row_group();
        // What metadata take, rows do not have: a large file needs no more memory than a small one.
        let waiting = memory.waiting().saturating_sub(self.footer_bytes());
        // Then all partitions are written, but for a few of the smallest.
        if full || self.waiting_bytes as u64 > waiting {
            self.write_some()?;
        }
        Ok(())
    }

    /// Writes what is buffered in worthwhile amounts: a text file of an archive usually holds one month, and the
    /// next one another.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn end_of_text(&mut self) -> Result<()> {
        if self.waiting_bytes as u64 > self.options.memory.row_group() / 4 {
            self.write_some()?;
        }
        Ok(())
    }

    /// Writes a row group for each partition, but for the smallest ones that have at most `few` rows together: these wait
    /// on, copied out of the batches, so that the batches can go.
    fn write(&mut self, few: usize) -> Result<()> {
        let (mut left, mut full) = (Vec::new(), Vec::new());
        let mut parts: Vec<&mut Part> = self.parts.values_mut().collect();
        parts.sort_by_key(|part| part.waiting.len());
        for part in parts {
            if left.len() + part.waiting.len() > few {
                full.push((std::mem::take(&mut part.waiting), &mut part.writer));
                continue;
            }
            let start = left.len();
            left.append(&mut part.waiting);
            part.waiting.extend((start..left.len()).map(|row| (0, row as u32)));
        }
        let batches = std::mem::take(&mut self.batches);
        self.dictionaries.clear();
        self.row_groups += full.len();
        write_groups(self.spec, self.options, &batches, full)?;
        (self.waiting_bytes, self.waiting_rows) = (0, left.len());
        if !left.is_empty() {
            let rest = Rows { batches: &batches, places: &left }.together(&self.spec.schema);
            let rest = rest.map_err(|cause| {
                Error::new(Kind::Bug, "rows could not be kept for their month").caused_by(cause)
            })?;
            self.waiting_bytes = memory_of(&rest, &mut self.dictionaries);
            self.batches.push(rest);
        }
        // A busy disk lets the one wait, and there are many buffers. Nobody else waits for it, and nothing is lost without a thread.
        let files: Vec<_> = self.parts.values().filter_map(|part| part.writer.file()).collect();
        let _beside = thread::Builder::new().spawn(move || {
            drop(batches);
            files.iter().for_each(begin_to_disk);
        });
        Ok(())
    }

    /// Writes what waits, and closes the files when the metadata of their row groups are too many; more will come.
    fn write_some(&mut self) -> Result<()> {
        self.write(self.waiting_rows / 16)?;
        if self.footer_bytes() > self.options.memory.footers() {
            let writers = self.parts.values_mut().map(|part| &mut part.writer).collect();
            on_cores(writers, || Ok(()), |(): &mut (), writer: &mut PartWriter| writer.set_aside())?;
            self.row_groups = 0;
        }
        Ok(())
    }

    /// Closes all files.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn finish(mut self) -> Result<Staged> {
        let mut keys = std::mem::replace(&mut self.keys, Keys::new(&self.dir, self.options.memory));
        let dir = self.dir.clone();
        thread::scope(|threads| {
            let repeat = threads.spawn(move || keys.may_repeat());
            let (parts, overlap) = self.finish_parts()?;
            let stopped = |_| Error::new(Kind::Bug, "a thread that looks at keys stopped unexpectedly");
            let may_repeat = repeat.join().map_err(stopped)?.map_err(|cause| not_kept(cause, &dir))?;
            Ok(Staged { parts, overlap, may_repeat })
        })
    }

    fn finish_parts(mut self) -> Result<(Vec<StagedPart>, Totals)> {
        self.write(0)?;
        let level = zstd_level(self.options)?;
        let writer = |Part { mut writer, tally, .. }: Part| {
            tally.add_to(&self.currencies, &self.spec.money, &mut writer.totals, &mut writer.digest);
            writer
        };
        let writers: Vec<_> = self.parts.into_values().map(writer).collect();
        let finish = |(): &mut (), mut writer: PartWriter| {
            writer.bring_together(self.spec, level)?;
            writer.finish()
        };
        // What was set aside comes back into memory, of two files at a time.
        let parts = on_threads(2, writers, || Ok(()), finish)?;
        Ok((parts.into_iter().flatten().collect(), self.overlap))
    }
}

fn not_kept(cause: std::io::Error, dir: &Path) -> Error {
    Error::new(Kind::Destination, "the keys of rows could not be kept until all are there")
        .with("folder", dir.display())
        .hint("nothing was committed; check the disk and run the same command again")
        .caused_by(cause)
}

/// Sorts the rows of each part and writes them as one row group.
fn write_groups(
    spec: &TableSpec,
    options: &Options,
    batches: &[RecordBatch],
    parts: Vec<(Vec<Place>, &mut PartWriter)>,
) -> Result<()> {
    let failed = |cause: ArrowError| {
        Error::new(Kind::Bug, "rows could not be sorted").with("table", &spec.name).caused_by(cause)
    };
    let level = zstd_level(options)?;
    let descr = ArrowSchemaConverter::new().convert(&spec.schema).map_err(|cause| failed(cause.into()))?;
    let order = Order::new(batches, &sort_columns(spec)).map_err(failed)?;
    let (groups, writers): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let sort = |(): &mut (), places: Vec<Place>| Ok(order.sorted(&places));
    let mut groups = on_cores(groups, || Ok(()), sort)?;
    let damaged = damaged(spec, options, batches, &mut groups).map_err(failed)?;
    let batches = damaged.as_deref().unwrap_or(batches);
    let encoded = encode(spec, &descr, batches, &groups, level)?;
    let files = writers.into_iter().zip(encoded).collect();
    on_cores(files, || Ok(()), |(), (writer, group)| writer.append(spec, level, group))?;
    Ok(())
}

fn zstd_level(options: &Options) -> Result<ZstdLevel> {
    ZstdLevel::try_new(options.zstd_level).map_err(|cause| {
        Error::new(Kind::Config, "the zstd level is out of range")
            .with("load.zstd_level", options.zstd_level)
            .hint("use 1 to 22")
            .caused_by(cause)
    })
}

/// Rows that were damaged on purpose: a batch for each group, instead of those that they stand in.
fn damaged(
    spec: &TableSpec,
    options: &Options,
    batches: &[RecordBatch],
    groups: &mut [Vec<Place>],
) -> Result<Option<Vec<RecordBatch>>, ArrowError> {
    let Some((mutation, money)) = options.mutation.as_ref().zip(spec.money.first()) else { return Ok(None) };
    let mut damaged = Vec::new();
    for (number, places) in groups.iter_mut().enumerate() {
        let mut batch = Rows { batches, places }.together(&spec.schema)?;
        mutation.on_rows("write", &mut batch, &money.name);
        *places = (0..batch.num_rows() as u32).map(|row| (number as u32, row)).collect();
        damaged.push(batch);
    }
    Ok(Some(damaged))
}

/// Whether a row stands outside the window, within the one day by which requests overlap.
///
/// # Errors
/// [`Kind::Bug`] when the driving date is not a date.
pub fn is_overlap(
    batch: &RecordBatch,
    row: usize,
    month: Option<Month>,
    window: Window,
    date: &str,
) -> Result<bool> {
    let Some(month) = month else { return Ok(false) };
    if window.contains(month) {
        return Ok(false);
    }
    let day = day_of(batch, row, date)?;
    let epoch = jiff::civil::Date::constant(1970, 1, 1);
    let days = |date: jiff::civil::Date| (date - epoch).get_days();
    Ok(day == days(window.first.first_day()) - 1 || day == days(window.last.last_day()) + 1)
}

/// Days since 1970-01-01 of a row's date column.
fn day_of(batch: &RecordBatch, row: usize, column: &str) -> Result<i32> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let values = batch.column_by_name(column);
    match values.map(|values| (values, values.data_type())) {
        Some((values, DataType::Timestamp(..))) => {
            let micros = values.as_primitive::<TimestampMicrosecondType>().value(row);
            Ok(micros.div_euclid(MICROS_PER_DAY) as i32)
        }
        Some((values, DataType::Date32)) => Ok(values.as_primitive::<Date32Type>().value(row)),
        _ => Err(Error::new(Kind::Bug, "the driving date is not a date").with("column", column)),
    }
}
