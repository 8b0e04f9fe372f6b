//! Several processes write one lake at the same moment.

use std::collections::BTreeMap;

use crate::crash::{committed, restated, seen};
use crate::servers::{self, Server, Stand};
use crate::world::{Done, World};

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";
const WRITERS: u64 = 4;
const MONTHS: [&str; 4] = ["2026-01", "2026-02", "2026-03", "2026-04"];

/// A whole export of some months: which, and when it was finished (in minutes; no two are equal).
struct Export {
    months: &'static [&'static str],
    minute: u64,
}

/// The exports of one writer: times that go up and down, windows that overlap and that do not.
fn exports(writer: u64, changes: u64) -> impl Iterator<Item = Export> {
    (0..changes).map(move |number| {
        let dice = (number * 7 + writer * 13) % 10;
        let months = match dice {
            0..4 => &MONTHS[(writer as usize)..=(writer as usize)],
            4..7 => &MONTHS[1..3],
            _ => &MONTHS[(dice as usize - 7)..(dice as usize - 4).min(4)],
        };
        // Later and later, but every fifth is one that was long under way. No two are equal.
        let turn = number * WRITERS + writer;
        let minute = if number % 5 == 4 { turn * 2 + 1 } else { (turn + 40) * 2 };
        Export { months, minute }
    })
}

fn ingest(stand: &Stand, export: &Export) -> Done {
    let Export { months, minute } = export;
    let row = |month: &&str| {
        let id = format!("E-{month}-{}", minute % 5);
        format!(
            "{id},P-1,CSP,EUR,Rebate,{minute}.25,{minute}.50,{month}-03T00:00:00Z,SENT\nK-{month},P-1,CSP,EUR,Rebate,1.00,1.00,{month}-03T00:00:00Z,SENT\n"
        )
    };
    let file = stand
        .world
        .write(&format!("{minute}.csv"), format!("{HEADER}\n{}", months.iter().map(row).collect::<String>()));
    let covers = format!("{}..{}", months[0], months[months.len() - 1]);
    let at = format!("2026-06-01T{:02}:{:02}:00Z", minute / 60, minute % 60);
    stand.run(&[
        "ingest",
        "--dataset",
        "transaction_history",
        "--account",
        "contoso",
        "--no-guards",
        "--covers",
        &covers,
        "--extracted-at",
        &at,
        file.to_str().unwrap(),
    ])
}

#[test]
fn four_writers_leave_the_newest_export_in_every_month() {
    four_writers(None, 50);
}

/// moto looks first and writes then, so writers who meet there are not kept apart: no race is run on it.
#[test]
fn four_writers_on_azure_leave_the_newest_export_in_every_month() {
    four_writers(Some(&servers::AZURE), 20);
}

fn four_writers(server: Option<&Server>, changes: u64) {
    let Some(stand) = Stand::new(server) else { return };
    std::thread::scope(|writers| {
        for writer in 0..WRITERS {
            let stand = &stand;
            writers.spawn(move || {
                for export in exports(writer, changes) {
                    let done = ingest(stand, &export);
                    assert_eq!(done.code, 0, "writer {writer}, minute {}:\n{}", export.minute, done.stderr);
                }
            });
        }
    });
    let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
    for export in (0..WRITERS).flat_map(|writer| exports(writer, changes)) {
        for month in export.months {
            newest
                .entry(month)
                .and_modify(|minute| *minute = (*minute).max(export.minute))
                .or_insert(export.minute);
        }
    }
    let expected: Vec<String> = newest
        .iter()
        .map(|(month, minute)| format!("{month},2,{}.25,{}.50", minute + 1, minute + 1))
        .collect();
    let query = "SELECT earning_month, count(*), sum(earning_amount), sum(earning_amount_usd) FROM transaction_history GROUP BY 1 ORDER BY 1";
    assert_eq!(stand.sql(query), expected);

    // A linear history: every number once, each commit not earlier than the one before.
    let listed =
        stand.ok(&["--json", "lake", "snapshots", "--table", "transaction_history", "--last", "1000"]);
    let mut versions: Vec<(u64, String)> = (listed.stdout.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| (line["version"].as_u64().unwrap(), line["committed_at"].as_str().unwrap().to_owned()))
        .collect();
    versions.sort();
    assert!(versions.len() as u64 > changes * 2, "only {} commits: nothing met", versions.len());
    assert!(versions.iter().zip(1..).all(|((version, _), number)| *version == number), "{versions:?}");
    assert!(versions.is_sorted_by_key(|(_, at)| at.parse::<jiff::Timestamp>().unwrap()), "{versions:?}");

    let lake = stand.lake();
    assert_eq!(seen(&lake), committed(&lake), "the folders do not show what is committed");
    let (rows, moved) = restated(&lake).into_iter().fold((0, 0), |(rows, moved), (key, sum)| {
        (rows + sum.0, moved + if key[2] == "earning_amount" { sum.1 } else { 0 })
    });
    let total: u64 = newest.values().map(|minute| minute + 1).sum();
    assert_eq!(rows, 8, "the restatements do not tell every row");
    assert_eq!(moved, i128::from(total * 100 + 100) * 100_000_000, "nor every cent");
}

#[test]
fn accounts_write_side_by_side_and_sql_reads_only_what_it_needs() {
    let world = World::new();
    let accounts: Vec<String> = (0..12).map(|number| format!("partner-{number:02}")).collect();
    let row = "E-1,P-1,CSP,EUR,Rebate,1.25,1.50,2026-01-03T00:00:00Z,SENT";
    world.write("export.csv", format!("{HEADER}\n{row}\n"));
    std::thread::scope(|writers| {
        for account in &accounts {
            let world = &world;
            writers.spawn(move || {
                let done = world.run(&[
                    "ingest",
                    "--dataset",
                    "transaction_history",
                    "--lake",
                    "lake",
                    "--account",
                    account,
                    "export.csv",
                ]);
                assert_eq!(done.code, 0, "{account}:\n{}", done.stderr);
            });
        }
    });
    let query = "SELECT count(*), count(DISTINCT account), sum(earning_amount) FROM transaction_history";
    assert_eq!(world.sql("lake", query), ["12,12,15.00"]);
    let explained = world.ok(&[
        "sql",
        "--lake",
        "lake",
        "--format",
        "csv",
        "EXPLAIN SELECT count(earning_type) FROM transaction_history WHERE account = 'partner-07'",
    ]);
    assert_eq!(explained.stdout.matches(".parquet").count(), 1, "{}", explained.stdout);
    assert!(explained.stdout.contains("partner-07"), "{}", explained.stdout);
}
