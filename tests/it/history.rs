//! The history of a lake, driven from outside: tags, times, going back, held windows, changes, clean-up, status.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::world::{Done, World};

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";

/// A file of earnings: id, amount in cents, month, status.
fn earnings(rows: &[(&str, i64, &str, &str)]) -> String {
    let line = |(id, cents, month, status): &(&str, i64, &str, &str)| {
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        format!("{id},P-1,CSP,EUR,Rebate,{amount},{amount},{month}-03T00:00:00Z,{status}\n")
    };
    format!("{HEADER}\n{}", rows.iter().map(line).collect::<String>())
}

/// Loads a file as the whole truth about August and September.
fn covers(world: &World, file: &str, extracted_at: &str, more: &[&str]) -> Done {
    let mut args = vec!["ingest", "--dataset", "transaction_history", "--lake", "lake"];
    args.extend(["--account", "contoso", "--covers", "2026-08..2026-09", "--extracted-at", extracted_at]);
    args.extend(more);
    args.push(file);
    world.run(&args)
}

/// The lines that a command tells as JSON.
fn lines(world: &World, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(args);
    let done = world.ok(&all);
    assert_eq!(done.stderr, "", "{args:?}");
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Cents of a sum as SQL or JSON tells it.
fn cents(amount: &str) -> i64 {
    let (sign, amount) = amount.strip_prefix('-').map_or((1, amount), |rest| (-1, rest));
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let fraction: i64 = format!("{:0<2}", fraction.trim_end_matches('0')).parse().unwrap();
    sign * (whole.parse::<i64>().unwrap() * 100 + fraction)
}

/// Rows and cents of the lake, now or at a moment.
fn sums(world: &World, as_of: Option<&str>) -> (i64, i64) {
    let mut args = vec!["sql", "--lake", "lake", "--format", "csv"];
    args.extend(as_of.iter().flat_map(|moment| ["--as-of", moment]));
    args.push("SELECT count(*), coalesce(sum(earning_amount), 0) FROM transaction_history");
    let done = world.ok(&args);
    let (rows, sum) = done.stdout.lines().nth(1).unwrap().split_once(',').unwrap();
    (rows.parse().unwrap(), cents(sum))
}

/// Rows and cents of `earning_amount` that changes tell, and how many lines they take.
fn told(world: &World, args: &[&str]) -> (i64, i64, usize) {
    let all: Vec<&str> = ["changes", "--lake", "lake"].iter().chain(args).copied().collect();
    let changes = lines(world, &all);
    assert!(changes.iter().all(|line| line["schema"] == "payoutlake.change.v1"), "{changes:?}");
    let rows = changes.iter().filter_map(|line| line["rows"].as_i64()).sum();
    let moved = changes.iter().filter(|line| line["field"] == "earning_amount");
    let moved = moved.map(|line| cents(line["moved"].as_str().unwrap())).sum();
    (rows, moved, changes.len())
}

/// Two closes: E-2 changes its amount, E-3 its status, E-4 goes, E-5 comes, E-6 moves to another month.
fn two_closes() -> World {
    let world = World::new();
    let first = [
        ("E-1", 100, "2026-08", "SENT"),
        ("E-2", 250, "2026-08", "SENT"),
        ("E-3", 399, "2026-09", "UNPROCESSED"),
        ("E-4", 475, "2026-09", "SENT"),
        ("E-6", 600, "2026-08", "SENT"),
    ];
    let second = [
        ("E-1", 100, "2026-08", "SENT"),
        ("E-2", 1250, "2026-08", "SENT"),
        ("E-3", 399, "2026-09", "SENT"),
        ("E-5", 5000, "2026-09", "SENT"),
        ("E-6", 600, "2026-09", "SENT"),
    ];
    world.write("first.csv", earnings(&first));
    world.write("second.csv", earnings(&second));
    assert_eq!(covers(&world, "first.csv", "2026-10-01T00:00:00Z", &[]).code, 0);
    world.ok(&["lake", "tag", "CLOSE-1"]);
    assert_eq!(covers(&world, "second.csv", "2026-10-02T00:00:00Z", &["--no-guards"]).code, 0);
    world.ok(&["lake", "tag", "CLOSE-2"]);
    world
}

const FIRST: (i64, i64) = (5, 1824);
const SECOND: (i64, i64) = (5, 7349);

/// Commit times of `transaction_history`, oldest first.
fn commits(world: &World) -> Vec<String> {
    let mut all = lines(world, &["lake", "snapshots", "--table", "transaction_history"]);
    assert!(all.iter().all(|line| line["schema"] == "payoutlake.snapshot.v1"));
    all.reverse();
    let versions: Vec<u64> = all.iter().map(|line| line["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, (1..=all.len() as u64).collect::<Vec<_>>(), "newest first, nothing missing");
    all.iter().map(|line| text(&line["committed_at"])).collect()
}

#[test]
fn a_close_is_found_again_by_its_tag_and_by_its_time() {
    let world = two_closes();
    assert_eq!(sums(&world, None), SECOND);
    let times = commits(&world);
    assert_eq!(times.len(), 2);
    for (moment, expected) in
        [("CLOSE-1", FIRST), ("CLOSE-2", SECOND), (&times[0], FIRST), (&times[1], SECOND)]
    {
        assert_eq!(sums(&world, Some(moment)), expected, "{moment}");
    }
    assert_eq!(sums(&world, Some("2020-01-01T00:00:00Z")), (0, 0), "before the first commit");
    // A tag of a time, and the tags as they stand at the snapshots.
    world.ok(&["lake", "tag", "BACK-THEN", "--as-of", &times[0]]);
    assert_eq!(sums(&world, Some("BACK-THEN")), FIRST);
    let tags = lines(&world, &["lake", "tag"]);
    let names: Vec<String> = tags.iter().map(|tag| text(&tag["name"])).collect();
    assert_eq!(names, ["BACK-THEN", "CLOSE-1", "CLOSE-2"]);
    assert_eq!(tags[0]["schema"], "payoutlake.tag.v1");
    let snapshots = world.ok(&["lake", "snapshots"]).stdout;
    assert!(snapshots.contains("BACK-THEN, CLOSE-1"), "{snapshots}");

    for (args, code, words) in [
        (vec!["sql", "--as-of", "2026-08-31T23:59:59", "SELECT 1"], 2, "time zone"),
        (vec!["sql", "--as-of", "NO-SUCH-TAG", "SELECT 1"], 2, "BACK-THEN, CLOSE-1, CLOSE-2"),
        (vec!["lake", "tag", "CLOSE-1"], 2, "exists already"),
        (vec!["lake", "tag", "2026-09-30"], 2, "cannot be the name"),
        (vec!["lake", "tag", "CLOSE-1", "--delete"], 2, "only with --yes"),
        (vec!["lake", "tag", "CLOSE-3", "--delete", "--yes"], 2, "no tag 'CLOSE-3'"),
        (vec!["lake", "snapshots", "--table", "nothing"], 2, "no such table"),
    ] {
        let done = world.run(&args);
        assert_eq!(done.code, code, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{args:?} does not say '{words}':\n{}", done.stderr);
    }
    world.ok(&["lake", "tag", "BACK-THEN", "--delete", "--yes"]);
    assert_eq!(lines(&world, &["lake", "tag"]).len(), 2);
}

#[test]
fn changes_add_up_to_the_difference_of_two_closes() {
    let world = two_closes();
    let (rows, moved) = (SECOND.0 - FIRST.0, SECOND.1 - FIRST.1);
    let times = commits(&world);
    let spans: [&[&str]; 4] = [
        &["--between", "CLOSE-1", "CLOSE-2"],
        &["--since", &times[1]],
        &["--between", "CLOSE-1", "CLOSE-2", "--dataset", "transaction_history", "--account", "contoso"],
        // The first load is no change.
        &["--since", "2020-01-01"],
    ];
    for span in spans {
        let totals = told(&world, span);
        assert_eq!((totals.0, totals.1), (rows, moved), "{span:?}");
        let single = told(&world, &[span, &["--rows"]].concat());
        assert_eq!((single.0, single.1), (rows, moved), "{span:?} --rows");
        assert!(single.2 >= totals.2, "{span:?}: {single:?} {totals:?}");
    }
    // With the first load, they are the table itself.
    let all = told(&world, &["--since", "2020-01-01", "--all"]);
    assert_eq!((all.0, all.1), SECOND);
    assert_eq!(told(&world, &["--between", "CLOSE-2", "CLOSE-2"]), (0, 0, 0));
    assert_eq!(told(&world, &["--since", "2100-01-01"]), (0, 0, 0));

    // What a person sees.
    let done = world.ok(&["changes", "--lake", "lake", "--between", "CLOSE-1", "CLOSE-2", "--format", "csv"]);
    assert_eq!(
        done.stdout.lines().next().unwrap(),
        "dataset,account,period,change,field,keys,rows,currency,moved"
    );
    assert!(done.stderr.contains("transaction_history.earning_amount: EUR 55.25"), "{}", done.stderr);
    let single = ["changes", "--lake", "lake", "--since", &times[1], "--rows", "--format", "csv"];
    let single = world.ok(&single).stdout;
    for part in [
        "2026-08,changed,E-2,earning_amount,2.50,12.50,EUR,10.00,0,2,",
        "2026-09,changed,E-3,payment_status,UNPROCESSED,SENT,,,0,2,",
        "2026-09,removed,E-4,,,,,,-1,2,",
        "2026-09,removed,E-4,earning_amount,4.75,,EUR,-4.75,0,2,",
        "2026-09,added,E-5,earning_amount,,50.00,EUR,50.00,0,2,",
        "2026-09,changed,E-6,earning_date,",
    ] {
        assert!(single.contains(part), "no line has {part}:\n{single}");
    }

    for (args, words) in [
        (vec!["changes"], "--since"),
        (vec!["changes", "--since", "2026-11-01", "--between", "CLOSE-1", "CLOSE-2"], "cannot be used with"),
        (vec!["changes", "--between", "CLOSE-2", "CLOSE-1"], "turn them round"),
        (vec!["changes", "--since", "2026-11-01T08:00:00"], "time zone"),
        (vec!["changes", "--since", "2026-11-01", "--account", "fabrikam"], "no such table or account"),
    ] {
        let done = world.run(&args);
        assert_eq!(done.code, 2, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains(words), "{args:?} does not say '{words}':\n{}", done.stderr);
    }
}

#[test]
fn changes_that_nobody_derived_yet_are_derived_when_they_are_asked_for() {
    let world = two_closes();
    let known = told(&world, &["--since", "2020-01-01", "--all", "--rows"]);
    // As if every process had ended right after its commit.
    for place in ["manifests", "newest", "published"] {
        std::fs::remove_dir_all(world.path(&format!("lake/_payoutlake/{place}/restatements"))).unwrap();
    }
    assert_eq!(told(&world, &["--since", "2020-01-01", "--all", "--rows"]), known);
    assert_eq!(told(&world, &["--between", "CLOSE-1", "CLOSE-2"]).1, SECOND.1 - FIRST.1);
}

#[test]
fn changes_of_a_lake_without_any_are_none() {
    let world = World::new();
    world.write("page.csv", "<!DOCTYPE html><html></html>");
    assert_eq!(covers(&world, "page.csv", "2026-10-01T00:00:00Z", &[]).code, 65);
    for format in ["csv", "json", "table"] {
        for more in [&[][..], &["--rows", "--all"]] {
            let mut args = vec!["changes", "--lake", "lake", "--since", "2026-11-01", "--format", format];
            args.extend(more);
            let done = world.ok(&args);
            assert_eq!(done.stderr, "nothing was changed\n");
            assert_eq!(format == "json", done.stdout.starts_with('['), "{}", done.stdout);
        }
    }
    let status = world.ok(&["status", "--lake", "lake"]).stdout;
    assert!(status.contains("no tables yet"), "{status}");
}

#[test]
fn going_back_is_a_new_commit_and_newer_exports_come_in_again() {
    let world = two_closes();
    let before = world.files("lake/transaction_history");
    let args = ["--json", "lake", "rollback", "--to", "CLOSE-1"];
    let back = world.ok(&args).stdout;
    let back: Value = serde_json::from_str(back.lines().next().unwrap()).unwrap();
    assert_eq!(back["schema"], "payoutlake.rollback.v1");
    assert_eq!(
        (back["from"].as_u64(), back["to"].as_u64(), back["version"].as_u64()),
        (Some(2), Some(1), Some(3))
    );
    assert_eq!(sums(&world, None), FIRST);
    assert_eq!(sums(&world, Some("CLOSE-2")), SECOND, "nothing is lost");
    assert_ne!(world.files("lake/transaction_history"), before, "the published folders follow");

    // A person did that, not Microsoft.
    let moved = SECOND.1 - FIRST.1;
    assert_eq!(told(&world, &["--since", "2020-01-01"]).1, moved);
    let all = told(&world, &["--since", "2020-01-01", "--all"]);
    assert_eq!((all.0, all.1), FIRST);
    let csv = ["changes", "--lake", "lake", "--since", "2020-01-01", "--all", "--format", "csv"];
    assert!(world.ok(&csv).stdout.contains(",rollback,"), "the cause is not shown");

    let again = world.ok(&["lake", "rollback", "--to", "1", "--table", "transaction_history"]);
    assert!(again.stderr.contains("already"), "{}", again.stderr);
    // The same newer export comes in again.
    assert_eq!(covers(&world, "second.csv", "2026-10-02T00:00:00Z", &["--no-guards"]).code, 0);
    assert_eq!(sums(&world, None), SECOND);
    let twice = world.ok(&["changes", "--since", "2020-01-01"]).stderr;
    assert!(twice.contains("the lake was taken back"), "{twice}");
    let all = told(&world, &["--between", "CLOSE-1", "CLOSE-2", "--all"]);
    assert_eq!(all.1, moved, "the rollback is later than both");
    let all = told(&world, &["--since", "2020-01-01", "--all"]);
    assert_eq!((all.0, all.1), SECOND);
    assert_eq!(world.files("lake/transaction_history").len(), before.len());

    // By version, undone by version.
    world.ok(&["lake", "rollback", "--to", "1", "--table", "transaction_history", "--account", "contoso"]);
    let undo = world.ok(&["lake", "rollback", "--to", "4", "--table", "transaction_history"]);
    assert!(undo.stderr.contains("5 rows before, 5 now; `--to 5` takes it back"), "{}", undo.stderr);
    assert_eq!(sums(&world, None), SECOND);
    // Who came later stays.
    let args = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "later"];
    world.ok(&[&args[..], &["first.csv"]].concat());
    let back = world.ok(&["lake", "rollback", "--to", "CLOSE-1"]).stderr;
    assert!(back.contains("transaction_history of later: left as it is"), "{back}");
    assert_eq!(sums(&world, None), (2 * FIRST.0, 2 * FIRST.1));
    for (to, words) in [("99", "no version 99"), ("NO-SUCH-TAG", "no tag")] {
        let args = ["lake", "rollback", "--to", to, "--table", "transaction_history", "--account", "contoso"];
        let done = world.run(&args);
        assert_eq!(done.code, 2, "{}", done.stderr);
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
}

#[test]
fn live_files_are_the_table() {
    let world = two_closes();
    let now = lines(&world, &["lake", "files", "--table", "transaction_history"]);
    let rows: u64 = now.iter().map(|file| file["rows"].as_u64().unwrap()).sum();
    assert_eq!(rows as i64, SECOND.0);
    let partitions: Vec<String> = now.iter().map(|file| text(&file["partition"])).collect();
    assert_eq!(partitions, ["earning_month=2026-08", "earning_month=2026-09"]);
    for file in &now {
        assert_eq!((&file["schema"], &file["account"]), (&"payoutlake.file.v1".into(), &"contoso".into()));
        let bytes = std::fs::read(text(&file["path"])).unwrap();
        assert_eq!(bytes.len() as u64, file["bytes"].as_u64().unwrap());
        assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    }
    let paths = |more: &[&str]| -> Vec<String> {
        let args = [&["lake", "files", "--table", "transaction_history"], more].concat();
        world.ok(&args).stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(paths(&[]), now.iter().map(|file| text(&file["path"])).collect::<Vec<_>>());
    assert_eq!(paths(&["--account", "contoso", "--as-of", "CLOSE-2"]), paths(&[]));
    let first = paths(&["--as-of", "CLOSE-1"]);
    assert!(first.len() == 2 && first.iter().all(|path| !paths(&[]).contains(path)), "{first:?}");
}

/// So many rows of September.
fn september(rows: usize) -> String {
    let ids: Vec<String> = (0..rows).map(|index| format!("E-{index}")).collect();
    earnings(&ids.iter().map(|id| (id.as_str(), 100, "2026-09", "SENT")).collect::<Vec<_>>())
}

#[test]
fn a_held_window_waits_for_a_person() {
    let world = World::new();
    world.write("full.csv", september(200));
    world.write("less.csv", september(40));
    assert_eq!(covers(&world, "full.csv", "2026-10-01T00:00:00Z", &[]).code, 0);
    assert!(lines(&world, &["lake", "held"]).is_empty());

    let held = covers(&world, "less.csv", "2026-10-02T00:00:00Z", &[]);
    assert_eq!(held.code, 65, "{}", held.stderr);
    let waiting = lines(&world, &["lake", "held"]);
    assert_eq!(waiting.len(), 1);
    let id = text(&waiting[0]["id"]);
    assert_eq!(waiting[0]["schema"], "payoutlake.held.v1");
    let difference = &waiting[0]["differences"][0];
    assert_eq!(
        (text(&difference["what"]), text(&difference["old"]), text(&difference["new"])),
        ("rows".into(), "200".into(), "40".into())
    );
    let shown = world.ok(&["lake", "held"]).stdout;
    for words in [
        id.as_str(),
        "200 in the lake, 40 in this export",
        "limit: ",
        "less.csv",
        "--accept",
        "--reject",
        "held since",
    ] {
        assert!(shown.contains(words), "the list does not say '{words}':\n{shown}");
    }
    for words in [id.as_str(), "200 in the lake, 40 in this export"] {
        assert!(held.stderr.contains(words), "the receipt does not say '{words}':\n{}", held.stderr);
    }
    assert_eq!(sums(&world, None).0, 200);

    world.ok(&["lake", "held", "--reject", &id]);
    assert!(lines(&world, &["lake", "held"]).is_empty());
    assert_eq!(sums(&world, None).0, 200);
    assert_eq!(world.run(&["lake", "held", "--accept", &id]).code, 2, "it is not held any more");

    // The same export is held again, and this time a person believes it. The file is not needed for that.
    let mut command = vec!["--json"];
    command.extend(["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"]);
    command.extend(["--covers", "2026-08..2026-09", "--extracted-at", "2026-10-02T00:00:00Z", "less.csv"]);
    let held = world.run(&command);
    assert_eq!(held.code, 65);
    let summary: Value = serde_json::from_str(held.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(text(&summary["errors"][0]["held"]), id);
    assert!(summary["storage"]["put"].as_u64().unwrap() > 0);
    std::fs::remove_file(world.path("less.csv")).unwrap();
    assert_eq!(world.run(&["lake", "held", "--accept", &id, "--reject", &id]).code, 2);
    let accepted = world.ok(&["lake", "held", "--accept", &id]);
    // 160 rows went, each with one line for itself and one for each of its two amounts.
    assert!(accepted.stderr.contains("480 restatement lines"), "{}", accepted.stderr);
    assert_eq!(sums(&world, None).0, 40);
    assert!(lines(&world, &["lake", "held"]).is_empty());
}

#[test]
fn a_newer_export_makes_a_held_one_pointless() {
    let world = World::new();
    world.write("full.csv", september(200));
    world.write("less.csv", september(40));
    world.write("more.csv", september(201));
    assert_eq!(covers(&world, "full.csv", "2026-10-01T00:00:00Z", &[]).code, 0);
    assert_eq!(covers(&world, "less.csv", "2026-10-02T00:00:00Z", &[]).code, 65);
    assert_eq!(covers(&world, "more.csv", "2026-10-03T00:00:00Z", &[]).code, 0);
    assert!(lines(&world, &["lake", "held"]).is_empty());
}

/// Makes every file below a folder older than any run.
fn age(folder: &std::path::Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        } else {
            let then = SystemTime::now() - Duration::from_secs(72 * 3600);
            std::fs::File::open(&path).unwrap().set_modified(then).unwrap();
        }
    }
}

#[test]
fn clean_up_removes_what_no_version_needs() {
    let world = two_closes();
    world.ok(&["lake", "tag", "CLOSE-2", "--delete", "--yes"]);
    world.write("third.csv", earnings(&[("E-1", 100, "2026-08", "SENT"), ("E-9", 1, "2026-09", "SENT")]));
    assert_eq!(covers(&world, "third.csv", "2026-10-03T00:00:00Z", &["--no-guards"]).code, 0);
    let count = |folder: &str| world.files(&format!("lake/_payoutlake/{folder}")).len();
    let third = sums(&world, None);

    // All is young: the default keeps everything, and so do files that a run may just be writing.
    let done = lines(&world, &["lake", "maintain"]);
    assert_eq!(done[0]["schema"], "payoutlake.maintain.v1");
    for what in ["versions", "objects", "blobs", "receipts", "bytes"] {
        assert_eq!(done[0]["removed"][what], 0, "{what}");
    }
    age(&world.path("lake/_payoutlake/objects"));
    age(&world.path("lake/_payoutlake/raw"));
    let times = commits(&world);
    let files = world.files("lake");
    let dry = lines(&world, &["lake", "maintain", "--keep-days", "0", "--dry-run"]);
    assert_eq!(world.files("lake"), files, "a dry run changes nothing");
    let real = lines(&world, &["lake", "maintain", "--keep-days", "0"]);
    assert_eq!(dry[0]["removed"], real[0]["removed"]);
    assert_eq!(dry[0]["dry_run"], true);
    // The second version of earnings goes with its two files; the first is tagged, the third is the table. Of the
    // restatements only what a tag names and the newest stay.
    assert!(real[0]["removed"]["objects"].as_u64().unwrap() >= 2, "{real:?}");
    assert_eq!(count("manifests/transaction_history"), 2);
    assert_eq!(count("objects/transaction_history"), 4);
    assert_eq!(sums(&world, None), third);
    assert_eq!(sums(&world, Some("CLOSE-1")), FIRST);
    // The version of that time is gone: the one that a tag keeps is not the answer.
    let gone = world.run(&["sql", "--as-of", &times[1], "SELECT count(*) FROM transaction_history"]);
    assert_eq!(gone.code, 2, "{}{}", gone.stdout, gone.stderr);
    assert!(gone.stderr.contains("not kept any more"), "{}", gone.stderr);

    // A tag that goes lets its version go.
    world.ok(&["lake", "tag", "CLOSE-1", "--delete", "--yes"]);
    let words = world.ok(&["lake", "maintain", "--keep-days", "0"]).stderr;
    assert!(words.starts_with("removed: "), "{words}");
    assert_eq!(count("manifests/transaction_history"), 1);
    assert_eq!(count("objects/transaction_history"), 2);
    assert_eq!(sums(&world, None), third);
}

#[test]
fn commands_never_make_a_lake() {
    let world = World::new();
    for args in [
        &["lake", "snapshots"][..],
        &["lake", "files"],
        &["lake", "tag"],
        &["lake", "tag", "CLOSE-1"],
        &["lake", "tag", "CLOSE-1", "--delete", "--yes"],
        &["lake", "rollback", "--to", "1"],
        &["lake", "held"],
        &["lake", "held", "--accept", "0123456789"],
        &["lake", "held", "--reject", "0123456789"],
        &["lake", "maintain"],
        &["lake", "maintain", "--dry-run"],
        &["changes", "--since", "2026-11-01"],
        &["status"],
    ] {
        let done = world.run(args);
        assert_eq!(done.code, 74, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("there is no lake here"), "{args:?}: {}", done.stderr);
        assert!(!world.path("lake").exists(), "{args:?} made a lake");
    }
}

#[test]
fn another_identity_is_refused_until_it_is_accepted() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    // As if somebody else had signed in under this alias before.
    let path = world.path("lake/_payoutlake/accounts/contoso.json");
    let mut known: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    known["identities"][0]["principal"] = "somebody-else@example.com".into();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, known.to_string()).unwrap();

    let refused = world.run(&["run", "pipeline.toml"]);
    assert_eq!(refused.code, 78, "{}", refused.stderr);
    for words in ["another identity", "somebody-else@example.com", "--accept-identity"] {
        assert!(refused.stderr.contains(words), "{words}:\n{}", refused.stderr);
    }
    // Another alias is nobody's yet.
    world.ok(&["run", "pipeline.toml", "--account", "fabrikam"]);
    world.ok(&["run", "pipeline.toml", "--accept-identity"]);
    world.ok(&["run", "pipeline.toml"]);
    let known: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(known["identities"].as_array().unwrap().len(), 2, "who it was before is not forgotten");
}

#[test]
fn status_tells_the_lake_at_a_glance() {
    let world = World::new();
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    // Another account, with a hole in July and August.
    world.write("old.csv", earnings(&[("E-1", 1, "2026-06", "SENT"), ("E-2", 1, "2026-09", "SENT")]));
    world.ok(&[
        "ingest",
        "--dataset",
        "transaction_history",
        "--lake",
        "lake",
        "--account",
        "tailspin",
        "old.csv",
    ]);
    world.ok(&["lake", "tag", "CLOSE-1"]);
    world.write("full.csv", september(200));
    world.write("less.csv", september(40));
    let fabrikam = |file: &str, at: &str| {
        let args = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "fabrikam"];
        world.run(&[&args[..], &["--covers", "2026-09", "--extracted-at", at, file]].concat()).code
    };
    assert_eq!(fabrikam("full.csv", "2026-10-01T00:00:00Z"), 0);
    assert_eq!(fabrikam("less.csv", "2026-10-02T00:00:00Z"), 65);

    let status = lines(&world, &["status"]);
    assert_eq!(status.len(), 1, "one document");
    let status = &status[0];
    assert_eq!(status["schema"], "payoutlake.status.v1");
    let tables: BTreeMap<(String, String), &Value> = status["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| ((text(&table["table"]), text(&table["account"])), table))
        .collect();
    let table = |name: &str, account: &str| tables[&(name.to_owned(), account.to_owned())];
    let contoso = table("transaction_history", "contoso");
    let rows = world.sql("lake", "SELECT count(*) FROM transaction_history WHERE account = 'contoso'");
    assert_eq!(contoso["rows"].to_string(), rows[0]);
    assert_eq!(contoso["files"], 5);
    assert_eq!(
        (&contoso["months"]["first"], &contoso["months"]["last"]),
        (&"2026-07".into(), &"2026-11".into())
    );
    assert!(contoso["extracted_at"].is_string());
    assert_eq!(table("transaction_history", "tailspin")["gaps"], serde_json::json!(["2026-07", "2026-08"]));
    assert!(table("payments", "contoso")["rows"].as_u64().unwrap() > 0);
    assert_eq!(status["last_run"]["exit_code"], 65);
    assert_eq!(status["last_run"]["outcomes"], serde_json::json!(["held"]));
    assert_eq!(status["held"].as_array().unwrap().len(), 1);
    assert_eq!(status["tags"], 1);
    assert_eq!(status["open_exports"].as_array().unwrap().len(), 0);

    let words = world.ok(&["status"]).stdout;
    for part in [
        "2026-07..2026-11",
        "nothing was ever loaded of 2026-07, 2026-08",
        "1 held, exit code 65",
        "open exports: 0",
    ] {
        assert!(words.contains(part), "status does not say '{part}':\n{words}");
    }
}

#[test]
fn status_measures_how_late_months_change() {
    let world = World::new();
    // Amounts in the currency of the last payment come and go with payments: no guard is to hold them here.
    world.pipeline("", "[load.guards.sums]\npercent = 100\nfloor = 0\n");
    world.ok(&["run", "pipeline.toml"]);
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("later.toml", text.replace("2026-11-23", "2026-11-30"));
    world.ok(&["run", "later.toml"]);
    let status = &lines(&world, &["status"])[0];
    let late =
        status["lateness"].as_array().unwrap().iter().find(|late| late["dataset"] == "transaction_history");
    let late = late.unwrap_or_else(|| panic!("a week changed nothing: {status}"));
    assert_eq!(late["nights"], 1);
    assert_eq!(late["proposed"], Value::Null);
    let keys: u64 =
        late["ages"].as_array().unwrap().iter().map(|age| age["changed_keys"].as_u64().unwrap()).sum();
    let counted = world.sql(
        "lake",
        "SELECT count(*) FROM (SELECT DISTINCT version, row_key FROM restatements \
         WHERE dataset = 'transaction_history' AND cause = 'export' AND change <> 'loaded' AND period IS NOT NULL)",
    );
    assert_eq!(keys.to_string(), counted[0]);
    assert!(keys > 0);
    assert!(world.ok(&["status"]).stdout.contains("not measured yet, it takes 14 nights"));
}
