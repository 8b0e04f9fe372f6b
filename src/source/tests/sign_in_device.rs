//! The sign-in of a person: what is shown, how often is asked, and how it can end.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::response::Response;
use url::form_urlencoded;

use super::server::*;
use crate::error::{Error, Kind};
use crate::secret::Secret;
use crate::source::auth::{DeviceCode, Store};
use crate::source::{Client, Way};

fn code(interval: u64) -> Response {
    json(
        200,
        &format!(
            r#"{{"device_code":"device-{CANARY}","user_code":"ABCD-EFGH","verification_uri":"https://microsoft.com/devicelogin",
                "expires_in":900,"interval":{interval},"message":"To sign in ..."}}"#
        ),
    )
}

fn refused(error: &str) -> Response {
    json(400, &format!(r#"{{"error":"{error}","error_description":"AADSTS0: {CANARY} device-{CANARY}"}}"#))
}

fn granted() -> Response {
    json(
        200,
        &format!(
            r#"{{"access_token":"token-{CANARY}","expires_in":3600,"refresh_token":"refresh-{CANARY}"}}"#
        ),
    )
}

/// Signs in against a server that answers the polls with these words, then with a grant.
async fn log_in(
    polls: &'static [&'static str],
) -> (Result<(), Error>, Server, Vec<DeviceCode>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(move |seen, number| {
        if seen.target.ends_with("/devicecode") {
            return code(0);
        }
        match polls.get(number - 1) {
            Some(word) => refused(word),
            None => granted(),
        }
    })
    .await;
    let way = Way::DeviceCode { store: Store::own(dir.path(), "a", "t", "c", "contoso") };
    let client = Client::new(options(&server), auth(way)).unwrap();
    let shown: Arc<Mutex<Vec<DeviceCode>>> = Arc::default();
    let seen = shown.clone();
    let done = client.log_in(move |code| seen.lock().unwrap().push(code.clone())).await;
    let shown = shown.lock().unwrap().clone();
    (done, server, shown, dir)
}

#[tokio::test]
async fn a_person_is_shown_the_code_and_waited_for() {
    let (done, server, shown, dir) = log_in(&["authorization_pending", "authorization_pending"]).await;
    done.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(
        (shown[0].user_code.as_str(), shown[0].verification_uri.as_str()),
        ("ABCD-EFGH", "https://microsoft.com/devicelogin")
    );
    assert!(!serde_json::to_string(&shown[0]).unwrap().contains(CANARY));
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    let form = |index: usize| -> Vec<(String, String)> {
        form_urlencoded::parse(seen[index].body.as_bytes()).into_owned().collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(seen[0].target, "/contoso.example/oauth2/v2.0/devicecode");
    assert_eq!(
        form(0),
        [
            pair("client_id", "c1"),
            pair("scope", "https://api.partner.microsoft.com/.default offline_access openid profile")
        ]
    );
    assert_eq!(seen[1].target, "/contoso.example/oauth2/v2.0/token");
    assert_eq!(
        form(1),
        [
            pair("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            pair("client_id", "c1"),
            pair("scope", "https://api.partner.microsoft.com/.default offline_access openid profile"),
            pair("device_code", "device-CANARY")
        ]
    );
    let kept = std::fs::read_dir(dir.path()).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let kept: Vec<_> = kept.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    assert_eq!(kept.len(), 1);
    assert!(std::fs::read_to_string(&kept[0]).unwrap().contains("refresh-CANARY"));
}

#[tokio::test]
async fn slow_down_is_five_seconds_more() {
    let started = Instant::now();
    let (done, server, ..) = log_in(&["slow_down"]).await;
    done.unwrap();
    assert_eq!(server.seen().len(), 3);
    assert!(started.elapsed() >= Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_sign_in_that_does_not_happen_is_77() {
    for (polls, words) in [
        (&["authorization_pending", "expired_token"][..], "the code was not entered in time"),
        (&["authorization_declined"], "declined in the browser"),
        (&["access_denied"], "declined in the browser"),
        (&["invalid_client"], "sign-in refused"),
        (&["bad_verification_code"], "sign-in refused"),
    ] {
        let (done, server, _, dir) = log_in(polls).await;
        let error = done.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth, "{error}");
        assert!(error.message().contains(words), "{error}");
        assert_eq!(server.seen().len(), polls.len() + 1, "a refusal is not repeated");
        assert!(!format!("{error:#}").contains("device-CANARY"), "{error:#}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is stored");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_refused() {
    for (begin, end, words) in [
        ("{}", "", "without a device code"),
        (r#"{"device_code":"d","user_code":"a\nb","verification_uri":"u"}"#, "", "without a device code"),
        (
            r#"{"device_code":"d","user_code":"a","verification_uri":"u","interval":0}"#,
            r#"{"access_token":"t"}"#,
            "no refresh token came with it",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(move |_, number| json(200, if number == 0 { begin } else { end })).await;
        let way = Way::DeviceCode { store: Store::own(dir.path(), "a", "t", "c", "contoso") };
        let client = Client::new(options(&server), auth(way)).unwrap();
        let error = client.log_in(|_| ()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth);
        assert!(error.message().contains(words), "{error}");
    }
}

#[tokio::test]
async fn kinds_without_a_person_do_not_log_in() {
    let server = Server::start(|_, _| json(500, "")).await;
    let client = Client::new(options(&server), auth(Way::ClientSecret(Secret::new("s").into()))).unwrap();
    assert_eq!(client.log_in(|_| ()).await.unwrap_err().kind(), Kind::Usage);
    assert_eq!(client.log_out().await.unwrap_err().kind(), Kind::Usage);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_sign_in_without_a_place_goes_on_and_is_kept_later() {
    let server = Server::start(|seen, number| match seen.target.ends_with("/devicecode") {
        true => code(0),
        false => json(
            200,
            &format!(r#"{{"access_token":"a","expires_in":3600,"refresh_token":"refresh-{number}"}}"#),
        ),
    })
    .await;
    let client = || Client::new(options(&server), auth(Way::DeviceCode { store: Store::Memory })).unwrap();
    let first = client();
    assert_eq!(first.sign_in().await.unwrap_err().message(), "nobody has signed in yet");
    assert!(server.seen().is_empty());
    first.log_in(|_| ()).await.unwrap();
    first.sign_in().await.expect("the client that was refused before goes on");

    let dir = tempfile::tempdir().unwrap();
    let store = Store::own(dir.path(), "a", "t", "c", "contoso");
    let Store::Own(path) = &store else { panic!("{store}") };
    let kept = || std::fs::read_to_string(path).unwrap();
    client().keep_in(&store).await.unwrap();
    assert!(!path.exists(), "nobody has signed in with this client");
    first.keep_in(&store).await.unwrap();
    assert!(kept().contains("\"refresh-2\""), "the newest token: {}", kept());
    // Whoever signs in later wins, also over the one that is asked to keep its own once more.
    let second = client();
    second.log_in(|_| ()).await.unwrap();
    second.keep_in(&store).await.unwrap();
    first.keep_in(&store).await.unwrap();
    assert!(kept().contains("\"refresh-4\""), "{}", kept());
}
