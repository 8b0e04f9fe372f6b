//! A row dropped or a cent changed, at each hop of the way, ends in 65 and commits nothing.

use crate::world::World;

#[test]
fn damage_at_any_hop_is_seen_and_named() {
    // Where the damage is done, and the hop at which it must be seen.
    for (hop, damage, seen) in [
        ("decode", "drop-row", "decode"),
        ("decode", "change-cent", "normalise"),
        ("normalise", "drop-row", "stage"),
        ("normalise", "change-cent", "stage"),
        ("write", "drop-row", "write"),
        ("write", "change-cent", "write"),
    ] {
        {
            let world = World::new();
            world.pipeline("", "");
            let mut command = world.command(&["run", "pipeline.toml"]);
            command.env("PAYOUTLAKE_MUTATE", format!("{hop}:{damage}"));
            let done = world.finish(command);
            assert_eq!(done.code, 65, "{hop}:{damage}\n{}", done.stderr);
            assert!(done.stderr.contains(&format!("hop: {seen}\n")), "{hop}:{damage}\n{}", done.stderr);
            // The damaged export is not there, the three others are.
            let receipt: serde_json::Value =
                serde_json::from_slice(&world.files("lake/_payoutlake/runs")[0].1).unwrap();
            let windows = receipt["tables"].as_array().unwrap().iter();
            let outcomes: Vec<&serde_json::Value> = windows
                .flat_map(|table| table["windows"].as_array().unwrap())
                .map(|w| &w["outcome"])
                .collect();
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == "held").count(), 1, "{outcomes:?}");
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == "published").count(), 3, "{outcomes:?}");
            let healed = world.run(&["run", "pipeline.toml"]);
            assert_eq!(healed.code, 0, "{hop}:{damage}\n{}", healed.stderr);
        }
    }
}

/// A row whose key stands already is merged with those that stay; rows of new keys are written behind those that are there.
#[test]
fn damage_while_merging_is_seen() {
    const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus";
    let file = |rows: &[&str]| {
        let line = |row: &&str| format!("{row},1.10,2026-09-03T00:00:00Z,SENT\n");
        format!("{HEADER}\n{}", rows.iter().map(line).collect::<String>())
    };
    let row = |id: &str, amount: &str| format!("{id},P-1,CSP,EUR,Rebate,{amount}");
    let first = [row("E-1", "10.00"), row("E-2", "20.00")];
    let known = [row("E-2", "21.00"), row("E-3", "30.00")];
    let unknown = [row("E-3", "30.00"), row("E-4", "40.00")];
    let ingest = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"];
    for damage in ["drop-row", "change-cent"] {
        for (hop, rows, seen) in [("merge", &known, "merge"), ("append", &unknown, "write")] {
            let world = World::new();
            world.write("first.csv", file(&first.each_ref().map(String::as_str)));
            world.write("second.csv", file(&rows.each_ref().map(String::as_str)));
            world.ok(&[&ingest[..], &["first.csv"]].concat());
            let before = world.files("lake/transaction_history");
            let mut command = world.command(&[&ingest[..], &["second.csv"]].concat());
            command.env("PAYOUTLAKE_MUTATE", format!("{hop}:{damage}"));
            let done = world.finish(command);
            assert_eq!(done.code, 65, "{hop}:{damage}\n{}", done.stderr);
            assert!(done.stderr.contains(&format!("hop: {seen}")), "{hop}:{damage}\n{}", done.stderr);
            assert_eq!(world.files("lake/transaction_history"), before);
            world.ok(&[&ingest[..], &["second.csv"]].concat());
            let sums = world.sql("lake", "SELECT count(*), sum(earning_amount) FROM transaction_history");
            let expected = if hop == "merge" { "3,61.00" } else { "4,100.00" };
            assert_eq!(sums, [expected], "{hop}:{damage}");
        }
    }
}

/// Who audits a month asks one table what was counted on the way to it.
#[test]
fn what_was_counted_at_every_hop_is_a_table() {
    let world = World::new();
    world.pipeline("faults = [\"bad-cells\"]", "[load.guards]\nquarantined = { percent = 100, floor = 0 }");
    assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
    let rows = "SELECT dataset, version, sum(CASE hop WHEN 'text' THEN rows WHEN 'quarantined' THEN -rows \
                WHEN 'normalised' THEN -rows END), sum(CASE hop WHEN 'normalised' THEN rows WHEN 'overlap' THEN -rows \
                WHEN 'staged' THEN -rows END), max(CASE hop WHEN 'text' THEN rows END) > 100, \
                max(CASE hop WHEN 'quarantined' THEN rows END) > 0 FROM control_totals WHERE \"column\" IS NULL \
                GROUP BY ALL ORDER BY 1, 2";
    let balanced = world.sql("lake", rows);
    assert_eq!(balanced.len(), 4, "one for each commit: {balanced:?}");
    assert!(balanced.iter().all(|line| line.contains(",0,0,")), "{balanced:?}");
    assert!(balanced.iter().any(|line| line.ends_with(",true,true")), "{balanced:?}");
    // To the cent: what the text said, less what was refused and left to neighbours, is what was read back.
    let cents = "SELECT dataset, version, \"column\", currency FROM control_totals WHERE \"column\" IS NOT NULL \
                 AND hop IN ('text', 'quarantined', 'overlap', 'staged') GROUP BY ALL \
                 HAVING sum(CASE hop WHEN 'text' THEN sum ELSE -sum END) <> 0";
    assert_eq!(world.sql("lake", cents), Vec::<String>::new());
    let columns = world.sql("lake", "SELECT DISTINCT \"column\" FROM control_totals WHERE hop = 'text'");
    assert!(columns.iter().any(|column| column == "earning_amount"), "{columns:?}");
    // The last line of the newest version is the table as it stands.
    let now = "SELECT coalesce(transaction_currency, ''), sum(earning_amount) FROM transaction_history GROUP BY 1 ORDER BY 1";
    let told = "SELECT coalesce(currency, ''), sum FROM control_totals WHERE dataset = 'transaction_history' AND hop = 'table' \
                AND \"column\" = 'earning_amount' AND version = (SELECT max(version) FROM control_totals \
                WHERE dataset = 'transaction_history') ORDER BY 1";
    assert_eq!(world.sql("lake", now), world.sql("lake", told));
    // A night that brings nothing new adds nothing.
    let lines = world.sql("lake", "SELECT count(*) FROM control_totals");
    assert_eq!(world.run(&["run", "pipeline.toml"]).code, 3);
    assert_eq!(world.sql("lake", "SELECT count(*) FROM control_totals"), lines);
}
