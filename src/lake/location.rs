//! A path or storage URL becomes a store here, and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreScheme, parse_url_opts};
use url::{Host, Url};

use super::advice::{Asked, Cloud};
use crate::error::{Error, Kind, Result};
use crate::secret::{Secret, redact_error, redacted};

/// Where a lake is, and what its storage must know to be reached.
#[derive(Clone)]
pub struct Location {
    url: String,
    // By object_store's names, in lower case: `azure_storage_account_key`.
    options: BTreeMap<String, Secret>,
    // What a person gives to a command to reach it with all that is known of it.
    named_by: Option<PathBuf>,
}

/// A location, opened.
pub(super) enum Root {
    Disk(PathBuf),
    Cloud { asked: Asked, store: Arc<dyn ObjectStore>, shown: String },
}

impl Location {
    /// `options` by object_store's names in any case, as in the environment: `AZURE_STORAGE_ACCOUNT_NAME`,
    /// `AWS_ENDPOINT_URL`, `GOOGLE_APPLICATION_CREDENTIALS`. Those of another storage than the URL's are of no
    /// consequence.
    #[must_use]
    pub fn new(url: impl Into<String>, options: impl IntoIterator<Item = (String, Secret)>) -> Location {
        let mut location = Location { url: url.into(), options: BTreeMap::new(), named_by: None };
        options.into_iter().for_each(|(name, value)| location.set(&name, value));
        location
    }

    /// As a pipeline file names it, with its `[storage]`.
    #[must_use]
    pub fn named_by(self, pipeline: &std::path::Path) -> Location {
        Location { named_by: Some(pipeline.to_owned()), ..self }
    }

    /// What follows `--lake` in a command that reaches it.
    #[must_use]
    pub fn argument(&self) -> String {
        self.named_by.as_ref().map_or_else(|| self.to_string(), |file| file.display().to_string())
    }

    /// A folder on local disk.
    #[must_use]
    pub fn folder(path: &std::path::Path) -> Location {
        Location::new(path.display().to_string(), [])
    }

    /// Sets what the storage must know, in place of what was said before.
    pub fn set(&mut self, name: &str, value: Secret) {
        self.options.insert(canonical(name), value);
    }

    /// Where a setting says who writes, forgets who else was to write on that kind of storage: of two kinds of credential a
    /// storage takes the one that it likes better.
    pub fn forget_others(&mut self, name: &str) {
        let name = canonical(name);
        if is_credential(&name) {
            let cloud = name.split('_').next().unwrap_or_default();
            self.options.retain(|other, _| !(other.starts_with(cloud) && is_credential(other)));
        }
    }

    /// Whether a storage has a setting of this name, with the storage's prefix: `azure_storage_account_name`.
    #[must_use]
    pub fn is_setting(name: &str) -> bool {
        named(&name.to_ascii_lowercase()).is_some()
    }

    /// Whether there can be a lake. Nothing is touched.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that is not known, or a setting of it that is missing or wrong.
    pub fn check(&self) -> Result<()> {
        self.root().map(drop)
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(Secret::expose).filter(|value| !value.is_empty())
    }

    pub(super) fn root(&self) -> Result<Root> {
        match Url::parse(&self.url) {
            Ok(url) if url.scheme() == "file" => url
                .to_file_path()
                .map(Root::Disk)
                .map_err(|()| Error::new(Kind::Config, "the file URL has no local path").with("lake", self)),
            // One letter is a Windows drive, not a scheme.
            Ok(url) if url.scheme().len() > 1 => self.cloud(&url),
            // A path would be made of it, and the rows would be on no storage.
            Err(cause) if self.url.contains("://") => {
                Err(Error::new(Kind::Config, "the lake's URL cannot be read")
                    .with("lake", self)
                    .hint(FORMS)
                    .caused_by(cause))
            }
            _ if self.url.is_empty() => Err(Error::new(Kind::Config, "the lake's path is empty")),
            _ => Ok(Root::Disk(PathBuf::from(&self.url))),
        }
    }

    fn cloud(&self, url: &Url) -> Result<Root> {
        let wrong = |message: String| Error::new(Kind::Config, message).with("lake", self);
        let (cloud, path) = match ObjectStoreScheme::parse(url) {
            Ok((ObjectStoreScheme::MicrosoftAzure, path)) => (Cloud::Azure, path),
            Ok((ObjectStoreScheme::AmazonS3, path)) if url.scheme() != "https" => (Cloud::S3, path),
            Ok((ObjectStoreScheme::GoogleCloudStorage, path)) => (Cloud::Gcs, path),
            _ => {
                let known = ["s3", "s3a", "gs", "az", "abfs", "abfss"].contains(&url.scheme());
                return Err(wrong(match known {
                    true => "the bucket or container is missing, or a part of the path is empty".to_owned(),
                    false => format!("'{}' is no storage that a lake can be on", url.scheme()),
                })
                .hint(FORMS));
            }
        };
        if carries_credential(url) {
            return Err(wrong(
                "the lake's URL carries a credential, or something else behind '?' or '#'".to_owned(),
            )
            .hint(format!(
                "a URL is printed and kept, so leave it out and set {}",
                cloud.secret_variable()
            )));
        }
        let mut options: Vec<(String, String)> =
            self.options.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect();
        options.push(("user_agent".to_owned(), concat!("payoutlake/", env!("CARGO_PKG_VERSION")).to_owned()));
        // Emulators on this machine have no certificates; nobody else may be talked to in the clear unasked.
        let endpoint = self.endpoint(cloud)?;
        if endpoint.as_ref().is_some_and(is_loopback) {
            options.push(("allow_http".to_owned(), "true".to_owned()));
        } else if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| endpoint.scheme() == "http")
            && self.option(&format!("{}_allow_http", cloud.prefix())).is_none()
        {
            return Err(wrong(format!("{} is an address without TLS", cloud.endpoint()))
                .with("host", endpoint.host_str().unwrap_or_default())
                .hint(format!(
                    "write https://, or set {}_ALLOW_HTTP=true where nobody can listen",
                    cloud.prefix().to_ascii_uppercase()
                )));
        }
        let (store, _) = parse_url_opts(url, options).map_err(|cause| {
            let cause = redact_error(&cause);
            wrong("the storage cannot be addressed".to_owned())
                .hint(
                    cloud.known(&cause).map_or_else(|| format!("{}; {FORMS}", cloud.needed()), str::to_owned),
                )
                .caused_by(cause)
        })?;
        let store = PrefixStore::new(store, path.clone());
        let asked = Asked { cloud, good_until: self.good_until(cloud) };
        Ok(Root::Cloud {
            asked,
            store: Arc::new(store),
            shown: self.shown(cloud, url, &path, endpoint.is_some()),
        })
    }

    fn good_until(&self, cloud: Cloud) -> Option<String> {
        let token = self.option(AzureConfigKey::SasKey.as_ref()).filter(|_| cloud == Cloud::Azure)?;
        let fields = url::form_urlencoded::parse(token.trim_start_matches('?').as_bytes());
        // Not the rest of it.
        fields.filter(|(name, _)| name == "se").map(|(_, until)| until.into_owned()).next()
    }

    /// The address that is set in place of the public cloud's.
    fn endpoint(&self, cloud: Cloud) -> Result<Option<Url>> {
        let Some(text) = cloud.endpoints().iter().find_map(|key| self.option(key)) else {
            return Ok(None);
        };
        let url =
            Url::parse(text).ok().filter(|url| url.has_host() && ["http", "https"].contains(&url.scheme()));
        let wrong = || {
            Error::new(Kind::Config, format!("{} is no address", cloud.endpoint()))
                .with("lake", self)
                .hint("give it with its scheme: https://host:9000")
        };
        url.map(Some).ok_or_else(wrong)
    }

    /// The URL as other programs take it: without what nobody may see, Azure's in the form of its Data Lake.
    fn shown(&self, cloud: Cloud, url: &Url, path: &Path, elsewhere: bool) -> String {
        let host = url.host_str().unwrap_or_default();
        let (account, rest) = host.split_once('.').unwrap_or((host, ""));
        let first = url.path_segments().and_then(|mut parts| parts.next()).unwrap_or_default();
        let emulated = elsewhere || self.option("azure_storage_use_emulator").is_some();
        let base = match (cloud, url.scheme()) {
            (Cloud::Azure, "https") => format!("abfss://{first}@{account}.dfs.{}", domain(rest)),
            (Cloud::Azure, _) if !url.username().is_empty() => {
                format!("abfss://{}@{account}.dfs.{}", url.username(), domain(rest))
            }
            (Cloud::Azure, _) => match self.option("azure_storage_account_name") {
                Some(account) if !emulated => format!("abfss://{host}@{account}.dfs.core.windows.net"),
                _ => format!("az://{host}"),
            },
            (Cloud::S3, _) => format!("s3://{host}"),
            (Cloud::Gcs, _) => format!("gs://{host}"),
        };
        if path.as_ref().is_empty() { base } else { format!("{base}/{path}") }
    }
}

/// `blob.core.windows.net` -> `core.windows.net`: one account answers at `dfs` and at `blob`.
fn domain(rest: &str) -> &str {
    rest.split_once('.').map_or(rest, |(_, domain)| domain)
}

/// Prefixes of names, and the names that are one setting.
fn named(name: &str) -> Option<String> {
    let of = |known: &str| Some(known.to_owned());
    match name.split_once('_')?.0 {
        "azure" => AzureConfigKey::from_str(name).ok().and_then(|key| of(key.as_ref())),
        "aws" => AmazonS3ConfigKey::from_str(name).ok().and_then(|key| of(key.as_ref())),
        "google" => GoogleConfigKey::from_str(name).ok().and_then(|key| of(key.as_ref())),
        _ => None,
    }
}

/// One name for each setting, in lower case; object_store knows several of some.
fn canonical(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match named(&name) {
        // Settings of the HTTP client have no prefix there.
        Some(known) if ["azure_", "aws_", "google_"].iter().any(|prefix| known.starts_with(prefix)) => known,
        _ => name,
    }
}

/// Parts of the names of settings that say who writes.
const CREDENTIALS: [&str; 14] = [
    "access_key",
    "account_key",
    "client_id",
    "client_secret",
    "tenant_id",
    "sas",
    "token",
    "federated",
    "azure_cli",
    "msi",
    "object_id",
    "role_",
    "credentials",
    "service_account",
];

fn is_credential(name: &str) -> bool {
    CREDENTIALS.iter().any(|part| name.contains(part))
}

fn carries_credential(url: &Url) -> bool {
    // In Hadoop's form for Azure the user is the container.
    let user_is_container = ["abfss", "abfs", "az"].contains(&url.scheme());
    url.query().is_some()
        || url.fragment().is_some()
        || url.password().is_some()
        || (!url.username().is_empty() && !user_is_container)
}

fn is_loopback(endpoint: &Url) -> bool {
    endpoint.scheme() == "http"
        && match endpoint.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

/// As it was given, without a credential that should not be there.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::parse(&self.url) {
            Ok(url) if carries_credential(&url) => f.write_str(&redacted(&url)),
            // What cannot be taken apart cannot be cleaned.
            Err(_) if self.url.contains("://") => {
                write!(f, "{}://[redacted]", self.url.split("://").next().unwrap_or_default())
            }
            _ => f.write_str(&self.url),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

const FORMS: &str = "a lake is a local path, file://…, abfss://container@account.dfs.core.windows.net/path, \
                     az://container/path, https://account.blob.core.windows.net/container/path, s3://bucket/path or gs://bucket/path";

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: &str, options: &[(&str, &str)]) -> Location {
        Location::new(url, options.iter().map(|(key, value)| ((*key).to_owned(), Secret::new(*value))))
    }

    fn shown(url: &str, options: &[(&str, &str)]) -> String {
        match location(url, options).root() {
            Ok(Root::Cloud { shown, .. }) => shown,
            Ok(Root::Disk(path)) => path.display().to_string(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn every_form_of_a_url_is_told_as_others_take_it() {
        let account = ("AZURE_STORAGE_ACCOUNT_NAME", "acc");
        let lake = "abfss://c@acc.dfs.core.windows.net/a/b";
        for form in [
            "abfss://c@acc.dfs.core.windows.net/a/b/",
            "abfs://c@acc.dfs.core.windows.net/a/b",
            "https://acc.blob.core.windows.net/c/a/b",
            "https://acc.dfs.core.windows.net/c/a/b",
            "az://c/a/b",
        ] {
            assert_eq!(shown(form, &[account]), lake, "{form}");
        }
        assert_eq!(shown("az://c", &[("azure_storage_use_emulator", "true")]), "az://c");
        let onelake = "https://onelake.dfs.fabric.microsoft.com/space/house.Lakehouse/Tables";
        assert_eq!(
            shown(onelake, &[]),
            "abfss://space@onelake.dfs.fabric.microsoft.com/house.Lakehouse/Tables"
        );
        assert_eq!(shown("s3a://bucket/x", &[]), "s3://bucket/x");
        assert_eq!(shown("gs://bucket", &[("google_skip_signature", "true")]), "gs://bucket");
        assert_eq!(shown("file:///tmp/lake", &[]), "/tmp/lake");
        assert_eq!(shown("C:\\lake", &[]), "C:\\lake");
    }

    #[test]
    fn what_cannot_be_a_lake_is_refused_and_no_credential_told() {
        for (url, word) in [
            ("ftp://host/x", "no storage"),
            ("s3://", "the bucket or container is missing"),
            ("https://example.com/x", "no storage"),
            ("https://s3.eu-west-1.amazonaws.com/bucket/x", "s3://"),
            ("s3://my bucket/abc", "cannot be read"),
            ("https://acc.blob.core.windows.net:x/c?sig=abc", "cannot be read"),
            ("s3://bucket/x#abc", "'#'"),
            ("az://c/x", "AZURE_STORAGE_ACCOUNT_NAME"),
            ("", "empty"),
            ("https://acc.blob.core.windows.net/c/a?sv=1&sig=abc", "AZURE_STORAGE_SAS_TOKEN"),
            ("s3://key:abc@bucket/x", "AWS_SECRET_ACCESS_KEY"),
            ("s3://abc@bucket/x", "AWS_SECRET_ACCESS_KEY"),
        ] {
            let error = location(url, &[]).check().unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{url}");
            let text = format!("{error:#}");
            assert!(text.contains(word), "{url}: {text}");
            assert!(!text.contains("abc"), "{text}");
        }
        for endpoint in ["localhost:9000", "foo", "127.0.0.1:9000", "http://minio.internal:9000"] {
            let error = location("s3://b/x", &[("AWS_ENDPOINT_URL", endpoint)]).check().unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{endpoint}");
            assert!(format!("{error:#}").contains("AWS_ENDPOINT_URL is "), "{error:#}");
        }
        let clear = [("AWS_ENDPOINT_URL", "http://minio.internal:9000"), ("AWS_ALLOW_HTTP", "true")];
        assert!(location("s3://b/x", &clear).check().is_ok());
        for (half, missing) in
            [("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")]
        {
            let error = location("s3://b/x", &[(half, "abc")]).check().unwrap_err();
            assert!(format!("{error:#}").contains(&format!("set {missing}")), "{error:#}");
        }
        assert!(
            !format!("{:?}", location("az://c", &[("azure_storage_account_key", "abc")])).contains("abc")
        );
    }

    #[test]
    fn an_answer_of_a_storage_becomes_a_next_step() {
        let advice = |cloud: Cloud, answer: &str| cloud.advice(answer);
        assert!(
            advice(Cloud::Azure, "403: <Code>AuthorizationPermissionMismatch</Code>").contains("Contributor")
        );
        assert!(advice(Cloud::S3, "403: <Code>ExpiredToken</Code>").contains("AWS_SESSION_TOKEN"));
        assert!(advice(Cloud::Azure, "400: OutOfRangeInput: The specified").contains("/devstoreaccount1"));
        assert!(
            advice(Cloud::S3, "received corrupt message of type InvalidContentType")
                .contains("write http://")
        );
        assert!(advice(Cloud::Gcs, "nobody knows").contains("storage.md"));
        assert!(Location::is_setting("AWS_ENDPOINT_URL") && !Location::is_setting("endpoint_url"));
        assert!(!Location::is_setting("azure_endpoint_url") && !Location::is_setting("path"));
    }
}
