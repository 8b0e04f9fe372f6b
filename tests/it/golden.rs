//! Help and errors, word for word. `INSTA_UPDATE=always cargo test golden` writes new ones: read the difference.

use insta::assert_snapshot;

use crate::world::World;

/// Paths of the test's own folder are blanked out.
fn shown(world: &World, text: &str) -> String {
    text.replace(world.path("").to_str().unwrap(), "[dir]/")
}

#[test]
fn help() {
    let world = World::new();
    assert_snapshot!("help", world.ok(&["--help"]).stdout);
    for command in [
        "init", "run", "check", "plan", "backfill", "ingest", "sql", "explain", "status", "changes", "lake",
        "auth", "sandbox", "schema",
    ] {
        assert_snapshot!(format!("help-{command}"), world.ok(&[command, "--help"]).stdout);
    }
    for command in ["login", "status", "logout"] {
        assert_snapshot!(format!("help-auth-{command}"), world.ok(&["auth", command, "--help"]).stdout);
    }
    for command in ["list", "show", "diff", "detect", "export"] {
        assert_snapshot!(format!("help-schema-{command}"), world.ok(&["schema", command, "--help"]).stdout);
    }
    for command in ["list", "show", "delete"] {
        assert_snapshot!(
            format!("help-requests-{command}"),
            world.ok(&["requests", command, "--help"]).stdout
        );
    }
    for command in ["list", "show", "replay"] {
        assert_snapshot!(
            format!("help-quarantine-{command}"),
            world.ok(&["quarantine", command, "--help"]).stdout
        );
    }
    for command in ["snapshots", "files", "tag", "rollback", "held", "maintain"] {
        assert_snapshot!(format!("help-lake-{command}"), world.ok(&["lake", command, "--help"]).stdout);
    }
}

#[test]
fn schemas_in_words() {
    let world = World::new();
    for (name, args) in [
        ("list", &["schema", "list"][..]),
        ("show", &["schema", "show", "payments", "--version", "v2"]),
        ("pii", &["schema", "show", "max_cap_balance", "--pii"]),
        ("diff", &["schema", "diff", "payments", "v1", "v3"]),
        ("markdown", &["schema", "export", "payments", "--version", "1", "--format", "markdown"]),
        ("json-schema", &["schema", "export", "payments", "--version", "1", "--format", "json-schema"]),
        ("json-list", &["schema", "list", "--json"]),
    ] {
        assert_snapshot!(format!("schema-{name}"), world.ok(args).stdout);
    }
    let known = "earningId,participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,\
                 transactionCurrency";
    // A mixture of 2025 and 2019, with a column of nobody; a file of nobody; an empty one.
    world.write(
        "mixed.csv",
        format!("{known},agreementName,TenantID,brandNew,Customer Country,customerCountry\n"),
    );
    world.write("unknown.csv", "name,city\nAda,Oslo\n");
    world.write("empty.csv", "");
    let done = world.run(&["schema", "detect", "mixed.csv", "unknown.csv", "empty.csv"]);
    assert_eq!(done.code, 65);
    assert_snapshot!("schema-detect", done.stdout);
}

/// Name, pipeline file, and the error that it gives: always 78.
const PIPELINES: [(&str, &str); 14] = [
    ("unknown-key", "version = 1\nacount = \"contoso\"\nlake = \"lake\"\n"),
    (
        "unknown-nested-key",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"sandbox\"\n[source.sandbox]\nsead = 7\n[[datasets]]\nname = \"payments\"\n",
    ),
    ("a-secret-on-the-line", "version = 1\n[source.auth]\npasword = \"canary\"\n"),
    ("a-secret-of-the-wrong-type", "version = 1\nlake = [\"canary\"]\n"),
    (
        "missing-key",
        "version = 1\naccount = \"contoso\"\n[source]\nkind = \"sandbox\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "wrong-kind",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partnercenter\"\n",
    ),
    (
        "wrong-version",
        "version = 2\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"sandbox\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "unknown-dataset",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"sandbox\"\n[[datasets]]\nname = \"payment\"\n",
    ),
    (
        "bad-account",
        "version = 1\naccount = \"Contoso Ltd\"\nlake = \"lake\"\n[source]\nkind = \"sandbox\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "missing-secret",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[source.auth]\nkind = \"client-secret\"\ntenant = \"t\"\nclient_id = \"c\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "no-sign-in",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "half-a-store",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[source.auth]\nkind = \"device-code\"\ntenant = \"t\"\nclient_id = \"c\"\nstore = { kind = \"command\", get = [\"pass\"] }\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "no-certificate",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[source.auth]\nkind = \"certificate\"\ntenant = \"t\"\nclient_id = \"c\"\ncertificate = \"nothing.pfx\"\ncertificate_password = \"canary\"\n[[datasets]]\nname = \"payments\"\n",
    ),
    (
        "no-command",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[source.auth]\nkind = \"token-command\"\n[[datasets]]\nname = \"payments\"\n",
    ),
];

#[test]
fn wrong_pipeline_files() {
    for (name, text) in PIPELINES {
        let world = World::new();
        world.write("p.toml", text);
        let done = world.run(&["run", "p.toml"]);
        assert_eq!(done.code, 78, "{name}: {}", done.stderr);
        assert!(!world.path("lake").exists(), "{name} made a lake");
        assert!(!done.stderr.contains("canary"), "{name} shows a value");
        assert_snapshot!(format!("config-{name}"), shown(&world, &done.stderr));
    }
}

#[test]
fn wrong_command_lines() {
    let world = World::new();
    world.write("x.csv", "a,b\n");
    for (name, args) in [
        ("no-lake", vec!["sql", "SELECT 1"]),
        ("unknown-dataset", vec!["ingest", "--dataset", "transactionhistory", "--lake", "l", "x.csv"]),
        ("missing-pipeline", vec!["run", "nothing.toml"]),
        (
            "cloud-lake",
            vec!["ingest", "--dataset", "payments", "--lake", "s3://bucket/lake?sig=secret", "x.csv"],
        ),
        (
            "covers-alone",
            vec!["ingest", "--dataset", "payments", "--lake", "l", "--covers", "2026-01", "x.csv"],
        ),
    ] {
        let done = world.run(&args);
        let text = format!("exit code {}\n{}", done.code, shown(&world, &done.stderr));
        assert_snapshot!(format!("usage-{name}"), text);
    }
}

#[test]
fn nobody_signed_in() {
    let world = World::new();
    world.write(
        "p.toml",
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n[source.auth]\nkind = \"device-code\"\ntenant = \"t\"\nclient_id = \"c\"\n[[datasets]]\nname = \"payments\"\n",
    );
    let done = world.run(&["run", "p.toml"]);
    assert_eq!(done.code, 77);
    assert_snapshot!("nobody-signed-in", shown(&world, &done.stderr));
}

#[test]
fn an_error_as_json() {
    let world = World::new();
    world.write("p.toml", "version = 1\nacount = \"c\"\n");
    let done = world.run(&["--json", "run", "p.toml"]);
    assert_eq!(done.stderr, "");
    assert_snapshot!("json-error", done.stdout);
}
