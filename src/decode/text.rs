//! One delimited text: its header, then batches of rows.

use std::io::{self, Chain, Cursor, Read};

use csv_core::ReadRecordResult;

use super::archive::{DOWNLOAD_AGAIN, read_error};
use super::census::{Census, Counter};
use super::encoding::{self, Transcoder};
use super::header::{self, Dialect};
use super::limits::{Growth, Options};
use super::lines::Lines;
use super::money::MoneyCounter;
use super::record::{Problem, Record};
use super::sniff;
use crate::error::{Error, Kind, Result};
use crate::model::{Encoding, MoneyCell, RawBatch};

/// How much of the beginning decides about format, delimiter and header: titles, header and some rows.
pub(super) const BEGINNING_BYTES: usize = 64 << 10;

const DECLARE: &str = "If the file is in another encoding, say so (`encoding` in [decode], --encoding of ingest, for example \
    windows-1252), or save it as UTF-8; nothing of it was loaded.";

/// Text read at once. Small enough to stay in the cache between the census and the reader.
const READ_BYTES: usize = 256 << 10;

/// The bytes of a text, as they come out of a container.
pub(super) struct Input<'a> {
    pub(super) reader: Box<dyn Read + Send + 'a>,
    pub(super) growth: Growth<'a>,
    /// The length that the container states for the text.
    pub(super) declared_bytes: Option<u64>,
}

/// One text file: plain, unpacked from gzip, or an entry of a zip archive.
pub struct TextFile<'a> {
    name: String,
    encoding: Encoding,
    header: Vec<String>,
    header_line: u64,
    unterminated: bool,
    /// An error was returned: what follows it in the file is not to be trusted.
    refused: bool,
    /// Records up to the header, which are no rows.
    records_before_rows: u64,
    /// All records so far, the header and what stands before it included.
    records_read: u64,
    /// The record that was read last has text behind a closing quote.
    misquoted: bool,
    text: Text<'a>,
    record: Record,
    largest: Largest,
    options: Options,
}

/// The most that a batch of this file has held: what the next one is given from the start.
#[derive(Default)]
struct Largest {
    bytes: usize,
    cells: usize,
    rows: usize,
}

impl Largest {
    fn cover(&mut self, bytes: usize, cells: usize, rows: usize) {
        self.bytes = self.bytes.max(bytes);
        self.cells = self.cells.max(cells);
        self.rows = self.rows.max(rows);
    }
}

impl<'a> TextFile<'a> {
    pub(super) fn open(name: String, input: Input<'a>, options: &Options) -> Result<TextFile<'a>> {
        TextFile::open_in_pieces(name, input, options, READ_BYTES)
    }

    /// The same, for a given size of the read buffer.
    pub(super) fn open_in_pieces(
        name: String,
        mut input: Input<'a>,
        options: &Options,
        read_bytes: usize,
    ) -> Result<Self> {
        let mut beginning = vec![0; BEGINNING_BYTES];
        let filled =
            sniff::read_full(&mut input.reader, &mut beginning).map_err(|error| read_error(error, &name))?;
        beginning.truncate(filled);
        sniff::check_bytes(&beginning, &name)?;
        let (encoding, mark_bytes) = encoding::told(&beginning, options.encoding);
        input.growth.add(mark_bytes, options, &name)?;
        let text = encoding::transcoded(&beginning[mark_bytes..], encoding);
        sniff::check_text(&text, &name)?;
        let layout = header::find(&text, options.max_preamble_lines, options.quotes);
        drop(text);
        let dialect = Dialect { delimiter: layout.delimiter, quotes: options.quotes };
        let mut start = Cursor::new(beginning);
        start.set_position(mark_bytes as u64);
        let mut file = TextFile {
            name,
            encoding,
            header: Vec::new(),
            header_line: 0,
            unterminated: false,
            refused: false,
            records_before_rows: 0,
            records_read: 0,
            misquoted: false,
            text: Text {
                source: start.chain(input.reader),
                growth: input.growth,
                declared_bytes: input.declared_bytes,
                transcoder: Transcoder::new(encoding).map(|transcoder| (transcoder, vec![0; read_bytes])),
                buffer: vec![0; read_bytes],
                start: 0,
                filled: 0,
                at_end: false,
                lines: Lines::new(),
                census: Counter::new(dialect),
                money: MoneyCounter::new(dialect, Vec::new()),
            },
            record: Record::new(dialect),
            largest: Largest::default(),
            options: options.clone(),
        };
        file.read_header(layout.preamble_records)?;
        Ok(file)
    }

    /// The name for messages and for the lake: `export.csv`, or `export.zip!2026-09_1.csv` for an entry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its characters stand in bytes: told by the bytes, or by [`Options::encoding`].
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The cells of the header as they stand in the file. Empty for a file without any record.
    #[must_use]
    pub fn header(&self) -> &[String] {
        &self.header
    }

    /// The physical line on which the header begins, 1-based; 0 for a file without any record.
    #[must_use]
    pub fn header_line(&self) -> u64 {
        self.header_line
    }

    /// Has the census sum the money of the rows as well, by code of its own. To be called before the first batch.
    pub fn count_money(&mut self, cells: Vec<MoneyCell>) {
        let mut money = MoneyCounter::new(self.text.census.dialect(), cells);
        money.feed(&self.text.buffer[self.text.start..self.text.filled]);
        if self.text.at_end {
            money.finish();
        }
        self.text.money = money;
    }

    /// The next rows, at least one; `None` after the last.
    ///
    /// # Errors
    /// `Contract` when the file is damaged, ends in the middle of a record, or exceeds a limit; `Destination` when
    /// the disk cannot be read. After an error every further call fails.
    pub fn next_batch(&mut self) -> Result<Option<RawBatch>> {
        if self.refused {
            let message = "the file was refused before and cannot be read on";
            return Err(Error::new(Kind::Contract, message).with("file", &self.name).hint(DOWNLOAD_AGAIN));
        }
        let batch = self.read_batch();
        self.refused = batch.is_err();
        batch
    }

    /// What was seen of the text. Complete after the last batch.
    #[must_use]
    pub fn census(&self) -> Census {
        let (sums, unreadable) = self.text.money.sums();
        Census {
            bytes: self.text.growth.file_bytes,
            records: self.text.census.records().saturating_sub(self.records_before_rows),
            unterminated: self.unterminated,
            sums,
            unreadable,
        }
    }

    fn read_header(&mut self, preamble_records: usize) -> Result<()> {
        let mut line = None;
        // What stands before the header is read and forgotten; the last record read is the header.
        for _ in 0..=preamble_records {
            line = self.next_record()?;
            self.records_before_rows += u64::from(line.is_some());
        }
        let Some(line) = line else { return Ok(()) };
        self.header_line = line;
        for (index, cell) in self.record.cells().enumerate() {
            let name = str::from_utf8(cell).map_err(|found| {
                Error::new(Kind::Contract, "the header is not UTF-8 text")
                    .with("file", &self.name)
                    .with("line", line)
                    .with("cell", index + 1)
                    .with("byte", format!("0x{:02x} in '{}'", cell[found.valid_up_to()], cell.escape_ascii()))
                    .hint(DECLARE)
            })?;
            self.header.push(name.to_owned());
        }
        Ok(())
    }

    fn read_batch(&mut self) -> Result<Option<RawBatch>> {
        let mut batch = RawBatch::with_capacity(self.largest.bytes, self.largest.cells, self.largest.rows);
        let mut text_bytes = 0;
        let mut cells = 0;
        while text_bytes < self.options.batch_bytes.max(1) {
            let Some(line) = self.next_record()? else { break };
            batch.push_row(line, self.record.data(), self.record.ends());
            if self.misquoted {
                batch.mark_misquoted();
            }
            text_bytes += self.record.text_bytes;
            cells += self.record.width();
        }
        self.largest.cover(batch.bytes(), cells, batch.rows());
        Ok(if batch.is_empty() { None } else { Some(batch) })
    }

    /// Reads one record and returns the line on which it begins; `None` at the end of the text.
    fn next_record(&mut self) -> Result<Option<u64>> {
        if !self.text.skip_line_ends(&self.name, &self.options)? {
            return Ok(None);
        }
        let line = self.text.lines.current();
        self.record.clear();
        let problem = loop {
            let input = &self.text.buffer[self.text.start..self.text.filled];
            let has_input = !input.is_empty();
            let (result, used) = self.record.read(input);
            self.text.pass(used);
            match result {
                ReadRecordResult::Record if has_input => break self.record.over_limit(&self.options),
                ReadRecordResult::Record => break self.last_record_problem(),
                ReadRecordResult::InputEmpty => self.text.refill(&self.name, &self.options)?,
                ReadRecordResult::OutputFull if self.record.grow_data(&self.options) => {}
                ReadRecordResult::OutputEndsFull if self.record.grow_ends(&self.options) => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    break self.record.over_limit(&self.options);
                }
                ReadRecordResult::End => return Ok(None),
            }
        };
        match problem {
            Some(Problem { message, cell, hint }) => {
                let error = Error::new(Kind::Contract, message).with("file", &self.name).with("line", line);
                let column = cell.and_then(|cell| self.header.get(cell));
                Err(match column {
                    Some(column) => error.with("column", column),
                    None => error,
                }
                .hint(hint))
            }
            None => {
                self.misquoted = self.text.census.is_misquoted(self.records_read);
                self.records_read += 1;
                Ok(Some(line))
            }
        }
    }

    /// Judges the last record of a text that has no line end after it.
    fn last_record_problem(&mut self) -> Option<Problem> {
        if self.text.census.in_quotes() || self.record.width() < self.header.len() {
            let message = "the file ends in the middle of its last record".to_owned();
            return Some(Problem { message, cell: None, hint: DOWNLOAD_AGAIN });
        }
        self.unterminated = true;
        self.record.over_limit(&self.options)
    }
}

/// The text that is being read: a window on it, where it stands, and what is counted on the way.
struct Text<'a> {
    source: Chain<Cursor<Vec<u8>>, Box<dyn Read + Send + 'a>>,
    growth: Growth<'a>,
    declared_bytes: Option<u64>,
    /// For a text that is not UTF-8, with the bytes that it is given.
    transcoder: Option<(Transcoder, Vec<u8>)>,
    buffer: Vec<u8>,
    // The bytes of `buffer` that were read from the source and not yet by the CSV reader.
    start: usize,
    filled: usize,
    at_end: bool,
    lines: Lines,
    census: Counter,
    money: MoneyCounter,
}

impl Text<'_> {
    fn pass(&mut self, bytes: usize) {
        self.lines.pass(&self.buffer[self.start..self.start + bytes]);
        self.start += bytes;
    }

    /// Goes to the first byte of the next record, so that its line is known. False at the end of the text.
    fn skip_line_ends(&mut self, file: &str, options: &Options) -> Result<bool> {
        loop {
            let rest = &self.buffer[self.start..self.filled];
            let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            let found = blank < rest.len();
            self.pass(blank);
            if found || self.at_end {
                return Ok(found);
            }
            self.refill(file, options)?;
        }
    }

    /// Replaces the buffer, all of which has been read, by the next bytes of the source.
    fn refill(&mut self, file: &str, options: &Options) -> Result<()> {
        (self.start, self.filled) = (0, 0);
        // A few bytes of another encoding may be less than a character.
        while self.filled == 0 && !self.at_end {
            let bytes = self.transcoder.as_mut().map_or(&mut self.buffer, |(_, bytes)| bytes);
            let read = read_some(&mut self.source, bytes).map_err(|error| read_error(error, file))?;
            self.growth.add(read, options, file)?;
            self.at_end = read == 0;
            self.filled = read;
            if let Some((transcoder, bytes)) = &mut self.transcoder {
                self.buffer.clear();
                transcoder.push(&bytes[..read], &mut self.buffer);
                self.filled = self.buffer.len();
            }
        }
        self.census.feed(&self.buffer[..self.filled]);
        self.money.feed(&self.buffer[..self.filled]);
        if self.at_end {
            self.money.finish();
            self.check_end(file)?;
        }
        Ok(())
    }

    /// Whether the text that has ended is whole.
    fn check_end(&self, file: &str) -> Result<()> {
        let bytes = self.growth.file_bytes;
        let message = match (&self.transcoder, self.declared_bytes) {
            (_, Some(declared)) if bytes != declared => {
                format!("the zip entry has {bytes} bytes and the archive states {declared}")
            }
            (Some((transcoder, _)), _) if transcoder.is_cut() => {
                "the file ends in the middle of a character".to_owned()
            }
            _ => return Ok(()),
        };
        Err(Error::new(Kind::Contract, message).with("file", file).hint(DOWNLOAD_AGAIN))
    }
}

fn read_some(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
