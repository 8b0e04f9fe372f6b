//! What the signed address of a blob says about itself, apart from where it leads and what opens it.
//!
//! The parameters are those of Azure's shared access signatures
//! (learn.microsoft.com/rest/api/storageservices/create-service-sas).

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::export::BlobLocation;
use super::host;

/// Endings of a file's name that are told; others are `other`.
const EXTENSIONS: [&str; 6] = ["csv", "tsv", "txt", "zip", "gz", "json"];

/// Domains of blob stores, as Microsoft documents them.
const STORES: [&str; 3] = [".blob.core.windows.net", ".dfs.core.windows.net", ".blob.storage.azure.net"];

/// Holds neither host nor path nor signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The domain of the store, `this machine`, or `other`.
    pub store: &'static str,
    /// How the name of the file ends.
    pub extension: &'static str,
    pub is_signed: bool,
    pub starts: Option<Timestamp>,
    pub ends: Option<Timestamp>,
    /// Version of the storage service, a date.
    pub version: Option<String>,
    /// What is signed (`b`: a blob) and what may be done with it (`r`: read), in the service's own letters.
    pub resource: Option<String>,
    pub permissions: Option<String>,
    /// `https`, when other ways are forbidden.
    pub protocols: Option<String>,
    /// Whether only some addresses of clients may use it.
    pub for_some_addresses: bool,
    /// Whether a stored policy says its life, or a user's key has signed it: both can end it early.
    pub by_policy: bool,
    pub by_user_key: bool,
}

impl BlobLocation {
    /// What the address says about itself.
    #[must_use]
    pub fn signature(&self) -> Signature {
        let url = self.url();
        let value = |wanted: &str| {
            url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
        };
        let name = url.host_str().unwrap_or_default();
        let store = STORES.into_iter().find(|store| name.ends_with(store));
        let extension = self.file_name().rsplit_once('.').map_or("", |(_, extension)| extension);
        let known = EXTENSIONS.into_iter().find(|known| known.eq_ignore_ascii_case(extension));
        Signature {
            store: if host::is_loopback(url) { "this machine" } else { store.unwrap_or("other") },
            extension: if extension.is_empty() { "none" } else { known.unwrap_or("other") },
            is_signed: value("sig").is_some(),
            starts: value("st").and_then(|text| moment(&text)),
            ends: value("se").and_then(|text| moment(&text)),
            version: value("sv").map(|text| date_or_other(&text)),
            resource: value("sr").map(|text| letters_or_other(&text)),
            permissions: value("sp").map(|text| letters_or_other(&text)),
            protocols: value("spr").map(|text| letters_or_other(&text)),
            for_some_addresses: value("sip").is_some(),
            by_policy: value("si").is_some(),
            by_user_key: value("skoid").is_some(),
        }
    }
}

/// A UTC time to the second or the minute, or a date.
fn moment(text: &str) -> Option<Timestamp> {
    let local = text.trim_end_matches(['Z', 'z']);
    let local = local
        .parse::<DateTime>()
        .ok()
        .or_else(|| Some(local.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())));
    TimeZone::UTC.to_timestamp(local?).ok()
}

fn letters_or_other(text: &str) -> String {
    let fits = text.len() <= 12 && text.chars().all(|c| c.is_ascii_lowercase() || c == ',');
    if fits { text.to_owned() } else { "other".to_owned() }
}

fn date_or_other(text: &str) -> String {
    let is_date = text.len() == 10 && text.parse::<Date>().is_ok();
    if is_date { text.to_owned() } else { "other".to_owned() }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn an_address_tells_its_life_and_not_itself() {
        let of = |url: &str| BlobLocation::new(Url::parse(url).unwrap()).signature();
        let seen =
            of("https://CANARY.blob.core.windows.net/CANARY/CANARY.csv?sv=2021-12-02&st=2026-11-25T10:00Z\
             &se=2026-11-25T12%3A00%3A00Z&sr=b&sp=r&spr=https&sip=10.1.2.3&skoid=CANARY&sig=CANARY");
        assert!(!format!("{seen:?}").contains("CANARY"), "{seen:?}");
        assert_eq!((seen.store, seen.extension), (".blob.core.windows.net", "csv"));
        let life = seen.ends.unwrap().duration_since(seen.starts.unwrap());
        assert_eq!(life.as_secs(), 7200);
        assert_eq!(seen.version.as_deref(), Some("2021-12-02"));
        assert_eq!(seen.protocols.as_deref(), Some("https"));
        assert!(seen.is_signed && seen.for_some_addresses && seen.by_user_key && !seen.by_policy);

        let odd = of("https://files.example/x.CANARY?sv=CANARY&sp=CANARY&se=soon&sr=b2");
        assert!(!format!("{odd:?}").contains("CANARY"), "{odd:?}");
        assert_eq!((odd.store, odd.extension, odd.is_signed, odd.ends), ("other", "other", false, None));
        assert_eq!(odd.permissions.as_deref(), Some("other"));
    }
}
