//! Joins hold the keys of one side in memory. Where there are too many rows for that, they are joined slice by slice:
//! rows of one key are in one slice, whatever side and file they stand in.

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use datafusion::prelude::{DataFrame, col, lit};

use super::merge::KEY;

/// Some of the rows: those whose key has this number among `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    number: i64,
    of: i64,
}

impl Slice {
    /// So many slices that none has many more than `at_once` of the `rows`.
    pub fn of(rows: u64, at_once: u64) -> impl Iterator<Item = Slice> {
        let of = i64::try_from(rows.div_ceil(at_once.max(1)).max(1)).unwrap_or(i64::MAX);
        (0..of).map(move |number| Slice { number, of })
    }

    /// Its rows of a table with keys.
    ///
    /// # Errors
    /// When there is no column of keys.
    pub fn filter(self, rows: DataFrame) -> Result<DataFrame> {
        if self.of == 1 {
            return Ok(rows);
        }
        let of = self.of.unsigned_abs();
        let number = move |arguments: &[ColumnarValue]| {
            let keys = ColumnarValue::values_to_arrays(arguments)?;
            let numbers = keys[0].as_string::<i32>().iter().map(|key| {
                let mut hasher = DefaultHasher::new();
                hasher.write(key.unwrap_or_default().as_bytes());
                (hasher.finish() % of) as i64
            });
            Ok(ColumnarValue::Array(Arc::new(numbers.collect::<Int64Array>()) as ArrayRef))
        };
        let types = vec![DataType::Utf8];
        let slice = create_udf("slice", types, DataType::Int64, Volatility::Immutable, Arc::new(number));
        rows.filter(slice.call(vec![col(KEY)]).eq(lit(self.number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_slices_as_memory_needs() {
        for (rows, at_once, slices) in [(0, 10, 1), (10, 10, 1), (11, 10, 2), (101, 10, 11), (5, 0, 5)] {
            assert_eq!(Slice::of(rows, at_once).count(), slices, "{rows} rows, {at_once} at once");
        }
    }
}
