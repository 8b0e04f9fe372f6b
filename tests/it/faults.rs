//! What can go wrong at the service or in a file: the exit code, the words, and a lake that stays as it is.

use std::io::Write;

use crate::world::World;

/// Fault of the sandbox, exit code, and what the user must be told.
const SERVICE: [(&str, i32, &[&str]); 14] = [
    ("export-failed", 69, &["gave the export up", "hint"]),
    ("blob-truncated", 65, &["hint"]),
    ("missing-key-column:transactionhistory", 65, &["earningId", "hint"]),
    ("short-last-record", 65, &["ends in the middle of its last record", "line"]),
    ("bad-cells:transactionhistory", 3, &["quarantine", "earningAmount", "line"]),
    ("many-bad-cells:transactionhistory", 65, &["rows that are refused", "limit: 1 %", "lake held"]),
    ("unknown-column", 0, &["_pc_extra", "incentiveTier"]),
    ("blob-header-only", 0, &["no rows"]),
    ("blob-bom-only", 0, &["no rows"]),
    ("blob-zero-bytes", 0, &["no rows"]),
    ("expired-signature", 0, &["published"]),
    ("server-busy", 0, &["published"]),
    ("missing-role", 77, &["403", "hint"]),
    ("blob-corrupt", 65, &["hint"]),
];

#[test]
fn every_fault_of_the_service_has_its_answer() {
    for (fault, code, words) in SERVICE {
        let world = World::new();
        // A truncated or corrupted blob is told by its container: zip every export.
        let zip = if fault.starts_with("blob-truncated") || fault.starts_with("blob-corrupt") {
            "zip_above_rows = 1"
        } else {
            ""
        };
        // Five refused rows are more than 1 % of a small export.
        let guards = if fault.starts_with("bad-cells") {
            "[load.guards]\nquarantined = { percent = 5, floor = 0 }"
        } else {
            ""
        };
        world.pipeline(&format!("faults = [\"{fault}\"]\n{zip}"), guards);
        let done = world.run(&["run", "pipeline.toml"]);
        assert_eq!(done.code, code, "{fault}:\n{}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{fault} does not say '{word}':\n{}", done.stderr);
        }
        assert!(!done.stderr.contains("sig="), "{fault} shows a signature");
    }
}

#[test]
fn what_is_held_leaves_the_lake_as_it_is() {
    for fault in
        ["fewer-rows", "many-bad-cells", "blob-header-only", "missing-key-column", "short-last-record"]
    {
        let world = World::new();
        // Some rows are refused from the start: what is held later must not touch them either.
        let guards = "[load.guards]\nquarantined = { percent = 5, floor = 0 }";
        world.pipeline("faults = [\"bad-cells:transactionhistory\"]", guards);
        assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
        let objects = world.files("lake/_payoutlake/manifests/transaction_history");
        let published = world.files("lake/transaction_history");
        let quarantine = world.files("lake/quarantine");
        world.pipeline(&format!("faults = [\"{fault}:transactionhistory\"]"), "");
        let done = world.run(&["run", "pipeline.toml"]);
        assert_eq!(done.code, 65, "{fault}:\n{}", done.stderr);
        assert_eq!(world.files("lake/quarantine"), quarantine, "{fault}");
        assert!(done.stderr.contains("held"), "{fault}:\n{}", done.stderr);
        assert_eq!(world.files("lake/transaction_history"), published, "{fault}");
        assert_eq!(world.files("lake/_payoutlake/manifests/transaction_history"), objects, "{fault}");
    }
}

#[test]
fn refused_rows_are_kept_with_their_text_and_go_when_the_export_is_good() {
    let world = World::new();
    let guards = "[load.guards]\nquarantined = { percent = 5, floor = 0 }";
    world.pipeline("faults = [\"bad-cells:transactionhistory\"]", guards);
    assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
    let rows = world.sql(
        "lake",
        "SELECT fault, \"column\", _pc_source_line > 1, length(raw) > 100, account, dataset FROM quarantine",
    );
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(row.contains(",earningAmount,true,true,contoso,transaction_history"), "{row}");
    }
    // The same refused rows again are the same rows.
    assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM quarantine"), [rows.len().to_string()]);
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM quarantine"), ["0"]);
}

#[test]
fn a_wrong_password_and_an_unreachable_host_are_told_apart() {
    let world = World::new();
    world.pipeline("", "");
    let text = |api: &str, auth: &str| {
        format!(
            "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n[source]\nkind = \"partner-center\"\n\
             [source.api]\napi = \"{api}v1.0/\"\nauthority = \"{api}\"\nretry_attempts = 2\nretry_first_delay_millis = 1\n\
             [source.auth]\n{auth}\n[[datasets]]\nname = \"payments\"\n"
        )
    };
    let good = "kind = \"username-password\"\ntenant = \"t\"\nclient_id = \"c\"\nusername = \"u\"\npassword = \"canary-hunter2\"";
    world.write("unreachable.toml", text("http://127.0.0.1:9/", good));
    let done = world.run(&["run", "unreachable.toml"]);
    assert_eq!(done.code, 69, "{}", done.stderr);
    assert!(done.stderr.contains("127.0.0.1"), "{}", done.stderr);

    let (url, credentials, mut server) = sandbox(&world);
    let wrong = credentials.replacen("password = \"", "password = \"canary-", 1);
    world.write("wrong.toml", text(&url, &wrong));
    let done = world.run(&["run", "wrong.toml"]);
    assert_eq!(done.code, 77, "{}", done.stderr);
    assert!(done.stderr.contains("50126"), "Entra's code is not explained: {}", done.stderr);
    assert!(!done.stderr.contains("canary"), "the password is shown");

    world.write("right.toml", text(&url, &credentials));
    let done = world.run(&["run", "right.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    // The same as an application: version 2, client secret.
    let secret = format!("client_secret = \"{}\"", payoutlake::sandbox::CLIENT_SECRET);
    let application = credentials.replace("username-password", "client-secret") + "\n" + &secret;
    world.write("application.toml", text(&url, &application));
    // Another identity under the same alias is refused until somebody says that it is meant.
    let done = world.run(&["run", "application.toml"]);
    assert_eq!(done.code, 78, "{}", done.stderr);
    assert!(done.stderr.contains("another identity") && done.stderr.contains("--accept-identity"));
    let done = world.run(&["run", "application.toml", "--accept-identity"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(world.run(&["run", "application.toml"]).code, 0, "it is recorded");
    let mut missing = world.command(&["run", "right.toml"]);
    missing.env("PARTNER_CENTER_USERNAME", "nobody@example.com");
    assert_eq!(world.finish(missing).code, 77, "the environment wins over the file");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// Starts the sandbox as a server of its own; gives its address and the lines of `[source.auth]`.
fn sandbox(world: &World) -> (String, String, std::process::Child) {
    use std::io::BufRead;
    let mut command = world.command(&[
        "--json",
        "sandbox",
        "--months",
        "2",
        "--rows-per-month",
        "20",
        "--delay-millis",
        "5",
    ]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let value = |key: &str| told[key].as_str().unwrap().to_owned();
    let auth = format!(
        "kind = \"username-password\"\ntenant = \"{}\"\nclient_id = \"{}\"\nusername = \"{}\"\npassword = \"{}\"",
        value("tenant"),
        value("client_id"),
        value("username"),
        value("password")
    );
    (value("url"), auth, child)
}

#[test]
fn a_lake_that_cannot_be_written_is_74() {
    let world = World::new();
    world.pipeline("", "");
    world.write("lake", "a file where the lake should be");
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 74, "{}", done.stderr);
    assert!(done.stderr.contains("hint"), "{}", done.stderr);
}

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";

fn row(id: &str, amount: &str) -> String {
    format!("{id},P-1,\"CSP, Direct\",EUR,Rebate,{amount},1.10,2026-09-03T00:00:00Z,SENT")
}

/// A header and so many good rows.
fn many(rows: usize) -> String {
    let rows = (0..rows).map(|index| format!("{}\n", row(&format!("E-{index}"), "1.25")));
    format!("{HEADER}\n{}", rows.collect::<String>())
}

fn ingest(world: &World, files: &[&str]) -> crate::world::Done {
    let mut args =
        vec!["ingest", "--dataset", "transaction_history", "--lake", "lake2", "--account", "contoso"];
    args.extend(files);
    world.run(&args)
}

#[test]
fn downloaded_files_merge_by_key_whatever_their_names() {
    let world = World::new();
    let plain = format!("{HEADER}\r\n{}\r\n{}\r\n", row("E-1", "1.25"), row("E-2", "2.50"));
    world.write("export.csv", format!("\u{feff}{plain}"));
    // A gzip that is called csv, and a zip that is called txt.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(format!("{HEADER}\n{}\n{}\n", row("E-2", "20.00"), row("E-3", "3.75")).as_bytes())
        .unwrap();
    world.write("more.csv", gzip.finish().unwrap());
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in [("a.csv", row("E-4", "4.00")), ("b.csv", row("E-5", "(5.00)"))] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(format!("{HEADER}\n{text}\n").as_bytes()).unwrap();
    }
    world.write("third.txt", zip.finish().unwrap().into_inner());
    world.write(
        "tabs.csv",
        format!("{HEADER}\n{}\n", row("E-6", "6.00")).replace("\"CSP, Direct\"", "CSP").replace(',', "\t"),
    );

    assert_eq!(ingest(&world, &["export.csv", "more.csv", "third.txt", "tabs.csv"]).code, 0);
    let rows = world.sql("lake2", "SELECT earning_id, earning_amount FROM transaction_history ORDER BY 1");
    assert_eq!(rows, ["E-1,1.25", "E-2,20.00", "E-3,3.75", "E-4,4.00", "E-5,-5.00", "E-6,6.00"]);
    let again = ingest(&world, &["more.csv"]);
    assert_eq!(again.code, 0);
    assert!(again.stderr.contains("nothing was rewritten"), "{}", again.stderr);
    assert_eq!(world.files("lake2/transaction_history").len(), 1, "one file for one month");
}

#[test]
fn a_downloaded_file_never_wins_over_an_export() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let known =
        world.sql("lake", "SELECT earning_id, earning_amount FROM transaction_history ORDER BY 1 LIMIT 1");
    let id = known[0].split(',').next().unwrap();
    world.write("old.csv", format!("{HEADER}\n{}\n{}\n", row(id, "999999.00"), row("E-NEW", "1.00")));
    let before = world.sql("lake", "SELECT count(*) FROM transaction_history");
    let args =
        ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso", "old.csv"];
    world.ok(&args);
    let after =
        world.sql("lake", "SELECT earning_id, earning_amount FROM transaction_history ORDER BY 1 LIMIT 1");
    assert_eq!(known, after);
    let count: u64 = before[0].parse().unwrap();
    assert_eq!(world.sql("lake", "SELECT count(*) FROM transaction_history"), [(count + 1).to_string()]);
}

/// Name, bytes, exit code, words.
#[test]
fn bad_files_are_refused_whole_and_explained() {
    let good = format!("{HEADER}\n{}\n{}\n", row("E-1", "1.25"), row("E-2", "2.50"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(good.repeat(50).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let cases: Vec<(&str, Vec<u8>, i32, &[&str])> = vec![
        ("cut.csv", good.as_bytes()[..good.len() - 40].to_vec(), 65, &["ends in the middle", "cut.csv"]),
        ("quote.csv", format!("{good}E-3,\"P").into_bytes(), 65, &["ends in the middle"]),
        ("cut.gz", gzip[..gzip.len() / 2].to_vec(), 65, &["cut.gz"]),
        ("page.csv", b"<!DOCTYPE html><html><body>Sign in</body></html>".to_vec(), 65, &["HTML"]),
        (
            "nokey.csv",
            good.replace("earningId", "somethingElse").into_bytes(),
            65,
            &["earningId", "nokey.csv"],
        ),
        (
            "payments.csv",
            b"participantID,programName,earned,totalPayment,paymentStatus\n1,2,3,4,5\n".to_vec(),
            65,
            &["payments"],
        ),
        ("header.csv", format!("{HEADER}\n").into_bytes(), 0, &["no rows"]),
        ("empty.csv", Vec::new(), 0, &["no rows"]),
        ("bom.csv", b"\xef\xbb\xbf".to_vec(), 0, &["no rows"]),
        ("ragged.csv", format!("{}E-3,P-1\n", many(150)).into_bytes(), 3, &["wrong-cell-count", "line 152"]),
        // A quote that is never closed swallows the rows behind it: the record that they became is refused.
        (
            "stray.csv",
            many(300).replace("E-5,P-1,\"CSP", "E-5,P-1,\"CSP\" x").into_bytes(),
            3,
            &["bad-quoting", "line 7"],
        ),
        (
            "digits.csv",
            format!("{}{}\n", many(150), row("E-9", "1.00000000001")).into_bytes(),
            3,
            &["too-many-digits", "earningAmount", "1.00000000001"],
        ),
    ];
    for (name, bytes, code, words) in cases {
        let world = World::new();
        world.write(name, bytes);
        let done = ingest(&world, &[name]);
        assert_eq!(done.code, code, "{name}:\n{}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "{name} does not say '{word}':\n{}", done.stderr);
        }
        if code == 65 {
            assert!(world.files("lake2/transaction_history").is_empty(), "{name} left something behind");
        }
    }
}

#[test]
fn a_file_that_is_missing_stops_before_anything_is_done() {
    let world = World::new();
    world.write("good.csv", format!("{HEADER}\n{}\n", row("E-1", "1.25")));
    let done = ingest(&world, &["good.csv", "nothing.csv"]);
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert!(!world.path("lake2").exists());
}

#[test]
fn payments_that_shrink_are_held() {
    for fault in ["fewer-rows:payments", "blob-header-only:payments"] {
        let world = World::new();
        world.pipeline("", "");
        world.ok(&["run", "pipeline.toml"]);
        let published = world.files("lake/payments");
        world.pipeline(&format!("faults = [\"{fault}\"]"), "");
        let done = world.run(&["run", "pipeline.toml"]);
        assert_eq!(done.code, 65, "{fault}:\n{}", done.stderr);
        assert!(done.stderr.contains("rows: 521 in the lake"), "{fault}:\n{}", done.stderr);
        assert_eq!(world.files("lake/payments"), published);
    }
}

#[test]
fn a_file_that_covers_months_replaces_them_and_nothing_else() {
    let world = World::new();
    let october = |id: &str, amount: &str| row(id, amount).replace("2026-09-03", "2026-10-01");
    world.write(
        "old.csv",
        format!("{HEADER}\n{}\n{}\n{}\n", row("E-1", "1.00"), row("E-2", "2.00"), october("E-3", "3.00")),
    );
    assert_eq!(ingest(&world, &["old.csv"]).code, 0);
    // One September row is gone, and a row of the first of October comes along: it merges, and is not cut off.
    world.write("new.csv", format!("{HEADER}\n{}\n{}\n", row("E-1", "1.50"), october("E-4", "4.00")));
    let covers = ["--covers", "2026-09", "--extracted-at", "2026-11-01T00:00:00Z"];
    let done = ingest(&world, &[&covers[..], &["new.csv"]].concat());
    assert_eq!(done.code, 3, "rows outside the months are told:\n{}", done.stderr);
    let rows = world.sql("lake2", "SELECT earning_id, earning_amount FROM transaction_history ORDER BY 1");
    assert_eq!(rows, ["E-1,1.50", "E-3,3.00", "E-4,4.00"]);
    let two = ingest(&world, &[&covers[..], &["old.csv", "new.csv"]].concat());
    assert_eq!(two.code, 2, "{}", two.stderr);
    let future = ["--covers", "2026-09", "--extracted-at", "2999-01-01T00:00:00Z"];
    assert_eq!(ingest(&world, &[&future[..], &["new.csv"]].concat()).code, 2);
    // An older word about the same month comes too late.
    let older = ["--covers", "2026-09", "--extracted-at", "2026-10-01T00:00:00Z"];
    let late = ingest(&world, &[&older[..], &["old.csv"]].concat());
    assert!(late.stderr.contains("newer extraction"), "{}", late.stderr);
    assert_eq!(
        world.sql("lake2", "SELECT earning_amount FROM transaction_history WHERE earning_id = 'E-1'"),
        ["1.50"]
    );
}

#[test]
fn the_same_id_twice_in_a_file_is_kept_twice() {
    let world = World::new();
    world.write("twice.csv", format!("{HEADER}\n{}\n{}\n", row("E-1", "1.00"), row("E-1", "2.00")));
    for _ in 0..2 {
        assert_eq!(ingest(&world, &["twice.csv"]).code, 0);
        let rows = world.sql("lake2", "SELECT earning_amount FROM transaction_history ORDER BY 1");
        assert_eq!(rows, ["1.00", "2.00"]);
    }
}
