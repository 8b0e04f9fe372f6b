//! Who is at work: each run keeps a note in the lake and renews it. A run without a note, or with one that nobody renews
//! any more, is over, and its exports may be taken.
//!
//! A wrong guess does no harm: a run that was only slow cannot write to an export that another has taken.

use std::fs;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::{Lake, running_path, running_prefix, together};
use crate::error::Result;
use crate::model::{AtWork, RunId};

/// Between two renewals of a note.
pub const RENEWED_EVERY: Duration = Duration::from_secs(15);

/// A note that is older belongs to a run that is over: eight renewals, for slow storages and for clocks of two machines
/// that differ.
const LEASE: SignedDuration = SignedDuration::from_secs(120);

/// The note of a run at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub run_id: RunId,
    /// For people.
    pub host: String,
    pub since: Timestamp,
    pub renewed_at: Timestamp,
    process: Option<Process>,
}

/// A process, told apart from every other one on every machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    /// Of the machine's start.
    boot_id: String,
    /// Two containers of one machine number their processes apart.
    namespace: String,
    pid: u32,
    /// In clock ticks since the machine's start: a number is given again.
    started: u64,
}

/// This run's note, renewed until it is dropped.
#[derive(Debug)]
pub struct Present {
    lake: Lake,
    run_id: RunId,
    renewing: JoinHandle<()>,
}

impl Present {
    /// Writes the note of this run.
    ///
    /// # Errors
    /// [`crate::error::Kind::Destination`].
    pub async fn begin(lake: &Lake, run_id: RunId, clock: fn() -> Timestamp) -> Result<Present> {
        let since = clock();
        let mut note = Presence { run_id, host: host(), since, renewed_at: since, process: Process::this() };
        let path = running_path(run_id);
        lake.replace_json(&path, &note).await?;
        let writer = lake.clone();
        let renewing = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWED_EVERY).await;
                note.renewed_at = clock();
                // The next renewal makes up for one that failed.
                let _missed = writer.replace_json(&path, &note).await;
            }
        });
        Ok(Present { lake: lake.clone(), run_id, renewing })
    }

    /// Takes the note away: what this run leaves open may be taken at once.
    pub async fn end(self) {
        self.renewing.abort();
        // It ends by itself otherwise.
        let _left = self.lake.remove(&running_path(self.run_id)).await;
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// The note of a run, if it is at work.
///
/// # Errors
/// [`crate::error::Kind::Destination`].
pub(super) async fn of(lake: &Lake, run_id: RunId, now: Timestamp) -> Result<Option<Presence>> {
    read(lake, &running_path(run_id), now).await
}

/// The notes of all runs at work, the one that began first first.
///
/// # Errors
/// [`crate::error::Kind::Destination`].
pub(super) async fn all(lake: &Lake, now: Timestamp) -> Result<Vec<Presence>> {
    let paths = lake.list(&running_prefix()).await?;
    let notes = together(paths.iter().map(|path| read(lake, path, now)).collect()).await?;
    Ok(notes.into_iter().flatten().collect())
}

async fn read(lake: &Lake, path: &Path, now: Timestamp) -> Result<Option<Presence>> {
    // Renewed without care for the power: a note that came back empty is none.
    let note = lake.get(path).await?;
    let note = note.and_then(|bytes| serde_json::from_slice::<Presence>(&bytes).ok());
    Ok(note.filter(|note| now.duration_since(note.renewed_at) < LEASE && !note.is_dead()))
}

impl From<Presence> for AtWork {
    fn from(note: Presence) -> AtWork {
        AtWork { run_id: note.run_id, host: note.host, since: note.since }
    }
}

impl Presence {
    /// Whether its process is known to have ended: one of this machine that is not there any more.
    fn is_dead(&self) -> bool {
        let (Some(its), Some(ours)) = (&self.process, Process::this()) else { return false };
        its.boot_id == ours.boot_id
            && its.namespace == ours.namespace
            && started(its.pid).is_none_or(|started| started != its.started)
    }
}

impl Process {
    /// `None` where the system does not tell (anything but Linux): then only time decides.
    fn this() -> Option<Process> {
        let pid = std::process::id();
        Some(Process {
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned(),
            namespace: fs::read_link("/proc/self/ns/pid").ok()?.display().to_string(),
            pid,
            started: started(pid)?,
        })
    }
}

/// Field 22 of `/proc/<pid>/stat`; the second one is a name in brackets that may hold anything. A process that has ended
/// and that nobody has asked about (a zombie) is over.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_ended_is_known_to_be_dead() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = |pid| Process { pid, started: started(pid).unwrap(), ..Process::this().unwrap() };
        let now = Timestamp::now();
        let mut note = Presence {
            run_id: RunId(uuid::Uuid::nil()),
            host: host(),
            since: now,
            renewed_at: now,
            process: Some(process(child.id())),
        };
        assert!(!note.is_dead());
        // Its number was given to another process.
        note.process = note.process.map(|process| Process { started: process.started - 1, ..process });
        assert!(note.is_dead());
        note.process = Some(process(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(note.is_dead());
        // Nothing can be said of another machine's.
        note.process = note.process.map(|process| Process { boot_id: "other".to_owned(), ..process });
        assert!(!note.is_dead());
    }
}
