//! Values that must never be printed, and URLs without their signatures.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A password, token, key or signed URL. It has no `Display`, and its `Debug` says nothing.
///
/// ```compile_fail
/// let secret = payoutlake::secret::Secret::new("hunter2");
/// println!("{secret}");
/// ```
///
/// ```
/// let secret = payoutlake::secret::Secret::new("hunter2");
/// assert_eq!(format!("{secret:?}"), "[secret]");
/// assert_eq!(secret.expose(), "hunter2");
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(SecretString::from(value.into()))
    }

    /// The value itself, for the one place that puts it on the wire.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

/// The URL without user, password, query and fragment: a SAS signature stands in the query.
#[must_use]
pub fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    // These fail only for URLs that have no host, and those carry no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let had_query = url.query().is_some();
    url.set_query(None);
    url.set_fragment(None);
    if had_query { format!("{url}?[redacted]") } else { url.to_string() }
}

/// The text with every query string of an http(s) URL in it blanked out, for messages of other people's code.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("http") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '<'))
            .unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        match word.split_once('?') {
            Some((path, _)) if word.starts_with("http://") || word.starts_with("https://") => {
                out.push_str(path);
                out.push_str("?[redacted]");
            }
            _ => out.push_str(word),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_not_printed() {
        let url = Url::parse("https://user:pw@acc.blob.core.windows.net/c/b.zip?sv=1&sig=abc#x").unwrap();
        assert_eq!(redacted(&url), "https://acc.blob.core.windows.net/c/b.zip?[redacted]");
        let text = "error sending request for url (https://a.b/c?sig=abc): reset";
        assert_eq!(redact_text(text), "error sending request for url (https://a.b/c?[redacted]): reset");
    }
}
