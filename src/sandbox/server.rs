//! The server: one listener on the loopback interface with sign-in, API and blob store behind it.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Form, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;

use crate::error::{Error, Kind, Result};

use super::build::{Format, Job};
use super::exports::{Entry, Exports, Progress, Request};
use super::faults::{FaultKind, is_set};
use super::filter::Filter;
use super::tokens::{self, Caller, Key, Version};
use super::{API_PREFIX, Dataset, Options, blobs};

/// Exports built at once; the others wait.
const BUILDERS: usize = 2;

/// How long a stop waits for answers under way.
const STOP_WAIT: Duration = Duration::from_secs(2);

/// A running sandbox. It stops when this is dropped.
pub struct Running {
    url: Url,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// What the handlers share.
struct Service {
    options: Options,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    base: Url,
    key: Key,
    exports: Exports,
    calls: AtomicU64,
    stopping: AtomicBool,
    builders: Semaphore,
    /// Deleted when the last handler and the last build are done.
    _temporary: Option<TempDir>,
}

/// Starts a sandbox on `127.0.0.1:port`; port 0 takes a free one. `now` is the server's only clock.
///
/// Requests of an earlier start with the same `state_dir` go on.
///
/// # Errors
/// [`Kind::Destination`] when the state folder cannot be used, [`Kind::Config`] when the port is taken or the state
/// folder is of another version.
pub async fn start(
    options: &Options,
    port: u16,
    now: impl Fn() -> Timestamp + Send + Sync + 'static,
) -> Result<Running> {
    let (dir, temporary) = match &options.state_dir {
        Some(dir) => (dir.clone(), None),
        None => {
            let temporary = TempDir::with_prefix("payoutlake-sandbox-").map_err(|cause| {
                Error::new(Kind::Destination, "cannot make a temporary folder for the sandbox")
                    .hint("Name a folder as `state_dir`.")
                    .caused_by(cause)
            })?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let (exports, key) = Exports::open(&dir)?;
    let (listener, base) = listen(port).await?;
    let service = Arc::new(Service {
        options: options.clone(),
        now: Box::new(now),
        base: base.clone(),
        key,
        exports,
        calls: AtomicU64::new(0),
        stopping: AtomicBool::new(false),
        builders: Semaphore::new(BUILDERS),
        _temporary: temporary,
    });
    for request in service.exports.unbuilt() {
        service.build(request);
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(service.clone())).with_graceful_shutdown(async {
        // Also when the sender is dropped.
        let _ = stopped.await;
    });
    let task = tokio::spawn(async {
        // The listener is on loopback and accepts again after any error; there is nobody to tell.
        let _ = server.await;
    });
    Ok(Running { url: base, service, stop: Some(stop), task })
}

async fn listen(port: u16) -> Result<(TcpListener, Url)> {
    let fail = |cause: io::Error| {
        Error::new(Kind::Config, "cannot listen on the loopback interface")
            .with("port", port)
            .hint("Choose another port, or 0 for a free one.")
            .caused_by(cause)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    let url = Url::parse(&format!("http://{address}/"))
        .map_err(|cause| Error::new(Kind::Bug, "the address of the sandbox is no URL").caused_by(cause))?;
    Ok((listener, url))
}

impl Running {
    /// `http://127.0.0.1:PORT/`: the authority of sign-in, the host of the API and of the blobs.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Stops listening, and waits a moment for answers under way.
    pub async fn stop(mut self) {
        self.signal();
        // After the wait the drop below ends what is left.
        let _ = tokio::time::timeout(STOP_WAIT, &mut self.task).await;
    }

    fn signal(&mut self) {
        self.service.stopping.store(true, Ordering::Relaxed);
        if let Some(stop) = self.stop.take() {
            // The server may have ended already.
            let _ = stop.send(());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal();
        self.task.abort();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Service {
    fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Builds the blob of a request in the background.
    fn build(self: &Arc<Self>, request: Request) {
        let service = self.clone();
        tokio::spawn(async move {
            let Ok(_permit) = service.builders.acquire().await else {
                return;
            };
            let builder = service.clone();
            // An outcome of a build that panicked is Failed, which `finish` is then not told: it stays Processing.
            let _ = tokio::task::spawn_blocking(move || builder.build_now(&request)).await;
        });
    }

    fn build_now(&self, request: &Request) {
        let parsed = request.filter.as_deref().map(|text| Filter::parse(text, request.dataset));
        let outcome = match parsed.transpose() {
            _ if is_set(&self.options.faults, FaultKind::ExportFailed, request.dataset) => {
                Err(io::Error::other("made to fail"))
            }
            Err(message) => Err(io::Error::other(message)),
            Ok(filter) => {
                let job = Job {
                    corpus: Options { as_of: Some(request.as_of), ..self.options.clone() }
                        .corpus(request.as_of),
                    dataset: request.dataset,
                    filter,
                    format: request.format,
                    zip_above_rows: self.options.zip_above_rows,
                    faults: self.options.faults.clone(),
                };
                job.build(&self.exports.blob(request.id), &self.stopping)
            }
        };
        if !self.stopping.load(Ordering::Relaxed) {
            self.exports.finish(request.id, outcome);
        }
    }

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

fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/{tenant}/oauth2/token", post(token_v1))
        .route("/{tenant}/oauth2/v2.0/token", post(token_v2))
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
