//! An imitation of Partner Center that runs on this machine: sign-in, export requests with their delays, signed blob
//! addresses, and a synthetic corpus of earnings and payments with everything that real files surprise people with.
//!
//! ```text
//! 1 submit -> 2 wait -> 3 download | 4 decode | 5 normalise | 6 write | 7 commit | 8 query
//! ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
//! the other side of these three; row example: earningId 1f0c..., 2026-08, Contoso, Ltd., 12.50 USD, Sent
//! ```
//!
//! ```text
//! server    start, stop, builds          corpus   seed, month, index -> rows, as integers
//! api       the routes                   cells    rows -> text
//! tokens    sign-in                      build    text -> the file behind a blob
//! exports   requests and their life      truth    what a correct lake must hold in the end
//! blobs     signed, ranged downloads     faults   what goes wrong on purpose
//! filter    $filter                      md5, crc64   checksums that blob stores send
//! clock     its own, faster time         log      every request, for whoever counts them
//! ```
//!
//! It is written from public documentation alone and imports no stage, so that it does not share their mistakes.
//!
//! Invariants: it listens on the loopback interface only; the same options, filter and day always give the same bytes;
//! money is integers; the server's clock comes from nothing but the function that [`start`] gets.

mod api;
mod blobs;
mod build;
mod cells;
mod clock;
mod corpus;
mod crc64;
mod exports;
mod faults;
mod filter;
mod log;
mod md5;
mod options;
mod server;
mod tokens;
mod truth;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use corpus::money::Amount;
pub use faults::{At, FAULTS, Fault, FaultKind, Known, Reach, Route, When, table as fault_table};
pub use log::Record;
pub use options::Options;
pub use server::{Running, start};
pub use tokens::{
    CERTIFICATE_PEM, CLIENT_ID, CLIENT_SECRET, PASSWORD, PRIVATE_KEY_PEM, RESOURCE, TENANT, USERNAME,
};
pub use truth::{Difference, Sums, TableTruth, Truth, truth};

/// Path of the API below the server's address.
pub const API_PREFIX: &str = "/v1.0";

/// What the API exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dataset {
    TransactionHistory,
    Payments,
}

impl Dataset {
    /// Reads `transactionhistory`, also as `transaction_history`, and `payments`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "transactionhistory" | "transaction_history" => Some(Dataset::TransactionHistory),
            "payments" => Some(Dataset::Payments),
            _ => None,
        }
    }

    /// Its segment in the path.
    #[must_use]
    pub fn segment(self) -> &'static str {
        match self {
            Dataset::TransactionHistory => "transactionhistory",
            Dataset::Payments => "payments",
        }
    }
}
