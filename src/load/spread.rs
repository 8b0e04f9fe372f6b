//! How the values of a column are spread: what a look at some rows says about the encoding that suits them.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::interleave;
use arrow::datatypes::DataType;

use super::part::Rows;

/// Rows that are looked at, evenly over all.
const SAMPLE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// One value in all rows, or none in any.
    Constant,
    /// Some values that come again.
    Some,
    /// Most rows have a value of their own.
    Distinct,
}

/// How one column of the rows is spread.
pub(super) fn spread(rows: Rows<'_>, column: usize) -> Spread {
    let arrays: Vec<&dyn Array> = rows.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
    if arrays.iter().all(|array| array.null_count() == array.len()) {
        return Spread::Constant;
    }
    let step = rows.places.len().div_ceil(SAMPLE).max(1);
    let places: Vec<(usize, usize)> = rows.places.iter().copied().step_by(step).collect();
    // Whatever cannot be looked at is encoded as usual.
    interleave(&arrays, &places).map_or(Spread::Some, |sample| spread_of(&sample))
}

fn spread_of(sample: &ArrayRef) -> Spread {
    let valid = sample.len() - sample.null_count();
    let distinct = match sample.data_type() {
        DataType::Utf8 => sample.as_string::<i32>().iter().flatten().collect::<HashSet<_>>().len(),
        kind => match kind.primitive_width().or(fixed_width(kind)) {
            Some(width) => {
                let data = sample.to_data();
                let Some(bytes) = data.buffers().first() else { return Spread::Some };
                let values = bytes.as_slice().chunks_exact(width).skip(data.offset()).take(data.len());
                let values = values.enumerate().filter(|(row, _)| sample.is_valid(*row));
                values.map(|(_, value)| value).collect::<HashSet<_>>().len()
            }
            None => return Spread::Some,
        },
    };
    match distinct {
        1 if valid == sample.len() => Spread::Constant,
        // Where few rows have a value, a dictionary of them is small.
        _ if distinct * 2 > valid && valid * 4 > sample.len() => Spread::Distinct,
        _ => Spread::Some,
    }
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
    fn a_sample_tells_constants_repeats_and_ids_apart() {
        let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        assert_eq!(spread_of(&text(vec![Some("a"); 9])), Spread::Constant);
        assert_eq!(spread_of(&text([vec![Some("a"); 9], vec![None]].concat())), Spread::Some);
        assert_eq!(spread_of(&text([vec![Some("a"); 9], vec![Some("b"); 9]].concat())), Spread::Some);
        let ids: Vec<String> = (0..9).map(|id| id.to_string()).collect();
        assert_eq!(spread_of(&text(ids.iter().map(|id| Some(id.as_str())).collect())), Spread::Distinct);
        assert_eq!(spread_of(&text([vec![Some("a"), Some("b")], vec![None; 9]].concat())), Spread::Some);
        let numbers = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        assert_eq!(spread_of(&numbers), Spread::Distinct);
        assert_eq!(spread_of(&numbers.slice(1, 1)), Spread::Constant);
        assert_eq!(spread_of(&(Arc::new(Decimal128Array::from(vec![7; 5])) as ArrayRef)), Spread::Constant);
        let hashes = FixedSizeBinaryArray::try_from_iter([[1u8; 16], [2; 16]].iter()).unwrap();
        assert_eq!(spread_of(&(Arc::new(hashes) as ArrayRef)), Spread::Distinct);
    }
}
