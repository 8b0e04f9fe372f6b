//! What can be set about the imitation.

use std::path::PathBuf;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::faults::Fault;

/// Every field has a default: `Options::default()` is a year of data that is ready in a third of a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Another seed, another corpus.
    pub seed: u64,
    /// Earning months that the corpus reaches back, the month of `as_of` included; 1 to 36.
    pub months: u32,
    /// Earnings in a complete month, co-op twins and adjustments included. A month has fewer while it is young: an
    /// earning appears some days after its date, an adjustment three to nine months later. The participant whom
    /// the caller may not see has another twentieth, which is in no export.
    pub rows_per_month: u32,
    /// The day as which the corpus is seen; without it the day of the clock when an export is requested.
    pub as_of: Option<Date>,
    /// Milliseconds from a request to its completion: the first half Queued, the second half Processing.
    pub delay_millis: u64,
    /// The same for the first exports since the start, in the order in which they are queued; `delay_millis` is for
    /// those that come after them.
    pub delays_millis: Vec<u64>,
    /// Seconds of the sandbox for one second of its clients; delays and lifetimes run by it. Above 1 the state folder
    /// keeps the clock, which goes on while the sandbox is down: give it a folder of its own.
    pub clock_speed: u32,
    /// Where requests and finished blobs are kept, so that they outlive a restart; without it a temporary folder.
    pub state_dir: Option<PathBuf>,
    /// An export with more rows is a zip with one file for each earning month; 50,000 as in the user interface.
    pub zip_above_rows: u32,
    /// Seconds for which the address of a blob is good.
    pub sas_lifetime_secs: u32,
    /// Seconds for which an access token is good.
    pub token_lifetime_secs: u32,
    /// Seconds until the imagined person has typed a device code.
    pub device_sign_in_secs: u32,
    /// What goes wrong on purpose: `blob-corrupt`, `blob-corrupt:payments` for one data set, `error-503@7` for the
    /// seventh request. `payoutlake sandbox --list-faults` shows them all.
    pub faults: Vec<Fault>,
    /// A file that gets one JSON line for each request; it begins anew at each start.
    pub request_log: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            seed: 7,
            months: 12,
            rows_per_month: 20_000,
            as_of: None,
            delay_millis: 300,
            delays_millis: Vec::new(),
            clock_speed: 1,
            state_dir: None,
            zip_above_rows: 50_000,
            sas_lifetime_secs: 3_600,
            token_lifetime_secs: 3_600,
            device_sign_in_secs: 2,
            faults: Vec::new(),
            request_log: None,
        }
    }
}

impl Options {
    /// The corpus as seen on `as_of`, or on `today` when that is not set.
    pub(super) fn corpus(&self, today: Date) -> Corpus {
        Corpus::new(self.seed, self.rows_per_month, self.months, self.as_of.unwrap_or(today))
    }
}
