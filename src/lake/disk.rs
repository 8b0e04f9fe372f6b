//! Local disk, made durable and atomic: what an object store promises by itself.
//!
//! A file is whole when its name appears. What must not be lost is synced with its folders before a call returns;
//! object_store's own file system syncs nothing.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{ErrorKind as Io, Write as _};
use std::path::{Path as FsPath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::path::Path;

use super::ROOT;
use super::meter::{Meter, Op};
use super::store::Created;
use crate::error::{Error, Kind, Result};

/// The folder of a lake on local disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    root: PathBuf,
    // As the user wrote it, for messages.
    shown: String,
    meter: Arc<Meter>,
    /// Folders of ours whose names outlive a loss of power. They are never removed.
    lasting: Arc<Mutex<HashSet<PathBuf>>>,
}

/// Folder for files being written, inside the lake.
const SPOOL: &str = "tmp";

/// A run ends after a day at the latest; what a killed one left behind may go after twice that.
const SPOOL_KEPT: Duration = Duration::from_secs(48 * 3600);

impl Disk {
    pub fn new(root: PathBuf, shown: &str, meter: Arc<Meter>) -> Self {
        Disk { root, shown: shown.to_owned(), meter, lasting: Arc::default() }
    }

    pub fn root(&self) -> &FsPath {
        &self.root
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.root.join(path.as_ref())
    }

    fn failed(&self, path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<'_> {
        let path = path.clone();
        move |cause| not_writable(&self.shown, cause).with("file", path)
    }

    /// A fresh folder inside the lake, so that a finished file becomes an object without a second copy.
    pub fn spool_dir(&self) -> Result<tempfile::TempDir> {
        let parent = self.root.join(ROOT).join(SPOOL);
        let made = fs::create_dir_all(&parent).and_then(|()| tempfile::tempdir_in(parent));
        made.map_err(|cause| not_writable(&self.shown, cause))
    }

    /// A folder inside the lake that stays until it is removed, or nobody has touched it for long.
    pub fn kept_spool(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(ROOT).join(SPOOL).join(name);
        fs::create_dir_all(&folder).map_err(|cause| not_writable(&self.shown, cause))?;
        Ok(folder)
    }

    /// Writes a file that must not exist yet, durably.
    pub fn create(&self, path: &Path, bytes: &[u8]) -> Result<Created> {
        self.meter.begin(Op::Put);
        let target = self.at(path);
        let created = self.write_new(&target, bytes, true).and_then(|file| {
            self.meter.point();
            match file.persist_noclobber(&target) {
                Ok(_) => Ok(Created::New),
                Err(refused) if refused.error.kind() == Io::AlreadyExists => Ok(Created::Exists),
                Err(refused) => Err(refused.error),
            }
        });
        let created = created.map_err(self.failed(path))?;
        self.sync(path)?;
        Ok(created)
    }

    /// Writes or replaces a file; a loss of power may lose it.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.place(path, bytes, false)
    }

    /// Writes or replaces a file, durably.
    pub fn replace_durably(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.place(path, bytes, true)?;
        self.sync(path)
    }

    fn place(&self, path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
        self.meter.begin(Op::Put);
        let target = self.at(path);
        let placed = self.write_new(&target, bytes, durable).and_then(|file| {
            self.meter.point();
            file.persist(&target).map_err(|refused| refused.error)
        });
        placed.map(drop).map_err(self.failed(path))
    }

    /// Writes a file in the spool, from where its name is moved; durable: with its bytes on the disk. What a killed
    /// process leaves there is swept, and no listing of the lake finds it.
    fn write_new(
        &self,
        target: &FsPath,
        bytes: &[u8],
        durable: bool,
    ) -> std::io::Result<tempfile::NamedTempFile> {
        let spool = self.root.join(ROOT).join(SPOOL);
        fs::create_dir_all(&spool)?;
        fs::create_dir_all(target.parent().unwrap_or(target))?;
        let mut builder = tempfile::Builder::new();
        // A temporary file is for its owner alone; the lake is for everybody whom the umask lets in.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(spool)?;
        file.write_all(bytes)?;
        if durable {
            file.as_file().sync_all()?;
        }
        Ok(file)
    }

    /// Links a finished file into the lake, durably; one that stands there already is left as it is.
    pub fn put_file(&self, file: &FsPath, path: &Path) -> Result<()> {
        self.meter.begin(Op::Put);
        let target = self.at(path);
        // Its bytes first: a name that outlives a loss of power names a whole file.
        fs::File::open(file).and_then(|file| file.sync_all()).map_err(self.failed(path))?;
        match link_or_copy(file, &target) {
            // Somebody else put the same content meanwhile.
            Err(cause) if cause.kind() == Io::AlreadyExists => {}
            Err(cause) => return Err(self.failed(path)(cause)),
            // Published files are links to it: nobody is to write into it by accident.
            Ok(()) => set_read_only(&target).map_err(self.failed(path))?,
        }
        self.meter.point();
        self.sync(path)
    }

    /// Puts objects in place of published files, each in one step, and then syncs the folders, each once.
    pub fn install(&self, files: &[(Path, Path)]) -> Result<()> {
        let spool = self.root.join(ROOT).join(SPOOL);
        let mut folders = BTreeSet::new();
        for (object, published) in files {
            self.meter.begin(Op::Copy);
            let (object, target) = (self.at(object), self.at(published));
            // Staged elsewhere, from where a rename puts it in place: no glob finds it before.
            let staged = tempfile::Builder::new().make_in(&spool, |staged| link_or_copy(&object, staged));
            let placed = staged.and_then(|staged| {
                fs::create_dir_all(target.parent().unwrap_or(&self.root))?;
                self.meter.point();
                staged.persist(&target).map_err(|refused| refused.error)
            });
            placed.map(drop).map_err(self.failed(published))?;
            let above = target.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
            folders.extend(above.map(FsPath::to_owned));
        }
        for folder in folders {
            match fs::File::open(&folder).and_then(|folder| folder.sync_all()) {
                // Another process has removed it, with what was in it.
                Err(cause) if cause.kind() == Io::NotFound => {}
                synced => synced
                    .map_err(|cause| not_writable(&self.shown, cause).with("folder", folder.display()))?,
            }
        }
        Ok(())
    }

    /// Whether a published file is a link to the object; true where the file system has no links.
    #[cfg(unix)]
    pub fn shows(&self, object: &Path, published: &Path) -> Result<bool> {
        use std::os::unix::fs::MetadataExt;
        let found = |path: &Path| fs::metadata(self.at(path)).map_err(self.failed(path));
        let (object, published) = (found(object)?, found(published)?);
        // One link alone: the file system copies instead.
        let linked = object.nlink() > 1 || published.nlink() > 1;
        Ok(!linked || (object.ino() == published.ino() && object.dev() == published.dev()))
    }

    #[cfg(not(unix))]
    pub fn shows(&self, _object: &Path, _published: &Path) -> Result<bool> {
        Ok(true)
    }

    /// Drops the folders above a removed file that are empty now.
    pub fn drop_empty_folders(&self, removed: &Path) {
        // Ours stay: another process may be about to write into them.
        if removed.as_ref().starts_with(ROOT) {
            return;
        }
        let removed = self.at(removed);
        for parent in removed.ancestors().skip(1).take_while(|parent| *parent != self.root) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }

    /// Syncs the folders of a file whose bytes are on the disk, up to the lake's root: its name is there to stay.
    fn sync(&self, path: &Path) -> Result<()> {
        let file = self.at(path);
        let above = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.root));
        // Beside ours are folders that another process may remove and we make anew.
        let ours = self.root.join(ROOT);
        let mut synced = Vec::new();
        for folder in above {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(self.failed(path))?;
            if self.lasting().contains(folder) {
                break;
            }
            synced.extend(folder.starts_with(&ours).then(|| folder.to_owned()));
        }
        self.lasting().extend(synced);
        Ok(())
    }

    fn lasting(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the folder of a lake, and removes what killed runs left in its spool.
pub(super) fn make(root: &FsPath) -> std::io::Result<()> {
    fs::create_dir_all(root)?;
    // Best effort: a folder that cannot be removed does no harm.
    for entry in fs::read_dir(root.join(ROOT).join(SPOOL)).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > SPOOL_KEPT) {
            let _left = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

/// A hard link where the file system has them: no second copy of the bytes. Elsewhere a copy that appears whole, and is on
/// the disk when the original is.
fn link_or_copy(from: &FsPath, to: &FsPath) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::hard_link(from, to) {
        Err(cause) if !matches!(cause.kind(), Io::AlreadyExists | Io::NotFound | Io::StorageFull) => {
            let part = to.with_extension("part");
            fs::copy(from, &part)?;
            fs::File::open(&part).and_then(|copy| copy.sync_all())?;
            fs::rename(&part, to)
        }
        linked => linked,
    }
}

fn set_read_only(path: &FsPath) -> std::io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

pub(super) fn not_writable(url: &str, cause: std::io::Error) -> Error {
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
