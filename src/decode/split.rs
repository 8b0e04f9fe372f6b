//! Where the cells of a record begin and end, in text that may break off anywhere.
//!
//! The cells stay where they stand: a record becomes the places of its cells. Only a cell with a doubled quote in it, or
//! with text behind its closing quote, is written anew.

use wide::u8x64;

use super::header::Dialect;

/// What a search for one record came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// The record ends here: at its line end, or at the end of the text.
    Record { end: usize },
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

    /// Quotes around it are gone, and doubled ones are single; what stands behind it belongs to it.
    fn push_rewritten(&mut self, quoted: &[u8], behind: &[u8]) {
        let start = self.rewritten.len();
        let mut rest = quoted;
        while let Some(quote) = memchr::memchr(b'"', rest) {
            self.rewritten.extend_from_slice(&rest[..=quote]);
            rest = &rest[quote + 2..];
        }
        self.rewritten.extend_from_slice(rest);
        self.rewritten.extend_from_slice(behind);
        self.moved.push(self.places.len());
        self.push(start, self.rewritten.len());
    }
}

impl Splitter {
    pub(super) fn new(dialect: Dialect) -> Self {
        Splitter { dialect }
    }

    /// Adds the cells of the record that begins at `from`, as far as they are whole. `at_end`: no text follows.
    pub(super) fn record(&self, text: &[u8], from: usize, at_end: bool, cells: &mut Cells) -> Split {
        let mut start = from;
        let mut ends = Ends::new(text, from, self.dialect.delimiter);
        let end_of_text = at_end.then_some(text.len());
        loop {
            let end = if self.dialect.quotes && text.get(start) == Some(&b'"') {
                quoted(&mut ends, start, at_end, cells)
            } else {
                let end = ends.next(start).or(end_of_text);
                end.inspect(|end| cells.push(start, *end))
            };
            match end {
                None => return Split::Incomplete { cell: start },
                Some(end) if text.get(end) == Some(&self.dialect.delimiter) => start = end + 1,
                Some(end) => return Split::Record { end },
            }
        }
    }
}

/// Where the cell in quotes that begins at `start` ends.
fn quoted(ends: &mut Ends, start: usize, at_end: bool, cells: &mut Cells) -> Option<usize> {
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
        cells.push_rewritten(&text[start + 1..close], &text[close + 1..end]);
    } else {
        cells.push(start + 1, close);
    }
    Some(end)
}

/// The bytes that may end a cell, looked for in blocks: cells are short, and many end in one block.
struct Ends<'a> {
    text: &'a [u8],
    delimiter: u8,
    /// Where the block begins, and a bit for each of its ends, the lowest for the first byte.
    block: usize,
    found: u64,
}

/// As many bytes as a word has bits.
const BLOCK_BYTES: usize = 64;

impl<'a> Ends<'a> {
    /// Of what stands from `from` on.
    fn new(text: &'a [u8], from: usize, delimiter: u8) -> Self {
        Ends { text, delimiter, block: from, found: ends_of(text, from, delimiter) }
    }

    /// The first byte from `from` on that is the delimiter or a line end. Quick where `from` is little further than before.
    #[inline]
    fn next(&mut self, from: usize) -> Option<usize> {
        let passed = from.wrapping_sub(self.block);
        if passed < BLOCK_BYTES {
            self.found &= !0 << passed;
        } else {
            (self.block, self.found) = (from, ends_of(self.text, from, self.delimiter));
        }
        while self.found == 0 {
            self.block += BLOCK_BYTES;
            if self.block >= self.text.len() {
                return None;
            }
            self.found = ends_of(self.text, self.block, self.delimiter);
        }
        Some(self.block + self.found.trailing_zeros() as usize)
    }
}

/// A bit for each byte of the block that begins at `at`.
#[inline]
fn ends_of(text: &[u8], at: usize, delimiter: u8) -> u64 {
    let rest = text.get(at..).unwrap_or_default();
    let mut copy = [0; BLOCK_BYTES];
    let block = u8x64::new(*rest.first_chunk().unwrap_or_else(|| {
        copy[..rest.len()].copy_from_slice(rest);
        &copy
    }));
    let is = |byte| block.simd_eq(u8x64::splat(byte));
    (is(delimiter) | is(b'\n') | is(b'\r')).to_bitmask()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_are_found_where_a_look_at_each_byte_finds_them(
            text in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), Just(b'\t'), 0..16u8, any::<u8>()], 0..300),
            steps in proptest::collection::vec(0..150usize, 1..8),
            delimiter in prop_oneof![Just(b','), Just(b'\t'), Just(b';')],
        ) {
            let mut ends = Ends::new(&text, 0, delimiter);
            let mut from = 0;
            for step in steps {
                from = (from + step).min(text.len());
                let byte_by_byte = (from..text.len()).find(|at| [delimiter, b'\n', b'\r'].contains(&text[*at]));
                prop_assert_eq!(ends.next(from), byte_by_byte);
                from = byte_by_byte.map_or(from, |end| end + 1);
            }
        }
    }
}
