//! The columns that we add to each row: who wrote it, where it stood, its key, its hash, and what no column took.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int64Array, StringArray, StringBuilder,
    TimestampMicrosecondArray, UInt16Array,
};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use jiff::Timestamp;

use crate::model::{FaultCode, RawBatch, RequestId, RunId, Texts};

use super::cells::BadCell;
use super::contract::OnColumn;

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

/// The first seven of our columns, in the order of [`crate::schema::OUR_COLUMNS`]; texts coded or not.
pub(super) fn origin_columns(
    origin: &Origin,
    version: u32,
    raw: &RawBatch,
    rows: &[usize],
    coded: bool,
) -> Vec<ArrayRef> {
    let count = rows.len();
    let text = |text: Option<&str>| -> ArrayRef {
        match text {
            Some(text) if coded => {
                let entry = Arc::new(StringArray::from(vec![text]));
                Arc::new(DictionaryArray::new(UInt16Array::from(vec![0; count]), entry))
            }
            text => Arc::new(StringArray::from_iter(std::iter::repeat_n(text, count))),
        }
    };
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
    // The usual key is one column that needs no `\`.
    if let [part] = parts
        && part.null_count() == 0
        && memchr::memchr2(b'|', b'\\', part.value_data()).is_none()
    {
        return Arc::new(part.clone());
    }
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
        None => Texts::of(column).map_or_else(|| StringArray::new_null(column.len()), |texts| texts.plain()),
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

    #[test]
    fn a_key_part_cannot_imitate_two() {
        let left = StringArray::from(vec![Some("a|b"), Some("a"), None, Some("a\\")]);
        let right = StringArray::from(vec![Some("c"), Some("b|c"), Some("x"), Some("b")]);
        let keys = row_keys(&[left, right], 4);
        let keys: Vec<_> = keys.as_string::<i32>().iter().flatten().collect();
        assert_eq!(keys, ["a\\|b|c", "a|b\\|c", "|x", "a\\\\|b"]);
    }
}
