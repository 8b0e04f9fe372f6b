//! Submit, status and delete: shapes, repeats, and what the statuses mean.

use std::time::Duration;

use uuid::Uuid;

use super::server::*;
use crate::error::{Error, Kind};
use crate::model::RequestId;
use crate::source::filter::{Filter, Value};
use crate::source::{Asked, Client, Deleted, Download, Export, ExportRequest, FileFormat, Status};

fn request() -> ExportRequest {
    let filter = Filter::eq("programName", Value::Text("Partner's & co"));
    ExportRequest {
        path: "transactionhistory".to_owned(),
        filter: Some(filter.to_string()),
        format: FileFormat::Csv,
    }
}

fn id() -> RequestId {
    RequestId(ID.to_owned())
}

async fn submit(server: &Server) -> Result<Export, Error> {
    queue(&client(server), Uuid::new_v4()).await
}

async fn queue(client: &Client, wish: Uuid) -> Result<Export, Error> {
    // A lost answer is the caller's to ask for again.
    for _ in 0..2 {
        if let Asked::Queued(export) = client.submit(&request(), wish).await? {
            return Ok(export);
        }
    }
    panic!("two lost answers")
}

#[tokio::test]
async fn an_export_from_wish_to_deletion() {
    let server = Server::with_tokens(|seen, number| match (seen.method.as_str(), number) {
        ("POST", _) => export(202, "Queued", ""),
        ("GET", 1) => export(200, "Processing", ""),
        ("GET", _) => export(200, "Completed", "https://acc.blob.core.windows.net/c/x.zip?sig=CANARY"),
        _ => json(200, ""),
    })
    .await;
    let client = client(&server);
    let wish = Uuid::new_v4();
    let queued = queue(&client, wish).await.unwrap();
    assert_eq!((queued.request_id, queued.status, queued.blob), (id(), Status::Queued, None));
    let path = "transactionhistory";
    assert_eq!(client.status(path, &id()).await.unwrap().unwrap().status, Status::Processing);
    let done = client.status(path, &id()).await.unwrap().unwrap();
    assert_eq!(done.status, Status::Completed);
    assert_eq!(done.blob.as_ref().unwrap().file_name(), "x.zip");
    assert!(!format!("{done:?}").contains(CANARY));
    assert_eq!(client.delete(path, &id()).await.unwrap(), Deleted::Deleted);

    let calls = server.calls();
    let base = "/v1.0/payouts/transactionhistory";
    assert_eq!(
        calls[0].target,
        format!("{base}?$filter=programName%20eq%20%27Partner%27%27s%20%26%20co%27&fileformat=csv")
    );
    assert_eq!(calls[0].header("content-length"), Some("0"));
    assert_eq!(calls[0].header("ms-requestid"), Some(wish.to_string().as_str()));
    assert_eq!(calls[3].target, format!("{base}/{ID}"));
    for call in &calls {
        assert_eq!(call.header("authorization"), Some("Bearer token-CANARY-0"));
        assert_eq!(call.header("accept"), Some("application/json"));
        assert_eq!(call.header("ms-requestid"), call.header("client-request-id"));
        assert_eq!(call.header("ms-correlationid"), calls[0].header("ms-correlationid"));
        assert_eq!(call.body, "");
    }
    assert_ne!(calls[1].header("ms-requestid"), calls[2].header("ms-requestid"));
}

#[tokio::test]
async fn without_a_filter_only_the_format_is_sent() {
    let server = Server::with_tokens(|_, _| export(202, "Queued", "")).await;
    let request = ExportRequest { path: "payments".to_owned(), filter: None, format: FileFormat::Tsv };
    let _queued = client(&server).submit(&request, Uuid::nil()).await.unwrap();
    assert_eq!(server.calls()[0].target, "/v1.0/payouts/payments?fileformat=tsv");
}

#[tokio::test]
async fn a_repeated_wish_keeps_its_id() {
    let server = Server::with_tokens(|_, number| match number {
        0 => with_header(json(503, ""), "retry-after", "0"),
        1 => json(429, "slow down"),
        2 => cut(202, b"{\"value\"", 100),
        _ => export(202, "Queued", ""),
    })
    .await;
    submit(&server).await.unwrap();
    let calls = server.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.header("ms-requestid") == calls[0].header("ms-requestid")));
    assert!(calls.iter().all(|call| call.method == "POST"));
}

#[tokio::test]
async fn a_silent_service_is_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = url::Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let server = Server::with_tokens(|_, _| json(500, "")).await;
    let mut options = options(&server);
    options.api = silent;
    options.read_timeout_secs = 1;
    options.retry_attempts = 2;
    let client = crate::source::Client::new(options, password()).unwrap();
    let asked = client.submit(&request(), Uuid::nil()).await.unwrap();
    // Whether it has queued the export nobody knows.
    let Asked::Unanswered(error) = asked else { panic!("{asked:?}") };
    assert_eq!(error.kind(), Kind::Source);
    let error = client.status("payments", &id()).await.unwrap_err();
    assert!(error.message().contains("did not answer in time"), "{error}");
    assert!(error.hint_text().unwrap().contains("ledger"), "{error:#}");
    drop(listener);
}

#[tokio::test]
async fn the_service_says_how_long_to_wait() {
    let server = Server::with_tokens(|_, number| match number {
        0 => with_header(json(503, ""), "retry-after", "1"),
        _ => export(202, "Queued", ""),
    })
    .await;
    let begun = std::time::Instant::now();
    submit(&server).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));

    // Longer than the budget: there is no use in waiting at all.
    let server = Server::with_tokens(|_, _| with_header(json(503, ""), "retry-after", "3600")).await;
    let begun = std::time::Instant::now();
    let error = submit(&server).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), Kind::Source);
    assert!(format!("{error}").contains("retry after=3600.0 s"), "{error}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn the_number_of_tries_is_kept() {
    let server = Server::with_tokens(|seen, _| {
        let echo = format!("{} {}", seen.header("authorization").unwrap(), seen.target);
        json(500, &format!(r#"{{"error":{{"code":"generalException","message":"{echo}"}}}}"#))
    })
    .await;
    let error = submit(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Source);
    assert!(error.context().contains(&("tries", "4".to_owned())), "{error}");
    assert!(error.message().contains("500 Internal Server Error: generalException"), "{error}");
    assert_eq!(server.calls().len(), 4);
    assert_clean(&error);
}

#[tokio::test]
async fn a_refused_token_is_changed_once() {
    let server = Server::with_tokens(|_, number| match number {
        0 => json(401, ""),
        _ => export(202, "Queued", ""),
    })
    .await;
    submit(&server).await.unwrap();
    assert_eq!((server.tokens(), server.calls().len()), (2, 2));
    assert_eq!(server.calls()[1].header("authorization"), Some("Bearer token-CANARY-1"));

    let server = Server::with_tokens(|seen, _| json(401, seen.header("authorization").unwrap())).await;
    let error = submit(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.hint_text().unwrap().contains("audience"), "{error:#}");
    assert_eq!((server.tokens(), server.calls().len()), (2, 2));
    assert_clean(&error);
}

#[tokio::test]
async fn refusals_are_final_and_explained() {
    let table = [
        (
            400,
            r#"{"error":{"code":"invalidRequest","message":"bad filter"}}"#,
            Kind::Config,
            "invalidRequest: bad filter",
        ),
        (400, "Authorization header token missing user information", Kind::Auth, "Sign in as a user"),
        (403, r#"{"error":{"code":"accessDenied","message":"no"}}"#, Kind::Auth, "Finance Contributor"),
        (404, "", Kind::Auth, "404 to everything"),
        (411, "<html>Length Required</html>", Kind::Config, "a web page"),
    ];
    for (status, body, kind, words) in table {
        let server = Server::with_tokens(move |_, _| json(status, body)).await;
        let error = submit(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:#}");
        assert!(format!("{error:#}").contains(words), "{error:#}");
        assert_eq!(server.calls().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_token() {
    let other = Server::start(|_, _| export(202, "Queued", "")).await;
    let target = other.url.to_string();
    let server = Server::with_tokens(move |_, _| with_header(json(302, ""), "location", &target)).await;
    let error = submit(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn answers_of_every_shape_are_understood() {
    let bodies = [
        r#"{"Value":[{"RequestId":"ID","Status":"queued"}]}"#,
        r#"{"value":{"requestId":"ID","status":"Queued"}}"#,
        r#"[{"requestId":"ID","status":"Queued"}]"#,
        r#"{"requestId":"ID","status":"Queued"}"#,
    ];
    for (body, status) in bodies.into_iter().zip([200, 201, 202, 202]) {
        let server = Server::with_tokens(move |_, _| json(status, body)).await;
        let export = submit(&server).await.unwrap();
        assert_eq!((export.request_id, export.status), (id(), Status::Queued), "{body}");
    }
    let place = format!("https://api.partner.microsoft.com/v1.0/payouts/transactionhistory/{ID}");
    let server = Server::with_tokens(move |_, _| with_header(json(202, ""), "location", &place)).await;
    assert_eq!(submit(&server).await.unwrap().request_id, id());
}

#[tokio::test]
async fn an_answer_without_end_is_refused() {
    let server = Server::with_tokens(|_, _| json(200, &" ".repeat(1024 * 1024 + 1))).await;
    let error = submit(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Contract);
    assert!(error.message().contains("too long"), "{error}");
    assert_eq!(server.calls().len(), 1);
    // A long error keeps its status.
    let server = Server::with_tokens(|_, _| json(403, &" ".repeat(1024 * 1024 + 1))).await;
    assert_eq!(submit(&server).await.unwrap_err().kind(), Kind::Auth);
}

#[tokio::test]
async fn an_export_that_is_gone_is_no_error() {
    let server =
        Server::with_tokens(|_, _| json(404, r#"{"error":{"code":"itemNotFound","message":"x"}}"#)).await;
    let client = client(&server);
    assert_eq!(client.status("payments", &id()).await.unwrap(), None);
    assert_eq!(client.delete("payments", &id()).await.unwrap(), Deleted::Gone);
}

#[tokio::test]
async fn an_export_in_work_cannot_be_deleted() {
    for status in [400, 405, 409, 412, 423] {
        let server = Server::with_tokens(move |_, _| json(status, "")).await;
        assert_eq!(
            client(&server).delete("payments", &id()).await.unwrap(),
            Deleted::StillProcessing,
            "{status}"
        );
    }
    let server = Server::with_tokens(|_, _| json(403, "")).await;
    assert_eq!(client(&server).delete("payments", &id()).await.unwrap_err().kind(), Kind::Auth);
}

#[tokio::test]
async fn an_id_that_is_a_path_gets_no_request() {
    let server = Server::with_tokens(|_, _| json(200, "")).await;
    let client = client(&server);
    for bad in ["..", "", "a/b", "a?b"] {
        let error = client.delete("payments", &RequestId(bad.to_owned())).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{bad}");
        assert!(client.status(bad, &id()).await.is_err(), "{bad}");
    }
    assert_eq!(server.seen().len(), 0);
}

#[test]
fn calls_can_be_spawned() {
    fn spawnable<T: Send>(_: impl Future<Output = T> + Send) {}
    fn all(client: &crate::source::Client, request: &ExportRequest, id: &RequestId) {
        spawnable(client.sign_in());
        spawnable(client.submit(request, Uuid::nil()));
        spawnable(client.status("payments", id));
        spawnable(client.delete("payments", id));
    }
    fn download(
        client: &crate::source::Client,
        from: &crate::source::BlobLocation,
        observer: &crate::event::Observer,
    ) {
        spawnable::<Result<Download, Error>>(client.download(from, std::path::Path::new("x"), observer, ""));
    }
    let _ = (all, download);
}
