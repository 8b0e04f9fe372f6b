//! A running sandbox with a plain client.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::Value;

use super::small;
use crate::sandbox::{CLIENT_ID, Options, PASSWORD, RESOURCE, Running, TENANT, USERNAME, start};

/// The form of a sign-in by user and password, version 1.
pub const BY_PASSWORD: [(&str, &str); 5] = [
    ("grant_type", "password"),
    ("username", USERNAME),
    ("password", PASSWORD),
    ("client_id", CLIENT_ID),
    ("resource", RESOURCE),
];

/// A sandbox whose clock the test moves, and a client of it.
pub struct Site {
    pub running: Running,
    pub clock: Arc<AtomicI64>,
    pub client: Client,
    pub token: String,
    pub refresh: String,
}

impl Site {
    pub async fn open(options: &Options) -> Site {
        let clock = Arc::new(AtomicI64::new(1_790_150_400_000));
        let hand = clock.clone();
        let now = move || Timestamp::from_millisecond(hand.load(Ordering::Relaxed)).unwrap();
        let running = start(options, 0, now).await.unwrap();
        // No TLS here, and reading the machine's certificates takes longer than the test.
        let client = Client::builder().no_proxy().tls_built_in_root_certs(false);
        let client = client.redirect(Policy::none()).build().unwrap();
        let mut site = Site { running, clock, client, token: String::new(), refresh: String::new() };
        site.sign_in().await;
        site
    }

    /// A sandbox with one fault; the sign-in is its request 1.
    pub async fn with(fault: &str) -> Site {
        Site::open(&Options { faults: vec![fault.parse().unwrap()], ..tiny() }).await
    }

    pub async fn sign_in(&mut self) {
        let reply = self.token("oauth2/token", &BY_PASSWORD).await;
        assert!(reply["expires_in"].is_string(), "{reply}");
        self.token = reply["access_token"].as_str().unwrap().to_owned();
        self.refresh = reply["refresh_token"].as_str().unwrap_or_default().to_owned();
    }

    pub async fn token(&self, path: &str, form: &[(&str, &str)]) -> Value {
        self.ask(path, form).await.unwrap().json().await.unwrap()
    }

    pub async fn ask(&self, path: &str, form: &[(&str, &str)]) -> Result<Response, reqwest::Error> {
        let url = self.running.url().join(&format!("{TENANT}/{path}")).unwrap();
        self.client.post(url).form(form).send().await
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Response {
        self.attempt(method, path, headers).await.unwrap()
    }

    pub async fn attempt(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Response, reqwest::Error> {
        let url = self.running.url().join(&format!("v1.0/payouts/{path}")).unwrap();
        let mut request = self.client.request(method.clone(), url).bearer_auth(&self.token);
        if method == Method::POST {
            request = request.header("content-length", "0");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await
    }

    pub async fn post(&self, path: &str) -> Value {
        let reply = self.call(Method::POST, path, &[]).await;
        assert_eq!(reply.status(), StatusCode::ACCEPTED);
        reply.json::<Value>().await.unwrap()["value"][0].clone()
    }

    /// Waits until the export is Completed or Failed; the clock must have been moved.
    pub async fn finished(&self, dataset: &str, id: &str) -> Value {
        for _ in 0..500 {
            let reply = self.call(Method::GET, &format!("{dataset}/{id}"), &[]).await;
            if reply.status() == StatusCode::OK {
                let value = reply.json::<Value>().await.unwrap()["value"][0].clone();
                if value["status"] == "Completed" || value["status"] == "Failed" {
                    return value;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the export never ends");
    }

    pub fn pass(&self, millis: i64) {
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    /// Queues an export of payments, waits for it, and gives its path and its location.
    pub async fn export(&self) -> (String, String) {
        let id = self.post("payments").await["requestId"].as_str().unwrap().to_owned();
        self.pass(1_000);
        let done = self.finished("payments", &id).await;
        (format!("payments/{id}"), done["blobLocation"].as_str().unwrap().to_owned())
    }

    pub async fn blob(&self, location: &str, headers: &[(&'static str, &str)]) -> Response {
        let mut request = self.client.get(location);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }
}

pub fn header<'a>(reply: &'a Response, name: &str) -> &'a str {
    reply.headers()[name].to_str().unwrap()
}

pub fn tiny() -> Options {
    Options { rows_per_month: 100, months: 3, ..small() }
}
