//! A storage URL becomes an [`ObjectStore`] here, and nowhere else.

use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::disk::{self, Disk, not_writable};
use super::format;
use super::meter::{Meter, Metered};
use crate::error::{Error, Kind, Result};
use crate::model::{ExportId, StorageOps};

/// A copy of a file, which goes with its folder.
pub struct FileCopy {
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl FileCopy {
    #[must_use]
    pub fn file(&self) -> &FsPath {
        &self.file
    }
}

/// A lake on some storage.
#[derive(Clone)]
pub struct Lake {
    // Counts what goes through it.
    store: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
    // As the user wrote it, for messages.
    shown: String,
    // Of a lake on local disk: there, what is written goes this way.
    disk: Option<Disk>,
}

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    New,
    /// Something stands there already; it may be our own earlier attempt.
    Exists,
}

/// How many bytes go to an object store in one part of a multipart upload.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// How many requests of one kind are under way together.
const TOGETHER: usize = 16;

/// Awaits requests, some of them at a time; the answers come in their order.
///
/// # Errors
/// The first that fails.
pub async fn together<T>(requests: Vec<impl Future<Output = Result<T>>>) -> Result<Vec<T>> {
    futures::stream::iter(requests).buffered(TOGETHER).try_collect().await
}

/// Where an export's bytes stand until its rows are committed.
#[derive(Debug)]
pub struct ExportSpool {
    path: PathBuf,
    // Removed with this.
    _fleeting: Option<tempfile::TempDir>,
}

impl ExportSpool {
    #[must_use]
    pub fn blob(&self) -> PathBuf {
        self.path.join("blob")
    }

    /// Once nobody will go on with it.
    pub fn remove(self) {
        // What stays behind is swept later.
        let _swept_later = std::fs::remove_dir_all(&self.path);
    }
}

impl Lake {
    /// Whether there can be a lake at a path or URL. Nothing is touched.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that this build does not know.
    pub fn check_url(url: &str) -> Result<()> {
        disk::root_of(url).map(drop)
    }

    /// Opens the lake at a path or a `file://` URL for writing, and makes it when it is missing. `now` is when a new
    /// lake says that it was made.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that this build does not know, [`Kind::Destination`] when the folder cannot be
    /// made or written, [`Kind::Contract`] when this build is too old for the lake.
    pub async fn open(url: &str, now: Timestamp) -> Result<Lake> {
        Self::open_to_be_killed(url, now, None).await
    }

    /// As [`Lake::open`]; the process is killed at the k-th point of its storage operations, as a crash would do it: for
    /// tests of recovery.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn open_to_be_killed(url: &str, now: Timestamp, kill_at: Option<u64>) -> Result<Lake> {
        let root = disk::root_of(url)?;
        disk::make(&root).map_err(|cause| not_writable(url, cause))?;
        let lake = Self::local(url, root)?;
        lake.meter.kill_at(kill_at.unwrap_or(0));
        format::check_writable(&lake, now).await?;
        Ok(lake)
    }

    /// A lake in memory, gone when it is dropped: for trying things out, and for tests of what every storage must do.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn in_memory(now: Timestamp) -> Result<Lake> {
        let lake = Self::on(Arc::new(object_store::memory::InMemory::new()), "memory", None);
        format::check_writable(&lake, now).await?;
        Ok(lake)
    }

    /// As [`Lake::open`], for a lake that must exist already.
    ///
    /// # Errors
    /// [`Kind::Destination`] when there is no lake.
    pub async fn open_existing(url: &str) -> Result<Lake> {
        Self::find(url).await?.ok_or_else(|| {
            Error::new(Kind::Destination, "there is no lake here")
                .with("lake", url)
                .hint("run a pipeline first, for example `payoutlake run pipelines/quickstart.toml`, or give another --lake")
        })
    }

    /// As [`Lake::open_existing`]; `None` when there is no lake.
    ///
    /// # Errors
    /// As [`Lake::open`].
    pub async fn find(url: &str) -> Result<Option<Lake>> {
        let root = disk::root_of(url)?;
        if !root.join(super::ROOT).is_dir() {
            return Ok(None);
        }
        let lake = Self::local(url, root)?;
        format::check_readable(&lake).await?;
        Ok(Some(lake))
    }

    pub(super) fn local(url: &str, root: PathBuf) -> Result<Lake> {
        let root = root.canonicalize().map_err(|cause| not_writable(url, cause))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|cause| storage(cause, "opened", url))?;
        Ok(Self::on(Arc::new(store), url, Some(root)))
    }

    fn on(store: Arc<dyn ObjectStore>, shown: &str, local: Option<PathBuf>) -> Lake {
        let meter = Arc::new(Meter::default());
        let store = Arc::new(Metered { store, meter: Arc::clone(&meter) });
        let disk = local.map(|root| Disk::new(root, shown, Arc::clone(&meter)));
        Lake { store, meter, shown: shown.to_owned(), disk }
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

    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// A fresh folder for files being written; removed when it is dropped. On local disk it stands inside
    /// the lake, so that a finished file becomes an object without a second copy.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub fn spool_dir(&self) -> Result<tempfile::TempDir> {
        match &self.disk {
            Some(disk) => disk.spool_dir(),
            None => tempfile::tempdir().map_err(|cause| not_writable(&self.shown, cause)),
        }
    }

    /// The folder of an export's bytes. On local disk another process finds what an earlier one left there.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub fn export_spool(&self, export: ExportId) -> Result<ExportSpool> {
        match &self.disk {
            Some(disk) => Ok(ExportSpool { path: disk.kept_spool(&export.to_string())?, _fleeting: None }),
            None => {
                let fleeting = self.spool_dir()?;
                Ok(ExportSpool { path: fleeting.path().to_owned(), _fleeting: Some(fleeting) })
            }
        }
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
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path, bytes.into(), options).await {
            Ok(_) => Ok(Created::New),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(Created::Exists),
            Err(cause) => Err(self.failed(cause, "written", path)),
        }
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

    /// Makes a finished local file an object, durably. An object that exists already is left as it is:
    /// objects are named by their content.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn put_file(&self, file: &FsPath, path: &Path) -> Result<()> {
        match &self.disk {
            Some(disk) => disk.put_file(file, path),
            None if self.size(path).await?.is_some() => Ok(()),
            None => self.upload(file, path).await,
        }
    }

    /// A copy of a file that is not ours, for [`Lake::put_file`]: a later change of the file does not reach the lake.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn copy_of(&self, file: &FsPath) -> Result<FileCopy> {
        let folder = self.spool_dir()?;
        let copy = FileCopy { file: folder.path().join("copy"), _folder: folder };
        tokio::fs::copy(file, &copy.file).await.map_err(|cause| not_writable(&self.shown, cause))?;
        Ok(copy)
    }

    async fn upload(&self, file: &FsPath, path: &Path) -> Result<()> {
        let mut reader =
            tokio::fs::File::open(file).await.map_err(|cause| not_writable(&self.shown, cause))?;
        let mut upload =
            self.store.put_multipart(path).await.map_err(|cause| self.failed(cause, "written", path))?;
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = (&mut reader).take(PART_BYTES as u64).read_to_end(&mut part).await;
            if read.map_err(|cause| not_writable(&self.shown, cause))? == 0 {
                break;
            }
            upload.put_part(part.into()).await.map_err(|cause| self.failed(cause, "written", path))?;
        }
        upload.complete().await.map_err(|cause| self.failed(cause, "written", path))?;
        Ok(())
    }

    /// Copies an object to a local file, in the place of what stands there; `false` when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn copy_to(&self, path: &Path, file: &FsPath) -> Result<bool> {
        let found = match self.store.get(path).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(cause) => return Err(self.failed(cause, "read", path)),
        };
        let mut bytes = found.into_stream();
        // What stands there may be a link to the object itself, which must not be written into.
        let _absent = tokio::fs::remove_file(file).await;
        let mut out =
            tokio::fs::File::create_new(file).await.map_err(|cause| not_writable(&self.shown, cause))?;
        while let Some(part) = bytes.try_next().await.map_err(|cause| self.failed(cause, "read", path))? {
            out.write_all(&part).await.map_err(|cause| not_writable(&self.shown, cause))?;
        }
        out.flush().await.map_err(|cause| not_writable(&self.shown, cause))?;
        Ok(true)
    }

    /// Puts an object in place of a published file in one atomic step: readers see the old file or the new.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn install(&self, object: &Path, published: &Path) -> Result<()> {
        match &self.disk {
            Some(disk) => disk.install(object, published),
            None => {
                let copied = self.store.copy(object, published).await;
                copied.map_err(|cause| self.failed(cause, "published", published))
            }
        }
    }

    /// Whether a published file of the right size is that object: on local disk it is a link to it, and where the file
    /// system has no links, or on an object store, the size is what can be told without reading.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub fn shows(&self, object: &Path, published: &Path) -> Result<bool> {
        self.disk.as_ref().map_or(Ok(true), |disk| disk.shows(object, published))
    }

    /// Removes an object; one that is not there is fine.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn remove(&self, path: &Path) -> Result<()> {
        // Counted by the store.
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(cause) => return Err(self.failed(cause, "removed", path)),
        }
        if let Some(disk) = &self.disk {
            disk.drop_empty_folders(path);
        }
        Ok(())
    }

    fn failed(&self, cause: object_store::Error, done: &str, path: &Path) -> Error {
        storage(cause, done, &format!("{}/{path}", self.shown))
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

fn storage(cause: object_store::Error, done: &str, place: &str) -> Error {
    Error::new(Kind::Destination, format!("the lake's storage failed: a file could not be {done}"))
        .with("file", place)
        .hint("what was committed before is safe; check the storage and run the same command again")
        .caused_by(cause)
}
