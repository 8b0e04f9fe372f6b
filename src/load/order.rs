//! The order of rows inside a row group.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt16Type};
use arrow::error::ArrowError;

use super::chunk::rank_of;
use super::rows::Place;
use crate::model::TableSpec;

/// The columns by which the rows of a table are sorted: those of its sort columns that are texts, dates, times or integers.
pub(super) fn sort_columns(spec: &TableSpec) -> Vec<usize> {
    let sortable = |index: &usize| {
        let kind = spec.schema.field(*index).data_type();
        matches!(
            kind,
            DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..) | DataType::Int32 | DataType::Int64
        )
    };
    spec.sort.iter().filter_map(|name| spec.schema.index_of(name).ok()).filter(sortable).collect()
}

/// The sort columns of some batches, made ready for many comparisons.
pub(super) struct Order<'a> {
    columns: Vec<Vec<Keys<'a>>>,
}

/// One sort column of one batch: each value is a number that is as great among the others as the value, and 0 where there is
/// none. Of a text that is its beginning.
enum Keys<'a> {
    Coded { codes: &'a ArrayRef, ranks: Arc<[u64]> },
    Numbers(Vec<u64>),
    Texts { beginnings: Vec<u64>, texts: StringArray },
}

impl<'a> Order<'a> {
    /// By columns of the batches, the first of which counts most.
    pub(super) fn new(batches: &'a [RecordBatch], by: &[usize]) -> Result<Self, ArrowError> {
        let column = |index: &usize| keys_of(batches.iter().map(|batch| batch.column(*index)).collect());
        Ok(Order { columns: by.iter().map(column).collect::<Result<_, _>>()? })
    }

    /// The places in order; of equal rows the earlier stays before the later.
    pub(super) fn sorted(&self, places: &[Place]) -> Vec<Place> {
        let width = self.columns.len();
        let mut keys = Vec::with_capacity(places.len() * width);
        for &(batch, row) in places {
            keys.extend(self.columns.iter().map(|column| column[batch as usize].key(row as usize)));
        }
        let has_texts = |column: &Vec<Keys<'_>>| column.iter().any(|keys| matches!(keys, Keys::Texts { .. }));
        let decides: Vec<bool> = self.columns.iter().map(has_texts).collect();
        // One number stands beside each row, and decides most.
        let mut order: Vec<(u64, usize)> =
            packed(&keys, &decides, places.len()).into_iter().zip(0..).collect();
        order.sort_by(|&(number, one), &(other_number, other)| {
            number.cmp(&other_number).then_with(|| {
                for (index, column) in self.columns.iter().enumerate() {
                    let mut order = keys[one * width + index].cmp(&keys[other * width + index]);
                    if order.is_eq() && decides[index] {
                        order = texts(column, places[one], places[other]);
                    }
                    if order.is_ne() {
                        return order;
                    }
                }
                Ordering::Equal
            })
        });
        order.into_iter().map(|(_, at)| places[at]).collect()
    }
}

/// Of each row one number for the first columns, as far as they have room in it: where two numbers differ, so do the rows, and
/// in the same direction. `keys` has one after the other for each row; behind a column that `decides` by more than its
/// keys no other counts.
fn packed(keys: &[u64], decides: &[bool], rows: usize) -> Vec<u64> {
    let (mut packed, mut room) = (vec![0u64; rows], u64::BITS);
    for (index, is_last) in decides.iter().enumerate() {
        let column = || keys.iter().skip(index).step_by(decides.len());
        let (min, max) = column().fold((u64::MAX, 0), |(min, max), key| (min.min(*key), max.max(*key)));
        let bits = u64::BITS - max.saturating_sub(min).leading_zeros();
        let taken = bits.min(room);
        for (packed, key) in packed.iter_mut().zip(column()) {
            let first = (key - min).checked_shr(bits - taken).unwrap_or(0);
            *packed = packed.checked_shl(taken).unwrap_or(0) | first;
        }
        room -= taken;
        if taken < bits || *is_last {
            break;
        }
    }
    packed
}

/// Decides between texts that begin alike.
fn texts(column: &[Keys<'_>], one: Place, other: Place) -> Ordering {
    let [one, other] = [one, other].map(|(batch, row)| match &column[batch as usize] {
        Keys::Texts { texts, .. } if texts.is_valid(row as usize) => Some(texts.value(row as usize)),
        _ => None,
    });
    one.cmp(&other)
}

/// How a text begins. One more than nothing at all.
fn beginning(text: &str) -> u64 {
    rank_of(text.as_bytes()).saturating_add(1)
}

impl Keys<'_> {
    #[inline]
    fn key(&self, row: usize) -> u64 {
        match self {
            Keys::Coded { codes, ranks } => {
                let keys = codes.as_dictionary::<UInt16Type>().keys();
                if keys.is_valid(row) { ranks[usize::from(keys.value(row))] } else { 0 }
            }
            Keys::Numbers(numbers) | Keys::Texts { beginnings: numbers, .. } => numbers[row],
        }
    }
}

fn keys_of(arrays: Vec<&ArrayRef>) -> Result<Vec<Keys<'_>>, ArrowError> {
    let coded: Option<Vec<&StringArray>> = arrays
        .iter()
        .map(|array| Some(array.as_dictionary_opt::<UInt16Type>()?.values().as_string::<i32>()))
        .collect();
    let Some(coded) = coded else { return arrays.into_iter().map(keys_of_one).collect() };
    // Batches share their dictionaries.
    let mut different: Vec<&StringArray> = Vec::new();
    for entries in &coded {
        if !different.iter().any(|known| std::ptr::eq(*known, *entries)) {
            different.push(entries);
        }
    }
    let mut ranked: Vec<&str> = different.iter().flat_map(|entries| entries.iter().flatten()).collect();
    ranked.sort_unstable();
    ranked.dedup();
    let rank = |entry: &str| ranked.partition_point(|known| *known < entry) as u64 + 1;
    let ranks: Vec<Arc<[u64]>> =
        different.iter().map(|entries| entries.iter().flatten().map(rank).collect()).collect();
    let ranks_of = |entries: &StringArray| {
        let known = different.iter().position(|known| std::ptr::eq(*known, entries));
        ranks[known.unwrap_or_default()].clone()
    };
    let keys = arrays.into_iter().zip(coded);
    Ok(keys.map(|(codes, entries)| Keys::Coded { codes, ranks: ranks_of(entries) }).collect())
}

fn keys_of_one(array: &ArrayRef) -> Result<Keys<'_>, ArrowError> {
    if matches!(array.data_type(), DataType::Utf8 | DataType::Dictionary(..)) {
        let texts = cast(array, &DataType::Utf8)?.as_string::<i32>().clone();
        // One after the other as they stand in memory: rows of a partition are far from each other.
        let beginnings = texts.iter().map(|text| text.map_or(0, beginning)).collect();
        return Ok(Keys::Texts { beginnings, texts });
    }
    // Dates, times and integers.
    let numbers = cast(array, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    let key = |number: i64| (number as u64 ^ 1 << 63).saturating_add(1);
    Ok(Keys::Numbers(numbers.map(|number| number.map_or(0, key)).collect()))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::compute::{SortColumn, interleave, lexsort_to_indices};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The crate is the oracle.
        #[test]
        fn rows_are_sorted_as_arrow_sorts_them(
            batches in proptest::collection::vec(
                proptest::collection::vec((proptest::option::of("[ab]{0,2}"), proptest::option::of("(abcdefgh)?[a-c\u{0}é]{0,2}"), proptest::option::of(-2..3i64)), 1..9),
                1..4,
            ),
            coded in any::<bool>(),
        ) {
            let batch = |rows: &Vec<(Option<String>, Option<String>, Option<i64>)>| {
                let few: ArrayRef = Arc::new(rows.iter().map(|row| row.0.clone()).collect::<StringArray>());
                let kind = DataType::Dictionary(DataType::UInt16.into(), DataType::Utf8.into());
                let few = if coded { cast(&few, &kind).unwrap() } else { few };
                let many: ArrayRef = Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringArray>());
                let numbers: ArrayRef = Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>());
                RecordBatch::try_from_iter_with_nullable([("few", few, true), ("many", many, true), ("numbers", numbers, true)]).unwrap()
            };
            let batches: Vec<RecordBatch> = batches.iter().map(batch).collect();
            let rows = batches.iter().enumerate();
            let places: Vec<Place> =
                rows.flat_map(|(number, batch)| (0..batch.num_rows() as u32).map(move |row| (number as u32, row))).collect();
            let found = Order::new(&batches, &[0, 1, 2]).unwrap().sorted(&places);

            let column = |index: usize, places: &[Place]| {
                let arrays: Vec<ArrayRef> = batches.iter().map(|batch| match batch.column(index).data_type() {
                    DataType::Dictionary(..) => cast(batch.column(index), &DataType::Utf8).unwrap(),
                    _ => batch.column(index).clone(),
                }).collect();
                let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
                let places: Vec<_> = places.iter().map(|(batch, row)| (*batch as usize, *row as usize)).collect();
                interleave(&arrays, &places).unwrap()
            };
            let columns: Vec<_> = (0..3).map(|index| SortColumn { values: column(index, &places), options: None }).collect();
            let order = lexsort_to_indices(&columns, None).unwrap();
            let wanted: Vec<Place> = order.values().iter().map(|row| places[*row as usize]).collect();
            for index in 0..3 {
                prop_assert_eq!(&column(index, &found), &column(index, &wanted));
            }
        }
    }
}
