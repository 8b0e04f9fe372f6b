//! Nothing secret is printed or written: every command at its most talkative, on good ways and bad ones, with secrets that
//! would be found anywhere.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use payoutlake::config::{self, Environment, RunFlags};
use payoutlake::sandbox;
use serde_json::Value;

use crate::world::{AS_OF, World};

/// Set in the environment of every command; some of them are never asked for, and must not be told for that.
const VARIABLES: [(&str, &str); 7] = [
    ("AZURE_STORAGE_ACCOUNT_KEY", "canary-azure-key"),
    ("AZURE_STORAGE_SAS_KEY", "canary-azure-sas"),
    ("AZURE_CLIENT_SECRET", "canary-azure-secret"),
    ("AWS_SECRET_ACCESS_KEY", "canary-aws-key"),
    ("AWS_SESSION_TOKEN", "canary-aws-token"),
    ("OPENLINEAGE_API_KEY", "canary-lineage-key"),
    ("HTTP_PROXY_PASSWORD", "canary-proxy"),
];

/// What is wrong in a pipeline file or at the service has its own canaries.
const PASSWORD: &str = "canary-password+&=";
const CLIENT_SECRET: &str = "canary-client-secret~/=";
const REFRESH_TOKEN: &str = "canary-refresh-token";
const ACCESS_TOKEN: &str = "canary-access-token";

/// Of an access token of the sandbox (`{"alg"`, `{"typ"` in base64), of the address of a blob, of a key.
const MARKS: [&str; 5] = ["eyJhbGci", "eyJ0eXAi", "sig=", "canary", "PRIVATE KEY"];

/// Every command, and ways to call it. `p.toml` is a good pipeline, `d.toml` one of a person.
const COMMANDS: [(&str, &[&str]); 32] = [
    ("auth login", &["auth login d.toml"]),
    ("auth status", &["auth status d.toml", "auth status p.toml", "auth status"]),
    (
        "init",
        &["init --api SERVICEv1.0/ --authority SERVICE --tenant TENANT --client-id CLIENT --force new.toml"],
    ),
    ("check", &["check p.toml", "check d.toml", "check p.toml --probe"]),
    ("plan", &["plan p.toml", "plan d.toml"]),
    ("run", &["run p.toml", "run d.toml", "run p.toml --no-wait"]),
    ("backfill", &["backfill p.toml --from 2026-10 --to 2026-11"]),
    ("requests list", &["requests list p.toml --all", "requests list d.toml"]),
    ("requests show", &["requests show p.toml EXPORT"]),
    ("requests delete", &["requests delete p.toml EXPORT --yes"]),
    ("ingest", &["ingest --dataset payments --lake lake --account contoso by-hand.csv"]),
    ("sql", &["sql --lake lake --format json SELECT:*:FROM:payments", "sql --lake lake SELECT:nothing"]),
    ("explain", &["explain --lake lake --payment-id 1"]),
    ("schema list", &["schema list"]),
    ("schema show", &["schema show transaction_history --pii"]),
    ("schema diff", &["schema diff payments v2 v3"]),
    ("schema detect", &["schema detect by-hand.csv"]),
    ("schema export", &["schema export payments --format json-schema"]),
    ("status", &["status --lake lake"]),
    ("changes", &["changes --lake lake --since 2020-01-01"]),
    ("quarantine list", &["quarantine list --lake lake"]),
    ("quarantine show", &["quarantine show --lake lake nothing:1"]),
    ("quarantine replay", &["quarantine replay --pipeline p.toml", "quarantine replay --lake lake"]),
    ("lake snapshots", &["lake snapshots --lake lake"]),
    ("lake files", &["lake files --lake lake"]),
    ("lake tag", &["lake tag --lake lake close", "lake tag --lake lake"]),
    ("lake held", &["lake held --lake lake"]),
    ("lake rollback", &["lake rollback --lake lake --to close"]),
    ("lake maintain", &["lake maintain --lake lake"]),
    ("auth logout", &["auth logout d.toml"]),
    ("sandbox truth", &["sandbox truth --months 1 --rows-per-month 5"]),
    // The issuer tells its own secrets to whoever starts it.
    ("sandbox", &[]),
];

/// The words below "Commands:" in the help of a command.
fn commands(world: &World, path: &[&str]) -> Vec<String> {
    let help = world.ok(&[path, &["--help"]].concat()).stdout;
    let Some((_, list)) = help.split_once("\nCommands:\n") else { return Vec::new() };
    let lines = list.lines().take_while(|line| !line.is_empty());
    let names = lines.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_is_among_those_that_are_searched() {
    let world = World::new();
    let mut all = BTreeSet::new();
    for command in commands(&world, &[]) {
        let below = commands(&world, &[&command]);
        if below.is_empty() || command == "sandbox" {
            all.insert(command.clone());
        }
        all.extend(below.into_iter().map(|name| format!("{command} {name}")));
    }
    let searched: BTreeSet<String> = COMMANDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(all, searched, "a new command needs its line in COMMANDS");
}

struct Service {
    child: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It ends with the test, however that ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn service(world: &World, faults: &[&str]) -> Service {
    let args = format!(
        "--json sandbox --months 2 --rows-per-month 40 --delay-millis 20 --as-of {AS_OF} --state-dir service"
    );
    let mut args: Vec<&str> = args.split(' ').collect();
    faults.iter().for_each(|fault| args.extend(["--fault", fault]));
    let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    Service { child, url: told["url"].as_str().unwrap().to_owned() }
}

/// A pipeline file with this sign-in.
fn pipeline(world: &World, name: &str, api: &str, authority: &str, auth: &str) {
    let (tenant, client) = (sandbox::TENANT, sandbox::CLIENT_ID);
    let text = format!(
        "version = 1\naccount = \"{account}\"\nlake = \"lake\"\n\
         [source]\nkind = \"partner-center\"\n\
         [source.api]\napi = \"{api}v1.0/\"\nauthority = \"{authority}\"\nretry_attempts = 2\n\
         retry_first_delay_millis = 1\npoll = {{ first_secs = 0, max_secs = 1 }}\n\
         [source.auth]\ntenant = \"{tenant}\"\nclient_id = \"{client}\"\n{auth}\n\
         [[datasets]]\nname = \"transaction_history\"\nmonths = 2\n[[datasets]]\nname = \"payments\"\n",
        account = if name == "d.toml" { "person" } else { "contoso" },
    );
    world.write(name, text);
}

fn user(password: &str) -> String {
    format!("kind = \"username-password\"\nusername = \"{}\"\npassword = \"{password}\"", sandbox::USERNAME)
}

/// Runs a command in both of its most talkative ways; gives its exit codes and whatever it printed.
fn talk(world: &World, line: &str) -> (Vec<i32>, String) {
    let done = [&["-v"][..], &["-v", "--json"]].map(|loud| say(world, line, loud, &[]));
    (done.iter().map(|(code, _)| *code).collect(), done.map(|(_, printed)| printed).concat())
}

fn say(world: &World, line: &str, loud: &[&str], variables: &[(&str, &str)]) -> (i32, String) {
    let spaced = |word: &str| if word.contains("://") { word.to_owned() } else { word.replace(':', " ") };
    let words: Vec<String> = line.split(' ').map(spaced).collect();
    let args: Vec<&str> = loud.iter().copied().chain(words.iter().map(String::as_str)).collect();
    let mut command = world.command(&args);
    command.envs(VARIABLES).envs(variables.iter().copied()).env("RUST_BACKTRACE", "full");
    let done = world.finish(command);
    (done.code, done.stdout + &done.stderr)
}

/// Nothing that is secret stands in a text.
fn clean(what: &str, text: &str, more: &[String]) {
    let known = [sandbox::PASSWORD, sandbox::CLIENT_SECRET];
    for secret in MARKS.into_iter().chain(known).chain(more.iter().map(String::as_str)) {
        let Some(at) = text.find(secret) else { continue };
        let around: String =
            text[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("{what}: '{secret}' stands behind: {around}");
    }
}

/// What commands leave behind: the lake with its ledger, archive, receipts and manifests, and the state on the machine
/// but for the store of refresh tokens.
fn clean_files(world: &World, what: &str, more: &[String]) {
    let lake = world.files("lake").into_iter().map(|(name, bytes)| (format!("lake/{name}"), bytes));
    let state = world.files(".local").into_iter().filter(|(name, _)| !name.contains("/sign-in/"));
    let probe = world.files("").into_iter().filter(|(name, _)| name.starts_with("payoutlake-probe"));
    for (name, bytes) in lake.chain(state).chain(probe) {
        clean(&format!("{what}: {name}"), &String::from_utf8_lossy(&bytes), more);
    }
}

/// The refresh tokens in the store, which nobody else may read.
fn stored(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    for (name, bytes) in world.files(".local/state/payoutlake/sign-in") {
        let path = world.path(".local/state/payoutlake/sign-in").join(&name);
        // A lock beside it is empty.
        if !bytes.is_empty() {
            private(&path);
        }
        let token = serde_json::from_slice::<Value>(&bytes).ok();
        found.extend(token.and_then(|json| Some(json["refresh_token"].as_str()?.to_owned())));
    }
    found
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} can be read by others", path.display());
}

#[cfg(not(unix))]
fn private(_path: &Path) {}

#[test]
fn no_command_tells_a_secret() {
    let world = World::new();
    let service = service(&world, &[]);
    pipeline(&world, "p.toml", &service.url, &service.url, &user(sandbox::PASSWORD));
    pipeline(&world, "d.toml", &service.url, &service.url, "kind = \"device-code\"");
    world.write("by-hand.csv", "participantID,programName,earned\n1,2,3\n");
    let mut tokens: Vec<String> = Vec::new();
    for (name, lines) in COMMANDS {
        for line in lines {
            let export = world.exports("lake").into_keys().next().unwrap_or_default();
            let line = &line.replace("EXPORT", &export).replace("SERVICE", &service.url);
            let line = &line.replace("TENANT", sandbox::TENANT).replace("CLIENT", sandbox::CLIENT_ID);
            let (codes, printed) = talk(&world, line);
            tokens.extend(stored(&world));
            clean(line, &printed, &tokens);
            clean_files(&world, line, &tokens);
            assert!(!codes.contains(&70), "{line}: {printed}");
            // A column that is not there, a file that lacks columns, a row that nobody refused, a tag that the first call has made.
            let may_fail =
                ["sql", "explain", "ingest", "schema detect", "quarantine show", "lake tag"].contains(&name);
            assert!(
                may_fail || codes.iter().all(|code| [0, 3, 75].contains(code)),
                "{line}: {codes:?}\n{printed}"
            );
        }
    }
    assert!(tokens.len() > 4, "no refresh token was ever stored");
    assert!(!world.files("lake/_payoutlake/archive").is_empty() && !world.files("lake/payments").is_empty());
}

/// Fault of the sandbox, and how the run must end.
const FAULTS: [(&str, i32); 12] = [
    ("mfa-required", 77),
    ("wrong-password", 77),
    ("consent-missing", 77),
    ("token-rejected", 77),
    ("missing-role", 77),
    ("foreign-host", 69),
    ("plain-http", 69),
    ("redirected", 69),
    ("blob-redirected", 69),
    ("blob-refused@1..", 69),
    ("blob-gone@1..", 69),
    ("page-instead@2..", 69),
];

#[test]
fn no_refusal_tells_a_secret() {
    for (fault, code) in FAULTS {
        let world = World::new();
        let service = service(&world, &[fault]);
        pipeline(&world, "p.toml", &service.url, &service.url, &user(sandbox::PASSWORD));
        let (codes, printed) = talk(&world, "run p.toml");
        clean(fault, &printed, &[]);
        clean_files(&world, fault, &[]);
        assert!(
            codes.iter().all(|ended| *ended == code || (code == 69 && *ended != 0)),
            "{fault}: {codes:?}\n{printed}"
        );
    }
}

#[test]
fn no_panic_tells_a_secret() {
    let world = World::new();
    let service = service(&world, &[]);
    pipeline(&world, "p.toml", &service.url, &service.url, &user(sandbox::PASSWORD));
    // A lake for each: a run that panicked looks alive for two minutes, and the next one would wait for it.
    for (hop, lake) in [("decode", "lake"), ("write", "lake2")] {
        let line = format!("run p.toml --lake {lake}");
        let (code, printed) = say(&world, &line, &["-v"], &[("PAYOUTLAKE_MUTATE", &format!("{hop}:panic"))]);
        assert_eq!(code, 70, "{hop}: {printed}");
        clean(hop, &printed, &[]);
        clean_files(&world, hop, &[]);
    }
}

/// What came to the server that says everything back.
type Heard = Arc<Mutex<String>>;

/// Answers with everything that it was sent, as a proxy that explains itself does; `/good/` in the path gives a token.
async fn echo(
    State(heard): State<Heard>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let sent = String::from_utf8_lossy(&body).into_owned();
    heard.lock().unwrap().push_str(&format!("{headers:?} {sent}\n"));
    if uri.path().starts_with("/good/") {
        let token =
            format!("{{\"access_token\":\"{ACCESS_TOKEN}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}");
        return ([(header::CONTENT_TYPE, "application/json")], token).into_response();
    }
    let authorization =
        headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let words = format!("{method} {uri} {authorization} {sent}");
    let status = match uri.path().split('/').nth(1) {
        Some("401") => StatusCode::UNAUTHORIZED,
        Some("403") => StatusCode::FORBIDDEN,
        Some("500") => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let json = serde_json::json!({"error": "invalid_client", "error_description": words, "message": words});
    (status, [(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response()
}

#[test]
fn no_answer_that_says_a_secret_back_is_repeated() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let heard = Heard::default();
    let url = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(echo).with_state(heard.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    });
    let secret = format!("kind = \"client-secret\"\nclient_secret = \"{CLIENT_SECRET}\"");
    let refresh = format!("kind = \"refresh-token\"\nrefresh_token = \"{REFRESH_TOKEN}\"");
    let access = format!("kind = \"access-token\"\naccess_token = \"{ACCESS_TOKEN}\"");
    for status in ["400", "401", "403", "500"] {
        let (bad, good) = (format!("{url}{status}/"), format!("{url}good/"));
        for (auth, authority) in [
            (&user(PASSWORD), &bad),
            (&secret, &bad),
            (&refresh, &bad),
            (&user(PASSWORD), &good),
            (&secret, &good),
            (&access, &bad),
        ] {
            let world = World::new();
            pipeline(&world, "p.toml", &bad, authority, auth);
            for line in ["run p.toml", "auth status p.toml"] {
                let (codes, printed) = talk(&world, line);
                let what = format!("{status}, {line}, {auth}, {authority}");
                assert!(!codes.contains(&70) && !printed.is_empty(), "{what}: {codes:?}\n{printed}");
                clean(&what, &printed, &[]);
                clean_files(&world, &what, &[]);
            }
        }
    }
    let heard = heard.lock().unwrap();
    for sent in ["canary-password", "canary-client-secret", REFRESH_TOKEN, ACCESS_TOKEN] {
        assert!(heard.contains(sent), "{sent} was never sent: the test proves nothing");
    }
}

#[test]
fn what_is_printed_of_a_plan_while_looking_for_a_bug_holds_no_secret() {
    let world = World::new();
    world.write("key.pem", format!("{}{}", sandbox::CERTIFICATE_PEM, sandbox::PRIVATE_KEY_PEM));
    let key = world.path("key.pem");
    let body: String = sandbox::PRIVATE_KEY_PEM.lines().skip(1).take(1).collect();
    for auth in [
        user(PASSWORD),
        format!("kind = \"client-secret\"\nclient_secret = \"{CLIENT_SECRET}\""),
        format!(
            "kind = \"refresh-token\"\nrefresh_token = \"{REFRESH_TOKEN}\"\nclient_secret = \"{CLIENT_SECRET}\""
        ),
        format!("kind = \"access-token\"\naccess_token = \"{ACCESS_TOKEN}\""),
        format!("kind = \"certificate\"\ncertificate = {key:?}"),
    ] {
        let at = "http://127.0.0.1:9/";
        pipeline(&world, "p.toml", at, at, &auth);
        let home = ("HOME".to_owned(), world.path("").display().to_string());
        let canary = ("AZURE_STORAGE_ACCOUNT_KEY".to_owned(), "canary-azure-key".to_owned());
        let environment = Environment::of([home, canary]);
        let (plan, _) =
            config::run_plan(&world.path("p.toml"), &RunFlags::default(), &environment, Timestamp::now)
                .unwrap();
        let printed = format!("{plan:#?} {plan:?} {:#?} {environment:?}", plan.auth);
        assert!(printed.contains(sandbox::TENANT));
        clean(&auth, &printed, std::slice::from_ref(&body));
    }
}
