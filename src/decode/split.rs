//! Where the cells of a record begin and end, in text that may break off anywhere.
//!
//! The cells stay where they stand: a record becomes the places of its cells. Only a cell with a doubled quote in it, or
//! with text behind its closing quote, is written anew.

use super::blocks::{BLOCK_BYTES, BlockWork, Equal, in_blocks};
use super::header::Dialect;

/// What a search for one record came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The record ends here: at its line end, or at the end of the text.
    Record {
        end: usize,
        /// Whether it may go over several lines.
        lines: bool,
    },
    /// The text breaks off in a cell that began here; more of it is needed.
    Incomplete { cell: usize },
}

/// Finds records under one dialect. The rules are those of RFC 4180, and where it has none those of the crate csv-core.
#[derive(Debug)]
pub(super) struct Splitter {
    dialect: Dialect,
}

/// The cells of some records.
#[derive(Debug, Default)]
pub(super) struct Cells {
    /// Of each cell, where it begins and ends in the text; of a rewritten one, in `rewritten`.
    pub(super) places: Vec<[u32; 2]>,
    /// Which of them are in `rewritten`, ascending.
    pub(super) moved: Vec<usize>,
    pub(super) rewritten: Vec<u8>,
}

impl Cells {
    /// Forgets the cells behind the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        while let Some(index) = self.moved.pop_if(|index| *index >= count) {
            self.rewritten.truncate(self.places[index][0] as usize);
        }
        self.places.truncate(count);
    }

    /// The cells, of records in `text`.
    pub(super) fn each<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.places.iter().enumerate().map(move |(index, [start, end])| {
            let text = if self.moved.binary_search(&index).is_ok() { &self.rewritten } else { text };
            &text[*start as usize..*end as usize]
        })
    }

    /// How many of them are not empty.
    pub(super) fn said(&self) -> usize {
        self.lengths(0).filter(|length| *length > 0).count()
    }

    /// How long the cells from `first` on are, in bytes.
    pub(super) fn lengths(&self, first: usize) -> impl Iterator<Item = usize> {
        self.places[first..].iter().map(|[start, end]| (end - start) as usize)
    }

    /// The text with what was rewritten behind it, and all places in it.
    pub(super) fn together(mut self, mut text: Vec<u8>) -> (Vec<u8>, Vec<[u32; 2]>) {
        let behind = text.len() as u32;
        text.extend_from_slice(&self.rewritten);
        for index in self.moved {
            self.places[index].iter_mut().for_each(|place| *place += behind);
        }
        (text, self.places)
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize) {
        self.places.push([start as u32, end as u32]);
    }

    /// Adds the cells that end at these bits of the block at `at`, the first of which begins at `start`. Gives back where the
    /// next one begins. Some are written whether there are as many or not: how many a block has no processor can guess.
    #[inline(always)]
    fn push_all(&mut self, mut start: usize, at: usize, mut ends: u64) -> usize {
        let count = self.places.len() + ends.count_ones() as usize;
        let behind_last = (u64::BITS - ends.leading_zeros()) as usize;
        let next = if ends == 0 { start } else { at + behind_last };
        while ends != 0 {
            let some: [[u32; 2]; WRITTEN_AT_ONCE] = std::array::from_fn(|_| {
                let end = at + ends.trailing_zeros() as usize;
                let place = [start as u32, end as u32];
                start = end + 1;
                ends &= ends.wrapping_sub(1);
                place
            });
            self.places.extend_from_slice(&some);
        }
        self.places.truncate(count);
        next
    }

    /// Writes the next cell anew: quotes around it are gone, and doubled ones are single; what stands behind it belongs to it.
    fn rewritten(&mut self, quoted: &[u8], behind: &[u8]) -> [u32; 2] {
        let start = self.rewritten.len();
        let mut rest = quoted;
        while let Some(quote) = memchr::memchr(b'"', rest) {
            self.rewritten.extend_from_slice(&rest[..=quote]);
            rest = &rest[quote + 2..];
        }
        self.rewritten.extend_from_slice(rest);
        self.rewritten.extend_from_slice(behind);
        self.moved.push(self.places.len());
        [start as u32, self.rewritten.len() as u32]
    }
}

impl Splitter {
    pub(super) fn new(dialect: Dialect) -> Self {
        Splitter { dialect }
    }

    /// Adds the cells of the record that begins at `from`, as far as they are whole. `at_end`: no text follows.
    pub(super) fn record(&self, text: &[u8], from: usize, at_end: bool, cells: &mut Cells) -> Split {
        let before = cells.places.len();
        if let Some((end, lines)) = in_blocks(UsualRecord { dialect: self.dialect, text, from, cells }) {
            return Split::Record { end, lines };
        }
        cells.truncate(before);
        self.any_record(text, from, at_end, cells)
    }

    /// Any record, cell by cell.
    fn any_record(&self, text: &[u8], from: usize, at_end: bool, cells: &mut Cells) -> Split {
        let mut start = from;
        let ends = Ends { text, delimiter: self.dialect.delimiter };
        let end_of_text = at_end.then_some(text.len());
        loop {
            let end = if self.dialect.quotes && text.get(start) == Some(&b'"') {
                quoted(ends, start, at_end, cells)
            } else {
                let end = ends.next(start).or(end_of_text);
                end.inspect(|end| cells.push(start, *end))
            };
            match end {
                None => return Split::Incomplete { cell: start },
                Some(end) if text.get(end) == Some(&self.dialect.delimiter) => start = end + 1,
                Some(end) => return Split::Record { end, lines: true },
            }
        }
    }
}

/// A record whose quotes stand around whole cells, in blocks of bytes: where it ends, and whether it goes over several lines.
/// `None`, with some cells added, for another one and at the end of the text.
struct UsualRecord<'a> {
    dialect: Dialect,
    text: &'a [u8],
    from: usize,
    cells: &'a mut Cells,
}

impl BlockWork for UsualRecord<'_> {
    type Done = Option<(usize, bool)>;

    #[inline(always)]
    fn work(self, equal: impl Equal) -> Option<(usize, bool)> {
        let UsualRecord { dialect, text, from, cells } = self;
        let (mut start, mut at) = (from, from);
        let mut before = Before { quoted: 0, end: 1, quote: 0 };
        // Whether the cell that is open has a doubled quote in it.
        let mut doubled = false;
        let mut lines_inside = 0;
        loop {
            let block = Block::of(text.get(at..)?.first_chunk()?, dialect, equal);
            let (mut ends, mut twice) = (block.delimiters | block.line_ends, 0);
            let has_quotes = block.quotes | before.quoted != 0;
            let mut line_ends = block.line_ends;
            if has_quotes {
                let inside = xor_of_all_below(block.quotes) ^ before.quoted;
                (ends, line_ends) = (ends & !inside, line_ends & !inside);
                let behind_end = ends << 1 | before.end;
                let behind_quote = block.quotes << 1 | before.quote;
                // The first of two quotes closes and the second opens, as if two cells met.
                let opening = block.quotes & inside;
                let here = line_ends ^ line_ends.wrapping_sub(1);
                lines_inside |= block.line_ends & inside & here;
                if opening & here & !(behind_end | behind_quote) != 0 {
                    return None;
                }
                twice = opening & behind_quote;
                before.quoted = if inside >> (BLOCK_BYTES - 1) == 1 { u64::MAX } else { 0 };
            }
            (before.end, before.quote) = (ends >> (BLOCK_BYTES - 1), block.quotes >> (BLOCK_BYTES - 1));
            // Up to the first line end; all where there is none.
            ends &= line_ends ^ line_ends.wrapping_sub(1);
            let may_be_quoted = has_quotes || dialect.quotes && text.get(start) == Some(&b'"');
            if !may_be_quoted {
                start = cells.push_all(start, at, ends);
                ends = 0;
            }
            while ends != 0 {
                let bit = ends.trailing_zeros();
                let end = at + bit as usize;
                let mut place = [start as u32, end as u32];
                if text[start] == b'"' {
                    if text[end - 1] != b'"' {
                        return None;
                    }
                    let here = (1 << bit) - 1;
                    place = match doubled || twice & here != 0 {
                        true => cells.rewritten(&text[start + 1..end - 1], b""),
                        false => [start as u32 + 1, end as u32 - 1],
                    };
                    (doubled, twice) = (false, twice & !here);
                }
                cells.places.push(place);
                start = end + 1;
                ends &= ends - 1;
            }
            if line_ends != 0 {
                return Some((at + line_ends.trailing_zeros() as usize, lines_inside != 0));
            }
            doubled |= twice != 0;
            at += BLOCK_BYTES;
        }
    }
}

/// Where the cell in quotes that begins at `start` ends.
fn quoted(ends: Ends<'_>, start: usize, at_end: bool, cells: &mut Cells) -> Option<usize> {
    let text = ends.text;
    let mut doubled = false;
    let mut at = start + 1;
    let close = loop {
        let Some(quote) = memchr::memchr(b'"', &text[at..]).map(|quote| at + quote) else {
            // The text ends inside quotes: the record is as whole as it will ever be.
            at_end.then(|| cells.push(start + 1, text.len()));
            return at_end.then_some(text.len());
        };
        match text.get(quote + 1) {
            Some(b'"') => (doubled, at) = (true, quote + 2),
            None if !at_end => return None,
            _ => break quote,
        }
    };
    let end = ends.next(close + 1).or(at_end.then_some(text.len()))?;
    if doubled || end > close + 1 {
        let place = cells.rewritten(&text[start + 1..close], &text[close + 1..end]);
        cells.places.push(place);
    } else {
        cells.push(start + 1, close);
    }
    Some(end)
}

/// Cells: a block of the reference shape has between six and seven.
const WRITTEN_AT_ONCE: usize = 8;

/// The bytes that may end a cell.
#[derive(Clone, Copy)]
struct Ends<'a> {
    text: &'a [u8],
    delimiter: u8,
}

impl Ends<'_> {
    /// The first byte from `from` on that is the delimiter or a line end.
    fn next(&self, from: usize) -> Option<usize> {
        let rest = self.text.get(from..).unwrap_or_default();
        memchr::memchr3(self.delimiter, b'\n', b'\r', rest).map(|end| from + end)
    }
}

/// A bit for each byte of a block, the lowest for the first byte.
struct Block {
    delimiters: u64,
    line_ends: u64,
    quotes: u64,
}

/// What stands before a block.
struct Before {
    /// All bits, if the block begins inside quotes.
    quoted: u64,
    /// Whether the byte before it ends a cell.
    end: u64,
    /// Whether it is a quote.
    quote: u64,
}

impl Block {
    #[inline(always)]
    fn of(bytes: &[u8; BLOCK_BYTES], dialect: Dialect, equal: impl Equal) -> Self {
        Block {
            delimiters: equal(bytes, dialect.delimiter),
            line_ends: equal(bytes, b'\n') | equal(bytes, b'\r'),
            quotes: if dialect.quotes { equal(bytes, b'"') } else { 0 },
        }
    }
}

/// Of each bit, whether it and the lower ones are an odd number: of quotes, whether what follows is inside them.
#[inline]
fn xor_of_all_below(bits: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].into_iter().fold(bits, |bits, step| bits ^ bits << step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Texts of every kind, cut anywhere: the usual way gives what cell by cell gives, or leaves it.
        #[test]
        fn both_ways_find_the_same_cells(
            text in "(([x1é]{0,9}|\"([x,\n]|\"\"){0,70}\"|[x\"]{0,3}|[x]{60,70})([,]|[,]|[,\n\r]|\r\n){1,2}){0,40}",
            quotes in any::<bool>(),
        ) {
            let text = text.as_bytes();
            let splitter = Splitter::new(Dialect { delimiter: b',', quotes });
            let mut from = 0;
            while from < text.len() {
                let (mut usual, mut any) = (Cells::default(), Cells::default());
                let work = UsualRecord { dialect: splitter.dialect, text, from, cells: &mut usual };
                let end = in_blocks(work);
                let split = splitter.any_record(text, from, true, &mut any);
                let Split::Record { end: expected, .. } = split else { panic!("{split:?}") };
                if let Some((end, lines)) = end {
                    prop_assert_eq!(end, expected);
                    prop_assert_eq!(lines, text[from..end].iter().any(|byte| b"\n\r".contains(byte)));
                    prop_assert_eq!(usual.each(text).collect::<Vec<_>>(), any.each(text).collect::<Vec<_>>());
                    prop_assert_eq!(&usual.moved, &any.moved);
                } else {
                    // What is not usual, and what the text has no whole block for.
                    let record = &text[from..expected];
                    let odd = |at: usize| record[at] == b'"' && at > 0 && !b",\n\r\"".contains(&record[at - 1]);
                    let is_odd = quotes && (!any.moved.is_empty() || (0..record.len()).any(odd));
                    prop_assert!(is_odd || text.len() - expected < BLOCK_BYTES, "{}", record.escape_ascii());
                }
                from = expected + 1;
            }
        }
    }
}
