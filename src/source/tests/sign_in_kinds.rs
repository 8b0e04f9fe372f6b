//! What every kind of sign-in must do: post exactly its form, keep its secrets, be renewed or say that it cannot be.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil::date;
use serde_json::Value;
use url::form_urlencoded;

use super::server::*;
use crate::error::Kind;
use crate::model::{Expiring, RequestId};
use crate::secret::Secret;
use crate::source::auth::{AppSecret, Argv, Certificate, Store, Version, expiries};
use crate::source::{Auth, Client, Way};

const PEM: &[u8] = include_bytes!("certificates/app.pem");
const PFX: &[u8] = include_bytes!("certificates/app.pfx");
const LEGACY_PFX: &[u8] = include_bytes!("certificates/legacy.pfx");
const TRADITIONAL: &[u8] = include_bytes!("certificates/traditional.pem");
const ENCRYPTED: &[u8] = include_bytes!("certificates/encrypted.pem");
const MISMATCH: &[u8] = include_bytes!("certificates/mismatch.pem");

fn secret(name: &str) -> Secret {
    Secret::new(format!("{name}-{CANARY}"))
}

fn certificate() -> Certificate {
    Certificate::parse(PEM, None).unwrap()
}

/// A token that can be read, for this audience and until then.
fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{CANARY}", part(r#"{"alg":"RS256"}"#), part(claims))
}

/// A store in memory of this process: a file that its test forgets.
fn store(dir: &tempfile::TempDir) -> Store {
    Store::own(dir.path(), "a", "t", "c", "contoso")
}

fn printing(text: &str) -> Argv {
    let argv = ["sh", "-c", "printf %s \"$1\"", "sh", text].map(str::to_owned).to_vec();
    Argv::new("command", argv, Duration::from_secs(10)).unwrap()
}

type Fields = Vec<(&'static str, &'static str)>;

/// Every kind, the endpoint that it asks, and the form that it posts (empty: it asks nobody).
fn kinds(dir: &tempfile::TempDir) -> Vec<(Way, &'static str, Fields)> {
    const V1: &str = "/contoso.example/oauth2/token";
    const V2: &str = "/contoso.example/oauth2/v2.0/token";
    const SCOPE: (&str, &str) = ("scope", "https://api.partner.microsoft.com/.default");
    const USER_SCOPE: (&str, &str) =
        ("scope", "https://api.partner.microsoft.com/.default offline_access openid profile");
    let password =
        |version| Way::UsernamePassword { username: "u".to_owned(), password: secret("password"), version };
    let refresh =
        |client_secret| Way::RefreshToken { client_secret, given: Some(secret("given")), store: store(dir) };
    vec![
        (
            password(Version::V1),
            V1,
            vec![
                ("grant_type", "password"),
                ("client_id", "c1"),
                ("resource", "https://api.partner.microsoft.com"),
                ("username", "u"),
                ("password", "password-CANARY"),
            ],
        ),
        (
            password(Version::V2),
            V2,
            vec![
                ("grant_type", "password"),
                ("client_id", "c1"),
                SCOPE,
                ("username", "u"),
                ("password", "password-CANARY"),
            ],
        ),
        (
            Way::ClientSecret(secret("secret").into()),
            V2,
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "c1"),
                SCOPE,
                ("client_secret", "secret-CANARY"),
            ],
        ),
        (
            refresh(None),
            V2,
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", "c1"),
                USER_SCOPE,
                ("refresh_token", "given-CANARY"),
            ],
        ),
        (
            refresh(Some(secret("secret").into())),
            V2,
            vec![
                ("grant_type", "refresh_token"),
                ("client_id", "c1"),
                USER_SCOPE,
                ("refresh_token", "given-CANARY"),
                ("client_secret", "secret-CANARY"),
            ],
        ),
        (
            Way::Certificate(certificate()),
            V2,
            vec![
                ("grant_type", "client_credentials"),
                ("client_id", "c1"),
                SCOPE,
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ("client_assertion", "*"),
            ],
        ),
        (Way::AccessToken(secret("token")), "", vec![]),
        (Way::TokenCommand(printing("token-CANARY")), "", vec![]),
    ]
}

fn form(body: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn every_kind_posts_its_form() {
    for index in 0..kinds(&tempfile::tempdir().unwrap()).len() {
        let dir = tempfile::tempdir().unwrap();
        let (way, target, expected) = kinds(&dir).swap_remove(index);
        let server = Server::with_tokens(|_, _| json(500, "")).await;
        Client::new(options(&server), auth(way.clone())).unwrap().sign_in().await.unwrap();
        let seen = server.seen();
        if target.is_empty() {
            assert!(seen.is_empty(), "{way} asked somebody");
            continue;
        }
        assert_eq!((seen.len(), seen[0].target.as_str()), (1, target), "{way}");
        let posted = form(&seen[0].body);
        let names: Vec<&str> = posted.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected.iter().map(|(name, _)| *name).collect::<Vec<_>>(), "{way}");
        for ((name, value), (_, wanted)) in posted.iter().zip(&expected) {
            assert!(*wanted == "*" || value == wanted, "{way}: {name} is {value}");
        }
    }
}

#[tokio::test]
async fn no_kind_shows_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    for (way, ..) in kinds(&dir) {
        // A server that says back everything that it got.
        let server = Server::start(|seen, _| {
            let heard = form_urlencoded::parse(seen.body.as_bytes()).into_owned();
            let heard: Vec<String> = heard.map(|(_, value)| value).collect();
            let bearer = seen.header("authorization").unwrap_or_default();
            let said = serde_json::json!({"error": "odd", "error_description": format!("{} {bearer} {}", seen.body, heard.join(" "))});
            json(400, &said.to_string())
        })
        .await;
        let client = Client::new(options(&server), auth(way.clone())).unwrap();
        assert!(!format!("{client:?} {client:#?} {way:?}").contains(CANARY), "{way}");
        let error = match client.sign_in().await {
            Err(error) => error,
            // These ask nobody to sign in: the API is the first that hears of them.
            Ok(()) => client.status("payments", &RequestId(ID.to_owned())).await.unwrap_err(),
        };
        assert_clean(&error);
    }
}

#[tokio::test]
async fn scope_and_national_cloud_are_configurable() {
    let dir = tempfile::tempdir().unwrap();
    for (scope, resource, app, user) in [
        (None, "https://other.example/", "https://other.example/.default", " offline_access openid profile"),
        (
            Some("https://api.partner.microsoft.com/user_impersonation openid"),
            "https://other.example",
            "https://api.partner.microsoft.com/user_impersonation openid",
            " offline_access profile",
        ),
    ] {
        for (way, expected) in [
            (Way::ClientSecret(secret("s").into()), app.to_owned()),
            (
                Way::RefreshToken { client_secret: None, given: Some(secret("g")), store: store(&dir) },
                format!("{app}{user}"),
            ),
        ] {
            let server = Server::with_tokens(|_, _| json(500, "")).await;
            let mut options = options(&server);
            options.resource = resource.to_owned();
            options.authority = server.url.join("cloud/").unwrap();
            let mut auth = auth(way);
            auth.scope = scope.map(str::to_owned);
            Client::new(options, auth).unwrap().sign_in().await.unwrap();
            let seen = &server.seen()[0];
            assert_eq!(seen.target, "/cloud/contoso.example/oauth2/v2.0/token");
            assert!(form(&seen.body).contains(&("scope".to_owned(), expected)), "{}", seen.body);
        }
    }
}

#[tokio::test]
async fn the_assertion_is_signed_for_this_endpoint_and_ten_minutes() {
    let server = Server::start(|_, number| match number {
        0 => json(503, ""),
        _ => token(number, "3600"),
    })
    .await;
    let mut auth = auth(Way::Certificate(certificate()));
    auth.clock = || "2026-11-25T12:00:00Z".parse().unwrap();
    let now = (auth.clock)().as_second();
    Client::new(options(&server), auth).unwrap().sign_in().await.unwrap();
    let assertions: Vec<String> = server
        .seen()
        .iter()
        .map(|seen| form(&seen.body).into_iter().find(|(name, _)| name == "client_assertion").unwrap().1)
        .collect();
    let mut ids = Vec::new();
    for assertion in &assertions {
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let der = pem_certificate();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        let public = parsed.public_key().subject_public_key.data.to_vec();
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PKCS1_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let part =
            |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
        let (header, claims) = signed.split_once('.').unwrap();
        let (header, claims) = (part(header), part(claims));
        let thumb = |algorithm| URL_SAFE_NO_PAD.encode(ring::digest::digest(algorithm, &der));
        assert_eq!((&header["alg"], &header["typ"]), (&"RS256".into(), &"JWT".into()));
        assert_eq!(header["x5t#S256"], thumb(&ring::digest::SHA256));
        assert_eq!(header["x5t"], thumb(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY));
        assert_eq!(claims["aud"], format!("{}contoso.example/oauth2/v2.0/token", server.url));
        assert_eq!((&claims["iss"], &claims["sub"]), (&"c1".into(), &"c1".into()));
        assert_eq!((&claims["iat"], &claims["nbf"]), (&now.into(), &now.into()));
        assert_eq!(claims["exp"], now + 600);
        ids.push(claims["jti"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 2, "each try has a statement of its own");
}

/// The second certificate of the PEM file: the first belongs to somebody else.
fn pem_certificate() -> Vec<u8> {
    let text = std::str::from_utf8(PEM).unwrap();
    let part = text.split("-----BEGIN CERTIFICATE-----").nth(2).unwrap();
    let part = part.split("-----END").next().unwrap();
    STANDARD.decode(part.split_whitespace().collect::<String>()).unwrap()
}

#[test]
fn certificates_are_read_in_every_container() {
    let password = Secret::new("pfx-CANARY");
    for (bytes, password) in
        [(PEM, None), (TRADITIONAL, None), (PFX, Some(&password)), (LEGACY_PFX, Some(&password))]
    {
        let certificate = Certificate::parse(bytes, password).unwrap();
        assert_eq!(certificate.not_after().to_string(), "2126-11-01T04:09:59Z");
        assert!(!format!("{certificate:?}").contains("PRIVATE"));
    }
    let wrong = Secret::new("wrong-CANARY");
    for (bytes, password, words) in [
        (PFX, Some(&wrong), "no PFX file that this password opens"),
        (PFX, None, "no PFX file that this password opens"),
        (ENCRYPTED, None, "encrypted private key"),
        (MISMATCH, None, "does not hold the certificate that belongs to its key"),
        (&b"-----BEGIN CERTIFICATE-----\nAA"[..], None, "not a sound PEM file"),
        (&b"-----BEGIN X-----\nAAAA\n-----END X-----\n"[..], None, "no private key"),
        (&b""[..], None, "no PEM file"),
    ] {
        let error = Certificate::parse(bytes, password).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.message().contains(words), "{error}");
        assert_clean(&error);
    }
}

#[tokio::test]
async fn secrets_and_certificates_are_told_before_they_end() {
    let now: Timestamp = "2126-10-20T00:00:00Z".parse().unwrap();
    let found = expiries(&auth(Way::Certificate(certificate())), now).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].what, found[0].near, found[0].days_left, found[0].assumed),
        (Expiring::Certificate, true, 12, false)
    );
    assert_eq!(found[0].to_string(), "the certificate expires on 2126-11-01, in 12 days");

    let app = AppSecret { secret: secret("s"), expires_on: Some(date(2027, 1, 31)) };
    let mut app = auth(Way::ClientSecret(app));
    for (day, near, words) in [
        ("2027-01-16T23:00:00Z", false, "the client secret expires on 2027-01-31, in 14 days"),
        ("2027-01-17T00:00:00Z", true, "the client secret expires on 2027-01-31, in 14 days"),
        ("2027-01-30T01:00:00Z", true, "the client secret expires on 2027-01-31, within a day"),
        ("2027-02-02T00:00:00Z", true, "the client secret has expired on 2027-01-31"),
    ] {
        let found = expiries(&app, day.parse().unwrap()).await;
        assert_eq!((found[0].near, found[0].to_string().as_str()), (near, words), "{day}");
    }
    app.warn_days = 30;
    assert!(expiries(&app, "2027-01-02T00:00:00Z".parse().unwrap()).await[0].near);

    // One that has ended is not even tried.
    let server = Server::with_tokens(|_, _| json(500, "")).await;
    let mut ended = auth(Way::Certificate(certificate()));
    ended.clock = || "2127-01-01T00:00:00Z".parse().unwrap();
    let error = Client::new(options(&server), ended).unwrap().sign_in().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Auth, "the certificate has expired"));
    assert!(server.seen().is_empty());
}

fn at(auth: Auth, clock: fn() -> Timestamp) -> Auth {
    Auth { clock, ..auth }
}

#[tokio::test]
async fn a_given_token_is_used_to_its_end_and_no_further() {
    let server = Server::start(|seen, _| match seen.header("authorization") {
        Some(bearer) if bearer.starts_with("Bearer ey") => json(401, ""),
        _ => export(200, "Queued", ""),
    })
    .await;
    let id = RequestId(ID.to_owned());
    let client = |token: &str| {
        let auth = auth(Way::AccessToken(Secret::new(token)));
        Client::new(options(&server), at(auth, || "2026-11-25T12:00:00Z".parse().unwrap())).unwrap()
    };
    // A token that cannot be read is good until the API says no.
    let opaque = client("opaque-CANARY");
    opaque.status("payments", &id).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Bearer opaque-CANARY"));

    let expired = client(&jwt(r#"{"exp":1795600000}"#)).sign_in().await.unwrap_err();
    assert_eq!((expired.kind(), expired.message()), (Kind::Auth, "the given access token has expired"));
    assert!(expired.to_string().contains("at=2026-11-25T09:46:40Z"), "{expired}");
    assert_clean(&expired);

    let refused = client(&jwt(r#"{"exp":1795700000,"aud":"https://api.partnercenter.microsoft.com"}"#));
    refused.sign_in().await.unwrap();
    let error = refused.status("payments", &id).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.to_string().contains("audience=https://api.partnercenter.microsoft.com"), "{error}");
    assert_clean(&error);
    let signed_in = refused.signed_in().await;
    assert!(signed_in.is_err(), "a refusal is final");
}

#[tokio::test]
async fn a_command_is_asked_again_when_its_token_ends() {
    let dir = tempfile::tempdir().unwrap();
    let count = dir.path().join("count");
    let script = format!(
        "echo x >> {0}; n=$(wc -l < {0}); printf '{{\"accessToken\":\"token-%s\",\"expires_on\":%s}}' $n $(($(date +%s) + 2))",
        count.display()
    );
    let argv = ["sh", "-c", &script].map(str::to_owned).to_vec();
    let way = Way::TokenCommand(Argv::new("command", argv, Duration::from_secs(10)).unwrap());
    let server = Server::start(|_, _| export(200, "Queued", "")).await;
    let client = Client::new(options(&server), auth(way)).unwrap();
    let id = RequestId(ID.to_owned());
    client.status("payments", &id).await.unwrap();
    client.status("payments", &id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    client.status("payments", &id).await.unwrap();
    let seen = server.seen();
    let used: Vec<&str> = seen.iter().map(|seen| seen.header("authorization").unwrap()).collect();
    assert_eq!(used, ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn a_command_that_fails_or_prints_no_token_is_told() {
    let server = Server::start(|_, _| json(500, "")).await;
    for (script, words) in [
        ("echo 'ERROR: Please run az login' >&2; exit 1", "Please run az login"),
        ("echo '{}'", "printed no token"),
        ("echo '{\"accessToken\":\"t\",\"expires_on\":1000}'", "printed a token that has expired"),
    ] {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        let way = Way::TokenCommand(Argv::new("command", argv, Duration::from_secs(10)).unwrap());
        let error = Client::new(options(&server), auth(way)).unwrap().sign_in().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn the_one_behind_a_token_is_told() {
    let claims = r#"{"tid":"t-9","upn":"reader@contoso.example","amr":["pwd"],"scp":"user_impersonation",
        "aud":"https://other.example","exp":1795700000}"#;
    let server = Server::start(|_, _| json(500, "")).await;
    let given = Auth::new("", "", Way::AccessToken(Secret::new(jwt(claims))));
    let given = at(given, || "2026-11-25T12:00:00Z".parse().unwrap());
    let signed_in = Client::new(options(&server), given).unwrap().signed_in().await.unwrap();
    assert_eq!((signed_in.tenant.as_str(), signed_in.principal.as_str()), ("t-9", "reader@contoso.example"));
    assert_eq!(signed_in.methods, ["pwd"]);
    assert_eq!(signed_in.access_token_expires_at.to_string(), "2026-11-26T13:33:20Z");
    let told = signed_in.warnings.join("\n");
    assert!(told.contains("for https://other.example") && told.contains("multi-factor"), "{told}");
    assert!(!serde_json::to_string(&signed_in).unwrap().contains(CANARY));
}

#[tokio::test]
async fn a_challenge_of_the_api_is_answered() {
    let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
    let header = format!(r#"Bearer error="insufficient_claims", claims="{}""#, STANDARD.encode(claims));
    let server = Server::start(move |seen, number| match (seen.is_token(), number) {
        (true, 0) => token(0, "3600"),
        (true, _) => json(400, r#"{"error":"interaction_required","suberror":"basic_action"}"#),
        _ => with_header(json(401, ""), "www-authenticate", &header),
    })
    .await;
    let client = Client::new(options(&server), auth(Way::ClientSecret(secret("s").into()))).unwrap();
    let error = client.status("payments", &RequestId(ID.to_owned())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.hint_text().unwrap().contains("payoutlake auth login"), "{error:#}");
    let tokens: Vec<Seen> = server.seen().into_iter().filter(Seen::is_token).collect();
    assert!(form(&tokens[1].body).contains(&("claims".to_owned(), claims.to_owned())), "{}", tokens[1].body);
}
