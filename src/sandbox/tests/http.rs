//! The server over raw HTTP.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::site::{Site, header, tiny};
use super::*;
use crate::sandbox::{CLIENT_ID, CLIENT_SECRET, Fault, FaultKind, PASSWORD, RESOURCE, USERNAME};

#[tokio::test]
async fn an_export_goes_from_post_to_delete() {
    let site = Site::open(&tiny()).await;
    let filter = "$filter=earningForDate%20ge%202026-07-01+and+earningForDate%20le%202026-08-31T23:59:59Z&fileformat=csv";
    let queued = site.post(&format!("transactionhistory?{filter}")).await;
    let id = queued["requestId"].as_str().unwrap();
    assert_eq!((queued["status"].as_str(), queued["blobLocation"].as_str()), (Some("Queued"), Some("")));
    assert_eq!(
        queued["requestQueryString"],
        "earningForDate ge 2026-07-01 and earningForDate le 2026-08-31T23:59:59Z"
    );
    assert_eq!(queued["requestPath"], "/v1.0/payouts/transactionhistory");
    assert_eq!(queued["requestDateTime"].as_str().unwrap().len(), "2023-05-25T21:20:46.3727561Z".len());
    let path = format!("transactionhistory/{id}");
    site.pass(200);
    let reply: Value = site.call(Method::GET, &path, &[]).await.json().await.unwrap();
    assert_eq!(reply["value"][0]["status"], "Processing");
    assert_eq!((&reply["nextLink"], &reply["totalCount"]), (&Value::Null, &Value::from(1)));
    assert_eq!(site.call(Method::DELETE, &path, &[]).await.status(), StatusCode::CONFLICT);
    site.pass(200);
    let done = site.finished("transactionhistory", id).await;
    let location = done["blobLocation"].as_str().unwrap();

    let reply = site.blob(location, &[]).await;
    let (tag, length) = (header(&reply, "etag").to_owned(), header(&reply, "content-length").to_owned());
    assert_eq!(header(&reply, "accept-ranges"), "bytes");
    assert_eq!(header(&reply, "content-md5").len(), 24);
    let whole = reply.bytes().await.unwrap();
    assert_eq!(length, whole.len().to_string());
    assert!(!read_text(&whole, b',').rows.is_empty());
    let reply = site.blob(location, &[("range", "bytes=10-19"), ("if-range", &tag)]).await;
    assert_eq!(reply.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&reply, "content-range"), format!("bytes 10-19/{length}"));
    assert_eq!(reply.bytes().await.unwrap(), whole[10..20]);
    let reply = site.blob(location, &[("range", "bytes=10-19"), ("if-range", "\"other\"")]).await;
    assert_eq!((reply.status(), reply.bytes().await.unwrap()), (StatusCode::OK, whole));
    let reply = site.blob(location, &[("range", "bytes=999999999-")]).await;
    assert_eq!(reply.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let reply = site.blob(location, &[("authorization", "Bearer x")]).await;
    assert_eq!(reply.status(), StatusCode::BAD_REQUEST);
    let reply = site.blob(&location.replace("sig=", "sig=0"), &[]).await;
    assert_eq!(reply.status(), StatusCode::FORBIDDEN);
    assert!(reply.text().await.unwrap().contains("<Code>AuthenticationFailed</Code>"));

    assert_eq!(site.call(Method::DELETE, &path, &[]).await.status(), StatusCode::OK);
    assert_eq!(site.call(Method::GET, &path, &[]).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(site.blob(location, &[]).await.status(), StatusCode::NOT_FOUND);
    site.running.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_requests_tokens_and_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { state_dir: Some(dir.path().to_owned()), ..tiny() };
    let first = Site::open(&options).await;
    let done = first.post("payments").await["requestId"].as_str().unwrap().to_owned();
    first.pass(1_000);
    let location = first.finished("payments", &done).await["blobLocation"].as_str().unwrap().to_owned();
    let before = first.blob(&location, &[]).await.bytes().await.unwrap();
    let token = first.token.clone();
    let young = first.post("transactionhistory").await["requestId"].as_str().unwrap().to_owned();
    first.running.stop().await;

    let second = Site { token, ..Site::open(&options).await };
    second.pass(2_000);
    let again = second.finished("payments", &done).await["blobLocation"].as_str().unwrap().to_owned();
    assert_eq!(second.blob(&again, &[]).await.bytes().await.unwrap(), before);
    let mut old = url::Url::parse(&location).unwrap();
    old.set_port(second.running.url().port()).unwrap();
    assert_eq!(second.blob(old.as_str(), &[]).await.status(), StatusCode::OK);
    let other = second.finished("transactionhistory", &young).await;
    assert_eq!(other["status"], "Completed");
    second.running.stop().await;
}

/// What was built once on a day is given to every request like it, also after the first one is gone.
#[tokio::test]
async fn requests_that_are_alike_share_their_bytes() {
    use std::os::unix::fs::MetadataExt;

    let dir = tempfile::tempdir().unwrap();
    let options = Options { state_dir: Some(dir.path().to_owned()), as_of: None, ..tiny() };
    let mut site = Site::open(&options).await;
    let export = async |site: &Site, query: &str| {
        let id = site.post(query).await["requestId"].as_str().unwrap().to_owned();
        site.pass(1_000);
        let dataset = query.split('?').next().unwrap();
        let location = site.finished(dataset, &id).await["blobLocation"].as_str().unwrap().to_owned();
        let bytes = site.blob(&location, &[]).await.bytes().await.unwrap();
        let file = std::fs::metadata(dir.path().join("blobs").join(&id)).unwrap().ino();
        let gone = site.call(Method::DELETE, &format!("{dataset}/{id}"), &[]).await;
        assert_eq!(gone.status(), StatusCode::OK);
        (file, bytes)
    };
    let csv = "transactionhistory?fileformat=csv";
    let first = export(&site, csv).await;
    assert_eq!(export(&site, csv).await, first);
    for other in ["transactionhistory?fileformat=tsv", "payments?fileformat=csv"] {
        assert_ne!(export(&site, other).await.0, first.0);
    }
    let filter = "$filter=earningForDate%20ge%202026-09-01+and+earningForDate%20le%202026-09-30T23:59:59Z";
    let one_month = export(&site, &format!("{csv}&{filter}")).await;
    assert!(one_month.1.len() < first.1.len());
    assert_eq!(export(&site, csv).await, first);
    // Another day: the rows are others, and what was kept is gone.
    site.pass(24 * 3_600_000);
    site.sign_in().await;
    assert_ne!(export(&site, csv).await.1, first.1);
    assert_eq!(std::fs::read_dir(dir.path().join("built")).unwrap().count(), 1);
    site.running.stop().await;
}

#[tokio::test]
async fn a_request_id_is_honoured_once() {
    let site = Site::open(&tiny()).await;
    let post = async |id: &str| {
        let headers = [("ms-requestid", id), ("ms-correlationid", "c0ffee")];
        let reply = site.call(Method::POST, "payments", &headers).await;
        assert_eq!(header(&reply, "ms-correlationid"), "c0ffee");
        reply.json::<Value>().await.unwrap()["value"][0]["requestId"].clone()
    };
    let first = post("one").await;
    assert_eq!(post("one").await, first);
    assert_ne!(post("two").await, first);
}

#[tokio::test]
async fn addresses_and_tokens_end() {
    let options = Options { faults: vec![Fault::everywhere(FaultKind::ExpiredSignature)], ..tiny() };
    let mut site = Site::open(&options).await;
    let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
    site.pass(1_000);
    let first = site.finished("payments", &id).await["blobLocation"].as_str().unwrap().to_owned();
    assert_eq!(site.blob(&first, &[]).await.status(), StatusCode::FORBIDDEN);
    let second = site.finished("payments", &id).await["blobLocation"].as_str().unwrap().to_owned();
    assert_eq!(site.blob(&second, &[]).await.status(), StatusCode::OK);
    site.pass(3_600_000);
    assert_eq!(site.blob(&second, &[]).await.status(), StatusCode::FORBIDDEN);
    let path = format!("payments/{id}");
    assert_eq!(site.call(Method::GET, &path, &[]).await.status(), StatusCode::UNAUTHORIZED);
    site.sign_in().await;
    assert_eq!(site.call(Method::GET, &path, &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn sign_in_answers_as_entra_does() {
    let site = Site::open(&tiny()).await;
    let scope = format!("{RESOURCE}/.default");
    let app = [("grant_type", "client_credentials"), ("client_id", CLIENT_ID), ("scope", &scope)];
    let good =
        site.token("oauth2/v2.0/token", &[&app[..], &[("client_secret", CLIENT_SECRET)]].concat()).await;
    assert_eq!(good["expires_in"], 3_600);
    let bad = site.token("oauth2/v2.0/token", &[&app[..], &[("client_secret", "guess")]].concat()).await;
    assert_eq!(
        (bad["error"].as_str(), &bad["error_codes"][0]),
        (Some("invalid_client"), &Value::from(7000215))
    );
    assert!(bad["error_description"].as_str().unwrap().starts_with("AADSTS7000215: "));
    let other = [
        ("grant_type", "password"),
        ("username", USERNAME),
        ("password", PASSWORD),
        ("client_id", CLIENT_ID),
        ("resource", "https://api.partnercenter.microsoft.com"),
    ];
    let token = site.token("oauth2/token", &other).await["access_token"].as_str().unwrap().to_owned();
    let site = Site { token, ..site };
    let reply = site.call(Method::POST, "payments", &[]).await;
    assert_eq!(reply.status(), StatusCode::UNAUTHORIZED);
    assert!(reply.text().await.unwrap().contains("Invalid Authorization header"));
}

#[tokio::test]
async fn a_device_code_brings_a_token_that_can_be_refreshed() {
    let site = Site::open(&tiny()).await;
    let scope = format!("{RESOURCE}/.default offline_access");
    let begin = [("client_id", CLIENT_ID), ("scope", scope.as_str())];
    let code = site.token("oauth2/v2.0/devicecode", &begin).await["device_code"].as_str().unwrap().to_owned();
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    let poll = [&begin[..], &[("grant_type", grant), ("device_code", &code)]].concat();
    assert_eq!(site.token("oauth2/v2.0/token", &poll).await["error"], "authorization_pending");
    site.pass(2_000);
    let reply = site.token("oauth2/v2.0/token", &poll).await;
    let refresh = reply["refresh_token"].as_str().unwrap();
    let again = [&begin[..], &[("grant_type", "refresh_token"), ("refresh_token", refresh)]].concat();
    let token = site.token("oauth2/v2.0/token", &again).await["access_token"].as_str().unwrap().to_owned();
    let site = Site { token, ..site };
    site.post("payments").await;
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let site = Site::open(&tiny()).await;
    for (path, status, named) in [
        ("payments?$filter=earningForDate%20ge%202026-01-01", 400, "earningForDate"),
        ("transactionhistory?%24filter=payableSubType='REBATE'", 400, "'='"),
        ("transactionhistory?fileformat=csv1", 400, "csv1"),
        ("somethingelse", 404, "itemNotFound"),
    ] {
        let reply = site.call(Method::POST, path, &[]).await;
        assert_eq!(reply.status().as_u16(), status, "{path}");
        let body: Value = reply.json().await.unwrap();
        assert!(body["error"].to_string().contains(named), "{body}");
    }
    let unknown = format!("payments/{}", uuid::Uuid::new_v4());
    assert_eq!(site.call(Method::GET, &unknown, &[]).await.status(), StatusCode::NOT_FOUND);
    let reply = site.call(Method::POST, "transactionhistory?fileFormat=tsv&$filter=", &[]).await;
    assert_eq!(reply.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_post_without_a_length_is_refused() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let site = Site::open(&tiny()).await;
    let address = site.running.url().socket_addrs(|| None).unwrap()[0];
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /v1.0/payouts/payments HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        site.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 411 "), "{reply}");
}

#[tokio::test]
async fn faults_of_the_service_show() {
    let with = |name: &str| Options { faults: vec![name.parse().unwrap()], ..tiny() };
    let site = Site::open(&with("export-failed")).await;
    let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
    site.pass(1_000);
    let failed = site.finished("payments", &id).await;
    assert_eq!((&failed["status"], &failed["blobLocation"]), (&Value::from("Failed"), &Value::from("")));

    let site = Site::open(&with("missing-role:payments")).await;
    assert_eq!(site.call(Method::POST, "payments", &[]).await.status(), StatusCode::FORBIDDEN);
    assert_eq!(site.call(Method::POST, "transactionhistory", &[]).await.status(), StatusCode::ACCEPTED);

    let site = Site::open(&with("server-busy")).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let reply = site.call(Method::POST, "payments", &[]).await;
        statuses.push(reply.status().as_u16());
        if reply.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert_eq!(header(&reply, "retry-after"), "0");
        }
    }
    assert_eq!(statuses, [202, 202, 503, 202, 202, 503]);
}
