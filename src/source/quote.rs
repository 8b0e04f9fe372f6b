//! What other programs said, in a form that may be printed.

use url::form_urlencoded;

use super::http::percent_encoded;
use crate::secret::{Secret, redact_text};

/// Characters of somebody else's message that are kept; the service's own limit is 1024.
const MAX_CHARS: usize = 400;

/// Quotes a server's words without the secrets that were sent to it: a server may echo a request.
#[derive(Debug, Default)]
pub(super) struct Quoter<'a> {
    secrets: Vec<&'a Secret>,
}

impl<'a> Quoter<'a> {
    pub(super) fn new(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Quoter { secrets: secrets.into_iter().collect() }
    }

    /// One line without secrets, query strings and control characters.
    pub(super) fn quote(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty()) {
            let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            for spelling in [secret, &form, &percent_encoded(secret)] {
                text = text.replace(spelling, "[secret]");
            }
        }
        let line = redact_text(&text).split_whitespace().collect::<Vec<_>>().join(" ");
        let mut short: String = line.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
        if line.chars().count() > MAX_CHARS {
            short.push_str(" ...");
        }
        short
    }

    /// The words of an error body: the message of a JSON error, or the text itself.
    ///
    /// `{"error":{"code":"itemNotFound","message":"no such export"}}` becomes `itemNotFound: no such export`.
    pub(super) fn quote_body(&self, body: &[u8]) -> Option<String> {
        let words = match serde_json::from_slice::<serde_json::Value>(body) {
            Ok(json) => json_words(&json)?,
            Err(_) => text_words(&String::from_utf8_lossy(body))?,
        };
        Some(self.quote(&words)).filter(|words| !words.is_empty())
    }
}

fn json_words(json: &serde_json::Value) -> Option<String> {
    if let Some(text) = json.as_str() {
        return Some(text.to_owned());
    }
    let holder = json.get("error").filter(|error| error.is_object()).unwrap_or(json);
    let word = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| holder.get(name)?.as_str())
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let code = word(&["code", "Code", "error"]);
    let message = word(&["message", "Message", "error_description", "description", "Description", "title"]);
    match (code, message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (Some(one), None) | (None, Some(one)) => Some(one.to_owned()),
        (None, None) => None,
    }
}

fn text_words(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return None;
    }
    let lower = text.get(..text.floor_char_boundary(200)).unwrap_or_default().to_ascii_lowercase();
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return Some("(a web page instead of an answer of the service)".to_owned());
    }
    // Azure storage: <?xml ...?><Error><Code>AuthenticationFailed</Code><Message>...</Message></Error>
    let tag = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(words, _)| words.to_owned())
    };
    tag("Code").or_else(|| Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_spelling() {
        let secret = Secret::new("p&w + 'x");
        let quoter = Quoter::new([&secret]);
        for text in ["got p&w + 'x here", "got p%26w+%2B+%27x here", "got p%26w%20%2B%20%27x here"] {
            assert_eq!(quoter.quote(text), "got [secret] here");
        }
        assert_eq!(
            quoter.quote("see https://a.b/c?sig=abc\r\n\u{1b}[31m now"),
            "see https://a.b/c?[redacted] [31m now"
        );
        assert!(quoter.quote(&"x".repeat(5000)).len() < 500);
    }

    #[test]
    fn an_empty_secret_changes_nothing() {
        assert_eq!(Quoter::new([&Secret::new("")]).quote("plain words"), "plain words");
    }

    #[test]
    fn words_are_found_in_every_kind_of_error_body() {
        let quote = |body: &str| Quoter::default().quote_body(body.as_bytes());
        let table = [
            (r#"{"error":{"code":"accessDenied","message":"no"}}"#, Some("accessDenied: no")),
            (r#"{"error":"invalid_grant","error_description":"AADSTS1"}"#, Some("invalid_grant: AADSTS1")),
            (r#"{"Message":"An error"}"#, Some("An error")),
            (r#""just text""#, Some("just text")),
            (
                "Authorization header token missing user information",
                Some("Authorization header token missing user information"),
            ),
            ("<html><body>proxy</body></html>", Some("(a web page instead of an answer of the service)")),
            (
                "\u{feff}<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>x</Message></Error>",
                Some("BlobNotFound"),
            ),
            ("{}", None),
            ("", None),
        ];
        for (body, words) in table {
            assert_eq!(quote(body).as_deref(), words, "{body}");
        }
    }
}
