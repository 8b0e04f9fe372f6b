//! The API: queue an export, look at it, delete it; and the routes of everything that the server answers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Form, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::build::Format;
use super::exports::{Entry, Progress, Request};
use super::faults::{FaultKind, is_set};
use super::filter::Filter;
use super::server::Service;
use super::tokens::{self, Caller, Version};
use super::{API_PREFIX, Dataset, blobs};

impl Service {
    /// What every call of the API passes through first.
    fn admit(&self, dataset: &str, headers: &HeaderMap) -> Result<(Dataset, Caller), Failure> {
        let dataset = Dataset::parse(dataset).ok_or(Failure::new(
            StatusCode::NOT_FOUND,
            "itemNotFound",
            "Resource not found.",
        ))?;
        let faults = &self.options.faults;
        if is_set(faults, FaultKind::ServerBusy, dataset)
            && self.calls.fetch_add(1, Ordering::Relaxed) % 3 == 2
        {
            return Err(Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "serviceNotAvailable",
                "The server is busy.",
            ));
        }
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some(caller) = header.and_then(|header| tokens::caller(&self.key, header, self.now())) else {
            return Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "Invalid Authorization header",
            ));
        };
        if is_set(faults, FaultKind::MissingRole, dataset) {
            let message = "The caller does not have a role that may read payouts.";
            return Err(Failure::new(StatusCode::FORBIDDEN, "accessDenied", message));
        }
        Ok((dataset, caller))
    }

    /// The reply about one request, with the address of its blob when it is finished.
    fn reply(&self, status: StatusCode, entry: &Entry) -> Response {
        let now = self.now();
        let request = &entry.request;
        let progress = entry.progress(now, self.options.delay_millis);
        let blob = match (&request.built, progress) {
            (Some(built), Progress::Completed) => {
                let first = self.exports.count_address(request.id) == 0;
                let expired =
                    first && is_set(&self.options.faults, FaultKind::ExpiredSignature, request.dataset);
                let lifetime = if expired { -1 } else { i64::from(self.options.sas_lifetime_secs) };
                blobs::address(&self.key, &self.base, request, built, now, lifetime)
            }
            _ => String::new(),
        };
        let value = Export {
            request_id: request.id.to_string(),
            request_date_time: seven_digits(request.requested_at),
            request_path: format!("{API_PREFIX}/payouts/{}", request.dataset.segment()),
            request_query_string: request.filter.clone().unwrap_or_default(),
            blob_location: blob,
            status: progress.label(),
        };
        (status, Json(Envelope { value: [value], next_link: None, total_count: 1 })).into_response()
    }
}

/// The reply of the API.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    value: [Export; 1],
    next_link: Option<String>,
    total_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    request_id: String,
    request_date_time: String,
    request_path: String,
    request_query_string: String,
    blob_location: String,
    status: &'static str,
}

/// `2023-05-25T21:20:46.3727561Z`: the service tells time in ticks of 100 ns.
fn seven_digits(at: Timestamp) -> String {
    format!("{}.{:07}Z", at.strftime("%Y-%m-%dT%H:%M:%S"), at.subsec_nanosecond().max(0) / 100)
}

/// An error of the API with its generic body.
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Failure { status, code, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "invalidRequest", message)
    }

    fn disk(cause: &io::Error) -> Self {
        let message = format!("The state folder cannot be written: {cause}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "generalException", message)
    }

    fn unknown_request() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "itemNotFound", "The request was not found.")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error": {
            "code": self.code, "message": self.message, "target": null, "innerError": {"code": self.status.as_u16()},
        }});
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("0"));
        }
        response
    }
}

pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .route("/v1.0/payouts/{dataset}", post(create))
        .route("/v1.0/payouts/{dataset}/{id}", get(read).delete(remove))
        .route("/blobs/{name}", get(blob))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "itemNotFound", "Resource not found."))
        .with_state(service)
}

type Shared = State<Arc<Service>>;
type TokenForm = Form<HashMap<String, String>>;

async fn token_v1(State(service): Shared, Path(tenant): Path<String>, Form(form): TokenForm) -> Response {
    let lifetime = service.options.token_lifetime_secs;
    tokens::answer(&service.key, Version::V1, &tenant, &form, lifetime, service.now())
}

async fn token_v2(State(service): Shared, Path(tenant): Path<String>, Form(form): TokenForm) -> Response {
    let lifetime = service.options.token_lifetime_secs;
    tokens::answer(&service.key, Version::V2, &tenant, &form, lifetime, service.now())
}

async fn device_code(State(service): Shared, Path(tenant): Path<String>, Form(form): TokenForm) -> Response {
    tokens::device_code(&service.key, &service.base, &tenant, &form, service.now())
}

async fn create(
    State(service): Shared,
    Path(dataset): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    traced(&headers, queue(&service, &dataset, &query.unwrap_or_default(), &headers))
}

async fn read(
    State(service): Shared,
    Path((dataset, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let found = find(&service, &dataset, &id, &headers);
    traced(&headers, found.map(|entry| service.reply(StatusCode::OK, &entry)))
}

async fn remove(
    State(service): Shared,
    Path((dataset, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let removed = find(&service, &dataset, &id, &headers).and_then(|entry| {
        if entry.progress(service.now(), service.options.delay_millis) == Progress::Processing {
            let message = "The request is being processed and cannot be deleted.";
            return Err(Failure::new(StatusCode::CONFLICT, "preconditionFailed", message));
        }
        service.exports.delete(entry.request.id).map_err(|cause| Failure::disk(&cause))?;
        Ok(StatusCode::OK.into_response())
    });
    traced(&headers, removed)
}

async fn blob(
    State(service): Shared,
    method: Method,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    blobs::answer(&service.exports, &service.key, &method, &name, &query, &headers, service.now()).await
}

fn find(service: &Service, dataset: &str, id: &str, headers: &HeaderMap) -> Result<Entry, Failure> {
    let (dataset, _) = service.admit(dataset, headers)?;
    let id = Uuid::parse_str(id).map_err(|_| Failure::unknown_request())?;
    service.exports.find(dataset, id).ok_or_else(Failure::unknown_request)
}

fn queue(
    service: &Arc<Service>,
    dataset: &str,
    query: &str,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let (dataset, caller) = service.admit(dataset, headers)?;
    if !headers.contains_key(header::CONTENT_LENGTH) {
        let message = "The request must have a Content-Length, also when it has no body.";
        return Err(Failure::new(StatusCode::LENGTH_REQUIRED, "invalidRequest", message));
    }
    let parameter = |wanted: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        let found =
            pairs.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.into_owned());
        found.filter(|value| !value.trim().is_empty())
    };
    let format = parameter("fileformat").unwrap_or_else(|| "csv".to_owned());
    let format = Format::parse(&format)
        .ok_or_else(|| Failure::invalid(format!("The fileformat '{format}' is not known: csv or tsv.")))?;
    let filter = parameter("$filter");
    if let Some(text) = &filter {
        Filter::parse(text, dataset).map_err(|why| Failure::invalid(format!("Invalid $filter: {why}.")))?;
    }
    let now = service.now();
    let as_of = service.options.as_of.unwrap_or_else(|| TimeZone::UTC.to_datetime(now).date());
    let mut request = Request::new(dataset, format, now, as_of, caller);
    request.filter = filter;
    request.ms_request_id = headers.get("ms-requestid").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let (entry, new) = service.exports.create(request).map_err(|cause| Failure::disk(&cause))?;
    if new {
        service.build(entry.request.clone());
    }
    Ok(service.reply(StatusCode::ACCEPTED, &entry))
}

/// Gives the ids of a call back, so that both sides can find it in their logs.
fn traced(headers: &HeaderMap, result: Result<Response, Failure>) -> Response {
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    for name in ["ms-correlationid", "ms-requestid"] {
        if let Some(value) = headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    if let Ok(trace) = HeaderValue::from_str(&Uuid::new_v4().to_string()) {
        response.headers_mut().insert("request-id", trace);
    }
    response
}
