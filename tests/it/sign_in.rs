//! Sign-in as a user meets it: `auth login`, runs that follow, `auth status`, `auth logout`, and who is behind an alias.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::ToSpan;
use payoutlake::sandbox;
use serde_json::{Value, json};

use crate::world::{AS_OF, World};

/// `payoutlake sandbox` as a process of its own.
pub struct Sandbox {
    child: Child,
    pub url: String,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It ends with the test, however that ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sandbox {
    pub fn start(world: &World, delay_millis: u32) -> Sandbox {
        let delay = delay_millis.to_string();
        let args = [
            "--json",
            "sandbox",
            "--months",
            "2",
            "--rows-per-month",
            "50",
            "--as-of",
            AS_OF,
            "--delay-millis",
            &delay,
        ];
        let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        Sandbox { child, url: told["url"].as_str().unwrap().to_owned() }
    }

    /// A pipeline on this sandbox that signs in at `authority`.
    pub fn pipeline(&self, world: &World, authority: &str, auth: &str) {
        let text = format!(
            "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n\
             [source]\nkind = \"partner-center\"\n\
             [source.api]\napi = \"{}v1.0/\"\nauthority = \"{authority}\"\npoll = {{ first_secs = 0, max_secs = 1 }}\n\
             [source.auth]\ntenant = \"{}\"\nclient_id = \"{}\"\n{auth}\n\
             [[datasets]]\nname = \"payments\"\n",
            self.url,
            sandbox::TENANT,
            sandbox::CLIENT_ID,
        );
        world.write("p.toml", text);
    }
}

/// The refresh token that is kept on the machine of the test.
fn kept(world: &World) -> String {
    let files = world.files(".local/state/payoutlake/sign-in");
    let mut stored = files.iter().filter(|(name, _)| name.ends_with(".json"));
    let (_, bytes) = stored.next().expect("a stored sign-in");
    assert!(stored.next().is_none(), "one account, one file");
    let json: Value = serde_json::from_slice(bytes).unwrap();
    json["refresh_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_person_signs_in_once_and_runs_follow() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    service.pipeline(&world, &service.url, "kind = \"device-code\"");

    let done = world.run(&["run", "p.toml"]);
    assert_eq!(done.code, 77, "{}", done.stderr);
    assert!(done.stderr.contains("nobody has signed in yet"), "{}", done.stderr);
    assert!(done.stderr.contains("payoutlake auth login p.toml"), "{}", done.stderr);
    assert!(!world.path("lake").exists(), "a sign-in that fails leaves no trace");

    let login = world.ok(&["auth", "login", "p.toml"]);
    assert!(login.stderr.contains("devicelogin") && login.stderr.contains("SANDB0XPC"), "{}", login.stderr);
    assert!(login.stdout.starts_with("signed in as "), "{}", login.stdout);
    let first = kept(&world);

    let run = world.ok(&["run", "p.toml"]);
    let second = kept(&world);
    assert_ne!(first, second, "the newest refresh token is written back");
    let status = world.ok(&["auth", "status", "p.toml"]);
    for words in ["device-code at 127.0.0.1", "access token", "the refresh token expires on", "kept in"] {
        assert!(status.stdout.contains(words), "{words}: {}", status.stdout);
    }
    let as_json = world.ok(&["--json", "auth", "status", "p.toml"]);
    let told: Value = serde_json::from_str(as_json.stdout.trim()).unwrap();
    assert_eq!((&told["schema"], &told["kind"]), (&"payoutlake.auth.v1".into(), &"device-code".into()));
    assert_eq!((&told["tenant"], &told["warnings"]), (&sandbox::TENANT.into(), &json!([])));
    assert_eq!(told["expiries"][0]["what"], "refresh_token");
    let machine = world.ok(&["auth", "status"]);
    assert!(
        machine.stdout.contains(sandbox::TENANT) && machine.stdout.contains("(assumed)"),
        "{}",
        machine.stdout
    );

    // Nothing that was printed, and nothing in the lake, holds a token.
    let third = kept(&world);
    let printed =
        [&login, &run, &status, &as_json, &machine].map(|done| format!("{}{}", done.stdout, done.stderr));
    for token in [&first, &second, &third] {
        assert!(printed.iter().all(|text| !text.contains(token.as_str())));
        let lake = world.files("lake");
        assert!(lake.iter().all(|(_, bytes)| !String::from_utf8_lossy(bytes).contains(token.as_str())));
    }

    let out = world.ok(&["auth", "logout", "p.toml"]);
    assert!(out.stdout.contains("signed out"), "{}", out.stdout);
    assert!(world.ok(&["auth", "logout", "p.toml"]).stdout.contains("nobody was signed in"));
    assert_eq!(world.run(&["run", "p.toml"]).code, 77);
    assert_eq!(world.run(&["auth", "status", "p.toml"]).code, 77);
    assert!(world.ok(&["auth", "status"]).stdout.contains("no sign-in is kept"));
}

/// Who looks at the lake is told, on any machine and without a sign-in, what the account's sign-in will lose.
#[test]
fn a_lake_tells_what_its_sign_ins_will_lose() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    let status = |world: &World| -> (Value, String) {
        let as_json = world.ok(&["--json", "status", "--lake", "lake"]).stdout;
        (serde_json::from_str(as_json.trim()).unwrap(), world.ok(&["status", "--lake", "lake"]).stdout)
    };
    let ends_on = |day: &str| {
        let secret = sandbox::CLIENT_SECRET;
        format!(
            "kind = \"client-secret\"\nclient_secret = \"{secret}\"\nclient_secret_expires_on = \"{day}\""
        )
    };
    service.pipeline(&world, &service.url, &ends_on("2126-01-31"));
    world.ok(&["run", "p.toml"]);
    let (json, text) = status(&world);
    let told = &json["expiries"][0];
    assert_eq!((&told["account"], &told["what"]), (&"contoso".into(), &"client_secret".into()), "{json}");
    assert_eq!((&told["near"], json["expiries"].as_array().unwrap().len()), (&false.into(), 1));
    assert!(text.contains("contoso: the client secret expires on 2126-01-31, in "), "{text}");

    let soon = (jiff::Timestamp::now() + 72.hours()).strftime("%Y-%m-%d").to_string();
    service.pipeline(&world, &service.url, &ends_on(&soon));
    let run = world.ok(&["run", "p.toml"]);
    assert!(run.stderr.contains("the client secret expires on"), "{}", run.stderr);
    let (json, text) = status(&world);
    assert_eq!(json["expiries"][0]["near"], true, "{json}");
    assert!(text.contains("! sign-in of contoso: the client secret expires on"), "{text}");
    assert!(text.contains("make a new secret"), "{text}");
    assert!(!text.contains(sandbox::CLIENT_SECRET) && !json.to_string().contains(sandbox::CLIENT_SECRET));

    // Another way, with nothing that ends.
    let password = format!(
        "kind = \"username-password\"\nusername = \"{}\"\npassword = \"{}\"",
        sandbox::USERNAME,
        sandbox::PASSWORD
    );
    service.pipeline(&world, &service.url, &password);
    world.ok(&["run", "p.toml", "--accept-identity"]);
    assert_eq!(status(&world).0["expiries"], json!([]));
}

#[test]
fn a_program_reads_the_code_from_an_event() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    service.pipeline(&world, &service.url, "kind = \"device-code\"");
    let done = world.ok(&["--json", "auth", "login", "p.toml"]);
    assert_eq!(done.stderr, "");
    let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{}", done.stdout);
    assert_eq!(
        (&lines[0]["schema"], &lines[0]["event"]),
        (&"payoutlake.event.v1".into(), &"device_code".into())
    );
    assert_eq!(lines[0]["user_code"], "SANDB0XPC");
    assert!(lines[0]["verification_uri"].as_str().unwrap().ends_with("devicelogin"));
    assert_eq!(lines[1]["schema"], "payoutlake.auth.v1");
}

/// A pipeline on the embedded sandbox with this `[source.auth]`.
fn embedded(world: &World, auth: &str) {
    world.write(
        "e.toml",
        format!(
            "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"sandbox\"\n[source.auth]\n{auth}\n\
             [source.sandbox]\nmonths = 2\nrows_per_month = 50\nas_of = \"{AS_OF}\"\ndelay_millis = 20\n\
             [[datasets]]\nname = \"payments\"\n"
        ),
    );
}

#[test]
fn every_kind_can_be_tried_without_an_account() {
    for auth in [
        "kind = \"certificate\"",
        "kind = \"client-secret\"",
        "kind = \"username-password\"",
        "kind = \"username-password\"\nversion = 2",
    ] {
        let world = World::new();
        embedded(&world, auth);
        let mut command = world.command(&["run", "e.toml"]);
        // The environment is about the real service.
        command.env("PARTNER_CENTER_TENANT_ID", "elsewhere").env("PARTNER_CENTER_PASSWORD", "wrong");
        let done = world.finish(command);
        assert_eq!(done.code, 0, "{auth}: {}", done.stderr);
        assert!(!done.stderr.contains("legacy"), "the sandbox is not Microsoft: {}", done.stderr);
    }
    let world = World::new();
    embedded(&world, "kind = \"device-code\"");
    assert_eq!(world.run(&["run", "e.toml"]).code, 77);
    world.ok(&["auth", "login", "e.toml"]);
    world.ok(&["run", "e.toml"]);
    // A wrong value is a refusal, not a default.
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/src/source/tests/certificates/app.pem");
    embedded(&world, &format!("kind = \"certificate\"\ncertificate = {other:?}"));
    let done = world.run(&["run", "e.toml"]);
    assert_eq!(done.code, 77, "{}", done.stderr);
    assert!(done.stderr.contains("AADSTS700027"), "{}", done.stderr);
    embedded(&world, "kind = \"client-secret\"\nclient_secret = \"canary\"");
    let done = world.run(&["run", "e.toml"]);
    assert_eq!(done.code, 77, "{}", done.stderr);
    assert!(
        done.stderr.contains("wrong client secret") && !done.stderr.contains("canary"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_ends_soon_is_told() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    let auth = |day: &str| {
        let secret = sandbox::CLIENT_SECRET;
        format!(
            "kind = \"client-secret\"\nclient_secret = \"{secret}\"\nclient_secret_expires_on = \"{day}\""
        )
    };
    service.pipeline(&world, &service.url, &auth("2020-01-31"));
    let status = world.run(&["auth", "status", "p.toml"]);
    assert_eq!(status.code, 3, "{}", status.stderr);
    assert!(status.stdout.contains("! the client secret has expired on 2020-01-31"), "{}", status.stdout);
    let run = world.run(&["run", "p.toml"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("warning: the client secret has expired on 2020-01-31"), "{}", run.stderr);
    let as_json = world.run(&["--json", "run", "p.toml"]);
    let warned = as_json.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warned = warned.filter(|line| line["level"] == "warn").count();
    assert_eq!(warned, 1, "{}", as_json.stdout);

    service.pipeline(&world, &service.url, &auth("2120-01-31"));
    world.ok(&["auth", "status", "p.toml"]);
}

#[test]
fn tokens_from_outside_are_used() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    let token = access_token(&service.url);
    service.pipeline(&world, &service.url, "kind = \"access-token\"");
    let mut command = world.command(&["run", "p.toml"]);
    command.env("PARTNER_CENTER_ACCESS_TOKEN", &token);
    let done = world.finish(command);
    assert_eq!(done.code, 0, "{}", done.stderr);

    // As the Azure CLI prints it.
    world.write("token.json", json!({"accessToken": token, "expires_on": 4_000_000_000_u64}).to_string());
    service.pipeline(&world, &service.url, "kind = \"token-command\"\ncommand = [\"cat\", \"token.json\"]");
    world.ok(&["run", "p.toml"]);
    service.pipeline(&world, &service.url, "kind = \"token-command\"\ncommand = [\"cat\", \"nothing.json\"]");
    let done = world.run(&["run", "p.toml"]);
    assert_eq!(done.code, 77, "{}", done.stderr);
    assert!(done.stderr.contains("No such file"), "{}", done.stderr);

    let claims = URL_SAFE_NO_PAD.encode(json!({"exp": 1_700_000_000}).to_string());
    service.pipeline(
        &world,
        &service.url,
        &format!("kind = \"access-token\"\naccess_token = \"e30.{claims}.s\""),
    );
    let done = world.run(&["run", "p.toml"]);
    assert_eq!(done.code, 77);
    assert!(done.stderr.contains("the given access token has expired"), "{}", done.stderr);
}

/// A token of the sandbox's application.
fn access_token(url: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(token_of(url))
}

async fn token_of(url: &str) -> String {
    let scope = format!("{}/.default", sandbox::RESOURCE);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", sandbox::CLIENT_ID),
        ("client_secret", sandbox::CLIENT_SECRET),
        ("scope", &scope),
    ];
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer =
        http.post(format!("{url}{}/oauth2/v2.0/token", sandbox::TENANT)).form(&form).send().await.unwrap();
    let json: Value = answer.json().await.unwrap();
    json["access_token"].as_str().unwrap().to_owned()
}

/// A sign-in service at which the person of the moment signs in, with the tokens of the sandbox.
#[derive(Clone)]
struct People {
    who: Arc<Mutex<&'static str>>,
    sandbox: String,
}

async fn people_token(
    State(people): State<People>,
    Form(form): Form<HashMap<String, String>>,
) -> Json<Value> {
    // A refresh token names its person.
    let who = form.get("refresh_token").cloned().unwrap_or_else(|| (*people.who.lock().unwrap()).to_owned());
    let claims = json!({"tid": "t-1", "oid": format!("id of {who}"), "preferred_username": who});
    Json(json!({
        "access_token": token_of(&people.sandbox).await,
        "expires_in": 3600,
        "refresh_token": who,
        "id_token": format!("e30.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string())),
    }))
}

#[test]
fn another_person_under_the_same_alias_is_refused() {
    let world = World::new();
    let service = Sandbox::start(&world, 20);
    let people = People { who: Arc::new(Mutex::new("alice@contoso.example")), sandbox: service.url.clone() };
    let code = json!({"device_code": "d", "user_code": "C-1", "verification_uri": "http://127.0.0.1/", "interval": 0});
    let app = Router::new()
        .route("/{tenant}/oauth2/v2.0/devicecode", post(move || async move { Json(code) }))
        .route("/{tenant}/oauth2/v2.0/token", post(people_token))
        .with_state(people.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let authority = format!("http://{}/", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });
    service.pipeline(&world, &authority, "kind = \"device-code\"");

    let login = world.ok(&["auth", "login", "p.toml"]);
    let wanted = format!("signed in as alice@contoso.example in {}", sandbox::TENANT);
    assert!(login.stdout.starts_with(&wanted), "{}", login.stdout);
    world.ok(&["run", "p.toml"]);
    world.ok(&["auth", "login", "p.toml"]);
    world.ok(&["run", "p.toml"]);

    *people.who.lock().unwrap() = "bob@contoso.example";
    world.ok(&["auth", "login", "p.toml"]);
    let done = world.run(&["run", "p.toml"]);
    assert_eq!(done.code, 78, "{}", done.stderr);
    assert!(done.stderr.contains("belongs to another identity"), "{}", done.stderr);
    assert!(done.stderr.contains("alice@") && done.stderr.contains("bob@"), "{}", done.stderr);
    world.ok(&["run", "p.toml", "--accept-identity"]);
    world.ok(&["run", "p.toml"]);
}
