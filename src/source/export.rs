//! An export as the service tells it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::Error;
use crate::model::RequestId;
use crate::secret::{Secret, redacted};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRequest {
    /// The last part of the address: `transactionhistory` or `payments`.
    pub path: String,
    /// The text of `$filter`, not escaped for an address. Without it the service exports three years.
    pub filter: Option<String>,
    pub format: FileFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileFormat {
    #[default]
    Csv,
    Tsv,
}

impl FileFormat {
    /// As the address spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FileFormat::Csv => "csv",
            FileFormat::Tsv => "tsv",
        }
    }
}

/// One answer about an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub request_id: RequestId,
    pub status: Status,
    /// May be missing for a while although the status is [`Status::Completed`]: then look again later.
    pub blob: Option<BlobLocation>,
    /// When the service took the request.
    pub requested_at: Option<Timestamp>,
}

/// Where an export is in its life. The list is open: an unknown word means that it is not finished yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    Queued,
    Processing,
    Completed,
    /// After the service's own repeats: only a new request helps.
    Failed,
    Other(String),
}

impl Status {
    /// Upper and lower case are the same.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text.trim().to_ascii_lowercase().as_str() {
            "queued" => Status::Queued,
            "processing" => Status::Processing,
            "completed" => Status::Completed,
            "failed" => Status::Failed,
            _ => Status::Other(text.trim().to_owned()),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Queued => "Queued",
            Status::Processing => "Processing",
            Status::Completed => "Completed",
            Status::Failed => "Failed",
            Status::Other(word) => word,
        })
    }
}

/// What became of the wish for an export.
#[derive(Debug)]
#[must_use]
pub enum Asked {
    Queued(Export),
    /// The request was sent and no answer came: the export may exist.
    Unanswered(Error),
}

/// What became of a request to delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Deleted {
    Deleted,
    /// It was not there any more.
    Gone,
    /// The service does not delete an export while it builds it: try after it has finished.
    StillProcessing,
}

/// The signed address of an export's bytes. Whoever knows it can read them, so it is printed without its signature.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobLocation(Url);

impl BlobLocation {
    /// Any address; whether it is allowed is decided before something is sent to it.
    #[must_use]
    pub fn new(url: Url) -> Self {
        BlobLocation(url)
    }

    /// The last part of the path, percent-encoded as it stands: the name of the file for people.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.path().rsplit('/').next().unwrap_or_default()
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// The signature in both spellings, for taking it out of what a server says.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let values =
            self.0.query_pairs().filter(|(_, value)| value.len() >= 8).map(|(_, value)| value.into_owned());
        let whole = self.0.query().map(str::to_owned);
        whole.into_iter().chain(values).map(Secret::new).collect()
    }
}

impl fmt::Display for BlobLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for BlobLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobLocation({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_printed_without_its_signature() {
        let url = Url::parse(
            "https://u:CANARY1@acc.blob.core.windows.net/c/2026-09_1.zip?sv=1&sig=CANARY2#CANARY3",
        )
        .unwrap();
        let location = BlobLocation::new(url);
        for text in [format!("{location}"), format!("{location:?}"), format!("{location:#?}")] {
            assert!(!text.contains("CANARY"), "{text}");
            assert!(text.contains("acc.blob.core.windows.net/c/2026-09_1.zip"), "{text}");
        }
        assert_eq!(location.file_name(), "2026-09_1.zip");
    }

    #[test]
    fn statuses_are_an_open_set() {
        assert_eq!(Status::of("COMPLETED "), Status::Completed);
        assert_eq!(Status::of("failed"), Status::Failed);
        assert_eq!(Status::of("Paused").to_string(), "Paused");
    }
}
