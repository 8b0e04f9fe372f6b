//! Whether new rows may have keys of old ones: nearly always not, and then no join is needed.
//!
//! An object never changes, so the hashes of its keys are remembered: a run that commits many windows, one after the
//! other, reads the keys of each object once.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use foldhash::fast::FixedState;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use xxhash_rust::xxh3::xxh3_64;

use super::merge::{KEY, Merge};
use super::stored::StoredFile;
use super::{Engine, ParquetFile, Place, failed, store_url};
use crate::error::{Error, Kind, Result};
use crate::model::Texts;

/// Files that are read at the same time.
const TOGETHER: usize = 16;

/// The hashes of the keys of one file.
type Hashes = Arc<[u64]>;

/// Those of files of the lake, as many as there is room for.
#[derive(Debug)]
pub(super) struct KnownKeys {
    /// Bytes of hashes, at most.
    most: usize,
    /// The oldest first.
    files: Mutex<VecDeque<(Path, Hashes)>>,
}

impl KnownKeys {
    pub(super) fn new(most: u64) -> Self {
        KnownKeys { most: usize::try_from(most).unwrap_or(usize::MAX), files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, VecDeque<(Path, Hashes)>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, path: &Path) -> Option<Hashes> {
        self.files().iter().find(|(known, _)| known == path).map(|(_, hashes)| hashes.clone())
    }

    fn note(&self, path: &Path, hashes: &Hashes) {
        let mut files = self.files();
        files.push_back((path.clone(), hashes.clone()));
        let mut bytes: usize = files.iter().map(|(_, hashes)| size_of_val(&**hashes)).sum();
        while bytes > self.most
            && let Some((_, oldest)) = files.pop_front()
        {
            bytes -= size_of_val(&*oldest);
        }
    }
}

impl Merge {
    /// False only when no new row has the key of an old one.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be read.
    pub async fn may_share_keys(&self, engine: &Engine) -> Result<bool> {
        let Some(new) = &self.new else { return Ok(false) };
        if new.rows().saturating_mul(size_of::<u64>() as u64) > engine.keys.most as u64 {
            // A join knows how to do with less memory.
            return Ok(true);
        }
        let mut keys: HashSet<u64, FixedState> = HashSet::default();
        for file in &new.files {
            let Some(hashes) = engine.key_hashes(new.place, file).await? else { return Ok(true) };
            keys.extend(hashes.iter());
        }
        let old = [&self.winners, &self.mixed, &self.losers].into_iter().flatten();
        let old = old.flat_map(|files| files.files.iter().map(|file| engine.key_hashes(files.place, file)));
        let mut old = stream::iter(old.collect::<Vec<_>>()).buffered(TOGETHER);
        while let Some(hashes) = old.try_next().await? {
            if hashes.is_none_or(|hashes| hashes.iter().any(|hash| keys.contains(hash))) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine {
    /// Of all rows that have a key; `None` for a file without keys.
    async fn key_hashes(&self, place: Place, file: &ParquetFile) -> Result<Option<Hashes>> {
        if place == Place::Lake
            && let Some(known) = self.keys.get(&file.path)
        {
            return Ok(Some(known));
        }
        let unreadable = |cause| failed(cause, "the keys of a file could not be read");
        let store = self.runtime.object_store(store_url(place)).map_err(unreadable)?;
        let stored = StoredFile { store, path: file.path.clone(), bytes: file.bytes };
        // On a core of its own.
        let hashes = tokio::spawn(hashes_of(stored)).await.map_err(|cause| {
            Error::new(Kind::Bug, "the reading of keys stopped unexpectedly").caused_by(cause)
        })?;
        let hashes = hashes.map_err(|cause| unreadable(DataFusionError::from(cause)))?;
        if let (Place::Lake, Some(hashes)) = (place, &hashes) {
            self.keys.note(&file.path, hashes);
        }
        Ok(hashes)
    }
}

async fn hashes_of(file: StoredFile) -> std::result::Result<Option<Hashes>, ParquetError> {
    let mut rows = file.rows([KEY]).await?;
    let mut hashes = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        let Some(keys) = batch.column_by_name(KEY).and_then(Texts::of) else { return Ok(None) };
        let keys = (0..batch.num_rows()).filter_map(|row| keys.get(row));
        hashes.extend(keys.map(|key| xxh3_64(key.as_bytes())));
    }
    Ok(Some(hashes.into()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::engine::{Options, ParquetFiles};

    /// A file of some keys.
    fn written(folder: &std::path::Path, name: &str, column: &str, keys: &[Option<&str>]) -> ParquetFile {
        let keys: ArrayRef = Arc::new(StringArray::from(keys.to_vec()));
        let batch = RecordBatch::try_from_iter_with_nullable([(column, keys, true)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        std::fs::write(folder.join(name), &bytes).unwrap();
        ParquetFile {
            path: Path::from(name),
            bytes: bytes.len() as u64,
            rows: batch.num_rows() as u64,
            partition: Vec::new(),
        }
    }

    fn merge(new: &[&ParquetFile], old: &[&ParquetFile]) -> Merge {
        let table = |files: &[&ParquetFile]| {
            let schema = Arc::new(datafusion::arrow::datatypes::Schema::empty());
            let files = files.iter().map(|file| (*file).clone()).collect();
            Some(Arc::new(ParquetFiles::new(Place::Lake, schema, &[], files)))
        };
        Merge { new: table(new), losers: table(old), ..Merge::default() }
    }

    fn engine(folder: &std::path::Path) -> Engine {
        let store = LocalFileSystem::new_with_prefix(folder).unwrap();
        Engine::new(&Options::default(), Arc::new(store)).unwrap()
    }

    #[tokio::test]
    async fn a_key_in_common_is_seen_and_files_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, nobody, three] = [
            ("one", KEY, &[Some("a"), Some("b"), None][..]),
            ("two", KEY, &[Some("c"), None]),
            ("nobody", KEY, &[]),
            ("three", KEY, &[Some("d"), Some("b")]),
        ]
        .map(|(name, column, keys)| written(folder.path(), name, column, keys));
        let bare = written(folder.path(), "bare", "other", &[Some("x")]);
        let engine = engine(folder.path());
        let share = async |new: &[&ParquetFile], old: &[&ParquetFile]| {
            merge(new, old).may_share_keys(&engine).await.unwrap()
        };
        assert!(!share(&[&one], &[&two, &nobody]).await, "no key at all is no key in common");
        assert!(share(&[&one], &[&two, &three]).await);
        assert!(share(&[&nobody, &three], &[&two, &one]).await);
        assert!(!Merge::default().may_share_keys(&engine).await.unwrap());
        assert!(share(&[&two], &[&bare]).await, "of a file without keys nothing is known");

        for name in ["one", "two", "three"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(!share(&[&one], &[&two]).await);
        assert!(share(&[&one], &[&three]).await);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let known = KnownKeys::new(32);
        let hashes = |count: u64| -> Hashes { (0..count).collect() };
        known.note(&Path::from("a"), &hashes(1));
        known.note(&Path::from("b"), &hashes(3));
        assert_eq!(known.get(&Path::from("a")), Some(hashes(1)));
        known.note(&Path::from("c"), &hashes(1));
        assert_eq!(known.get(&Path::from("a")), None);
        assert_eq!(known.get(&Path::from("b")), Some(hashes(3)));
        known.note(&Path::from("d"), &hashes(5));
        assert!(known.files().is_empty());
    }

    #[tokio::test]
    async fn more_keys_than_there_is_room_for_are_left_to_a_join() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| written(folder.path(), name, KEY, &[Some(name); 2]));
        let mut engine = engine(folder.path());
        assert!(!merge(&[&one], &[&two]).may_share_keys(&engine).await.unwrap());
        engine.keys = Arc::new(KnownKeys::new(15));
        assert!(merge(&[&one], &[&two]).may_share_keys(&engine).await.unwrap());
    }
}
