//! Refresh tokens: kept, rotated, shared by several clients, and never seen by others.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use url::form_urlencoded;

use super::server::*;
use crate::error::Kind;
use crate::event::{Level, Observer};
use crate::model::{Expiring, RequestId};
use crate::secret::Secret;
use crate::source::auth::{Argv, Store, expiries, stored_in};
use crate::source::{Client, Options, Way};

/// A sign-in service that ends a refresh token by its first use, as strict ones do.
#[derive(Clone)]
struct Strict {
    good: Arc<Mutex<HashSet<String>>>,
    given: Arc<Mutex<u64>>,
    life_secs: u64,
}

impl Strict {
    fn new(first: &str, life_secs: u64) -> Strict {
        Strict { good: Arc::new(Mutex::new([first.to_owned()].into())), given: Arc::default(), life_secs }
    }

    fn answer(&self, seen: &Seen) -> Response {
        let form: Vec<(String, String)> = form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
        let offered = form.iter().find(|(name, _)| name == "refresh_token").map_or("", |(_, value)| value);
        let mut good = self.good.lock().unwrap();
        if !good.remove(offered) {
            return json(
                400,
                &format!(
                    r#"{{"error":"invalid_grant","error_codes":[70000],"error_description":"AADSTS70000: {offered}"}}"#
                ),
            );
        }
        let mut given = self.given.lock().unwrap();
        *given += 1;
        let next = format!("refresh-{CANARY}-{given}");
        good.insert(next.clone());
        let claims = r#"{"tid":"t-9","oid":"o-1","preferred_username":"reader@contoso.example"}"#;
        let id = format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        json(
            200,
            &format!(
                r#"{{"access_token":"token-{CANARY}-{given}","expires_in":{},"refresh_token":"{next}","id_token":"{id}"}}"#,
                self.life_secs
            ),
        )
    }

    async fn start(&self) -> Server {
        let strict = self.clone();
        Server::start(move |seen, _| match seen.is_token() {
            true => strict.answer(seen),
            false => export(200, "Queued", ""),
        })
        .await
    }
}

fn given(token: &str, store: Store) -> Way {
    Way::RefreshToken { client_secret: None, given: Some(Secret::new(token)), store }
}

fn own(dir: &Path) -> Store {
    Store::own(dir, "https://login.example/", "contoso.example", "c1", "contoso")
}

fn own_file(dir: &Path) -> PathBuf {
    match own(dir) {
        Store::Own(path) => path,
        other => panic!("{other:?}"),
    }
}

fn slow_options(server: &Server) -> Options {
    // The looks at the store after a refusal are 50, 100 and 200 ms apart.
    Options { retry_first_delay_millis: 50, ..options(server) }
}

fn client(server: &Server, way: Way) -> Client {
    Client::new(slow_options(server), auth(way)).unwrap()
}

/// A client and what it warns of.
fn told(client: Client) -> (Client, Arc<Mutex<Vec<String>>>) {
    let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
    let memory = warnings.clone();
    let observer = Observer::new(move |event| {
        if event.level == Level::Warn {
            memory.lock().unwrap().push(event.message);
        }
    });
    (client.observed_by(observer), warnings)
}

#[tokio::test]
async fn a_first_token_is_exchanged_and_its_successor_kept() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Strict::new("first", 3600);
    let server = strict.start().await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    // The next process has the store alone.
    let next = client(&server, Way::DeviceCode { store: own(dir.path()) });
    next.sign_in().await.unwrap();
    assert_eq!(server.tokens(), 2);
    assert_eq!(next.identity().await, ("contoso.example".to_owned(), "reader@contoso.example".to_owned()));
    let text = std::fs::read_to_string(own_file(dir.path())).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["refresh_token"], format!("refresh-{CANARY}-2"));
    assert_eq!((&json["version"], &json["generation"]), (&1.into(), &2.into()));
    assert_eq!((&json["tenant"], &json["client_id"]), (&"contoso.example".into(), &"c1".into()));
    for time in ["signed_in_at", "obtained_at", "last_used_at", "expires_at"] {
        assert!(json[time].is_string(), "{time}: {json}");
    }
    assert_eq!(json["expiry_assumed"], true);
}

#[tokio::test]
async fn a_token_given_anew_wins_over_the_stored_one() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Strict::new("first", 3600);
    let server = strict.start().await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    // The same first token again: the store goes on.
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    assert_eq!(server.tokens(), 2);
    // Another one: a person changed it.
    strict.good.lock().unwrap().insert("second".to_owned());
    client(&server, given("second", own(dir.path()))).sign_in().await.unwrap();
    assert!(server.seen()[2].body.ends_with("refresh_token=second"), "{}", server.seen()[2].body);
    client(&server, given("second", own(dir.path()))).sign_in().await.unwrap();
    assert_eq!(server.tokens(), 4);
}

#[tokio::test]
async fn nobody_and_an_ended_token_say_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Strict::new("first", 3600);
    let server = strict.start().await;
    let error = client(&server, Way::DeviceCode { store: own(dir.path()) }).sign_in().await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Auth, "nobody has signed in yet"));
    assert!(error.hint_text().unwrap().contains("payoutlake auth login"), "{error:#}");
    assert!(server.seen().is_empty());

    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    strict.good.lock().unwrap().clear();
    let error = client(&server, given("first", own(dir.path()))).sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.hint_text().unwrap().contains("payoutlake auth login"), "{error:#}");
    assert_clean(&error);
    // The stored one and the first one, each once.
    assert_eq!(server.tokens(), 3);
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_of_ours_is_for_its_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state").join("sign-in");
    let server = Strict::new("first", 3600).start().await;
    client(&server, given("first", own(&folder))).sign_in().await.unwrap();
    let file = own_file(&folder);
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the file and its lock, nothing temporary: {names:?}");

    set_mode(&file, 0o640);
    let error = client(&server, Way::DeviceCode { store: own(&folder) }).sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.message().contains("others on this machine"), "{error}");
    assert!(error.hint_text().unwrap().contains("chmod 600"), "{error:#}");
    assert_eq!(server.tokens(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_mounted_file_is_written_back_through_its_link() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real"), dir.path().join("token"));
    std::fs::write(&real, "first\n").unwrap();
    set_mode(&real, 0o640);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let server = Strict::new("first", 3600).start().await;
    for _ in 0..2 {
        client(&server, Way::DeviceCode { store: Store::Mounted(link.clone()) }).sign_in().await.unwrap();
    }
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read_to_string(&real).unwrap().contains("refresh-CANARY-2"));
    assert_eq!(mode(&real), 0o640, "its mode is somebody else's choice");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_told_and_the_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    // A program cannot write, whoever runs it; root may write into a folder that is read-only.
    let token = dir.path().join("token");
    std::fs::write(&token, "first").unwrap();
    let get = sh(&format!("cat {}", token.display()));
    let set = sh("echo 'read-only file system' >&2; exit 1");
    let strict = Strict::new("first", 2);
    let server = strict.start().await;
    let (client, warnings) = told(client(&server, Way::DeviceCode { store: Store::Commands { get, set } }));
    let id = RequestId(ID.to_owned());
    client.status("payments", &id).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // The store still has the first token, which is used up: this process knows the newer one.
    client.status("payments", &id).await.unwrap();
    let warnings = warnings.lock().unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("read-only file system") && warnings[0].contains("goes on"), "{warnings:?}");
    assert!(!warnings.concat().contains(CANARY), "{warnings:?}");
    assert_eq!(server.tokens(), 2);
}

#[tokio::test]
async fn a_folder_that_is_missing_is_a_store_that_cannot_be_written() {
    let server = Strict::new("first", 3600).start().await;
    let store = Store::Mounted("/proc/payoutlake/token".into());
    let (client, warnings) = told(client(&server, given("first", store)));
    client.sign_in().await.unwrap();
    let warnings = warnings.lock().unwrap();
    assert!(warnings[0].contains("cannot be written back"), "{warnings:?}");
}

fn sh(script: &str) -> Argv {
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    Argv::new("store", argv, Duration::from_secs(10)).unwrap()
}

#[tokio::test]
async fn commands_keep_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let vault = dir.path().join("vault");
    let store = || Store::Commands {
        get: sh(&format!("cat {0} 2>/dev/null || true", vault.display())),
        set: sh(&format!("cat > {}", vault.display())),
    };
    let server = Strict::new("first", 3600).start().await;
    let error = client(&server, Way::DeviceCode { store: store() }).sign_in().await.unwrap_err();
    assert_eq!(error.message(), "nobody has signed in yet");
    client(&server, given("first", store())).sign_in().await.unwrap();
    let again = client(&server, Way::DeviceCode { store: store() });
    again.sign_in().await.unwrap();
    assert!(std::fs::read_to_string(&vault).unwrap().contains("refresh-CANARY-2"));
    assert!(again.log_out().await.unwrap());
    assert!(!std::fs::read_to_string(&vault).unwrap().contains(CANARY));
    assert!(!again.log_out().await.unwrap(), "there is nothing left");
    let error = client(&server, Way::DeviceCode { store: store() }).sign_in().await.unwrap_err();
    assert_eq!(error.message(), "nobody has signed in yet");

    let failing = Store::Commands { get: sh("echo 'no access' >&2; exit 4"), set: sh("true") };
    let error = client(&server, Way::DeviceCode { store: failing }).sign_in().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Auth);
    assert!(error.to_string().contains("no access"), "{error}");
    assert!(error.hint_text().unwrap().contains("payoutlake auth login"), "{error:#}");
}

#[tokio::test]
async fn two_clients_on_one_store_do_not_lock_each_other_out() {
    let dir = tempfile::tempdir().unwrap();
    // Tokens of half a second: both clients refresh again and again.
    let strict = Strict::new("first", 1);
    let server = strict.start().await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    let clients: Vec<Client> =
        (0..2).map(|_| client(&server, Way::DeviceCode { store: own(dir.path()) })).collect();
    let id = RequestId(ID.to_owned());
    for round in 0..6 {
        // At the same moment: one of them comes with a token that the other has just used up.
        let answers = join_all(clients.iter().map(|client| client.status("payments", &id))).await;
        for answer in answers {
            answer.unwrap_or_else(|error| panic!("round {round}: {error:#}"));
        }
        tokio::time::sleep(Duration::from_millis(550)).await;
    }
    let refused =
        server.seen().iter().filter(|seen| seen.is_token()).count() as u64 - *strict.given.lock().unwrap();
    assert!(refused > 0, "the race did not happen: the test proves nothing");
    // What is stored at the end is what the service accepts.
    client(&server, Way::DeviceCode { store: own(dir.path()) }).sign_in().await.unwrap();
}

#[tokio::test]
async fn a_newer_token_is_never_replaced_by_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let strict = Strict::new("first", 3600);
    let file = own_file(dir.path());
    let (store, answers) = (file.clone(), strict.clone());
    // While this client waits for its token, a person signs in elsewhere.
    let server = Server::start(move |seen, number| {
        if number == 1 {
            let text = std::fs::read_to_string(&store).unwrap();
            let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
            json["refresh_token"] = "newer".into();
            json["signed_in_at"] = "2126-01-01T00:00:00Z".into();
            json["generation"] = 0.into();
            std::fs::write(&store, json.to_string()).unwrap();
        }
        answers.answer(seen)
    })
    .await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    client(&server, Way::DeviceCode { store: own(dir.path()) }).sign_in().await.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("newer") && !text.contains("refresh-CANARY-2"), "{text}");
}

#[tokio::test]
async fn a_store_of_somebody_else_or_of_later_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Strict::new("first", 3600).start().await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    let file = own_file(dir.path());
    let good = std::fs::read_to_string(&file).unwrap();
    let mounted = dir.path().join("mounted");
    for (from, to, words) in [
        ("\"client_id\": \"c1\"", "\"client_id\": \"c2\"", "belongs to another tenant or application"),
        ("\"version\": 1", "\"version\": 2", "written by a newer payoutlake"),
        ("\"refresh_token\"", "\"refreshtoken\"", "is not complete"),
        ("{", "{{", "is not readable"),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&mounted, good.replace(from, to)).unwrap();
        let store = Store::Mounted(mounted.clone());
        let error = client(&server, Way::DeviceCode { store }).sign_in().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Auth);
        assert!(error.message().contains(words), "{error}");
        assert_clean(&error);
    }
    assert_eq!(server.tokens(), 1);
}

#[tokio::test]
async fn the_end_of_a_refresh_token_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Strict::new("first", 3600).start().await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    let auth = auth(Way::DeviceCode { store: own(dir.path()) });
    let now = (auth.clock)();
    let later = |days: i64| now + jiff::SignedDuration::from_hours(24 * days);
    for (days, near) in [(1, false), (75, false), (77, true), (91, true)] {
        let found = expiries(&auth, later(days)).await;
        assert_eq!(
            (found[0].what, found[0].near, found[0].assumed),
            (Expiring::RefreshToken, near, true),
            "after {days} days: {found:?}"
        );
    }
    let kept = stored_in(dir.path(), 14, later(80)).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].tenant.as_str(), kept[0].principal.as_str()), ("t-9", "reader@contoso.example"));
    assert!(kept[0].expiry.as_ref().unwrap().near);
    assert!(!format!("{kept:?} {}", serde_json::to_string(&kept).unwrap()).contains(CANARY));
}

#[tokio::test]
async fn the_token_of_a_single_page_app_ends_within_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(|_, _| {
        json(
            200,
            r#"{"access_token":"t","expires_in":3600,"refresh_token":"r","refresh_token_expires_in":86399}"#,
        )
    })
    .await;
    client(&server, given("first", own(dir.path()))).sign_in().await.unwrap();
    let auth = auth(Way::DeviceCode { store: own(dir.path()) });
    let found = expiries(&auth, (auth.clock)()).await;
    assert_eq!((found[0].assumed, found[0].near, found[0].days_left), (false, false, 0), "{found:?}");
}
