//! The lake's own truth on storage: where things stand, what is immutable, what is the table now.
//!
//! ```text
//! <lake>/
//!   <table>/account=…/…=…/part-0.parquet      published: exactly the current rows (load::publish)
//!   _payoutlake/
//!     objects/<table>/<hash>.parquet          immutable
//!     manifests/<table>/<20 digits>.json      put-if-absent; the newest one is the table   (manifest.rs)
//!     ledger/<export>/<4 digits>.json         put-if-absent events; the state is their fold (ledger.rs)
//!     published/<table>.json                  which objects the published folders show now
//!     raw/<sha256>                            blobs as downloaded
//!     runs/<run_id>.json                      receipts
//!     tmp/                                    files being written, local lakes only
//! ```

mod ledger;
mod manifest;
mod store;

pub use ledger::{ExportState, Ledger, LedgerEvent};
pub use manifest::{
    CommitOutcome, Manifest, Object, Partition, StoredSchema, check_objects, commit, newest, tables,
};
pub use store::{Created, Lake};

use object_store::path::Path;

use crate::model::RunId;

const ROOT: &str = "_payoutlake";

/// `_payoutlake/objects/<table>/<hash>.parquet`
#[must_use]
pub fn object_path(table: &str, hash: &str) -> Path {
    Path::from(format!("{ROOT}/objects/{table}/{hash}.parquet"))
}

fn objects_prefix(table: &str) -> Path {
    Path::from(format!("{ROOT}/objects/{table}"))
}

/// `_payoutlake/raw/<sha256>`
#[must_use]
pub fn raw_path(sha256: &str) -> Path {
    Path::from(format!("{ROOT}/raw/{sha256}"))
}

/// `_payoutlake/published/<table>.json`
#[must_use]
pub fn published_path(table: &str) -> Path {
    Path::from(format!("{ROOT}/published/{table}.json"))
}

/// `_payoutlake/runs/<run_id>.json`
#[must_use]
pub fn receipt_path(run_id: RunId) -> Path {
    Path::from(format!("{ROOT}/runs/{run_id}.json"))
}

fn manifests_root() -> Path {
    Path::from(format!("{ROOT}/manifests"))
}

fn manifests_prefix(table: &str) -> Path {
    Path::from(format!("{ROOT}/manifests/{table}"))
}

fn manifest_path(table: &str, version: u64) -> Path {
    Path::from(format!("{ROOT}/manifests/{table}/{version:020}.json"))
}

fn ledger_prefix() -> Path {
    Path::from(format!("{ROOT}/ledger"))
}
