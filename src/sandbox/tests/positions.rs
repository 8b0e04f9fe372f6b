//! Requests are counted, logged and hit by their number; the clock runs as fast as it is told.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::site::{BY_PASSWORD, Site, tiny};
use super::*;
use crate::sandbox::{CLIENT_ID, RESOURCE, Route, TENANT, start};

#[tokio::test]
async fn a_log_in_memory_and_in_a_file_counts_every_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("requests.jsonl");
    std::fs::write(&path, "of an earlier run\n").unwrap();
    let faults = vec!["error-503@3".parse().unwrap(), "no-etag:transactionhistory".parse().unwrap()];
    let site = Site::open(&Options { request_log: Some(path.clone()), faults, ..tiny() }).await;
    let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
    site.pass(1_000);
    let status = format!("payments/{id}");
    assert_eq!(site.call(Method::GET, &status, &[]).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    let location = site.finished("payments", &id).await["blobLocation"].as_str().unwrap().to_owned();
    site.blob(&location, &[]).await.bytes().await.unwrap();
    site.call(Method::DELETE, &status, &[]).await;

    let log = site.running.url().join("_sandbox/requests").unwrap();
    let shown: Value = site.client.get(log).send().await.unwrap().json().await.unwrap();
    let lines = std::fs::read_to_string(&path).unwrap();
    let written: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown, Value::from(written));
    let shown = shown.as_array().unwrap();
    let routes: Vec<&str> = shown.iter().map(|record| record["route"].as_str().unwrap()).collect();
    assert_eq!(routes[..3], ["token", "create", "status"]);
    assert_eq!(routes[routes.len() - 2..], ["blob", "delete"]);
    for (at, record) in shown.iter().enumerate() {
        assert_eq!(record["number"], at as u64 + 1);
        let hit: &[&str] = if at == 2 { &["error-503"] } else { &[] };
        assert_eq!(record["faults"], Value::from(hit), "{record}");
        if at > 0 {
            assert_eq!(
                (record["export"].as_str(), record["dataset"].as_str()),
                (Some(&*id), Some("payments"))
            );
        }
    }
    assert_eq!((&shown[1]["status"], &shown[2]["status"]), (&Value::from(202), &Value::from(503)));
    for secret in ["sig=", site.token.as_str(), "battery"] {
        assert!(!lines.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_position_out_of_reach_does_nothing() {
    // The second request creates: no blob, no refresh, not of the other data set.
    for fault in ["body-corrupt@2", "refresh-expired@2", "error-503:transactionhistory@2", "missing-role@1"] {
        let site = Site::with(fault).await;
        site.export().await;
        assert!(site.running.requests().iter().all(|record| record.faults.is_empty()), "{fault}");
    }
}

#[tokio::test]
async fn a_fault_on_an_export_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { state_dir: Some(dir.path().to_owned()), ..tiny() };
    let site =
        Site::open(&Options { faults: vec!["export-stuck@3".parse().unwrap()], ..options.clone() }).await;
    let id = site.post("payments").await["requestId"].as_str().unwrap().to_owned();
    let path = format!("payments/{id}");
    // By a look at it.
    site.call(Method::GET, &path, &[]).await;
    site.running.stop().await;
    let site = Site::open(&options).await;
    site.pass(60_000);
    site.export().await;
    let reply: Value = site.call(Method::GET, &path, &[]).await.json().await.unwrap();
    assert_eq!(reply["value"][0]["status"], "Processing");
}

#[tokio::test]
async fn exports_have_delays_by_their_order() {
    let site =
        Site::open(&Options { delays_millis: vec![86_400_000, 100], delay_millis: 2_000, ..tiny() }).await;
    let mut paths = Vec::new();
    for _ in 0..3 {
        paths.push(format!("payments/{}", site.post("payments").await["requestId"].as_str().unwrap()));
    }
    let words = async || {
        let mut words = Vec::new();
        for path in &paths {
            let reply: Value = site.call(Method::GET, path, &[]).await.json().await.unwrap();
            words.push(reply["value"][0]["status"].as_str().unwrap().to_owned());
        }
        words
    };
    site.pass(1_500);
    assert_eq!(words().await, ["Queued", "Completed", "Processing"]);
    site.pass(600);
    // An answer waits for the build: the clock alone says what is finished.
    assert_eq!(words().await, ["Queued", "Completed", "Completed"]);
}

#[tokio::test]
async fn an_id_token_and_the_claims_of_a_token_can_be_read() {
    use base64::Engine;
    let site = Site::open(&tiny()).await;
    let scope = format!("{RESOURCE}/.default openid offline_access");
    let form = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("scope", &scope)];
    let form = [&form[..], &[("refresh_token", site.refresh.as_str())]].concat();
    let reply = site.token("oauth2/v2.0/token", &form).await;
    let claims = |name: &str| -> Value {
        let part = reply[name].as_str().unwrap().split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let (access, id) = (claims("access_token"), claims("id_token"));
    assert_eq!(
        (access["aud"].as_str(), access["scp"].as_str()),
        (Some(RESOURCE), Some("user_impersonation"))
    );
    assert_eq!((id["aud"].as_str(), id["tid"].as_str()), (Some(CLIENT_ID), Some(TENANT)));
    assert_eq!(id["preferred_username"], crate::sandbox::USERNAME);
    assert_eq!(access["oid"], id["oid"]);
    let page = site.running.url().join("devicelogin").unwrap();
    assert!(site.client.get(page).send().await.unwrap().text().await.unwrap().contains("device-declined"));
}

#[tokio::test]
async fn a_day_with_tokens_of_36_minutes_passes_in_seconds() {
    // 24 hours at 10,000 are 8.6 seconds.
    let options =
        Options { delay_millis: 86_400_000, token_lifetime_secs: 36 * 60, clock_speed: 10_000, ..tiny() };
    let running = start(&options, 0, Timestamp::now).await.unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let sign_in = async || {
        let url = running.url().join(&format!("{TENANT}/oauth2/token")).unwrap();
        let reply: Value = client.post(url).form(&BY_PASSWORD).send().await.unwrap().json().await.unwrap();
        assert_eq!(reply["expires_in"], "1", "2,160 seconds are less than one of the client's");
        reply["access_token"].as_str().unwrap().to_owned()
    };
    let mut token = sign_in().await;
    let url = running.url().join("v1.0/payouts/payments").unwrap();
    let queued =
        client.post(url.clone()).bearer_auth(&token).header("content-length", "0").send().await.unwrap();
    let queued: Value = queued.json().await.unwrap();
    let url = format!("{url}/{}", queued["value"][0]["requestId"].as_str().unwrap());
    loop {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let reply = client.get(&url).bearer_auth(&token).send().await.unwrap();
        if reply.status() == StatusCode::UNAUTHORIZED {
            token = sign_in().await;
        } else if reply.json::<Value>().await.unwrap()["value"][0]["status"] == "Completed" {
            break;
        }
    }
    let requests = running.requests();
    let hours = requests.last().unwrap().at.duration_since(requests[0].at).as_secs() / 3_600;
    assert!((24..36).contains(&hours), "{hours}");
    let tokens = requests.iter().filter(|record| record.route == Route::Token).count();
    // A busy machine looks less often, and finds fewer tokens expired.
    assert!((20..=60).contains(&tokens), "{tokens} tokens");
    // The client's clock is what the client hears of.
    let asked: Timestamp = queued["value"][0]["requestDateTime"].as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(asked).as_secs() < 60);
}

#[tokio::test]
async fn a_clock_that_stands_still_is_refused() {
    let error = start(&Options { clock_speed: 0, ..tiny() }, 0, Timestamp::now).await.unwrap_err();
    assert!(error.to_string().contains("stand still"), "{error}");
}
