//! The API: queue an export, look at it, delete it; and the routes of everything that the server answers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::extract::{Form, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::build::{Built, Format};
use super::exports::{Entry, Progress, Request};
use super::faults::FaultKind;
use super::faults::injector::{Hits, Queued, inject};
use super::filter::Filter;
use super::server::Service;
use super::tokens::{self, Caller, Version};
use super::{API_PREFIX, Dataset, blobs};

/// Looks at a Completed export before its location comes, when that is late.
const LATE_LOOKS: u32 = 3;

/// How long an answer waits for a build, well below what clients wait for an answer, and how often it looks.
const BUILD_PATIENCE: Duration = Duration::from_secs(10);
const BUILD_LOOK: Duration = Duration::from_millis(5);

impl Service {
    /// What every call of the API passes through first.
    fn admit(&self, dataset: &str, headers: &HeaderMap, hits: &Hits) -> Result<(Dataset, Caller), Failure> {
        let dataset = Dataset::parse(dataset).ok_or(Failure::new(
            StatusCode::NOT_FOUND,
            "itemNotFound",
            "Resource not found.",
        ))?;
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let caller = header.and_then(|header| tokens::caller(&self.key, header, self.now()));
        let Some(caller) = caller.filter(|_| !hits.has(FaultKind::TokenRejected)) else {
            return Err(Failure::new(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "Invalid Authorization header",
            ));
        };
        if caller == tokens::APPLICATION && hits.has(FaultKind::UserMissing) {
            return Err(Failure::invalid("Authorization header token missing user information"));
        }
        if hits.any_of(&[FaultKind::MissingRole, FaultKind::LostRole]).is_some() {
            let message = "The caller does not have a role that may read payouts.";
            return Err(Failure::new(StatusCode::FORBIDDEN, "accessDenied", message));
        }
        Ok((dataset, caller))
    }

    /// The reply about one request, with the address of its blob when it is finished.
    fn reply(&self, status: StatusCode, entry: &Entry, hits: &Hits) -> Response {
        let now = self.now();
        let request = &entry.request;
        let progress = entry.progress(now, &self.options);
        let finished = matches!(progress, Progress::Completed | Progress::Failed);
        let unknown =
            hits.has_chosen(FaultKind::UnknownStatus) || (!finished && hits.has(FaultKind::UnknownStatus));
        let blob = match (&request.built, progress) {
            (Some(built), Progress::Completed) if !unknown && !self.hides_location(entry) => {
                self.address(request, built, now, hits)
            }
            _ => String::new(),
        };
        let value = Export {
            request_id: request.id.to_string(),
            request_date_time: seven_digits(self.clock.client_time(request.requested_at)),
            request_path: format!("{API_PREFIX}/payouts/{}", request.dataset.segment()),
            request_query_string: request.filter.clone().unwrap_or_default(),
            blob_location: blob,
            status: if unknown { "Validating" } else { progress.label() },
        };
        let body = Json(Envelope { value: [value], next_link: None, total_count: 1 });
        (status, Extension(Queued(request.id)), body).into_response()
    }

    /// Holds the answer about an export whose time has come until its blob is built, so that what a client sees depends
    /// on the clock and not on the machine.
    async fn catch_up(&self, entry: &mut Entry) {
        let patience = Instant::now() + BUILD_PATIENCE;
        while entry.is_overdue(self.now(), &self.options)
            && Instant::now() < patience
            && !self.stopping.load(Ordering::Relaxed)
        {
            tokio::time::sleep(BUILD_LOOK).await;
            match self.exports.find(entry.request.dataset, entry.request.id) {
                Some(now) => *entry = now,
                // It was deleted meanwhile.
                None => return,
            }
        }
    }

    /// Whether a Completed export does not tell its location now.
    fn hides_location(&self, entry: &Entry) -> bool {
        let looks = self.exports.count_look(entry.request.id);
        entry.has(&self.options, FaultKind::LocationNever)
            || (looks < LATE_LOOKS && entry.has(&self.options, FaultKind::LocationLate))
    }

    fn address(&self, request: &Request, built: &Built, now: Timestamp, hits: &Hits) -> String {
        let first = self.exports.count_address(request.id) == 0;
        let expired =
            hits.has_chosen(FaultKind::ExpiredSignature) || (first && hits.has(FaultKind::ExpiredSignature));
        let lifetime = if expired { -1 } else { i64::from(self.options.sas_lifetime_secs) };
        let once = hits.has(FaultKind::AddressOnce);
        let mut url = blobs::address(&self.key, &self.base, request, built, now, lifetime, once);
        if hits.has(FaultKind::ForeignHost) {
            url = url.replacen(self.base.as_str(), "https://payouts.files.example/", 1);
        }
        if hits.has(FaultKind::PlainHttp) {
            // Two letters are too few for the name of a storage account: nobody can own it.
            url = url.replacen(self.base.as_str(), "http://pl.blob.core.windows.net/", 1);
        }
        url
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
        (self.status, Json(body)).into_response()
    }
}

pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
        .route("/{tenant}/oauth2/v2.0/devicecode", post(device_code))
        .route("/devicelogin", get(async || Html(tokens::DEVICE_PAGE)))
        .route("/v1.0/payouts/{dataset}", post(create))
        .route("/v1.0/payouts/{dataset}/{id}", get(read).delete(remove))
        .route("/blobs/{name}", get(blob))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "itemNotFound", "Resource not found."))
        .layer(middleware::from_fn_with_state(service.clone(), inject))
        // Below the layer, so that looking at the log is no request in it.
        .route("/_sandbox/requests", get(async |State(service): Shared| Json(service.log.records())))
        .with_state(service)
}

type Shared = State<Arc<Service>>;
type TokenForm = Form<HashMap<String, String>>;

/// Faults that hit the request; the middleware puts them there.
type Hitting = Extension<Hits>;

async fn token_v1(
    State(service): Shared,
    Path(tenant): Path<String>,
    hits: Hitting,
    Form(form): TokenForm,
) -> Response {
    tokens::answer(&service, Version::V1, &tenant, &form, &hits)
}

async fn token_v2(
    State(service): Shared,
    Path(tenant): Path<String>,
    hits: Hitting,
    Form(form): TokenForm,
) -> Response {
    tokens::answer(&service, Version::V2, &tenant, &form, &hits)
}

async fn device_code(State(service): Shared, Path(tenant): Path<String>, Form(form): TokenForm) -> Response {
    tokens::device_code(&service, &tenant, &form)
}

async fn create(
    State(service): Shared,
    Path(dataset): Path<String>,
    RawQuery(query): RawQuery,
    hits: Hitting,
    headers: HeaderMap,
) -> Response {
    traced(&headers, queue(&service, &dataset, &query.unwrap_or_default(), &headers, &hits))
}

async fn read(
    State(service): Shared,
    Path((dataset, id)): Path<(String, String)>,
    hits: Hitting,
    headers: HeaderMap,
) -> Response {
    let mut found = find(&service, &dataset, &id, &headers, &hits);
    if let Ok(entry) = &mut found {
        service.catch_up(entry).await;
    }
    let found = found.and_then(|entry| {
        if hits.has(FaultKind::RequestVanished) {
            service.exports.delete(entry.request.id).map_err(|cause| Failure::disk(&cause))?;
            return Err(Failure::unknown_request());
        }
        Ok(service.reply(StatusCode::OK, &entry, &hits))
    });
    traced(&headers, found)
}

async fn remove(
    State(service): Shared,
    Path((dataset, id)): Path<(String, String)>,
    hits: Hitting,
    headers: HeaderMap,
) -> Response {
    let removed = find(&service, &dataset, &id, &headers, &hits).and_then(|entry| {
        if entry.progress(service.now(), &service.options) == Progress::Processing {
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
    hits: Hitting,
    headers: HeaderMap,
) -> Response {
    blobs::answer(&service, &method, &name, &query.unwrap_or_default(), &headers, &hits).await
}

fn find(
    service: &Service,
    dataset: &str,
    id: &str,
    headers: &HeaderMap,
    hits: &Hits,
) -> Result<Entry, Failure> {
    let (dataset, _) = service.admit(dataset, headers, hits)?;
    let id = Uuid::parse_str(id).map_err(|_| Failure::unknown_request())?;
    let entry = service.exports.find(dataset, id).ok_or_else(Failure::unknown_request)?;
    service.exports.afflict(entry, &hits.kept(false)).map_err(|cause| Failure::disk(&cause))
}

fn queue(
    service: &Arc<Service>,
    dataset: &str,
    query: &str,
    headers: &HeaderMap,
    hits: &Hits,
) -> Result<Response, Failure> {
    let (dataset, caller) = service.admit(dataset, headers, hits)?;
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
    let repeats = !hits.has(FaultKind::RepeatsNotHonoured);
    let created = service.exports.create(request, repeats, &service.options.delays_millis);
    let (entry, new) = created.map_err(|cause| Failure::disk(&cause))?;
    let entry = service.exports.afflict(entry, &hits.kept(new)).map_err(|cause| Failure::disk(&cause))?;
    if new {
        service.build(entry.request.clone());
    }
    Ok(service.reply(StatusCode::ACCEPTED, &entry, hits))
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
