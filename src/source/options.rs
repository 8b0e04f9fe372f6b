//! What a pipeline may say about the source.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::host;
use crate::error::{Error, Kind, Result};

/// Where the service is and how patiently it is asked. The defaults are the public cloud.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The API with its version: `payouts/...` is appended. The REST reference prints another host
    /// (`api.partnercenter.microsoft.com`) in places; every working client uses this one.
    #[serde(with = "url_text")]
    pub api: Url,
    /// The sign-in service (Microsoft Entra); the tenant is appended. National clouds have their own.
    #[serde(with = "url_text")]
    pub authority: Url,
    /// Whom the token is for. The API refuses tokens for `api.partnercenter.microsoft.com` with 401.
    pub resource: String,
    /// Hosts from which an export may be downloaded: `.suffix` allows every host below it, anything else that host
    /// alone. Loopback is allowed when the API itself is on loopback.
    pub blob_hosts: Vec<String>,
    /// Seconds until a connection must stand.
    pub connect_timeout_secs: u64,
    /// Seconds without a byte before a transfer counts as broken, and seconds in which an API call must be answered.
    pub read_timeout_secs: u64,
    /// How often one call is tried in all, the first time included.
    pub retry_attempts: u32,
    /// Seconds that one call may take with all its repeats; a wait that would end later is not begun.
    pub retry_budget_secs: u64,
    /// Milliseconds before the second try. Each further wait is twice as long, up to a minute, plus jitter.
    pub retry_first_delay_millis: u64,
    /// Bytes of one download that are too many. Microsoft caps a file of an export at 1 GB and may pack several
    /// into one archive; the default is sixteen of them.
    pub max_blob_bytes: u64,
    /// How often a waiting export is looked at.
    pub poll: Poll,
}

/// The pace of looking at an export that is not finished. Microsoft promises it within 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Poll {
    /// Seconds before the first look; each further one waits half as long again. 0 means a tenth of a second, for a
    /// sandbox on the same machine.
    pub first_secs: u64,
    /// Seconds between two looks at most. The portal's own advice is to look again after five minutes.
    pub max_secs: u64,
}

impl Default for Poll {
    fn default() -> Self {
        Poll { first_secs: 10, max_secs: 300 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            api: known_url("https://api.partner.microsoft.com/v1.0/"),
            authority: known_url("https://login.microsoftonline.com/"),
            resource: "https://api.partner.microsoft.com".to_owned(),
            blob_hosts: vec![".blob.core.windows.net".to_owned()],
            connect_timeout_secs: 10,
            read_timeout_secs: 60,
            retry_attempts: 8,
            retry_budget_secs: 300,
            retry_first_delay_millis: 500,
            max_blob_bytes: 16_000_000_000,
            poll: Poll::default(),
        }
    }
}

fn known_url(text: &str) -> Url {
    Url::parse(text).expect("the default addresses are valid")
}

impl Options {
    /// # Errors
    /// `Config` when an address is not https (loopback may be http) or the call could never be made.
    pub fn check(&self) -> Result<()> {
        for (key, url) in [("api", &self.api), ("authority", &self.authority)] {
            if let Err(why) = host::check_scheme(url) {
                return Err(Error::new(Kind::Config, format!("source.api.{key} {why}"))
                    .with("host", host::name(url))
                    .hint("Write an https address without user name, password and query."));
            }
            if url.query().is_some() || url.fragment().is_some() {
                return Err(Error::new(Kind::Config, format!("source.api.{key} has a query or a fragment"))
                    .with("host", host::name(url))
                    .hint("Write the address up to its path only."));
            }
        }
        if self.retry_attempts == 0 || self.connect_timeout_secs == 0 || self.read_timeout_secs == 0 {
            return Err(Error::new(Kind::Config, "a number of tries or a time-out of the source is 0")
                .hint("Set retry_attempts, connect_timeout_secs and read_timeout_secs to 1 or more."));
        }
        if self.blob_hosts.iter().any(|host| host.trim_matches('.').is_empty()) {
            return Err(Error::new(Kind::Config, "an entry of source.api.blob_hosts allows every host")
                .hint("Write a host name, or a suffix that begins with a dot, such as '.blob.core.windows.net'."));
        }
        Ok(())
    }

    /// Entries of `blob_hosts` that let too much in, or nothing at all, each with what is wrong with it.
    #[must_use]
    pub fn doubtful_blob_hosts(&self) -> Vec<String> {
        host::doubtful(&self.blob_hosts)
    }

    /// Whether the API is a sandbox on this machine, which serves its own exports.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        host::is_loopback(&self.api)
    }

    pub(super) fn read_timeout(&self) -> Duration {
        Duration::from_secs(self.read_timeout_secs)
    }
}

/// URLs as text: the `url` crate's own serde support is a feature that we do not ask for.
mod url_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};
    use url::Url;

    pub fn serialize<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text itself is not repeated: someone may have put a password into it.
        Url::parse(&text).map_err(|why| D::Error::custom(format!("this is not an address: {why}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_dangerous_values_do_not() {
        assert!(Options::default().check().is_ok());
        let with = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.check()
        };
        assert!(with(|o| o.api = known_url("http://127.0.0.1:8080/v1.0")).is_ok());
        for bad in [
            with(|o| o.api = known_url("http://api.partner.microsoft.com/v1.0")),
            with(|o| o.authority = known_url("http://login.microsoftonline.com")),
            with(|o| o.api = known_url("https://user:pw@api.partner.microsoft.com/")),
            with(|o| o.api = known_url("https://api.partner.microsoft.com/?a=b")),
            with(|o| o.blob_hosts = vec![".".to_owned()]),
            with(|o| o.blob_hosts = vec![String::new()]),
            with(|o| o.retry_attempts = 0),
        ] {
            assert_eq!(bad.unwrap_err().kind(), Kind::Config);
        }
    }

    #[test]
    fn options_survive_a_round_trip_and_unknown_keys_do_not_pass() {
        let text = serde_json::to_string(&Options::default()).unwrap();
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), Options::default());
        assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), Options::default());
        assert!(serde_json::from_str::<Options>(r#"{"retries": 3}"#).is_err());
    }
}
