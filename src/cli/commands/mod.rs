//! One file for each command.

pub(super) mod auth;
pub(super) mod backfill;
pub(super) mod changes;
pub(super) mod check;
pub(super) mod explain;
pub(super) mod ingest;
pub(super) mod init;
pub(super) mod lake;
pub(super) mod plan;
pub(super) mod quarantine;
pub(super) mod requests;
pub(super) mod run;
pub(super) mod sandbox;
pub(super) mod schema;
pub(super) mod sql;
pub(super) mod status;
