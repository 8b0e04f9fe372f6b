//! The blob store: signed addresses, and downloads whole or in ranges.

use std::io::SeekFrom;

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::build::Built;
use super::exports::{Exports, Request};
use super::tokens::Key;

/// The version of Azure's storage service that the addresses name.
const SERVICE_VERSION: &str = "2025-07-05";

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// The address of a blob, good for `lifetime_secs` from now; negative is in the past.
#[must_use]
pub fn address(
    key: &Key,
    base: &Url,
    request: &Request,
    built: &Built,
    now: Timestamp,
    lifetime_secs: i64,
) -> String {
    let name = format!("{}.{}", request.id, built.extension);
    let expires = now + SignedDuration::from_secs(lifetime_secs);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut url = base.clone();
    url.set_path(&format!("/blobs/{name}"));
    url.query_pairs_mut()
        .append_pair("sv", SERVICE_VERSION)
        .append_pair("se", &expires)
        .append_pair("sr", "b")
        .append_pair("sp", "r")
        .append_pair("sig", &key.sign(&format!("{name}\n{expires}")));
    url.into()
}

/// Answers GET and HEAD of a blob.
pub async fn answer(
    exports: &Exports,
    key: &Key,
    method: &Method,
    name: &str,
    query: &str,
    headers: &HeaderMap,
    now: Timestamp,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "InvalidAuthenticationInfo",
            "Authentication information is not given in the correct format: a signed address takes no Authorization header.",
        );
    }
    if !is_signed(key, name, query, now) {
        return refusal(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of the signature is correct and not expired.",
        );
    }
    let Some((request, built)) = exports.blob_named(name) else {
        return refusal(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.");
    };
    match File::open(exports.blob(request.id)).await {
        Ok(file) => served(file, &built, method, headers).await,
        Err(_) => refusal(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist."),
    }
}

fn is_signed(key: &Key, name: &str, query: &str, now: Timestamp) -> bool {
    let value = |wanted: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    let (Some(expires), Some(signature)) = (value("se"), value("sig")) else {
        return false;
    };
    let good = expires.parse::<Timestamp>().is_ok_and(|expires| now < expires);
    good && key.verifies(&format!("{name}\n{expires}"), &signature)
}

async fn served(mut file: File, built: &Built, method: &Method, headers: &HeaderMap) -> Response {
    let tag = format!("\"0x{}\"", hex(&built.md5));
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_MATCH).is_some_and(|wanted| wanted != tag && wanted != "*") {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        return refusal(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message);
    }
    // A range of a blob that has changed meanwhile is answered with the whole.
    let unchanged = text(header::IF_RANGE).is_none_or(|seen| seen == tag);
    let range = text(header::RANGE).filter(|_| unchanged).and_then(|range| parse_range(range, built.bytes));
    let (status, first, length) = match range {
        None => (StatusCode::OK, 0, built.bytes),
        Some(Range::Part(first, last)) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Some(Range::Outside) => {
            let message = "The range specified is invalid for the current size of the resource.";
            let mut response = refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
            set(&mut response, header::CONTENT_RANGE, format!("bytes */{}", built.bytes));
            return response;
        }
    };
    if file.seek(SeekFrom::Start(first)).await.is_err() {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "The blob cannot be read.");
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        Body::from_stream(ReaderStream::with_capacity(file.take(length), CHUNK_BYTES))
    };
    let mut response = (status, body).into_response();
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    set(&mut response, header::ETAG, tag);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + length - 1;
        set(&mut response, header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", built.bytes));
        // Azure gives the checksum of the whole under another name when it answers with a part.
        set(&mut response, header::HeaderName::from_static("x-ms-blob-content-md5"), built.md5.clone());
    } else {
        set(&mut response, header::HeaderName::from_static("content-md5"), built.md5.clone());
    }
    response
}

/// The letters and digits of a checksum as an opaque tag.
fn hex(md5: &str) -> String {
    md5.bytes().take(12).map(|byte| format!("{byte:02X}")).collect()
}

fn set(response: &mut Response, name: header::HeaderName, value: String) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// First and last byte.
    Part(u64, u64),
    Outside,
}

/// One range of bytes; what cannot be understood, or asks for several, is ignored (RFC 9110, 14.2).
fn parse_range(text: &str, length: u64) -> Option<Range> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(suffix)) if first.is_empty() => (length.saturating_sub(suffix), u64::MAX),
        _ => return None,
    };
    let last = last.min(length.saturating_sub(1));
    Some(if first >= length || first > last { Range::Outside } else { Range::Part(first, last) })
}

/// An error in the words of Azure's blob store.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let mut response = (status, body).into_response();
    set(&mut response, header::CONTENT_TYPE, "application/xml".to_owned());
    set(&mut response, header::HeaderName::from_static("x-ms-error-code"), code.to_owned());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (text, expected) in [
            ("bytes=0-0", Some(Range::Part(0, 0))),
            ("bytes=5-", Some(Range::Part(5, 9))),
            ("bytes=5-100", Some(Range::Part(5, 9))),
            ("bytes=-3", Some(Range::Part(7, 9))),
            ("bytes=-30", Some(Range::Part(0, 9))),
            ("bytes=10-", Some(Range::Outside)),
            ("bytes=6-5", None),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=-", None),
        ] {
            assert_eq!(parse_range(text, 10), expected, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Some(Range::Outside));
    }
}
