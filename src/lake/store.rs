//! A lake on some storage, and the few things that are done there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::advice::Asked;
use super::again::again;
use super::disk::{self, Disk, not_writable};
use super::location::{Location, Root};
use super::meter::{Meter, Metered};
use super::{Chain, Manifest, format};
use crate::error::{Error, Kind, Result};
use crate::model::StorageOps;
use crate::secret::redact_error;

/// A lake on some storage.
#[derive(Clone)]
pub struct Lake {
    // Counts what goes through it.
    pub(super) store: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
    // For messages: as the user wrote it, or as other programs take it.
    pub(super) shown: String,
    // Of a lake on local disk: there, what is written goes this way.
    pub(super) disk: Option<Disk>,
    asked: Option<Asked>,
    /// Of each table the newest manifest that was read or committed: it never changes, and need not be read again.
    newest: Arc<Mutex<HashMap<Chain, Manifest>>>,
}

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    New,
    /// Something stands there already; it may be our own earlier attempt.
    Exists,
}

/// How often a storage may say that somebody writes the very same name at this moment, and how long it has then.
const CONFLICTS: u32 = 5;
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);

/// How many requests of one kind are under way together.
const TOGETHER: usize = 16;

/// Awaits requests, some of them at a time; the answers come in their order.
///
/// # Errors
/// The first that fails.
pub async fn together<T>(requests: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    futures::stream::iter(requests).buffered(TOGETHER).try_collect().await
}

impl Lake {
    /// Opens a lake for writing, and makes it when it is missing. `now` is when a new lake says that it was made.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that is not known, wrongly set up or without put-if-absent, [`Kind::Destination`]
    /// when it cannot be reached or written, [`Kind::Contract`] when this build is too old for the lake.
    pub async fn open(location: &Location, now: Timestamp) -> Result<Lake> {
        Self::open_to_be_killed(location, now, None).await
    }

    /// As [`Lake::open`]; the process is killed at the k-th point of its storage operations, as a crash would do it: for
    /// tests of recovery.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn open_to_be_killed(
        location: &Location,
        now: Timestamp,
        kill_at: Option<u64>,
    ) -> Result<Lake> {
        let root = location.root()?;
        if let Root::Disk(path) = &root {
            disk::make(path).map_err(|cause| not_writable(&location.to_string(), cause))?;
        }
        let lake = Self::at(location, root)?;
        lake.meter.kill_at(kill_at.unwrap_or(0));
        format::check_writable(&lake, now).await?;
        Ok(lake)
    }

    /// A lake in memory, gone when it is dropped: for trying things out, and for tests of what every storage must do.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn in_memory(now: Timestamp) -> Result<Lake> {
        let lake = Self::on(Arc::new(object_store::memory::InMemory::new()), "memory");
        format::check_writable(&lake, now).await?;
        Ok(lake)
    }

    /// As [`Lake::open`], for a lake that must exist already.
    ///
    /// # Errors
    /// [`Kind::Destination`] when there is no lake.
    pub async fn open_existing(location: &Location) -> Result<Lake> {
        Self::find(location).await?.ok_or_else(|| {
            Error::new(Kind::Destination, "there is no lake here")
                .with("lake", location)
                .hint("run a pipeline first, for example `payoutlake run pipelines/quickstart.toml`, or give another --lake")
        })
    }

    /// As [`Lake::open_existing`]; `None` when there is no lake.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn find(location: &Location) -> Result<Option<Lake>> {
        let root = location.root()?;
        if matches!(&root, Root::Disk(path) if !path.join(super::ROOT).is_dir()) {
            return Ok(None);
        }
        let lake = Self::at(location, root)?;
        Ok(format::check_readable(&lake).await?.then_some(lake))
    }

    /// The lake as it is addressed, whether something is there or not.
    pub(super) fn at(location: &Location, root: Root) -> Result<Lake> {
        match root {
            Root::Disk(path) => Self::local(&location.to_string(), path),
            Root::Cloud { asked, store, shown } => Ok(Lake { asked: Some(asked), ..Self::on(store, &shown) }),
        }
    }

    pub(super) fn local(shown: &str, root: PathBuf) -> Result<Lake> {
        let root = root.canonicalize().map_err(|cause| not_writable(shown, cause))?;
        let store =
            LocalFileSystem::new_with_prefix(&root).map_err(|cause| storage(cause, None, "opened", shown))?;
        let meter = Arc::new(Meter::default());
        let disk = Disk::new(root, shown, Arc::clone(&meter));
        Ok(Self::metered(Arc::new(store), shown, meter, Some(disk)))
    }

    fn on(store: Arc<dyn ObjectStore>, shown: &str) -> Lake {
        Self::metered(store, shown, Arc::new(Meter::default()), None)
    }

    fn metered(store: Arc<dyn ObjectStore>, shown: &str, meter: Arc<Meter>, disk: Option<Disk>) -> Lake {
        let store = Arc::new(Metered { store, meter: Arc::clone(&meter), disk: disk.clone() });
        Lake { store, meter, shown: shown.to_owned(), disk, asked: None, newest: Arc::default() }
    }

    /// Whether it stands on an object store, and not on a file system.
    #[must_use]
    pub fn is_object_store(&self) -> bool {
        self.disk.is_none()
    }

    /// Storage operations since the lake was opened.
    #[must_use]
    pub fn operations(&self) -> StorageOps {
        self.meter.counts()
    }

    /// The lake as the user named it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Where other programs find a path of the lake: an absolute path on local disk, else below the lake's URL.
    #[must_use]
    pub fn address(&self, path: &Path) -> String {
        match &self.disk {
            Some(disk) => disk.root().join(path.as_ref()).display().to_string(),
            None => format!("{}/{path}", self.shown.trim_end_matches('/')),
        }
    }

    /// The file behind an object of a lake on local disk, if it is there.
    #[must_use]
    pub fn local_file(&self, path: &Path) -> Option<PathBuf> {
        let file = self.disk.as_ref()?.root().join(path.as_ref());
        file.is_file().then_some(file)
    }

    /// The manifest of a version, if it is the newest of its table that is known.
    pub(super) fn known(&self, chain: &Chain, version: u64) -> Option<Manifest> {
        self.newest().get(chain).filter(|known| known.version == version).cloned()
    }

    /// Notes the newest manifest of a table.
    pub(super) fn note(&self, manifest: &Manifest) {
        self.newest().insert(manifest.chain(), manifest.clone());
    }

    fn newest(&self) -> MutexGuard<'_, HashMap<Chain, Manifest>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Reads a whole object; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store.get(path).await {
            Ok(found) => Ok(Some(found.bytes().await.map_err(|cause| self.failed(cause, "read", path))?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.failed(cause, "read", path)),
        }
    }

    /// Reads a JSON object; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Destination`]; [`Kind::Contract`] when it is not what payoutlake writes.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>> {
        let Some(bytes) = self.get(path).await? else { return Ok(None) };
        self.parse_json(&bytes, path).map(Some)
    }

    /// # Errors
    /// [`Kind::Contract`] when it is not what payoutlake writes.
    pub fn parse_json<T: DeserializeOwned>(&self, bytes: &[u8], path: &Path) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|cause| {
            Error::new(Kind::Contract, "a file of the lake cannot be understood")
                .with("file", format!("{}/{path}", self.shown))
                .hint("it was damaged or written by another version of payoutlake; nothing was changed")
                .caused_by(cause)
        })
    }

    /// Size in bytes of an object; `None` when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn size(&self, path: &Path) -> Result<Option<u64>> {
        match self.store.head(path).await {
            Ok(found) => Ok(Some(found.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(self.failed(cause, "read", path)),
        }
    }

    /// Names of all objects below a prefix, sorted.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn list(&self, prefix: &Path) -> Result<Vec<Path>> {
        Ok(self.list_all(prefix).await?.into_iter().map(|meta| meta.location).collect())
    }

    /// All objects below a prefix with size and age, sorted by name.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn list_all(&self, prefix: &Path) -> Result<Vec<ObjectMeta>> {
        let found = self.store.list(Some(prefix)).try_collect::<Vec<_>>().await;
        let mut found = found.map_err(|cause| self.failed(cause, "listed", prefix))?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Names of the folders right below a prefix, sorted.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn folders(&self, prefix: &Path) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(prefix)).await;
        let listed = listed.map_err(|cause| self.failed(cause, "listed", prefix))?;
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Writes an object that must not exist yet, durably.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn create(&self, path: &Path, bytes: Bytes) -> Result<Created> {
        if let Some(disk) = &self.disk {
            return disk.create(path, &bytes);
        }
        for attempt in 0.. {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(path, bytes.clone().into(), options).await {
                Ok(_) => return Ok(Created::New),
                Err(object_store::Error::AlreadyExists { .. }) if attempt == CONFLICTS => {
                    return Ok(Created::Exists);
                }
                Err(object_store::Error::AlreadyExists { .. }) => {}
                Err(
                    object_store::Error::NotImplemented { .. } | object_store::Error::NotSupported { .. },
                ) => {
                    return Err(format::no_put_if_absent(self));
                }
                Err(cause) => return Err(self.failed(cause, "written", path)),
            }
            if self.size(path).await?.is_some() {
                return Ok(Created::Exists);
            }
            // S3 says the same when two writers meet, and then neither may have written.
            tokio::time::sleep(CONFLICT_PAUSE * (attempt + 1)).await;
        }
        Ok(Created::Exists)
    }

    /// [`Lake::create`] of a JSON document.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn create_json(&self, path: &Path, value: &impl Serialize) -> Result<Created> {
        self.create(path, to_json(value)?).await
    }

    /// Writes or replaces a JSON document: whole when its name appears. It may be lost, or come back empty, with the
    /// power of a local disk: for what can be found out again.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn replace_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let bytes = to_json(value)?;
        if let Some(disk) = &self.disk {
            return disk.replace(path, &bytes);
        }
        let put = self.store.put(path, bytes.into()).await;
        put.map(drop).map_err(|cause| self.failed(cause, "written", path))
    }

    /// Puts objects in place of published files, each in one atomic step: readers see the old file or the new.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn install(&self, files: &[(Path, Path)]) -> Result<()> {
        if let Some(disk) = &self.disk {
            return disk.install(files);
        }
        let mut copies = Vec::with_capacity(files.len());
        for (object, published) in files {
            copies.push(async move {
                let copied = self.store.copy(object, published).await;
                copied.map_err(|cause| self.failed(cause, "published", published))
            });
        }
        together(copies).await.map(drop)
    }

    /// How many files may be put at the same time with [`Lake::put_file`]. A disk brings many to safety in the time of one; an
    /// upload has several parts under way by itself.
    #[must_use]
    pub fn puts_together(&self) -> usize {
        if self.disk.is_some() { TOGETHER } else { 1 }
    }

    /// Whether a published file of the right size is that object: on local disk it is a link to it (where the file system
    /// has no links, the size is what can be told without reading), on an object store it has the entity tag that it had
    /// when it was installed.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub fn shows(&self, object: &Path, published: &ObjectMeta, installed: Option<&String>) -> Result<bool> {
        match &self.disk {
            Some(disk) => disk.shows(object, &published.location),
            None => Ok(installed.is_some() && installed == published.e_tag.as_ref()),
        }
    }

    /// Removes an object; one that is not there is fine.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn remove(&self, path: &Path) -> Result<()> {
        // Counted by the store.
        match again(|| self.store.delete(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(cause) => return Err(self.failed(cause, "removed", path)),
        }
        if let Some(disk) = &self.disk {
            disk.drop_empty_folders(path);
        }
        Ok(())
    }

    pub(super) fn failed(&self, cause: object_store::Error, done: &str, path: &Path) -> Error {
        storage(cause, self.asked.as_ref(), done, &format!("{}/{path}", self.shown))
    }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lake({})", self.shown)
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|cause| {
        Error::new(Kind::Bug, "a document of the lake cannot be written as JSON").caused_by(cause)
    })?;
    json.push(b'\n');
    Ok(json.into())
}

fn storage(cause: object_store::Error, asked: Option<&Asked>, done: &str, place: &str) -> Error {
    let answer = redact_error(&cause);
    let error =
        Error::new(Kind::Destination, format!("the lake's storage failed: a file could not be {done}"))
            .with("file", place);
    let error = match asked {
        Some(asked) => asked.explain(error, &answer),
        None => {
            error.hint("what was committed before is safe; check the storage and run the same command again")
        }
    };
    error.caused_by(answer)
}
