//! What can be told while a run is under way. Rooms tell; only `output` prints.

use std::sync::Arc;

/// Where an export is in its life, in the order of the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Submit,
    Wait,
    Download,
    Normalise,
    Commit,
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// One thing that happened.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Event {
    pub level: Level,
    /// What it is about, for people: `transaction_history 2026-07..2026-09`. Empty for the whole run.
    pub scope: String,
    pub step: Step,
    pub message: String,
    /// Position inside a long step, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// How far a long step is, in bytes or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    pub unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Bytes,
    Rows,
}

/// Takes events. Cheap to clone; called from any thread; must not block.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Event) + Send + Sync>);

impl Observer {
    pub fn new(take: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Observer(Arc::new(take))
    }

    /// An observer that tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Observer::new(|_| ())
    }

    pub fn tell(&self, level: Level, scope: &str, step: Step, message: impl Into<String>) {
        (self.0)(Event { level, scope: scope.to_owned(), step, message: message.into(), progress: None });
    }

    pub fn progress(&self, scope: &str, step: Step, progress: Progress) {
        (self.0)(Event {
            level: Level::Debug,
            scope: scope.to_owned(),
            step,
            message: String::new(),
            progress: Some(progress),
        });
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}
