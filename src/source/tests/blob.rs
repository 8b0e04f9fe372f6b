//! The download: whole or absent, hashed, resumed, and never with the token.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::response::Response;
use url::Url;

use super::server::*;
use crate::error::{Error, Kind};
use crate::event::{Event, Observer, Step};
use crate::source::{BlobLocation, Client, Download, Downloaded, Options};

const BYTES: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
// printf abcdefghijklmnopqrstuvwxyz | sha256sum
const SHA256: &str = "71c480df93d6ae2f1efad1447c66c9525e316218cf51fc8d9ed832f2daf18b73";

struct Got {
    result: Result<Download, Error>,
    /// The file, if it is there.
    file: Option<Vec<u8>>,
    /// Whatever else is in the folder.
    left_over: usize,
    events: Vec<Event>,
}

async fn download_with(options: Options, url: Url) -> Got {
    let folder = tempfile::tempdir().unwrap();
    let into: PathBuf = folder.path().join("export.bin");
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let memory = Arc::clone(&events);
    let observer = Observer::new(move |event| memory.lock().unwrap().push(event));
    let client = Client::new(options, password()).unwrap();
    let result = client.download(&BlobLocation::new(url), &into, &observer, "payments").await;
    if let Err(error) = &result {
        assert_clean(error);
    }
    let file = std::fs::read(&into).ok();
    let left_over = std::fs::read_dir(folder.path()).unwrap().count() - usize::from(file.is_some());
    let events = events.lock().unwrap().clone();
    Got { result, file, left_over, events }
}

async fn download(server: &Server) -> Got {
    download_with(options(server), location(server)).await
}

fn location(server: &Server) -> Url {
    server.url.join("blobs/x.zip?sv=1&sig=CANARY%2BCANARY%3D").unwrap()
}

fn whole() -> Response {
    Response::new(Body::from(BYTES))
}

fn etagged(response: Response) -> Response {
    with_header(response, "etag", "\"e1\"")
}

/// The bytes from there on, as a partial answer.
fn rest(seen: &Seen) -> Response {
    let from: usize = seen.header("range").unwrap()["bytes=".len()..].trim_end_matches('-').parse().unwrap();
    let response = Response::builder().status(206).body(Body::from(&BYTES[from..])).unwrap();
    with_header(etagged(response), "content-range", &format!("bytes {from}-25/26"))
}

fn assert_done(got: &Got) {
    let done = Downloaded { bytes: 26, sha256: SHA256.to_owned() };
    assert_eq!(got.result.as_ref().unwrap(), &Download::Done(done));
    assert_eq!(got.file.as_deref(), Some(BYTES));
    assert_eq!(got.left_over, 0);
}

fn assert_refused(got: &Got, kind: Kind) {
    assert_eq!(got.result.as_ref().unwrap_err().kind(), kind, "{:#}", got.result.as_ref().unwrap_err());
    assert_eq!((&got.file, got.left_over), (&None, 0));
}

#[tokio::test]
async fn a_download_is_hashed_and_carries_no_token() {
    let server = Server::with_tokens(|_, _| whole()).await;
    // The client has a token at hand.
    let got = download(&server).await;
    assert_done(&got);
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target, "/blobs/x.zip?sv=1&sig=CANARY%2BCANARY%3D");
    for absent in ["authorization", "cookie", "referer", "accept-encoding", "range", "ms-requestid"] {
        assert_eq!(seen[0].header(absent), None, "{absent}");
    }
    let last = got.events.last().unwrap();
    assert_eq!((last.step, last.scope.as_str()), (Step::Download, "payments"));
    let progress = last.progress.unwrap();
    assert_eq!((progress.done, progress.total), (26, Some(26)));
}

#[tokio::test]
async fn a_signed_in_client_sends_no_token_to_the_blob_host() {
    let server = Server::with_tokens(|_, _| whole()).await;
    let client = client(&server);
    client.sign_in().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("x");
    let location = BlobLocation::new(location(&server));
    let got = client.download(&location, &into, &Observer::silent(), "").await.unwrap();
    assert!(matches!(got, Download::Done(_)));
    assert_eq!(server.calls()[0].header("authorization"), None);
}

#[tokio::test]
async fn an_empty_blob_is_a_whole_one() {
    let server = Server::start(|_, _| Response::new(Body::empty())).await;
    let got = download(&server).await;
    assert!(matches!(got.result, Ok(Download::Done(Downloaded { bytes: 0, .. }))));
    assert_eq!(got.file.as_deref(), Some(&b""[..]));
}

#[tokio::test]
async fn an_address_that_is_not_honoured_has_expired() {
    for status in [401, 403, 404, 410] {
        let server =
            Server::start(move |_, _| json(status, "<Error><Code>AuthenticationFailed</Code></Error>")).await;
        let got = download(&server).await;
        assert_eq!(got.result.unwrap(), Download::Expired);
        assert_eq!((got.file, got.left_over), (None, 0));
        assert_eq!(server.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let server = Server::start(|seen, number| match number {
        0 => etagged(cut(200, &BYTES[..10], 26)),
        1 => json(503, ""),
        2 => with_header(etagged(cut(206, &BYTES[10..12], 16)), "content-range", "bytes 10-25/26"),
        _ => rest(seen),
    })
    .await;
    assert_done(&download(&server).await);
    let seen = server.seen();
    assert_eq!(seen[1].header("range"), Some("bytes=10-"));
    assert_eq!(seen[3].header("range"), Some("bytes=12-"));
    assert_eq!(seen[3].header("if-range"), Some("\"e1\""));
}

#[tokio::test]
async fn another_process_and_another_address_go_on_at_the_same_byte() {
    let server = Server::start(|seen, number| match number {
        0 => etagged(cut(200, &BYTES[..10], 26)),
        // The budget of the first process ends here; for the second the address has expired.
        1..4 => json(503, ""),
        4 => json(403, ""),
        _ if seen.header("range").is_none() => etagged(whole()),
        _ => rest(seen),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("export.bin");
    let from = BlobLocation::new(location(&server));
    let fetch = async || client(&server).download(&from, &into, &Observer::silent(), "").await;
    assert_eq!(fetch().await.unwrap_err().kind(), Kind::Source);
    assert_eq!(fetch().await.unwrap(), Download::Expired);
    let whole = Downloaded { bytes: 26, sha256: SHA256.to_owned() };
    assert_eq!(fetch().await.unwrap(), Download::Done(whole.clone()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let seen = server.seen();
    assert!(seen[4..].iter().all(|seen| seen.header("range") == Some("bytes=10-")), "{seen:?}");

    // What a lost disk left behind is not believed.
    std::fs::write(folder.path().join("export.bin.part"), b"short").unwrap();
    let saved = r#"{"bytes":10,"whole":{"bytes":26,"etag":"\"e1\""}}"#;
    std::fs::write(folder.path().join("export.bin.part.json"), saved).unwrap();
    assert_eq!(fetch().await.unwrap(), Download::Done(whole));
    assert_eq!(server.seen().last().unwrap().header("range"), None);
}

#[tokio::test]
async fn damaged_bytes_are_asked_for_again_and_then_refused() {
    // printf abcdefghijklmnopqrstuvwxyz | openssl md5 -binary | base64
    let offered = |response| with_header(response, "content-md5", "w/zT12GS5AB9+0lsymfhOw==");
    let damaged = || Response::new(Body::from("abcdefghijklmnopqrstuvwxyZ"));
    let server = Server::start(move |_, number| offered(if number == 0 { damaged() } else { whole() })).await;
    assert_done(&download(&server).await);
    assert_eq!(server.seen().len(), 2);

    let server = Server::start(move |_, _| offered(damaged())).await;
    let got = download(&server).await;
    assert_refused(&got, Kind::Contract);
    assert_eq!(server.seen().len(), 3);
    let server = Server::start(|_, _| with_header(whole(), "x-ms-content-crc64", "AAAAAAAAAAA=")).await;
    assert_refused(&download(&server).await, Kind::Contract);
}

#[tokio::test]
async fn a_transfer_that_cannot_go_on_begins_again() {
    // No ETag, and a weak one: nobody vouches that the rest is of the same bytes.
    for etag in [None, Some("W/\"e1\"")] {
        let server = Server::start(move |_, number| {
            let response = if number == 0 { cut(200, b"other", 26) } else { whole() };
            match etag {
                Some(etag) => with_header(response, "etag", etag),
                None => response,
            }
        })
        .await;
        assert_done(&download(&server).await);
        assert_eq!(server.seen()[1].header("range"), None);
    }
    // What came first was longer than what is there now.
    let server = Server::start(|_, number| if number == 0 { cut(200, &[7; 40], 100) } else { whole() }).await;
    assert_done(&download(&server).await);
    // The blob has changed: the server answers with all of it.
    let server =
        Server::start(|_, number| if number == 0 { etagged(cut(200, b"other", 26)) } else { whole() }).await;
    assert_done(&download(&server).await);
    // Another part than the one asked for, another length, and a refusal of the range.
    for wrong in ["bytes 3-25/26", "bytes 5-30/31", "nonsense"] {
        let server = Server::start(move |_, number| match number {
            0 => etagged(cut(200, b"other", 26)),
            1 => {
                let response = Response::builder().status(206).body(Body::from(&BYTES[5..])).unwrap();
                with_header(response, "content-range", wrong)
            }
            _ => whole(),
        })
        .await;
        assert_done(&download(&server).await);
        assert_eq!(server.seen()[2].header("range"), None, "{wrong}");
    }
    let server = Server::start(|_, number| match number {
        0 => etagged(cut(200, b"other", 26)),
        1 => json(416, ""),
        _ => whole(),
    })
    .await;
    assert_done(&download(&server).await);
}

#[tokio::test]
async fn a_transfer_that_always_breaks_leaves_nothing() {
    let server = Server::start(|_, _| cut(200, &BYTES[..5], 26)).await;
    let got = download(&server).await;
    assert_refused(&got, Kind::Source);
    assert_eq!(server.seen().len(), 4);
    let error = got.result.unwrap_err();
    assert!(format!("{error}").contains("address=http://127.0.0.1"), "{error}");
}

#[tokio::test]
async fn progress_renews_the_patience() {
    // Ten breaks with 1 MiB between them, at four tries a call.
    const PIECE: usize = 1024 * 1024;
    let server = Server::start(|seen, number| {
        let from = seen.header("range").map_or(0, |range| range[6..].trim_end_matches('-').parse().unwrap());
        let status = if from == 0 { 200 } else { 206 };
        let response = match number {
            0..10 => cut(status, &vec![7; PIECE], 11 * PIECE - from),
            _ => Response::builder().status(status).body(Body::from(vec![7; 11 * PIECE - from])).unwrap(),
        };
        let range = format!("bytes {from}-{}/{}", 11 * PIECE - 1, 11 * PIECE);
        with_header(etagged(response), "content-range", &range)
    })
    .await;
    let got = download(&server).await;
    assert!(
        matches!(got.result, Ok(Download::Done(Downloaded { bytes: 11_534_336, .. }))),
        "{:?}",
        got.result
    );
    assert_eq!(server.seen().len(), 11);
}

#[tokio::test]
async fn too_many_bytes_are_refused() {
    let limited = |server: &Server| Options { max_blob_bytes: 25, ..options(server) };
    let server = Server::start(|_, _| whole()).await;
    let got = download_with(limited(&server), location(&server)).await;
    assert_refused(&got, Kind::Contract);
    assert!(got.result.unwrap_err().hint_text().unwrap().contains("max_blob_bytes"));
    // Without a length the bytes themselves are counted.
    let unmeasured = |_: &Seen, _| {
        let parts = [Ok::<_, std::io::Error>(Bytes::from_static(BYTES))];
        Response::new(Body::from_stream(futures::stream::iter(parts)))
    };
    let server = Server::start(unmeasured).await;
    assert_refused(&download_with(limited(&server), location(&server)).await, Kind::Contract);
    assert_done(&download(&server).await);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(|_, _| whole()).await;
    let target = other.url.to_string();
    let server = Server::start(move |_, _| with_header(json(302, ""), "location", &target)).await;
    assert_refused(&download(&server).await, Kind::Contract);
    assert_eq!(other.seen().len(), 0);
}

#[tokio::test]
async fn a_foreign_host_gets_no_request() {
    let server = Server::start(|_, _| whole()).await;
    // The API is not on loopback, so the blob must not be.
    let options =
        Options { api: Url::parse("https://api.partner.microsoft.com/v1.0/").unwrap(), ..options(&server) };
    let got = download_with(options, location(&server)).await;
    assert_refused(&got, Kind::Contract);
    assert!(format!("{:#}", got.result.unwrap_err()).contains("127.0.0.1"));
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn a_refusal_is_quoted_without_the_signature() {
    let server =
        Server::start(|seen, _| json(409, &format!("conflict at {} with CANARY+CANARY=", seen.target))).await;
    let got = download(&server).await;
    assert_refused(&got, Kind::Source);
    assert!(format!("{}", got.result.unwrap_err()).contains("conflict at"));
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_our_side() {
    let server = Server::start(|_, _| whole()).await;
    let into = std::path::Path::new("/nonexistent/folder/export.bin");
    let from = BlobLocation::new(location(&server));
    let error = client(&server).download(&from, into, &Observer::silent(), "").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Destination);
    assert!(format!("{error}").contains("export.bin.part"), "{error}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn an_unreachable_host_is_named_without_the_signature() {
    let api = Server::start(|_, _| whole()).await;
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = Url::parse(&format!("http://{free}/blobs/x?sig=CANARY")).unwrap();
    let got = download_with(options(&api), url).await;
    assert_refused(&got, Kind::Source);
    assert!(got.result.unwrap_err().message().contains(&free.to_string()));
}
