//! Every fault of the list, seen from outside.

use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::site::{BY_PASSWORD, Site, header, tiny};
use super::*;
use crate::sandbox::{CLIENT_ID, CLIENT_SECRET, FAULTS, Fault, FaultKind as F, RESOURCE, fault_table};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// When a client gives up what never comes, and what must come on the slowest machine.
const GIVEN_UP: Duration = Duration::from_millis(700);
const PATIENCE: Duration = Duration::from_secs(60);

/// Sandboxes at once.
const AT_ONCE: usize = 8;

#[test]
fn the_table_of_faults_is_the_list() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (prose, table) = text.split_once("writes it. -->\n").unwrap();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, format!("{prose}writes it. -->\n\n{}", fault_table())).unwrap();
    } else {
        assert_eq!(table.trim(), fault_table().trim(), "INSTA_UPDATE=always writes it anew");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_shows() {
    let checks = FAULTS.iter().map(|known| async move {
        tokio::spawn(check(known.kind)).await.unwrap_or_else(|panic| panic!("{}: {panic}", known.name));
    });
    futures::stream::iter(checks).buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// Exhaustive, so that a new fault needs its line here.
async fn check(kind: F) {
    match kind {
        F::MfaRequired | F::MfaEnrol | F::WrongPassword | F::InvalidClient | F::SecretExpired => {
            refused(kind).await
        }
        F::ConsentMissing | F::SignInThrottled | F::SignInUnavailable | F::RefreshExpired => {
            refused(kind).await
        }
        F::DevicePending | F::DeviceSlowDown | F::DeviceExpired | F::DeviceDeclined => refused(kind).await,
        F::RefreshReuseRefused | F::NoRefreshToken => refresh(kind).await,
        F::TokenDiesEarly | F::WrongAudience => token(kind).await,
        F::TokenRejected | F::UserMissing | F::MissingRole | F::LostRole => caller(kind).await,
        F::ServerBusy | F::Throttled | F::ThrottledDate | F::ThrottledSilent => instead(kind).await,
        F::Error500 | F::Error502 | F::Error503 | F::Error504 | F::PageInstead | F::Redirected => {
            instead(kind).await
        }
        F::Burst500 | F::Burst502 | F::Burst503 | F::Burst504 => burst(kind).await,
        F::Reset | F::AnswerLost | F::Hang => unanswered(kind).await,
        F::ResetInBody | F::BodyEndsEarly | F::StallInBody | F::SlowBody => body(kind).await,
        F::EmptyBody | F::IdInLocation | F::CreateOk | F::StatusUpper | F::UnknownStatus => shape(kind).await,
        F::ShapeCapital | F::ShapeLower | F::ShapeObject | F::ShapeArray | F::ShapeBare => shape(kind).await,
        F::ShapeExtra | F::ShapeMissing | F::ShapeNull => shape(kind).await,
        F::ExportFailed | F::ExportStuck | F::LocationLate | F::LocationNever => life(kind).await,
        F::RequestVanished | F::RepeatsNotHonoured | F::DeleteFails | F::DeleteRefused => life(kind).await,
        F::ExpiredSignature | F::AddressOnce | F::ForeignHost | F::PlainHttp => address(kind).await,
        F::BlobGone | F::BlobRefused | F::BlobRedirected | F::NoRange | F::WrongRange => blob(kind).await,
        F::EtagChanges | F::NoEtag | F::BodyCorrupt | F::NoChecksum => blob(kind).await,
        F::Crc64 | F::Crc64Only | F::WrongChecksum => blob(kind).await,
        F::BlobTruncated | F::BlobCorrupt | F::BlobHeaderOnly | F::BlobBomOnly | F::BlobZeroBytes => {
            file(kind)
        }
        F::BlobGzip | F::BlobZip | F::BlobPlain | F::BlobManyFiles | F::MissingKeyColumn => file(kind),
        F::ShortLastRecord | F::BadCells | F::ManyBadCells | F::FewerRows | F::UnknownColumn => file(kind),
    }
}

/// Sign-in refusals: the grant, the status, the OAuth error, the AADSTS number.
async fn refused(kind: F) {
    let (grant, status, error, code) = match kind {
        F::MfaRequired => ("password", 400, "interaction_required", 50076),
        F::MfaEnrol => ("password", 400, "interaction_required", 50079),
        F::WrongPassword => ("password", 400, "invalid_grant", 50126),
        F::InvalidClient => ("client_credentials", 401, "invalid_client", 7000215),
        F::SecretExpired => ("client_credentials", 401, "invalid_client", 7000222),
        F::ConsentMissing => ("password", 400, "invalid_grant", 65001),
        F::SignInThrottled => ("password", 429, "temporarily_unavailable", 90055),
        F::SignInUnavailable => ("password", 503, "temporarily_unavailable", 90033),
        F::RefreshExpired => ("refresh_token", 400, "invalid_grant", 700082),
        F::DevicePending => (DEVICE_GRANT, 400, "authorization_pending", 70016),
        F::DeviceSlowDown => (DEVICE_GRANT, 400, "slow_down", 70016),
        F::DeviceExpired => (DEVICE_GRANT, 400, "expired_token", 70019),
        _ => (DEVICE_GRANT, 400, "authorization_declined", 65004),
    };
    let fault = if grant == DEVICE_GRANT { "@3" } else { "@2" };
    let site = Site::with(&format!("{}{fault}", kind.known().name)).await;
    let scope = format!("{RESOURCE}/.default offline_access");
    let begin = [("client_id", CLIENT_ID), ("scope", scope.as_str())];
    let code_of_device = if grant == DEVICE_GRANT {
        site.token("oauth2/v2.0/devicecode", &begin).await["device_code"].as_str().unwrap().to_owned()
    } else {
        String::new()
    };
    site.pass(5_000);
    let form = match grant {
        "password" => BY_PASSWORD.to_vec(),
        "client_credentials" => {
            [&begin[..], &[("grant_type", grant), ("client_secret", CLIENT_SECRET)]].concat()
        }
        "refresh_token" => [&begin[..], &[("grant_type", grant), ("refresh_token", &site.refresh)]].concat(),
        _ => [&begin[..], &[("grant_type", grant), ("device_code", &code_of_device)]].concat(),
    };
    let path = if grant == "password" { "oauth2/token" } else { "oauth2/v2.0/token" };
    let reply = site.ask(path, &form).await.unwrap();
    assert_eq!(reply.status(), status);
    let waits = reply.headers().contains_key("retry-after");
    assert_eq!(waits, kind == F::SignInThrottled);
    let body: Value = reply.json().await.unwrap();
    assert_eq!((body["error"].as_str(), &body["error_codes"][0]), (Some(error), &Value::from(code)));
    assert_eq!(site.running.requests().last().unwrap().faults, [kind.known().name]);
    site.pass(5_000);
    let again = site.token(path, &form).await;
    assert!(again["access_token"].is_string(), "hit once: {again}");
}

async fn refresh(kind: F) {
    let site = Site::with(kind.known().name).await;
    let ask = async |token: &str| {
        let form = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", token)];
        site.token("oauth2/v2.0/token", &form).await
    };
    if kind == F::NoRefreshToken {
        assert_eq!(site.refresh, "");
        return;
    }
    let text = |reply: &Value| reply["refresh_token"].as_str().unwrap().to_owned();
    let second = text(&ask(&site.refresh).await);
    let twin = text(&ask(&site.refresh).await);
    assert_ne!(second, twin, "while no successor was used the old one is good");
    text(&ask(&second).await);
    assert_eq!(ask(&site.refresh).await["error_codes"][0], 70000);
    text(&ask(&twin).await);
}

async fn token(kind: F) {
    let mut site = Site::with(&format!("{}@2", kind.known().name)).await;
    site.sign_in().await;
    if kind == F::TokenDiesEarly {
        site.pass(359_000);
        assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED);
        site.pass(2_000);
    }
    assert_eq!(post(&site).await.status(), StatusCode::UNAUTHORIZED);
    site.sign_in().await;
    assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED);
}

async fn post(site: &Site) -> Response {
    site.call(Method::POST, "payments", &[]).await
}

async fn caller(kind: F) {
    let mut site = Site::with(kind.known().name).await;
    let expected = match kind {
        F::TokenRejected => 401,
        F::UserMissing => {
            assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED, "a user is fine");
            let scope = format!("{RESOURCE}/.default");
            let form = [
                ("grant_type", "client_credentials"),
                ("client_id", CLIENT_ID),
                ("client_secret", CLIENT_SECRET),
                ("scope", &scope),
            ];
            let reply = site.token("oauth2/v2.0/token", &form).await;
            site.token = reply["access_token"].as_str().unwrap().to_owned();
            400
        }
        F::LostRole => {
            assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED);
            403
        }
        _ => 403,
    };
    for _ in 0..2 {
        let reply = post(&site).await;
        assert_eq!(reply.status(), expected);
        let text = reply.text().await.unwrap();
        assert_eq!(text.contains("missing user information"), kind == F::UserMissing, "{text}");
    }
}

/// Status, Retry-After, and whether the body is a page.
async fn instead(kind: F) {
    let (status, wait, page) = match kind {
        F::ServerBusy => (503, Some("0"), false),
        F::Throttled => (429, Some("1"), false),
        F::ThrottledDate => (429, Some("Wed, 23 Sep 2026 08:00:02 GMT"), false),
        F::ThrottledSilent => (429, None, false),
        F::Error500 => (500, None, false),
        F::Error502 => (502, None, true),
        F::Error503 => (503, None, false),
        F::Error504 => (504, None, true),
        F::PageInstead => (200, None, true),
        _ => (307, None, true),
    };
    let site = Site::with(&format!("{}@2", kind.known().name)).await;
    let reply = post(&site).await;
    assert_eq!(reply.status(), status);
    assert_eq!(reply.headers().get("retry-after").map(|wait| wait.to_str().unwrap()), wait);
    assert_eq!(header(&reply, "content-type").starts_with("text/html"), page);
    if kind == F::Redirected {
        assert!(header(&reply, "location").starts_with("http://localhost:"));
    }
    assert_eq!(reply.text().await.unwrap().starts_with('<'), page);
    assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED);
}

async fn burst(kind: F) {
    let site = Site::with(&format!("{}@2", kind.known().name)).await;
    let status = kind.known().name[6..].parse::<u16>().unwrap();
    for expected in [status, status, status, 202] {
        assert_eq!(post(&site).await.status(), expected);
    }
}

async fn unanswered(kind: F) {
    let site = Site::with(&format!("{}@2", kind.known().name)).await;
    let patience = if kind == F::Hang { GIVEN_UP } else { PATIENCE };
    let attempt = tokio::time::timeout(patience, site.attempt(Method::POST, "payments", &[])).await;
    match attempt {
        Err(_) => assert_eq!(kind, F::Hang),
        Ok(answer) => {
            let error = answer.unwrap_err();
            assert!(kind != F::Hang && !error.is_timeout() && error.is_request(), "{error:?}");
        }
    }
    let record = site.running.requests().pop().unwrap();
    assert_eq!((record.number, record.status), (2, None));
    assert_eq!(record.faults, [kind.known().name]);
    assert_eq!(record.export.is_some(), kind == F::AnswerLost, "carried out or not");
    assert_eq!(post(&site).await.status(), StatusCode::ACCEPTED);
}

/// Of an answer of the API, and of a blob.
async fn body(kind: F) {
    let good = Site::open(&tiny()).await;
    let (_, location) = good.export().await;
    let whole = good.blob(&location, &[]).await.bytes().await.unwrap();
    for blob in [false, true] {
        let site = Site::with(&format!("{}@2", kind.known().name)).await;
        let (site, reply) = if blob {
            // The address is found with a sandbox that shares the state.
            let dir = tempfile::tempdir().unwrap();
            let options = Options { state_dir: Some(dir.path().to_owned()), ..tiny() };
            let (_, location) = Site::open(&options).await.export().await;
            let options =
                Options { faults: vec![format!("{}@2", kind.known().name).parse().unwrap()], ..options };
            let site = Site::open(&options).await;
            let mut location = url::Url::parse(&location).unwrap();
            location.set_port(site.running.url().port()).unwrap();
            let reply = site.blob(location.as_str(), &[]).await;
            assert_eq!(reply.content_length(), Some(whole.len() as u64));
            (site, reply)
        } else {
            let reply = post(&site).await;
            (site, reply)
        };
        let length = reply.content_length().unwrap();
        let begin = Instant::now();
        let patience = if kind == F::StallInBody { GIVEN_UP } else { PATIENCE };
        let read = tokio::time::timeout(patience, reply.bytes()).await;
        match (kind, read) {
            (F::StallInBody, read) => assert!(read.is_err()),
            (F::SlowBody, read) => {
                assert_eq!(read.unwrap().unwrap().len() as u64, length);
                assert!(begin.elapsed() > Duration::from_millis(1_000));
            }
            (_, read) => assert!(read.unwrap().is_err()),
        }
        assert_eq!(site.running.requests()[1].faults, [kind.known().name]);
    }
}

async fn shape(kind: F) {
    let site = Site::with(kind.known().name).await;
    let site = if kind == F::EmptyBody { Site::with("empty-body@2").await } else { site };
    let reply = post(&site).await;
    assert_eq!(reply.status(), if kind == F::CreateOk { 200 } else { 202 });
    let location = reply.headers().get("location").map(|text| text.to_str().unwrap().to_owned());
    let text = reply.text().await.unwrap();
    if matches!(kind, F::EmptyBody | F::IdInLocation) {
        assert_eq!((text.as_str(), location.is_some()), ("", kind == F::IdInLocation));
        if let Some(location) = location {
            let path = location.split("/payouts/").nth(1).unwrap();
            assert_eq!(site.call(Method::GET, path, &[]).await.status(), StatusCode::OK);
        }
        return;
    }
    let answer: Value = serde_json::from_str(&text).unwrap();
    let has = |pointer: &str| answer.pointer(pointer).is_some_and(|value| !value.is_null());
    assert!(
        match kind {
            F::ShapeCapital => has("/Value/0/RequestId"),
            F::ShapeLower => has("/value/0/requestid"),
            F::ShapeObject => has("/value/requestId"),
            F::ShapeArray => has("/0/requestId"),
            F::ShapeBare => has("/requestId") && !has("/value"),
            F::ShapeExtra => has("/value/0/priority/lane") && has("/value/0/processingStartDateTime"),
            F::ShapeMissing => !has("/value/0/requestDateTime") && answer.get("totalCount").is_none(),
            F::ShapeNull => answer["value"][0]["blobLocation"] == Value::Null,
            F::StatusUpper => answer["value"][0]["status"] == "QUEUED",
            F::UnknownStatus => answer["value"][0]["status"] == "Validating",
            _ => answer["value"][0]["status"] == "Queued",
        },
        "{answer}"
    );
}

async fn look(site: &Site, path: &str) -> Value {
    site.call(Method::GET, path, &[]).await.json::<Value>().await.unwrap()["value"][0].clone()
}

async fn life(kind: F) {
    let name = kind.known().name;
    // The first export is hit, the second is not; without a position all are.
    let site = Site::with(&format!("{name}@2")).await;
    let twice = async |site: &Site| {
        let mut ids = Vec::new();
        for _ in 0..2 {
            let reply = site.call(Method::POST, "payments", &[("ms-requestid", "same")]).await;
            ids.push(reply.json::<Value>().await.unwrap()["value"][0]["requestId"].clone());
        }
        ids[0] == ids[1]
    };
    match kind {
        F::RepeatsNotHonoured => {
            assert!(twice(&Site::open(&tiny()).await).await);
            assert!(!twice(&Site::with(name).await).await);
        }
        F::DeleteFails | F::DeleteRefused => {
            let site = Site::with(name).await;
            let (path, _) = site.export().await;
            let status = site.call(Method::DELETE, &path, &[]).await.status().as_u16();
            assert_eq!(status, if kind == F::DeleteFails { 500 } else { 409 });
            assert_eq!(look(&site, &path).await["status"], "Completed");
        }
        F::RequestVanished => {
            let site = Site::with(name).await;
            let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
            let path = format!("payments/{id}");
            for _ in 0..2 {
                assert_eq!(site.call(Method::GET, &path, &[]).await.status(), StatusCode::NOT_FOUND);
            }
            site.export().await;
        }
        F::ExportFailed => {
            let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
            let (path, _) = site.export().await;
            assert_eq!(look(&site, &format!("payments/{id}")).await["status"], "Failed");
            assert_eq!(look(&site, &path).await["status"], "Completed");
        }
        F::ExportStuck => {
            let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
            site.export().await;
            assert_eq!(look(&site, &format!("payments/{id}")).await["status"], "Processing");
        }
        _ => {
            let site = Site::with(name).await;
            let (path, location) = site.export().await;
            assert_eq!(location, "");
            for expected in [false, false, kind == F::LocationLate] {
                let location = look(&site, &path).await["blobLocation"].clone();
                assert_eq!(location != "", expected);
            }
        }
    }
}

async fn address(kind: F) {
    let site = Site::with(kind.known().name).await;
    let (path, first) = site.export().await;
    let second = look(&site, &path).await["blobLocation"].as_str().unwrap().to_owned();
    match kind {
        F::ForeignHost => assert!(first.starts_with("https://payouts.files.example/blobs/"), "{first}"),
        F::PlainHttp => assert!(first.starts_with("http://pl.blob.core.windows.net/blobs/"), "{first}"),
        _ => {
            let once = kind == F::AddressOnce;
            assert_eq!(site.blob(&first, &[]).await.status(), if once { 200 } else { 403 });
            assert_eq!(site.blob(&first, &[]).await.status(), StatusCode::FORBIDDEN);
            assert_eq!(site.blob(&second, &[]).await.status(), StatusCode::OK);
            assert_eq!(site.blob(&second, &[]).await.status(), if once { 403 } else { 200 });
        }
    }
}

async fn blob(kind: F) {
    let good = Site::open(&tiny()).await;
    let whole = good.blob(&good.export().await.1, &[]).await;
    let md5 = header(&whole, "content-md5").to_owned();
    assert!(!whole.headers().contains_key("x-ms-content-crc64"));
    let whole = whole.bytes().await.unwrap();
    let site = Site::with(kind.known().name).await;
    let (_, location) = site.export().await;
    let reply = site.blob(&location, &[]).await;
    let again = site.blob(&location, &[]).await;
    let part = site.blob(&location, &[("range", "bytes=10-19")]).await;
    let name =
        |reply: &Response, name: &str| reply.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    match kind {
        F::BlobGone => assert_eq!((reply.status().as_u16(), again.status().as_u16()), (404, 200)),
        F::BlobRefused => assert_eq!((reply.status().as_u16(), again.status().as_u16()), (403, 200)),
        F::BlobRedirected => {
            assert_eq!(reply.status(), StatusCode::FOUND);
            assert!(header(&reply, "location").starts_with("http://localhost:"));
        }
        F::NoRange => {
            assert_eq!((part.status(), name(&part, "accept-ranges")), (StatusCode::OK, None));
            assert_eq!(part.bytes().await.unwrap(), whole);
        }
        F::WrongRange => {
            assert_eq!(header(&part, "content-range"), format!("bytes 11-20/{}", whole.len()));
            assert_eq!(part.bytes().await.unwrap(), whole[10..20]);
        }
        F::EtagChanges => {
            assert_ne!(header(&reply, "etag"), header(&again, "etag"));
            let resumed = [("range", "bytes=10-19"), ("if-range", header(&reply, "etag"))];
            assert_eq!(site.blob(&location, &resumed).await.status(), StatusCode::OK);
        }
        F::NoEtag => assert_eq!(name(&reply, "etag"), None),
        F::BodyCorrupt => {
            assert_eq!(header(&reply, "content-md5"), md5);
            let bytes = reply.bytes().await.unwrap();
            let different: Vec<usize> = (0..whole.len()).filter(|at| bytes[*at] != whole[*at]).collect();
            assert_eq!((bytes.len(), different), (whole.len(), vec![whole.len() / 2]));
            assert_eq!(again.bytes().await.unwrap(), whole);
        }
        F::NoChecksum => assert_eq!(name(&reply, "content-md5"), None),
        F::Crc64 | F::Crc64Only => {
            assert_eq!(name(&reply, "content-md5").is_some(), kind == F::Crc64);
            assert_eq!(header(&reply, "x-ms-content-crc64").len(), 12);
            assert_eq!(header(&part, "x-ms-content-crc64"), header(&reply, "x-ms-content-crc64"));
        }
        _ => {
            assert_ne!(header(&reply, "content-md5"), md5);
            assert_eq!(reply.bytes().await.unwrap(), whole);
        }
    }
}

fn file(kind: F) {
    let made = |faults: Vec<Fault>, zip_above_rows| {
        let options = Options { faults, zip_above_rows, ..tiny() };
        bytes(&options, Dataset::TransactionHistory, None, Format::Csv)
    };
    let (good, bad) = (made(vec![], 50_000), made(vec![Fault::everywhere(kind)], 50_000));
    let rows = |bytes: &[u8]| read_text(bytes, b',').rows.len();
    let numbers = |bytes: &[u8]| {
        let table = read_text(bytes, b',');
        table.rows.iter().filter(|row| row["earningAmount"].parse::<f64>().is_ok()).count()
    };
    match kind {
        F::BlobTruncated => assert_eq!(bad, good[..good.len() / 2]),
        F::BlobCorrupt => assert_eq!(bad[good.len() / 2], good[good.len() / 2] ^ 0x80),
        F::BlobHeaderOnly => assert_eq!(rows(&bad), 0),
        F::BlobBomOnly => assert_eq!(bad, b"\xEF\xBB\xBF"),
        F::BlobZeroBytes => assert_eq!(bad, b""),
        F::BlobGzip => {
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&bad[..]).read_to_end(&mut plain).unwrap();
            assert_eq!(plain, good);
        }
        F::BlobZip => {
            let files = unzip(&bad);
            assert_eq!(files.iter().map(|(_, bytes)| rows(bytes)).sum::<usize>(), rows(&good));
            assert!(files.len() <= 3, "one for each month");
        }
        F::BlobPlain => assert_eq!(made(vec![Fault::everywhere(kind)], 1), good),
        F::BlobManyFiles => {
            let files = unzip(&bad);
            assert!(files.len() > 3 && files.iter().all(|(_, bytes)| rows(bytes) <= 50));
            assert_eq!(files.iter().map(|(_, bytes)| rows(bytes)).sum::<usize>(), rows(&good));
        }
        F::MissingKeyColumn => assert!(!read_text(&bad, b',').header.contains(&"earningId".to_owned())),
        F::ShortLastRecord => assert!(bad.len() < good.len() && good.starts_with(&bad)),
        F::BadCells => assert!((1..=5).contains(&(numbers(&good) - numbers(&bad)))),
        F::ManyBadCells => assert!(numbers(&good) - numbers(&bad) > 5),
        F::FewerRows => assert_eq!(rows(&bad), rows(&good).div_ceil(2)),
        _ => assert!(read_text(&bad, b',').header.contains(&"incentiveTier".to_owned())),
    }
}

#[tokio::test]
async fn what_a_file_holds_can_be_put_on_one_export() {
    let site = Site::with("blob-header-only@2").await;
    let location = async |id: Value| {
        site.pass(1_000);
        let done = site.finished("payments", id["requestId"].as_str().unwrap()).await;
        done["blobLocation"].as_str().unwrap().to_owned()
    };
    let mut rows = Vec::new();
    for _ in 0..2 {
        let location = location(site.post("payments").await).await;
        let bytes = site.blob(&location, &[]).await.bytes().await.unwrap();
        rows.push(read_text(&bytes, b',').rows.len());
    }
    assert!(rows[0] == 0 && rows[1] > 0, "{rows:?}");
}

#[tokio::test]
async fn faults_combine_and_say_so() {
    let faults = ["shape-capital", "shape-object", "shape-array", "status-upper", "create-200"];
    let faults: Vec<Fault> = faults.iter().map(|fault| fault.parse().unwrap()).collect();
    let site = Site::open(&Options { faults, ..tiny() }).await;
    let reply = post(&site).await;
    assert_eq!(reply.status(), StatusCode::OK);
    let answer: Value = reply.json().await.unwrap();
    assert_eq!((&answer["Value"]["Status"], &answer["TotalCount"]), (&json!("QUEUED"), &json!(1)));
    let record = json!(site.running.requests().last().unwrap());
    // An answer has one structure: the list could not be had as well.
    assert_eq!(record["route"], "create");
    assert_eq!(record["faults"], json!(["shape-capital", "shape-object", "status-upper", "create-200"]));
}
