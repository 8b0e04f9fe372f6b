//! Export requests: made, kept on disk, built in the background, looked at, deleted.
//!
//! ```text
//! <state_dir>/key                    signs tokens and blob addresses
//! <state_dir>/requests/<id>.json     one request; written under another name and renamed
//! <state_dir>/blobs/<id>             its finished file
//! ```

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};

use super::Dataset;
use super::build::{Built, Format};
use super::tokens::{Caller, Key};

/// Version of the request files.
const VERSION: u32 = 1;

/// A request as it stands on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    version: u32,
    pub id: Uuid,
    pub dataset: Dataset,
    /// The text of `$filter`, as it came.
    pub filter: Option<String>,
    pub format: Format,
    pub requested_at: Timestamp,
    /// The day as which the corpus is exported.
    pub as_of: Date,
    pub caller: Caller,
    /// The caller's own id of the request: the same id again is the same export.
    pub ms_request_id: Option<String>,
    /// Set when the blob is there.
    pub built: Option<Built>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Queued,
    Processing,
    Completed,
    Failed,
}

impl Progress {
    /// As the API spells it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Progress::Queued => "Queued",
            Progress::Processing => "Processing",
            Progress::Completed => "Completed",
            Progress::Failed => "Failed",
        }
    }
}

/// A request and what is known of it while the server runs.
#[derive(Debug, Clone)]
pub struct Entry {
    pub request: Request,
    pub failed: bool,
    /// How often a blob address was given out.
    pub addresses: u32,
}

impl Entry {
    /// Where the request stands: by the clock, and never Completed before its blob is there.
    #[must_use]
    pub fn progress(&self, now: Timestamp, delay_millis: u64) -> Progress {
        let elapsed = now.duration_since(self.request.requested_at);
        let delay = SignedDuration::from_millis(i64::try_from(delay_millis).unwrap_or(i64::MAX));
        match &self.request.built {
            _ if elapsed < delay / 2 => Progress::Queued,
            _ if elapsed < delay => Progress::Processing,
            _ if self.failed => Progress::Failed,
            Some(_) => Progress::Completed,
            None => Progress::Processing,
        }
    }
}

/// All requests of a state folder.
pub struct Exports {
    dir: PathBuf,
    entries: Mutex<HashMap<Uuid, Entry>>,
}

impl Exports {
    /// Opens a state folder and reads the requests in it.
    ///
    /// # Errors
    /// [`Kind::Destination`] when the folder cannot be read or written, [`Kind::Config`] when it is not of this version.
    pub fn open(dir: &Path) -> Result<(Self, Key)> {
        let fail = |cause: io::Error| {
            Error::new(Kind::Destination, "cannot use the state folder of the sandbox")
                .with("folder", dir.display())
                .hint(
                    "Name a folder that can be written as `state_dir`, or leave it out for a temporary one.",
                )
                .caused_by(cause)
        };
        for name in ["requests", "blobs"] {
            fs::create_dir_all(dir.join(name)).map_err(fail)?;
        }
        let key = open_key(&dir.join("key")).map_err(fail)?;
        let mut entries = HashMap::new();
        for file in fs::read_dir(dir.join("requests")).map_err(fail)? {
            let path = file.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let request = read_request(&path, &fs::read(&path).map_err(fail)?)?;
                entries.insert(request.id, Entry { request, failed: false, addresses: 0 });
            }
        }
        Ok((Exports { dir: dir.to_owned(), entries: Mutex::new(entries) }, key))
    }

    /// A poisoned lock only means that a handler stopped between two steps, and each step leaves the map whole.
    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new request, or finds the one that the same caller has made with the same id of its own.
    /// Tells whether it is new.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(&self, request: Request) -> io::Result<(Entry, bool)> {
        let mut entries = self.entries();
        let repeated = entries.values().find(|entry| {
            let known = &entry.request;
            known.ms_request_id.is_some()
                && known.ms_request_id == request.ms_request_id
                && known.caller == request.caller
                && known.dataset == request.dataset
        });
        if let Some(entry) = repeated {
            return Ok((entry.clone(), false));
        }
        self.save(&request)?;
        let entry = Entry { request, failed: false, addresses: 0 };
        entries.insert(entry.request.id, entry.clone());
        Ok((entry, true))
    }

    #[must_use]
    pub fn find(&self, dataset: Dataset, id: Uuid) -> Option<Entry> {
        self.entries().get(&id).filter(|entry| entry.request.dataset == dataset).cloned()
    }

    /// Notes that a blob address is given out and tells how many were before.
    pub fn count_address(&self, id: Uuid) -> u32 {
        self.entries().get_mut(&id).map_or(0, |entry| {
            entry.addresses += 1;
            entry.addresses - 1
        })
    }

    /// Requests whose blob is not there yet.
    #[must_use]
    pub fn unbuilt(&self) -> Vec<Request> {
        let entries = self.entries();
        entries
            .values()
            .filter(|entry| entry.request.built.is_none())
            .map(|entry| entry.request.clone())
            .collect()
    }

    /// Notes what became of a build. A request that was deleted meanwhile takes its blob with it.
    pub fn finish(&self, id: Uuid, outcome: io::Result<Built>) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(&id) else {
            // Nothing is lost when it stays behind: no address leads to it.
            let _ = fs::remove_file(self.blob(id));
            return;
        };
        match outcome {
            Ok(built) => {
                entry.request.built = Some(built);
                entry.failed = self.save(&entry.request).is_err();
            }
            Err(_) => entry.failed = true,
        }
    }

    /// # Errors
    /// What the file system says.
    pub fn delete(&self, id: Uuid) -> io::Result<()> {
        let mut entries = self.entries();
        match fs::remove_file(self.request_path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        entries.remove(&id);
        match fs::remove_file(self.blob(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where the blob of a request stands.
    #[must_use]
    pub fn blob(&self, id: Uuid) -> PathBuf {
        self.dir.join("blobs").join(id.to_string())
    }

    /// The request and the finished blob behind a blob name such as `<id>.csv`.
    #[must_use]
    pub fn blob_named(&self, name: &str) -> Option<(Request, Built)> {
        let (id, extension) = name.split_once('.')?;
        let entry = self.entries().get(&Uuid::parse_str(id).ok()?)?.clone();
        let built = entry.request.built.clone().filter(|built| built.extension == extension)?;
        Some((entry.request, built))
    }

    fn request_path(&self, id: Uuid) -> PathBuf {
        self.dir.join("requests").join(format!("{id}.json"))
    }

    fn save(&self, request: &Request) -> io::Result<()> {
        let path = self.request_path(request.id);
        let temporary = path.with_extension("part");
        fs::write(&temporary, serde_json::to_vec_pretty(request)?)?;
        fs::rename(temporary, path)
    }
}

impl Request {
    #[must_use]
    pub fn new(
        dataset: Dataset,
        format: Format,
        requested_at: Timestamp,
        as_of: Date,
        caller: Caller,
    ) -> Self {
        Request {
            version: VERSION,
            id: Uuid::new_v4(),
            dataset,
            filter: None,
            format,
            requested_at,
            as_of,
            caller,
            ms_request_id: None,
            built: None,
        }
    }
}

fn read_request(path: &Path, bytes: &[u8]) -> Result<Request> {
    let refuse = |message: &str| {
        Error::new(Kind::Config, message)
            .with("file", path.display())
            .hint("Delete the state folder, or name another one as `state_dir`.")
    };
    let request: Request = serde_json::from_slice(bytes)
        .map_err(|cause| refuse("a request file of the sandbox cannot be understood").caused_by(cause))?;
    if request.version != VERSION {
        return Err(
            refuse("a request file of the sandbox is of another version").with("version", request.version)
        );
    }
    Ok(request)
}

/// Reads the key of a state folder, or makes one.
fn open_key(path: &Path) -> io::Result<Key> {
    match fs::read(path) {
        Ok(bytes) => {
            let key =
                bytes.try_into().map_err(|_| io::Error::other("the file `key` does not hold 32 bytes"))?;
            Ok(Key(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            key[..16].copy_from_slice(Uuid::new_v4().as_bytes());
            key[16..].copy_from_slice(Uuid::new_v4().as_bytes());
            let temporary = path.with_extension("part");
            fs::write(&temporary, key)?;
            fs::rename(temporary, path)?;
            Ok(Key(key))
        }
        Err(error) => Err(error),
    }
}
