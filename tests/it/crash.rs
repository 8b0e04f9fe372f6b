//! The binary is killed at every point of its storage operations, and run again: nothing may be lost, doubled or left
//! behind, and who globs the published folders sees each month as it was or as it will be.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::servers::{self, Server, Stand};
use crate::world::World;

/// Published partition -> rows and the sum of their hashes: what a reader of the folders sees.
pub type Seen = BTreeMap<String, (u64, u128)>;

pub fn seen(lake: &Path) -> Seen {
    let mut seen = Seen::new();
    for table in ["transaction_history", "payments", "restatements", "control_totals", "quarantine"] {
        for (folder, file) in published(&lake.join(table)) {
            let known = seen.insert(format!("{table}/{folder}"), digest(&file));
            assert!(known.is_none(), "{table}/{folder} has two files");
        }
    }
    seen
}

/// What `**/*.parquet` finds, by folder; of a Delta table what its log says.
fn published(table: &Path) -> Vec<(String, std::path::PathBuf)> {
    let log = entries(&table.join("_delta_log"));
    let files = globbed(table);
    if log.is_empty() {
        return files;
    }
    let plain = files
        .iter()
        .find(|(_, file)| file.file_stem().is_some_and(|stem| stem.to_string_lossy().starts_with("part-")));
    assert!(plain.is_none(), "a Delta table has a file of the other way beside it: {plain:?}");
    live(table, log)
}

fn globbed(table: &Path) -> Vec<(String, std::path::PathBuf)> {
    let mut found = Vec::new();
    for account in entries(table) {
        for partition in entries(&account) {
            let files = entries(&partition)
                .into_iter()
                .filter(|file| file.extension().is_some_and(|e| e == "parquet"));
            let folder = partition.strip_prefix(table).unwrap().display().to_string();
            found.extend(files.map(|file| (folder.clone(), file)));
        }
    }
    found
}

/// Every transaction in its turn: files come and go.
fn live(table: &Path, mut log: Vec<std::path::PathBuf>) -> Vec<(String, std::path::PathBuf)> {
    log.retain(|file| file.extension().is_some_and(|e| e == "json"));
    log.sort();
    let mut live = BTreeMap::new();
    for (number, file) in log.iter().enumerate() {
        assert_eq!(file.file_stem().unwrap().to_str().unwrap(), format!("{number:020}"), "the log has a gap");
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            if let Some(path) = action["remove"]["path"].as_str() {
                assert!(live.remove(path).is_some(), "{path} is removed twice");
            }
            if let Some(path) = action["add"]["path"].as_str() {
                let folder = path.rsplit_once('/').unwrap().0.to_owned();
                assert!(
                    live.insert(path.to_owned(), (folder, table.join(path))).is_none(),
                    "{path} is there twice"
                );
            }
        }
    }
    live.into_values().collect()
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn digest(file: &Path) -> (u64, u128) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
    let (mut rows, mut sum) = (0, 0u128);
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        rows += batch.num_rows() as u64;
        let hashes = batch.column_by_name("_pc_row_hash").unwrap().as_fixed_size_binary();
        for hash in hashes.iter().flatten() {
            sum = sum.wrapping_add(u128::from_le_bytes(hash.try_into().unwrap()));
        }
    }
    (rows, sum)
}

/// The same from the newest manifests, which must name files that are there, whole.
pub fn committed(lake: &Path) -> Seen {
    let inside = lake.join("_payoutlake");
    let mut seen = Seen::new();
    for table in entries(&inside.join("manifests")) {
        for account in entries(&table) {
            let Some(newest) = entries(&account)
                .into_iter()
                .filter(|file| file.extension().is_some_and(|e| e == "json"))
                .max()
            else {
                continue;
            };
            let manifest: serde_json::Value =
                serde_json::from_slice(&std::fs::read(newest).unwrap()).unwrap();
            let (table, account) =
                (manifest["table"].as_str().unwrap(), manifest["account"].as_str().unwrap());
            for partition in manifest["partitions"].as_array().unwrap() {
                for object in partition["objects"].as_array().unwrap() {
                    let name = object["name"].as_str().unwrap();
                    let file = inside.join(format!("objects/{table}/{account}/{name}.parquet"));
                    let size = std::fs::metadata(&file)
                        .unwrap_or_else(|_| panic!("{} is lost", file.display()))
                        .len();
                    assert_eq!(Some(size), object["bytes"].as_u64(), "{}", file.display());
                }
                let rows = partition["totals"]["rows"].as_u64().unwrap();
                if rows > 0 {
                    let sum = u128::from_str_radix(partition["digest"].as_str().unwrap(), 16).unwrap();
                    let column = manifest["partition_columns"][1].as_str().unwrap();
                    let value = partition["value"].as_str().unwrap();
                    seen.insert(format!("{table}/account={account}/{column}={value}"), (rows, sum));
                }
            }
        }
    }
    seen
}

/// Only the tables of datasets: lines of derived tables name their run and number.
fn data(seen: &Seen) -> Seen {
    let derived = ["restatements/", "control_totals/"];
    let kept = seen.iter().filter(|(folder, _)| !derived.iter().any(|table| folder.starts_with(table)));
    kept.map(|(folder, found)| (folder.clone(), *found)).collect()
}

/// What `restatements` adds up to, by dataset, change, field and currency: rows, money moved, lines.
pub fn restated(lake: &Path) -> BTreeMap<[String; 4], (i64, i128, u64)> {
    let mut sums = BTreeMap::new();
    for (_, file) in published(&lake.join("restatements")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).unwrap()).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let names = ["dataset", "change", "field", "currency"];
            let texts = names.map(|name| batch.column_by_name(name).unwrap().as_string::<i32>());
            let moved = batch.column_by_name("moved").unwrap().as_primitive::<Decimal128Type>();
            let rows = batch.column_by_name("rows").unwrap().as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let sum = sums.entry(texts.map(|text| text.value(row).to_owned())).or_insert((0, 0, 0));
                let moved = if moved.is_null(row) { 0 } else { moved.value(row) };
                *sum = (sum.0 + rows.value(row), sum.1 + moved, sum.2 + 1);
            }
        }
    }
    sums
}

/// Kills `run PIPELINE` at its k-th point on a copy of `base`, for every k, and runs it again. On a server every
/// `STRIDE`-th k, or all with PAYOUTLAKE_TEST_ALL_POINTS.
fn every_point(base: &World, pipeline: &str, server: Option<&Server>) {
    let stride = if server.is_some() { STRIDE } else { 1 };
    every_nth_point(base, pipeline, server, stride, true);
}

/// `watched`: whether the folders may be read in between.
fn every_nth_point(base: &World, pipeline: &str, server: Option<&Server>, stride: u64, watched: bool) {
    let Some(undisturbed) = Stand::copy(base, server) else { return };
    let before = seen(&undisturbed.lake());
    undisturbed.ok(&["run", pipeline]);
    let after = seen(&undisturbed.lake());
    assert_eq!(after, committed(&undisturbed.lake()));
    assert_ne!(data(&before), data(&after));
    let expected = restated(&undisturbed.lake());

    let stride = if std::env::var_os("PAYOUTLAKE_TEST_ALL_POINTS").is_some() { 1 } else { stride };
    let (next, last) = (AtomicU64::new(1), AtomicU64::new(u64::MAX));
    let failed: Mutex<Vec<String>> = Mutex::new(Vec::new());
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let point = next.fetch_add(stride, Ordering::Relaxed);
                    if point > last.load(Ordering::Relaxed) || !failed.lock().unwrap().is_empty() {
                        return;
                    }
                    let stand = Stand::copy(base, server).unwrap();
                    let outcome = std::panic::catch_unwind(|| {
                        one_point(&stand, pipeline, point, watched, &before, &after, &expected)
                    });
                    match outcome {
                        Ok(true) => {}
                        // It came to its end: there are no more points.
                        Ok(false) => {
                            last.fetch_min(point, Ordering::Relaxed);
                        }
                        Err(_) => failed.lock().unwrap().push(format!("point {point}")),
                    }
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "{:?}", failed.lock().unwrap());
    let points = last.load(Ordering::Relaxed) - 1;
    assert!(points > 25, "only {points} points: the run does too little");
}

/// No divisor of how many points a window has: each kind of point has its turn.
const STRIDE: u64 = 7;

/// Whether the run was killed.
fn one_point(
    stand: &Stand,
    pipeline: &str,
    point: u64,
    watched: bool,
    before: &Seen,
    after: &Seen,
    expected: &BTreeMap<[String; 4], (i64, i128, u64)>,
) -> bool {
    let mut command = stand.command(&["run", pipeline]);
    command.env("PAYOUTLAKE_KILL_AT", point.to_string());
    let done = stand.world.finish(command);
    if done.code >= 0 {
        assert_eq!(done.code, 0, "point {point}: {}", done.stderr);
        return false;
    }
    if watched {
        between(stand, point, before, after);
    }
    let done = stand.world.finish(stand.command(&["run", pipeline]));
    assert_eq!(done.code, 0, "after point {point}: {}", done.stderr);
    let lake = stand.lake();
    let found = seen(&lake);
    assert_eq!(data(&found), data(after), "after point {point}");
    assert_eq!(found, committed(&lake), "after point {point}");
    assert_eq!(restated(&lake), *expected, "after point {point}");
    true
}

/// Between kill and heal: each month old or new, never both (see `seen`), never neither.
fn between(stand: &Stand, point: u64, before: &Seen, after: &Seen) {
    let killed = stand.lake();
    let now = seen(&killed);
    for (folder, found) in data(&now) {
        let known = [before.get(&folder), after.get(&folder)];
        assert!(known.contains(&Some(&found)), "point {point}: {folder} shows something else");
    }
    for folder in before.keys().filter(|folder| after.contains_key(*folder)) {
        assert!(now.contains_key(folder), "point {point}: {folder} is gone");
    }
    // The next command heals what a reader of the folders sees, whatever it is, and what is committed is whole.
    let committed_now = committed(&killed);
    if !before.is_empty() && now != committed_now {
        stand.ok(&["sql", "SELECT 1"]);
        assert_eq!(seen(&stand.lake()), committed_now, "point {point}: sql has not healed the folders");
    }
}

/// A pipeline of one dataset; its sandbox is found from wherever the world is copied to.
fn pipeline(world: &World, name: &str, as_of: &str, dataset: &str) {
    published_as(world, name, as_of, dataset, "parquet");
}

fn published_as(world: &World, name: &str, as_of: &str, dataset: &str, publish: &str) {
    let text = format!(
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\ncleanup = \"delete\"\npublish = \"{publish}\"\n\
         [source]\nkind = \"sandbox\"\n\
         [source.sandbox]\nmonths = 4\nrows_per_month = 12\nas_of = \"{as_of}\"\ndelay_millis = 1\nstate_dir = \"state\"\n\
         [[datasets]]\nname = \"{dataset}\"\nmonths = 3\nmonths_per_export = 1\n"
    );
    world.write(name, text);
}

#[test]
fn a_first_run_of_three_windows_may_be_killed_anywhere() {
    let base = World::new();
    pipeline(&base, "now.toml", "2026-11-23", "transaction_history");
    every_point(&base, "now.toml", None);
}

#[test]
fn a_run_of_three_windows_that_restates_may_be_killed_anywhere() {
    let base = World::new();
    pipeline(&base, "then.toml", "2026-11-12", "transaction_history");
    pipeline(&base, "now.toml", "2026-11-23", "transaction_history");
    base.ok(&["run", "then.toml"]);
    every_point(&base, "now.toml", None);
}

#[test]
fn a_pull_of_payments_may_be_killed_anywhere() {
    let base = World::new();
    pipeline(&base, "then.toml", "2026-11-12", "payments");
    pipeline(&base, "now.toml", "2026-11-23", "payments");
    base.ok(&["run", "then.toml"]);
    every_point(&base, "now.toml", None);
}

#[test]
fn a_run_that_restates_in_delta_may_be_killed_anywhere() {
    let base = World::new();
    published_as(&base, "then.toml", "2026-11-12", "transaction_history", "delta");
    published_as(&base, "now.toml", "2026-11-23", "transaction_history", "delta");
    base.ok(&["run", "then.toml"]);
    every_nth_point(&base, "now.toml", None, 2, true);
}

/// Whoever reads a folder has to read it another way then, so nobody does meanwhile.
#[test]
fn the_way_of_publishing_may_be_changed_and_killed_anywhere() {
    for (then, now) in [("parquet", "delta"), ("delta", "parquet")] {
        let base = World::new();
        published_as(&base, "then.toml", "2026-11-12", "payments", then);
        published_as(&base, "now.toml", "2026-11-23", "payments", now);
        base.ok(&["run", "then.toml"]);
        every_nth_point(&base, "now.toml", None, 3, false);
    }
}

#[test]
fn a_run_that_restates_on_azure_may_be_killed_anywhere() {
    on(&servers::AZURE);
}

#[test]
fn a_run_that_restates_on_s3_may_be_killed_anywhere() {
    on(&servers::S3);
}

fn on(server: &Server) {
    let base = World::new();
    pipeline(&base, "then.toml", "2026-11-12", "transaction_history");
    pipeline(&base, "now.toml", "2026-11-23", "transaction_history");
    base.ok(&["run", "then.toml"]);
    every_point(&base, "now.toml", Some(server));
}
