//! The lake's own truth on storage: where things stand, what is immutable, what is the table now.
//!
//! ```text
//! <lake>/
//!   <table>/account=…/…=…/part-0.parquet            published: exactly the current rows (load::publish)
//!   _payoutlake/
//!     lake.json                                     which payoutlake may read and write here       (format.rs)
//!     objects/<table>/<account>/<name>.parquet      immutable
//!     manifests/<table>/<account>/<20 digits>.json  put-if-absent; the newest is the table         (chain.rs)
//!     newest/<table>/<account>.json                 where to begin to look for it
//!     published/<table>/<account>.json              which objects the published folders show now
//!     tags/<name>.json                              versions that are kept for ever                (tags.rs)
//!     accounts/<account>.json                       the identity behind an alias                   (accounts.rs)
//!     ledger/<export>/<4 digits>.json               put-if-absent events; the state is their fold  (ledger/)
//!     open/<export>                                 exports that may still be open
//!     claims/<wish>/<4 digits>.json                 which export answers a wish
//!     archive/<yyyy-mm>/<export>.json               closed exports
//!     running/<run_id>.json                         runs that are at work                          (presence.rs)
//!     held/<id>.json                                windows that a guard holds                     (held.rs)
//!     raw/<sha256>                                  blobs as downloaded
//!     runs/<run_id>.json                            receipts
//!     tmp/                                          files being written, local lakes only
//! ```

mod accounts;
mod advice;
mod again;
mod chain;
mod disk;
mod files;
mod format;
mod held;
mod ledger;
mod location;
mod maintain;
mod manifest;
mod meter;
mod moment;
mod presence;
mod store;
mod tags;
mod trial;

pub use accounts::{Identity, check_identity, expiries};
pub use chain::{AsOf, Chain, CommitOutcome};
pub use files::ExportSpool;
pub use held::{Held, HeldExport, Resolution};
pub use ledger::{Entry, ExportState, Ledger, LedgerEvent, Taken, Wish};
pub use location::Location;
pub use maintain::{Maintained, Retention, maintain};
pub use manifest::{Cause, Commit, Manifest, Object, Operation, Partition, StoredSchema, check_objects};
pub use moment::Moment;
pub use presence::{Presence, Present, RENEWED_EVERY};
pub use store::{Created, Lake, together};
pub use tags::{Tag, Tagged};
pub use trial::Tried;

use object_store::path::Path;

use crate::model::{Account, RunId};

const ROOT: &str = "_payoutlake";

fn below(rest: std::fmt::Arguments<'_>) -> Path {
    Path::from(format!("{ROOT}/{rest}"))
}

fn lake_path() -> Path {
    below(format_args!("lake.json"))
}

/// `_payoutlake/objects/<table>/<account>/<name>.parquet`
#[must_use]
pub fn object_path(chain: &Chain, name: &str) -> Path {
    below(format_args!("objects/{}/{}/{name}.parquet", chain.table, chain.account))
}

fn objects_prefix(chain: &Chain) -> Path {
    below(format_args!("objects/{}/{}", chain.table, chain.account))
}

/// `_payoutlake/raw/<sha256>`
#[must_use]
pub fn raw_path(sha256: &str) -> Path {
    below(format_args!("raw/{sha256}"))
}

fn raw_prefix() -> Path {
    below(format_args!("raw"))
}

/// `_payoutlake/published/<table>/<account>.json`
#[must_use]
pub fn published_path(chain: &Chain) -> Path {
    below(format_args!("published/{}/{}.json", chain.table, chain.account))
}

/// The folder that holds a table's published files of one account: `<table>/account=…`
#[must_use]
pub fn published_folder(chain: &Chain) -> Path {
    Path::from(format!("{}/account={}", chain.table, chain.account))
}

/// `_payoutlake/published`
#[must_use]
pub fn published_prefix() -> Path {
    below(format_args!("published"))
}

/// `_payoutlake/runs/<run_id>.json`
#[must_use]
pub fn receipt_path(run_id: RunId) -> Path {
    below(format_args!("runs/{run_id}.json"))
}

/// `_payoutlake/runs`
#[must_use]
pub fn receipts_prefix() -> Path {
    below(format_args!("runs"))
}

fn manifests_root() -> Path {
    below(format_args!("manifests"))
}

fn manifests_of_table(table: &str) -> Path {
    below(format_args!("manifests/{table}"))
}

fn manifests_prefix(chain: &Chain) -> Path {
    below(format_args!("manifests/{}/{}", chain.table, chain.account))
}

fn manifest_path(chain: &Chain, version: u64) -> Path {
    below(format_args!("manifests/{}/{}/{version:020}.json", chain.table, chain.account))
}

fn newest_path(chain: &Chain) -> Path {
    below(format_args!("newest/{}/{}.json", chain.table, chain.account))
}

fn tags_prefix() -> Path {
    below(format_args!("tags"))
}

fn tag_path(name: &str) -> Path {
    below(format_args!("tags/{name}.json"))
}

fn accounts_prefix() -> Path {
    below(format_args!("accounts"))
}

fn account_path(account: &Account) -> Path {
    below(format_args!("accounts/{account}.json"))
}

fn export_prefix(export: crate::model::ExportId) -> Path {
    below(format_args!("ledger/{export}"))
}

fn claims_prefix(wish: &str) -> Path {
    below(format_args!("claims/{wish}"))
}

fn archive_prefix() -> Path {
    below(format_args!("archive"))
}

fn archive_path(month: crate::model::Month, export: crate::model::ExportId) -> Path {
    below(format_args!("archive/{month}/{export}.json"))
}

fn running_prefix() -> Path {
    below(format_args!("running"))
}

fn running_path(run_id: RunId) -> Path {
    below(format_args!("running/{run_id}.json"))
}

fn open_prefix() -> Path {
    below(format_args!("open"))
}

fn open_path(export: crate::model::ExportId) -> Path {
    below(format_args!("open/{export}"))
}

fn held_prefix() -> Path {
    below(format_args!("held"))
}

fn held_path(id: &str) -> Path {
    below(format_args!("held/{id}.json"))
}

fn resolved_path(id: &str, run_id: RunId) -> Path {
    below(format_args!("resolved/{id}-{run_id}.json"))
}
