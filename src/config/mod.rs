//! Pipeline files, environment and flags become a plan. The only reader of `std::env`.
//!
//! Precedence: flag, then environment, then pipeline file, then default.

mod auth;
mod draft;
mod environment;
mod file;
mod filters;
mod lake;
mod nearest;
mod resolve;
mod terms;

pub use auth::sign_in_folder;
pub use draft::{Draft, Id};
pub use environment::Environment;
pub use file::{
    AuthKind, ContractSection, DatasetSection, PersonalSection, PipelineFile, SourceKind, SourceSection,
    check_free, write_file,
};
pub use lake::{
    IngestFlags, ReplayFlags, engine_options, ingest_plan, lake_at, lake_settings, pipeline_settings,
    replay_plan,
};
pub use resolve::{BackfillFlags, RunFlags, SandboxPlan, run_plan};
