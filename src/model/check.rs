//! What `check` finds: one line for each thing that a run needs.

use serde::Serialize;

use super::ProbeReport;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
    /// Not made: something that it needs has failed, or is not there yet.
    Skipped,
}

impl Verdict {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
            Verdict::Skipped => "skipped",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub check: &'static str,
    pub verdict: Verdict,
    /// What was seen, on one line.
    pub seen: String,
    /// The one next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Of a failure: the exit code that it would have by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// All checks of a pipeline, in the order in which a run needs them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checkup {
    pub checks: Vec<Check>,
    /// Of `check --probe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeReport>,
    /// By the worst of them.
    pub exit_code: u8,
}
