//! What the service's answers looked like, in words.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::magnitude;
use crate::source::{Options, SeenAnswer, SeenBlob, Signature, Status};

/// How many kinds of answers to one question are told apart.
const MAX_ANSWERS: usize = 8;

/// The longest status that is told.
const MAX_STATUS_CHARS: usize = 30;

/// Domains of Microsoft's public hosts; the name of any other host may say whose it is.
const PUBLIC: [&str; 3] = [".microsoft.com", ".microsoftonline.cn", ".microsoftonline.com"];

pub(super) fn api(options: &Options) -> String {
    let host = options.api.host_str().unwrap_or_default();
    match () {
        () if options.is_loopback() => "this machine".to_owned(),
        () if PUBLIC.iter().any(|domain| host.ends_with(domain)) => host.to_owned(),
        () => "other".to_owned(),
    }
}

/// One line for each kind of answer.
pub(super) fn answers(seen: &[(SeenAnswer, u64)]) -> Vec<String> {
    seen.iter()
        .take(MAX_ANSWERS)
        .map(|(answer, times)| format!("{} ({})", words(answer), magnitude(*times)))
        .collect()
}

fn words(answer: &SeenAnswer) -> String {
    let SeenAnswer { status, retry_after, shape, id, exports, .. } = answer;
    let mut words = format!("{status} with {shape}");
    let mut add = |text: &str| {
        words.push_str(", ");
        words.push_str(text);
    };
    if *exports > 0 || *id != "nowhere" {
        add(&format!("id {id}"));
    }
    if *exports > 0 {
        add(if answer.spelled_as_documented { "names as documented" } else { "names in another case" });
        if *exports > 1 {
            add("several exports in one answer");
        }
        if !answer.missing.is_empty() {
            add(&format!("without {}", answer.missing.join(" and ")));
        }
        if answer.undocumented > 0 {
            add(&format!("{} fields that nobody has documented", answer.undocumented));
        }
    }
    if let Some((digits, utc)) = answer.request_time {
        let zone = if utc { "Z" } else { "no Z" };
        add(&format!("requestDateTime with {digits} fraction digits and {zone}"));
    }
    if *retry_after {
        add("Retry-After");
    }
    words
}

/// A status of the service, if it is a plain word.
pub(super) fn status(status: &Status) -> String {
    let word = status.to_string();
    let plain = word.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    if plain && word.len() <= MAX_STATUS_CHARS { word } else { "another status".to_owned() }
}

/// Coarse enough to be nobody's time.
pub(super) fn about(time: Duration) -> String {
    match time.as_secs() {
        secs @ 0..10 => format!("{secs} s"),
        secs @ 10..120 => format!("{} s", secs / 10 * 10),
        secs @ 120..7200 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3600),
    }
}

/// `now` is when the address was given.
pub(super) fn address(signature: &Signature, now: Timestamp) -> Vec<String> {
    let life = |from: Timestamp, to: Timestamp| match Duration::try_from(to.duration_since(from)) {
        Ok(time) => about(time),
        Err(_) => "no time at all".to_owned(),
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".to_owned());
    let mut words = vec![
        format!("store: {}", signature.store),
        format!("file name ends with: {}", signature.extension),
        format!("signed: {}", yes_no(signature.is_signed)),
    ];
    if let Some(ends) = signature.ends {
        words.push(format!("ends {} after it was given", life(now, ends)));
        if let Some(starts) = signature.starts {
            words.push(format!("good for {} from its start", life(starts, ends)));
        }
    }
    words.extend([
        format!("version {}", said(&signature.version)),
        format!("resource {}", said(&signature.resource)),
        format!("permissions {}", said(&signature.permissions)),
        format!("protocols {}", said(&signature.protocols)),
        format!("for some client addresses alone: {}", yes_no(signature.for_some_addresses)),
        format!("by a stored policy: {}", yes_no(signature.by_policy)),
        format!("by a user's key: {}", yes_no(signature.by_user_key)),
    ]);
    words
}

/// The answer that brought the file. `bytes` is how many came.
pub(super) fn download(blob: &SeenBlob, bytes: u64) -> Vec<String> {
    let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "not said".to_owned());
    let offered = |offered: bool| if offered { "offered" } else { "not offered" };
    let length = match blob.length {
        None => "not said",
        Some(length) if length == bytes => "right",
        Some(_) => "wrong",
    };
    vec![
        format!("status {}", blob.status),
        format!("Content-Type {}", said(&blob.media_type)),
        format!("Content-Encoding {}", said(&blob.encoding)),
        format!("Content-Length {length}"),
        format!("Content-MD5 {}", offered(blob.md5)),
        format!("x-ms-content-crc64 {}", offered(blob.crc64)),
        format!("ETag {}", blob.etag),
        format!("Accept-Ranges {}", said(&blob.accept_ranges)),
        format!("file name {}", offered(blob.disposition)),
        format!("bytes ({})", magnitude(bytes)),
    ]
}

/// The answer to a question for the first byte alone.
pub(super) fn range(blob: &SeenBlob) -> Vec<String> {
    let meaning = match (blob.status, blob.length) {
        (206, Some(1)) => "the one byte that was asked for",
        (206, _) => "a part, of another length",
        (200, _) => "the whole: ranges are not known",
        _ => "no bytes",
    };
    vec![format!("status {}", blob.status), meaning.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_microsoft_are_named() {
        let of = |url: &str| {
            let mut options = Options::default();
            options.api.set_host(Some(url)).unwrap();
            api(&options)
        };
        assert_eq!(of("api.partner.microsoft.com"), "api.partner.microsoft.com");
        assert_eq!(of("contoso-microsoft.com"), "other");
        assert_eq!(of("gateway.contoso.example"), "other");
        assert_eq!(of("127.0.0.1"), "this machine");
    }

    #[test]
    fn times_and_statuses_are_coarse() {
        let of = |secs| about(Duration::from_secs(secs));
        assert_eq!([of(3), of(47), of(599), of(90_000)], ["3 s", "40 s", "9 min", "25 h"]);
        assert_eq!(status(&Status::of("In Progress")), "In Progress");
        assert_eq!(status(&Status::of("Packing 3/7")), "another status");
    }
}
