//! Pipeline files, environment and flags become a plan. The only reader of `std::env`.
//!
//! Precedence: flag, then environment, then pipeline file, then default.

mod auth;
mod environment;
mod file;
mod nearest;
mod resolve;
mod windows;

pub use auth::sign_in_folder;
pub use environment::Environment;
pub use file::{DatasetSection, PipelineFile, SourceKind, SourceSection};
pub use resolve::{IngestFlags, RunFlags, SandboxPlan, engine_options, ingest_plan, lake_settings, run_plan};
pub use windows::windows;
