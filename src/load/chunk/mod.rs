//! Column chunks of Parquet: what the parquet crate does, for the columns that we have much of, in a fraction of its time.
//!
//! The crate looks every value up in a dictionary of its own and compares it with the smallest and the greatest, byte array
//! by byte array. Here a column comes as what it is: numbers of dictionary entries, or values that are written as they
//! stand. Pages, statistics, indexes and bloom filters are those of the format's specification; headers and footer are
//! the crate's, which also reads back what was written.

mod levels;
mod value;

use std::io::Write;

use arrow::buffer::BooleanBuffer;
use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use levels::{put_codes, put_validity};
use value::Search;
pub(super) use value::{Value, rank_of};

/// Most rows of a page, and about the most bytes: the defaults of the parquet crate.
const PAGE_ROWS: usize = 20_000;
const PAGE_BYTES: usize = 1 << 20;

/// What stands before a page, at most.
const HEADER_BYTES: usize = 64;

/// Share of values that a bloom filter wrongly says it has: the default of the parquet crate.
const BLOOM_FALSE_SHARE: f64 = 0.05;

/// The encoded column of a row group. A clone shares its bytes.
#[derive(Clone)]
pub(super) struct Chunk {
    bytes: Bytes,
    rows: usize,
    /// For its metadata, which name the column.
    compression: Compression,
    uncompressed: usize,
    encodings: EncodingMask,
    pages: Vec<PageEncodingStats>,
    dictionary: bool,
    first_data_page: i64,
    statistics: Statistics,
    column_index: ColumnIndexMetaData,
    offset_index: OffsetIndexMetaData,
    bloom_filter: Option<Sbbf>,
}

impl Chunk {
    /// The same for another column.
    pub(super) fn twin(&self, bloom: bool) -> Self {
        let bloom_filter = self.bloom_filter.clone().filter(|_| bloom);
        Chunk { bloom_filter, ..self.clone() }
    }

    /// Appends it as a column.
    pub(super) fn append<W: Write + Send>(
        self,
        descr: ColumnDescPtr,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        let metadata = ColumnChunkMetaData::builder(descr)
            .set_compression(self.compression)
            .set_encodings_mask(self.encodings)
            .set_page_encoding_stats(self.pages)
            .set_total_compressed_size(self.bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(self.first_data_page)
            .set_dictionary_page_offset(self.dictionary.then_some(0))
            .set_statistics(self.statistics)
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: self.bytes.len() as u64,
            rows_written: self.rows as u64,
            metadata,
            bloom_filter: self.bloom_filter,
            column_index: Some(self.column_index),
            offset_index: Some(self.offset_index),
        };
        group.append_column(&self.bytes, close)
    }
}

/// What is to be encoded, apart from the values.
pub(super) struct Column {
    pub descr: ColumnDescPtr,
    /// Which rows have a value.
    pub valid: BooleanBuffer,
    /// Whether people look values up in it.
    pub bloom: bool,
}

/// Values of the rows that have one.
pub(super) enum Values<'a, V> {
    Plain(&'a [V]),
    /// All entries are used.
    Coded {
        entries: &'a [V],
        codes: &'a [u32],
    },
}

/// Encodes columns, one after the other.
pub(super) struct Chunker {
    level: ZstdLevel,
    zstd: Compressor<'static>,
    page: Vec<u8>,
    page_rows: usize,
}

impl Chunker {
    pub(super) fn new(level: ZstdLevel) -> Result<Self> {
        let zstd = Compressor::new(level.compression_level()).map_err(failed)?;
        Ok(Chunker { level, zstd, page: Vec::new(), page_rows: PAGE_ROWS })
    }

    pub(super) fn encode<V: Value>(&mut self, column: &Column, values: &Values<'_, V>) -> Result<Chunk> {
        let mut pages = Pages::new(column.descr.clone());
        let mut bloom = column.bloom.then(|| values.bloom()).transpose()?;
        let entries = match values {
            Values::Plain(_) => None,
            Values::Coded { entries, .. } => Some(*entries),
        };
        if let Some(entries) = entries.filter(|entries| !entries.is_empty()) {
            self.page.clear();
            V::put_all(entries, &mut self.page);
            self.tune(V::SEARCH)?;
            let num_values = entries.len() as u32;
            let buf = self.compressed()?;
            let page = Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
            pages.write(CompressedPage::new(page, self.page.len()))?;
        }
        self.tune(if entries.is_some() { Search::CODES } else { V::SEARCH })?;
        let (rows, mut first, mut first_value) = (column.valid.len(), 0, 0);
        let page_rows = values.page_rows(rows).min(self.page_rows);
        while first < rows {
            let valid = column.valid.slice(first, page_rows.min(rows - first));
            let count = valid.count_set_bits();
            self.page.clear();
            if column.descr.max_def_level() > 0 {
                put_validity(&valid, &mut self.page);
            } else if count < valid.len() {
                return Err(ParquetError::General(format!("{} must have a value", column.descr.name())));
            }
            let range = first_value..first_value + count;
            let (encoding, bounds) = values.put(range.clone(), &mut self.page);
            // While the values are in the cache of the core.
            if let (Some(bloom), Values::Plain(values)) = (&mut bloom, values) {
                values[range].iter().for_each(|value| value.insert(bloom));
            }
            pages.bounds.push((bounds, (valid.len() - count) as i64));
            let page = Page::DataPage {
                buf: self.compressed()?,
                num_values: valid.len() as u32,
                encoding,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            pages.write(CompressedPage::new(page, self.page.len()))?;
            pages.offsets.append_row_count(valid.len() as i64);
            first += valid.len();
            first_value += count;
        }
        bloom.iter_mut().for_each(|bloom| bloom.fold_to_target_fpp(BLOOM_FALSE_SHARE));
        pages.close(rows, values, self.level, bloom)
    }

    /// A level that somebody has chosen is left as it is.
    fn tune(&mut self, search: Search) -> Result<()> {
        let is_fastest = self.level.compression_level() == 1;
        let parameters = [
            CParameter::HashLog(search.hash_log),
            CParameter::MinMatch(search.min_match),
            CParameter::TargetLength(search.target_length),
            CParameter::LiteralCompressionMode(search.letters),
        ];
        let mut parameters = parameters.into_iter().filter(|_| is_fastest);
        parameters.try_for_each(|parameter| self.zstd.set_parameter(parameter)).map_err(failed)
    }

    /// What stands in `page`.
    fn compressed(&mut self) -> Result<Bytes> {
        self.zstd.compress(&self.page).map(Bytes::from).map_err(failed)
    }
}

impl<V: Value> Values<'_, V> {
    fn data_encoding(&self) -> Encoding {
        match self {
            Values::Plain(_) => Encoding::PLAIN,
            // A dictionary without an entry is not written.
            Values::Coded { entries: [], .. } => Encoding::PLAIN,
            Values::Coded { .. } => Encoding::RLE_DICTIONARY,
        }
    }

    fn page_rows(&self, rows: usize) -> usize {
        let bytes: usize = match self {
            Values::Plain(values) => values.iter().map(|value| value.size()).sum(),
            Values::Coded { .. } => 0,
        };
        if bytes <= PAGE_BYTES { PAGE_ROWS } else { (PAGE_BYTES * rows / bytes).clamp(1, PAGE_ROWS) }
    }

    /// Writes some of the values, and gives back the smallest and the greatest.
    fn put(&self, range: std::ops::Range<usize>, page: &mut Vec<u8>) -> (Encoding, Option<(V, V)>) {
        let bounds = match self {
            Values::Plain(values) => {
                let values = &values[range];
                V::put_all(values, page);
                bounds_of(values.iter().copied())
            }
            Values::Coded { entries: [], .. } => None,
            Values::Coded { entries, codes } => {
                let codes_here = &codes[range];
                put_codes(codes_here, entries.len(), page);
                if codes_here.len() == codes.len() {
                    bounds_of(entries.iter().copied())
                } else {
                    let mut seen = vec![false; entries.len()];
                    codes_here.iter().for_each(|code| seen[*code as usize] = true);
                    bounds_of(entries.iter().zip(seen).filter(|(_, seen)| *seen).map(|(entry, _)| *entry))
                }
            }
        };
        (self.data_encoding(), bounds)
    }

    /// Has the entries; values that are written as they stand come into it later.
    fn bloom(&self) -> Result<Sbbf> {
        let occurring = match self {
            Values::Plain(values) => values.len(),
            Values::Coded { entries, .. } => entries.len(),
        };
        let mut filter = Sbbf::new_with_ndv_fpp(occurring.max(1) as u64, BLOOM_FALSE_SHARE)?;
        if let Values::Coded { entries, .. } = self {
            entries.iter().for_each(|value| value.insert(&mut filter));
        }
        Ok(filter)
    }
}

fn bounds_of<V: Value>(mut values: impl Iterator<Item = V>) -> Option<(V, V)> {
    let first = values.next()?;
    let (mut min, mut max) = ((first.rank(), first), (first.rank(), first));
    for value in values {
        let rank = value.rank();
        if rank < min.0 || rank == min.0 && value < min.1 {
            min = (rank, value);
        }
        if rank > max.0 || rank == max.0 && value > max.1 {
            max = (rank, value);
        }
    }
    Some((min.1, max.1))
}

/// The pages of a chunk as far as they are written.
struct Pages<V> {
    descr: ColumnDescPtr,
    sink: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    dictionary: bool,
    first_data_page: Option<i64>,
    /// Of each data page: smallest and greatest value, and rows without one.
    bounds: Vec<(Option<(V, V)>, i64)>,
    offsets: OffsetIndexBuilder,
}

impl<V: Value> Pages<V> {
    fn new(descr: ColumnDescPtr) -> Self {
        Pages {
            descr,
            sink: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            dictionary: false,
            first_data_page: None,
            bounds: Vec::new(),
            offsets: OffsetIndexBuilder::new(),
        }
    }

    fn write(&mut self, page: CompressedPage) -> Result<()> {
        // Most chunks have one page of data: no more memory than it takes.
        self.sink.inner_mut().reserve_exact(page.compressed_size() + HEADER_BYTES);
        let written = SerializedPageWriter::new(&mut self.sink).write_page(page)?;
        self.uncompressed += written.uncompressed_size;
        if written.page_type == PageType::DICTIONARY_PAGE {
            self.dictionary = true;
        } else {
            self.first_data_page.get_or_insert(written.offset as i64);
            self.offsets.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        }
        Ok(())
    }

    fn close(
        self,
        rows: usize,
        values: &Values<'_, V>,
        level: ZstdLevel,
        bloom_filter: Option<Sbbf>,
    ) -> Result<Chunk> {
        let column_index = self.column_index()?;
        let bounds =
            bounds_of(self.bounds.iter().filter_map(|(bounds, _)| *bounds).flat_map(|(min, max)| [min, max]));
        let bounds = bounds.map_or([None, None], |(min, max)| [Some(min.lower()), Some(max.upper())]);
        let nulls = self.bounds.iter().map(|(_, nulls)| nulls.unsigned_abs()).sum();
        let data = values.data_encoding();
        let mut encodings = vec![Encoding::RLE, data];
        let page = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let mut stats = Vec::with_capacity(2);
        if self.dictionary {
            encodings.push(Encoding::PLAIN);
            stats.push(page(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1));
        }
        stats.push(page(PageType::DATA_PAGE, data, self.bounds.len() as i32));
        Ok(Chunk {
            bytes: Bytes::from(self.sink.into_inner()?),
            rows,
            compression: Compression::ZSTD(level),
            uncompressed: self.uncompressed,
            encodings: EncodingMask::new_from_encodings(encodings.iter()),
            pages: stats,
            dictionary: self.dictionary,
            first_data_page: self.first_data_page.unwrap_or_default(),
            statistics: V::statistics(bounds, nulls),
            column_index,
            offset_index: self.offsets.build(),
            bloom_filter,
        })
    }

    fn column_index(&self) -> Result<ColumnIndexMetaData> {
        let mut index = ColumnIndexBuilder::new(self.descr.physical_type());
        // Bounds that were cut short may stand in another order than the values.
        let mut exact = true;
        for (bounds, nulls) in &self.bounds {
            match bounds {
                Some((min, max)) => {
                    let (min, max) = (min.lower(), max.upper());
                    exact &= min.exact && max.exact;
                    index.append(false, min.bytes, max.bytes, *nulls);
                }
                None => index.append(true, Vec::new(), Vec::new(), *nulls),
            }
        }
        let known: Vec<(V, V)> = self.bounds.iter().filter_map(|(bounds, _)| *bounds).collect();
        let ascending = known.windows(2).all(|pages| pages[0].0 <= pages[1].0 && pages[0].1 <= pages[1].1);
        index.set_boundary_order(if ascending && exact {
            BoundaryOrder::ASCENDING
        } else {
            BoundaryOrder::UNORDERED
        });
        index.build()
    }
}

fn failed(cause: std::io::Error) -> ParquetError {
    ParquetError::General(format!("a page could not be compressed: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, BinaryArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray, Int32Array,
        Int64Array, StringArray,
    };
    use arrow::compute::concat;
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{
        ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
    };
    use parquet::file::metadata::PageIndexPolicy;
    use proptest::prelude::*;

    use super::*;

    /// Of some rows: the values of those that have one, coded or not.
    fn encoded<V: Value + std::hash::Hash>(
        rows: &[Option<V>],
        descr: ColumnDescPtr,
        coded: bool,
        page_rows: usize,
    ) -> Chunk {
        let values: Vec<V> = rows.iter().flatten().copied().collect();
        let valid = rows.iter().map(Option::is_some).collect();
        let column = Column { descr, valid, bloom: true };
        let mut chunker = Chunker { page_rows, ..Chunker::new(ZstdLevel::try_new(1).unwrap()).unwrap() };
        let (mut entries, mut known) = (Vec::new(), HashMap::new());
        let codes: Vec<u32> = values
            .iter()
            .map(|value| {
                *known.entry(*value).or_insert_with(|| {
                    entries.push(*value);
                    entries.len() as u32 - 1
                })
            })
            .collect();
        let values = match coded && V::MAY_BE_CODED {
            true => Values::Coded { entries: &entries, codes: &codes },
            false => Values::Plain(&values),
        };
        chunker.encode(&column, &values).unwrap()
    }

    /// Writes the rows, reads them with the crate, and compares: all of them, those of one page found by the index, and the
    /// statistics.
    fn comes_back<V: Value + std::hash::Hash>(
        rows: &[Option<V>],
        array: ArrayRef,
        coded: bool,
        page_rows: usize,
    ) {
        let schema = Arc::new(Schema::new(vec![Field::new("column", array.data_type().clone(), true)]));
        let writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
        let (mut file, _) = writer.into_serialized_writer().unwrap();
        let descr = file.schema_descr().column(0);
        let chunk = encoded(rows, descr.clone(), coded, page_rows);
        let pages = chunk.offset_index.page_locations().len();
        assert_eq!(pages, rows.len().div_ceil(page_rows.min(PAGE_ROWS)));
        let mut group = file.next_row_group().unwrap();
        chunk.append(descr, &mut group).unwrap();
        group.close().unwrap();
        let bytes = Bytes::from(file.into_inner().unwrap());

        let options = || ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader =
            || ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options()).unwrap();
        let read = |builder: ParquetRecordBatchReaderBuilder<Bytes>| {
            let batches: Vec<ArrayRef> =
                builder.build().unwrap().map(|batch| batch.unwrap().column(0).clone()).collect();
            let batches: Vec<&dyn Array> = batches.iter().map(AsRef::as_ref).collect();
            concat(&batches).unwrap()
        };
        assert_eq!(&read(reader()), &array);
        let (skipped, taken) = (rows.len() / 2, rows.len() - rows.len() / 2);
        let selection = RowSelection::from(vec![RowSelector::skip(skipped), RowSelector::select(taken)]);
        assert_eq!(&read(reader().with_row_selection(selection)), &array.slice(skipped, taken));

        let builder = reader();
        let column = builder.metadata().row_group(0).column(0).clone();
        let statistics = column.statistics().unwrap();
        assert_eq!(statistics.null_count_opt(), Some(array.null_count() as u64));
        let bounds = bounds_of(rows.iter().flatten().copied());
        assert_eq!(statistics.min_bytes_opt().map(<[u8]>::to_vec), bounds.map(|(min, _)| min.lower().bytes));
        assert_eq!(statistics.max_bytes_opt().map(<[u8]>::to_vec), bounds.map(|(_, max)| max.upper().bytes));
        let index = &builder.metadata().column_index().unwrap()[0][0];
        if let (ColumnIndexMetaData::BYTE_ARRAY(pages), Some(BoundaryOrder::ASCENDING)) =
            (index, index.get_boundary_order())
        {
            assert!(
                pages.min_values_iter().flatten().is_sorted()
                    && pages.max_values_iter().flatten().is_sorted()
            );
        }
        let filter = builder.get_row_group_column_bloom_filter(0, 0).unwrap().unwrap();
        assert!(rows.iter().flatten().all(|value| filter.check(value.bytes().as_slice())));
    }

    fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
        let text = prop_oneof![
            "[a-c]?",
            "é{0,60}",
            "(same beginning of more than sixty-four bytes, which is long ){2}[a-e]"
        ];
        proptest::collection::vec(proptest::option::of(text), 1..70)
    }

    proptest! {
        #[test]
        fn texts_come_back(rows in texts(), coded in any::<bool>(), page_rows in 1..40usize) {
            let borrowed: Vec<Option<&str>> = rows.iter().map(Option::as_deref).collect();
            comes_back(&borrowed, Arc::new(StringArray::from(borrowed.clone())), coded, page_rows);
            let bytes: Vec<Option<&[u8]>> = borrowed.iter().map(|text| text.map(str::as_bytes)).collect();
            comes_back(&bytes, Arc::new(BinaryArray::from(bytes.clone())), coded, page_rows);
        }

        #[test]
        fn numbers_come_back(
            rows in proptest::collection::vec(proptest::option::of(prop_oneof![-2..3i64, any::<i64>()]), 1..70),
            coded in any::<bool>(),
            page_rows in 1..40usize,
        ) {
            comes_back(&rows, Arc::new(Int64Array::from(rows.clone())), coded, page_rows);
            let short: Vec<Option<i32>> = rows.iter().map(|row| row.map(|number| number as i32)).collect();
            comes_back(&short, Arc::new(Int32Array::from(short.clone())), coded, page_rows);
            let bits: Vec<Option<bool>> = rows.iter().map(|row| row.map(|number| number % 2 == 0)).collect();
            comes_back(&bits, Arc::new(BooleanArray::from(bits.clone())), coded, page_rows);
            let large: Vec<Option<i128>> = rows.iter().map(|row| row.map(|number| i128::from(number) * 1_000_000_007)).collect();
            let decimals = Decimal128Array::from(large.clone()).with_precision_and_scale(38, 10).unwrap();
            comes_back(&large, Arc::new(decimals), coded, page_rows);
            let hashes: Vec<Option<[u8; 16]>> = large.iter().map(|row| row.map(i128::to_be_bytes)).collect();
            let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(hashes.iter().copied(), 16).unwrap();
            comes_back(&hashes, Arc::new(array), coded, page_rows);
        }
    }

    /// Every width of packed numbers, and pages that do not begin at an eighth row.
    #[test]
    fn dictionaries_of_every_size_come_back() {
        for entries in [1, 2, 3, 4, 5, 127, 128, 129, 255, 256, 257, 4095, 4097, 33_000, 70_000u64] {
            // An odd step goes through all of them.
            let rows: Vec<Option<i64>> = (0..entries + 13)
                .map(|row| (row % 11 != 5).then_some((row * 7919 % entries) as i64))
                .collect();
            for page_rows in [rows.len(), rows.len() / 3 + 1] {
                comes_back(&rows, Arc::new(Int64Array::from(rows.clone())), true, page_rows);
            }
        }
    }

    #[test]
    fn a_missing_value_of_a_column_that_needs_one_is_refused() {
        let schema = Arc::new(Schema::new(vec![Field::new("column", DataType::Int64, false)]));
        let (file, _) =
            ArrowWriter::try_new(Vec::new(), schema, None).unwrap().into_serialized_writer().unwrap();
        let valid = BooleanBuffer::from(vec![true, false]);
        let column = Column { descr: file.schema_descr().column(0), valid, bloom: false };
        let mut chunker = Chunker::new(ZstdLevel::try_new(1).unwrap()).unwrap();
        assert!(chunker.encode(&column, &Values::Plain(&[1i64])).is_err());
    }
}
