//! An export as the ledger and the service know it.

use jiff::Timestamp;
use serde::Serialize;

use super::{Account, DatasetName, ExportId, RequestId, RunId, Window};

/// One export.
#[derive(Debug, Clone, Serialize)]
pub struct Request {
    pub export: ExportId,
    pub dataset: DatasetName,
    pub account: Account,
    pub window: Option<Window>,
    pub request_id: Option<RequestId>,
    pub asked_at: Timestamp,
    /// The newest word of the service that a run has heard.
    pub status: Option<String>,
    pub step: RequestStep,
    /// Exports that may stand at the service besides this one, because an answer was lost.
    pub orphans: u32,
    /// The run that works on it, or did last.
    pub run_id: RunId,
    /// The note of that run, while it is at work.
    pub at_work: Option<AtWork>,
    /// What the service says now.
    pub now: AtService,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<RequestEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestStep {
    /// Its rows are still to come.
    Waiting,
    /// Its rows are committed, and it is yet to be deleted at the service.
    ToBeDeleted,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtService {
    NotAsked,
    Status(String),
    /// Deleted, or older than the service keeps exports.
    Unknown,
    /// Why it could not be asked.
    Failed(String),
}

/// A run that shows signs of life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AtWork {
    pub run_id: RunId,
    pub host: String,
    pub since: Timestamp,
}

/// One event of the ledger.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestEvent {
    pub at: Timestamp,
    pub run_id: RunId,
    pub event: serde_json::Value,
}
