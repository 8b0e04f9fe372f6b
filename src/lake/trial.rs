//! Tries a storage out before a run relies on it. What is tried leaves nothing behind, and makes no lake.

use std::path::{Path as FsPath, PathBuf};

use bytes::Bytes;
use object_store::path::Path;
use uuid::Uuid;

use super::disk::not_writable;
use super::format::no_put_if_absent;
use super::location::{Location, Root};
use super::store::{Created, Lake};
use crate::error::{Error, Kind, Result};

/// What was seen of a storage that can hold a lake.
#[derive(Debug, Clone)]
pub struct Tried {
    /// The lake, when there is one already.
    pub lake: Option<Lake>,
    /// Bytes that a user may still write; only for local disk, and where the system tells it.
    pub free_bytes: Option<u64>,
}

impl Lake {
    /// Writes, lists, reads and removes an object below the lake's URL, and creates it twice: the second time must fail,
    /// because that is how commits of several writers are kept apart. On local disk, where no lake is yet, this happens in
    /// the nearest folder that exists.
    ///
    /// # Errors
    /// [`Kind::Destination`] when one of these fails, [`Kind::Contract`] when this build is too old for the lake,
    /// [`Kind::Config`] for a storage that is not known, wrongly set up, or lets a second create succeed.
    pub async fn try_out(location: &Location) -> Result<Tried> {
        let lake = Lake::find(location).await?;
        if let Some(lake) = &lake {
            super::format::check_extendable(lake).await?;
        }
        let place = match location.root()? {
            Root::Disk(root) => nearest_folder(root),
            root @ Root::Cloud { .. } => {
                try_create(&Lake::at(location, root)?).await?;
                return Ok(Tried { lake, free_bytes: None });
            }
        };
        // A folder of its own: it goes away with all that a storage may have made beside the object.
        let shown = location.to_string();
        let trial = tempfile::Builder::new().prefix(".payoutlake-check-").tempdir_in(&place);
        let trial = trial.map_err(|cause| not_writable(&shown, cause))?;
        try_create(&Lake::local(&shown, trial.path().to_owned())?).await?;
        trial.close().map_err(|cause| not_writable(&shown, cause))?;
        Ok(Tried { lake, free_bytes: free_bytes(&place) })
    }
}

/// # Errors
/// As [`Lake::try_out`].
async fn try_create(lake: &Lake) -> Result<()> {
    let broken = |what: &str| {
        Error::new(Kind::Destination, format!("the storage does not keep its word: {what}"))
            .with("lake", lake.shown())
            .hint("use another storage: a network mount with a cache in between may be the reason")
    };
    let folder = Path::from(".payoutlake-check");
    let path = folder.clone().join(Uuid::new_v4().to_string());
    let content = Bytes::from_static(b"payoutlake check\n");
    // A storage may tell us of our own success.
    if lake.create(&path, content.clone()).await? == Created::Exists
        && lake.get(&path).await?.as_ref() != Some(&content)
    {
        return Err(broken("a new name is taken already"));
    }
    if lake.create(&path, Bytes::from_static(b"second\n")).await? == Created::New {
        let refused = no_put_if_absent(lake);
        lake.remove(&path).await?;
        return Err(refused);
    }
    if lake.get(&path).await?.as_ref() != Some(&content) {
        return Err(broken("what was written is not what is read"));
    }
    if !lake.list(&folder).await?.contains(&path) {
        return Err(broken("a new object is not listed"));
    }
    lake.remove(&path).await?;
    if lake.get(&path).await?.is_some() {
        return Err(broken("a removed object is still there"));
    }
    Ok(())
}

fn nearest_folder(root: PathBuf) -> PathBuf {
    let found = root.ancestors().find(|place| place.exists()).map(FsPath::to_owned);
    // A relative path has no ancestor but the working folder.
    found.unwrap_or_else(|| PathBuf::from("."))
}

#[cfg(unix)]
fn free_bytes(place: &FsPath) -> Option<u64> {
    let seen = rustix::fs::statvfs(place).ok()?;
    seen.f_bavail.checked_mul(seen.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_place: &FsPath) -> Option<u64> {
    None
}
