//! Storage operations, counted: what a cloud store bills, and what tests hold against a ceiling.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::again::again;
use super::disk::Disk;
use super::store::Created;
use crate::model::StorageOps;

/// What an operation does to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    List,
    Get,
    Put,
    Copy,
    Remove,
}

/// Counts the operations of one process on one lake.
#[derive(Debug, Default)]
pub(super) struct Meter {
    list: AtomicU64,
    get: AtomicU64,
    put: AtomicU64,
    copy: AtomicU64,
    remove: AtomicU64,
    points: AtomicU64,
    /// Tests only: the process is killed where the count of points reaches this. 0: never.
    kill_at: AtomicU64,
}

impl Meter {
    /// Counts an operation that is about to begin.
    pub(super) fn begin(&self, op: Op) {
        let counter = match op {
            Op::List => &self.list,
            Op::Get => &self.get,
            Op::Put => &self.put,
            Op::Copy => &self.copy,
            Op::Remove => &self.remove,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // A process that dies while it reads leaves what it leaves before its next write.
        if matches!(op, Op::Put | Op::Copy | Op::Remove) {
            self.point();
        }
    }

    /// A place where a process may die: before each write, and between the steps of one that is not atomic.
    pub(super) fn point(&self) {
        let reached = self.points.fetch_add(1, Ordering::Relaxed) + 1;
        if reached == self.kill_at.load(Ordering::Relaxed) {
            // As by `kill -9`: no destructor runs, nothing is flushed.
            std::process::abort();
        }
    }

    pub(super) fn kill_at(&self, point: u64) {
        self.kill_at.store(point, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> StorageOps {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StorageOps {
            list: of(&self.list),
            get: of(&self.get),
            put: of(&self.put),
            copy: of(&self.copy),
            remove: of(&self.remove),
        }
    }
}

/// An object store whose operations are counted: the query engine reads through it as well.
#[derive(Debug)]
pub(super) struct Metered {
    pub store: Arc<dyn ObjectStore>,
    pub meter: Arc<Meter>,
    /// On local disk: there a whole document is written so that it outlives a loss of power.
    pub disk: Option<Disk>,
}

impl Metered {
    /// Listings of object stores come sorted by name, and readers of Delta logs rely on it; those of a disk do not.
    fn sorted(
        &self,
        found: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if self.disk.is_none() {
            return found;
        }
        let all = async move {
            let mut all: Vec<ObjectMeta> = found.try_collect().await?;
            all.sort_by(|a, b| a.location.cmp(&b.location));
            Ok(stream::iter(all.into_iter().map(Ok)))
        };
        all.try_flatten_stream().boxed()
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Metered {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let Some(disk) = &self.disk else {
            let send = || {
                self.meter.begin(Op::Put);
                self.store.put_opts(to, payload.clone(), options.clone())
            };
            return again(send).await;
        };
        let bytes: Bytes = payload.into();
        let put = match options.mode {
            PutMode::Create => disk.create(to, &bytes),
            PutMode::Overwrite => disk.replace_durably(to, &bytes).map(|()| Created::New),
            PutMode::Update(_) => {
                let implementer = "local disk".to_owned();
                return Err(Error::NotImplemented {
                    operation: "conditional update".to_owned(),
                    implementer,
                });
            }
        };
        match put {
            Ok(Created::New) => Ok(PutResult { e_tag: None, version: None }),
            Ok(Created::Exists) => {
                Err(Error::AlreadyExists { path: to.to_string(), source: "it was created before".into() })
            }
            Err(cause) => Err(Error::Generic { store: "lake", source: Box::new(cause) }),
        }
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.meter.begin(Op::Put);
        let upload = self.store.put_multipart_opts(to, options).await?;
        Ok(Box::new(MeteredUpload { upload, meter: Arc::clone(&self.meter) }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.meter.begin(Op::Get);
        self.store.get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.meter.begin(Op::Get);
        self.store.get_ranges(from, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let meter = Arc::clone(&self.meter);
        self.store.delete_stream(paths.inspect(move |_| meter.begin(Op::Remove)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.begin(Op::List);
        self.sorted(self.store.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.meter.begin(Op::List);
        // Some servers do not know the parameter (Azurite), and answer as if it were not there.
        let after = offset.clone();
        let found = self.store.list_with_offset(prefix, offset);
        self.sorted(found.try_filter(move |found| ready(found.location > after)).boxed())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.meter.begin(Op::List);
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.meter.begin(Op::Copy);
        self.store.copy_opts(from, to, options).await
    }
}

/// Each part of an upload is a request of its own, and so is its end.
#[derive(Debug)]
struct MeteredUpload {
    upload: Box<dyn MultipartUpload>,
    meter: Arc<Meter>,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.meter.begin(Op::Put);
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.meter.begin(Op::Put);
        self.upload.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.meter.begin(Op::Remove);
        self.upload.abort().await
    }
}
