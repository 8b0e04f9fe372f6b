//! Between a lake and files of this machine: where files are written before they become objects, and where objects are
//! looked at.

use std::path::{Path as FsPath, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::disk::not_writable;
use super::store::Lake;
use crate::error::{Error, Kind, Result};
use crate::model::ExportId;

/// How many bytes go to an object store in one part of a multipart upload.
const PART_BYTES: usize = 8 * 1024 * 1024;

/// How many of them are under way.
const PARTS_TOGETHER: usize = 2;

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
    /// A fresh folder for files being written; removed when it is dropped. On local disk it stands inside
    /// the lake, so that a finished file becomes an object without a second copy.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub fn spool_dir(&self) -> Result<tempfile::TempDir> {
        match &self.disk {
            Some(disk) => disk.spool_dir(),
            None => tempfile::tempdir().map_err(|cause| {
                Error::new(Kind::Destination, "no files can be written on this machine")
                    .hint("free some space there, or set TMPDIR to a folder that has some: files are made there before they go to the lake's storage")
                    .caused_by(cause)
            }),
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

    /// Makes a finished local file an object, durably. An object that exists already is left as it is:
    /// objects are named by their content.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn put_file(&self, file: &FsPath, path: &Path) -> Result<()> {
        match &self.disk {
            Some(disk) => {
                let (disk, file, path) = (disk.clone(), file.to_owned(), path.clone());
                let put = tokio::task::spawn_blocking(move || disk.put_file(&file, &path)).await;
                put.map_err(|cause| {
                    Error::new(Kind::Bug, "a file could not be put into the lake").caused_by(cause)
                })?
            }
            None => self.upload(file, path).await,
        }
    }

    /// Why a file of [`Lake::spool_dir`] cannot be written.
    pub fn not_writable(&self, cause: std::io::Error) -> Error {
        not_writable(&self.shown, cause)
    }

    async fn upload(&self, file: &FsPath, path: &Path) -> Result<()> {
        let failed = |cause| self.failed(cause, "written", path);
        let unreadable = |cause| self.not_writable(cause);
        let mut reader = tokio::fs::File::open(file).await.map_err(unreadable)?;
        let bytes = reader.metadata().await.map_err(unreadable)?.len();
        let mut next = async || {
            let mut part = Vec::with_capacity(PART_BYTES.min(usize::try_from(bytes).unwrap_or(PART_BYTES)));
            (&mut reader).take(PART_BYTES as u64).read_to_end(&mut part).await.map_err(unreadable)?;
            Ok::<_, Error>(Bytes::from(part))
        };
        if bytes <= PART_BYTES as u64 {
            // One request, which finds out as well whether the object is there.
            return self.create(path, next().await?).await.map(drop);
        }
        if self.size(path).await?.is_some() {
            return Ok(());
        }
        let mut upload = self.store.put_multipart(path).await.map_err(failed)?;
        let sent = async {
            let mut under_way = FuturesUnordered::new();
            loop {
                let part = next().await?;
                if part.is_empty() {
                    break;
                }
                if under_way.len() == PARTS_TOGETHER {
                    under_way.next().await.transpose().map_err(failed)?;
                }
                under_way.push(upload.put_part(part.into()));
            }
            while under_way.next().await.transpose().map_err(failed)?.is_some() {}
            upload.complete().await.map(drop).map_err(failed)
        };
        let sent = sent.await;
        if sent.is_err() {
            // Parts that nobody completes are stored, and paid for.
            let _left = upload.abort().await;
            // The answer to a success may be lost, and somebody else may have put the same content meanwhile.
            if self.size(path).await.is_ok_and(|there| there == Some(bytes)) {
                return Ok(());
            }
        }
        sent
    }

    /// A file of this machine with an object's bytes: the object's own, of a lake on local disk, else `copy`.
    ///
    /// # Errors
    /// [`Kind::Destination`], also when it does not exist.
    pub async fn local_copy(&self, path: &Path, copy: &FsPath) -> Result<PathBuf> {
        if let Some(file) = self.local_file(path) {
            return Ok(file);
        }
        if !self.copy_to(path, copy).await? {
            return Err(Error::new(Kind::Destination, "an object is gone")
                .with("file", format!("{}/{path}", self.shown))
                .hint("nothing was changed; run the same command again, and if it is still gone, restore the file from a backup"));
        }
        Ok(copy.to_owned())
    }

    /// Copies an object to a local file, in the place of what stands there; `false` when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn copy_to(&self, path: &Path, file: &FsPath) -> Result<bool> {
        let Some(bytes) = self.size(path).await? else { return Ok(false) };
        let unwritable = |cause| self.not_writable(cause);
        // What stands there may be a link to the object itself, which must not be written into.
        let _absent = tokio::fs::remove_file(file).await;
        let mut out = tokio::fs::File::create_new(file).await.map_err(unwritable)?;
        // Part by part: each has its time, however large the whole is.
        let mut at = 0;
        while at < bytes {
            let end = bytes.min(at + PART_BYTES as u64);
            let part = self.store.get_range(path, at..end).await;
            out.write_all(&part.map_err(|cause| self.failed(cause, "read", path))?)
                .await
                .map_err(unwritable)?;
            at = end;
        }
        out.flush().await.map_err(unwritable)?;
        Ok(true)
    }
}
