//! The binary against the embedded sandbox, as a user runs it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::Digest;

use crate::world::{AS_OF, ROWS_PER_MONTH, World};

/// `sandbox truth` for the corpus of [`World::pipeline`].
fn truth(world: &World) -> Value {
    let rows = ROWS_PER_MONTH.to_string();
    let args = ["--json", "sandbox", "truth", "--months", "5", "--rows-per-month", &rows, "--as-of", AS_OF];
    serde_json::from_str(&world.ok(&args).stdout).unwrap()
}

/// Decimal text without needless zeros, so that two spellings of one amount are equal.
fn plain(amount: &str) -> String {
    match amount.split_once('.') {
        Some((whole, fraction)) => {
            let fraction = fraction.trim_end_matches('0');
            if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }
        None => amount.to_owned(),
    }
}

/// Sums of a money column by currency, from the lake and from the truth.
fn compare(world: &World, truth: &Value, table: &str, column: &str, currency: &str, named: &str) {
    let query = format!(
        "SELECT {currency} AS c, sum({column}) FROM {table} WHERE {column} IS NOT NULL AND {currency} IS NOT NULL GROUP BY 1 ORDER BY 1"
    );
    let ours: BTreeMap<String, String> = world
        .sql("lake", &query)
        .iter()
        .map(|line| line.split_once(',').map(|(c, sum)| (c.to_owned(), plain(sum))).unwrap())
        .filter(|(_, sum)| sum != "0")
        .collect();
    let theirs: BTreeMap<String, String> = truth[table]["all"]["money"][named]
        .as_object()
        .unwrap_or_else(|| panic!("the truth has no {table}.{named}: {truth}"))
        .iter()
        .map(|(currency, sum)| (currency.clone(), plain(sum.as_str().unwrap())))
        .filter(|(_, sum)| sum != "0")
        .collect();
    assert!(!ours.is_empty());
    assert_eq!(ours, theirs, "{table}.{column}");
}

#[test]
fn the_lake_equals_the_truth_to_the_cent() {
    let world = World::new();
    world.pipeline("", "");
    let done = world.ok(&["run", "pipeline.toml"]);
    for word in ["transaction_history", "payments", "published", "sum of earning_amount", "EUR", "next:"] {
        assert!(done.stderr.contains(word), "the receipt does not say {word}:\n{}", done.stderr);
    }
    assert_eq!(done.stdout, "", "standard output is for data");

    let truth = truth(&world);
    for table in ["transaction_history", "payments"] {
        let rows = world.sql("lake", &format!("SELECT count(*) FROM {table}"));
        assert_eq!(rows, [truth[table]["all"]["rows"].to_string()], "{table}");
    }
    compare(&world, &truth, "transaction_history", "earning_amount", "transaction_currency", "earningAmount");
    compare(&world, &truth, "transaction_history", "earning_amount_usd", "'USD'", "earningAmountUSD");
    compare(
        &world,
        &truth,
        "transaction_history",
        "transaction_amount",
        "transaction_currency",
        "transactionAmount",
    );
    compare(&world, &truth, "payments", "earned", "earned_currency_code", "earned");
    compare(&world, &truth, "payments", "total_payment", "payment_currency_code", "totalPayment");
    compare(&world, &truth, "payments", "withheld_tax", "payment_currency_code", "withheldTax");

    // Months are where they belong, and the day of overlap between exports doubles nothing.
    let months = world.sql(
        "lake",
        "SELECT earning_month, count(*), count(DISTINCT earning_id), \
         sum(CASE WHEN to_char(earning_date, '%Y-%m') = earning_month THEN 0 ELSE 1 END) \
         FROM transaction_history GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(months.len(), 5);
    for (line, month) in months.iter().zip(["2026-07", "2026-08", "2026-09", "2026-10", "2026-11"]) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[0], month);
        assert_eq!(cells[1], cells[2], "an earning id stands twice in {month}");
        assert_eq!(cells[3], "0", "rows in the wrong month {month}");
        assert_eq!(cells[1], truth["transaction_history"]["by_month"][month]["rows"].to_string());
    }
}

#[test]
fn a_second_run_rewrites_nothing() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let objects = world.files("lake/_payoutlake/objects");
    let published = world.files("lake/transaction_history");
    assert_eq!(published.len(), 5);
    assert!(published.iter().all(|(name, _)| name.starts_with("account=contoso/earning_month=2026-")));
    let done = world.ok(&["run", "pipeline.toml"]);
    assert!(done.stderr.contains("nothing was rewritten"), "{}", done.stderr);
    assert_eq!(world.files("lake/_payoutlake/objects"), objects);
    assert_eq!(world.files("lake/transaction_history"), published);
}

/// The bytes decide, and all that decides what becomes of them.
#[test]
fn bytes_that_are_there_are_not_read_again() {
    let world = World::new();
    world.pipeline("", "");
    let run = || {
        world.ok(&["run", "pipeline.toml"]);
        let (_, receipt) = world.files("lake/_payoutlake/runs").pop().unwrap();
        let receipt: Value = serde_json::from_slice(&receipt).unwrap();
        let windows = receipt["tables"][0]["windows"].as_array().unwrap();
        let unread = |window: &&Value| window["notes"].to_string().contains("nothing was read");
        (windows.iter().filter(unread).count(), windows.len())
    };
    assert_eq!(run(), (0, 3));
    let covered = || world.sql("lake", "SELECT count(*), sum(earning_amount_usd) FROM transaction_history");
    let before = covered();
    assert_eq!(run(), (3, 3));
    assert_eq!(covered(), before);
    // Rows of a month that others were merged into are no longer those of its export.
    let file = world.write(
        "more.csv",
        "earningId,participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,transactionCurrency\n\
         E-more,1,CSP,Rebate,5,5,2026-09-03,SENT,USD\n",
    );
    let ingest = ["ingest", "--dataset", "transaction_history", "--account", "contoso", "--lake", "lake"];
    world.ok(&[&ingest[..], &[file.to_str().unwrap()]].concat());
    assert_ne!(covered(), before);
    assert_eq!(run(), (2, 3));
    assert_eq!(covered(), before);
    // Other words for the same bytes.
    world.pipeline("", "[decode]\nencoding = \"utf-8\"\n");
    assert_eq!(run(), (0, 3));
    assert_eq!(run(), (3, 3));
}

/// Byte for byte, whatever becomes of the file afterwards.
#[test]
fn a_file_of_ingest_is_kept_as_it_was() {
    let world = World::new();
    let mut text = String::from(
        "earningId,participantId,programName,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,transactionCurrency\n",
    );
    // More than is copied at once.
    (0..10_000).for_each(|row| text += &format!("E-{row},1,CSP,Rebate,5,5,2026-09-03,SENT,USD\n"));
    let file = world.write("all.csv", &text);
    let ingest = ["ingest", "--dataset", "transaction_history", "--account", "contoso", "--lake", "lake"];
    world.ok(&[&ingest[..], &[file.to_str().unwrap()]].concat());
    std::fs::write(&file, "changed afterwards").unwrap();
    let kept = world.files("lake/_payoutlake/raw");
    let [(name, bytes)] = kept.as_slice() else { panic!("{} files", kept.len()) };
    assert!(bytes == text.as_bytes(), "other bytes were kept");
    assert_eq!(*name, format!("{:x}", sha2::Sha256::digest(&text)));
    assert!(world.files("lake/_payoutlake/tmp").is_empty(), "a copy stays behind");
}

#[test]
fn a_published_folder_that_was_damaged_heals() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let published = world.files("lake/transaction_history");
    std::fs::remove_dir_all(world.path("lake/transaction_history/account=contoso/earning_month=2026-09"))
        .unwrap();
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(world.files("lake/transaction_history"), published);
}

#[test]
fn a_damaged_object_is_named_before_anything_is_done() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let objects = world.files("lake/_payoutlake/objects/transaction_history");
    let victim = world.path("lake/_payoutlake/objects/transaction_history").join(&objects[0].0);
    assert!(std::fs::metadata(&victim).unwrap().permissions().readonly(), "a reader may write into the lake");
    std::fs::remove_file(&victim).unwrap();
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 74, "{}", done.stderr);
    assert!(done.stderr.contains(&objects[0].0), "{}", done.stderr);
    assert_eq!(world.run(&["sql", "SELECT sum(earning_amount) FROM transaction_history"]).code, 74);
}

#[test]
fn an_interrupted_run_goes_on_with_the_same_exports() {
    let world = World::new();
    // Exports take long enough that the first run is surely waiting when it is stopped.
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("slow.toml", text.replace("delay_millis = 20", "delay_millis = 4000"));
    let mut command = world.command(&["run", "slow.toml"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = Instant::now();
    let submitted =
        || world.exports("lake").values().filter(|events| events.contains("\"submitted\"")).count();
    while submitted() < 4 {
        assert!(started.elapsed() < Duration::from_secs(60), "the run does not submit");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(world.files("lake/transaction_history").is_empty(), "something is half committed");

    world.ok(&["run", "slow.toml"]);
    let exports = world.exports("lake");
    assert_eq!(exports.len(), 4, "an export was queued twice: {exports:?}");
    let rows = world.sql("lake", "SELECT count(*) FROM transaction_history");
    assert_eq!(rows, [truth(&world)["transaction_history"]["all"]["rows"].to_string()]);
}

#[test]
fn later_days_restate_earlier_months() {
    let world = World::new();
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("early.toml", text.replace("2026-11-23", "2026-10-20"));
    world.ok(&["run", "early.toml"]);
    let sent = |world: &World| -> u64 {
        let rows = world.sql("lake", "SELECT count(*) FROM transaction_history WHERE payment_id IS NOT NULL");
        rows[0].parse().unwrap()
    };
    let before = sent(&world);
    world.ok(&["run", "pipeline.toml"]);
    assert!(sent(&world) > before, "nothing was paid in a month");
    // A payment that was pending and is paid now stands once: no pending row of the earlier day is left, no key of
    // a paid row stands twice, and what the service can reach is what the truth says.
    let truth = truth(&world);
    let pending = world.sql("lake", "SELECT count(*) FROM payments WHERE payment_id IS NULL");
    let none = &truth["payments"]["by_month"]["none"]["rows"];
    assert_eq!(pending, [none.as_u64().unwrap_or(0).to_string()]);
    let keys = world.sql("lake", "SELECT count(*) - count(DISTINCT _pc_row_key) FROM payments");
    assert_eq!(keys, ["0"]);
    for month in ["2026-10", "2026-11"] {
        let rows =
            world.sql("lake", &format!("SELECT count(*) FROM payments WHERE payment_month = '{month}'"));
        assert_eq!(rows, [truth["payments"]["by_month"][month]["rows"].to_string()], "{month}");
    }
}

#[test]
fn sql_takes_its_query_from_anywhere_and_prunes_by_month() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let query = "SELECT program_name, earning_month, sum(earning_amount_usd) FROM transaction_history GROUP BY ALL ORDER BY 1, 2";
    let from_argument = world.ok(&["sql", "--lake", "./lake", "--format", "csv", query]).stdout;
    assert!(from_argument.starts_with("program_name,earning_month,sum("), "{from_argument}");
    let file = world.write("query.sql", query);
    let from_file = world.ok(&["sql", "--format", "csv", "--file", file.to_str().unwrap()]).stdout;
    let mut command = world.command(&["sql", "--format", "csv"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
    let from_stdin = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(from_argument, from_file);
    assert_eq!(from_argument, from_stdin);

    let tables = world.ok(&["sql", "SHOW TABLES"]).stdout;
    assert!(tables.contains("transaction_history") && tables.contains("payments"), "{tables}");
    let columns = world.ok(&["sql", "--format", "csv", "DESCRIBE transaction_history"]).stdout;
    assert!(columns.contains("earning_amount,\"Decimal128(38, 10)\""), "{columns}");
    assert!(columns.contains("earning_month"), "{columns}");

    let plan = world.ok(&[
        "sql", "--format", "csv",
        "EXPLAIN SELECT count(*) FROM transaction_history WHERE earning_month = '2026-09' AND account = 'contoso' AND lever LIKE '%Core%'",
    ]);
    let files = plan.stdout.matches(".parquet").count();
    assert_eq!(files, 1, "a filter on one month reads {files} files:\n{}", plan.stdout);

    for (format, first) in [("json", "["), ("ndjson", "{"), ("table", "n")] {
        let out = world
            .ok(&["sql", "--format", format, "SELECT 1 AS n, CAST('1.50' AS DECIMAL(20,10)) AS d"])
            .stdout;
        assert!(out.starts_with(first), "{format}: {out}");
        assert!(out.contains("1.50") && !out.contains("1.500"), "{format}: {out}");
    }
}

#[test]
fn sql_never_writes() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let before = world.files("lake");
    for query in [
        "DELETE FROM payments",
        "INSERT INTO payments SELECT * FROM payments",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
        "COPY payments TO 'x.csv'",
        "DROP TABLE payments",
    ] {
        assert_eq!(world.run(&["sql", query]).code, 2, "{query}");
    }
    assert_eq!(world.files("lake"), before);
    assert!(!world.path("x.csv").exists());
}

#[test]
fn plan_prints_every_request_and_changes_nothing() {
    let world = World::new();
    world.pipeline("", "");
    let done = world.ok(&["plan", "pipeline.toml"]);
    assert!(done.stdout.contains("transaction_history 2026-07..2026-08"), "{}", done.stdout);
    assert!(
        done.stdout.contains(
            "earningForDate ge 2026-06-30T00:00:00Z and earningForDate le 2026-09-01T23:59:59.999Z"
        )
    );
    assert!(!world.path("lake").exists());
}

#[test]
fn json_ends_with_one_line_for_an_orchestrator() {
    let world = World::new();
    world.pipeline("", "");
    let done = world.ok(&["--json", "run", "pipeline.toml"]);
    for line in done.stdout.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let last: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["exit_code"], 0);
    assert_eq!(last["schema"], "payoutlake.summary.v1");
    assert!(done.stdout.lines().last().unwrap().len() < 10_000);
    let kept = world.files("lake/_payoutlake/runs");
    assert_eq!(kept.len(), 1);
    let receipt: Value = serde_json::from_slice(&kept[0].1).unwrap();
    assert_eq!(receipt["run_id"], last["run_id"]);
}

#[test]
fn a_late_export_is_left_for_the_next_run_and_adopted() {
    let world = World::new();
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let slow = text.replace("delay_millis = 20", "delay_millis = 1500");
    world.write("impatient.toml", slow.clone() + "\n[wait]\ndeadline_minutes = 0\n");
    let done = world.run(&["run", "impatient.toml"]);
    assert_eq!(done.code, 75, "{}", done.stderr);
    assert!(done.stderr.contains("still running") && done.stderr.contains("run the same command later"));
    assert!(world.files("lake/transaction_history").is_empty());
    world.write("patient.toml", slow);
    world.ok(&["run", "patient.toml"]);
    assert_eq!(world.exports("lake").len(), 4, "an export was queued twice");
}

#[test]
fn two_accounts_share_a_lake_and_never_a_row() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let contoso = world.files("lake/transaction_history/account=contoso");
    world.ok(&["run", "pipeline.toml", "--account", "fabrikam"]);
    assert_eq!(world.files("lake/transaction_history/account=contoso"), contoso);
    let rows = world.sql("lake", "SELECT account, count(*) FROM transaction_history GROUP BY 1 ORDER BY 1");
    let each = truth(&world)["transaction_history"]["all"]["rows"].to_string();
    assert_eq!(rows, [format!("contoso,{each}"), format!("fabrikam,{each}")]);
}

#[test]
fn a_lake_may_stand_in_a_folder_with_any_name() {
    let world = World::new();
    world.pipeline("", "");
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("pipeline.toml", text.replace("lake = \"lake\"", "lake = \"lü ~#1 %20/{a}\""));
    world.ok(&["run", "pipeline.toml"]);
    // The second run merges payments: it reads the objects and the staged files.
    let later = std::fs::read_to_string(world.path("pipeline.toml")).unwrap().replace(AS_OF, "2026-11-30");
    world.write("later.toml", later);
    world.ok(&["run", "later.toml"]);
    let rows = world.sql("lü ~#1 %20/{a}", "SELECT count(*) > 100 FROM payments");
    assert_eq!(rows, ["true"]);
}

#[test]
fn no_secret_reaches_output_or_lake() {
    let world = World::new();
    world.pipeline("faults = [\"expired-signature\"]", "");
    let mut told = String::new();
    for args in [["-v", "run", "pipeline.toml"], ["--json", "run", "pipeline.toml"]] {
        let done = world.ok(&args);
        told += &(done.stdout + &done.stderr);
    }
    let password = payoutlake::sandbox::PASSWORD;
    let mut places = vec![("output".to_owned(), told.into_bytes())];
    places.extend(world.files("lake/_payoutlake/archive"));
    places.extend(world.files("lake/_payoutlake/runs"));
    places.extend(world.files("lake/_payoutlake/manifests"));
    assert!(places.len() > 10);
    for (name, bytes) in places {
        let text = String::from_utf8_lossy(&bytes);
        for secret in ["sig=", "Bearer", password] {
            assert!(!text.contains(secret), "{name} shows {secret}");
        }
    }
}

#[cfg(unix)]
#[test]
fn everybody_whom_the_umask_lets_in_can_read_the_lake() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    let readable = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o444;
    let usual = readable(world.write("usual", ""));
    let files = world.files("lake");
    assert!(files.len() > 20);
    for (name, _) in files {
        assert_eq!(readable(world.path("lake").join(&name)), usual, "{name}");
    }
}
