//! Tokens: the forms, one fetch for many, refresh, and refusals.

use std::time::Duration;

use futures::future::join_all;

use super::server::*;
use crate::error::Kind;
use crate::model::RequestId;
use crate::secret::Secret;
use crate::source::{Auth, Client, Options, Way};

#[tokio::test]
async fn the_password_goes_to_the_first_endpoint() {
    let server = Server::with_tokens(|_, _| json(500, "")).await;
    client(&server).sign_in().await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.target, "/contoso.example/oauth2/token");
    assert_eq!(
        seen.body,
        "grant_type=password&client_id=c1&resource=https%3A%2F%2Fapi.partner.microsoft.com\
         &username=u%2B1%40contoso.example&password=p%26w%3DCANARY+%27%2B%25%C3%A9"
    );
    assert_eq!(seen.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(seen.header("user-agent"), Some(concat!("payoutlake/", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn the_secret_goes_to_the_second_endpoint() {
    let server = Server::with_tokens(|_, _| json(500, "")).await;
    let auth = Auth::new("../t/x", "c1", Way::ClientSecret(Secret::new("s+~").into()));
    Client::new(options(&server), auth).unwrap().sign_in().await.unwrap();
    let seen = &server.seen()[0];
    // A tenant is one segment, whatever stands in it.
    assert_eq!(seen.target, "/..%2Ft%2Fx/oauth2/v2.0/token");
    assert_eq!(
        seen.body,
        "grant_type=client_credentials&client_id=c1\
         &scope=https%3A%2F%2Fapi.partner.microsoft.com%2F.default&client_secret=s%2B%7E"
    );
}

#[tokio::test]
async fn twenty_callers_sign_in_once() {
    let server = Server::with_tokens(|_, _| export(200, "Queued", "")).await;
    let client = client(&server);
    let id = RequestId(ID.to_owned());
    let answers = join_all((0..20).map(|_| client.status("payments", &id))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_some()));
    assert_eq!((server.tokens(), server.calls().len()), (1, 20));
}

#[tokio::test]
async fn twenty_refused_calls_refresh_once() {
    let server = Server::with_tokens(|seen, _| {
        if seen.header("authorization").unwrap().ends_with("-0") {
            return json(401, "");
        }
        export(200, "Queued", "")
    })
    .await;
    let client = client(&server);
    let id = RequestId(ID.to_owned());
    let answers = join_all((0..20).map(|_| client.status("payments", &id))).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().is_some()));
    assert_eq!(server.tokens(), 2);
}

#[tokio::test]
async fn a_token_is_used_until_shortly_before_its_end() {
    let server =
        Server::start(|seen, n| if seen.is_token() { token(n, "2") } else { export(200, "Queued", "") })
            .await;
    let client = client(&server);
    let id = RequestId(ID.to_owned());
    client.status("payments", &id).await.unwrap();
    client.status("payments", &id).await.unwrap();
    assert_eq!(server.tokens(), 1);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    client.status("payments", &id).await.unwrap();
    assert_eq!(server.tokens(), 2);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let server = Server::start(|seen, _| {
        let body = format!(
            r#"{{"error":"invalid_grant","error_codes":[50126],"correlation_id":"cc-1",
               "error_description":"AADSTS50126: no. You sent {}"}}"#,
            seen.body
        );
        json(400, &body)
    })
    .await;
    let client = client(&server);
    for result in join_all((0..5).map(|_| client.sign_in())).await {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth);
        assert_eq!(error.message(), "sign-in refused: wrong user name or password");
        assert!(format!("{error}").contains("cc-1"), "{error}");
        assert!(error.hint_text().unwrap().contains("federated"), "{error:#}");
        assert_clean(&error);
    }
    // Five tries would have brought the account nearer to its lock.
    assert_eq!(server.tokens(), 1);
}

#[tokio::test]
async fn trouble_of_the_sign_in_passes() {
    let server = Server::start(|_, number| match number {
        0 => json(503, "busy"),
        1 => json(400, r#"{"error":"server_error","error_codes":[90033]}"#),
        2 => cut(200, b"{", 100),
        _ => token(number, "3600"),
    })
    .await;
    client(&server).sign_in().await.unwrap();
    assert_eq!(server.tokens(), 4);
}

#[tokio::test]
async fn trouble_that_stays_is_not_a_refusal() {
    let server = Server::start(|seen, _| json(503, &seen.body)).await;
    let error = client(&server).sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Source);
    assert_eq!(server.tokens(), 4);
    assert_clean(&error);
}

#[tokio::test]
async fn answers_without_a_token_are_refused() {
    for body in ["<html>portal</html>", "{}", r#"{"access_token":"a b"}"#] {
        let server = Server::start(move |_, _| json(200, body)).await;
        let error = client(&server).sign_in().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth, "{body}");
        assert_eq!(server.tokens(), 1);
    }
}

#[tokio::test]
async fn a_redirect_does_not_carry_the_password() {
    let other = Server::start(|_, _| token(0, "3600")).await;
    let target = other.url.to_string();
    let server = Server::start(move |_, _| with_header(json(307, ""), "location", &target)).await;
    let error = client(&server).sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert_eq!(other.seen().len(), 0);
    assert_clean(&error);
}

#[tokio::test]
async fn a_host_that_is_not_there_is_named() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = url::Url::parse(&format!("http://{free}/")).unwrap();
    let options = Options {
        api: url.clone(),
        authority: url,
        retry_attempts: 50,
        retry_first_delay_millis: 1,
        ..Options::default()
    };
    let error = Client::new(options, password()).unwrap().sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Source);
    assert!(error.message().contains(&free.to_string()), "{error}");
    assert!(error.context().contains(&("tries", "4".to_owned())), "{error}");
    assert_clean(&error);
}

#[tokio::test]
async fn a_client_prints_no_secret() {
    let server = Server::with_tokens(|_, _| json(500, "")).await;
    let client = client(&server);
    client.sign_in().await.unwrap();
    assert!(!format!("{client:?} {client:#?}").contains(CANARY));
}

#[test]
fn an_empty_value_is_named() {
    let auth = Auth::new("t", "c", Way::ClientSecret(Secret::new(" ").into()));
    let error = Client::new(Options::default(), auth).unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Config, "the sign-in's client_secret is empty"));
}
