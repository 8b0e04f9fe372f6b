//! What `check --probe` finds: how the service spells things, and never what it says.

use serde::{Deserialize, Serialize};

/// Version of the report.
pub const PROBE_FORMAT: &str = "payoutlake.probe.v1";

/// The report of one probe. No value of a row, no name of a person, company or machine, no id and no date of data
/// stands in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    pub schema: String,
    /// Of payoutlake.
    pub version: String,
    pub dataset: String,
    /// `complete`, `waiting` while the export is on its way, or the kind of the error that ended the probe.
    pub outcome: String,
    pub findings: Vec<Finding>,
}

/// One answer to an open question, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about: `container`.
    pub about: String,
    /// The column that it is about, by Microsoft's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Empty: not seen.
    pub seen: Vec<String>,
}

impl Finding {
    pub fn new(about: &str, seen: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Finding { about: about.to_owned(), column: None, seen: seen.into_iter().map(Into::into).collect() }
    }

    pub fn of_column(about: &str, column: &str, seen: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Finding { column: Some(column.to_owned()), ..Finding::new(about, seen) }
    }
}

/// A count as an order of magnitude: `none`, `<10`, `<100`. The count itself would say how large a business is.
#[must_use]
pub fn magnitude(count: u64) -> String {
    if count == 0 {
        return "none".to_owned();
    }
    format!("<1{}", "0".repeat(count.to_string().len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_by_its_length() {
        for (count, told) in [(0, "none"), (1, "<10"), (9, "<10"), (10, "<100"), (12_345, "<100000")] {
            assert_eq!(magnitude(count), told);
        }
    }
}
