//! What the encoder has to know of a type of Parquet.

use parquet::bloom_filter::Sbbf;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};
use zstd::zstd_safe::ParamSwitch;

/// Statistics have at most so many bytes of a text, as those of the parquet crate.
pub(super) const BOUND_BYTES: usize = 64;

/// How zstd looks for repetitions; 0: as its level says.
#[derive(Debug, Clone, Copy)]
pub(in crate::load) struct Search {
    /// How many beginnings it remembers, as a power of 2.
    pub hash_log: u32,
    /// The shortest repetition that it takes, in bytes.
    pub min_match: u32,
    /// How far it steps on where nothing repeats.
    pub target_length: u32,
    /// Whether the bytes between are packed by how often each of them occurs. Where that is left to zstd, they are not with a
    /// target length of more than 0.
    pub letters: ParamSwitch,
}

impl Search {
    pub const USUAL: Search =
        Search { hash_log: 0, min_match: 0, target_length: 0, letters: ParamSwitch::Auto };

    /// Numbers of entries, packed by bits: many repeat, or nothing does. 3,812 small pages took 8 ms in place of 18 and became 4.16 MB
    /// in place of 4.03.
    pub const CODES: Search = Search { hash_log: 11, min_match: 7, target_length: 1, ..Search::USUAL };
}

/// A value as it stands in a column; ordered as Parquet orders it.
pub(in crate::load) trait Value: Copy + Ord {
    /// Whether the format has dictionaries of them.
    const MAY_BE_CODED: bool = true;

    /// How zstd looks for repetitions, at its first level, among values as they stand.
    const SEARCH: Search = Search::USUAL;

    /// A number that is as great among others as the value, or equal: most comparisons need no more.
    fn rank(self) -> u64 {
        0
    }

    /// In the encoding PLAIN.
    fn put(self, page: &mut Vec<u8>);

    /// Each of them.
    fn put_all(values: &[Self], page: &mut Vec<u8>) {
        values.iter().for_each(|value| value.put(page));
    }

    /// As a bound of a page.
    fn bytes(self) -> Vec<u8>;

    fn insert(self, filter: &mut Sbbf) {
        filter.insert(self.bytes().as_slice());
    }

    /// How many bytes [`Value::put`] adds.
    fn size(self) -> usize;

    /// Of the smallest and the greatest value; `None` where there is none, or where no bound is short enough.
    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics;

    /// Not greater than the value, and short.
    fn lower(self) -> Bound {
        Bound { bytes: self.bytes(), exact: true }
    }

    /// Not less than the value, and short where that is possible.
    fn upper(self) -> Bound {
        self.lower()
    }
}

/// The first bytes as a number, which is as great among others as the bytes, or equal.
#[inline]
pub(in crate::load) fn rank_of(bytes: &[u8]) -> u64 {
    const BYTES: usize = size_of::<u64>();
    let first = bytes.first_chunk().map(|first| u64::from_be_bytes(*first));
    first.unwrap_or_else(|| {
        let number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        number.checked_shl((8 * (BYTES - bytes.len())) as u32).unwrap_or(0)
    })
}

/// A bound of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::load) struct Bound {
    pub(super) bytes: Vec<u8>,
    /// Whether it is one of them.
    pub(super) exact: bool,
}

impl Value for &str {
    /// Identifiers, as a rule, which have little in common but their alphabet: of GUIDs, a page of 220 KB took 285 us in place of 480
    /// and became 115 KB in place of 113; of numbers with letters before them, 72 KB took 138 us in place of 238.
    const SEARCH: Search =
        Search { hash_log: 0, min_match: 7, target_length: 8, letters: ParamSwitch::Enable };

    fn rank(self) -> u64 {
        rank_of(self.as_bytes())
    }

    fn put(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&(self.len() as u32).to_le_bytes());
        page.extend_from_slice(self.as_bytes());
    }

    fn bytes(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }

    fn insert(self, filter: &mut Sbbf) {
        filter.insert(self.as_bytes());
    }

    fn size(self) -> usize {
        self.len() + 4
    }

    fn lower(self) -> Bound {
        let short = &self[..self.floor_char_boundary(BOUND_BYTES)];
        Bound { bytes: short.as_bytes().to_vec(), exact: short.len() == self.len() }
    }

    fn upper(self) -> Bound {
        let mut short = &self[..self.floor_char_boundary(BOUND_BYTES)];
        if short.len() == self.len() {
            return self.lower();
        }
        // The next greater text of at most this length: the last character that has a successor is replaced by it.
        while let Some(last) = short.chars().next_back() {
            short = &short[..short.len() - last.len_utf8()];
            let next = char::from_u32(last as u32 + 1).filter(|next| next.len_utf8() == last.len_utf8());
            if let Some(next) = next {
                return Bound { bytes: format!("{short}{next}").into_bytes(), exact: false };
            }
        }
        Bound { bytes: self.as_bytes().to_vec(), exact: true }
    }

    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
        byte_arrays(bounds, nulls)
    }
}

fn byte_arrays(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
    let [min, max] = bounds.map(|bound| bound.map(|Bound { bytes, exact }| (ByteArray::from(bytes), exact)));
    let is_exact = |bound: &Option<(ByteArray, bool)>| bound.as_ref().is_none_or(|(_, exact)| *exact);
    let exact = [is_exact(&min), is_exact(&max)];
    let statistics = ValueStatistics::new(
        min.map(|(bytes, _)| bytes),
        max.map(|(bytes, _)| bytes),
        None,
        Some(nulls),
        false,
    );
    Statistics::ByteArray(statistics.with_min_is_exact(exact[0]).with_max_is_exact(exact[1]))
}

/// Bytes of any length.
impl Value for &[u8] {
    fn rank(self) -> u64 {
        rank_of(self)
    }

    fn put(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&(self.len() as u32).to_le_bytes());
        page.extend_from_slice(self);
    }

    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }

    fn size(self) -> usize {
        self.len() + 4
    }

    fn lower(self) -> Bound {
        let short = &self[..self.len().min(BOUND_BYTES)];
        Bound { bytes: short.to_vec(), exact: short.len() == self.len() }
    }

    fn upper(self) -> Bound {
        let short = &self[..self.len().min(BOUND_BYTES)];
        let last = short.iter().rposition(|byte| *byte < u8::MAX).filter(|_| short.len() < self.len());
        let Some(last) = last else { return Bound { bytes: self.to_vec(), exact: true } };
        let mut bytes = short[..=last].to_vec();
        bytes[last] += 1;
        Bound { bytes, exact: false }
    }

    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
        byte_arrays(bounds, nulls)
    }
}

impl Value for bool {
    const MAY_BE_CODED: bool = false;

    fn put(self, page: &mut Vec<u8>) {
        page.push(u8::from(self));
    }

    /// Eight in a byte.
    fn put_all(values: &[Self], page: &mut Vec<u8>) {
        page.extend(values.chunks(8).map(|eight| {
            eight.iter().enumerate().fold(0, |byte, (bit, value)| byte | u8::from(*value) << bit)
        }));
    }

    fn bytes(self) -> Vec<u8> {
        vec![u8::from(self)]
    }

    fn size(self) -> usize {
        1
    }

    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
        let [min, max] = bounds.map(|bound| bound.map(|bound| bound.bytes == [1]));
        Statistics::Boolean(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}

/// A decimal of 16 bytes.
impl Value for i128 {
    /// Zeros that repeat, and digits that do not: 88 KB took 278 us in place of 317 and became 32 KB either way.
    const SEARCH: Search = Search { target_length: 1, ..Search::USUAL };

    fn put(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self.to_be_bytes());
    }

    fn bytes(self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn size(self) -> usize {
        16
    }

    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
        fixed(bounds, nulls, true)
    }
}

/// Bytes of a fixed length.
impl Value for [u8; 16] {
    fn put(self, page: &mut Vec<u8>) {
        page.extend_from_slice(&self);
    }

    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }

    fn size(self) -> usize {
        16
    }

    fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
        fixed(bounds, nulls, false)
    }
}

fn fixed(bounds: [Option<Bound>; 2], nulls: u64, signed: bool) -> Statistics {
    let [min, max] =
        bounds.map(|bound| bound.map(|bound| FixedLenByteArray::from(ByteArray::from(bound.bytes))));
    let statistics = ValueStatistics::new(min, max, None, Some(nulls), false);
    Statistics::FixedLenByteArray(statistics.with_backwards_compatible_min_max(signed))
}

macro_rules! number {
    ($type:ty, $statistics:path) => {
        impl Value for $type {
            fn put(self, page: &mut Vec<u8>) {
                page.extend_from_slice(&self.to_le_bytes());
            }

            fn bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn size(self) -> usize {
                size_of::<$type>()
            }

            fn statistics(bounds: [Option<Bound>; 2], nulls: u64) -> Statistics {
                let [min, max] = bounds.map(|bound| {
                    let bytes = bound.and_then(|bound| bound.bytes.try_into().ok());
                    bytes.map(<$type>::from_le_bytes)
                });
                let statistics = ValueStatistics::new(min, max, None, Some(nulls), false);
                $statistics(statistics.with_backwards_compatible_min_max(true))
            }
        }
    };
}

number!(i64, Statistics::Int64);
number!(i32, Statistics::Int32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_in_the_order_of_texts() {
        let mut texts = ["", "\0", "a", "a\0", "ab", "abcdefg", "abcdefgh", "abcdefghi", "abcdefgi", "é"];
        texts.sort_unstable();
        assert!(texts.is_sorted_by_key(|text| text.rank()));
        assert!("a".rank() < "b".rank() && "abcdefgh".rank() < "abcdefgi".rank());
    }

    #[test]
    fn bounds_of_long_texts_are_short_and_hold() {
        let long = "é".repeat(50);
        let texts = [
            long.as_str(),
            "a",
            "",
            &"\u{10ffff}".repeat(40),
            &"x\u{10ffff}".repeat(30),
            &"\u{7f}".repeat(99),
        ];
        for text in texts {
            let (lower, upper) = (text.lower(), text.upper());
            assert!(lower.bytes.as_slice() <= text.as_bytes() && lower.bytes.len() <= BOUND_BYTES);
            assert!(upper.bytes.as_slice() >= text.as_bytes());
            assert!(str::from_utf8(&lower.bytes).is_ok() && str::from_utf8(&upper.bytes).is_ok());
            assert_eq!(lower.exact, lower.bytes == text.as_bytes());
            assert_eq!(upper.exact, upper.bytes == text.as_bytes());
        }
        assert_eq!(long.as_str().upper().bytes.len(), BOUND_BYTES);
        for bytes in [&[7u8; 99][..], &[u8::MAX; 99], &[1, u8::MAX, 3].repeat(50), b"", b"abc"] {
            let (lower, upper) = (bytes.lower(), bytes.upper());
            assert!(lower.bytes.as_slice() <= bytes && lower.bytes.len() <= BOUND_BYTES);
            assert!(upper.bytes.as_slice() >= bytes);
            assert_eq!((lower.exact, upper.exact), (lower.bytes == bytes, upper.bytes == bytes));
        }
    }
}
