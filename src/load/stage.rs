//! Splits rows by partition, and sets aside those that belong to a neighbouring window.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};

use super::part::PartWriter;
use super::{Digest, Options, tally};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, Month, PartitionKey, RequestId, RunId, TableSpec, Totals, Window};

/// Takes typed rows and leaves one sorted Parquet file for each partition in `dir`.
pub struct Stager<'a> {
    spec: &'a TableSpec,
    options: &'a Options,
    account: Account,
    author: Author,
    dir: PathBuf,
    parts: BTreeMap<PartitionKey, PartWriter>,
    overlap: Totals,
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
            overlap: Totals::default(),
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
                Some((window, date)) if is_overlap(batch, row, *month, window, date)? => {
                    overlap.push(row as u32)
                }
                _ => rows_of.entry(*month).or_default().push(row as u32),
            }
        }
        if !overlap.is_empty() {
            let rows = take(batch, overlap)?;
            tally(&rows, &self.spec.money, &mut self.overlap, &mut Digest::default())?;
        }
        for (month, rows) in rows_of {
            let key = PartitionKey::of_month(&self.account, month);
            let rows = if rows.len() == batch.num_rows() { batch.clone() } else { take(batch, rows)? };
            self.push(key, rows)?;
        }
        Ok(())
    }

    /// Adds rows whose partitions are known, one key for each row.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn push_keys(&mut self, batch: &RecordBatch, keys: &[PartitionKey]) -> Result<()> {
        let mut rows_of: BTreeMap<&PartitionKey, Vec<u32>> = BTreeMap::new();
        for (row, key) in keys.iter().enumerate() {
            rows_of.entry(key).or_default().push(row as u32);
        }
        for (key, rows) in rows_of {
            self.push(key.clone(), take(batch, rows)?)?;
        }
        Ok(())
    }

    /// Adds rows of one partition.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn push(&mut self, key: PartitionKey, batch: RecordBatch) -> Result<()> {
        let (number, dir, author) = (self.parts.len(), &self.dir, &self.author);
        let part = self.parts.entry(key.clone()).or_insert_with(|| {
            PartWriter::new(key, dir.join(format!("{number:05}.parquet")), author.clone())
        });
        part.push(self.spec, batch)?;
        if part.buffered() as u64 > self.options.row_group_mib << 20 {
            part.flush(self.spec, self.options)?;
        }
        let buffered = self.parts.values().map(PartWriter::buffered).sum::<usize>();
        if buffered as u64 > self.options.buffer_mib << 20
            && let Some(largest) = self.parts.values_mut().max_by_key(|part| part.buffered())
        {
            largest.flush(self.spec, self.options)?;
        }
        Ok(())
    }

    /// Writes what is buffered in worthwhile amounts: a text file of an archive usually holds one month, and the
    /// next one another.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn end_of_text(&mut self) -> Result<()> {
        let worthwhile = (self.options.row_group_mib << 20) / 4;
        for part in self.parts.values_mut().filter(|part| part.buffered() as u64 > worthwhile) {
            part.flush(self.spec, self.options)?;
        }
        Ok(())
    }

    /// Closes all files.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be written.
    pub fn finish(self) -> Result<Staged> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts.into_values() {
            parts.extend(part.finish(self.spec, self.options)?);
        }
        Ok(Staged { parts, overlap: self.overlap })
    }
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

fn take(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch> {
    take_record_batch(batch, &UInt32Array::from(rows))
        .map_err(|cause| Error::new(Kind::Bug, "rows could not be split by month").caused_by(cause))
}
