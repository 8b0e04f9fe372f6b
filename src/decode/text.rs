//! One delimited text: its header, then batches of rows.

use std::io::{Cursor, Read};

use super::archive::{DOWNLOAD_AGAIN, read_error};
use super::census::{Census, Counter};
use super::encoding::{self, Transcoder};
use super::header::{self, Dialect};
use super::limits::{Growth, Options};
use super::lines::Lines;
use super::money::MoneyCensus;
use super::record::{Problem, over_limit};
use super::sniff;
use super::split::{Cells, Split, Splitter};
use crate::error::{Error, Kind, Result};
use crate::model::{Encoding, MoneyCell, Packed, RawBatch, SourceText};

/// How much of the beginning decides about format, delimiter and header: titles, header and some rows.
pub(super) const BEGINNING_BYTES: usize = 64 << 10;

const DECLARE: &str = "If the file is in another encoding, say so (`encoding` in [decode], --encoding of ingest, for example \
    windows-1252), or save it as UTF-8; nothing of it was loaded.";

const OPEN_QUOTE: &str = "Download the file again; if it is whole, a quote on that line is never closed: where quotes are text like \
    any other, say so (`quotes = false` in [decode], --no-quotes of ingest). Nothing of it was loaded.";

const QUOTES_ARE_TEXT: &str = "Look at the quotes on that line: where they are text like any other, say so (`quotes = false` in [decode], \
    --no-quotes of ingest); otherwise close them. Nothing of the file was loaded.";

/// No report has fewer columns: a cell of two lines in a narrower table may look like anything.
const NARROWEST_REPORT: usize = 8;

/// Text read at once. Small enough to stay in the cache between the census and the reader.
const READ_BYTES: usize = 128 << 10;

/// Places in a batch are numbers of 32 bits: it has at most so much text before its last record, and a record is refused
/// before it is twice as large.
const MAX_BATCH_BYTES: usize = 1 << 30;

/// The bytes of a text, as they come out of a container.
pub(super) struct Input<'a> {
    pub(super) reader: Box<dyn Read + Send + 'a>,
    pub(super) growth: Growth<'a>,
    /// What the container states of the text: its length, and more.
    pub(super) declared: Option<(u64, Packed)>,
}

/// Where the bytes of a text come from. No type of ours: those of the standard library read into memory that nobody filled
/// with zeros before.
pub(super) type Source<'a> = Box<dyn Read + Send + 'a>;

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
    text: Text<'a>,
    splitter: Splitter,
    /// Of the records that were read and not yet given away.
    cells: Cells,
    options: Options,
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
            text: Text {
                source: Box::new(start.chain(input.reader)),
                growth: input.growth,
                declared: input.declared,
                transcoder: Transcoder::new(encoding).map(|transcoder| (transcoder, Vec::new())),
                read_bytes,
                buffer: Vec::new(),
                spare: Vec::new(),
                start: 0,
                passed: 0,
                at_end: false,
                lines: Lines::new(),
                census: Counter::new(dialect),
            },
            splitter: Splitter::new(dialect),
            cells: Cells::default(),
            options: Options {
                max_record_bytes: options.max_record_bytes.min(MAX_BATCH_BYTES),
                ..options.clone()
            },
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

    /// Whether it was packed.
    pub(super) fn is_packed(&self) -> bool {
        self.text.growth.compressed_bytes.is_some()
    }

    /// Has the bytes from here on come from elsewhere.
    pub(super) fn replace_source(&mut self, source: Source<'a>) -> Source<'a> {
        std::mem::replace(&mut self.text.source, source)
    }

    /// Sums the money of the rows of each batch, by code of its own.
    #[must_use]
    pub fn money_census(&self, cells: Vec<MoneyCell>) -> MoneyCensus {
        MoneyCensus::new(self.text.census.dialect(), cells)
    }

    /// The next rows, at least one; `None` after the last.
    ///
    /// # Errors
    /// `Contract` when the file is damaged, ends in the middle of a record, or exceeds a limit; `Destination` when
    /// the disk cannot be read. After an error every further call fails.
    pub fn next_batch(&mut self) -> Result<Option<RawBatch>> {
        self.next_batch_in(RawBatch::new())
    }

    /// The same in the memory of a batch that is not needed any more.
    ///
    /// # Errors
    /// As [`TextFile::next_batch`].
    pub fn next_batch_in(&mut self, spent: RawBatch) -> Result<Option<RawBatch>> {
        if self.refused {
            let message = "the file was refused before and cannot be read on";
            return Err(Error::new(Kind::Contract, message).with("file", &self.name).hint(DOWNLOAD_AGAIN));
        }
        let batch = self.read_batch(spent);
        self.refused = batch.is_err();
        batch
    }

    /// What was seen of the text. Complete after the last batch.
    #[must_use]
    pub fn census(&self) -> Census {
        Census {
            bytes: self.text.growth.file_bytes,
            records: self.text.census.records().saturating_sub(self.records_before_rows),
            unterminated: self.unterminated,
            ..Census::default()
        }
    }

    /// What was counted of the text. Complete after the last batch: only then a packed text has been compared with what
    /// its container states.
    #[must_use]
    pub fn counted(&self) -> SourceText {
        let Census { bytes, records, .. } = self.census();
        let packed = self.text.declared.as_ref().map(|(_, packed)| packed.clone());
        let preamble = self.records_before_rows.saturating_sub(1);
        SourceText { name: self.name.clone(), bytes, records, preamble, packed }
    }

    fn read_header(&mut self, preamble_records: usize) -> Result<()> {
        // What stands before the header is read and forgotten; the last record read is the header.
        let mut line = None;
        let mut before = Vec::new();
        for _ in 0..=preamble_records {
            before.extend(line.map(|line| (line, self.cells.places.len(), self.cells.said())));
            self.cells = Cells::default();
            line = self.next_record()?;
            self.records_before_rows += u64::from(line.is_some());
        }
        let Some(line) = line else { return Ok(()) };
        self.header_line = line;
        self.check_preamble(&before)?;
        for (index, cell) in std::mem::take(&mut self.cells).each(&self.text.buffer).enumerate() {
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

    /// Titles above a table are narrower than it, or padded with empty cells by a spreadsheet. What is as wide as the header
    /// and says as much may be a row: a sorted file has its header anywhere.
    fn check_preamble(&self, before: &[(u64, usize, usize)]) -> Result<()> {
        let width = self.cells.places.len();
        let like_a_row = |(_, cells, said): &&(u64, usize, usize)| *cells >= width && said * 2 > *cells;
        let Some((line, cells, _)) = before.iter().find(like_a_row).filter(|_| width > 1) else {
            return Ok(());
        };
        Err(Error::new(Kind::Contract, format!("a record above the header has {cells} cells, like a row"))
            .with("file", &self.name)
            .with("line", line)
            .with("header on line", self.header_line)
            .hint("Put the header above all rows (a sort may have moved it), or remove what is no row, and load the file again; nothing of it was loaded."))
    }

    fn read_batch(&mut self, spent: RawBatch) -> Result<Option<RawBatch>> {
        let enough = self.options.batch_bytes.clamp(1, MAX_BATCH_BYTES);
        let (spare, places) = spent.into_memory();
        self.text.spare = spare;
        self.cells = Cells { places, ..Cells::default() };
        let (mut rows, mut misquoted) = (Vec::new(), Vec::new());
        let first = self.text.passed;
        while self.text.passed - first < enough as u64 {
            let Some(line) = self.next_record()? else { break };
            if self.text.census.is_misquoted(self.records_read - 1) {
                misquoted.push(rows.len());
            }
            rows.push((line, self.cells.places.len() as u32));
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let text = self.text.give(enough);
        let read = (self.text.passed - first) as usize;
        let place = text.len().saturating_sub(read)..text.len();
        let (data, places) = std::mem::take(&mut self.cells).together(text);
        Ok(Some(RawBatch::of_places(data, place, places, rows).misquoted(misquoted)))
    }

    /// Reads one record, adds its cells, and returns the line on which it begins; `None` at the end of the text.
    fn next_record(&mut self) -> Result<Option<u64>> {
        let is_first = self.cells.places.is_empty();
        if !self.text.skip_line_ends(is_first, &self.name, &self.options)? {
            return Ok(None);
        }
        let line = self.text.lines.current();
        let before = self.cells.places.len();
        loop {
            let Text { ref buffer, start, at_end, .. } = self.text;
            let found = self.splitter.record(buffer, start, at_end, &mut self.cells);
            // Where the text breaks off, what is still open: doubled quotes may halve it.
            let (bytes, open, ends_text, lines) = match found {
                Split::Record { end, lines } => (end - start, None, at_end && end == buffer.len(), lines),
                Split::Incomplete { cell } => {
                    (buffer.len() - start, Some((buffer.len() - cell) / 2), false, true)
                }
            };
            let lengths = || self.cells.lengths(before).chain(open);
            let mut problem = over_limit(bytes, lengths, &self.options);
            if ends_text {
                problem = self.last_record_problem(self.cells.places.len() - before).or(problem);
            }
            if let Some(problem) = problem {
                return Err(self.refusal(problem, line));
            }
            if open.is_none() {
                if lines {
                    self.text.pass(bytes);
                    if self.text.lines.current() > line {
                        self.check_quotes(line, start, bytes)?;
                    }
                } else {
                    self.text.pass_in_line(bytes);
                }
                self.records_read += 1;
                return Ok(Some(line));
            }
            self.cells.truncate(before);
            self.text.refill(&self.name, &self.options)?;
        }
    }

    /// Where a quote is text, as in TSV that knows no quotes, one that opens a cell takes all rows up to the next into it.
    /// A cell of several lines is believed unless each line of its record is a whole row when quotes are text.
    fn check_quotes(&self, line: u64, start: usize, bytes: usize) -> Result<()> {
        let delimiter = self.text.census.dialect().delimiter;
        let width = self.header.len();
        let record = &self.text.buffer[start..start + bytes];
        let lines = record.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
        let whole = |line: &[u8]| memchr::memchr_iter(delimiter, line).count() + 1 == width;
        if width < NARROWEST_REPORT || !lines.clone().all(whole) {
            return Ok(());
        }
        let message = format!("a quoted cell takes {} whole rows into one", lines.count());
        Err(Error::new(Kind::Contract, message)
            .with("file", &self.name)
            .with("line", line)
            .hint(QUOTES_ARE_TEXT))
    }

    fn refusal(&self, problem: Problem, line: u64) -> Error {
        let Problem { message, cell, hint } = problem;
        let error = Error::new(Kind::Contract, message).with("file", &self.name).with("line", line);
        match cell.and_then(|cell| self.header.get(cell)) {
            Some(column) => error.with("column", column),
            None => error,
        }
        .hint(hint)
    }

    /// Judges the last record of a text that has no line end after it.
    fn last_record_problem(&mut self, width: usize) -> Option<Problem> {
        let open = self.text.census.in_quotes();
        if open || width < self.header.len() {
            let message = "the file ends in the middle of its last record".to_owned();
            return Some(Problem {
                message,
                cell: None,
                hint: if open { OPEN_QUOTE } else { DOWNLOAD_AGAIN },
            });
        }
        self.unterminated = true;
        None
    }
}

/// The text that is being read: what of it is needed, where that stands, and what is counted on the way.
struct Text<'a> {
    source: Source<'a>,
    growth: Growth<'a>,
    declared: Option<(u64, Packed)>,
    /// For a text that is not UTF-8, with the bytes that it is given.
    transcoder: Option<(Transcoder, Vec<u8>)>,
    read_bytes: usize,
    buffer: Vec<u8>,
    /// The memory of the next buffer.
    spare: Vec<u8>,
    // Where in the buffer the next record begins.
    start: usize,
    /// Bytes before it in the whole text.
    passed: u64,
    at_end: bool,
    lines: Lines,
    census: Counter,
}

impl Text<'_> {
    /// Without a line end among them.
    fn pass_in_line(&mut self, bytes: usize) {
        self.lines.pass_in_line(bytes);
        self.start += bytes;
        self.passed += bytes as u64;
    }

    fn pass(&mut self, bytes: usize) {
        self.lines.pass(&self.buffer[self.start..self.start + bytes]);
        self.start += bytes;
        self.passed += bytes as u64;
    }

    /// Goes to the first byte of the next record, so that its line is known. False at the end of the text, and where so many
    /// blank lines follow that they are no part of a batch. `forget`: nothing before them is needed.
    fn skip_line_ends(&mut self, forget: bool, file: &str, options: &Options) -> Result<bool> {
        let first = self.passed;
        loop {
            let rest = &self.buffer[self.start..];
            let blank = rest.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            let found = blank < rest.len();
            self.pass(blank);
            if found || self.at_end {
                return Ok(found);
            }
            if forget {
                self.buffer.clear();
                self.start = 0;
            } else if self.passed - first > READ_BYTES as u64 {
                return Ok(false);
            }
            self.refill(file, options)?;
        }
    }

    /// The text up to here, and as much again for the next batch.
    fn give(&mut self, enough: usize) -> Vec<u8> {
        let rest = &self.buffer[self.start..];
        let bytes = rest.len() + self.read_bytes + enough.min(self.buffer.len());
        // A large record makes its buffer large, which is not kept for all that follow.
        let mut next = std::mem::take(&mut self.spare);
        if !(bytes..=2 * bytes).contains(&next.capacity()) {
            next = Vec::with_capacity(bytes);
        }
        next.extend_from_slice(rest);
        let mut given = std::mem::replace(&mut self.buffer, next);
        given.truncate(self.start);
        self.start = 0;
        given
    }

    /// Appends the next bytes of the source to the buffer.
    fn refill(&mut self, file: &str, options: &Options) -> Result<()> {
        let filled = self.buffer.len();
        // A few bytes of another encoding may be less than a character.
        while self.buffer.len() == filled && !self.at_end {
            let bytes = self.transcoder.as_mut().map_or(&mut self.buffer, |(_, bytes)| bytes);
            // A record that is larger than what is read at once is looked at again from its beginning: not too often.
            let more = self.read_bytes.max(filled - self.start);
            bytes.reserve(more);
            let read = (&mut self.source).take(more as u64).read_to_end(bytes);
            let read = read.map_err(|error| read_error(error, file))?;
            self.growth.add(read, options, file)?;
            self.at_end = read == 0;
            if let Some((transcoder, bytes)) = &mut self.transcoder {
                transcoder.push(bytes, &mut self.buffer);
                bytes.clear();
            }
        }
        self.census.feed(&self.buffer[filled..]);
        if self.at_end {
            self.check_end(file)?;
        }
        Ok(())
    }

    /// Whether the text that has ended is whole.
    fn check_end(&self, file: &str) -> Result<()> {
        let bytes = self.growth.file_bytes;
        let message = match (&self.transcoder, &self.declared) {
            (_, Some((declared, _))) if bytes != *declared => {
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
