//! Where a row of the lake comes from, cell by cell.

use jiff::Timestamp;
use serde::Serialize;

use super::Account;

/// One row, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    pub dataset: String,
    pub account: Account,
    /// The month that it stands in, or another value of the partition column.
    pub partition: String,
    /// The table's newest version.
    pub version: u64,
    pub row_key: String,
    pub run_id: String,
    /// `None` for a hand-downloaded file.
    pub request_id: Option<String>,
    pub extracted_at: Option<Timestamp>,
    pub loaded_at: Option<Timestamp>,
    pub source_file: String,
    /// The physical line on which its record begins, 1-based.
    pub source_line: u64,
    pub schema_version: u32,
    pub proof: Proof,
    /// Every column that the table or the file has, in the order of the table; then those that no schema version knows.
    pub cells: Vec<ExplainedCell>,
}

/// What the kept bytes of the export say of the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Proof {
    /// Typed again today they give the same row.
    SameRow { blob_sha256: String },
    /// They give another row: by other rules than those of its time, or under another schema version.
    OtherRow { blob_sha256: String },
    /// They are not kept, or the row is not in what is kept.
    NoBytes,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedCell {
    pub column: String,
    /// As the file prints it; `None` where the file has no such column.
    pub header: Option<String>,
    /// The text in the file; `None` where the bytes are not kept or the file has no such column.
    pub text: Option<String>,
    /// The value in the lake; `None` is NULL.
    pub value: Option<String>,
    /// How the one became the other.
    pub rule: String,
}
