//! One file for each command.

pub(super) mod ingest;
pub(super) mod plan;
pub(super) mod run;
pub(super) mod sandbox;
pub(super) mod sql;
