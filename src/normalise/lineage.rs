//! The columns that we add to each row: who wrote it, where it stood, its key, its hash, and what no column took.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, Int32Array, Int64Array, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Field, Int64Type, TimestampMicrosecondType};
use jiff::Timestamp;

use crate::model::{FaultCode, RawBatch, RequestId, RunId};

use super::cells::BadCell;
use super::contract::OnColumn;

/// Bytes of `_pc_row_hash`.
const HASH_BYTES: usize = 16;

/// Where rows come from: the same for all rows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub run_id: RunId,
    /// `None` for a hand-downloaded file.
    pub request_id: Option<RequestId>,
    /// When the export was finished; `None` for a hand-downloaded file.
    pub extracted_at: Option<Timestamp>,
    /// Start of the run.
    pub loaded_at: Timestamp,
    pub source_file: String,
}

/// The first seven of our columns, in the order of [`crate::schema::OUR_COLUMNS`].
pub(super) fn origin_columns(origin: &Origin, version: u32, raw: &RawBatch, rows: &[usize]) -> Vec<ArrayRef> {
    let count = rows.len();
    let text =
        |text: Option<&str>| Arc::new(StringArray::from_iter(std::iter::repeat_n(text, count))) as ArrayRef;
    let time = |time: Option<Timestamp>| {
        let micros = time.map(Timestamp::as_microsecond);
        let column = TimestampMicrosecondArray::from_iter(std::iter::repeat_n(micros, count));
        Arc::new(column.with_timezone("UTC")) as ArrayRef
    };
    let lines = rows.iter().map(|row| raw.line(*row) as i64);
    vec![
        text(Some(&origin.run_id.to_string())),
        text(origin.request_id.as_ref().map(|id| id.0.as_str())),
        time(origin.extracted_at),
        time(Some(origin.loaded_at)),
        text(Some(&origin.source_file)),
        Arc::new(Int64Array::from_iter_values(lines)),
        Arc::new(Int32Array::from(vec![version as i32; count])),
    ]
}

/// `_pc_row_key`: the key columns joined by `|`; a `|` or `\` inside one stands behind a `\`, and a null is empty.
pub(super) fn row_keys(parts: &[StringArray], rows: usize) -> ArrayRef {
    let mut keys = StringBuilder::with_capacity(rows, rows * 32);
    let mut key = String::new();
    for row in 0..rows {
        key.clear();
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                key.push('|');
            }
            if part.is_null(row) {
                continue;
            }
            for piece in part.value(row).split_inclusive(['|', '\\']) {
                match piece.strip_suffix(['|', '\\']) {
                    Some(plain) => {
                        key.push_str(plain);
                        key.push('\\');
                        key.push_str(&piece[plain.len()..]);
                    }
                    None => key.push_str(piece),
                }
            }
        }
        keys.append_value(&key);
    }
    Arc::new(keys.finish())
}

/// A key column as text; a time is written like 2023-10-19T00:00:00Z, however the file writes it.
pub(super) fn key_text(column: &ArrayRef) -> StringArray {
    match column.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => {
            let text = |micros| Timestamp::from_microsecond(micros).ok().map(|time| time.to_string());
            times.iter().map(|micros| micros.and_then(text)).collect()
        }
        None => column.as_string().clone(),
    }
}

/// The keys again, with the row's hash behind the key where nothing else tells rows apart.
pub(super) fn identified(keys: &ArrayRef, hashes: &ArrayRef, needs_hash: impl Fn(usize) -> bool) -> ArrayRef {
    let (keys, hashes) = (keys.as_string::<i32>(), hashes.as_fixed_size_binary());
    let identified = (0..keys.len()).map(|row| {
        let mut key = keys.value(row).to_owned();
        if needs_hash(row) {
            key.push_str("|#");
            for byte in hashes.value(row) {
                let _infallible = write!(key, "{byte:02x}");
            }
        }
        key
    });
    Arc::new(StringArray::from_iter_values(identified))
}

/// One column as the hash sees it.
enum Hashed<'a> {
    Text(&'a StringArray),
    Decimal(&'a arrow::array::Decimal128Array, i8),
    Wide(&'a [i64]),
    Days(&'a [i32]),
    Boolean(&'a arrow::array::BooleanArray),
}

/// `_pc_row_hash`: the first 16 bytes of BLAKE3 over the non-null business columns in the order of their names.
///
/// Each is written as the first 8 bytes of BLAKE3 over its name (shorter than the name, and every row repeats it),
/// then its value: text as its length (4 bytes) and bytes; a decimal as its digits without zeros at the end (16
/// bytes, or 8 where they fit) and the place of its point, so that 1.50 and 1.5 are equal; dates, times, integers
/// and booleans in their own width. All numbers are little-endian.
///
/// So a column that is null changes nothing, nor does the order of columns or a new column as such. What stands in
/// `_pc_extra` is not part of it.
pub(super) fn row_hashes(fields: &[Arc<Field>], columns: &[ArrayRef], rows: usize) -> ArrayRef {
    let mut named: Vec<_> =
        fields.iter().zip(columns).filter(|(_, column)| column.null_count() < column.len()).collect();
    named.sort_by_key(|(field, _)| field.name());
    let hashed: Vec<(u64, Option<&NullBuffer>, Hashed)> = named
        .into_iter()
        .map(|(field, column)| (column_id(field.name()), column.nulls(), Hashed::of(column)))
        .collect();
    let mut hashes = Vec::with_capacity(rows * HASH_BYTES);
    let mut line = Vec::with_capacity(4096);
    for row in 0..rows {
        line.clear();
        for (id, nulls, values) in &hashed {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                line.extend_from_slice(&id.to_le_bytes());
                values.write(row, &mut line);
            }
        }
        hashes.extend_from_slice(&blake3::hash(&line).as_bytes()[..HASH_BYTES]);
    }
    Arc::new(FixedSizeBinaryArray::new(HASH_BYTES as i32, hashes.into(), None))
}

fn column_id(name: &str) -> u64 {
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..8].iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte))
}

impl<'a> Hashed<'a> {
    fn of(column: &'a ArrayRef) -> Self {
        match column.data_type() {
            DataType::Decimal128(_, scale) => {
                Hashed::Decimal(column.as_primitive::<Decimal128Type>(), *scale)
            }
            DataType::Int64 => Hashed::Wide(column.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(..) => {
                Hashed::Wide(column.as_primitive::<TimestampMicrosecondType>().values())
            }
            DataType::Date32 => Hashed::Days(column.as_primitive::<Date32Type>().values()),
            DataType::Boolean => Hashed::Boolean(column.as_boolean()),
            _ => Hashed::Text(column.as_string()),
        }
    }

    #[inline]
    fn write(&self, row: usize, line: &mut Vec<u8>) {
        match self {
            Hashed::Text(texts) => {
                let text = texts.value(row).as_bytes();
                line.extend_from_slice(&(text.len() as u32).to_le_bytes());
                line.extend_from_slice(text);
            }
            Hashed::Decimal(units, scale) => write_decimal(units.value(row), *scale, line),
            Hashed::Wide(values) => line.extend_from_slice(&values[row].to_le_bytes()),
            Hashed::Days(values) => line.extend_from_slice(&values[row].to_le_bytes()),
            Hashed::Boolean(values) => line.push(u8::from(values.value(row))),
        }
    }
}

/// Digits without zeros at the end, and how many of them are behind the point. One byte tells the width.
fn write_decimal(units: i128, scale: i8, line: &mut Vec<u8>) {
    let mut point = scale;
    if let Ok(mut digits) = i64::try_from(units) {
        for (zeros, power) in [(8, 100_000_000), (4, 10_000), (2, 100), (1, 10), (1, 10)] {
            while digits != 0 && digits % power == 0 {
                digits /= power;
                point -= zeros;
            }
        }
        line.push(8);
        line.extend_from_slice(&digits.to_le_bytes());
    } else {
        let mut digits = units;
        while digits % 10 == 0 {
            digits /= 10;
            point -= 1;
        }
        match i64::try_from(digits) {
            Ok(digits) => {
                line.push(8);
                line.extend_from_slice(&digits.to_le_bytes());
            }
            Err(_) => {
                line.push(16);
                line.extend_from_slice(&digits.to_le_bytes());
            }
        }
    }
    line.extend_from_slice(&(if units == 0 { 0 } else { point }).to_le_bytes());
}

/// `_pc_extra`: the cells that no column took, as one compact JSON object by header; null where all are blank.
pub(super) struct Extra {
    /// Index of the cell, and its JSON key with the colon.
    cells: Vec<(usize, String)>,
    /// Whether a value there is a fault.
    refused: bool,
}

impl Extra {
    pub fn new(unknown: &[(usize, String)]) -> Self {
        let key = |name: &String| format!("{}:", serde_json::Value::from(name.as_str()));
        Extra { cells: unknown.iter().map(|(cell, name)| (*cell, key(name))).collect(), refused: false }
    }

    /// As the contract says.
    pub fn under(mut self, word: OnColumn) -> Self {
        self.refused = word == OnColumn::Quarantine;
        if word == OnColumn::Discard {
            self.cells.clear();
        }
        self
    }

    /// The rank of an unknown cell among the columns of the table, for its faults.
    pub fn column(
        &self,
        raw: &RawBatch,
        rows: &[usize],
        first_rank: usize,
        bad: &mut Vec<BadCell>,
    ) -> ArrayRef {
        if self.cells.is_empty() {
            return arrow::array::new_null_array(&DataType::Utf8, rows.len());
        }
        let mut column = StringBuilder::with_capacity(rows.len(), 0);
        let mut object = String::new();
        for &row in rows {
            object.clear();
            for (rank, (cell, key)) in self.cells.iter().enumerate() {
                let cell = raw.cell(row, *cell).unwrap_or_default();
                if cell.trim_ascii().is_empty() {
                    continue;
                }
                if self.refused {
                    bad.push((row, first_rank + rank, FaultCode::UnknownColumn));
                    continue;
                }
                let Ok(text) = std::str::from_utf8(cell) else {
                    bad.push((row, first_rank + rank, FaultCode::NotUtf8));
                    continue;
                };
                object.push(if object.is_empty() { '{' } else { ',' });
                object.push_str(key);
                object.push_str(&serde_json::Value::from(text).to_string());
            }
            if !object.is_empty() {
                object.push('}');
            }
            column.append_option((!object.is_empty()).then_some(object.as_str()));
        }
        Arc::new(column.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Decimal128Array;

    #[test]
    fn a_key_part_cannot_imitate_two() {
        let left = StringArray::from(vec![Some("a|b"), Some("a"), None, Some("a\\")]);
        let right = StringArray::from(vec![Some("c"), Some("b|c"), Some("x"), Some("b")]);
        let keys = row_keys(&[left, right], 4);
        let keys: Vec<_> = keys.as_string::<i32>().iter().flatten().collect();
        assert_eq!(keys, ["a\\|b|c", "a|b\\|c", "|x", "a\\\\|b"]);
    }

    fn hash_of(columns: &[(&str, ArrayRef)]) -> Vec<u8> {
        let fields: Vec<_> = columns
            .iter()
            .map(|(name, column)| Arc::new(Field::new(*name, column.data_type().clone(), true)))
            .collect();
        let arrays: Vec<_> = columns.iter().map(|(_, column)| column.clone()).collect();
        row_hashes(&fields, &arrays, 1).as_fixed_size_binary().value(0).to_vec()
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
        assert_ne!(plain, hash_of(&[("a", text("x")), ("b", decimal(16, 1))]));
        assert_ne!(plain, hash_of(&[("a", text("x")), ("b", decimal(150, 1))]));
        assert_ne!(plain, hash_of(&[("c", text("x")), ("b", decimal(15, 1))]));
        assert_ne!(
            hash_of(&[("a", text("x\u{1e}b\u{1f}y"))]),
            hash_of(&[("a", text("x")), ("b", text("y"))])
        );
    }
}
