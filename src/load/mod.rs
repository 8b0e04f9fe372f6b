//! Steps 6 and 7: typed rows become objects, objects become the table, the table is published.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download -> 4 decode -> 5 normalise -> [6 write -> 7 commit] -> 8 query
//!                                                                  ^^^^^^^^^^^^^^^^^^^ this room
//! ```
//!
//! The example row: `E-2026-09-000017`, 12.34 EUR, is routed to `account=contoso/earning_month=2026-09`
//! ([`Stager`]), sorted into a row group of a local file, becomes the object `objects/transaction_history/<hash>.parquet`,
//! is read back and compared (`verify`), becomes visible by one put-if-absent of the next manifest ([`load`]),
//! and appears as `transaction_history/account=contoso/earning_month=2026-09/part-0.parquet` ([`publish`]).

mod change;
mod chunk;
mod control;
mod cores;
mod derived;
mod encode;
mod guards;
mod keys;
mod merge;
mod order;
mod part;
mod plan;
pub mod publish;
mod quarantine;
mod refused;
mod repeated;
mod restate;
mod rows;
mod stage;
mod tally;
mod verify;

pub use change::{Applied, Change, Context, Coverage, Loaded, confirm, is_confirmed, load};
pub use control::{CONTROL_TOTALS, control_totals_spec};
pub use derived::{DERIVED, follow};
pub use guards::{Guards, Limit};
pub use quarantine::{
    QUARANTINE, QuarantineOrigin, of_blob, quarantine_spec, quarantined_batch, replaced_by_blob,
    replaced_by_window,
};
pub use refused::{Keyed, Refused, Rivals, refused_rows, rivals, these_refused};
pub use repeated::{Repeated, repeated_keys};
pub use restate::{RESTATEMENTS, restatements_spec};
pub use stage::{Author, Staged, StagedPart, Stager, is_overlap};
pub use tally::{Digest, tally};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Memory, Mutation, TableSpec};

/// The tables that we keep beside the datasets'.
#[must_use]
pub fn own_tables() -> [TableSpec; 3] {
    [quarantine_spec(), restatements_spec(), control_totals_spec()]
}

/// How files are written, and when a change is held back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Bounds the rows of one row group, and all that wait for theirs.
    #[serde(skip)]
    pub memory: Memory,
    /// Level of zstd, 1 (fast) to 22 (small).
    pub zstd_level: i32,
    pub guards: Guards,
    /// Damage on purpose, in test builds.
    #[serde(skip)]
    pub mutation: Option<Arc<Mutation>>,
}

impl Default for Options {
    fn default() -> Self {
        Options { memory: Memory::default(), zstd_level: 1, guards: Guards::default(), mutation: None }
    }
}
