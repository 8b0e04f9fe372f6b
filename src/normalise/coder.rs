//! Texts that come again and again, as numbers of dictionary entries.

use std::hash::BuildHasher;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, StringArray, UInt16Array};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::model::{WORD_BYTES, head_of};

/// A column may have so many different texts, and one more for every two rows, before it is no longer coded: identifiers of which
/// each row has its own show soon that they are.
const ENTRIES_AT_FIRST: usize = 1024;

/// A larger dictionary leaves the cache of a core.
const MOST_BYTES: usize = 512 << 10;

/// What an entry takes beside its text: a place in the table, its end, and a copy of that for the array.
const ENTRY_BYTES: usize = 48;

const MOST_ENTRIES: usize = 1 << 15;

/// Codes the texts of one column. An entry keeps its number as long as the coder lives.
#[derive(Debug, Clone)]
pub(super) struct Coder {
    most_bytes: usize,
    table: HashTable<(u64, u16)>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    rows: usize,
    /// The entries as an array, until there are more.
    array: Option<ArrayRef>,
    recent: Recent,
}

/// Texts that were met of late, by a hash of their ends: each has two slots side by side. Few slots stay in the cache of a core; a
/// column of many different texts is given more.
#[derive(Debug, Clone)]
struct Recent {
    slots: Vec<Slot>,
    /// Bits of a hash that are no number of a slot.
    shift: u32,
    /// Texts that were not found since there are so many slots.
    missed: usize,
    /// The most slots.
    most: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    /// See [`head_of`], the lower half first: all of a text of at most 16 bytes.
    head: [u64; 2],
    length: u32,
    /// Where the entry begins.
    start: u32,
    code: u16,
}

/// 2 KB, in each column.
const SLOTS_AT_FIRST: usize = 64;

/// Slots take at most such a part of what the entries may take.
const SLOTS_SHARE: usize = 4;

#[inline]
fn halves(head: u128) -> [u64; 2] {
    [head as u64, (head >> u64::BITS) as u64]
}

#[inline]
fn last_word(text: &[u8]) -> u64 {
    text.last_chunk().map_or(0, |last| u64::from_ne_bytes(*last))
}

impl Recent {
    fn new(slots: usize, most: usize) -> Self {
        // No text has this length.
        let none = Slot { head: [0; 2], length: u32::MAX, start: 0, code: 0 };
        Recent { slots: vec![none; slots], shift: u64::BITS - slots.ilog2(), missed: 0, most }
    }

    /// Which slot is for a text of this head and length.
    #[inline]
    fn slot<'a>(&self, head: u128, length: u32, text: impl FnOnce() -> &'a [u8]) -> usize {
        let [first, second] = halves(head);
        let last = if length as usize > WORD_BYTES { last_word(text()) } else { 0 };
        let mixed = first ^ second.rotate_left(32) ^ last.rotate_left(16) ^ u64::from(length);
        // An odd number without a pattern; the upper bits of the product hang on all bits.
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    fn put(&mut self, text: &[u8], start: u32, code: u16) {
        self.missed += 1;
        let more = 4 * self.slots.len();
        if self.missed > 2 * self.slots.len() && more <= self.most {
            *self = Recent::new(more, self.most);
        }
        let (head, length) = (head_of(text), text.len() as u32);
        let slot = self.slot(head, length, || text);
        // The one before moves to the neighbour.
        self.slots.swap(slot, slot ^ 1);
        self.slots[slot] = Slot { head: halves(head), length, start, code };
    }
}

/// Why a text has no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Uncoded {
    NotUtf8,
    /// The texts are too many: the column is to be taken as it stands from now on.
    TooMany,
}

/// Texts that were met of late.
#[derive(Clone, Copy)]
pub(super) struct Met<'a> {
    recent: &'a Recent,
    bytes: &'a [u8],
}

impl Met<'_> {
    /// The number of a text, of which these are [`head_of`] and the length.
    #[inline]
    pub fn code<'t>(self, head: u128, length: u32, text: impl Fn() -> &'t [u8]) -> Option<u16> {
        self.at(self.recent.slot(head, length, &text), head, length, text)
    }

    /// The same, if the text stands in this slot.
    #[inline(always)]
    fn at<'t>(self, slot: usize, head: u128, length: u32, text: impl Fn() -> &'t [u8]) -> Option<u16> {
        let known = self.recent.slots.get(slot)?;
        let [first, second] = halves(head);
        let differs = known.head[0] ^ first | known.head[1] ^ second | u64::from(known.length ^ length);
        let is_it = differs == 0
            && (length as usize <= WORD_BYTES
                || are_same_behind(&self.bytes[known.start as usize..], text()));
        is_it.then_some(known.code)
    }
}

impl Coder {
    /// Its entries take at most so many bytes, and what finds those of late a quarter of it.
    pub fn new(most_bytes: u64) -> Self {
        let most_bytes = usize::try_from(most_bytes).unwrap_or(MOST_BYTES).min(MOST_BYTES);
        Coder {
            most_bytes,
            table: HashTable::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            rows: 0,
            array: None,
            recent: Recent::new(SLOTS_AT_FIRST, most_bytes / SLOTS_SHARE / size_of::<Slot>()),
        }
    }

    /// The texts that were met of late.
    #[inline]
    pub fn recent(&self) -> Met<'_> {
        Met { recent: &self.recent, bytes: &self.bytes }
    }

    /// The number of a text.
    pub fn code(&mut self, text: &[u8]) -> Result<u16, Uncoded> {
        let (head, length) = (head_of(text), text.len() as u32);
        let slot = self.recent.slot(head, length, || text);
        let met = |slot| self.recent().at(slot, head, length, || text);
        if let Some(code) = met(slot).or_else(|| met(slot ^ 1)) {
            return Ok(code);
        }
        let code = self.find_or_add(text)?;
        self.recent.put(text, entry_start(&self.ends, code), code);
        Ok(code)
    }

    /// Lets a text have the number of another one.
    pub fn know(&mut self, text: &[u8], code: u16) {
        // Of a longer one the entry would have to be looked at.
        if text.len() <= WORD_BYTES {
            self.recent.put(text, 0, code);
        }
    }

    fn find_or_add(&mut self, text: &[u8]) -> Result<u16, Uncoded> {
        let hash = FixedState::default().hash_one(text);
        let found = self
            .table
            .find(hash, |(other, code)| *other == hash && entry(&self.bytes, &self.ends, *code) == text);
        match found {
            Some((_, code)) => Ok(*code),
            None => self.add(hash, text),
        }
    }

    fn add(&mut self, hash: u64, text: &[u8]) -> Result<u16, Uncoded> {
        let entries = self.ends.len();
        let most = MOST_ENTRIES.min(ENTRIES_AT_FIRST + self.rows / 2);
        let bytes = self.bytes.len() + text.len() + (entries + 1) * ENTRY_BYTES;
        if entries >= most || bytes > self.most_bytes {
            return Err(Uncoded::TooMany);
        }
        str::from_utf8(text).map_err(|_| Uncoded::NotUtf8)?;
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as i32);
        self.array = None;
        self.table.insert_unique(hash, (hash, entries as u16), |(hash, _)| *hash);
        Ok(entries as u16)
    }

    /// Says how many rows were coded: the dictionary may grow with them.
    pub fn passed(&mut self, rows: usize) {
        self.rows += rows;
    }

    pub fn text(&self, code: u16) -> &[u8] {
        entry(&self.bytes, &self.ends, code)
    }

    /// The coded rows as an array. A number at a null is not looked at.
    pub fn array(&mut self, codes: Vec<u16>, nulls: Option<NullBuffer>) -> ArrayRef {
        let values = self.array.get_or_insert_with(|| {
            let ends = std::iter::once(0).chain(self.ends.iter().copied());
            let offsets = OffsetBuffer::new(ScalarBuffer::from_iter(ends));
            let texts = StringArray::try_new(offsets, self.bytes.clone().into(), None);
            Arc::new(texts.expect("each entry was looked at when it came"))
        });
        let keys = UInt16Array::new(codes.into(), nulls);
        Arc::new(DictionaryArray::try_new(keys, Arc::clone(values)).expect("a number was given for an entry"))
    }
}

#[inline]
fn entry<'a>(bytes: &'a [u8], ends: &[i32], code: u16) -> &'a [u8] {
    &bytes[entry_start(ends, code) as usize..ends[usize::from(code)] as usize]
}

#[inline]
fn entry_start(ends: &[i32], code: u16) -> u32 {
    if code == 0 { 0 } else { ends[usize::from(code) - 1] as u32 }
}

/// Whether an entry, with what follows it, is a text of more than [`WORD_BYTES`], of which the length and the first so many bytes
/// are the same. In words: a call of memcmp takes longer than these.
#[inline]
fn are_same_behind(entry: &[u8], text: &[u8]) -> bool {
    let Some(entry) = entry.get(..text.len()) else { return false };
    let [words, others] = [text, entry].map(|bytes| bytes[WORD_BYTES..].as_chunks::<8>().0);
    last_word(entry) == last_word(text)
        && words
            .iter()
            .zip(others)
            .all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
}

#[cfg(test)]
mod tests {
    use super::*;

    use arrow::array::{Array, AsArray};

    #[test]
    fn texts_keep_their_numbers_until_they_are_too_many() {
        let mut coder = Coder::new(u64::MAX);
        assert_eq!(coder.code(b"a"), Ok(0));
        let first = coder.array(vec![0, 0], None);
        for number in 1..ENTRIES_AT_FIRST {
            assert_eq!(coder.code(format!("{number}").as_bytes()), Ok(number as u16));
        }
        assert_eq!(coder.code(b"x"), Err(Uncoded::TooMany));
        coder.passed(6);
        assert_eq!(coder.code(b"\xff"), Err(Uncoded::NotUtf8));
        assert_eq!(coder.code(b"x"), Ok(ENTRIES_AT_FIRST as u16));
        assert_eq!(coder.code(b"a"), Ok(0));
        assert_eq!(coder.text(1), b"1");
        // The ends and the length of these are equal.
        let (one, other) = (b"the first sixteen-1-lasteight", b"the first sixteen-2-lasteight");
        let codes = [one, other, one, other].map(|text| coder.code(text));
        assert_eq!((codes[0], codes[1]), (codes[2], codes[3]));
        assert_ne!(codes[0], codes[1]);
        coder.passed(1_000_000);
        assert_eq!(coder.code("long".repeat(MOST_BYTES).as_bytes()), Err(Uncoded::TooMany));
        let later = coder.array(vec![1, 0], Some(vec![false, true].into()));
        let values = |array: &ArrayRef| array.as_any_dictionary().values().len();
        assert_eq!((values(&first), values(&later)), (1, ENTRIES_AT_FIRST + 3));
        assert_eq!(later.null_count(), 1);
    }
}
