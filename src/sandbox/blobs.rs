//! The blob store: signed addresses, and downloads whole or in ranges.

use std::io::SeekFrom;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;
use uuid::Uuid;

use super::build::Built;
use super::crc64;
use super::exports::{Exports, Request};
use super::faults::FaultKind;
use super::faults::injector::Hits;
use super::md5::base64;
use super::server::Service;
use super::tokens::Key;

/// The version of Azure's storage service that the addresses name.
const SERVICE_VERSION: &str = "2025-07-05";

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 16;

/// The address of a blob, good for `lifetime_secs` from now; negative is in the past. `once` makes it good for one
/// request.
#[must_use]
pub fn address(
    key: &Key,
    base: &Url,
    request: &Request,
    built: &Built,
    now: Timestamp,
    lifetime_secs: i64,
    once: bool,
) -> String {
    let name = format!("{}.{}", request.id, built.extension);
    let expires = now + SignedDuration::from_secs(lifetime_secs);
    let expires = expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let nonce = if once { Uuid::new_v4().simple().to_string() } else { String::new() };
    let mut url = base.clone();
    url.set_path(&format!("/blobs/{name}"));
    url.query_pairs_mut()
        .append_pair("sv", SERVICE_VERSION)
        .append_pair("se", &expires)
        .append_pair("sr", "b")
        .append_pair("sp", "r")
        .append_pair("sig", &key.sign(&format!("{name}\n{expires}{nonce}")));
    if once {
        url.query_pairs_mut().append_pair("once", &nonce);
    }
    url.into()
}

/// Answers GET and HEAD of a blob.
pub async fn answer(
    service: &Service,
    method: &Method,
    name: &str,
    query: &str,
    headers: &HeaderMap,
    hits: &Hits,
) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return refusal(
            StatusCode::BAD_REQUEST,
            "InvalidAuthenticationInfo",
            "Authentication information is not given in the correct format: a signed address takes no Authorization header.",
        );
    }
    if !is_signed(&service.key, &service.exports, name, query, service.now()) {
        return refusal(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of the signature is correct and not expired.",
        );
    }
    let missing = || refusal(StatusCode::NOT_FOUND, "BlobNotFound", "The specified blob does not exist.");
    let Some((request, built)) = service.exports.blob_named(name) else {
        return missing();
    };
    let path = service.exports.blob(request.id);
    let Ok(file) = File::open(&path).await else {
        return missing();
    };
    let response = served(file, &built, method, headers, hits).await;
    with_checksum(response, &built, hits, || crc64::of_file(&path))
}

fn is_signed(key: &Key, exports: &Exports, name: &str, query: &str, now: Timestamp) -> bool {
    let value = |wanted: &str| {
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == wanted).map(|(_, value)| value)
    };
    let (Some(expires), Some(signature)) = (value("se"), value("sig")) else {
        return false;
    };
    let once = value("once").unwrap_or_default();
    expires.parse::<Timestamp>().is_ok_and(|expires| now < expires)
        && key.verifies(&format!("{name}\n{expires}{once}"), &signature)
        && (once.is_empty() || exports.first_use(&once))
}

async fn served(
    mut file: File,
    built: &Built,
    method: &Method,
    headers: &HeaderMap,
    hits: &Hits,
) -> Response {
    let changes = hits.has(FaultKind::EtagChanges);
    let tag = if changes { Uuid::new_v4().simple().to_string() } else { hex(&built.md5) };
    let tag = format!("\"0x{tag}\"");
    let ranges = !hits.has(FaultKind::NoRange);
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_MATCH).is_some_and(|wanted| wanted != tag && wanted != "*") {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        return refusal(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message);
    }
    // A range of a blob that has changed meanwhile is answered with the whole.
    let unchanged = text(header::IF_RANGE).is_none_or(|seen| seen == tag);
    let range =
        text(header::RANGE).filter(|_| unchanged && ranges).and_then(|range| parse_range(range, built.bytes));
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
        let chunks = ReaderStream::with_capacity(file.take(length), CHUNK_BYTES);
        // The byte in the middle of the blob, or of the part when that does not hold it.
        let middle = built.bytes / 2;
        let bad = if (first..first + length).contains(&middle) { middle - first } else { length / 2 };
        let bad = (length > 0 && hits.has(FaultKind::BodyCorrupt)).then_some(bad);
        Body::from_stream(chunks.scan(0, move |passed, chunk| {
            std::future::ready(Some(chunk.map(|chunk| corrupted(chunk, passed, bad))))
        }))
    };
    let mut response = (status, body).into_response();
    set(&mut response, header::CONTENT_LENGTH, length.to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream".to_owned());
    if ranges {
        set(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    }
    if !hits.has(FaultKind::NoEtag) {
        set(&mut response, header::ETAG, tag);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        // A server that rounds to its own blocks and still sends what was asked for.
        let shift = if hits.has(FaultKind::WrongRange) { 1 } else { 0 };
        let (first, last) = (first + shift, first + length - 1 + shift);
        set(&mut response, header::CONTENT_RANGE, format!("bytes {first}-{last}/{}", built.bytes));
    }
    response
}

/// Flips a bit of the byte at `bad`, counted in the whole body; `passed` is what came before this chunk.
fn corrupted(chunk: Bytes, passed: &mut u64, bad: Option<u64>) -> Bytes {
    let begin = *passed;
    *passed += chunk.len() as u64;
    match bad {
        Some(bad) if (begin..*passed).contains(&bad) => {
            let mut bytes = chunk.to_vec();
            // The lowest bit: a digit stays a digit, so that only a checksum tells.
            bytes[(bad - begin) as usize] ^= 1;
            bytes.into()
        }
        _ => chunk,
    }
}

/// The checksums of the whole blob.
fn with_checksum(
    mut response: Response,
    built: &Built,
    hits: &Hits,
    crc64: impl FnOnce() -> std::io::Result<[u8; 8]>,
) -> Response {
    use FaultKind as F;
    let offers = response.status().is_success() && !hits.has(F::NoChecksum);
    let crc = hits.any_of(&[F::Crc64, F::Crc64Only]).filter(|_| offers);
    if crc.is_some()
        && let Ok(crc) = crc64()
    {
        set(&mut response, header::HeaderName::from_static("x-ms-content-crc64"), base64(&crc));
    }
    if offers && crc != Some(F::Crc64Only) {
        // Azure gives the checksum of the whole under another name when it answers with a part.
        let part = response.status() == StatusCode::PARTIAL_CONTENT;
        let name = if part { "x-ms-blob-content-md5" } else { "content-md5" };
        let md5 = if hits.has(F::WrongChecksum) { base64(&[0; 16]) } else { built.md5.clone() };
        set(&mut response, header::HeaderName::from_static(name), md5);
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
