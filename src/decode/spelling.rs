//! How a text is written, apart from what it says: for `check --probe`.
//!
//! The bytes are looked at one by one, by code that shares nothing with the reader but where the header is.

use std::io::Read;

use super::archive::read_error;
use super::encoding::{self, Transcoder};
use super::header::{self, Layout};
use super::limits::Options;
use super::sniff;
use super::text::{BEGINNING_BYTES, Input};
use crate::error::Result;
use crate::model::Encoding;

/// What was seen of one text file. Numbers are counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spelling {
    pub encoding: Encoding,
    pub byte_order_mark: bool,
    /// The byte that parts cells.
    pub delimiter: u8,
    /// Records before the header.
    pub preamble_records: usize,
    /// Line ends outside quotes, by kind.
    pub lf: u64,
    pub crlf: u64,
    pub cr: u64,
    /// Bytes of line ends inside quotes.
    pub quoted_line_ends: u64,
    /// Lines without any byte.
    pub blank_lines: u64,
    pub header_cells: u64,
    pub quoted_header_cells: u64,
    /// Cells of rows.
    pub cells: u64,
    pub quoted_cells: u64,
    /// Doubled quotes inside quotes.
    pub doubled_quotes: u64,
    /// The last record has no line end.
    pub unterminated: bool,
}

/// Reads a text to its end.
///
/// # Errors
/// `Contract` for bytes that are no delimited text or too many, `Destination` when the disk cannot be read.
pub(super) fn read(name: &str, mut input: Input<'_>, options: &Options) -> Result<Spelling> {
    let mut buffer = vec![0; BEGINNING_BYTES];
    let mut filled =
        sniff::read_full(&mut input.reader, &mut buffer).map_err(|error| read_error(error, name))?;
    sniff::check_bytes(&buffer[..filled], name)?;
    let (encoding, mark) = encoding::told(&buffer[..filled], options.encoding);
    let beginning = encoding::transcoded(&buffer[mark..filled], encoding);
    sniff::check_text(&beginning, name)?;
    let layout = header::find(&beginning, options.max_preamble_lines, options.quotes);
    drop(beginning);
    let mut scan = Scan::new(mark > 0, encoding, &layout);
    let (mut transcoder, mut text) = (Transcoder::new(encoding), Vec::new());
    let mut start = mark;
    while filled > 0 {
        input.growth.add(filled, options, name)?;
        let bytes = match &mut transcoder {
            None => &buffer[start..filled],
            Some(transcoder) => {
                text.clear();
                transcoder.push(&buffer[start..filled], &mut text);
                text.as_slice()
            }
        };
        bytes.iter().for_each(|byte| scan.take(*byte));
        start = 0;
        filled = input.reader.read(&mut buffer).map_err(|error| read_error(error, name))?;
    }
    Ok(scan.end())
}

struct Scan {
    seen: Spelling,
    place: Place,
    /// The record has at least one byte.
    open: bool,
    quoted: bool,
    after_cr: bool,
    /// Records that have ended.
    records: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first byte of a cell.
    Start,
    Plain,
    Quoted,
    QuoteInQuoted,
}

impl Scan {
    fn new(byte_order_mark: bool, encoding: Encoding, layout: &Layout) -> Self {
        let Layout { delimiter, preamble_records } = *layout;
        let seen = Spelling { encoding, byte_order_mark, delimiter, preamble_records, ..Spelling::default() };
        Scan { seen, place: Place::Start, open: false, quoted: false, after_cr: false, records: 0 }
    }

    fn take(&mut self, byte: u8) {
        let after_cr = std::mem::take(&mut self.after_cr);
        match (self.place, byte) {
            (Place::Quoted, b'"') => self.place = Place::QuoteInQuoted,
            (Place::Quoted, _) => self.seen.quoted_line_ends += u64::from(matches!(byte, b'\n' | b'\r')),
            (Place::QuoteInQuoted, b'"') => {
                self.seen.doubled_quotes += 1;
                self.place = Place::Quoted;
            }
            (_, b'\n') if after_cr => {
                self.seen.cr -= 1;
                self.seen.crlf += 1;
            }
            (_, b'\n') => {
                self.seen.lf += 1;
                self.end_record();
            }
            (_, b'\r') => {
                self.seen.cr += 1;
                self.after_cr = true;
                self.end_record();
            }
            (_, byte) if byte == self.seen.delimiter => {
                self.open = true;
                self.end_cell();
            }
            (Place::Start, b'"') => {
                (self.place, self.quoted, self.open) = (Place::Quoted, true, true);
            }
            _ => (self.place, self.open) = (Place::Plain, true),
        }
    }

    fn end_cell(&mut self) {
        let quoted = u64::from(std::mem::take(&mut self.quoted));
        self.place = Place::Start;
        if self.records == self.seen.preamble_records {
            self.seen.header_cells += 1;
            self.seen.quoted_header_cells += quoted;
        } else if self.records > self.seen.preamble_records {
            self.seen.cells += 1;
            self.seen.quoted_cells += quoted;
        }
    }

    fn end_record(&mut self) {
        if std::mem::take(&mut self.open) {
            self.end_cell();
            self.records += 1;
        } else {
            self.seen.blank_lines += 1;
        }
    }

    fn end(mut self) -> Spelling {
        self.seen.unterminated = self.open;
        if self.open {
            self.end_record();
        }
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Growth;
    use super::*;

    fn spelling(text: &[u8]) -> Spelling {
        let mut total = 0;
        let growth = Growth { total_bytes: &mut total, file_bytes: 0, compressed_bytes: None };
        read("x.csv", Input { reader: Box::new(text), growth, declared: None }, &Options::default()).unwrap()
    }

    #[test]
    fn line_ends_and_quotes_are_counted() {
        let seen = spelling(b"\xef\xbb\xbftitle\r\n\r\n\"id\",name\r\n1,\"a \"\"b\"\"\r\nc\"\r\n2,x");
        let expected = Spelling {
            byte_order_mark: true,
            delimiter: b',',
            preamble_records: 1,
            crlf: 4,
            quoted_line_ends: 2,
            blank_lines: 1,
            header_cells: 2,
            quoted_header_cells: 1,
            cells: 4,
            quoted_cells: 1,
            doubled_quotes: 2,
            unterminated: true,
            ..Spelling::default()
        };
        assert_eq!(seen, expected);
        let mixed = spelling(b"id\tname\r1\tx\n2\ty\r\n");
        assert_eq!((mixed.cr, mixed.lf, mixed.crlf, mixed.delimiter), (1, 1, 1, b'\t'));
        assert!(!mixed.unterminated);
        assert_eq!(spelling(b""), Spelling { delimiter: b',', ..Spelling::default() });
    }
}
