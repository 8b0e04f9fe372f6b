//! `_pc_row_hash`: what tells two versions of a row apart.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Int64Type, TimestampMicrosecondType};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::model::Texts;

/// Bytes of a row's hash.
const HASH_BYTES: usize = 16;

/// Hashes rows: XXH3 of 128 bits over the sum, modulo 2^128, of one hash for each business column that is not null. (Hashed
/// again, because what a month holds is told by the sum of its rows' hashes: the sums alone would not tell which cell
/// belongs to which row.)
///
/// The hash of a column is XXH3 of 128 bits over the value, with the first 8 bytes of BLAKE3 over the column's name as its seed. A value
/// is its text; of a decimal its digits without zeros at the end (16 bytes) and the place of its point (1 byte), so that
/// 1.50 and 1.5 are equal; a date, a time or an integer in its own width; a boolean in one byte. All numbers are
/// little-endian, the sum and the hash too.
///
/// So a column that is null changes nothing, nor does the order of columns or a new column as such. What stands in
/// `_pc_extra` is not part of it. Nobody who could make two rows of one hash would gain by it: the hash finds what
/// Microsoft has changed, and is no seal.
#[derive(Default)]
pub(super) struct RowHasher {
    /// For each column the hashes of its dictionary's entries, which only grows.
    entries: Vec<Vec<u128>>,
}

impl RowHasher {
    /// Of rows of which these are the business columns. Where one is coded, its entries keep their numbers from call to
    /// call.
    pub fn hashes(&mut self, fields: &[Arc<Field>], columns: &[ArrayRef], rows: usize) -> ArrayRef {
        self.entries.resize(columns.len(), Vec::new());
        let mut sums = vec![0u128; rows];
        for ((field, column), entries) in fields.iter().zip(columns).zip(&mut self.entries) {
            if column.null_count() < rows {
                add(seed(field.name()), column, entries, &mut sums);
            }
        }
        let mut bytes = Vec::with_capacity(rows * HASH_BYTES);
        sums.iter().for_each(|sum| bytes.extend_from_slice(&xxh3_128(&sum.to_le_bytes()).to_le_bytes()));
        Arc::new(FixedSizeBinaryArray::new(HASH_BYTES as i32, bytes.into(), None))
    }
}

fn seed(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..8].iter().rev().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// Adds the hashes of one column's values to the sums of their rows.
fn add(seed: u64, column: &ArrayRef, entries: &mut Vec<u128>, sums: &mut [u128]) {
    let hash = |bytes: &[u8]| xxh3_128_with_seed(bytes, seed);
    let nulls = column.nulls();
    match column.data_type() {
        DataType::Decimal128(_, scale) => {
            let units = column.as_primitive::<Decimal128Type>().values();
            each(nulls, sums, |row| hash(&decimal_bytes(units[row], *scale)));
        }
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            each(nulls, sums, |row| hash(&values[row].to_le_bytes()));
        }
        DataType::Timestamp(..) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            each(nulls, sums, |row| hash(&values[row].to_le_bytes()));
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>().values();
            each(nulls, sums, |row| hash(&values[row].to_le_bytes()));
        }
        DataType::Boolean => {
            let values = column.as_boolean();
            each(nulls, sums, |row| hash(&[u8::from(values.value(row))]));
        }
        _ => match Texts::of(column) {
            Some(Texts::Plain(texts)) => each(nulls, sums, |row| hash(texts.value(row).as_bytes())),
            Some(Texts::Coded { keys, entries: texts }) => {
                let new = (entries.len()..texts.len()).map(|entry| hash(texts.value(entry).as_bytes()));
                entries.extend(new);
                let keys = keys.values();
                each(nulls, sums, |row| entries[usize::from(keys[row])]);
            }
            None => {}
        },
    }
}

#[inline]
fn each(nulls: Option<&NullBuffer>, sums: &mut [u128], hash: impl Fn(usize) -> u128) {
    const WORD: usize = u64::BITS as usize;
    let Some(nulls) = nulls else {
        return sums.iter_mut().enumerate().for_each(|(row, sum)| *sum = sum.wrapping_add(hash(row)));
    };
    let words = nulls.inner().bit_chunks().iter_padded();
    for ((mut word, sums), first) in words.zip(sums.chunks_mut(WORD)).zip((0..).step_by(WORD)) {
        while word != 0 {
            let bit = word.trailing_zeros() as usize;
            sums[bit] = sums[bit].wrapping_add(hash(first + bit));
            word &= word - 1;
        }
    }
}

/// A number without the zeros at its end, and how many these were; of 0, any number of them. Divided by 10^n without a division: what
/// is a multiple of it, multiplied by the inverse of 5^n and turned by n bits, is the quotient, and what is none comes out greater
/// than any quotient.
macro_rules! stripped_of_zeros {
    ($number:ty, $of:expr) => {{
        // Up to 39 digits.
        const STEPS: [(u32, $number, $number); 7] = {
            let (zeros, mut steps) = ([8, 8, 8, 8, 4, 2, 1], [(0, 0, 0); 7]);
            let mut index = 0;
            while index < steps.len() {
                let odd = (5 as $number).pow(zeros[index]);
                let (mut inverse, mut bits) = (odd, 3);
                while bits < <$number>::BITS {
                    inverse = inverse.wrapping_mul((2 as $number).wrapping_sub(odd.wrapping_mul(inverse)));
                    bits *= 2;
                }
                steps[index] = (zeros[index], inverse, <$number>::MAX / (10 as $number).pow(zeros[index]));
                index += 1;
            }
            steps
        };
        let (mut digits, mut zeros) = ($of, 0);
        // Half the bits are half the digits.
        let first = if <$number>::BITS > u64::BITS { 0 } else { 2 };
        for (step, inverse, most) in &STEPS[first..] {
            let quotient = digits.wrapping_mul(*inverse).rotate_right(*step);
            if quotient <= *most {
                (digits, zeros) = (quotient, zeros + *step as i8);
            }
        }
        (digits, zeros)
    }};
}

/// Digits without zeros at the end, and how many of them are behind the point.
fn decimal_bytes(units: i128, scale: i8) -> [u8; HASH_BYTES + 1] {
    let (digits, zeros) = match u64::try_from(units.unsigned_abs()) {
        Ok(small) => {
            let (digits, zeros) = stripped_of_zeros!(u64, small);
            (u128::from(digits), zeros)
        }
        Err(_) => stripped_of_zeros!(u128, units.unsigned_abs()),
    };
    let digits = if units < 0 { (digits as i128).wrapping_neg() } else { digits as i128 };
    let mut bytes = [0; HASH_BYTES + 1];
    bytes[..HASH_BYTES].copy_from_slice(&digits.to_le_bytes());
    bytes[HASH_BYTES] = if units == 0 { 0 } else { (scale - zeros).to_le_bytes()[0] };
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Decimal128Array, DictionaryArray, StringArray, UInt16Array};

    fn hash_of(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, column)| Arc::new(Field::new(*name, column.data_type().clone(), true)))
            .collect();
        let arrays: Vec<_> = columns.iter().map(|(_, column)| column.clone()).collect();
        RowHasher::default().hashes(&fields, &arrays, 1).as_fixed_size_binary().value(0).to_vec()
    }

    fn decimal(units: i128, scale: i8) -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![units]).with_precision_and_scale(38, scale).unwrap())
    }

    fn text(text: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![text]))
    }

    #[test]
    fn the_hash_sees_values_and_not_their_surroundings() {
        let plain = hash_of(&[("a", text("x")), ("b", decimal(15, 1))]);
        let null: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>]));
        assert_eq!(plain, hash_of(&[("b", decimal(15, 1)), ("aa", null), ("a", text("x"))]));
        assert_eq!(plain, hash_of(&[("a", text("x")), ("b", decimal(15 * 10i128.pow(20), 21))]));
        let entries: ArrayRef = Arc::new(StringArray::from(vec!["y", "x"]));
        let coded = DictionaryArray::new(UInt16Array::from(vec![1]), entries);
        assert_eq!(plain, hash_of(&[("a", Arc::new(coded)), ("b", decimal(15, 1))]));
        assert_ne!(plain, hash_of(&[("a", text("x")), ("b", decimal(16, 1))]));
        assert_ne!(plain, hash_of(&[("a", text("x")), ("b", decimal(150, 1))]));
        assert_ne!(plain, hash_of(&[("c", text("x")), ("b", decimal(15, 1))]));
        assert_ne!(
            hash_of(&[("a", text("x")), ("b", text("y"))]),
            hash_of(&[("a", text("y")), ("b", text("x"))])
        );
        assert_ne!(hash_of(&[("a", text("")), ("b", text("y"))]), hash_of(&[("b", text("y"))]));
    }

    #[test]
    fn zeros_at_the_end_are_no_part_of_a_number() {
        let mut numbers: Vec<i128> = (0..39).map(|power| 10i128.pow(power)).collect();
        numbers.extend((0..127).map(|power| 1i128 << power));
        numbers.extend((0..55).map(|power| 5i128.pow(power)));
        numbers.extend([i128::MAX, i128::MIN, i128::from(u64::MAX), 10i128.pow(19) * 3, 1234]);
        let more: Vec<i128> =
            numbers.iter().flat_map(|number| [number.wrapping_mul(70), number.wrapping_sub(1)]).collect();
        for units in numbers.into_iter().chain(more).flat_map(|units| [units, units.wrapping_neg()]) {
            let (mut digits, mut zeros) = (units, 0);
            while digits != 0 && digits % 10 == 0 {
                (digits, zeros) = (digits / 10, zeros + 1);
            }
            let point = if units == 0 { 0 } else { 10 - zeros };
            let expected = [&digits.to_le_bytes()[..], &i8::to_le_bytes(point)].concat();
            assert_eq!(decimal_bytes(units, 10).as_slice(), expected, "{units}");
        }
    }

    /// Months are compared by the sum of their rows' hashes.
    #[test]
    fn cells_that_change_places_change_the_sum_of_two_rows() {
        let sum = |left: [&str; 2], right: [&str; 2]| {
            let columns: Vec<ArrayRef> = [left, right]
                .into_iter()
                .map(|column| Arc::new(StringArray::from(column.to_vec())) as ArrayRef)
                .collect();
            let fields = ["a", "b"].map(|name| Arc::new(Field::new(name, DataType::Utf8, true)));
            let hashes = RowHasher::default().hashes(&fields, &columns, 2);
            let hash = |row: usize| {
                u128::from_le_bytes(hashes.as_fixed_size_binary().value(row).try_into().unwrap())
            };
            hash(0).wrapping_add(hash(1))
        };
        assert_eq!(sum(["x", "y"], ["1", "2"]), sum(["y", "x"], ["2", "1"]));
        assert_ne!(sum(["x", "y"], ["1", "2"]), sum(["x", "y"], ["2", "1"]));
    }

    /// Written down once: another hash would be another rule ([`crate::schema::RULES`]).
    #[test]
    fn the_hash_stays_what_it_is() {
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(hash_of(&[("earning_amount", decimal(125, 1)), ("earning_id", text("E-1"))])),
            "052aaf2a8f636182246025241cd771bf"
        );
    }
}
