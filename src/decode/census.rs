//! A second opinion on how many records a text holds.
//!
//! The rows that leave this stage are counted again here, straight from the bytes, by code that shares nothing with
//! the reader: a record that the reader swallows or doubles makes the two counts differ.

use std::collections::{BTreeMap, VecDeque};

use super::header::Dialect;

/// What was seen of a file's text, apart from its cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Bytes of text, a byte order mark included.
    pub bytes: u64,
    /// Records after the header, counted independently of the reader.
    pub records: u64,
    /// The last record has all its cells but no line end. Whether its last cell is whole, nobody can say.
    pub unterminated: bool,
    /// Exact sums by column and currency, in units of 10^-10, of the cells that a [`MoneyCensus`](super::MoneyCensus) or a
    /// record was asked for.
    pub sums: BTreeMap<(String, String), i128>,
    /// Amounts that cannot be read; they are in no sum.
    pub unreadable: u64,
}

/// Counts records in text that comes in pieces.
#[derive(Debug)]
pub(super) struct Counter {
    dialect: Dialect,
    place: Place,
    /// The current record has at least one byte.
    open: bool,
    /// The last byte was a delimiter outside quotes.
    after_delimiter: bool,
    ended_records: u64,
    /// Numbers of the records with text behind a closing quote, in order, until they are asked for.
    misquoted: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Quoted,
    /// After a quote inside quotes: it closes the cell, or it is the first of a doubled one.
    QuoteInQuoted,
}

impl Counter {
    pub(super) fn new(dialect: Dialect) -> Self {
        Counter {
            dialect,
            place: Place::Outside,
            open: false,
            after_delimiter: false,
            ended_records: 0,
            misquoted: VecDeque::new(),
        }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// All records so far, the header and what stands before it included, and the last one even without a line end.
    pub(super) fn records(&self) -> u64 {
        self.ended_records + u64::from(self.open)
    }

    /// Whether text stands behind a closing quote in record `number` (0 is the first of the text). To be asked
    /// in the order of the records.
    pub(super) fn is_misquoted(&mut self, number: u64) -> bool {
        // Records before the rows are not asked for.
        while self.misquoted.front().is_some_and(|first| *first < number) {
            self.misquoted.pop_front();
        }
        self.misquoted.front() == Some(&number)
    }

    /// The text so far ends inside quotes.
    pub(super) fn in_quotes(&self) -> bool {
        self.place == Place::Quoted
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.place {
                Place::Outside => self.outside(&bytes[at..]),
                Place::Quoted => match memchr::memchr(b'"', &bytes[at..]) {
                    Some(quote) => {
                        self.place = Place::QuoteInQuoted;
                        quote + 1
                    }
                    None => return,
                },
                Place::QuoteInQuoted if bytes[at] == b'"' => {
                    self.place = Place::Quoted;
                    1
                }
                // Files that quote every cell take this way from cell to cell.
                Place::QuoteInQuoted
                    if bytes[at] == self.dialect.delimiter && bytes.get(at + 1) == Some(&b'"') =>
                {
                    self.place = Place::Quoted;
                    2
                }
                Place::QuoteInQuoted => {
                    let ends_cell = matches!(bytes[at], b'\n' | b'\r') || bytes[at] == self.dialect.delimiter;
                    if !ends_cell && self.misquoted.back() != Some(&self.ended_records) {
                        self.misquoted.push_back(self.ended_records);
                    }
                    self.place = Place::Outside;
                    self.after_delimiter = false;
                    0
                }
            };
        }
    }

    /// Goes to the next quote or line end and returns how many bytes that took.
    fn outside(&mut self, bytes: &[u8]) -> usize {
        let found = match self.dialect.quotes {
            true => memchr::memchr3(b'"', b'\n', b'\r', bytes),
            false => memchr::memchr2(b'\n', b'\r', bytes),
        };
        let passed = found.unwrap_or(bytes.len());
        if passed > 0 {
            self.open = true;
            self.after_delimiter = bytes[passed - 1] == self.dialect.delimiter;
        }
        let Some(found) = found else { return passed };
        if bytes[found] == b'"' {
            // A quote opens a quoted cell at the start of a cell only.
            if self.after_delimiter || !self.open {
                self.place = Place::Quoted;
            }
            self.open = true;
        } else {
            self.ended_records += u64::from(self.open);
            self.open = false;
        }
        self.after_delimiter = false;
        found + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &[u8], piece: usize) -> (u64, bool) {
        let mut counter = Counter::new(Dialect { delimiter: b',', quotes: true });
        text.chunks(piece).for_each(|bytes| counter.feed(bytes));
        (counter.records(), counter.in_quotes())
    }

    #[test]
    fn records_are_counted_however_the_text_is_cut() {
        let cases: [(&[u8], u64, bool); 12] = [
            (b"", 0, false),
            (b"\r\n\n\r", 0, false),
            (b"a,b\n1,2\n", 2, false),
            (b"a,b\r\n1,2", 2, false),
            (b"a\rb\r\r\nc\n", 3, false),
            (b"\"a\nb\",c\nd\n", 2, false),
            (b"\"a\"\"\nb\",c\nd\n", 2, false),
            (b"a\"b\nc\"\n", 2, false),
            (b"\"a\"b\"\nc\n", 2, false),
            (b",\"\n\",\nx", 2, false),
            (b"\"\"\n\"\"\n", 2, false),
            (b"a\nb,\"c\n\n", 2, true),
        ];
        for (text, records, in_quotes) in cases {
            for piece in 1..=text.len().max(1) {
                let text_shown = text.escape_ascii();
                assert_eq!(count(text, piece), (records, in_quotes), "{text_shown} in pieces of {piece}");
            }
        }
    }
}
