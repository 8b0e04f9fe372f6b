//! Joins hold the keys of one side in memory. Where there are too many rows for that, they are joined slice by slice:
//! rows of one key are in one slice, whatever side and file they stand in.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{DataFrame, col};

use super::merge::KEY;

/// Some of the rows: those whose key has this number among `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    number: u64,
    of: u64,
}

impl Slice {
    /// All rows.
    pub const ALL: Slice = Slice { number: 0, of: 1 };

    /// The slice in so many parts that none has many more than `at_once` of its `rows`.
    pub fn parts(self, rows: u64, at_once: u64) -> impl Iterator<Item = Slice> {
        let of = rows.div_ceil(at_once.max(1)).clamp(1, u64::from(u32::MAX));
        // What has a number among all of these has that of this slice among fewer.
        (0..of).map(move |part| Slice { number: self.number + part * self.of, of: self.of * of })
    }

    #[must_use]
    pub fn is_all(self) -> bool {
        self.of == 1
    }

    /// Whether a row of this key is in it.
    #[must_use]
    pub fn has(self, key: Option<&str>) -> bool {
        let mut hasher = DefaultHasher::new();
        hasher.write(key.unwrap_or_default().as_bytes());
        hasher.finish() % self.of == self.number
    }

    /// Its rows of a table with keys.
    ///
    /// # Errors
    /// When there is no column of keys.
    pub fn filter(self, rows: DataFrame) -> Result<DataFrame> {
        if self.is_all() {
            return Ok(rows);
        }
        let is_in = move |arguments: &[ColumnarValue]| {
            let keys = ColumnarValue::values_to_arrays(arguments)?;
            let is_in = keys[0].as_string::<i32>().iter().map(|key| Some(self.has(key)));
            Ok(ColumnarValue::Array(Arc::new(is_in.collect::<BooleanArray>()) as ArrayRef))
        };
        let types = vec![DataType::Utf8];
        let slice = create_udf("slice", types, DataType::Boolean, Volatility::Immutable, Arc::new(is_in));
        rows.filter(slice.call(vec![col(KEY)]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_slices_as_memory_needs() {
        for (rows, at_once, slices) in [(0, 10, 1), (10, 10, 1), (11, 10, 2), (101, 10, 11), (5, 0, 5)] {
            assert_eq!(Slice::ALL.parts(rows, at_once).count(), slices, "{rows} rows, {at_once} at once");
        }
    }

    #[test]
    fn each_row_is_in_one_part_of_its_slice() {
        for key in 0..500 {
            let key = format!("key {key}");
            let has = |slice: &Slice| slice.has(Some(&key));
            let mine: Vec<Slice> = Slice::ALL.parts(3, 1).filter(has).collect();
            assert_eq!(mine.len(), 1);
            assert_eq!(mine[0].parts(5, 1).filter(has).count(), 1);
            let others =
                Slice::ALL.parts(3, 1).filter(|slice| !has(slice)).flat_map(|slice| slice.parts(5, 1));
            assert_eq!(others.collect::<Vec<_>>().iter().filter(|slice| has(slice)).count(), 0);
        }
    }
}
