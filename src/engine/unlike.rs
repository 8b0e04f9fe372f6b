//! Which rows of two versions of a table have no equal in the other one: their hashes tell, and of the other columns, which
//! are a hundred, nothing is read yet.

use std::collections::HashMap;

use datafusion::arrow::array::AsArray;
use datafusion::error::DataFusionError;
use datafusion::parquet::arrow::arrow_reader::RowSelector;
use foldhash::fast::FixedState;
use futures::TryStreamExt;

use super::merge::KEY;
use super::{Engine, ParquetFile, Place, Slice, failed};
use crate::error::{Error, Kind, Result};
use crate::model::Texts;

const HASH: &str = "_pc_row_hash";

impl Engine {
    /// Of a slice of both versions, which are files of the lake, the rows that the other one does not have. A row that stands
    /// several times is left as often as the other version lacks it. Holds a hash for each row of the slice in `old`.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be read; [`Kind::Bug`] when it is none of a table of ours.
    pub async fn unlike(
        &self,
        old: &[ParquetFile],
        new: &[ParquetFile],
        slice: Slice,
    ) -> Result<[Vec<ParquetFile>; 2]> {
        // How often each row stands in the old version and not in the new one.
        let mut more: HashMap<[u8; 16], u32, FixedState> = HashMap::default();
        for file in old {
            let count = |hash| {
                *more.entry(hash).or_default() += 1;
                false
            };
            self.choose(file, slice, count).await?;
        }
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        let mut take = |hash| match more.get_mut(&hash) {
            Some(times) if *times > 0 => {
                *times -= 1;
                true
            }
            _ => false,
        };
        for file in new {
            come.extend(self.choose(file, slice, |hash| !take(hash)).await?);
        }
        for file in old {
            gone.extend(self.choose(file, slice, &mut take).await?);
        }
        Ok([gone, come])
    }

    /// The rows of a slice whose hash is chosen; `None` where there are none.
    async fn choose(
        &self,
        file: &ParquetFile,
        slice: Slice,
        mut is_chosen: impl FnMut([u8; 16]) -> bool,
    ) -> Result<Option<ParquetFile>> {
        let unreadable = |cause| failed(cause, "two versions could not be compared");
        let malformed = |column: &str| {
            Error::new(Kind::Bug, "a column that is compared is missing, or has another type")
                .with("file", &file.path)
                .with("column", column)
        };
        let columns = [HASH].into_iter().chain((!slice.is_all()).then_some(KEY));
        let rows = self.stored(Place::Lake, file).map_err(unreadable)?.rows(columns).await;
        let mut rows = rows.map_err(|cause| unreadable(DataFusionError::from(cause)))?;
        let (mut runs, mut chosen): (Vec<RowSelector>, u64) = (Vec::new(), 0);
        while let Some(batch) = rows.try_next().await.map_err(|cause| unreadable(cause.into()))? {
            let hashes = batch.column_by_name(HASH).and_then(|hashes| hashes.as_fixed_size_binary_opt());
            let hashes = hashes.ok_or_else(|| malformed(HASH))?;
            let keys = match slice.is_all() {
                true => None,
                false => Some(batch.column_by_name(KEY).and_then(Texts::of).ok_or_else(|| malformed(KEY))?),
            };
            for row in 0..batch.num_rows() {
                let is_here = keys.is_none_or(|keys| slice.has(keys.get(row)));
                let hash = hashes.value(row).try_into().map_err(|_| malformed(HASH))?;
                let is_chosen = is_here && is_chosen(hash);
                chosen += u64::from(is_chosen);
                match runs.last_mut().filter(|run| run.skip != is_chosen) {
                    Some(run) => run.row_count += 1,
                    None => runs.push(RowSelector { row_count: 1, skip: !is_chosen }),
                }
            }
        }
        Ok((chosen > 0).then(|| ParquetFile { rows: chosen, only: Some(runs.into()), ..file.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::properties::WriterProperties;
    use object_store::local::LocalFileSystem;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::{MergeParts, Options, ParquetFiles};

    /// A file of some rows, each a number that is in its key and in its hash, in row groups of three.
    fn written(folder: &std::path::Path, name: String, rows: &[u8]) -> ParquetFile {
        let keys: ArrayRef =
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| format!("key {row}"))));
        let hashes = FixedSizeBinaryArray::try_from_iter(rows.iter().map(|row| [*row; 16])).unwrap();
        let batch = RecordBatch::try_from_iter([(KEY, keys), (HASH, Arc::new(hashes) as ArrayRef)]).unwrap();
        let groups = WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(groups)).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        std::fs::write(folder.join(&name), &bytes).unwrap();
        let (path, partition) = (name.into(), Vec::new());
        ParquetFile { path, bytes: bytes.len() as u64, rows: rows.len() as u64, partition, only: None }
    }

    /// The rows of some files, as a query reads them.
    async fn read(engine: &Engine, schema: &RecordBatch, files: Vec<ParquetFile>) -> Vec<u8> {
        let count = files.iter().map(|file| file.rows).sum::<u64>();
        let table = ParquetFiles::new(Place::Lake, schema.schema(), &[], files);
        let rows = engine.session().read_table(Arc::new(table)).unwrap();
        let batches: Vec<RecordBatch> = MergeParts::stream(rows).await.unwrap().try_collect().await.unwrap();
        let hashes = batches.iter().flat_map(|batch| batch.column(1).as_fixed_size_binary().iter());
        let rows: Vec<u8> = hashes.map(|hash| hash.unwrap()[0]).collect();
        assert_eq!(rows.len() as u64, count);
        rows
    }

    /// The rows of `left` without those of `right`, each as often as it stands there.
    fn without(left: &[Vec<u8>], right: &[Vec<u8>]) -> Vec<u8> {
        let mut rows: Vec<u8> = left.concat();
        for row in right.concat() {
            if let Some(place) = rows.iter().position(|known| *known == row) {
                rows.swap_remove(place);
            }
        }
        rows.sort_unstable();
        rows
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn each_row_without_an_equal_is_found_as_often_as_it_has_none(
            old in proptest::collection::vec(proptest::collection::vec(0..6u8, 1..12), 0..4),
            new in proptest::collection::vec(proptest::collection::vec(0..6u8, 1..12), 0..4),
            slices in 1..4u64,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let files = |side: &str, all: &[Vec<u8>]| -> Vec<ParquetFile> {
                let each = all.iter().enumerate();
                each.map(|(place, rows)| written(folder.path(), format!("{side}{place}"), rows)).collect()
            };
            let (before, after) = (files("old", &old), files("new", &new));
            let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let [gone, come] = runtime.block_on(async {
                let engine = Engine::new(&Options::default(), Arc::new(store)).unwrap();
                let hashes = FixedSizeBinaryArray::try_from_iter([[0; 16]].iter()).unwrap();
                let keys: ArrayRef = Arc::new(StringArray::from(vec![""]));
                let shape = RecordBatch::try_from_iter([(KEY, keys), (HASH, Arc::new(hashes) as ArrayRef)]);
                let shape = shape.unwrap();
                let mut found = [Vec::new(), Vec::new()];
                for slice in Slice::ALL.parts(slices, 1) {
                    let sides = engine.unlike(&before, &after, slice).await.unwrap();
                    for (found, files) in found.iter_mut().zip(sides) {
                        found.extend(read(&engine, &shape, files).await);
                    }
                }
                found
            });
            let sorted = |mut rows: Vec<u8>| {
                rows.sort_unstable();
                rows
            };
            prop_assert_eq!(sorted(gone), without(&old, &new));
            prop_assert_eq!(sorted(come), without(&new, &old));
        }
    }
}
