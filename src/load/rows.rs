//! Rows of a partition, which stand anywhere in some batches.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use crate::model::Texts;

/// Where each row of a partition stands in some batches.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub batches: &'a [RecordBatch],
    /// Batch and row.
    pub places: &'a [Place],
}

/// Batch and row.
pub(super) type Place = (u32, u32);

impl<'a> Rows<'a> {
    /// One column of all batches.
    pub(super) fn arrays(&self, index: usize) -> impl Iterator<Item = &'a ArrayRef> + Clone {
        self.batches.iter().map(move |batch| batch.column(index))
    }

    /// One column of the rows, as an array of the table's type.
    pub(super) fn column(&self, index: usize, kind: &DataType) -> Result<ArrayRef, ArrowError> {
        // Columns that the file lacks are many, and cost nothing.
        if self.arrays(index).all(|array| array.null_count() == array.len()) {
            return Ok(new_null_array(kind, self.places.len()));
        }
        // Texts may be coded in some batches and stand in others.
        let coded = |array: &ArrayRef| matches!(array.data_type(), DataType::Dictionary(..));
        if kind == &DataType::Utf8 && self.arrays(index).any(coded) {
            let texts: Vec<Option<Texts>> = self.arrays(index).map(Texts::of).collect();
            let text =
                |&(batch, row): &Place| texts[batch as usize].and_then(|texts| texts.get(row as usize));
            return Ok(Arc::new(self.places.iter().map(text).collect::<StringArray>()));
        }
        let arrays: Vec<&dyn Array> = self.arrays(index).map(AsRef::as_ref).collect();
        let places: Vec<(usize, usize)> =
            self.places.iter().map(|&(batch, row)| (batch as usize, row as usize)).collect();
        interleave(&arrays, &places)
    }

    /// The rows as one batch of the table's shape.
    pub(super) fn together(&self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let columns = schema.fields().iter().enumerate();
        let columns = columns.map(|(index, field)| self.column(index, field.data_type()));
        RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<Vec<_>, _>>()?)
    }
}

/// About what a batch adds to memory: columns without a value share one array, and batches share `dictionaries`.
pub(super) fn memory_of(batch: &RecordBatch, dictionaries: &mut HashSet<usize>) -> usize {
    let columns = batch.columns().iter().filter(|column| column.null_count() < column.len());
    let sizes = columns.map(|column| match column.as_any_dictionary_opt() {
        Some(coded) => {
            let is_new = dictionaries.insert(Arc::as_ptr(coded.values()).addr());
            bytes_of(coded.keys()) + if is_new { bytes_of(coded.values()) } else { 0 }
        }
        None => bytes_of(column),
    });
    sizes.sum()
}

/// Of the rows that the array has, whatever its buffers have beside them.
fn bytes_of(array: &dyn Array) -> usize {
    let validity = if array.nulls().is_some() { array.len() / 8 } else { 0 };
    // The usual kinds; anything else can tell it too, at the price of several allocations.
    let values = match array.data_type() {
        DataType::Utf8 => {
            let offsets = array.as_string::<i32>().value_offsets();
            let bytes = offsets.last().zip(offsets.first()).map_or(0, |(end, begin)| (end - begin) as usize);
            size_of_val(offsets) + bytes
        }
        DataType::FixedSizeBinary(width) => array.len() * *width as usize,
        kind => match kind.primitive_width() {
            Some(width) => array.len() * width,
            None => return array.to_data().get_slice_memory_size().unwrap_or_default(),
        },
    };
    validity + values
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int64Array};

    use super::*;

    /// The crate is the oracle.
    #[test]
    fn bytes_are_those_of_the_rows() {
        let texts = StringArray::from(vec![Some("one"), None, Some("three"), Some("")]);
        let arrays: [ArrayRef; 6] = [
            Arc::new(texts.clone()),
            Arc::new(texts.slice(1, 2)),
            Arc::new(StringArray::from(Vec::<&str>::new())),
            Arc::new(Decimal128Array::from(vec![1, 2, 3])),
            Arc::new(FixedSizeBinaryArray::try_from_iter([[7u8; 16]; 3].iter()).unwrap()),
            Arc::new(BooleanArray::from(vec![true; 100])),
        ];
        for array in arrays {
            let exact = array.to_data().get_slice_memory_size().unwrap();
            assert!(bytes_of(&array).abs_diff(exact) <= 1, "{array:?}: {} and not {exact}", bytes_of(&array));
        }
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("one", one)]).unwrap();
        assert_eq!(memory_of(&batch, &mut HashSet::new()), 16);
    }
}
