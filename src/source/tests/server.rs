//! A server that answers as a test says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use url::Url;

use crate::secret::Secret;
use crate::source::auth::Version;
use crate::source::{Auth, Client, Options, Poll, Way};

/// Stands in every secret of these tests: no message may hold it.
pub const CANARY: &str = "CANARY";

pub const ID: &str = "93c2b3cf-c6d8-4e7e-ade1-007768a6eba4";

#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "{name} was sent twice");
        Some(value)
    }

    pub fn is_token(&self) -> bool {
        self.target.contains("/oauth2/")
    }
}

pub struct Server {
    pub url: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// `reply` gets each request and its number among those of its kind (token or not), 0 first.
    pub async fn start(reply: impl Fn(&Seen, usize) -> Response + Clone + Send + Sync + 'static) -> Server {
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let memory = Arc::clone(&seen);
        let handler = move |request: Request| {
            let (memory, reply) = (Arc::clone(&memory), reply.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let now = Seen {
                    method: head.method,
                    target: head.uri.path_and_query().unwrap().to_string(),
                    headers: head.headers,
                    body: String::from_utf8(body.to_vec()).unwrap(),
                };
                let number = {
                    let mut memory = memory.lock().unwrap();
                    let number = memory.iter().filter(|seen| seen.is_token() == now.is_token()).count();
                    memory.push(now.clone());
                    number
                };
                reply(&now, number)
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let app = axum::Router::new().fallback(any(handler));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Server { url, seen, task }
    }

    /// A server that hands out tokens `token-CANARY-0`, `-1`, ... and answers everything else as the test says.
    pub async fn with_tokens(
        reply: impl Fn(&Seen, usize) -> Response + Clone + Send + Sync + 'static,
    ) -> Server {
        Server::start(
            move |seen, number| {
                if seen.is_token() { token(number, "3600") } else { reply(seen, number) }
            },
        )
        .await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn tokens(&self) -> usize {
        self.seen().iter().filter(|seen| seen.is_token()).count()
    }

    /// Requests that were not for a token.
    pub fn calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| !seen.is_token()).collect()
    }
}

pub fn token(number: usize, life: &str) -> Response {
    json(
        200,
        &format!(
            r#"{{"token_type":"Bearer","access_token":"token-{CANARY}-{number}","expires_in":"{life}"}}"#
        ),
    )
}

pub fn json(status: u16, body: &str) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], body.replace("ID", ID)).into_response()
}

/// An export in the documented shape.
pub fn export(status: u16, word: &str, location: &str) -> Response {
    json(
        status,
        &format!(r#"{{"value":[{{"requestId":"ID","status":"{word}","blobLocation":"{location}"}}]}}"#),
    )
}

pub fn with_header(mut response: Response, name: &'static str, value: &str) -> Response {
    response.headers_mut().insert(name, value.parse().unwrap());
    response
}

/// Promises `length` bytes, sends these, and breaks the connection.
pub fn cut(status: u16, bytes: &[u8], length: usize) -> Response {
    let parts = [Ok(Bytes::copy_from_slice(bytes)), Err(std::io::Error::other("cut"))];
    // Without a pause the break would overtake the bytes.
    let stream = futures::stream::unfold(parts.into_iter(), |mut parts| async {
        let part = parts.next()?;
        if part.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
        Some((part, parts))
    });
    Response::builder()
        .status(status)
        .header("content-length", length)
        .body(Body::from_stream(stream))
        .unwrap()
}

/// Options that meet this server and lose no time.
pub fn options(server: &Server) -> Options {
    Options {
        api: server.url.join("v1.0").unwrap(),
        authority: server.url.clone(),
        connect_timeout_secs: 2,
        read_timeout_secs: 2,
        retry_attempts: 4,
        retry_budget_secs: 20,
        retry_first_delay_millis: 1,
        poll: Poll { first_secs: 0, max_secs: 1 },
        ..Options::default()
    }
}

pub fn password() -> Auth {
    auth(Way::UsernamePassword {
        username: "u+1@contoso.example".to_owned(),
        password: Secret::new(format!("p&w={CANARY} '+%é")),
        version: Version::V1,
    })
}

pub fn auth(way: Way) -> Auth {
    Auth::new("contoso.example", "c1", way)
}

pub fn client(server: &Server) -> Client {
    Client::new(options(server), password()).unwrap()
}

/// Fails when any rendering of the error holds a secret.
#[track_caller]
pub fn assert_clean(error: &crate::error::Error) {
    let mut text = format!("{error} {error:#} {error:?} {:?}", error.causes());
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!("{inner} {inner:?}"));
        cause = inner.source();
    }
    assert!(!text.contains(CANARY), "{text}");
}
