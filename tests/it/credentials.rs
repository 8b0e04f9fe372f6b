//! Who may write the lake: wrong, missing and expiring credentials of its storage, and two tenants at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Path, State};
use axum::routing::post;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::servers::{self, AZURITE_KEY, Server, Stand};
use crate::sign_in::Sandbox;
use crate::world::Done;

const PIPELINE: &[&str] = &["run", "pipeline.toml"];

/// A run with some settings changed (`None`: unset), which must end with 74 and tell what to do, and no secret.
fn refused(server: &Server, changes: &[(&'static str, Option<&str>)], words: &[&str]) {
    let Some(mut stand) = Stand::new(Some(server)) else { return };
    stand.world.pipeline("", "");
    stand.change(changes);
    // Not only a run: whoever reads as well, and the check before.
    for command in [PIPELINE, &["sql", "SELECT 1"], &["check", "pipeline.toml"]] {
        let done = stand.run(command);
        assert_eq!(done.code, 74, "{command:?}: {}{}", done.stdout, done.stderr);
        told(&done, words);
    }
}

fn told(done: &Done, words: &[&str]) {
    let text = format!("{}{}", done.stdout, done.stderr);
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
    for secret in ["canary", "sig=", AZURITE_KEY] {
        assert!(!text.contains(secret), "{secret} is told: {text}");
    }
}

#[test]
fn what_a_storage_refuses_is_explained() {
    let wrong_key = STANDARD.encode("canary of a key");
    refused(
        &servers::AZURE,
        &[("AZURE_STORAGE_ACCOUNT_KEY", Some(&wrong_key))],
        &["AZURE_STORAGE_ACCOUNT_KEY"],
    );
    let nobody =
        [("AZURE_STORAGE_ACCOUNT_KEY", None), ("AZURE_STORAGE_SAS_TOKEN", Some("sv=2021-08-06&sig=canary"))];
    refused(&servers::AZURE, &nobody, &["AZURE_STORAGE_SAS_TOKEN"]);
    let Some(mut stand) = Stand::new(Some(&servers::S3)) else { return };
    stand.world.pipeline("", "");
    // A store that nothing answers at is told with what was asked, and soon enough for a person who waits.
    stand.change(&[("AWS_ENDPOINT_URL", Some("http://127.0.0.1:1"))]);
    told(&stand.run(&["sql", "SELECT 1"]), &["127.0.0.1:1", "nothing answers at the storage's address"]);
}

#[test]
fn a_container_that_is_missing_is_named() {
    for (server, container) in [(&servers::AZURE, "container"), (&servers::S3, "bucket")] {
        let Some(mut stand) = Stand::new(Some(server)) else { return };
        stand.world.pipeline("", "");
        stand.move_lake("//lake/", "//no-such/");
        let done = stand.run(PIPELINE);
        assert_eq!(done.code, 74, "{}", done.stderr);
        told(&done, &["no-such", &format!("create the {container}")]);
    }
}

/// A container's signature that is good for some seconds.
/// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>
fn signature(seconds: i64) -> String {
    let account = "devstoreaccount1";
    let until = (Timestamp::now() + seconds.seconds()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let fields = [
        ("sp", "rwcdl"),
        ("st", ""),
        ("se", &until),
        ("canonical", &format!("/blob/{account}/lake")),
        ("si", ""),
        ("sip", ""),
        ("spr", ""),
        ("sv", "2021-08-06"),
        ("sr", "c"),
    ];
    // Snapshot, scope and five headers that nobody sets follow.
    let signed = fields.map(|(_, value)| value).join("\n") + &"\n".repeat(7);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(AZURITE_KEY).unwrap());
    let signature = STANDARD.encode(ring::hmac::sign(&key, signed.as_bytes()));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in fields.iter().filter(|(name, value)| *name != "canonical" && !value.is_empty()) {
        query.append_pair(name, value);
    }
    query.append_pair("sig", &signature).finish()
}

#[test]
fn a_signature_that_expires_while_an_export_is_made_costs_nothing() {
    let Some(mut stand) = Stand::new(Some(&servers::AZURE)) else { return };
    let pipeline = std::fs::read_to_string(stand.world.pipeline("", "")).unwrap();
    stand.world.write("pipeline.toml", pipeline.replace("delay_millis = 20", "delay_millis = 4000"));
    stand.change(&[("AZURE_STORAGE_ACCOUNT_KEY", None), ("AZURE_STORAGE_SAS_TOKEN", Some(&signature(3)))]);
    let done = stand.run(PIPELINE);
    assert_eq!(done.code, 74, "{}", done.stderr);
    told(&done, &["AZURE_STORAGE_SAS_TOKEN", "expired", "SAS good until"]);

    stand.change(&[("AZURE_STORAGE_SAS_TOKEN", Some(&signature(600)))]);
    let done = stand.ok(PIPELINE);
    told(&done, &[]);
    let asked = stand.ok(&["--json", "requests", "list", "--all"]).stdout;
    assert_eq!(asked.lines().count(), 4, "an export was asked for twice:\n{asked}");
    assert_eq!(stand.sql("SELECT count(*) FROM transaction_history").len(), 1);
}

/// A tenant of the storage: its tokens are good for two seconds.
#[derive(Clone, Default)]
struct Tenant {
    seen: Arc<Mutex<Vec<String>>>,
}

const STORAGE_TENANT: &str = "5703a6e0-0000-4000-8000-000000000002";

async fn token(
    State(tenant): State<Tenant>,
    Path(name): Path<String>,
    Form(form): Form<HashMap<String, String>>,
) -> Json<Value> {
    tenant.seen.lock().unwrap().push(format!("{name} {} {}", form["client_id"], form["client_secret"]));
    let now = Timestamp::now().as_second();
    let claims = json!({
        "aud": "https://storage.azure.com", "iss": format!("https://sts.windows.net/{name}/"),
        "iat": now, "nbf": now - 5, "exp": now + 2,
    });
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let token = format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    Json(json!({"access_token": token, "expires_in": 2, "token_type": "Bearer"}))
}

#[test]
fn source_and_storage_are_in_different_tenants_and_tokens_are_renewed() {
    let Some(mut stand) = Stand::new(Some(&servers::AZURE_TLS)) else { return };
    let tenant = Tenant::default();
    let app = Router::new().route("/{tenant}/oauth2/v2.0/token", post(token)).with_state(tenant.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let authority = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move { axum::serve(listener, app).await.unwrap() });

    let service = Sandbox::start(&stand.world, 6000);
    service.pipeline(&stand.world, &service.url, "kind = \"client-secret\"");
    stand.change(&[
        ("AZURE_STORAGE_ACCOUNT_KEY", None),
        ("AZURE_AUTHORITY_HOST", Some(&authority)),
        ("AZURE_ALLOW_HTTP", Some("true")),
        ("AZURE_TENANT_ID", Some(STORAGE_TENANT)),
        ("AZURE_CLIENT_ID", Some("storage-client")),
        ("AZURE_CLIENT_SECRET", Some("storage-canary")),
        ("PARTNER_CENTER_CLIENT_SECRET", Some(payoutlake::sandbox::CLIENT_SECRET)),
    ]);
    let done = stand.ok(&["run", "p.toml"]);
    told(&done, &[]);
    let seen = tenant.seen.lock().unwrap().clone();
    // The export takes six seconds: a token of two is renewed at least twice.
    assert!(seen.len() > 2, "{seen:?}");
    let wanted = format!("{STORAGE_TENANT} storage-client storage-canary");
    assert!(seen.iter().all(|seen| *seen == wanted), "{seen:?}");
    assert_eq!(stand.sql("SELECT count(*) > 0 FROM payments"), ["true"]);

    // Another secret is asked for, by its name.
    stand.change(&[("AZURE_CLIENT_SECRET", None)]);
    let done = stand.run(&["sql", "SELECT 1"]);
    assert_eq!(done.code, 74, "{}", done.stderr);
    told(&done, &["AZURE_CLIENT_SECRET"]);
}

#[test]
fn a_storage_without_put_if_absent_is_refused() {
    let switched_off: &[_] = &[("AWS_CONDITIONAL_PUT", Some("disabled"))];
    for (server, changes) in [(&servers::FORGETFUL, [].as_slice()), (&servers::S3, switched_off)] {
        let Some(mut stand) = Stand::new(Some(server)) else { return };
        stand.world.pipeline("", "");
        stand.change(changes);
        for command in [PIPELINE, &["check", "pipeline.toml"]] {
            let done = stand.run(command);
            assert_eq!(done.code, 78, "{}{}", done.stdout, done.stderr);
            told(&done, &["lets a second writer replace", "AWS_CONDITIONAL_PUT"]);
        }
    }
}

#[test]
fn a_storage_may_be_set_up_in_the_pipeline_file() {
    let Some(stand) = Stand::new(Some(&servers::AZURE)) else { return };
    let world = &stand.world;
    let storage = [
        ("azure_storage_account_name", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("azure_endpoint", "AZURE_STORAGE_ENDPOINT"),
    ];
    let storage: String =
        storage.iter().map(|(key, name)| format!("{key} = {:?}\n", stand.setting(name))).collect();
    let key = "azure_storage_account_key = \"${env:LAKE_KEY}\"\n";
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let text = text.replace("lake = \"lake\"", &format!("lake = {:?}", stand.url("below")));
    world.write("pipeline.toml", format!("{text}\n[storage]\n{storage}{key}"));
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        // Somebody else's, who is not asked.
        let others =
            [("AZURE_STORAGE_TOKEN", "canary"), ("AZURE_CLIENT_ID", "canary"), ("AZURE_TENANT_ID", "canary")];
        command.env("LAKE_KEY", AZURITE_KEY).envs(others);
        let done = world.finish(command);
        assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
        told(&done, &[]);
        done
    };
    let done = run(PIPELINE);
    assert!(done.stderr.contains("sql --lake pipeline.toml"), "{}", done.stderr);
    let rows =
        run(&["sql", "--lake", "pipeline.toml", "--format", "csv", "SELECT count(*) > 0 FROM payments"]);
    assert_eq!(rows.stdout.lines().last(), Some("true"));
    run(&["status", "--lake", "pipeline.toml"]);

    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("wrong.toml", text.replace("azure_storage_account_key", "account_key"));
    let done = world.run(&["plan", "wrong.toml"]);
    assert_eq!(done.code, 78, "{}", done.stderr);
    told(&done, &["did you mean `azure_storage_account_key`"]);
}
