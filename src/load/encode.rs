//! Columns of row groups, gathered and encoded one by one on all cores: a column is in memory only while it is encoded, and
//! what it is gathered from stays in the cache of a core while it goes to every partition.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use foldhash::fast::FixedState;
use parquet::basic::ZstdLevel;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use super::chunk::{Chunk, Chunker, Column, Value, Values};
use super::cores::on_cores;
use super::rows::Place;
use crate::error::{self, Error, Kind};
use crate::model::{TableSpec, Texts};

/// A dictionary that is larger is not worth looking values up in: the limit of the parquet crate.
const DICTIONARY_BYTES: usize = 1 << 20;

/// So many values may all be different before half of them must have been there before.
const DISTINCT_AT_FIRST: usize = 512;

/// Encodes row groups: for each of `groups`, the places of its rows in the batches, the chunks of its columns.
pub(super) fn encode(
    spec: &TableSpec,
    descr: &SchemaDescriptor,
    batches: &[RecordBatch],
    groups: &[Vec<Place>],
    level: ZstdLevel,
) -> error::Result<Vec<Vec<Chunk>>> {
    let fields = spec.schema.fields();
    // Where the rows of each batch begin among those of all.
    let begins = batches.iter().scan(0, |end, batch| {
        let begin = *end;
        *end += batch.num_rows() as u32;
        Some(begin)
    });
    let begins: Vec<u32> = begins.collect();
    let row = |&(batch, row): &Place| begins[batch as usize] + row;
    let rows: Vec<Vec<u32>> = groups.iter().map(|places| places.iter().map(row).collect()).collect();
    // A key of one column is that column a second time.
    let twin = |index: usize| (0..index).find(|other| are_twins(spec, descr, batches, *other, index));
    let twins: Vec<Option<usize>> = (0..fields.len()).map(twin).collect();
    let columns: Vec<_> = fields.iter().enumerate().filter(|(index, _)| twins[*index].is_none()).collect();
    let failed = |cause: ParquetError| {
        Error::new(Kind::Bug, "rows could not be encoded").with("table", &spec.name).caused_by(cause)
    };
    let work = |chunker: &mut Chunker, (index, field): (usize, &Arc<Field>)| {
        let source = Source {
            arrays: batches.iter().map(|batch| batch.column(index)).collect(),
            groups,
            rows: &rows,
            descr: descr.column(index),
            bloom: spec.lookup.contains(field.name()),
        };
        source.encode(chunker, field.data_type()).map_err(failed)
    };
    let mut columns = on_cores(columns, || Chunker::new(level).map_err(failed), work)?.into_iter();
    let mut encoded: Vec<Vec<Chunk>> = groups.iter().map(|_| Vec::with_capacity(fields.len())).collect();
    for (twin, field) in twins.into_iter().zip(fields) {
        let bloom = spec.lookup.contains(field.name());
        match twin {
            Some(twin) => encoded.iter_mut().for_each(|group| group.push(group[twin].twin(bloom))),
            None => {
                let chunks = columns.next().unwrap_or_default();
                encoded.iter_mut().zip(chunks).for_each(|(group, chunk)| group.push(chunk));
            }
        }
    }
    Ok(encoded)
}

/// Whether two columns hold the same texts in the same memory, and would become the same bytes.
fn are_twins(
    spec: &TableSpec,
    descr: &SchemaDescriptor,
    batches: &[RecordBatch],
    one: usize,
    other: usize,
) -> bool {
    let [a, b] = [one, other].map(|index| spec.schema.field(index));
    let may_be = a.data_type() == b.data_type()
        && descr.column(one).max_def_level() == descr.column(other).max_def_level()
        && spec.lookup.contains(a.name()) >= spec.lookup.contains(b.name());
    let are_same = |batch: &RecordBatch| {
        let [one, other] = [one, other].map(|index| batch.column(index).as_string_opt::<i32>());
        let [Some(one), Some(other)] = [one, other] else { return false };
        one.null_count() + other.null_count() == 0
            && std::ptr::eq(one.value_data(), other.value_data())
            && std::ptr::eq(one.value_offsets(), other.value_offsets())
    };
    may_be && a.data_type() == &DataType::Utf8 && batches.iter().all(are_same)
}

/// One column of the batches.
struct Source<'a> {
    arrays: Vec<&'a ArrayRef>,
    groups: &'a [Vec<Place>],
    /// The places of the groups as numbers among the rows of all batches.
    rows: &'a [Vec<u32>],
    descr: ColumnDescPtr,
    bloom: bool,
}

impl<'a> Source<'a> {
    /// A chunk for each group.
    fn encode(&self, chunker: &mut Chunker, kind: &DataType) -> Result<Vec<Chunk>> {
        match kind {
            DataType::Utf8 => self.encode_texts(chunker),
            DataType::Binary => {
                let arrays: Vec<_> = self.arrays.iter().map(|array| array.as_binary::<i32>()).collect();
                self.encode_each(chunker, |batch, row| arrays[batch].value(row))
            }
            DataType::Boolean => {
                let arrays: Vec<_> = self.arrays.iter().map(|array| array.as_boolean()).collect();
                self.encode_each(chunker, |batch, row| arrays[batch].value(row))
            }
            DataType::FixedSizeBinary(16) => {
                let arrays: Vec<_> = self.arrays.iter().map(|array| array.as_fixed_size_binary()).collect();
                self.encode_each(chunker, |batch, row| {
                    let mut bytes = [0; 16];
                    bytes.copy_from_slice(arrays[batch].value(row));
                    bytes
                })
            }
            // So many digits are 16 bytes in a file.
            DataType::Decimal128(37.., _) => self.encode_numbers::<Decimal128Type>(chunker),
            DataType::Int64 => self.encode_numbers::<Int64Type>(chunker),
            DataType::Int32 => self.encode_numbers::<Int32Type>(chunker),
            DataType::Date32 => self.encode_numbers::<Date32Type>(chunker),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                self.encode_numbers::<TimestampMicrosecondType>(chunker)
            }
            other => Err(ParquetError::NYI(format!("columns of type {other}"))),
        }
    }

    fn encode_numbers<T: ArrowPrimitiveType>(&self, chunker: &mut Chunker) -> Result<Vec<Chunk>>
    where
        T::Native: Value + Hash,
    {
        let slices: Vec<&[T::Native]> =
            self.arrays.iter().map(|array| &**array.as_primitive::<T>().values()).collect();
        slices.iter().for_each(|values| touch(values));
        self.encode_each(chunker, |batch, row| slices[batch][row])
    }

    /// Texts, of which a batch has them as they stand or coded, with a dictionary of its own: a row group has one of the
    /// entries that it uses.
    fn encode_texts(&self, chunker: &mut Chunker) -> Result<Vec<Chunk>> {
        let texts = self.arrays.iter().map(|array| {
            Texts::of(array).ok_or_else(|| ParquetError::NYI(format!("texts as {}", array.data_type())))
        });
        let texts: Vec<Texts<'a>> = texts.collect::<Result<_>>()?;
        let text = |batch: usize, row: usize| match texts[batch] {
            Texts::Plain(texts) => texts.value(row),
            Texts::Coded { keys, entries } => entries.value(usize::from(keys.values()[row])),
        };
        let is_coded = |texts: &Texts<'_>| matches!(texts, Texts::Coded { .. });
        if !texts.iter().any(is_coded) {
            for texts in &texts {
                if let Texts::Plain(texts) = texts {
                    touch(texts.value_data());
                }
            }
            return self.encode_each(chunker, text);
        }
        let all_coded =
            self.arrays.iter().zip(&texts).all(|(array, texts)| is_coded(texts) || is_empty(array));
        let numbered = Numbered::of(&texts);
        let mut numbers = Vec::new();
        let one = |(places, rows): (&Vec<Place>, &Vec<u32>)| {
            let (valid, entries, codes) = numbered.gather(rows, &mut numbers);
            // Where a column has stopped being coded, as in [`coded`].
            let is_crowded = || {
                let bytes: usize = entries.iter().map(|entry| entry.size()).sum();
                entries.len() > 1 && entries.len() * 2 > codes.len() || bytes > DICTIONARY_BYTES
            };
            if !all_coded && is_crowded() {
                let (valid, values) = self.gather(places, text);
                return chunker.encode(&self.column(valid), &Values::Plain(&values));
            }
            chunker.encode(&self.column(valid), &Values::Coded { entries: &entries, codes: &codes })
        };
        self.groups.iter().zip(self.rows).map(one).collect()
    }

    fn encode_each<V: Value + Hash>(
        &self,
        chunker: &mut Chunker,
        value: impl Fn(usize, usize) -> V,
    ) -> Result<Vec<Chunk>> {
        let mut may_be_coded = V::MAY_BE_CODED;
        let one = |places: &Vec<Place>| {
            let (valid, values) = self.gather(places, &value);
            let coded = if may_be_coded { coded(&values) } else { None };
            match coded {
                Some((entries, codes)) => {
                    chunker.encode(&self.column(valid), &Values::Coded { entries: &entries, codes: &codes })
                }
                None => {
                    // The next groups have values of the same kind.
                    may_be_coded &= values.len() <= DISTINCT_AT_FIRST;
                    chunker.encode(&self.column(valid), &Values::Plain(&values))
                }
            }
        };
        self.groups.iter().map(one).collect()
    }

    fn column(&self, valid: BooleanBuffer) -> Column {
        Column { descr: self.descr.clone(), valid, bloom: self.bloom }
    }

    /// Which rows have a value, and these.
    fn gather<V>(
        &self,
        places: &[Place],
        mut value: impl FnMut(usize, usize) -> V,
    ) -> (BooleanBuffer, Vec<V>) {
        let nulls: Vec<Option<&NullBuffer>> = self.arrays.iter().map(|array| array.nulls()).collect();
        if nulls.iter().all(Option::is_none) {
            let values = places.iter().map(|&(batch, row)| value(batch as usize, row as usize)).collect();
            return (BooleanBuffer::new_set(places.len()), values);
        }
        // Columns that the file lacks are many, and cost nothing.
        if self.arrays.iter().all(|array| is_empty(array)) {
            return (BooleanBuffer::new_unset(places.len()), Vec::new());
        }
        let mut values = Vec::with_capacity(places.len());
        let valid = BooleanBuffer::collect_bool(places.len(), |at| {
            let (batch, row) = (places[at].0 as usize, places[at].1 as usize);
            let valid = nulls[batch].is_none_or(|nulls| nulls.is_valid(row));
            if valid {
                values.push(value(batch, row));
            }
            valid
        });
        (valid, values)
    }
}

/// Looks at memory in its order, so that the processor fetches ahead: the rows of a group are far from each other.
fn touch<T: Copy>(values: &[T]) {
    const LINE_BYTES: usize = 64;
    values.iter().step_by(LINE_BYTES / size_of::<T>()).for_each(|value| {
        std::hint::black_box(*value);
    });
}

fn is_empty(array: &ArrayRef) -> bool {
    array.null_count() == array.len()
}

/// The texts of some batches, each once as far as that is known at no cost, and which of them each row has.
struct Numbered<'a> {
    texts: Vec<&'a str>,
    /// Of a row without a text, as many as there are texts.
    rows: Vec<u32>,
}

impl<'a> Numbered<'a> {
    fn of(batches: &[Texts<'a>]) -> Self {
        // Batches share their dictionaries, which only grow: the last are the longest.
        let mut dictionaries: Vec<(&StringArray, usize)> = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        let mut begins = vec![0; batches.len()];
        for (batch, begin) in batches.iter().zip(&mut begins).rev() {
            let Texts::Coded { entries, .. } = batch else { continue };
            let known = dictionaries.iter().find(|(known, _)| begins_with(known, entries));
            *begin = known.map_or(texts.len(), |(_, begin)| *begin);
            if known.is_none() {
                dictionaries.push((entries, *begin));
                texts.extend(entries.iter().map(Option::unwrap_or_default));
            }
        }
        // Entries of several dictionaries meet, and texts that stand as they are.
        let mut known: HashMap<&str, u32, FixedState> = HashMap::default();
        let has_plain = batches.iter().any(|batch| matches!(batch, Texts::Plain(_)));
        let numbered = texts.iter().zip(0..);
        let firsts: Vec<u32> = match dictionaries.len() {
            0 | 1 if !has_plain => numbered.map(|(_, number)| number).collect(),
            _ => numbered.map(|(text, number)| *known.entry(*text).or_insert(number)).collect(),
        };
        const NONE: u32 = u32::MAX;
        let mut rows = Vec::with_capacity(batches.iter().map(Texts::len).sum());
        for (batch, begin) in batches.iter().zip(begins) {
            let first = rows.len();
            match batch {
                Texts::Coded { keys, .. } => {
                    let firsts = &firsts[begin..];
                    // A null has any number, also where there is no entry.
                    let first_of = |key: &u16| firsts.get(usize::from(*key)).copied().unwrap_or(NONE);
                    rows.extend(keys.values().iter().map(first_of));
                    let Some(nulls) = keys.nulls() else { continue };
                    let words = nulls.inner().bit_chunks();
                    for (word, rows) in words.iter_padded().zip(rows[first..].chunks_mut(u64::BITS as usize))
                    {
                        for (bit, row) in rows.iter_mut().enumerate() {
                            *row |= ((word >> bit & 1) as u32 ^ 1).wrapping_neg();
                        }
                    }
                }
                Texts::Plain(plain) => rows.extend(plain.iter().map(|text| {
                    let Some(text) = text else { return NONE };
                    *known.entry(text).or_insert_with(|| {
                        texts.push(text);
                        (texts.len() - 1) as u32
                    })
                })),
            }
        }
        let none = texts.len() as u32;
        rows.iter_mut().for_each(|row| *row = (*row).min(none));
        Numbered { texts, rows }
    }

    /// Of some rows, which have a text, the texts that occur, and of each row that has one, which of these it is. `numbers` is
    /// memory.
    fn gather(&self, rows: &[u32], numbers: &mut Vec<u32>) -> (BooleanBuffer, Vec<&'a str>, Vec<u32>) {
        const UNSEEN: u32 = u32::MAX;
        const WORD: usize = u64::BITS as usize;
        let none = self.texts.len();
        numbers.clear();
        numbers.resize(none, UNSEEN);
        numbers.push(0);
        let mut entries = Vec::new();
        let (mut valid, mut codes) = (Vec::with_capacity(rows.len().div_ceil(WORD)), vec![0; rows.len()]);
        let mut taken = 0;
        for rows in rows.chunks(WORD) {
            let mut word = 0;
            for (bit, row) in rows.iter().enumerate() {
                let text = self.rows[*row as usize] as usize;
                if numbers[text] == UNSEEN {
                    numbers[text] = entries.len() as u32;
                    entries.push(self.texts[text]);
                }
                // Without a branch: whether a row has a text no processor can guess.
                codes[taken] = numbers[text];
                taken += usize::from(text < none);
                word |= u64::from(text < none) << bit;
            }
            valid.push(word.to_le());
        }
        codes.truncate(taken);
        (BooleanBuffer::new(valid.into(), 0, rows.len()), entries, codes)
    }
}

/// Whether the first of some texts are these entries.
fn begins_with(texts: &StringArray, entries: &StringArray) -> bool {
    let end = entries.value_offsets().last().map_or(0, |end| *end as usize);
    std::ptr::eq(texts, entries)
        || texts.value_offsets().starts_with(entries.value_offsets())
            && texts.value_data()[..end] == entries.value_data()[..end]
}

/// The values as numbers of dictionary entries; `None` where most stand once: the dictionary would be the column a second
/// time.
fn coded<V: Value + Hash>(values: &[V]) -> Option<(Vec<V>, Vec<u32>)> {
    let mut codes = Vec::with_capacity(values.len());
    let (mut entries, mut bytes) = (Vec::new(), 0);
    // Room for all that are looked at where all are different.
    let room = values.len().min(2 * DISTINCT_AT_FIRST);
    let mut known: HashMap<V, u32, FixedState> =
        HashMap::with_capacity_and_hasher(room, FixedState::default());
    // Rows are sorted: what stands before is often the same.
    let mut before = None;
    for (seen, value) in values.iter().enumerate() {
        let code = match before {
            Some((same, code)) if same == *value => code,
            _ => *known.entry(*value).or_insert_with(|| {
                entries.push(*value);
                bytes += value.size();
                (entries.len() - 1) as u32
            }),
        };
        before = Some((*value, code));
        codes.push(code);
        if entries.len() > DISTINCT_AT_FIRST + seen / 2 || bytes > DICTIONARY_BYTES {
            return None;
        }
    }
    (entries.len() * 2 <= values.len() || entries.len() <= 1).then_some((entries, codes))
}

#[cfg(test)]
mod tests {
    use arrow::array::{DictionaryArray, new_null_array};
    use arrow::datatypes::{Schema, UInt16Type};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};

    use super::*;

    /// Batches of which some are coded, with dictionaries of their own, some are not, and one has no value.
    #[test]
    fn texts_come_back_whichever_way_a_batch_has_them() {
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
        let spec = TableSpec {
            schema: schema.clone(),
            lookup: vec!["text".into()],
            ..crate::load::quarantine_spec()
        };
        let descr = ArrowSchemaConverter::new().convert(&schema).unwrap();
        for distinct in [1, 3, 5000] {
            let text = |row: &u32| (!row.is_multiple_of(7)).then(|| format!("text {}", row % distinct));
            let rows = |from| (from..from + 900u32).map(|row| text(&row)).collect::<Vec<_>>();
            let coded = |from| -> ArrayRef {
                let rows = rows(from);
                Arc::new(rows.iter().map(Option::as_deref).collect::<DictionaryArray<UInt16Type>>())
            };
            let plain = |from| -> ArrayRef { Arc::new(StringArray::from(rows(from))) };
            let nothing = new_null_array(&DataType::Utf8, 900);
            let batches = [coded(0), plain(900), coded(1800), nothing, plain(3600)];
            let batches = batches
                .map(|texts| RecordBatch::try_from_iter_with_nullable([("text", texts, true)]).unwrap());
            let all = (0..4500u32).rev().map(|row| (row / 900, row % 900)).collect::<Vec<_>>();
            let in_batches = |wanted: &[u32]| {
                all.iter().filter(|(batch, _)| wanted.contains(batch)).copied().collect::<Vec<_>>()
            };
            let groups =
                [in_batches(&[0, 1, 2, 3, 4]), in_batches(&[0, 2, 3]), in_batches(&[3]), in_batches(&[1, 4])];
            let level = ZstdLevel::try_new(1).unwrap();
            let encoded = encode(&spec, &descr, &batches, &groups, level).unwrap();
            for (group, mut chunks) in groups.iter().zip(encoded) {
                let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), None).unwrap();
                let (mut file, _) = writer.into_serialized_writer().unwrap();
                let mut row_group = file.next_row_group().unwrap();
                chunks.pop().unwrap().append(descr.column(0), &mut row_group).unwrap();
                row_group.close().unwrap();
                let reader =
                    ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file.into_inner().unwrap()));
                let reader = reader.unwrap();
                let has_dictionary =
                    reader.metadata().row_group(0).column(0).dictionary_page_offset().is_some();
                let read: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
                let read = read.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter());
                let expected = group.iter().map(
                    |(batch, row)| {
                        if *batch == 3 { None } else { text(&(batch * 900 + row)) }
                    },
                );
                assert!(read.map(|text| text.map(str::to_owned)).eq(expected), "{distinct}");
                let any = group.iter().any(|(batch, _)| *batch != 3);
                let all_coded = group.iter().all(|(batch, _)| [0, 2, 3].contains(batch));
                // What is all different is no dictionary, unless a batch has it as one already and all others, too.
                let is_few = distinct < 5000;
                assert!(!any || has_dictionary == is_few || all_coded, "{distinct}: {has_dictionary}");
            }
        }
    }

    #[test]
    fn what_comes_again_is_coded() {
        assert_eq!(coded(&["a", "b", "a", "a"]), Some((vec!["a", "b"], vec![0, 1, 0, 0])));
        assert_eq!(coded(&[7i64]), Some((vec![7], vec![0])));
        assert_eq!(coded(&["a", "b", "c"]), None);
        assert_eq!(coded::<i64>(&(0..9000).collect::<Vec<_>>()), None);
        let (entries, _) = coded::<i64>(&(0..9000).map(|row| row % 1000).collect::<Vec<_>>()).unwrap();
        assert_eq!(entries.len(), 1000);
        let large = "x".repeat(DICTIONARY_BYTES);
        assert_eq!(coded(&[large.as_str(); 4]), None, "an entry has its length before it");
    }
}
