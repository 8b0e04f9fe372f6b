//! Delta tables: what other readers find there, now and at every version and time, and that they heal.

use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::eras::payments_with_a_note;
use crate::readers::{readers_agree, script, with_ten_digits};
use crate::servers::{self, Stand};
use crate::world::World;

/// Who reads the tables. Spark reads the live files: its reader of Delta logs is no part of PySpark.
const DELTA: &[&str] = &["deltalake", "polars", "spark"];
/// Without its start-up time.
const QUICK: &[&str] = &["deltalake", "polars"];
const PARQUET: &[&str] = &["duckdb", "polars", "pyarrow"];

const SUMS: &str =
    "SELECT earning_month, count(*), sum(earning_amount_usd) FROM transaction_history GROUP BY 1 ORDER BY 1";

/// The embedded sandbox at one day, published as Delta.
fn run(world: &World, as_of: &str) {
    let text = std::fs::read_to_string(world.pipeline("", "publish = \"delta\"")).unwrap();
    world.write("pipeline.toml", text.replace("2026-11-23", as_of));
    world.ok(&["run", "pipeline.toml"]);
}

fn sql_at(world: &World, at: &str) -> Vec<String> {
    let done = world.ok(&["sql", "--lake", "lake", "--format", "csv", "--as-of", at, SUMS]);
    done.stdout.lines().skip(1).map(with_ten_digits).collect()
}

fn lines(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

fn log(world: &World) -> Vec<String> {
    let files = world.files("lake");
    files.into_iter().map(|(name, _)| name).filter(|name| name.contains("_delta_log")).collect()
}

#[test]
fn other_readers_find_the_same_now_and_at_every_version_and_time() {
    let world = World::new();
    let pause = std::time::Duration::from_millis(1200);
    let mut between = Vec::new();
    for as_of in ["2026-09-20", "2026-10-20", "2026-11-12", "2026-11-23"] {
        run(&world, as_of);
        std::thread::sleep(pause);
        between.push(Timestamp::now().to_string());
        std::thread::sleep(pause);
    }
    readers_agree(&world, DELTA);

    let table = world.path("lake/transaction_history");
    let mut args = vec![table.to_str().unwrap()];
    args.extend(between.iter().map(String::as_str));
    let found = script("delta.py", &args);
    let versions = found["versions"].as_array().unwrap();
    assert!(versions.len() > 6, "{found:#}");
    for version in versions {
        let at = version["committed_at"].as_str().unwrap();
        assert_eq!(lines(&version["rows"]), sql_at(&world, at), "version {}", version["version"]);
        // The commit tells the same: rows and sums.
        let told = &version["told"];
        let rows: u64 = lines(&version["rows"])
            .iter()
            .map(|line| line.split(',').nth(1).unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(told["rows"].as_u64(), Some(rows));
        assert!(told["sums"]["earning_amount_usd"]["USD"].is_string(), "{told}");
    }
    for (at, rows) in between.iter().zip(found["times"].as_array().unwrap()) {
        assert_eq!(lines(rows), sql_at(&world, at), "{at}");
    }
    // Every file has its count of rows, and bounds that hold.
    assert_eq!(found["counted"], found["read"]);
    assert_eq!(found["outside"], 0);

    // The same again changes nothing.
    let before = log(&world);
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(log(&world), before);
}

#[test]
fn a_table_heals_and_many_transactions_end_in_checkpoints() {
    let world = World::new();
    run(&world, "2026-11-12");
    let sums = world.sql("lake", SUMS);
    // A file, and the log.
    for lost in [
        "payments",
        "transaction_history/_delta_log",
        "transaction_history/account=contoso/earning_month=2026-09",
    ] {
        std::fs::remove_dir_all(world.path("lake").join(lost)).unwrap();
    }
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(world.sql("lake", SUMS), sums);
    readers_agree(&world, QUICK);

    let header = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";
    for number in 0..25 {
        world.write(
            "one.csv",
            format!("{header}\nX-{number},P-1,CSP,EUR,Rebate,1.00,1.00,2026-07-03T00:00:00Z,SENT\n"),
        );
        // Without a pipeline file it is published as before.
        world.ok(&[
            "ingest",
            "--lake",
            "lake",
            "--account",
            "contoso",
            "--dataset",
            "transaction_history",
            "one.csv",
        ]);
    }
    let checkpoints = log(&world).iter().filter(|name| name.contains("checkpoint")).count();
    assert!(checkpoints >= 2, "{:?}", log(&world));
    readers_agree(&world, QUICK);
}

#[test]
fn accounts_share_a_table_and_leave_it_one_by_one() {
    let world = World::new();
    run(&world, "2026-11-23");
    world.ok(&["run", "pipeline.toml", "--account", "fabrikam"]);
    readers_agree(&world, QUICK);
    let table = |world: &World| {
        script("delta.py", &[world.path("lake/transaction_history").to_str().unwrap(), "--newest"])
    };
    let newest = |found: &Value| found["versions"].as_array().unwrap().last().unwrap()["accounts"].clone();
    assert_eq!(newest(&table(&world)), serde_json::json!(["contoso", "fabrikam"]));

    // One goes back to Parquet, and comes again without a changed row.
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("plain.toml", text.replace("publish = \"delta\"", "publish = \"parquet\""));
    world.ok(&["run", "plain.toml", "--account", "fabrikam"]);
    assert_eq!(newest(&table(&world)), serde_json::json!(["contoso"]));
    world.ok(&["run", "pipeline.toml", "--account", "fabrikam"]);
    assert_eq!(newest(&table(&world)), serde_json::json!(["contoso", "fabrikam"]));
    readers_agree(&world, QUICK);

    // What is lost comes back with the rows of both, whichever of them is run.
    for (lost, account) in
        [("transaction_history/_delta_log", "contoso"), ("transaction_history", "fabrikam")]
    {
        std::fs::remove_dir_all(world.path("lake").join(lost)).unwrap();
        world.ok(&["run", "pipeline.toml", "--account", account]);
        assert_eq!(newest(&table(&world)), serde_json::json!(["contoso", "fabrikam"]));
        readers_agree(&world, QUICK);
    }
    // So does what one of them said last.
    let entries = log(&world)
        .into_iter()
        .filter(|name| name.contains("transaction_history/_delta_log/") && name.ends_with(".json"));
    std::fs::remove_file(world.path("lake").join(entries.max().unwrap())).unwrap();
    world.ok(&["run", "pipeline.toml", "--account", "fabrikam"]);
    assert_eq!(newest(&table(&world)), serde_json::json!(["contoso", "fabrikam"]));
    readers_agree(&world, QUICK);

    // Both leave.
    world.ok(&["run", "plain.toml", "--account", "fabrikam"]);
    world.ok(&["run", "plain.toml"]);
    assert!(log(&world).is_empty(), "{:?}", log(&world));
    readers_agree(&world, PARQUET);
}

#[test]
fn a_table_on_azure_is_read_there() {
    let Some(stand) = Stand::new(Some(&servers::AZURE)) else { return };
    stand.world.pipeline("", "publish = \"delta\"");
    stand.ok(&["run", "pipeline.toml"]);
    stand.ok(&["run", "pipeline.toml"]);
    let copy = stand.lake();
    let found = script("delta.py", &[copy.join("transaction_history").to_str().unwrap()]);
    let newest = found["versions"].as_array().unwrap().last().unwrap();
    let ours: Vec<String> = stand.sql(SUMS).iter().map(|line| with_ten_digits(line)).collect();
    assert_eq!(lines(&newest["rows"]), ours);
    // And where it is, with deltalake's own client.
    let there = script(
        "delta.py",
        &[&stand.url("transaction_history"), "--azurite", &stand.setting("AZURE_STORAGE_ENDPOINT")],
    );
    assert_eq!(there["versions"].as_array().unwrap().last().unwrap()["rows"], newest["rows"]);
}

#[test]
fn a_new_column_joins_the_table() {
    let world = World::new();
    let header = payments_with_a_note(&world);
    world.pipeline("", "publish = \"delta\"");
    world.write("old.csv", format!("{header}\nP-1,CSP,1,Wire,SENT,2026-01-15,10.00,EUR,10.00,EUR\n"));
    world.write(
        "new.csv",
        format!("{header},feeNote\nP-1,CSP,2,Wire,SENT,2026-02-15,20.00,EUR,20.00,EUR,hello\n"),
    );
    let into = ["ingest", "--pipeline", "pipeline.toml", "--dataset", "payments"];
    world.ok(&[&into[..], &["old.csv"]].concat());
    world.ok(&[&into[..], &["--schemas", "schemas", "new.csv"]].concat());
    let rows =
        script("columns.py", &[world.path("lake/payments").to_str().unwrap(), "payment_id", "fee_note"]);
    // At the first version there is no such column; then it is empty in the file of before, which stays.
    assert_eq!(rows, serde_json::json!([[["1"]], [["1", null], ["2", "hello"]]]));
    assert_eq!(world.sql("lake", "SELECT payment_id, fee_note FROM payments ORDER BY 1"), ["1,", "2,hello"]);
}

#[test]
fn a_property_that_cannot_be_honoured_is_for_a_person() {
    let world = World::new();
    run(&world, "2026-11-12");
    let table = world.path("lake/transaction_history");
    script("columns.py", &[table.to_str().unwrap(), "--append-only"]);
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("pipeline.toml", text.replace("2026-11-12", "2026-11-23"));
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("a property that payoutlake cannot honour"), "{}", done.stderr);
    let sums = world.sql("lake", SUMS);
    std::fs::remove_dir_all(&table).unwrap();
    world.ok(&["run", "pipeline.toml"]);
    assert_eq!(world.sql("lake", SUMS), sums, "what was committed was not there");
    readers_agree(&world, QUICK);
}

#[test]
fn a_log_that_is_damaged_is_for_a_person() {
    let world = World::new();
    for as_of in ["2026-09-20", "2026-10-20", "2026-11-12"] {
        run(&world, as_of);
    }
    let sums = world.sql("lake", SUMS);
    let table = world.path("lake/transaction_history");
    let entry = |number: u32| table.join(format!("_delta_log/{number:020}.json"));
    let damaged = |words: &str| {
        let done = world.run(&["run", "pipeline.toml"]);
        assert_eq!(done.code, 65, "{}", done.stderr);
        for words in ["the log of a Delta table is damaged", words, "remove the table's folder"] {
            assert!(done.stderr.contains(words), "{words}: {}", done.stderr);
        }
        std::fs::remove_dir_all(&table).unwrap();
        world.ok(&["run", "pipeline.toml"]);
        assert_eq!(world.sql("lake", SUMS), sums);
        readers_agree(&world, QUICK);
    };
    std::fs::remove_file(entry(1)).unwrap();
    damaged("no entry stands before 2");
    std::fs::write(entry(0), "{\"commitInfo\":").unwrap();
    damaged("entry 0 is no JSON");
}

#[test]
fn nothing_that_was_published_stays_where_nothing_is() {
    let world = World::new();
    for publish in ["parquet", "delta"] {
        world.pipeline("", &format!("publish = \"{publish}\""));
        world.ok(&["run", "pipeline.toml"]);
        assert!(!world.files("lake/payments").is_empty());
        world.pipeline("", "publish = \"none\"");
        world.ok(&["run", "pipeline.toml"]);
        assert!(world.files("lake/payments").is_empty(), "{publish}");
        assert_eq!(world.sql("lake", "SELECT count(*) > 0 FROM payments"), ["true"]);
    }
}

#[test]
fn old_files_go_when_no_kept_version_needs_them() {
    let world = World::new();
    run(&world, "2026-11-12");
    run(&world, "2026-11-23");
    let files = || {
        world
            .files("lake/transaction_history")
            .into_iter()
            .filter(|(name, _)| name.ends_with(".parquet"))
            .count()
    };
    let before = files();
    // Nothing is old enough.
    world.ok(&["lake", "maintain", "--lake", "lake", "--keep-days", "0"]);
    assert_eq!(files(), before);
    age(&world.path("lake"));
    world.ok(&["lake", "maintain", "--lake", "lake", "--keep-days", "0"]);
    assert!(files() < before, "nothing was removed of {before}");
    readers_agree(&world, QUICK);
    assert_eq!(world.sql("lake", "SELECT count(*) > 0 FROM transaction_history"), ["true"]);
}

/// Makes every file ten days old.
fn age(folder: &Path) {
    let done = std::process::Command::new("find")
        .arg(folder)
        .args(["-type", "f", "-exec", "touch", "-d", "10 days ago", "{}", "+"])
        .status()
        .unwrap();
    assert!(done.success());
}
