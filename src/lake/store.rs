//! A storage URL becomes an [`ObjectStore`] here, and nowhere else; local disk is made durable here.

use std::fs;
use std::io::{ErrorKind as Io, Write as _};
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

use crate::error::{Error, Kind, Result};

/// A lake on some storage.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    // As the user wrote it, for messages.
    shown: String,
    // Root folder of a lake on local disk: there, files and directories are synced by us.
    local: Option<PathBuf>,
}

/// What became of a put-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    New,
    /// Something stands there already; it may be our own earlier attempt.
    Exists,
}

/// Folder for files being written, inside the lake.
const SPOOL: &str = "tmp";

/// A run ends after a day at the latest; what a killed one left behind may go after twice that.
const SPOOL_KEPT: Duration = Duration::from_secs(48 * 3600);

/// How many bytes go to an object store in one part of a multipart upload.
const PART_BYTES: usize = 8 * 1024 * 1024;

impl Lake {
    /// Opens the lake at a path or a `file://` URL, and makes its folder when it is missing.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that this build does not know, [`Kind::Destination`] when the
    /// folder cannot be made or written.
    pub fn open(url: &str) -> Result<Lake> {
        let root = local_root(url)?;
        fs::create_dir_all(&root).map_err(|cause| not_writable(url, cause))?;
        sweep(&root.join(super::ROOT).join(SPOOL));
        Self::local(url, root)
    }

    /// As [`Lake::open`], for a lake that must exist already.
    ///
    /// # Errors
    /// [`Kind::Destination`] when there is no lake.
    pub fn open_existing(url: &str) -> Result<Lake> {
        let root = local_root(url)?;
        if !root.join(super::ROOT).is_dir() {
            return Err(Error::new(Kind::Destination, "there is no lake here")
                .with("lake", url)
                .hint("run a pipeline first, for example `payoutlake run pipelines/quickstart.toml`, or give another --lake"));
        }
        Self::local(url, root)
    }

    fn local(url: &str, root: PathBuf) -> Result<Lake> {
        let root = root.canonicalize().map_err(|cause| not_writable(url, cause))?;
        let store = LocalFileSystem::new_with_prefix(&root).map_err(|cause| storage(cause, "opened", url))?;
        Ok(Lake { store: Arc::new(store), shown: url.to_owned(), local: Some(root) })
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
        let made = match &self.local {
            Some(root) => {
                let parent = root.join(super::ROOT).join(SPOOL);
                fs::create_dir_all(&parent).and_then(|()| tempfile::tempdir_in(parent))
            }
            None => tempfile::tempdir(),
        };
        made.map_err(|cause| not_writable(&self.shown, cause))
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
        serde_json::from_slice(&bytes).map(Some).map_err(|cause| {
            Error::new(Kind::Contract, "a file of the lake cannot be understood")
                .with("file", format!("{}/{path}", self.shown))
                .hint("it was damaged or written by another version of payoutlake; nothing was changed")
                .caused_by(cause)
        })
    }

    /// Names of all objects below a prefix, sorted.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn list(&self, prefix: &Path) -> Result<Vec<Path>> {
        Ok(self.list_sizes(prefix).await?.into_iter().map(|(path, _)| path).collect())
    }

    /// Names and sizes in bytes of all objects below a prefix, sorted.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn list_sizes(&self, prefix: &Path) -> Result<Vec<(Path, u64)>> {
        let found = self.store.list(Some(prefix)).map_ok(|meta| (meta.location, meta.size));
        let found = found.try_collect::<Vec<_>>().await;
        let mut found = found.map_err(|cause| self.failed(cause, "listed", prefix))?;
        found.sort();
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
        if let Some(root) = &self.local {
            let created = create_whole(&root.join(path.as_ref()), &bytes);
            let created = created.map_err(|cause| not_writable(&self.shown, cause).with("file", path))?;
            self.sync(path)?;
            return Ok(created);
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

    /// Writes or replaces a JSON document, durably.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn replace_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let bytes = to_json(value)?;
        if let Some(root) = &self.local {
            let target = root.join(path.as_ref());
            let placed =
                write_beside(&target, &bytes).and_then(|file| file.persist(&target).map_err(|e| e.error));
            placed.map_err(|cause| not_writable(&self.shown, cause).with("file", path))?;
            return self.sync(path);
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
        match &self.local {
            Some(root) => {
                match link_or_copy(file, &root.join(path.as_ref())) {
                    // Somebody else put the same content meanwhile.
                    Err(cause) if cause.kind() == Io::AlreadyExists => {}
                    Err(cause) => return Err(not_writable(&self.shown, cause).with("file", path)),
                    // Published files are links to it: nobody is to write into it by accident.
                    Ok(()) => set_read_only(&root.join(path.as_ref()))
                        .map_err(|cause| not_writable(&self.shown, cause).with("file", path))?,
                }
                self.sync(path)
            }
            None if self.store.head(path).await.is_ok() => Ok(()),
            None => self.upload(file, path).await,
        }
    }

    /// As [`Lake::put_file`] for a file that is not ours: its bytes are copied, so that a later change of the
    /// file does not reach the lake.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn copy_file(&self, file: &FsPath, path: &Path) -> Result<()> {
        let spool = self.spool_dir()?;
        let copy = spool.path().join("copy");
        tokio::fs::copy(file, &copy).await.map_err(|cause| not_writable(&self.shown, cause))?;
        self.put_file(&copy, path).await
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

    /// Copies an object to a local file; `false` when it does not exist.
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
        let mut out =
            tokio::fs::File::create(file).await.map_err(|cause| not_writable(&self.shown, cause))?;
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
        let Some(root) = &self.local else {
            return self
                .store
                .copy(object, published)
                .await
                .map_err(|c| self.failed(c, "published", published));
        };
        let target = root.join(published.as_ref());
        // A hidden name beside the target: no reader's glob takes it, and a rename inside one folder is atomic.
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let staged = target.with_file_name(format!(".{name}.new"));
        let placed = remove_if_there(&staged)
            .and_then(|()| link_or_copy(&root.join(object.as_ref()), &staged))
            .and_then(|()| fs::rename(&staged, &target))
            // Renaming onto another link of the same file does nothing and leaves the staged name behind.
            .and_then(|()| remove_if_there(&staged));
        placed.map_err(|cause| not_writable(&self.shown, cause).with("file", published))?;
        self.sync(published)
    }

    /// Removes an object; one that is not there is fine.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn remove(&self, path: &Path) -> Result<()> {
        match self.store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(cause) => return Err(self.failed(cause, "removed", path)),
        }
        if let Some(root) = &self.local {
            // Empty partition folders are dropped; a folder with files in it stays.
            let parents = root.join(path.as_ref());
            for parent in parents.ancestors().skip(1).take_while(|parent| *parent != root) {
                if fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Syncs a local file and the folders up to the lake's root: `LocalFileSystem` syncs nothing.
    fn sync(&self, path: &Path) -> Result<()> {
        let Some(root) = &self.local else { return Ok(()) };
        let file = root.join(path.as_ref());
        for place in file.ancestors().take_while(|place| place.starts_with(root)) {
            fs::File::open(place)
                .and_then(|handle| handle.sync_all())
                .map_err(|cause| not_writable(&self.shown, cause).with("file", place.display()))?;
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

fn local_root(url: &str) -> Result<PathBuf> {
    match Url::parse(url) {
        Ok(parsed) if parsed.scheme() == "file" => parsed
            .to_file_path()
            .map_err(|()| Error::new(Kind::Config, "the file URL has no local path").with("lake", url)),
        // One letter is a Windows drive, not a scheme.
        Ok(parsed) if parsed.scheme().len() > 1 => {
            Err(Error::new(Kind::Config, format!("storage '{}' is not in this release", parsed.scheme()))
                .with("lake", crate::secret::redacted(&parsed))
                .hint("use a local path or a file:// URL; cloud storage is planned, see the README"))
        }
        _ if url.is_empty() => Err(Error::new(Kind::Config, "the lake's path is empty")),
        _ => Ok(PathBuf::from(url)),
    }
}

/// A hard link where the file system has them: no second copy of the bytes. Elsewhere a copy that appears whole.
fn link_or_copy(from: &FsPath, to: &FsPath) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::hard_link(from, to) {
        Err(cause) if !matches!(cause.kind(), Io::AlreadyExists | Io::NotFound | Io::StorageFull) => {
            let part = to.with_extension("part");
            fs::copy(from, &part)?;
            fs::rename(&part, to)
        }
        linked => linked,
    }
}

/// Writes a file under a hidden name in the folder of `target`, with its bytes on the disk.
fn write_beside(target: &FsPath, bytes: &[u8]) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    // A temporary file is for its owner alone; the lake is for everybody whom the umask lets in.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Puts a file in place if nothing stands there. It is whole when its name appears, also after a loss of power.
fn create_whole(target: &FsPath, bytes: &[u8]) -> std::io::Result<Created> {
    match write_beside(target, bytes)?.persist_noclobber(target) {
        Ok(_) => Ok(Created::New),
        Err(refused) if refused.error.kind() == Io::AlreadyExists => Ok(Created::Exists),
        Err(refused) => Err(refused.error),
    }
}

fn set_read_only(path: &FsPath) -> std::io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

/// Removes what killed runs left in the spool. Best effort: a folder that cannot be removed does no harm.
fn sweep(spool: &FsPath) {
    for entry in fs::read_dir(spool).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > SPOOL_KEPT) {
            let _left = fs::remove_dir_all(entry.path());
        }
    }
}

fn remove_if_there(path: &FsPath) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != Io::NotFound => Err(cause),
        _ => Ok(()),
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|cause| {
        Error::new(Kind::Bug, "a document of the lake cannot be written as JSON").caused_by(cause)
    })?;
    json.push(b'\n');
    Ok(json.into())
}

fn not_writable(url: &str, cause: std::io::Error) -> Error {
    let hint = match cause.kind() {
        Io::StorageFull => "free some space on the disk and run the same command again",
        Io::PermissionDenied | Io::ReadOnlyFilesystem => {
            "give the user that runs payoutlake write permission to the lake's folder, or choose another lake"
        }
        _ => "check that the lake's folder exists and is writable, then run the same command again",
    };
    Error::new(Kind::Destination, "the lake cannot be read or written")
        .with("lake", url)
        .hint(hint)
        .caused_by(cause)
}

fn storage(cause: object_store::Error, done: &str, place: &str) -> Error {
    Error::new(Kind::Destination, format!("the lake's storage failed: a file could not be {done}"))
        .with("file", place)
        .hint("what was committed before is safe; check the storage and run the same command again")
        .caused_by(cause)
}
