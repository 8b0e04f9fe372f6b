//! What a run did, as it is kept in the lake and printed to people.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Account, RequestId, RunId, Totals, Window};

/// The newest receipt format that this build reads and writes.
pub const RECEIPT_FORMAT: u32 = 1;

/// What became of one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Published,
    /// The rows are equal to what the lake holds: nothing was rewritten.
    Unchanged,
    /// A guard holds the window: the lake was left as it is.
    Held,
    /// The export failed or could not be used; the receipt's error says why.
    Failed,
    /// The export is still running; the ledger knows it.
    Pending,
}

/// Operations on the lake's storage, counted by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StorageOps {
    pub list: u64,
    pub get: u64,
    /// Writes; each part of a large file is one.
    pub put: u64,
    /// Files put in place: copies within the storage, or links on local disk.
    #[serde(default)]
    pub copy: u64,
    pub remove: u64,
}

/// What an export would take away, or change by too much: why a guard holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Which rows: `2026-09`, or `the account`.
    pub scope: String,
    /// What is compared: `rows`, `sum of earning_amount in EUR`, `program_name 'CSP Direct'`.
    pub what: String,
    /// In the lake, and in the export.
    pub old: String,
    pub new: String,
    /// The limit that is broken: `more than 10 % and 100 rows fewer`.
    pub limit: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Difference { scope, what, old, new, limit } = self;
        write!(f, "{scope}: {what}: {old} in the lake, {new} in this export ({limit})")
    }
}

/// One place where rows and cents are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    pub name: String,
    pub totals: Totals,
}

/// One text of a downloaded file: the file itself, what gzip held, or an entry of a zip archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    pub name: String,
    /// As it was unpacked.
    pub bytes: u64,
    /// Records below the header.
    pub records: u64,
    /// Records above the header, which are no rows: a title.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preamble: u64,
    /// Of a zip entry.
    #[serde(flatten)]
    pub packed: Option<Packed>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What a zip archive states of an entry, and what was found to be true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed {
    /// Its size in the archive.
    pub packed_bytes: u64,
    /// CRC-32 of the text, in hex.
    pub crc32: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WindowReceipt {
    /// `None`: the whole reachable history (payments), or a hand-downloaded file.
    pub window: Option<Window>,
    pub request_id: Option<RequestId>,
    pub source_files: Vec<String>,
    /// What was counted in each of them.
    #[serde(default)]
    pub texts: Vec<SourceText>,
    pub outcome: Outcome,
    /// SHA-256 of the blob, in hex.
    pub blob_sha256: Option<String>,
    pub blob_bytes: u64,
    pub rows_read: u64,
    pub rows_written: u64,
    pub rows_quarantined: u64,
    /// Rows that the contract leaves out.
    #[serde(default)]
    pub rows_discarded: u64,
    /// Rows of neighbouring months that came with the overlapping day, and belong to another window.
    pub rows_overlap: u64,
    /// Rows that were left out because the lake holds a newer extraction of them.
    pub rows_too_late: u64,
    pub hops: Vec<Hop>,
    /// Why it failed or is held, in one line.
    pub error: Option<String>,
    /// The facts around the error: file, line, request, cause.
    pub error_context: Vec<(String, String)>,
    /// The kind of the error, which decides the exit code.
    pub error_kind: Option<String>,
    /// The next step.
    pub hint: Option<String>,
    /// Lines that were added to the table `restatements`.
    pub restatements: u64,
    /// Of a held window: its id for `payoutlake lake held`, and what the guards found.
    pub held_id: Option<String>,
    pub differences: Vec<Difference>,
    /// Fault code and count.
    pub faults: Vec<(String, u64)>,
    /// What the contract has decided instead, and how often: `cells set to null: not-a-date in payment_date`.
    #[serde(default)]
    pub decisions: Vec<(String, u64)>,
    /// What was done to columns with personal data: `hash:1a2b3c4d`, `mask`, `drop`.
    #[serde(default)]
    pub treatments: BTreeMap<String, String>,
    /// The first refused row, for people.
    pub first_fault: Option<String>,
    /// What a person should look at: the run ends with 3.
    pub warnings: Vec<String>,
    /// What is worth knowing and needs nobody.
    pub notes: Vec<String>,
    pub schema_version: Option<u32>,
}

impl WindowReceipt {
    /// The receipt of a window of which nothing is known yet.
    #[must_use]
    pub fn new(window: Option<Window>) -> Self {
        WindowReceipt {
            window,
            request_id: None,
            source_files: Vec::new(),
            texts: Vec::new(),
            outcome: Outcome::Failed,
            blob_sha256: None,
            blob_bytes: 0,
            rows_read: 0,
            rows_written: 0,
            rows_quarantined: 0,
            rows_discarded: 0,
            rows_overlap: 0,
            rows_too_late: 0,
            hops: Vec::new(),
            error: None,
            error_context: Vec::new(),
            error_kind: None,
            hint: None,
            restatements: 0,
            held_id: None,
            differences: Vec::new(),
            faults: Vec::new(),
            decisions: Vec::new(),
            treatments: BTreeMap::new(),
            first_fault: None,
            warnings: Vec::new(),
            notes: Vec::new(),
            schema_version: None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableReceipt {
    pub table: String,
    pub windows: Vec<WindowReceipt>,
    /// Of the rows that this run wrote or found unchanged.
    pub totals: Totals,
    /// The money columns that every row has: the sums that people look at first.
    pub headline: Vec<String>,
    /// Files and bytes that this run wrote.
    pub files_written: u64,
    pub bytes_written: u64,
    /// The manifest that is the table now, and its size.
    pub manifest: Option<u64>,
    pub table_rows: u64,
    pub table_files: u64,
    pub table_bytes: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    pub format: u32,
    /// Smallest formats that a reader and a writer of receipts must know.
    pub min_reader: u32,
    pub min_writer: u32,
    pub run_id: RunId,
    pub payoutlake_version: String,
    pub command: String,
    pub account: Account,
    pub lake: String,
    /// What follows `--lake` in a command that reaches it.
    #[serde(skip)]
    pub lake_argument: String,
    pub started_at: Timestamp,
    pub finished_at: Timestamp,
    pub tables: Vec<TableReceipt>,
    /// What the run asked of the lake's storage.
    pub storage: StorageOps,
    pub exit_code: u8,
}
