//! Where the cells of a record begin and end, in text that may break off anywhere.
//!
//! The cells stay where they stand: a record becomes the places of its cells. Only a cell with a doubled quote in it, or
//! with text behind its closing quote, is written anew.

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
    pub(super) fn with_capacity(cells: usize) -> Self {
        Cells { places: Vec::with_capacity(cells), ..Cells::default() }
    }

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
        loop {
            let quoted = self.dialect.quotes && text.get(start) == Some(&b'"');
            let end = match quoted {
                true => self.quoted(text, start, at_end, cells),
                false => self.plain(text, start, at_end, cells),
            };
            match end {
                None => return Split::Incomplete { cell: start },
                Some(end) if text.get(end) == Some(&self.dialect.delimiter) => start = end + 1,
                Some(end) => return Split::Record { end },
            }
        }
    }

    /// Where the cell without quotes that begins at `start` ends.
    #[inline]
    fn plain(&self, text: &[u8], start: usize, at_end: bool, cells: &mut Cells) -> Option<usize> {
        let end = self.end_of_cell(text, start, at_end)?;
        cells.push(start, end);
        Some(end)
    }

    #[inline]
    fn end_of_cell(&self, text: &[u8], from: usize, at_end: bool) -> Option<usize> {
        next_end(text, from, self.dialect.delimiter).or_else(|| at_end.then_some(text.len()))
    }

    fn quoted(&self, text: &[u8], start: usize, at_end: bool, cells: &mut Cells) -> Option<usize> {
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
        let end = self.end_of_cell(text, close + 1, at_end)?;
        if doubled || end > close + 1 {
            cells.push_rewritten(&text[start + 1..close], &text[close + 1..end]);
        } else {
            cells.push(start + 1, close);
        }
        Some(end)
    }
}

/// A one in each byte of a word, and the highest bit of each.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHEST: u64 = 0x8080_8080_8080_8080;

/// The first byte from `from` on that is the delimiter or a line end. Cells are short: eight bytes at a time are faster than
/// a search that is made for long ways.
#[inline]
fn next_end(text: &[u8], from: usize, delimiter: u8) -> Option<usize> {
    let ends = |byte: u8| byte == delimiter || byte == b'\n' || byte == b'\r';
    let mut at = from;
    while let Some(eight) = text[at..].first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let other = word ^ (ONES * u64::from(delimiter));
        // The highest bit of the first byte that is the delimiter or less than 14, as line ends are. What a subtraction
        // borrows may show bytes behind it, never before.
        let equal = other.wrapping_sub(ONES) & !other;
        let small = word.wrapping_sub(ONES * 14) & !word;
        let found = (equal | small) & HIGHEST;
        if found == 0 {
            at += eight.len();
            continue;
        }
        at += found.trailing_zeros() as usize / 8;
        if ends(text[at]) {
            return Some(at);
        }
        at += 1;
    }
    text[at..].iter().position(|byte| ends(*byte)).map(|length| at + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ends_are_found_where_a_look_at_each_byte_finds_them(
            text in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'\r'), Just(b'\t'), 0..16u8, any::<u8>()], 0..40),
            from in 0..41usize,
            delimiter in prop_oneof![Just(b','), Just(b'\t'), Just(b';')],
        ) {
            let from = from.min(text.len());
            let byte_by_byte = (from..text.len()).find(|at| [delimiter, b'\n', b'\r'].contains(&text[*at]));
            prop_assert_eq!(next_end(&text, from, delimiter), byte_by_byte);
        }
    }
}
