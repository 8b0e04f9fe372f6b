//! Refused rows: listed, shown, and published once when they fit.

use std::path::Path;

use serde_json::Value;

use crate::crash::{committed, seen};
use crate::world::{Done, World, copy_tree};

pub const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";

/// A line of a file of earnings: id, type, amount, month.
pub fn line(id: &str, kind: &str, amount: &str, month: &str) -> String {
    format!("{id},P-1,CSP,EUR,{kind},{amount},1.00,{month}-03T00:00:00Z,SENT\n")
}

/// Loads a file, and holds nothing.
pub fn ingest(world: &World, file: &str, more: &[&str]) -> Done {
    let mut args = vec!["ingest", "--dataset", "transaction_history", "--lake", "lake"];
    args.extend(["--account", "contoso", "--no-guards"]);
    args.extend(more);
    args.push(file);
    world.run(&args)
}

pub const AUGUST_AND_SEPTEMBER: [&str; 2] = ["--covers", "2026-08..2026-09"];

fn covers<'a>(months: &'a [&'a str], extracted_at: &'a str) -> Vec<&'a str> {
    [months, &["--extracted-at", extracted_at]].concat()
}

/// The newest schema of earnings as a version of the user's own, in which a type may be blank.
fn looser_schema(world: &World) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/transaction_history");
    let number = |path: &Path| path.file_stem()?.to_str()?.strip_prefix('v')?.parse::<u32>().ok();
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.max_by_key(|path| number(path)).unwrap();
    let text = std::fs::read_to_string(&newest).unwrap();
    let text = text.replace(&format!("version = {}\n", number(&newest).unwrap()), "version = 90\n");
    let (before, column) = text.split_once("name = \"earning_type\"").unwrap();
    let column = column.replacen("required = true\n", "", 1);
    world.write("mine/transaction_history/v90.toml", format!("{before}name = \"earning_type\"{column}"));
}

fn replay(world: &World) -> Done {
    world.run(&["quarantine", "replay", "--lake", "lake", "--schemas", "mine"])
}

/// What a command tells as JSON, one value for each line.
fn json(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.ok(&[&["--json"], args].concat());
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Ids in the table, ids of `fault` in the quarantine, and the sum of the table.
fn lake(world: &World) -> (Vec<String>, Vec<String>, Vec<String>) {
    let table = world.sql("lake", "SELECT earning_id FROM transaction_history ORDER BY 1");
    let refused = "SELECT split_part(raw, ',', 1) FROM quarantine ORDER BY 1";
    let sum = "SELECT sum(earning_amount) FROM transaction_history";
    (table, world.sql("lake", refused), world.sql("lake", sum))
}

/// Two months with refused rows: E-2 and E-6 lack their type, E-3 has no amount, and E-5 has a cell too many.
fn refused(extracted_at: &str) -> World {
    let world = World::new();
    let text = [
        line("E-1", "Rebate", "1.00", "2026-08"),
        line("E-2", "", "20.50", "2026-08"),
        line("E-3", "Rebate", "abc", "2026-08"),
        line("E-4", "Rebate", "4.00", "2026-09"),
        line("E-5", "Rebate", "5,5", "2026-09"),
        line("E-6", "", "600.00", "2026-09"),
    ];
    world.write("first.csv", format!("{HEADER}\n{}", text.concat()));
    let done = ingest(&world, "first.csv", &covers(&AUGUST_AND_SEPTEMBER, extracted_at));
    assert_eq!(done.code, 3, "{}", done.stderr);
    looser_schema(&world);
    world
}

#[test]
fn refused_rows_are_counted_and_shown() {
    let world = refused("2026-10-01T00:00:00Z");
    let kinds = json(&world, &["quarantine", "list"]);
    let told =
        |kind: &Value| format!("{} {} {}", kind["fault"].as_str().unwrap(), kind["column"], kind["rows"]);
    let told: Vec<String> = kinds.iter().map(told).collect();
    assert_eq!(
        told,
        ["missing-value \"earningType\" 2", "not-a-decimal \"earningAmount\" 1", "wrong-cell-count null 1"]
    );
    assert_eq!(kinds[0]["schema"], "payoutlake.refused.v1");
    assert_eq!((&kinds[0]["first_line"], &kinds[0]["file"]), (&3.into(), &"first.csv".into()));
    let table = world.ok(&["quarantine", "list", "--dataset", "transaction_history"]).stdout;
    assert!(table.contains("2026-08..2026-09  first.csv  not-a-decimal"), "{table}");
    for other in [["--account", "nobody"], ["--dataset", "payments"]] {
        let done = world.ok(&[&["quarantine", "list"][..], &other].concat());
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", "no row is refused\n"));
    }

    let id = kinds[1]["first_id"].as_str().unwrap();
    for wanted in [id, "first.csv:4"] {
        let shown = world.ok(&["quarantine", "show", wanted]).stdout;
        for part in
            ["not-a-decimal in earningAmount", "found:    abc", "earningId", "E-3", "schema version", "next:"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("! ") && !shown.contains("E-2"), "{shown}");
    }
    assert_eq!(json(&world, &["quarantine", "show", "first.csv"]).len(), 4);
    let row = &json(&world, &["quarantine", "show", "first.csv:4"])[0];
    assert_eq!(row["schema"], "payoutlake.refused_row.v1");
    assert_eq!(row["cells"][5], serde_json::json!({"name": "earningAmount", "text": "abc"}));
    let raw = world.path("lake").join(row["raw"].as_str().unwrap());
    assert_eq!(std::fs::read(raw).unwrap(), std::fs::read(world.path("first.csv")).unwrap());
    let wrong = world.run(&["quarantine", "show", "first.csv:99"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(wrong.stderr.contains("quarantine list"), "{}", wrong.stderr);
}

#[test]
fn what_fits_now_is_published_once() {
    let world = refused("2026-10-01T00:00:00Z");
    assert_eq!(lake(&world).0, ["E-1", "E-4"]);
    // Nothing has changed: nothing fits.
    let done = world.run(&["quarantine", "replay"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("0 of 4 refused rows fit now"), "{}", done.stderr);

    let done = replay(&world);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("2 of 4 refused rows fit now and are published"), "{}", done.stderr);
    assert!(done.stderr.contains("2 still do not fit"), "{}", done.stderr);
    let after = lake(&world);
    assert_eq!(after.0, ["E-1", "E-2", "E-4", "E-6"]);
    assert_eq!(after.1, ["E-3", "E-5"]);
    assert_eq!(after.2, ["625.50"]);
    // Where it came from is told as ever; nine columns are fewest less than those of the first version.
    let lineage = "SELECT _pc_source_file, _pc_source_line, _pc_extracted_at, _pc_schema_version FROM transaction_history WHERE earning_id = 'E-2'";
    assert_eq!(world.sql("lake", lineage), ["first.csv,3,2026-10-01T00:00:00Z,1"]);
    // Rows and cents at each hop: what was refused = what was published and what still is.
    let hops = "SELECT hop, max(rows), max(CASE WHEN \"column\" = 'earning_amount' THEN sum END) FROM control_totals \
                WHERE version = 2 AND hop IN ('text', 'quarantined', 'normalised', 'staged') GROUP BY step, hop ORDER BY step";
    assert_eq!(
        world.sql("lake", hops),
        ["text,4,625.50", "quarantined,2,5.00", "normalised,2,620.50", "staged,2,620.50"]
    );
    // It was not Microsoft that changed it.
    let changes = ["changes", "--since", "2020-01-01"];
    assert_eq!(world.ok(&changes).stderr, "nothing was changed\n");
    let causes = world.sql("lake", "SELECT DISTINCT cause, change FROM restatements ORDER BY 1");
    assert_eq!(causes, ["file,loaded", "replay,added"]);

    let done = replay(&world);
    assert!(done.stderr.contains("0 of 2 refused rows fit now"), "{}", done.stderr);
    assert_eq!(lake(&world), after);
    let snapshots = world.ok(&["lake", "snapshots", "--table", "transaction_history"]).stdout;
    assert_eq!(snapshots.lines().count(), 3, "a header and two versions: {snapshots}");
}

#[test]
fn a_newer_export_has_its_own_rows() {
    let world = refused("2026-10-01T00:00:00Z");
    // September again: E-6 is another amount there, and is refused, too; E-4 has gone.
    let newer = [line("E-6", "", "700.00", "2026-09"), line("E-7", "Rebate", "7.00", "2026-09")];
    world.write("newer.csv", format!("{HEADER}\n{}", newer.concat()));
    let done = ingest(&world, "newer.csv", &covers(&["--covers", "2026-09"], "2026-10-02T00:00:00Z"));
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert_eq!(lake(&world).1, ["E-2", "E-3", "E-5", "E-6", "E-6"]);
    let done = replay(&world);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("a newer export is the truth of their month"), "{}", done.stderr);
    let after = lake(&world);
    assert_eq!(after.0, ["E-1", "E-2", "E-6", "E-7"]);
    assert_eq!(after.1, ["E-3", "E-5", "E-6"], "the older E-6 stays refused");
    assert_eq!(after.2, ["728.50"]);

    // Nor does one that was taken back.
    let world = refused("2026-10-01T00:00:00Z");
    let newer = [line("E-1", "", "1.00", "2026-08"), line("E-4", "Rebate", "4.00", "2026-09")];
    world.write("newer.csv", format!("{HEADER}\n{}", newer.concat()));
    ingest(&world, "newer.csv", &covers(&AUGUST_AND_SEPTEMBER, "2026-10-02T00:00:00Z"));
    assert_eq!(lake(&world), (vec!["E-4".into()], vec!["E-1".into()], vec!["4.00".into()]));
    world.ok(&["lake", "rollback", "--to", "1", "--table", "transaction_history"]);
    assert_eq!(replay(&world).code, 3);
    assert_eq!(lake(&world).0, ["E-1", "E-4"]);
    assert_eq!(lake(&world).1, ["E-1"]);
}

#[test]
fn a_file_of_unknown_age_is_replayed_by_key() {
    let world = World::new();
    let first = [line("E-1", "", "1.00", "2026-08"), line("E-2", "", "2.00", "2026-08")];
    world.write("first.csv", format!("{HEADER}\n{}", first.concat()));
    assert_eq!(ingest(&world, "first.csv", &[]).code, 3);
    // An export that knows E-2 better.
    world.write("export.csv", format!("{HEADER}\n{}", line("E-2", "Rebate", "20.00", "2026-09")));
    assert_eq!(ingest(&world, "export.csv", &["--extracted-at", "2026-10-02T00:00:00Z"]).code, 0);
    looser_schema(&world);
    let done = replay(&world);
    assert_eq!(done.code, 3, "{}", done.stderr);
    let after = lake(&world);
    assert_eq!((after.0, after.2), (vec!["E-1".to_owned(), "E-2".to_owned()], vec!["21.00".to_owned()]));
}

/// One export may have a key twice: then both rows count, and a merge by key would lose one.
#[test]
fn a_row_whose_key_stands_in_its_own_export_stays_refused() {
    let world = World::new();
    let rows = [line("E-1", "Rebate", "1.00", "2026-08"), line("E-1", "", "2.00", "2026-08")];
    world.write("first.csv", format!("{HEADER}\n{}", rows.concat()));
    let more = covers(&AUGUST_AND_SEPTEMBER, "2026-10-01T00:00:00Z");
    assert_eq!(ingest(&world, "first.csv", &more).code, 3);
    looser_schema(&world);
    let done = replay(&world);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("another row of the same time under their key"), "{}", done.stderr);
    assert_eq!(lake(&world), (vec!["E-1".into()], vec!["E-1".into()], vec!["1.00".into()]));
}

#[test]
fn a_replay_may_be_killed_anywhere() {
    let base = refused("2026-10-01T00:00:00Z");
    let undisturbed = World::new();
    copy_tree(&base.path(""), &undisturbed.path(""));
    assert_eq!(replay(&undisturbed).code, 3);
    let expected = lake(&undisturbed);
    let mut points = 0;
    for point in 1.. {
        let world = World::new();
        copy_tree(&base.path(""), &world.path(""));
        let args = ["quarantine", "replay", "--lake", "lake", "--schemas", "mine"];
        let mut command = world.command(&args);
        command.env("PAYOUTLAKE_KILL_AT", point.to_string());
        if world.finish(command).code >= 0 {
            break;
        }
        points = point;
        // Until it is done, a row stands in one of the two, or in both.
        let between = lake(&world);
        for id in expected.0.iter().chain(&expected.1) {
            assert!(between.0.contains(id) || between.1.contains(id), "point {point}: {id} is lost");
        }
        let done = replay(&world);
        assert_eq!(done.code, 3, "after point {point}: {}", done.stderr);
        assert_eq!(lake(&world), expected, "after point {point}");
        assert_eq!(seen(&world.path("lake")), committed(&world.path("lake")), "after point {point}");
    }
    assert!(points > 15, "only {points} points: the replay does too little");
}

#[test]
fn a_quarantine_that_kept_no_headers_is_read() {
    let world = World::new();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lakes/1");
    copy_tree(&kept, &world.path(""));
    // Its newest exports are clean; a version of its quarantine is not.
    let versions = json(&world, &["lake", "snapshots", "--table", "quarantine"]);
    let version = versions.iter().find(|version| version["rows"].as_u64() > Some(0)).unwrap();
    world.ok(&["lake", "rollback", "--to", &version["version"].to_string(), "--table", "quarantine"]);
    let before = world.sql("lake", "SELECT count(*) FROM quarantine");
    assert_ne!(before, ["0"]);
    assert!(!json(&world, &["quarantine", "list"]).is_empty());
    let done = world.run(&["quarantine", "replay"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("did not keep their header yet"), "{}", done.stderr);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM quarantine"), before);
}

/// A file without a word on what it covers, of which no good row is news, has refused rows all the same.
#[test]
fn a_late_file_keeps_its_refused_rows_and_a_late_export_says_that_it_does_not() {
    let world = World::new();
    let good = [line("E-1", "Rebate", "1.00", "2026-08"), line("E-4", "Rebate", "4.00", "2026-08")].concat();
    world.write("whole.csv", format!("{HEADER}\n{good}"));
    let august = ["--covers", "2026-08"];
    assert_eq!(ingest(&world, "whole.csv", &covers(&august, "2026-10-01T00:00:00Z")).code, 0);
    let late = [line("E-1", "Rebate", "1.00", "2026-08"), line("E-9", "Rebate", "x", "2026-06")].concat();
    world.write("late.csv", format!("{HEADER}\n{late}"));
    let done = ingest(&world, "late.csv", &["--extracted-at", "2026-09-15T00:00:00Z"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert_eq!(lake(&world).1, ["E-9"]);
    // An older export of the same month, as a whole: the newer one knows better, and says so.
    let late = [line("E-1", "Rebate", "1.00", "2026-08"), line("E-8", "Rebate", "x", "2026-08")].concat();
    world.write("older.csv", format!("{HEADER}\n{late}"));
    let done = ingest(&world, "older.csv", &covers(&august, "2026-09-16T00:00:00Z"));
    assert!(!done.stderr.contains("in the table quarantine"), "{}", done.stderr);
    assert!(done.stderr.contains("1 refused rows are not kept: a newer export"), "{}", done.stderr);
    assert_eq!(lake(&world).1, ["E-9"]);
}

/// What was refused of some bytes is known anew when they are loaded again, read otherwise.
#[test]
fn the_same_bytes_read_otherwise_take_their_refused_rows_out() {
    let world = World::new();
    let text = format!("{HEADER},customerName\n{}", line("E-1", "Rebate", "1.00", "2026-08"));
    let text = [text.trim_end().as_bytes(), b",M\xfcller\n"].concat();
    world.write("latin.csv", &text);
    assert_eq!(ingest(&world, "latin.csv", &[]).code, 3);
    assert_eq!(lake(&world).1.len(), 1);
    let shown = json(&world, &["quarantine", "show", "--lake", "lake", "latin.csv"]);
    assert!(shown[0]["next"].as_str().unwrap().contains("encoding"), "{shown:?}");
    assert_eq!(ingest(&world, "latin.csv", &["--encoding", "windows-1252"]).code, 0);
    assert!(lake(&world).1.is_empty(), "{:?}", lake(&world));
    assert_eq!(world.sql("lake", "SELECT customer_name FROM transaction_history"), ["Müller"]);
}

/// The bytes of a row that was refused for them are kept, and read by a replay as the pipeline says.
#[test]
fn a_replay_reads_the_kept_bytes_in_the_declared_encoding() {
    let world = World::new();
    let text = format!("{HEADER},customerName\n{}", line("E-1", "Rebate", "1.00", "2026-08"));
    let text = [text.trim_end().as_bytes(), b",M\xfcller\n"].concat();
    world.write("latin.csv", &text);
    assert_eq!(ingest(&world, "latin.csv", &["--extracted-at", "2026-10-01T00:00:00Z"]).code, 3);
    crate::contracts::words(&world, &crate::contracts::dataset("[decode]\nencoding = \"windows-1252\"\n"));
    let done = world.run(&["quarantine", "replay", "--pipeline", "p.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(lake(&world).1.is_empty());
    assert_eq!(
        world.sql("lake", "SELECT customer_name, sum(earning_amount) FROM transaction_history GROUP BY 1"),
        ["Müller,1.00"]
    );
}

/// A row that fits now, and of which the table has a newer one, is not said to be published.
#[test]
fn a_row_that_the_table_has_newer_stays_refused_and_says_why() {
    let world = World::new();
    world.write("old.csv", format!("{HEADER}\n{}", line("E-1", "", "1.00", "2026-08")));
    world.write("new.csv", format!("{HEADER}\n{}", line("E-1", "Rebate", "2.00", "2026-08")));
    assert_eq!(ingest(&world, "old.csv", &["--extracted-at", "2026-09-01T00:00:00Z"]).code, 3);
    assert_eq!(ingest(&world, "new.csv", &["--extracted-at", "2026-10-01T00:00:00Z"]).code, 0);
    looser_schema(&world);
    let done = replay(&world);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stderr.contains("0 of 1 refused rows fit now"), "{}", done.stderr);
    assert!(done.stderr.contains("the table has a newer row under their key"), "{}", done.stderr);
    assert!(!done.stderr.contains("at the same moment"), "{}", done.stderr);
    assert!(done.stderr.contains("in the table quarantine: 1"), "{}", done.stderr);
    assert_eq!(lake(&world).2, ["2.00"]);
}

/// Who watches over refused and restated rows gets a number, also where there never was one.
#[test]
fn a_healthy_lake_has_an_empty_quarantine() {
    let world = World::new();
    world.write("good.csv", format!("{HEADER}\n{}", line("E-1", "Rebate", "1.00", "2026-08")));
    assert_eq!(ingest(&world, "good.csv", &[]).code, 0);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM quarantine"), ["0"]);
    assert!(world.sql("lake", "SELECT * FROM quarantine").is_empty());
}
