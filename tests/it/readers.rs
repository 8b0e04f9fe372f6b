//! Other people's readers: DuckDB, pyarrow, Polars and Spark on the published folders.
//!
//! They run in a Python with the packages of `tests/readers/requirements.txt`: the one that `PAYOUTLAKE_TEST_PYTHON`
//! names, else one that is made once below the target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use payoutlake::model::{Currency, TableSpec};
use payoutlake::schema::Registry;
use serde_json::Value;

use crate::world::World;

/// An interpreter with the packages of `requirements.txt`.
pub fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("PAYOUTLAKE_TEST_PYTHON") {
        return named.into();
    }
    let requirements = readers("requirements.txt");
    let wanted = std::fs::read(&requirements).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, done) = (target.join("readers-python"), target.join("readers-python.done"));
    // Tests run beside each other, and so may test runs.
    let lock = File::create(target.join("readers-python.lock")).unwrap();
    lock.lock().unwrap();
    let found = if cfg!(windows) { folder.join("Scripts/python.exe") } else { folder.join("bin/python") };
    if std::fs::read(&done).is_ok_and(|there| there == wanted) && found.exists() {
        return found;
    }
    let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder).output();
    let help = "these tests need python3 (3.10 or newer) with the module venv, and its packages from PyPI: install \
                both (Debian: apt-get install python3-venv), or let PAYOUTLAKE_TEST_PYTHON name an interpreter that \
                has the packages of tests/readers/requirements.txt";
    let made = made.unwrap_or_else(|cause| panic!("python3 cannot be started ({cause}); {help}"));
    assert!(made.status.success(), "{}\n{help}", String::from_utf8_lossy(&made.stderr));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let installed = Command::new(&found).args(pip).arg(&requirements).output().unwrap();
    assert!(installed.status.success(), "{}\n{help}", String::from_utf8_lossy(&installed.stderr));
    std::fs::write(&done, wanted).unwrap();
    found
}

fn readers(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers").join(name)
}

/// What a script prints, which is JSON.
pub fn script(name: &str, args: &[&str]) -> Value {
    let done = Command::new(python()).arg(readers(name)).args(args).output().unwrap();
    assert!(done.status.success(), "{name} {args:?}\n{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).unwrap()
}

fn spec(table: &str) -> TableSpec {
    Registry::built_in().unwrap().dataset(table).unwrap().table()
}

#[test]
fn every_reader_finds_the_same_sums() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    readers_agree(&world, &["duckdb", "polars", "pyarrow", "spark"]);
}

/// That these read the types, rows and sums from the published folders that our SQL has.
pub fn readers_agree(world: &World, readers: &[&str]) {
    for table in ["transaction_history", "payments"] {
        let spec = spec(table);
        let month = &spec.partition_columns[1];
        let folder = world.path("lake").join(table);
        let mut args = vec![folder.display().to_string(), month.clone()];
        let mut ours = Vec::new();
        for money in &spec.money {
            let currency = match &money.currency {
                Currency::Column(name) => name.clone(),
                Currency::Fixed(code) => format!("'{code}'"),
            };
            let name = &money.name;
            ours.extend(world.sql(
                "lake",
                &format!(
                    "SELECT '{name}', coalesce({month}, 'none'), coalesce({currency}, ''), count(*), sum({name}) \
                     FROM {table} WHERE {name} IS NOT NULL GROUP BY ALL"
                ),
            ));
            args.push(format!("{name}:{}", currency.trim_end_matches('\'').replace('\'', "=")));
        }
        if readers.contains(&"spark") {
            args.push("--spark".to_owned());
        }
        let ours: BTreeSet<String> = ours.iter().map(|line| with_ten_digits(line)).collect();
        assert!(ours.len() > 30, "{table} has too little money: {ours:?}");
        let theirs = script("sums.py", &args.iter().map(String::as_str).collect::<Vec<_>>());
        let theirs = theirs.as_object().unwrap();
        assert_eq!(theirs.keys().collect::<Vec<_>>(), readers);
        for (reader, lines) in theirs {
            let lines: BTreeSet<String> =
                lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
            assert_eq!(lines, ours, "{table} read by {reader}");
        }
    }
}

/// The last cell of a line, an amount, with all ten fraction digits.
pub fn with_ten_digits(line: &str) -> String {
    let (rest, amount) = line.rsplit_once(',').unwrap();
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{rest},{whole}.{fraction:0<10}")
}

#[test]
fn a_published_file_is_laid_out_for_readers() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    for (table, folder) in [
        ("transaction_history", "account=contoso/earning_month=2026-09"),
        ("payments", "account=contoso/payment_month=2026-10"),
    ] {
        let spec = spec(table);
        let file = world.path("lake").join(table).join(folder).join("part-0.parquet");
        let mut args = vec![file.to_str().unwrap()];
        args.extend(spec.sort.iter().map(String::as_str));
        args.push("--");
        args.extend(spec.lookup.iter().map(String::as_str));
        let layout = script("layout.py", &args);

        // The footer says where the rows come from, in DuckDB's words.
        let footer = &layout["footer"];
        assert_eq!(footer["payoutlake.table"], table);
        assert_eq!(footer["payoutlake.schema_version"], spec.schema_version.to_string());
        assert_eq!(footer["payoutlake.account"], "contoso");
        assert_eq!(footer["payoutlake.partition"], folder.split('/').next_back().unwrap());
        for key in ["payoutlake.run_id", "payoutlake.request_id"] {
            let id = footer[key].as_str().unwrap_or_else(|| panic!("no {key}: {footer}"));
            uuid::Uuid::parse_str(id).unwrap();
        }

        // Rows stand in the order of the dataset, and the file says so.
        assert!(layout["rows"].as_u64().unwrap() > 50, "{}", layout["rows"]);
        for (group, sorting) in layout["sorting"].as_array().unwrap().iter().enumerate() {
            assert_eq!(sorting, &layout["order"], "row group {group} of {table}");
            assert_eq!(layout["ascends"][group], true, "row group {group} of {table} is not sorted");
        }

        let columns = layout["columns"].as_object().unwrap();
        assert_eq!(columns.len(), spec.schema.fields().len());
        for (name, column) in columns {
            let wrong = |what: &str| format!("{table}.{name} {what}: {column}");
            assert_eq!(column["column_index"], true, "{}", wrong("has no page index"));
            assert_eq!(column["offset_index"], true, "{}", wrong("has no page index"));
            assert!(column["nulls"].is_u64(), "{}", wrong("does not count its NULLs"));
            let filled = column["nulls"] != column["values"];
            assert_eq!(column["compression"], "ZSTD", "{}", wrong("is not zstd"));
            assert!(!filled || column["min"].is_string(), "{}", wrong("has no smallest value"));
            assert!(!filled || column["max"].is_string(), "{}", wrong("has no greatest value"));
            let lookup = spec.lookup.contains(name);
            assert_eq!(column["bloom_bytes"].is_u64(), lookup, "{}", wrong("and its bloom filter"));
        }
        for repeated in ["program_name", "participant_id"] {
            let column = &columns[repeated];
            assert!(column["encodings"].as_str().unwrap().contains("DICTIONARY"), "{repeated}: {column}");
        }
        // Sized by rows: a filter for a million values would be larger than the rest of the file.
        let bloom: u64 = columns.values().filter_map(|column| column["bloom_bytes"].as_u64()).sum();
        assert!(bloom < 20_000, "the bloom filters of {table} take {bloom} bytes");
        for (name, probe) in layout["bloom"].as_object().unwrap() {
            assert_eq!(probe["there"], 0, "{table}.{name}: a value that is there is ruled out");
            assert_eq!(probe["not there"], layout["groups"], "{table}.{name}: nothing is ruled out");
        }
    }
}

const MONTHS: [&str; 3] = ["2025-01", "2025-02", "2025-03"];
/// Contents that the months go through, over and over.
const STATES: usize = 4;
const COMMITS: usize = 100;

/// Rows, different ids and the sum of a month in a state: no two states of a month have the same.
fn figures(month: usize, state: usize) -> (usize, usize, i64) {
    let rows = 8 + 5 * state + month;
    (rows, rows, (rows * (100 + 10 * state + month)) as i64)
}

/// The whole truth about all months in a state.
fn content(state: usize) -> String {
    let mut text =
        "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,\
                    earningDate,paymentStatus\n"
            .to_owned();
    for (month, name) in MONTHS.iter().enumerate() {
        for row in 0..figures(month, state).0 {
            let amount = 100 + 10 * state + month;
            text +=
                &format!("E-{month}-{row},P-1,CSP,EUR,Rebate,{amount}.00,1.00,{name}-15T00:00:00Z,SENT\n");
        }
    }
    text
}

/// What a look may find: for each month the figures of one state, as text.
fn states_of(month: usize) -> Vec<(String, usize)> {
    let text = |state| {
        let (rows, ids, sum) = figures(month, state);
        (format!("{rows},{ids},{sum}.00"), state)
    };
    (0..STATES).map(text).collect()
}

/// What must never be said: that a published month is not there.
///
/// Other errors are counted. DuckDB 2.0 opens each file several times by its name, first for the footer and then for the
/// rows. When a month is replaced between the two, the old footer does not fit the new file, and the query fails with
/// whatever the bytes happen to say. Nothing that a writer does to a name can prevent that; who needs certainty reads
/// the objects that `payoutlake lake files` names, which never change.
const GONE: [&str; 2] = ["No such file", "No files found"];

/// Ends the looks, also when the test fails.
struct Stop(PathBuf);

impl Drop for Stop {
    fn drop(&mut self) {
        std::fs::write(&self.0, "").unwrap();
    }
}

#[test]
fn readers_never_see_half_a_commit() {
    half_a_commit("parquet");
}

#[test]
fn readers_of_delta_never_see_half_a_commit() {
    half_a_commit("delta");
}

#[expect(clippy::print_stdout, reason = "how much was seen")]
fn half_a_commit(publish: &str) {
    let world = World::new();
    world.pipeline("", &format!("publish = \"{publish}\""));
    for state in 0..STATES {
        world.write(&format!("state-{state}.csv"), content(state));
    }
    let ingest = |commit: usize| {
        let at = format!("2025-06-01T{:02}:{:02}:00Z", commit / 60, commit % 60);
        let file = format!("state-{}.csv", commit % STATES);
        world.ok(&[
            "ingest",
            "--pipeline",
            "pipeline.toml",
            "--dataset",
            "transaction_history",
            "--covers",
            "2025-01..2025-03",
            "--extracted-at",
            &at,
            "--no-guards",
            &file,
        ]);
    };
    ingest(0);
    let python = python();
    let (stop, looks) = (world.path("stop"), world.path("looks.jsonl"));
    let mut watch = Command::new(python)
        .arg(readers("watch.py"))
        .args([&world.path("lake/transaction_history"), &stop])
        .args([env!("CARGO_BIN_EXE_payoutlake").as_ref(), world.path("lake").as_path()])
        .stdout(File::create(&looks).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ours = std::thread::scope(|threads| {
        let ours = threads.spawn(|| {
            let query = "SELECT earning_month, count(*), count(DISTINCT earning_id), sum(earning_amount) \
                         FROM transaction_history GROUP BY 1";
            let mut looks = Vec::new();
            while !stop.exists() {
                looks.push(world.sql("lake", query));
                // Enough looks, and time left for who writes.
                std::thread::sleep(Duration::from_millis(200));
            }
            looks
        });
        let stop = Stop(stop.clone());
        (1..COMMITS).for_each(ingest);
        drop(stop);
        ours.join().unwrap()
    });
    assert!(watch.wait().unwrap().success());

    // Our own readers see all months of one commit.
    for look in &ours {
        let found: BTreeSet<usize> = look
            .iter()
            .map(|line| {
                let (month, figures) = line.split_once(',').unwrap();
                state_of(month, &with_two_digits(figures), &format!("sql saw {look:?}"))
            })
            .collect();
        assert_eq!((look.len(), found.len()), (MONTHS.len(), 1), "sql saw two commits at once: {look:?}");
    }
    // A reader that globs sees each month whole; one that reads the objects sees all months of one commit, and always.
    let text = std::fs::read_to_string(looks).unwrap();
    let (mut seen, mut refused, mut globs, mut objects) = (BTreeMap::new(), 0, 0, 0);
    for line in text.lines() {
        let (how, look): (String, BTreeMap<String, Value>) = serde_json::from_str(line).unwrap();
        let globbed = how == "glob";
        *if how == "objects" { &mut objects } else { &mut globs } += 1;
        if let Some(error) = look.get("error").and_then(Value::as_str) {
            let gone = GONE.iter().any(|words| error.contains(words));
            assert!(globbed && !gone, "DuckDB saw {line}");
            refused += 1;
            continue;
        }
        assert_eq!(look.keys().map(String::as_str).collect::<Vec<_>>(), MONTHS, "DuckDB saw {line}");
        let mut states = BTreeSet::new();
        for (month, cells) in &look {
            let (rows, ids, sum) = (&cells[0], &cells[1], cells[2].as_str().unwrap());
            let figures = with_two_digits(&format!("{rows},{ids},{sum}"));
            let state = state_of(month, &figures, &format!("DuckDB saw {line}"));
            *seen.entry(state).or_insert(0) += 1;
            states.insert(state);
        }
        assert!(globbed || states.len() == 1, "DuckDB saw two commits at once: {line}");
    }
    println!(
        "looks: {} of sql, {globs} by {publish} ({refused} refused), {objects} at objects; states {seen:?}",
        ours.len()
    );
    assert!(ours.len() >= 20 && globs >= 100 && objects >= 20, "too few looks");
    assert!(refused * 10 < globs, "DuckDB refused {refused} of {globs} looks");
    assert_eq!(seen.len(), STATES, "the looks saw too little: {seen:?}");
}

fn state_of(month: &str, figures: &str, what: &str) -> usize {
    let month = MONTHS.iter().position(|known| *known == month).unwrap_or_else(|| panic!("{what}"));
    let states = states_of(month);
    let found = states.iter().find(|(known, _)| known == figures);
    found.unwrap_or_else(|| panic!("{what}: month {month} was never {figures}, only {states:?}")).1
}

fn with_two_digits(figures: &str) -> String {
    let (rest, amount) = figures.rsplit_once(',').unwrap();
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    format!("{rest},{whole}.{:0<2}", fraction.trim_end_matches('0'))
}
