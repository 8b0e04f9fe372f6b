//! Why a cell or a row was refused. A fault is a value, never an error.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is wrong, as a stable word that users may match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The record has more or fewer cells than the header.
    WrongCellCount,
    /// A column that must have a value is blank.
    MissingValue,
    NotUtf8,
    NotADecimal,
    /// More digits than the column's precision or scale can hold.
    TooManyDigits,
    NotAnInteger,
    NotABoolean,
    NotADate,
    NotATimestamp,
    NotAMonth,
    /// A date such as 9/10/2026 in a column of which nothing tells whether the month or the day stands first.
    AmbiguousDate,
    /// A value in a column that no schema version knows, where the contract refuses it.
    UnknownColumn,
    /// Text stands behind the closing quote of a cell: where cells and records end is doubtful.
    BadQuoting,
}

impl FaultCode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FaultCode::WrongCellCount => "wrong-cell-count",
            FaultCode::MissingValue => "missing-value",
            FaultCode::NotUtf8 => "not-utf8",
            FaultCode::NotADecimal => "not-a-decimal",
            FaultCode::TooManyDigits => "too-many-digits",
            FaultCode::NotAnInteger => "not-an-integer",
            FaultCode::NotABoolean => "not-a-boolean",
            FaultCode::NotADate => "not-a-date",
            FaultCode::NotATimestamp => "not-a-timestamp",
            FaultCode::NotAMonth => "not-a-month",
            FaultCode::AmbiguousDate => "ambiguous-date",
            FaultCode::UnknownColumn => "unknown-column",
            FaultCode::BadQuoting => "bad-quoting",
        }
    }

    /// Whether the row lacks something or is none, and not one of its cells is of another type.
    #[must_use]
    pub fn is_of_row(self) -> bool {
        matches!(self, FaultCode::MissingValue | FaultCode::WrongCellCount | FaultCode::BadQuoting)
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a row was refused: the first cell that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: FaultCode,
    /// Published name of the column; `None` when the whole record is at fault.
    pub column: Option<String>,
    /// What would have fitted, for people: `a decimal with at most 10 fraction digits`.
    pub expected: String,
    /// The cell as it stood (lossy where it was not UTF-8), cut to 200 characters.
    pub found: String,
}

/// A cell that became null because it does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NulledCell {
    /// The table's name of the column.
    pub column: String,
    pub code: FaultCode,
    /// Its row as CSV, where the column is money: its cents are in no sum.
    pub record: Option<Vec<u8>>,
}

/// A refused row with everything that is needed to look at it, and to try it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantinedRow {
    /// Physical line of the record in its file, 1-based.
    pub line: u64,
    pub fault: Fault,
    /// The record as CSV (see [`super::RawBatch::record`]), as it was counted.
    pub record: Vec<u8>,
    /// The record as it may be kept, where personal data must not.
    pub treated: Option<Vec<u8>>,
}

impl QuarantinedRow {
    /// The record as it may be kept.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        self.treated.as_deref().unwrap_or(&self.record)
    }
}
