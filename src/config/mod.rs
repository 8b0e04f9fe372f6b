//! Pipeline files, environment and flags become a plan. The only reader of `std::env`.
//!
//! Precedence: flag, then environment, then pipeline file, then default.

mod auth;
mod draft;
mod environment;
mod file;
mod filters;
mod nearest;
mod resolve;

pub use auth::sign_in_folder;
pub use draft::{Draft, Id};
pub use environment::Environment;
pub use file::{
    AuthKind, ContractSection, DatasetSection, PipelineFile, SourceKind, SourceSection, check_free,
    write_file,
};
pub use resolve::{
    BackfillFlags, IngestFlags, ReplayFlags, RunFlags, SandboxPlan, engine_options, ingest_plan,
    lake_settings, replay_plan, run_plan,
};
