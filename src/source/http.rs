//! The one HTTP client of the room, and small things about HTTP.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use reqwest::{Response, header, redirect};
use url::Url;

use super::retry::{Failure, Passing, Tries};
use super::witness::Witness;
use super::{Options, host};
use crate::error::{Error, Kind, Result};
use crate::event::Observer;

/// More than any JSON answer of the API or the sign-in; a real one has under 10 kB.
pub(super) const MAX_JSON_BYTES: usize = 1024 * 1024;

/// What every exchange needs: the HTTP client, the options, and who is told.
#[derive(Debug)]
pub(super) struct Wire {
    http: reqwest::Client,
    pub(super) options: Options,
    pub(super) observer: Observer,
    /// Only for a probe.
    pub(super) witness: Option<Witness>,
    // Whether any server has answered yet: until then a dead host is more likely a wrong name than an outage.
    answered: AtomicBool,
}

impl Wire {
    /// # Errors
    /// `Config` when the options cannot work or the system's certificates cannot be read.
    pub(super) fn new(options: Options, observer: Observer) -> Result<Self> {
        options.check()?;
        let builder = reqwest::Client::builder()
            .user_agent(concat!("payoutlake/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(std::time::Duration::from_secs(options.connect_timeout_secs))
            .read_timeout(options.read_timeout())
            .referer(false)
            // The bytes of an export are wanted as they are stored, whatever another crate adds to reqwest.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate();
        // A sandbox on this machine is not behind a proxy.
        let builder = if host::is_loopback(&options.api) { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|cause| {
            Error::new(Kind::Config, "cannot set up https")
                .caused_by(cause.without_url())
                .hint("Install the system's CA certificates again (package ca-certificates), or name a file in SSL_CERT_FILE.")
        })?;
        Ok(Wire { http, options, observer, witness: None, answered: AtomicBool::new(false) })
    }

    /// A request that carries nothing but what the caller adds.
    pub(super) fn request(&self, method: reqwest::Method, url: Url) -> reqwest::RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends the request once.
    pub(super) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        match request.send().await {
            Ok(response) => {
                self.answered.store(true, Ordering::Relaxed);
                Ok(response)
            }
            Err(cause) => Err(Failure::Passing(Passing::of_transport(cause))),
        }
    }

    pub(super) fn tries(&self, url: &Url) -> Tries<'_> {
        Tries::new(self, url)
    }

    pub(super) fn has_been_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}

/// The whole body without a byte order mark, or `None` when it is longer than [`MAX_JSON_BYTES`].
pub(super) async fn read_body(mut response: Response) -> Result<Option<Vec<u8>>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) =
        response.chunk().await.map_err(|cause| Failure::Passing(Passing::of_transport(cause)))?
    {
        if body.len() + chunk.len() > MAX_JSON_BYTES {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(without_mark(&body).to_vec()))
}

/// A JSON text without the byte order mark that some servers put before it.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body)
}

pub(super) fn header_text(response: &Response, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// The claims of a challenge that a service sends with a 401 (`error="insufficient_claims", claims="<base64>"`), as
/// JSON. Anything else in that header is not ours to follow.
pub(super) fn claims_challenge(response: &Response) -> Option<String> {
    challenge_of(header_text(response, header::WWW_AUTHENTICATE)?)
}

fn challenge_of(header: &str) -> Option<String> {
    let (_, rest) = header.split_once("claims=\"")?;
    let (encoded, _) = rest.split_once('"')?;
    let bytes = STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    serde_json::from_str::<serde_json::Value>(&text).ok()?.is_object().then_some(text)
}

/// Everything but the unreserved characters of RFC 3986 as `%XX`: a space is `%20`, an apostrophe `%27`.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The address with more path segments, whether or not it ends with a slash.
pub(super) fn below<'a>(url: &Url, segments: impl IntoIterator<Item = &'a str>) -> Url {
    let mut url = url.clone();
    // Fails only for addresses without a host, which the options refuse.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(segments);
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_appended_with_and_without_a_slash() {
        for base in ["https://h/v1.0", "https://h/v1.0/"] {
            let url = below(&Url::parse(base).unwrap(), ["payouts", "payments", "a/b?c"]);
            assert_eq!(url.as_str(), "https://h/v1.0/payouts/payments/a%2Fb%3Fc");
        }
        assert_eq!(percent_encoded("a 'b'+é~"), "a%20%27b%27%2B%C3%A9~");
    }

    #[test]
    fn a_challenge_is_read_and_other_headers_are_not() {
        let claims = r#"{"access_token":{"nbf":{"essential":true,"value":"1790000000"}}}"#;
        for encoded in
            [base64::engine::general_purpose::STANDARD.encode(claims), STANDARD_NO_PAD.encode(claims)]
        {
            let header = format!(r#"Bearer realm="", error="insufficient_claims", claims="{encoded}""#);
            assert_eq!(challenge_of(&header).as_deref(), Some(claims));
        }
        for other in ["Bearer", r#"Bearer claims="!!""#, r#"Bearer claims="W10=""#, r#"Bearer claims=""#] {
            assert_eq!(challenge_of(other), None, "{other}");
        }
    }
}
