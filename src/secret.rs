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

/// An error of other people's code with what caused it, on one line and without secrets: a client may show an address with
/// its signature, and a storage repeats a token that it does not accept.
#[must_use]
pub fn redact_error(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = redact_text(&error.to_string());
        if !texts.iter().any(|seen| seen.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What may be told of a storage's answer in XML.
const TOLD: [&str; 3] = ["Code", "Message", "AuthenticationErrorDetail"];

fn redact_xml(text: &str) -> String {
    let Some((before, rest)) = text.split_once("<Error>") else { return text.to_owned() };
    let (inside, after) = rest.split_once("</Error>").unwrap_or((rest, ""));
    let told = TOLD.iter().filter_map(|name| {
        let (_, rest) = inside.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    });
    format!("{before}{}{after}", told.collect::<Vec<_>>().join(": "))
}

/// The text with every user and query string of an http(s) URL in it blanked out, and of answers in XML only what they say is
/// wrong: for messages of other people's code.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let text = redact_xml(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(start) = rest.find("http") {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let end = from
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | '>' | '<'))
            .unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        match word.split_once("://") {
            Some((scheme @ ("http" | "https"), address)) => {
                let (place, query) =
                    address.split_once('?').map_or((address, None), |(place, query)| (place, Some(query)));
                let (host, path) =
                    place.split_once('/').map_or((place, None), |(host, path)| (host, Some(path)));
                let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
                out.push_str(&format!("{scheme}://{host}"));
                out.extend(path.into_iter().flat_map(|path| ["/", path]));
                out.push_str(if query.is_some() { "?[redacted]" } else { "" });
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
        let text = "GET http://me:pw@host:1/x and http alone: <?xml?><Error><Code>ExpiredToken</Code><Message>The token \
                    has expired.</Message><Token-0>canary</Token-0></Error> so";
        let told = "GET http://host:1/x and http alone: <?xml?>ExpiredToken: The token has expired. so";
        assert_eq!(redact_text(text), told);
    }
}
