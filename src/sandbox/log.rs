//! The log of requests: what came, what it was answered with, and which faults hit it. It holds no secret.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::Dataset;
use super::faults::Route;

/// Records kept in memory; the file keeps all.
const KEPT: usize = 10_000;

/// One request.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// From 1, in order of arrival.
    pub number: u64,
    /// By the sandbox's own clock.
    pub at: Timestamp,
    pub method: String,
    pub route: Route,
    pub dataset: Option<Dataset>,
    /// The export that the request queued or named.
    pub export: Option<Uuid>,
    /// `None` is a connection that ended without an answer, or a request that is not answered yet.
    pub status: Option<u16>,
    /// Names of the faults that hit it.
    pub faults: Vec<&'static str>,
}

#[derive(Default)]
struct State {
    arrived: u64,
    records: VecDeque<Record>,
    file: Option<File>,
}

/// All requests since the start.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<State>>);

impl Log {
    /// A log that is also written to a file, one JSON line for each request when it is answered. What the file held
    /// before is gone.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(File::create).transpose()?;
        Ok(Log(Arc::new(Mutex::new(State { file, ..State::default() }))))
    }

    /// Notes a request and gives it its number.
    pub fn arrived(
        &self,
        at: Timestamp,
        method: &str,
        route: Route,
        dataset: Option<Dataset>,
        export: Option<Uuid>,
    ) -> Open {
        let number = self.with(|state| {
            state.arrived += 1;
            let record = Record {
                number: state.arrived,
                at,
                method: method.to_owned(),
                route,
                dataset,
                export,
                status: None,
                faults: Vec::new(),
            };
            state.records.push_back(record);
            if state.records.len() > KEPT {
                state.records.pop_front();
            }
            state.arrived
        });
        Open { log: self.clone(), number, closed: false }
    }

    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.with(|state| state.records.iter().cloned().collect())
    }

    /// Each step leaves the state whole, so that a poisoned lock means nothing.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request that is not answered yet. Dropped, it was given up by the client.
pub struct Open {
    log: Log,
    pub number: u64,
    closed: bool,
}

impl Open {
    /// Notes what became of the request. `export` is one that it queued.
    pub fn close(&mut self, status: Option<u16>, export: Option<Uuid>, faults: Vec<&'static str>) {
        self.closed = true;
        let number = self.number;
        self.log.with(|state| {
            let Some(record) = state.records.iter_mut().rev().find(|record| record.number == number) else {
                return;
            };
            (record.status, record.faults) = (status, faults);
            record.export = export.or(record.export);
            if let (Some(file), Ok(line)) = (&mut state.file, serde_json::to_string(record)) {
                // A disk that is full must not stop the server: the log in memory goes on.
                let _ = file.write_all(format!("{line}\n").as_bytes());
            }
        });
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            self.close(None, None, Vec::new());
        }
    }
}
