//! Whether the values of a column come again: what a look at some rows says about the encoding that suits them.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::DataType;

use super::part::Rows;

/// Rows that are looked at, evenly over all.
const SAMPLE: usize = 512;

/// Whether most rows have a value of their own in a column.
pub(super) fn is_distinct(rows: Rows<'_>, column: usize) -> bool {
    let arrays: Vec<&dyn Array> = rows.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
    if arrays.iter().all(|array| array.null_count() == array.len()) {
        return false;
    }
    let step = rows.places.len().div_ceil(SAMPLE).max(1);
    let places: Vec<(usize, usize)> = rows.places.iter().copied().step_by(step).collect();
    // Whatever cannot be looked at is encoded as usual.
    interleave(&arrays, &places).is_ok_and(|sample| is_distinct_in(&sample))
}

fn is_distinct_in(sample: &ArrayRef) -> bool {
    let valid = sample.len() - sample.null_count();
    let distinct = match sample.data_type() {
        DataType::Utf8 => sample.as_string::<i32>().iter().flatten().collect::<HashSet<_>>().len(),
        kind => match kind.primitive_width().or(fixed_width(kind)) {
            Some(width) => {
                let data = sample.to_data();
                let Some(bytes) = data.buffers().first() else { return false };
                let values = bytes.as_slice().chunks_exact(width).skip(data.offset()).take(data.len());
                let values = values.enumerate().filter(|(row, _)| sample.is_valid(*row));
                values.map(|(_, value)| value).collect::<HashSet<_>>().len()
            }
            None => return false,
        },
    };
    // Where few rows have a value, a dictionary of them is small.
    distinct > 1 && distinct * 2 > valid && valid * 4 > sample.len()
}

fn fixed_width(kind: &DataType) -> Option<usize> {
    match kind {
        DataType::FixedSizeBinary(width) => usize::try_from(*width).ok().filter(|width| *width > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, FixedSizeBinaryArray, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_sample_tells_ids_from_what_comes_again() {
        let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        assert!(!is_distinct_in(&text(vec![Some("a"); 9])));
        assert!(!is_distinct_in(&text([vec![Some("a"); 9], vec![Some("b"); 9]].concat())));
        let ids: Vec<String> = (0..9).map(|id| id.to_string()).collect();
        assert!(is_distinct_in(&text(ids.iter().map(|id| Some(id.as_str())).collect())));
        assert!(!is_distinct_in(&text([vec![Some("a"), Some("b")], vec![None; 9]].concat())));
        let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        assert!(is_distinct_in(&numbers) && !is_distinct_in(&numbers.slice(1, 1)));
        assert!(!is_distinct_in(&(Arc::new(Decimal128Array::from(vec![7; 5])) as ArrayRef)));
        let hashes = FixedSizeBinaryArray::try_from_iter([[1u8; 16], [2; 16]].iter()).unwrap();
        assert!(is_distinct_in(&(Arc::new(hashes) as ArrayRef)));
    }
}
