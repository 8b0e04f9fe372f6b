//! Builds the file behind a finished export: plain CSV or TSV, or a zip with one file for each month.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::model::Month;

use super::Dataset;
use super::cells::{BOM, Cells, Column};
use super::corpus::calendar::{DAY_SECS, day_in};
use super::corpus::earnings::Row;
use super::corpus::payments::Payment;
use super::corpus::{Corpus, columns, payments};
use super::faults::{Fault, FaultKind, is_set};
use super::filter::{Fact, Field, Filter};
use super::md5::{Md5, base64};

/// Rows in one file of a zip, at most: a month above that is several files, as in the user interface.
const FILE_ROWS: u64 = 500_000;

/// The same when there are to be many files.
const FEW_FILE_ROWS: u64 = 50;

/// Bytes that are gathered before they are written.
const FLUSH_BYTES: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Tsv,
}

impl Format {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            _ => None,
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Tsv => "tsv",
        }
    }

    fn separator(self) -> u8 {
        match self {
            Format::Csv => b',',
            Format::Tsv => b'\t',
        }
    }
}

/// What is to be built.
pub struct Job {
    pub corpus: Corpus,
    pub dataset: Dataset,
    pub filter: Option<Filter>,
    pub format: Format,
    pub zip_above_rows: u32,
    pub faults: Vec<Fault>,
}

/// A finished blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// `csv`, `tsv` or `zip`; with a fault `csv.gz`, `tsv.gz`.
    pub extension: String,
    pub rows: u64,
    pub bytes: u64,
    /// Base64 of the MD5 of the bytes.
    pub md5: String,
}

impl Job {
    /// Builds the file at `path`. `stop` ends it early, with an error of kind `Interrupted`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn build(&self, path: &Path, stop: &AtomicBool) -> io::Result<Built> {
        let (extension, rows) = match self.dataset {
            Dataset::TransactionHistory => {
                self.write(path, &columns::COLUMNS, "earningAmount", || self.earnings(), stop)?
            }
            Dataset::Payments => {
                let all = self.payments();
                self.write(path, &payments::COLUMNS, "earned", || self.fewer(all.iter().cloned()), stop)?
            }
        };
        let extension = match extension {
            "zip" => extension.to_owned(),
            _ if self.has(FaultKind::BlobGzip) => {
                gzip(path)?;
                format!("{extension}.gz")
            }
            _ => extension.to_owned(),
        };
        self.damage(path)?;
        let (bytes, md5) = checksum(path)?;
        Ok(Built { extension, rows, bytes, md5 })
    }

    fn has(&self, kind: FaultKind) -> bool {
        is_set(&self.faults, kind, self.dataset)
    }

    /// Every row of the export, month by month.
    fn earnings(&self) -> impl Iterator<Item = Row> {
        let (from, to) =
            self.filter.as_ref().map_or((i64::MIN, i64::MAX), |filter| filter.span(Field::EarningForDate));
        let touched = move |month: &Month| {
            let (first, next) = (day_in(*month, 1), day_in(month.plus(1), 1));
            i64::from(next) * DAY_SECS > from && i64::from(first) * DAY_SECS <= to
        };
        self.corpus.reach().months().filter(touched).flat_map(move |month| {
            let calendar = self.corpus.month(month);
            let rows =
                self.corpus.visible_indexes().filter_map(move |index| self.corpus.row(&calendar, index));
            self.fewer(rows.filter(|row| self.passes(|field| earning_fact(row, field))))
        })
    }

    fn passes(&self, fact: impl Fn(Field) -> Fact<'static>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.holds(&fact))
    }

    /// Every second row, when that is what goes wrong.
    fn fewer<R>(&self, rows: impl Iterator<Item = R>) -> impl Iterator<Item = R> {
        rows.step_by(if self.has(FaultKind::FewerRows) { 2 } else { 1 })
    }

    /// Payments in the order of their months; those without a date at the end.
    fn payments(&self) -> Vec<Payment> {
        let mut rows = self.corpus.payments();
        rows.retain(|row| self.passes(|field| payment_fact(row, field)));
        rows.sort_by_key(|row| (row.paid_on().is_none(), row.month()));
        rows
    }

    /// Chooses the container by the number of rows, and writes. Gives the extension and the rows.
    fn write<R: Dated + 'static, I: Iterator<Item = R>>(
        &self,
        path: &Path,
        columns: &'static [Column<R>],
        money: &'static str,
        rows: impl Fn() -> I,
        stop: &AtomicBool,
    ) -> io::Result<(&'static str, u64)> {
        let empty = [FaultKind::BlobHeaderOnly, FaultKind::BlobBomOnly, FaultKind::BlobZeroBytes];
        let empty = empty.iter().any(|kind| self.has(*kind));
        let forced = self.has(FaultKind::BlobZip) || self.has(FaultKind::BlobManyFiles);
        let plain = empty || self.has(FaultKind::BlobPlain) || self.has(FaultKind::BlobGzip);
        let zipped = !plain && (forced || rows().nth(self.zip_above_rows as usize).is_some());
        let file = BufWriter::with_capacity(FLUSH_BYTES, File::create(path)?);
        let sink = if zipped { Sink::Zip(Box::new(ZipWriter::new(file))) } else { Sink::Plain(file) };
        let mut writer = FileWriter::new(self, columns, money, sink);
        if !zipped {
            writer.begin()?;
        }
        let mut place = None;
        for row in rows().take(if empty { 0 } else { usize::MAX }) {
            if writer.rows.is_multiple_of(4_096) && stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if zipped && (place != Some(row.month()) || writer.file_rows == self.file_rows()) {
                place = Some(row.month());
                writer.next_file(row.month())?;
            }
            writer.record(&row)?;
        }
        if zipped && place.is_none() {
            writer.next_file(None)?;
        }
        let count = writer.rows;
        writer.finish()?;
        Ok((if zipped { "zip" } else { self.format.extension() }, count))
    }

    fn file_rows(&self) -> u64 {
        if self.has(FaultKind::BlobManyFiles) { FEW_FILE_ROWS } else { FILE_ROWS }
    }

    /// Faults that need the finished bytes.
    fn damage(&self, path: &Path) -> io::Result<()> {
        let mut file = File::options().read(true).write(true).open(path)?;
        let length = file.metadata()?.len();
        if self.has(FaultKind::BlobZeroBytes) {
            file.set_len(0)?;
        } else if self.has(FaultKind::BlobBomOnly) {
            file.set_len(BOM.len() as u64)?;
        } else if self.has(FaultKind::BlobTruncated) {
            file.set_len(length / 2)?;
        } else if self.has(FaultKind::BlobCorrupt) && length > 0 {
            let mut byte = [0];
            file.seek(SeekFrom::Start(length / 2))?;
            file.read_exact(&mut byte)?;
            file.seek(SeekFrom::Start(length / 2))?;
            // The high bit: in a text it is no valid UTF-8, in a zip it breaks the checksum of the entry.
            file.write_all(&[byte[0] ^ 0x80])?;
        }
        file.sync_all()
    }
}

/// A row that belongs into the file of a month; `None` is a payment that is still pending.
trait Dated {
    fn month(&self) -> Option<Month>;
}

impl Dated for Row {
    fn month(&self) -> Option<Month> {
        Some(self.month)
    }
}

impl Dated for Payment {
    fn month(&self) -> Option<Month> {
        self.paid_on().map(Month::of_epoch_days)
    }
}

enum Sink {
    Plain(BufWriter<File>),
    Zip(Box<ZipWriter<BufWriter<File>>>),
}

impl Sink {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Sink::Plain(file) => file.write_all(bytes),
            Sink::Zip(zip) => zip.write_all(bytes),
        }
    }
}

/// Writes records with their faults.
struct FileWriter<'a, R: 'static> {
    job: &'a Job,
    columns: &'static [Column<R>],
    /// Where the column that bad cells stand in is.
    money: Option<usize>,
    sink: Sink,
    cells: Cells,
    /// Where the last record begins in `cells`.
    last_record: usize,
    rows: u64,
    file_rows: u64,
    files: u32,
}

impl<'a, R> FileWriter<'a, R> {
    fn new(job: &'a Job, columns: &'static [Column<R>], money: &str, sink: Sink) -> Self {
        let skip = usize::from(job.has(FaultKind::MissingKeyColumn));
        let columns = &columns[skip..];
        let cells = Cells::new(job.format.separator());
        let money = columns.iter().position(|column| column.name == money);
        FileWriter { job, columns, money, sink, cells, last_record: 0, rows: 0, file_rows: 0, files: 0 }
    }

    /// The byte order mark and the header.
    fn begin(&mut self) -> io::Result<()> {
        self.file_rows = 0;
        self.cells.raw(BOM);
        for (place, column) in self.columns.iter().enumerate() {
            if place > 0 {
                self.cells.next_cell();
            }
            self.cells.text(column.name);
        }
        if self.job.has(FaultKind::UnknownColumn) {
            self.cells.next_cell();
            self.cells.text("incentiveTier");
        }
        self.cells.end_record();
        self.last_record = self.cells.bytes().len();
        self.flush()
    }

    fn next_file(&mut self, month: Option<Month>) -> io::Result<()> {
        self.flush()?;
        self.files = if self.file_rows == self.job.file_rows() { self.files + 1 } else { 1 };
        let Sink::Zip(zip) = &mut self.sink else {
            return Ok(());
        };
        let month = month.map_or_else(|| "pending".to_owned(), |month| month.to_string());
        // Level 1: the imitation should be quick, not small. The time stamp is the earliest that a zip can tell.
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(1));
        let name = format!("{month}_{}.{}", self.files, self.job.format.extension());
        zip.start_file(name, options).map_err(io::Error::other)?;
        self.begin()
    }

    fn record(&mut self, row: &R) -> io::Result<()> {
        if self.cells.bytes().len() > FLUSH_BYTES {
            self.flush()?;
        }
        self.last_record = self.cells.bytes().len();
        let bad = self.bad_cell();
        for (place, column) in self.columns.iter().enumerate() {
            if place > 0 {
                self.cells.next_cell();
            }
            match bad {
                Some(text) if self.money == Some(place) => self.cells.text(text),
                _ => (column.cell)(row, &mut self.cells),
            }
        }
        if self.job.has(FaultKind::UnknownColumn) {
            self.cells.next_cell();
            self.cells.text("Gold");
        }
        self.cells.end_record();
        self.rows += 1;
        self.file_rows += 1;
        Ok(())
    }

    /// What stands in place of the money of this row, if it is a bad one.
    fn bad_cell(&self) -> Option<&'static str> {
        const BAD: [&str; 5] = ["n/a", "1.00000000001234567", "12,34.5", "--3.00", "#VALUE!"];
        // Rows 4, 11, 18, 25, 32 of the export: far enough apart to need their line numbers.
        let few = self.job.has(FaultKind::BadCells) && self.rows % 7 == 3 && self.rows < 35;
        let many = self.job.has(FaultKind::ManyBadCells) && self.rows % 20 == 3;
        (few || many).then(|| BAD[(self.rows / 7) as usize % BAD.len()])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.write_all(self.cells.bytes())?;
        self.cells.clear();
        self.last_record = 0;
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.job.has(FaultKind::ShortLastRecord) && self.rows > 0 {
            let length = self.cells.bytes().len();
            self.cells.truncate(self.last_record + (length - self.last_record) / 2);
        }
        self.flush()?;
        match self.sink {
            Sink::Plain(mut file) => file.flush(),
            Sink::Zip(zip) => zip.finish().map_err(io::Error::other)?.flush(),
        }
    }
}

fn earning_fact(row: &Row, field: Field) -> Fact<'static> {
    match field {
        Field::EarningForDate => Fact::Time(row.earning_at),
        Field::ParticipantId => Fact::Text(row.participant.id),
        Field::ProgramName => Fact::Text(row.programme.name),
        Field::LeverCode => Fact::Text(row.lever.name),
        Field::OrderType => Fact::Text(row.order_type.code()),
        Field::PaymentId => row.stage.payment.map_or(Fact::Blank, |paid| Fact::Digits(paid.id)),
        Field::PayoutStatus => Fact::Text(row.stage.status.label()),
        Field::TransactionAmount if row.has_amount() => Fact::Number(row.amount.into()),
        Field::EarningAmount => Fact::Number(row.earning.into()),
        Field::EngagementName => Fact::Text(row.lever.engagement),
        _ => Fact::Blank,
    }
}

fn payment_fact(row: &Payment, field: Field) -> Fact<'static> {
    match field {
        Field::StatusUpdated => Fact::Time(i64::from(row.stage.changed_on) * DAY_SECS),
        Field::ParticipantId => Fact::Text(row.participant().id),
        Field::ProgramName => Fact::Text(row.programme().name),
        Field::OrderType => Fact::Text(row.order_type.code()),
        Field::PaymentId => row.stage.payment.map_or(Fact::Blank, |paid| Fact::Digits(paid.id)),
        Field::PaymentAmount => Fact::Number(row.total),
        Field::PaymentDate => row.stage.payment.map_or(Fact::Blank, |paid| Fact::Time(paid.at)),
        _ => Fact::Blank,
    }
}

/// Compresses a file in its place.
fn gzip(path: &Path) -> io::Result<()> {
    let compressed = path.with_extension("part");
    let mut plain = File::open(path)?;
    let mut encoder = GzEncoder::new(BufWriter::new(File::create(&compressed)?), Compression::fast());
    io::copy(&mut plain, &mut encoder)?;
    encoder.finish()?.flush()?;
    std::fs::rename(compressed, path)
}

/// Length, and MD5 in Base64.
fn checksum(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut md5 = Md5::new();
    let mut buffer = vec![0; FLUSH_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                md5.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
    Ok((length, base64(&md5.finish())))
}
