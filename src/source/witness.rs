//! What answers look like, apart from what they say: for `check --probe`, which tells of a service that nobody has
//! described.
//!
//! Nothing here is an id, an address or a text of somebody else: words are names that Microsoft documents, or short
//! plain ones, or our own.

use std::sync::{Mutex, PoisonError};

use reqwest::{Response, StatusCode, header};
use serde_json::{Map, Value};

use super::answer::{self, field, request_id};
use super::http::{header_text, without_mark};

/// More answers than a probe can tell apart are not kept.
const MAX_KEPT: usize = 100;

/// The longest word of the service that is repeated.
const MAX_WORD_CHARS: usize = 60;

/// The fields of an export that are documented, spelled as the samples spell them.
const FIELDS: [&str; 7] = [
    "requestId",
    "requestDateTime",
    "requestPath",
    "requestQueryString",
    "blobLocation",
    "status",
    "processingStartDateTime",
];

/// One kind of answer of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAnswer {
    pub status: u16,
    pub retry_after: bool,
    /// What is around the export: `` a list under `value` ``.
    pub shape: String,
    /// Where the request id stands.
    pub id: &'static str,
    /// Exports in the answer.
    pub exports: usize,
    /// Every documented field that is there is spelled as in the samples.
    pub spelled_as_documented: bool,
    /// Documented fields that are not there.
    pub missing: Vec<&'static str>,
    /// How many fields nobody has documented.
    pub undocumented: usize,
    /// Fraction digits of `requestDateTime`, and whether it says that it is UTC.
    pub request_time: Option<(usize, bool)>,
}

/// One answer of a blob host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBlob {
    /// Whether a part was asked for.
    pub ranged: bool,
    pub status: u16,
    /// Without parameters.
    pub media_type: Option<String>,
    pub encoding: Option<String>,
    /// Whether a file name is offered (`Content-Disposition`); never the name.
    pub disposition: bool,
    pub accept_ranges: Option<String>,
    /// `strong`, `weak` or `none`.
    pub etag: &'static str,
    pub md5: bool,
    pub crc64: bool,
    /// `Content-Length`, in bytes.
    pub length: Option<u64>,
}

/// What was seen since the last time that somebody asked.
#[derive(Debug, Default)]
pub struct Seen {
    /// Answers of the API that differ, in the order of their first, and how often each came.
    pub answers: Vec<(SeenAnswer, u64)>,
    pub blobs: Vec<SeenBlob>,
}

/// Remembers what answers look like.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Seen>);

impl Witness {
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn answer(&self, status: StatusCode, retry_after: bool, location: Option<&str>, body: &[u8]) {
        let answer = seen(status, retry_after, location, body);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.answers.iter().position(|(known, _)| *known == answer) {
            Some(index) => seen.answers[index].1 += 1,
            None if seen.answers.len() < MAX_KEPT => seen.answers.push((answer, 1)),
            None => {}
        }
    }

    pub(super) fn blob(&self, response: &Response, ranged: bool) {
        let text = |name: &'static str| header_text(response, header::HeaderName::from_static(name));
        let etag = match text("etag") {
            Some(etag) if etag.starts_with('"') => "strong",
            Some(_) => "weak",
            None => "none",
        };
        let media_type = text("content-type").map(|text| text.split(';').next().unwrap_or_default());
        let blob = SeenBlob {
            ranged,
            status: response.status().as_u16(),
            media_type: media_type.map(plain_word),
            encoding: text("content-encoding").map(plain_word),
            disposition: text("content-disposition").is_some(),
            accept_ranges: text("accept-ranges").map(plain_word),
            etag,
            md5: text("content-md5").is_some(),
            crc64: text("x-ms-content-crc64").is_some(),
            length: text("content-length").and_then(|text| text.trim().parse().ok()),
        };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.blobs.len() < MAX_KEPT {
            seen.blobs.push(blob);
        }
    }
}

/// A word of a header if it is a plain one (`text/csv`, `gzip`), else `other`.
fn plain_word(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || matches!(c, '/' | '-' | '.' | '+');
    let short = !text.is_empty() && text.len() <= MAX_WORD_CHARS;
    if short && text.chars().all(plain) { text } else { "other".to_owned() }
}

fn seen(status: StatusCode, retry_after: bool, location: Option<&str>, body: &[u8]) -> SeenAnswer {
    let body = without_mark(body);
    let json = serde_json::from_slice::<Value>(body).ok();
    let mut exports = Vec::new();
    if let Some(json) = &json {
        answer::collect(json, &mut exports);
    }
    let fields = exports.first().copied();
    let in_body = fields.is_some_and(|fields| request_id(fields).is_some());
    let in_location = location.is_some_and(|location| answer::last_segment(location).is_some());
    let known = |name: &str| fields.is_some_and(|fields| field(fields, name).is_some());
    let exact = |name: &str| fields.is_some_and(|fields| fields.contains_key(name));
    SeenAnswer {
        status: status.as_u16(),
        retry_after,
        shape: match &json {
            _ if body.trim_ascii().is_empty() => "no body".to_owned(),
            None => "a body that is not JSON".to_owned(),
            Some(json) => shape(json),
        },
        id: match (in_body, in_location) {
            (true, false) => "in the body",
            (true, true) => "in the body and in Location",
            (false, true) => "in Location alone",
            (false, false) => "nowhere",
        },
        exports: exports.len(),
        spelled_as_documented: FIELDS.iter().all(|name| !known(name) || exact(name)),
        missing: FIELDS.into_iter().filter(|name| fields.is_some() && !known(name)).collect(),
        undocumented: fields.map_or(0, undocumented),
        request_time: fields.and_then(request_time),
    }
}

fn shape(json: &Value) -> String {
    let Value::Object(fields) = json else {
        return if json.is_array() { "a bare list" } else { "a bare value" }.to_owned();
    };
    // The key is a spelling of this one word.
    match fields.iter().find(|(key, _)| key.eq_ignore_ascii_case("value")) {
        Some((key, Value::Array(_))) => format!("a list under `{key}`"),
        Some((key, Value::Object(_))) => format!("an object under `{key}`"),
        _ if request_id(fields).is_some() => "a bare object".to_owned(),
        _ if field(fields, "error").is_some() => "an object with `error`".to_owned(),
        _ => "another object".to_owned(),
    }
}

fn undocumented(fields: &Map<String, Value>) -> usize {
    fields.keys().filter(|key| !FIELDS.iter().any(|name| name.eq_ignore_ascii_case(key))).count()
}

/// Fraction digits, and whether a `Z` ends the text.
fn request_time(fields: &Map<String, Value>) -> Option<(usize, bool)> {
    let text = field(fields, "requestDateTime")?.as_str()?.trim();
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    Some((digits, text.ends_with(['Z', 'z'])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "93c2b3cf-c6d8-4e7e-ade1-007768a6eba4";

    #[test]
    fn an_answer_is_described_without_what_it_says() {
        let one = r#"{"requestId":"ID","requestDateTime":"2023-05-25T21:20:46.3727561Z","status":"Queued"}"#;
        let location = format!("https://h/v1.0/payouts/payments/{ID}");
        let table = [
            (format!(r#"{{"value":[{one}]}}"#), None, "a list under `value`", "in the body"),
            (format!(r#"{{"Value":{one}}}"#), None, "an object under `Value`", "in the body"),
            (format!("[{one}]"), None, "a bare list", "in the body"),
            (one.to_owned(), Some(&location), "a bare object", "in the body and in Location"),
            (String::new(), Some(&location), "no body", "in Location alone"),
            ("<html>".to_owned(), None, "a body that is not JSON", "nowhere"),
            (r#"{"error":{"code":"x"}}"#.to_owned(), None, "an object with `error`", "nowhere"),
        ];
        for (body, location, shape, id) in table {
            let body = body.replace("ID", ID);
            let seen = seen(StatusCode::ACCEPTED, false, location.map(String::as_str), body.as_bytes());
            assert_eq!((seen.shape.as_str(), seen.id), (shape, id), "{body}");
            assert!(!format!("{seen:?}").contains("93c2"), "{seen:?}");
            if body.contains("requestId") {
                assert_eq!(seen.request_time, Some((7, true)), "{body}");
                assert_eq!(seen.missing.len(), 4, "{seen:?}");
            }
        }
    }

    #[test]
    fn only_plain_words_are_repeated() {
        assert_eq!(plain_word(" Text/CSV "), "text/csv");
        for text in ["", "contoso 12", "a=b", &"x".repeat(61)] {
            assert_eq!(plain_word(text), "other", "{text}");
        }
    }
}
