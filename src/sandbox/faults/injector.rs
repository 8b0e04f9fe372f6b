//! The middleware in front of every route: it counts requests, chooses the faults that hit each, answers in place of
//! the routes, bends or cuts their answers, and keeps the log.
//!
//! Faults that only a handler can carry out (the life of an export, tokens, the way of a blob) go to it as [`Hits`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::super::log::Open;
use super::super::server::Service;
use super::super::{API_PREFIX, Dataset};
use super::wire::{self, Ending, Wire};
use super::{Fault, FaultKind, Route, answers, shapes};

/// Answers that are bent are small; a blob is never gathered.
const ANSWER_BYTES: usize = 1 << 20;

/// How often a request that hangs looks whether the server stops.
const LOOK: Duration = Duration::from_millis(100);

/// The faults that are set, each with a count of the requests within its reach.
pub struct Injector(Vec<(Fault, AtomicU64)>);

/// The faults that hit one request.
#[derive(Clone, Default)]
pub struct Hits(Arc<Vec<Hit>>);

struct Hit {
    kind: FaultKind,
    /// Whether the request was named by its position.
    chosen: bool,
    /// Whether the fault could be carried out.
    used: AtomicBool,
}

/// The export that an answer is about, for the log.
#[derive(Clone, Copy)]
pub struct Queued(pub Uuid);

/// What a request asks for, as far as faults and the log want to know.
struct Seen {
    method: Method,
    route: Route,
    dataset: Option<Dataset>,
    export: Option<Uuid>,
}

impl Injector {
    #[must_use]
    pub fn new(faults: &[Fault]) -> Self {
        Injector(faults.iter().map(|fault| (*fault, AtomicU64::new(0))).collect())
    }

    fn choose(&self, seen: &Seen, number: u64) -> Hits {
        let mut hits = Vec::new();
        for (fault, count) in &self.0 {
            let reach = fault.kind.known().reach;
            // Without a position, what stays with an export is looked up where its life is told.
            let looked_up = reach.kept && fault.at.is_none() && seen.route != Route::Create;
            let within = reach.routes.contains(&seen.route)
                && fault.only.is_none_or(|only| seen.dataset == Some(only));
            if looked_up || !within {
                continue;
            }
            let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
            if fault.hits(number, nth) {
                let (kind, chosen) = (fault.kind, fault.at.is_some());
                hits.push(Hit { kind, chosen, used: AtomicBool::new(false) });
            }
        }
        Hits(Arc::new(hits))
    }
}

impl Hits {
    /// Whether a fault hits; asked where it is carried out.
    #[must_use]
    pub fn has(&self, kind: FaultKind) -> bool {
        self.first(|hit| hit.kind == kind).is_some()
    }

    /// The same, for one that was put on this request by its position.
    #[must_use]
    pub fn has_chosen(&self, kind: FaultKind) -> bool {
        self.first(|hit| hit.kind == kind && hit.chosen).is_some()
    }

    /// The first of some faults that hits.
    #[must_use]
    pub fn any_of(&self, kinds: &[FaultKind]) -> Option<FaultKind> {
        self.first(|hit| kinds.contains(&hit.kind))
    }

    /// Faults that stay with the export from now on; `new` is one that was queued just now.
    #[must_use]
    pub fn kept(&self, new: bool) -> Vec<Fault> {
        let fits = |hit: &&Hit| {
            let reach = hit.kind.known().reach;
            reach.kept && (new || reach.routes.contains(&Route::Status))
        };
        let mut kept = Vec::new();
        for hit in self.0.iter().filter(fits) {
            hit.used.store(true, Ordering::Relaxed);
            if hit.chosen {
                kept.push(Fault::everywhere(hit.kind));
            }
        }
        kept
    }

    fn first(&self, wanted: impl Fn(&Hit) -> bool) -> Option<FaultKind> {
        let hit = self.0.iter().find(|hit| wanted(hit))?;
        hit.used.store(true, Ordering::Relaxed);
        Some(hit.kind)
    }

    /// Names of the faults that were carried out.
    fn used(&self) -> Vec<&'static str> {
        let used = self.0.iter().filter(|hit| hit.used.load(Ordering::Relaxed));
        used.map(|hit| hit.kind.known().name).collect()
    }
}

impl Seen {
    fn of(service: &Service, request: &Request) -> Self {
        let path = request.uri().path();
        let method = request.method().clone();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let (mut dataset, mut export) = (None, None);
        let route = match (&method, parts.as_slice()) {
            (_, [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"]) => Route::Token,
            (_, [_, "oauth2", "v2.0", "devicecode"]) => Route::DeviceCode,
            (_, ["devicelogin"]) => Route::Page,
            (_, ["blobs", name]) => {
                export = name.split('.').next().and_then(|id| Uuid::parse_str(id).ok());
                dataset = export.and_then(|id| service.exports.dataset(id));
                Route::Blob
            }
            (_, [_, "payouts", name, id @ ..]) if path.starts_with(API_PREFIX) => {
                dataset = Dataset::parse(name);
                export = id.first().and_then(|id| Uuid::parse_str(id).ok());
                match method {
                    Method::POST => Route::Create,
                    Method::DELETE => Route::Delete,
                    _ => Route::Status,
                }
            }
            _ => Route::Other,
        };
        Seen { method, route, dataset, export }
    }
}

/// The middleware.
pub async fn inject(
    State(service): State<Arc<Service>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    mut request: Request,
    next: Next,
) -> Response {
    let now = service.moment();
    let seen = Seen::of(&service, &request);
    let mut open = service.log.arrived(now.own, seen.method.as_str(), seen.route, seen.dataset, seen.export);
    let hits = service.injector.choose(&seen, open.number);
    if hits.has(FaultKind::Hang) {
        open.close(None, None, hits.used());
        forever(&service).await;
        return lost(&wire);
    }
    if hits.has(FaultKind::Reset) {
        open.close(None, None, hits.used());
        return lost(&wire);
    }
    let elsewhere = service.elsewhere();
    for hit in hits.0.iter() {
        if let Some(response) = answers::instead(hit.kind, seen.route, &elsewhere, now) {
            hit.used.store(true, Ordering::Relaxed);
            let response = cut(&hits, &wire, response).await;
            open.close(Some(response.status().as_u16()), None, hits.used());
            return response;
        }
    }
    request.extensions_mut().insert(hits.clone());
    let response = next.run(request).await;
    finished(&service, &seen, &hits, &wire, response, &mut open).await
}

/// Bends and cuts the answer of a route.
async fn finished(
    service: &Service,
    seen: &Seen,
    hits: &Hits,
    wire: &Wire,
    response: Response,
    open: &mut Open,
) -> Response {
    let queued = response.extensions().get::<Queued>().map(|queued| queued.0);
    if hits.has(FaultKind::AnswerLost) {
        open.close(None, queued, hits.used());
        return lost(wire);
    }
    let good = response.status().is_success();
    let response = match (seen.route, seen.dataset) {
        (Route::Create | Route::Status, Some(dataset)) if good && !hits.0.is_empty() => {
            bent(service, dataset, hits, response, queued.or(seen.export)).await
        }
        _ => response,
    };
    let response = cut(hits, wire, response).await;
    open.close(Some(response.status().as_u16()), queued, hits.used());
    response
}

/// Another spelling of a good answer about an export.
async fn bent(
    service: &Service,
    dataset: Dataset,
    hits: &Hits,
    response: Response,
    export: Option<Uuid>,
) -> Response {
    let (mut head, body) = response.into_parts();
    let mut bytes = to_bytes(body, ANSWER_BYTES).await.unwrap_or_default().to_vec();
    if let Ok(answer) = serde_json::from_slice(&bytes) {
        let answer = shapes::reshaped(answer, |kind| hits.has(kind));
        bytes = serde_json::to_vec(&answer).unwrap_or(bytes);
    }
    if hits.has(FaultKind::CreateOk) {
        head.status = StatusCode::OK;
    }
    if hits.has(FaultKind::EmptyBody) {
        bytes.clear();
    }
    if let (true, Some(id)) = (hits.has(FaultKind::IdInLocation), export) {
        bytes.clear();
        let path = format!("{}v1.0/payouts/{}/{id}", service.base, dataset.segment());
        if let Ok(path) = HeaderValue::from_str(&path) {
            head.headers.insert(header::LOCATION, path);
        }
    }
    head.headers.remove(header::CONTENT_LENGTH);
    if bytes.is_empty() {
        head.headers.remove(header::CONTENT_TYPE);
    }
    Response::from_parts(head, Body::from(bytes))
}

/// A body that stops in its middle, or is slow.
async fn cut(hits: &Hits, wire: &Wire, response: Response) -> Response {
    use FaultKind as F;
    let length =
        response.headers().get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
    let length = length.or_else(|| response.body().size_hint().exact()).unwrap_or(0);
    if response.body().is_end_stream() || length == 0 {
        return response;
    }
    let Some(kind) = hits.any_of(&[F::ResetInBody, F::BodyEndsEarly, F::StallInBody, F::SlowBody]) else {
        return response;
    };
    let (mut head, body) = response.into_parts();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    let body = match kind {
        F::ResetInBody => wire::cut(body, length / 2, Ending::Reset(wire.clone())),
        F::BodyEndsEarly => wire::cut(body, length / 2, Ending::End),
        F::StallInBody => wire::cut(body, length / 2, Ending::Stall),
        _ => wire::slow(body, length),
    };
    Response::from_parts(head, body)
}

/// A connection that ends without an answer.
fn lost(wire: &Wire) -> Response {
    wire.reset();
    StatusCode::NO_CONTENT.into_response()
}

/// Ends when the server stops; when the client gives up, this is dropped.
async fn forever(service: &Service) {
    while !service.stopping.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK).await;
    }
}
