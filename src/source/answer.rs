//! The shapes in which the service answers: `value` as an array or an object, in either case, a bare array, a bare
//! object, or no body at all and the id at the end of a `Location` header.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use url::Url;

use super::call::Answer;
use super::export::{BlobLocation, Export, Status};
use super::http::without_mark;
use crate::error::{Error, Kind, Result};
use crate::model::RequestId;

/// A GUID has 36 characters; the room is for what nobody has seen yet.
const MAX_ID_CHARS: usize = 100;

/// The export of an answer to a POST.
///
/// # Errors
/// `Contract` when there is no request id: the export may exist and cannot be found again.
pub(super) fn created(answer: &Answer) -> Result<Export> {
    let json = parse(answer)?;
    let fields = json.as_ref().and_then(|json| find(json, None));
    if let Some(fields) = fields
        && let Some(id) = request_id(fields)
    {
        return export(fields, valid_id(&id)?, Status::Queued);
    }
    if let Some(id) = answer.location.as_deref().and_then(last_segment) {
        return Ok(Export {
            request_id: valid_id(&id)?,
            status: Status::Queued,
            blob: None,
            requested_at: None,
        });
    }
    Err(Error::new(Kind::Contract, "the service accepted the export but gave no request id")
        .with("status", answer.status.as_u16())
        .hint("Look at the page 'Export data' in Partner Center: if the export stands there, download it by hand or run again."))
}

/// The export of an answer to a GET; `None` when the list in it is empty.
///
/// # Errors
/// `Contract` when the answer is not JSON, or is about another export.
pub(super) fn about(answer: &Answer, asked: &RequestId) -> Result<Option<Export>> {
    let Some(json) = parse(answer)? else {
        return Err(unusable("the service answered without a body").with("request", asked));
    };
    let Some(fields) = find(&json, Some(asked)) else {
        return Ok(None);
    };
    match request_id(fields) {
        Some(id) if !id.eq_ignore_ascii_case(&asked.0) => {
            Err(unusable("the service answered about another export")
                .with("request", asked)
                .with("answered", valid_id(&id)?))
        }
        _ => export(fields, asked.clone(), Status::Other("missing".to_owned())).map(Some),
    }
}

fn unusable(what: &str) -> Error {
    Error::new(Kind::Contract, what)
        .hint("Check source.api.api; if it is right, report the answer's shape as an issue.")
}

/// The body as JSON; `None` when there is none.
fn parse(answer: &Answer) -> Result<Option<Value>> {
    let body = without_mark(&answer.body);
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    // The cause is not attached: a parser may quote what it read.
    serde_json::from_slice(body).map(Some).map_err(|cause| {
        unusable("the service answered with something that is not JSON")
            .with("status", answer.status.as_u16())
            .with("line", cause.line())
            .with("column", cause.column())
    })
}

/// The object that describes an export: the one with the id that was asked for, else the first one with an id,
/// else a bare object with a status. serde_json itself bounds the depth.
fn find<'a>(json: &'a Value, asked: Option<&RequestId>) -> Option<&'a Map<String, Value>> {
    let mut all = Vec::new();
    collect(json, &mut all);
    let asked = all.iter().find(|fields| {
        let id = request_id(fields);
        asked.is_some_and(|asked| id.is_some_and(|id| id.eq_ignore_ascii_case(&asked.0)))
    });
    let identified = || all.iter().find(|fields| request_id(fields).is_some());
    asked.or_else(identified).or_else(|| all.first()).copied()
}

/// Every object that has an id or a status, outermost first.
pub(super) fn collect<'a>(json: &'a Value, into: &mut Vec<&'a Map<String, Value>>) {
    match json {
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(fields) => {
            if request_id(fields).is_some() || field(fields, "status").is_some_and(Value::is_string) {
                into.push(fields);
            } else {
                fields.values().for_each(|inner| collect(inner, into));
            }
        }
        _ => {}
    }
}

fn export(fields: &Map<String, Value>, request_id: RequestId, unsaid: Status) -> Result<Export> {
    let text =
        |name| field(fields, name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let blob = match text("blobLocation") {
        None => None,
        // The text itself is not repeated: it carries a signature.
        Some(location) => Some(BlobLocation::new(Url::parse(location).map_err(|why| {
            unusable("the service gave an address of the export that is not one")
                .with("request", &request_id)
                .with("why", why)
        })?)),
    };
    let status = text("status").map_or(unsaid, Status::of);
    Ok(Export { status, blob, requested_at: text("requestDateTime").and_then(instant), request_id })
}

pub(super) fn request_id(fields: &Map<String, Value>) -> Option<String> {
    match field(fields, "requestId")? {
        Value::String(id) if !id.trim().is_empty() => Some(id.trim().to_owned()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// A field, whatever its casing.
pub(super) fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields
        .get(name)
        .or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Seven fractional digits and a `Z` in every sample; without a zone it is UTC all the same.
fn instant(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<Timestamp>().ok();
    zoned.or_else(|| TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok())
}

pub(super) fn last_segment(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next()?.trim_end_matches('/');
    // `payments('93c2...')` is how OData writes a key.
    let last = path.rsplit('/').next()?;
    let inner = last.split_once('(').map_or(last, |(_, key)| key).trim_matches(['(', ')', '\'']);
    // A GUID: a name such as `transactionhistory` is not an id.
    uuid::Uuid::try_parse(inner).ok().map(|_| inner.to_owned())
}

/// Whether a text is safe as one part of an address and of a file name.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !text.is_empty() && text.len() <= MAX_ID_CHARS && text.bytes().all(plain)
}

fn valid_id(id: &str) -> Result<RequestId> {
    if is_plain(id) {
        return Ok(RequestId(id.to_owned()));
    }
    Err(unusable(
        "the service gave a request id that cannot be used: only letters, digits, '-' and '_' are safe",
    ))
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;

    const ID: &str = "93c2b3cf-c6d8-4e7e-ade1-007768a6eba4";

    fn answer(body: &str, location: Option<&str>) -> Answer {
        Answer {
            status: StatusCode::ACCEPTED,
            location: location.map(str::to_owned),
            words: None,
            challenge: None,
            date: None,
            body: body.replace("ID", ID).into_bytes(),
        }
    }

    #[test]
    fn the_documented_answer_is_read() {
        let body = r#"{"value":[{"requestId":"ID","requestDateTime":"2023-05-25T21:20:46.3727561Z",
            "requestPath":"/v1.0/payouts/transactionhistory","requestQueryString":"x","blobLocation":"",
            "status":"Queued"}],"nextLink":null,"totalCount":1}"#;
        let export = created(&answer(body, None)).unwrap();
        assert_eq!(export.request_id.0, ID);
        assert_eq!(export.status, Status::Queued);
        assert_eq!(export.blob, None);
        assert_eq!(export.requested_at.unwrap().to_string(), "2023-05-25T21:20:46.3727561Z");
    }

    #[test]
    fn every_shape_gives_the_same_export() {
        for body in [
            r#"{"value":[{"requestId":"ID","status":"Completed"}]}"#,
            r#"{"Value":[{"RequestId":"ID","Status":"completed"}]}"#,
            r#"{"value":{"requestId":"ID","status":"COMPLETED"}}"#,
            r#"[{"requestid":"ID","status":"Completed"}]"#,
            r#"{"requestID":"ID","status":"Completed"}"#,
            "\u{feff}{\"data\":{\"export\":{\"RequestID\":\"ID\",\"status\":\"Completed\"}}}",
            r#"{"value":[{"requestId":"another","status":"Failed"},{"requestId":"ID","status":"Completed"}]}"#,
        ] {
            let asked = RequestId(ID.to_uppercase());
            let export = about(&answer(body, None), &asked).unwrap().unwrap();
            assert_eq!(export.status, Status::Completed, "{body}");
            assert_eq!(export.request_id, asked);
        }
    }

    #[test]
    fn the_id_may_stand_in_the_location_alone() {
        for location in [
            "/v1.0/payouts/payments/ID",
            "https://h/v1.0/payouts/payments/ID/?x=1",
            "https://h/payments('ID')",
        ] {
            let location = location.replace("ID", ID);
            let export = created(&answer("", Some(&location))).unwrap();
            assert_eq!(export.request_id.0, ID, "{location}");
        }
        for (body, location) in
            [("", None), ("{}", Some("/v1.0/payouts/payments")), (r#"{"value":[]}"#, None)]
        {
            assert_eq!(created(&answer(body, location)).unwrap_err().kind(), Kind::Contract);
        }
    }

    #[test]
    fn answers_that_cannot_be_trusted_are_refused() {
        let asked = RequestId(ID.to_owned());
        for body in [
            r#"{"requestId":"00000000-0000-0000-0000-000000000000","status":"Completed"}"#,
            r#"{"requestId":"ID","status":"Completed","blobLocation":"not an address?sig=CANARY"}"#,
            "<html>",
            "",
        ] {
            let error = about(&answer(body, None), &asked).unwrap_err();
            assert_eq!(error.kind(), Kind::Contract);
            assert!(!format!("{error:?}").contains("CANARY"), "{error:?}");
        }
        for id in ["../../etc", "a/b", "..", "a b", &"x".repeat(101)] {
            assert!(created(&answer(&format!(r#"{{"requestId":"{id}"}}"#), None)).is_err(), "{id}");
        }
        assert_eq!(about(&answer(r#"{"value":[],"totalCount":0}"#, None), &asked).unwrap(), None);
    }

    #[test]
    fn a_status_that_is_not_said_is_not_guessed() {
        let export = about(
            &answer(r#"{"requestId":"ID","requestDateTime":"2023-05-25T21:20:46"}"#, None),
            &RequestId(ID.to_owned()),
        );
        let export = export.unwrap().unwrap();
        assert_eq!(export.status, Status::Other("missing".to_owned()));
        assert_eq!(export.requested_at.unwrap().to_string(), "2023-05-25T21:20:46Z");
    }
}
