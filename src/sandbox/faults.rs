//! What the imitation does wrong on purpose, for tests of what a client makes of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Dataset;

/// Something that goes wrong. Kebab-case in files and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Exports end with the status Failed.
    ExportFailed,
    /// The blob ends in its middle; length and checksum are those of what is left.
    BlobTruncated,
    /// One byte in the middle of the blob is another; length and checksum are those of the damaged blob.
    BlobCorrupt,
    /// The blob holds the header and no row.
    BlobHeaderOnly,
    /// The blob holds nothing but the byte order mark.
    BlobBomOnly,
    /// The blob holds nothing.
    BlobZeroBytes,
    /// The column `earningId` (payments: `participantID`) is missing.
    MissingKeyColumn,
    /// The last record ends in its middle.
    ShortLastRecord,
    /// Five rows have an `earningAmount` (payments: `earned`) that is no number, or one with too many digits.
    BadCells,
    /// The same in every twentieth row.
    ManyBadCells,
    /// Every second row is missing.
    FewerRows,
    /// A column that nobody knows, at the right.
    UnknownColumn,
    /// The first address of each blob is already expired; the next is good.
    ExpiredSignature,
    /// Every third call of the API answers 503 with `Retry-After: 0`.
    ServerBusy,
    /// The API answers 403.
    MissingRole,
}

/// Every fault with its name.
pub const FAULTS: [(&str, FaultKind); 15] = [
    ("export-failed", FaultKind::ExportFailed),
    ("blob-truncated", FaultKind::BlobTruncated),
    ("blob-corrupt", FaultKind::BlobCorrupt),
    ("blob-header-only", FaultKind::BlobHeaderOnly),
    ("blob-bom-only", FaultKind::BlobBomOnly),
    ("blob-zero-bytes", FaultKind::BlobZeroBytes),
    ("missing-key-column", FaultKind::MissingKeyColumn),
    ("short-last-record", FaultKind::ShortLastRecord),
    ("bad-cells", FaultKind::BadCells),
    ("many-bad-cells", FaultKind::ManyBadCells),
    ("fewer-rows", FaultKind::FewerRows),
    ("unknown-column", FaultKind::UnknownColumn),
    ("expired-signature", FaultKind::ExpiredSignature),
    ("server-busy", FaultKind::ServerBusy),
    ("missing-role", FaultKind::MissingRole),
];

/// A fault, for both data sets or for one: `blob-corrupt`, `blob-corrupt:payments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// `None` is both.
    pub only: Option<Dataset>,
}

impl Fault {
    /// The fault for both data sets.
    #[must_use]
    pub fn everywhere(kind: FaultKind) -> Self {
        Fault { kind, only: None }
    }
}

/// Whether a fault is among those set for a data set.
#[must_use]
pub fn is_set(faults: &[Fault], kind: FaultKind, dataset: Dataset) -> bool {
    faults.iter().any(|fault| fault.kind == kind && fault.only.is_none_or(|only| only == dataset))
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, dataset) = text.split_once(':').map_or((text, None), |(name, only)| (name, Some(only)));
        let Some((_, kind)) = FAULTS.iter().find(|(known, _)| *known == name) else {
            let known = FAULTS.map(|(name, _)| name).join(", ");
            return Err(format!("'{name}' is not a fault; the faults are {known}"));
        };
        let only = match dataset {
            None => None,
            Some(name) => Some(Dataset::parse(name).ok_or_else(|| {
                format!("'{name}' is not a data set; the data sets are transactionhistory and payments")
            })?),
        };
        Ok(Fault { kind: *kind, only })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FAULTS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(name, _)| name);
        match self.only {
            Some(dataset) => write!(f, "{name}:{}", dataset.segment()),
            None => f.write_str(name),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_that_reads_back() {
        for (name, kind) in FAULTS {
            let fault: Fault = name.parse().unwrap();
            assert_eq!((fault.kind, fault.to_string().as_str()), (kind, name));
            let narrow: Fault = format!("{name}:payments").parse().unwrap();
            assert!(is_set(&[narrow], kind, Dataset::Payments));
            assert!(!is_set(&[narrow], kind, Dataset::TransactionHistory));
            assert_eq!(narrow.to_string(), format!("{name}:payments"));
        }
        assert!("no-such-fault".parse::<Fault>().is_err());
        assert!("server-busy:nowhere".parse::<Fault>().is_err());
    }
}
