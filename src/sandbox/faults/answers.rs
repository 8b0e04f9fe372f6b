//! Whole answers that stand in for the real one.

use axum::body::Body;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::SignedDuration;

use super::super::clock::Moment;
use super::{FaultKind, Route};

/// Seconds of the client that a throttled request has to wait.
const WAIT_SECS: u32 = 1;

/// A page as proxies and captive portals show it.
const PAGE: &str = "<!DOCTYPE html><html><head><title>Gateway</title></head><body><h1>The gateway says</h1><p>Please try again later, or sign in to the network.</p></body></html>";

/// The answer of a fault that leaves nothing to the routes; `None` is a fault of another sort.
pub fn instead(kind: FaultKind, route: Route, elsewhere: &str, now: Moment) -> Option<Response> {
    use FaultKind as F;
    let response = match kind {
        F::SignInThrottled => {
            let text = "AADSTS90055: There are too many incoming requests.";
            with(sign_in(429, text, 90055), header::RETRY_AFTER, &WAIT_SECS.to_string())
        }
        F::SignInUnavailable => {
            sign_in(503, "AADSTS90033: A transient error has occurred. Please try again.", 90033)
        }
        F::ServerBusy => with(plain(503, route), header::RETRY_AFTER, "0"),
        F::Throttled => with(plain(429, route), header::RETRY_AFTER, &WAIT_SECS.to_string()),
        F::ThrottledDate => {
            // The next full second but one: a date tells no fractions.
            let at = now.client + SignedDuration::from_secs(1 + i64::from(WAIT_SECS));
            let at = at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            with(plain(429, route), header::RETRY_AFTER, &at)
        }
        F::ThrottledSilent => plain(429, route),
        F::Error500 | F::Burst500 | F::DeleteFails => plain(500, route),
        F::Error502 | F::Burst502 => page(502),
        F::Error503 | F::Burst503 => plain(503, route),
        F::Error504 | F::Burst504 => page(504),
        F::PageInstead => page(200),
        F::Redirected => with(page(307), header::LOCATION, elsewhere),
        F::BlobRedirected => with(page(302), header::LOCATION, elsewhere),
        F::BlobGone => blob(404, "BlobNotFound", "The specified blob does not exist."),
        F::BlobRefused => blob(
            403,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Signature not valid in the specified time frame.",
        ),
        F::DeleteRefused => api(409, "preconditionFailed", "The request cannot be deleted in this state."),
        _ => return None,
    };
    Some(response)
}

/// An error in the words of the service that was asked.
fn plain(status: u16, route: Route) -> Response {
    let (code, message) = match status {
        429 => ("tooManyRequests", "Too many requests of the same type."),
        503 => ("serviceNotAvailable", "The server is busy."),
        _ => ("generalException", "Something went wrong on our side."),
    };
    match route {
        Route::Token | Route::DeviceCode => sign_in(status, message, 90033),
        Route::Blob => blob(status, if status == 500 { "InternalError" } else { "ServerBusy" }, message),
        _ => api(status, code, message),
    }
}

fn sign_in(status: u16, text: &str, code: u32) -> Response {
    let body = serde_json::json!({"error": "temporarily_unavailable", "error_description": text, "error_codes": [code]});
    typed(status, "application/json", body.to_string())
}

fn api(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({"error": {"code": code, "message": message, "target": null, "innerError": {"code": status}}});
    typed(status, "application/json", body.to_string())
}

fn blob(status: u16, code: &str, message: &str) -> Response {
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    with(typed(status, "application/xml", body), HeaderName::from_static("x-ms-error-code"), code)
}

fn page(status: u16) -> Response {
    typed(status, "text/html; charset=utf-8", PAGE.to_owned())
}

fn typed(status: u16, kind: &str, body: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with((status, Body::from(body)).into_response(), header::CONTENT_TYPE, kind)
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
    response
}
