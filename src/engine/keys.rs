//! Whether new rows may have keys of old ones: nearly always not, and then no join is needed.
//!
//! An object never changes, so the hashes of its keys are remembered: a run that commits many windows, one after the
//! other, reads the keys of each object once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use foldhash::fast::FixedState;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use xxhash_rust::xxh3::xxh3_64;

use super::merge::{KEY, Merge};
use super::stored::StoredFile;
use super::{Engine, ParquetFile, Place, failed};
use crate::error::Result;
use crate::model::Texts;

/// Files that are read at the same time: the footers of all of them are in memory.
const TOGETHER: usize = 4;

const HASH_BYTES: u64 = size_of::<u64>() as u64;

/// What a hash takes in a set that is at worst half full.
const SET_BYTES: u64 = 24;

type Hashes = Arc<Vec<u64>>;

/// The hashes of the keys of files of the lake, as many as there is room for.
#[derive(Debug)]
pub(super) struct KnownKeys {
    /// Bytes of hashes, at most.
    most: u64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Also those of files that are being read.
    bytes: u64,
    files: HashMap<Path, Hashes>,
}

impl KnownKeys {
    pub(super) fn new(most: u64) -> Self {
        KnownKeys { most, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for a file of so many rows, if there is some.
    fn reserve(&self, rows: u64) -> Option<Room<'_>> {
        let mut known = self.known();
        let bytes = rows.saturating_mul(HASH_BYTES);
        let all = known.bytes.checked_add(bytes).filter(|all| *all <= self.most)?;
        known.bytes = all;
        Some(Room { keys: self, bytes })
    }
}

/// Room that is kept for a file. It is free again when nobody noted the file: the reading of it may end anywhere.
struct Room<'a> {
    keys: &'a KnownKeys,
    bytes: u64,
}

impl Room<'_> {
    fn note(mut self, path: &Path, hashes: Vec<u64>) {
        let before = self.keys.known().files.insert(path.clone(), Arc::new(hashes));
        if before.is_none() {
            self.bytes = 0;
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.keys.known().bytes -= self.bytes;
    }
}

impl Merge {
    /// False only when no new row has the key of an old one.
    ///
    /// # Errors
    /// [`crate::error::Kind::Destination`] when a file cannot be read.
    pub async fn may_share_keys(&self, engine: &Engine) -> Result<bool> {
        let Some(new) = &self.new else { return Ok(false) };
        if new.rows().saturating_mul(SET_BYTES) > engine.keys.most {
            // A join knows how to do with less memory.
            return Ok(true);
        }
        let mut keys = HashSet::with_capacity_and_hasher(new.rows() as usize, FixedState::default());
        for file in &new.files {
            let take = |hash| {
                keys.insert(hash);
                true
            };
            if !engine.each_key(new.place, file, take).await? {
                return Ok(true);
            }
        }
        let old = [&self.winners, &self.mixed, &self.losers].into_iter().flatten();
        let old = old.flat_map(|files| files.files.iter().map(|file| (files.place, file)));
        let apart = old.map(|(place, file)| engine.are_apart(&keys, place, file));
        let mut apart = stream::iter(apart.collect::<Vec<_>>()).buffered(TOGETHER);
        while let Some(apart) = apart.try_next().await? {
            if !apart {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Engine {
    /// Whether no key of a file is among these.
    async fn are_apart(
        &self,
        keys: &HashSet<u64, FixedState>,
        place: Place,
        file: &ParquetFile,
    ) -> Result<bool> {
        let known = self.keys.known().files.get(&file.path).cloned().filter(|_| place == Place::Lake);
        if let Some(known) = known {
            return Ok(!known.iter().any(|hash| keys.contains(hash)));
        }
        let room = if place == Place::Lake { self.keys.reserve(file.rows) } else { None };
        let mut hashes = Vec::with_capacity(if room.is_some() { file.rows as usize } else { 0 });
        let compare = |hash| {
            if room.is_some() {
                hashes.push(hash);
            }
            !keys.contains(&hash)
        };
        let apart = self.each_key(place, file, compare).await?;
        // A file that was left in the middle is looked at by a join now.
        if let Some(room) = room.filter(|_| apart) {
            room.note(&file.path, hashes);
        }
        Ok(apart)
    }

    /// Shows the hash of the key of each row that has one, as long as `go_on` says so: false when it did not, and for a file
    /// without keys.
    async fn each_key(
        &self,
        place: Place,
        file: &ParquetFile,
        go_on: impl FnMut(u64) -> bool,
    ) -> Result<bool> {
        let unreadable = |cause| failed(cause, "the keys of a file could not be read");
        let stored = self.stored(place, file).map_err(unreadable)?;
        each_key(stored, go_on).await.map_err(|cause| unreadable(DataFusionError::from(cause)))
    }
}

async fn each_key(
    file: StoredFile,
    mut go_on: impl FnMut(u64) -> bool,
) -> std::result::Result<bool, ParquetError> {
    let mut rows = file.rows([KEY]).await?;
    while let Some(batch) = rows.try_next().await? {
        let Some(keys) = batch.column_by_name(KEY).and_then(Texts::of) else { return Ok(false) };
        let mut keys = (0..batch.num_rows()).filter_map(|row| keys.get(row));
        if !keys.all(|key| go_on(xxh3_64(key.as_bytes()))) {
            return Ok(false);
        }
    }
    Ok(true)
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
            only: None,
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

        std::fs::remove_file(folder.path().join("two")).unwrap();
        assert!(!share(&[&one], &[&two]).await);
        assert!(share(&[&one], &[&two, &three]).await);
        // Whatever was left in the middle has given its room back.
        assert_eq!(engine.keys.known().bytes, (two.rows + nobody.rows) * HASH_BYTES);
    }

    /// Files for which there is no room are read each time.
    #[tokio::test]
    async fn as_many_are_known_as_there_is_room_for() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["new", "a", "b", "c"];
        let [new, a, b, c] = names.map(|name| written(folder.path(), name, KEY, &[Some(name)]));
        let large = written(folder.path(), "large", KEY, &[Some("d"); 9]);
        let mut engine = engine(folder.path());
        engine.keys = Arc::new(KnownKeys::new(24));
        let old = [&large, &a, &b, &c];
        assert!(!merge(&[&new], &old).may_share_keys(&engine).await.unwrap());
        assert_eq!(engine.keys.known().files.len(), 3);
        assert_eq!(engine.keys.known().bytes, 24);
        for name in ["a", "b", "c"] {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(!merge(&[&new], &old).may_share_keys(&engine).await.unwrap());
        std::fs::remove_file(folder.path().join("large")).unwrap();
        assert!(merge(&[&new], &old).may_share_keys(&engine).await.is_err());
    }

    #[tokio::test]
    async fn more_keys_than_there_is_room_for_are_left_to_a_join() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| written(folder.path(), name, KEY, &[Some(name); 2]));
        let mut engine = engine(folder.path());
        assert!(!merge(&[&one], &[&two]).may_share_keys(&engine).await.unwrap());
        engine.keys = Arc::new(KnownKeys::new(2 * SET_BYTES - 1));
        assert!(merge(&[&one], &[&two]).may_share_keys(&engine).await.unwrap());
    }
}
