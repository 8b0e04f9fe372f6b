//! Who may be spoken to.

use url::{Host, Url};

use super::Options;
use crate::error::{Error, Kind, Result};

/// This machine: 127.0.0.0/8, ::1, and the name `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The host for a message: no path, no query.
pub(super) fn name(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => "(no host)".to_owned(),
    }
}

/// Says what is wrong with an address before anything is sent to it.
pub(super) fn check_scheme(url: &Url) -> std::result::Result<(), &'static str> {
    if url.host().is_none() {
        return Err("has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("carries a user name or a password");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        _ => Err("is not https (only a loopback address may be http)"),
    }
}

/// # Errors
/// `Contract` when the service names a host that is not on the list: its bytes cannot be trusted with money.
pub(super) fn check_blob(options: &Options, url: &Url) -> Result<()> {
    let refused = |why: &str| {
        Error::new(Kind::Contract, format!("the address of the export {why}; nothing was sent to it"))
            .with("host", name(url))
            .hint("If this host belongs to Microsoft, add it to source.api.blob_hosts; otherwise tell your security team.")
    };
    check_scheme(url).map_err(refused)?;
    if is_loopback(url) {
        return if is_loopback(&options.api) { Ok(()) } else { Err(refused("points to this machine")) };
    }
    let host = url.host_str().unwrap_or_default();
    let allowed = |entry: &String| match entry.strip_prefix('.') {
        Some(_) => host.ends_with(&entry.to_ascii_lowercase()),
        None => host.eq_ignore_ascii_case(entry),
    };
    if options.blob_hosts.iter().any(allowed) {
        Ok(())
    } else {
        Err(refused("is on a host that is not allowed"))
    }
}

/// Entries of the list of blob hosts that let too much in, or nothing at all, each with what is wrong with it.
pub(super) fn doubtful(blob_hosts: &[String]) -> Vec<String> {
    let wrong = |entry: &String| {
        let name = entry.trim_start_matches('.');
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        if !name.chars().all(plain) {
            return Some(format!("'{entry}' is not a host name, and matches none"));
        }
        let wide = entry.starts_with('.') && name.split('.').count() < 2;
        wide.then(|| format!("'{entry}' lets every host of a top-level domain in"))
    };
    blob_hosts.iter().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(api: &str, location: &str) -> Result<()> {
        let options = Options { api: Url::parse(api).unwrap(), ..Options::default() };
        check_blob(&options, &Url::parse(location).unwrap())
    }

    #[test]
    fn a_doubtful_list_is_told() {
        let doubtful = |entry: &str| !doubtful(&[entry.to_owned()]).is_empty();
        for good in [".blob.core.windows.net", "files.contoso.example", "10.0.0.1"] {
            assert!(!doubtful(good), "{good}");
        }
        for bad in ["https://acc.blob.core.windows.net", "*.blob.core.windows.net", "a/b", ".net", "host:443"]
        {
            assert!(doubtful(bad), "{bad}");
        }
    }

    #[test]
    fn only_listed_hosts_serve_blobs() {
        let api = "https://api.partner.microsoft.com/v1.0/";
        assert!(blob(api, "https://acc.blob.core.windows.net/c/b?sig=s").is_ok());
        assert!(blob(api, "https://ACC.Blob.Core.Windows.Net/c/b?sig=s").is_ok());
        for bad in [
            "http://acc.blob.core.windows.net/c/b?sig=CANARY",
            "https://acc.blob.core.windows.net.evil.example/c/b?sig=CANARY",
            "https://evilblob.core.windows.net/c/b?sig=CANARY",
            "https://acc.blob.core.windows.net@evil.example/c/b?sig=CANARY",
            "https://user:CANARY@acc.blob.core.windows.net/c/b",
            "https://127.0.0.1/c/b?sig=CANARY",
            "http://localhost:9/c/b?sig=CANARY",
            "https://[::1]/c/b?sig=CANARY",
            "file:///etc/passwd",
        ] {
            let error = blob(api, bad).expect_err(bad);
            assert_eq!(error.kind(), Kind::Contract, "{bad}");
            assert!(!format!("{error:#}{error:?}").contains("CANARY"), "{error:#}");
        }
    }

    #[test]
    fn a_sandbox_on_this_machine_serves_its_own_blobs() {
        let api = "http://127.0.0.1:8080/v1.0/";
        assert!(blob(api, "http://127.0.0.1:8080/blobs/x?sig=s").is_ok());
        assert!(blob(api, "http://localhost:9999/blobs/x?sig=s").is_ok());
        assert!(blob(api, "http://192.168.0.1/blobs/x?sig=s").is_err());
        // Names that only look like loopback.
        assert!(blob(api, "http://127.0.0.1.evil.example/x").is_err());
        assert!(blob(api, "http://localhost.evil.example/x").is_err());
    }
}
