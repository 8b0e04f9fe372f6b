//! Every word of a contract: what becomes of columns, cells and rows that no schema expects, and that the cents balance.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::world::{Done, World};

/// A pipeline file that is used for its words alone, and holds nothing for refused rows.
pub fn words(world: &World, words: &str) {
    let text = format!(
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n{words}\n\
         [load.guards]\nquarantined = {{ percent = 100, floor = 0 }}\n"
    );
    world.write("p.toml", text);
}

/// `[[datasets]]` of such a file, with more lines.
pub fn dataset(more: &str) -> String {
    format!("[source]\nkind = \"sandbox\"\n[[datasets]]\nname = \"transaction_history\"\n{more}")
}

pub fn ingest(world: &World, file: &str) -> Done {
    let args = ["ingest", "--pipeline", "p.toml", "--dataset", "transaction_history"];
    let known = ["--covers", "2026-08", "--extracted-at", "2026-10-01T00:00:00Z", file];
    world.run(&[&args[..], &known].concat())
}

/// E-1 is good; E-2 has a value in a column that nobody knows; E-3 lacks an amount that every row has, E-4 one that may be
/// missing; E-5 has no type; E-6 has an amount of which nobody can say how much it is.
const FILE: &str = "\
earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,transactionAmount,mood
E-1,P-1,CSP,EUR,Rebate,1.00,1.00,2026-08-03T00:00:00Z,SENT,10.00,
E-2,P-1,CSP,EUR,Rebate,2.00,1.00,2026-08-03T00:00:00Z,SENT,20.00,sunny
E-3,P-1,CSP,EUR,Rebate,abc,1.00,2026-08-03T00:00:00Z,SENT,30.00,
E-4,P-1,CSP,EUR,Rebate,4.00,1.00,2026-08-03T00:00:00Z,SENT,oops,
E-5,P-1,CSP,EUR,,5.00,1.00,2026-08-03T00:00:00Z,SENT,50.00,
E-6,P-1,CSP,EUR,Rebate,6.00,1.00,2026-08-03T00:00:00Z,SENT,\"6,000\",
";

fn loaded(words_of_it: &str) -> (World, Done) {
    let world = World::new();
    words(&world, words_of_it);
    world.write("file.csv", FILE);
    let done = ingest(&world, "file.csv");
    (world, done)
}

fn ids(world: &World, query: &str) -> String {
    world.sql("lake", query).iter().map(|id| id.trim_start_matches("E-")).collect::<Vec<_>>().join("")
}

/// The rows of the table and of the quarantine.
fn rows(world: &World) -> (String, String) {
    let refused = "SELECT split_part(raw, ',', 1) FROM quarantine ORDER BY 1";
    let tables = world.sql("lake", "SELECT table_name FROM information_schema.tables");
    let refused = if tables.contains(&"quarantine".to_owned()) { ids(world, refused) } else { String::new() };
    (ids(world, "SELECT earning_id FROM transaction_history ORDER BY 1"), refused)
}

/// Rows and cents of the text are all somewhere.
fn balances(world: &World) {
    let wrong = "SELECT \"column\", currency, sum(CASE hop WHEN 'text' THEN coalesce(sum, rows) ELSE -coalesce(sum, rows) END) AS lost \
                 FROM control_totals WHERE hop IN ('text', 'normalised', 'quarantined', 'discarded', 'nulled') \
                 GROUP BY 1, 2 HAVING lost <> 0";
    assert_eq!(world.sql("lake", wrong), Vec::<String>::new());
}

#[test]
fn each_word_decides_and_is_told() {
    // The contract; exit code; rows of the table and of the quarantine; what is told.
    for (contract, code, table, refused, told) in [
        ("", 3, "12", "3456", "kept in _pc_extra: mood"),
        (
            "columns = \"evolve\"\ntypes = \"quarantine\"\nrows = \"quarantine\"",
            3,
            "12",
            "3456",
            "not-a-decimal",
        ),
        ("columns = \"discard\"", 3, "12", "3456", "are left out, as the contract says: mood"),
        ("columns = \"quarantine\"", 3, "1", "23456", "1 unknown-column"),
        ("types = \"null\"", 3, "1246", "35", "2 cells set to null: not-a-decimal in transaction_amount"),
        ("types = \"discard\"", 3, "12", "5", "2 rows left out: not-a-decimal in transactionAmount"),
        ("rows = \"discard\"", 3, "12", "346", "1 rows left out: missing-value in earningType"),
        (
            "types = \"null\"\nrows = \"discard\"",
            3,
            "1246",
            "3",
            "1 rows left out: missing-value in earningType",
        ),
        // What a person has decided beforehand wakes nobody.
        (
            "types = \"discard\"\nrows = \"discard\"",
            0,
            "12",
            "",
            "1 rows left out: not-a-decimal in earningAmount",
        ),
    ] {
        let (world, done) = loaded(&format!("[contract]\n{contract}\n{}", dataset("")));
        assert_eq!(done.code, code, "{contract}: {}", done.stderr);
        assert_eq!(rows(&world), (table.to_owned(), refused.to_owned()), "{contract}");
        assert!(done.stderr.contains(told), "{contract}: no '{told}' in\n{}", done.stderr);
        balances(&world);
        let extra = world
            .sql("lake", "SELECT coalesce(_pc_extra, '') FROM transaction_history WHERE earning_id = 'E-2'");
        let kept = if contract.contains("columns = \"discard\"") { "" } else { "{\"mood\":\"sunny\"}" };
        if table.contains('2') {
            assert_eq!(extra.concat().replace("\"\"", "\"").trim_matches('"'), kept, "{contract}");
        }
        if contract.contains("null") {
            let cells = "SELECT earning_id, transaction_amount IS NULL, _pc_extra FROM transaction_history WHERE earning_id IN ('E-4', 'E-6') ORDER BY 1";
            let expected = [
                "E-4,true,\"{\"\"transactionAmount\"\":\"\"oops\"\"}\"",
                "E-6,true,\"{\"\"transactionAmount\"\":\"\"6,000\"\"}\"",
            ];
            assert_eq!(world.sql("lake", cells), expected);
        }
    }
}

#[test]
fn a_frozen_window_is_held_until_a_person_takes_it() {
    for (entity, told) in [
        ("columns", "columns that no schema version knows: mood"),
        ("types", "3 in this export (contract: types = \"freeze\")"),
        ("rows", "first file.csv line 6: missing-value in earningType"),
    ] {
        let (world, done) = loaded(&format!("[contract]\n{entity} = \"freeze\"\n{}", dataset("")));
        assert_eq!(done.code, 65, "{entity}: {}", done.stderr);
        assert!(done.stderr.contains(told), "{entity}: {}", done.stderr);
        assert!(!world.path("lake/transaction_history").exists(), "{entity}");
        let held = world.ok(&["--json", "lake", "held"]).stdout;
        let held: Value = serde_json::from_str(held.lines().next().unwrap()).unwrap();
        let accepted = world.run(&["lake", "held", "--accept", held["id"].as_str().unwrap()]);
        assert_eq!(accepted.code, 3, "{entity}: {}", accepted.stderr);
        assert_eq!(rows(&world).0, "12");
    }
    // Where nothing surprises, nothing is frozen.
    let world = World::new();
    words(
        &world,
        &format!("[contract]\ncolumns = \"freeze\"\ntypes = \"freeze\"\nrows = \"freeze\"\n{}", dataset("")),
    );
    let good: Vec<&str> = FILE.lines().take(2).map(|line| line.rsplit_once(',').unwrap().0).collect();
    world.write("file.csv", good.join("\n") + "\n");
    assert_eq!(ingest(&world, "file.csv").code, 0);
}

#[test]
fn a_dataset_has_its_own_words_and_wrong_ones_are_named() {
    let own = dataset("[datasets.contract]\ntypes = \"quarantine\"");
    let (world, done) = loaded(&format!("[contract]\ntypes = \"discard\"\nrows = \"discard\"\n{own}"));
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert_eq!(rows(&world), ("12".to_owned(), "346".to_owned()));
    for (wrong, told) in [
        ("types = \"evolve\"", "unknown variant `evolve`"),
        ("columns = \"null\"", "unknown variant `null`"),
        ("rows = \"null\"", "unknown variant `null`"),
        ("cells = \"null\"", "unknown field `cells`"),
    ] {
        let (world, done) = loaded(&format!("[contract]\n{wrong}\n{}", dataset("")));
        assert_eq!(done.code, 78, "{wrong}: {}", done.stderr);
        assert!(
            done.stderr.contains(told) && done.stderr.contains("did you mean"),
            "{wrong}: {}",
            done.stderr
        );
        assert!(!world.path("lake").exists());
    }
    // A key column that is missing stops the window, whatever the contract says.
    let world = World::new();
    words(&world, &format!("[contract]\nrows = \"discard\"\n{}", dataset("")));
    world.write("file.csv", FILE.replace("earningId", "someId"));
    let done = ingest(&world, "file.csv");
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("earningId"), "{}", done.stderr);
}

/// A contract that changes lets rows in that were refused: the lake ends as if it had always been so.
#[test]
fn a_replay_goes_by_the_contract_of_today() {
    let world = World::new();
    let guards = "[load.guards]\nquarantined = { percent = 100, floor = 0 }\n";
    let faults = "faults = [\"unknown-column\"]";
    world.pipeline(faults, &format!("[contract]\ncolumns = \"quarantine\"\n{guards}"));
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    let refused =
        world.sql("lake", "SELECT count(*) > 100, count(DISTINCT fault), min(fault) FROM quarantine");
    assert_eq!(refused, ["true,1,unknown-column"]);
    let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("pipeline.toml", text.replace("columns = \"quarantine\"", "columns = \"evolve\""));
    let done = world.run(&["quarantine", "replay", "--pipeline", "pipeline.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM quarantine"), ["0"]);

    let other = World::new();
    other.pipeline(faults, "");
    assert_eq!(other.run(&["run", "pipeline.toml"]).code, 0);
    for query in [
        "SELECT earning_month, transaction_currency, count(*), count(DISTINCT earning_id), sum(earning_amount), sum(earning_amount_usd) \
         FROM transaction_history GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT earning_id, _pc_row_hash, _pc_extra FROM transaction_history ORDER BY 1",
        "SELECT payment_month, _pc_row_key, _pc_row_hash, _pc_extra FROM payments ORDER BY 1, 2, 3",
    ] {
        assert_eq!(world.sql("lake", query), other.sql("lake", query));
    }
    assert_eq!(
        world.run(&["quarantine", "replay", "--pipeline", "pipeline.toml"]).stderr,
        "no row is refused\n"
    );
    // The next night changes nothing.
    let done = world.run(&["run", "pipeline.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stderr.contains("nothing was rewritten"), "{}", done.stderr);
}

/// Decisions stand in the receipt, each with its count.
#[test]
fn the_receipt_counts_what_was_decided() {
    let (world, _) = loaded(&format!("[contract]\ntypes = \"null\"\nrows = \"discard\"\n{}", dataset("")));
    let receipt: Value = serde_json::from_slice(&world.files("lake/_payoutlake/runs")[0].1).unwrap();
    let window = &receipt["tables"][0]["windows"][0];
    let decisions: BTreeMap<String, u64> =
        serde_json::from_value::<Vec<(String, u64)>>(window["decisions"].clone())
            .unwrap()
            .into_iter()
            .collect();
    let expected = [
        ("cells set to null: not-a-decimal in transaction_amount", 2),
        ("rows left out: missing-value in earningType", 1),
    ];
    assert_eq!(decisions, expected.map(|(what, count)| (what.to_owned(), count)).into());
    assert_eq!(window["rows_discarded"], 1);
    assert_eq!(window["rows_quarantined"], 1);
}
