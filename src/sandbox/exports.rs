//! Export requests: made, kept on disk, built in the background, looked at, deleted.
//!
//! ```text
//! <state_dir>/key                    signs tokens and blob addresses
//! <state_dir>/clock.json             the sandbox's own clock, once it ran faster than the client's
//! <state_dir>/refreshed.json         which refresh tokens were replaced, when that makes a difference
//! <state_dir>/requests/<id>.json     one request; written under another name and renamed
//! <state_dir>/blobs/<id>             its finished file
//! <state_dir>/built/<id>             the same under a second name, for requests like it that are made on the same day
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};

use super::build::{Built, Format};
use super::faults::{Fault, FaultKind, is_set};
use super::tokens::{Caller, Key};
use super::{Dataset, Options};

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
    /// Faults that were put on this export by the position of a request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// Its own delay; without it that of the options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_millis: Option<u64>,
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
    /// How often it was looked at when it was Completed.
    pub looks: u32,
}

impl Entry {
    /// Where the request stands: by the clock, and never Completed before its blob is there.
    #[must_use]
    pub fn progress(&self, now: Timestamp, options: &Options) -> Progress {
        let elapsed = now.duration_since(self.request.requested_at);
        let delay = self.due(options).duration_since(self.request.requested_at);
        match &self.request.built {
            _ if elapsed < delay / 2 => Progress::Queued,
            // Put on it by a request; without a position the build fails.
            _ if is_set(&self.request.faults, FaultKind::ExportFailed, self.request.dataset) => {
                Progress::Failed
            }
            _ if elapsed < delay || self.has(options, FaultKind::ExportStuck) => Progress::Processing,
            _ if self.failed => Progress::Failed,
            Some(_) => Progress::Completed,
            None => Progress::Processing,
        }
    }

    /// Whether only the build is missing for it to be finished.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp, options: &Options) -> bool {
        let built = self.request.built.is_some() || self.failed;
        !built && !self.has(options, FaultKind::ExportStuck) && now >= self.due(options)
    }

    /// When it is finished.
    fn due(&self, options: &Options) -> Timestamp {
        let millis = self.request.delay_millis.unwrap_or(options.delay_millis);
        let delay = SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        self.request.requested_at.checked_add(delay).unwrap_or(Timestamp::MAX)
    }

    /// Whether a fault is on this export: by a request, or for all exports of its data set.
    #[must_use]
    pub fn has(&self, options: &Options, kind: FaultKind) -> bool {
        let dataset = self.request.dataset;
        is_set(&self.request.faults, kind, dataset) || is_set(&options.faults, kind, dataset)
    }
}

/// All requests of a state folder.
pub struct Exports {
    dir: PathBuf,
    entries: Mutex<HashMap<Uuid, Entry>>,
    /// Built since the start, of the newest day: their blobs have a second name.
    kept: Mutex<Vec<Request>>,
    /// Exports since the start.
    created: AtomicUsize,
    /// Addresses that were good for one request and have been used.
    spent: Mutex<HashSet<String>>,
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
        // Those were built under other options, perhaps. What stays of them is not looked at.
        let _ = fs::remove_dir_all(dir.join("built"));
        for name in ["requests", "blobs", "built"] {
            fs::create_dir_all(dir.join(name)).map_err(fail)?;
        }
        let key = open_key(&dir.join("key")).map_err(fail)?;
        let mut entries = HashMap::new();
        for file in fs::read_dir(dir.join("requests")).map_err(fail)? {
            let path = file.map_err(fail)?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let request = read_request(&path, &fs::read(&path).map_err(fail)?)?;
                entries.insert(request.id, Entry { request, failed: false, addresses: 0, looks: 0 });
            }
        }
        Ok((
            Exports {
                dir: dir.to_owned(),
                entries: Mutex::new(entries),
                kept: Mutex::default(),
                created: AtomicUsize::new(0),
                spent: Mutex::default(),
            },
            key,
        ))
    }

    /// A poisoned lock only means that a handler stopped between two steps, and each step leaves the map whole.
    fn entries(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a new request, or, when `repeats` are honoured, finds the one that the same caller has made with the same
    /// id of its own. Tells whether it is new. `delays` are those of the first exports since the start.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(&self, mut request: Request, repeats: bool, delays: &[u64]) -> io::Result<(Entry, bool)> {
        let mut entries = self.entries();
        let repeated = entries.values().find(|entry| {
            let known = &entry.request;
            repeats
                && known.ms_request_id.is_some()
                && known.ms_request_id == request.ms_request_id
                && known.caller == request.caller
                && known.dataset == request.dataset
        });
        if let Some(entry) = repeated {
            return Ok((entry.clone(), false));
        }
        request.delay_millis = delays.get(self.created.fetch_add(1, Ordering::Relaxed)).copied();
        self.save(&request)?;
        let entry = Entry { request, failed: false, addresses: 0, looks: 0 };
        entries.insert(entry.request.id, entry.clone());
        Ok((entry, true))
    }

    #[must_use]
    pub fn find(&self, dataset: Dataset, id: Uuid) -> Option<Entry> {
        self.entries().get(&id).filter(|entry| entry.request.dataset == dataset).cloned()
    }

    #[must_use]
    pub fn dataset(&self, id: Uuid) -> Option<Dataset> {
        self.entries().get(&id).map(|entry| entry.request.dataset)
    }

    /// Puts faults on an export, and gives it as it is then.
    ///
    /// # Errors
    /// What the file system says.
    pub fn afflict(&self, mut entry: Entry, faults: &[Fault]) -> io::Result<Entry> {
        if faults.is_empty() {
            return Ok(entry);
        }
        let mut entries = self.entries();
        if let Some(kept) = entries.get_mut(&entry.request.id) {
            kept.request.faults.extend(faults);
            self.save(&kept.request)?;
            entry = kept.clone();
        }
        Ok(entry)
    }

    /// Notes the use of an address that is good for one request; tells whether it was the first.
    pub fn first_use(&self, nonce: &str) -> bool {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).insert(nonce.to_owned())
    }

    /// Notes a look at a Completed export and tells how many were before.
    pub fn count_look(&self, id: Uuid) -> u32 {
        self.count(id, |entry| &mut entry.looks)
    }

    /// Notes that a blob address is given out and tells how many were before.
    pub fn count_address(&self, id: Uuid) -> u32 {
        self.count(id, |entry| &mut entry.addresses)
    }

    fn count(&self, id: Uuid, what: impl Fn(&mut Entry) -> &mut u32) -> u32 {
        self.entries().get_mut(&id).map_or(0, |entry| {
            let count = what(entry);
            *count += 1;
            *count - 1
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
                self.keep(&entry.request);
            }
            Err(_) => entry.failed = true,
        }
    }

    /// Gives a request the blob of one like it, if there is one: the same bytes need not be built again. If there is none,
    /// no file has the name of the blob.
    #[must_use]
    pub fn reuse(&self, request: &Request) -> Option<Built> {
        // An earlier start that was stopped may have linked it: to write there would change the blob of another request.
        let _ = fs::remove_file(self.blob(request.id));
        let kept = self.kept();
        let like = kept.iter().find(|kept| kept.is_like(request))?;
        fs::hard_link(self.second_name(like.id), self.blob(request.id)).ok()?;
        like.built.clone()
    }

    /// Gives a finished blob a second name. Those of other days are not asked for again.
    fn keep(&self, request: &Request) {
        let mut kept = self.kept();
        let (same_day, others): (Vec<Request>, Vec<Request>) =
            std::mem::take(&mut *kept).into_iter().partition(|kept| kept.as_of == request.as_of);
        for other in others {
            // It takes room, and nothing else.
            let _ = fs::remove_file(self.second_name(other.id));
        }
        *kept = same_day;
        let is_new = !kept.iter().any(|kept| kept.is_like(request));
        // A file system without second names has all built anew.
        if is_new && fs::hard_link(self.blob(request.id), self.second_name(request.id)).is_ok() {
            kept.push(request.clone());
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Request>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn second_name(&self, id: Uuid) -> PathBuf {
        self.dir.join("built").join(id.to_string())
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
            faults: Vec::new(),
            delay_millis: None,
        }
    }

    /// Whether one server makes the same bytes of both.
    fn is_like(&self, other: &Request) -> bool {
        let what = |request: &Request| (request.dataset, request.format, request.as_of);
        what(self) == what(other) && self.filter == other.filter && self.faults == other.faults
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
