//! The table `restatements`: what it tells, what it keeps quiet about, and that it adds up.

use crate::world::World;

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,lever";

fn row(id: &str, currency: &str, amount: &str, status: &str) -> String {
    format!("{id},P-1,CSP,{currency},Rebate,{amount},1.10,2026-09-03T00:00:00Z,{status},L-1\n")
}

/// Loads September as it was at an hour of a day.
fn september(world: &World, hour: u32, text: &str) {
    load(world, "2026-09", hour, text);
}

fn load(world: &World, month: &str, hour: u32, text: &str) {
    world.write("month.csv", text);
    let at = format!("2026-10-05T{hour:02}:00:00Z");
    world.ok(&[
        "ingest",
        "--dataset",
        "transaction_history",
        "--lake",
        "lake",
        "--account",
        "contoso",
        "--no-guards",
        "--covers",
        month,
        "--extracted-at",
        &at,
        "month.csv",
    ]);
}

fn lines(world: &World) -> Vec<String> {
    world.sql(
        "lake",
        "SELECT version, change, cause, row_key, period, field, old_value, new_value, currency, moved, rows \
         FROM restatements WHERE change <> 'loaded' ORDER BY version, row_key, field NULLS FIRST, currency",
    )
}

/// The newer export says in which month a row stands: from the other one it goes, although nobody asked for that month.
#[test]
fn a_row_that_stands_in_another_month_leaves_it() {
    let world = World::new();
    let months = "SELECT earning_month, earning_id, earning_amount FROM transaction_history ORDER BY ALL";
    let before = [row("E-1", "EUR", "10.00", "UNPROCESSED"), row("E-2", "EUR", "20.00", "UNPROCESSED")];
    let august = format!("{HEADER}\n{}", before.concat().replace("2026-09-", "2026-08-"));
    load(&world, "2026-08", 1, &august);
    assert_eq!(world.sql("lake", months), ["2026-08,E-1,10.00", "2026-08,E-2,20.00"]);
    let after = [row("E-1", "EUR", "10.00", "SENT"), row("E-3", "EUR", "30.00", "UNPROCESSED")];
    september(&world, 2, &format!("{HEADER}\n{}", after.concat()));
    assert_eq!(world.sql("lake", months), ["2026-08,E-2,20.00", "2026-09,E-1,10.00", "2026-09,E-3,30.00"]);
}

#[test]
fn every_field_that_changed_is_told_with_the_money_that_moved() {
    let world = World::new();
    let before = [
        row("E-1", "EUR", "10.00", "UNPROCESSED"),
        row("E-2", "EUR", "20.00", "UNPROCESSED"),
        row("E-3", "EUR", "30.00", "UNPROCESSED"),
        row("E-4", "EUR", "40.00", "UNPROCESSED"),
    ];
    september(&world, 1, &format!("{HEADER}\n{}", before.concat()));
    let loaded = "SELECT rows, field, currency, moved FROM restatements WHERE change = 'loaded' ORDER BY 2 NULLS FIRST";
    assert_eq!(
        world.sql("lake", loaded),
        ["4,,,", "0,earning_amount,EUR,100.00", "0,earning_amount_usd,USD,4.40"]
    );

    // E-1 stays, E-2 is paid, E-3 gets another amount in another currency, E-4 goes, E-5 comes.
    let after = [
        row("E-1", "EUR", "10.00", "UNPROCESSED"),
        row("E-2", "EUR", "20.00", "SENT"),
        row("E-3", "USD", "33.00", "UNPROCESSED"),
        row("E-5", "EUR", "50.00", "UNPROCESSED"),
    ];
    september(&world, 2, &format!("{HEADER}\n{}", after.concat()));
    assert_eq!(
        lines(&world),
        [
            "2,changed,file,E-2,2026-09,payment_status,UNPROCESSED,SENT,,,0",
            "2,changed,file,E-3,2026-09,earning_amount,30.00,,EUR,-30.00,0",
            "2,changed,file,E-3,2026-09,earning_amount,,33.00,USD,33.00,0",
            "2,changed,file,E-3,2026-09,transaction_currency,EUR,USD,,,0",
            "2,removed,file,E-4,2026-09,,,,,,-1",
            "2,removed,file,E-4,2026-09,earning_amount,40.00,,EUR,-40.00,0",
            "2,removed,file,E-4,2026-09,earning_amount_usd,1.10,,USD,-1.10,0",
            "2,added,file,E-5,2026-09,,,,,,1",
            "2,added,file,E-5,2026-09,earning_amount,,50.00,EUR,50.00,0",
            "2,added,file,E-5,2026-09,earning_amount_usd,,1.10,USD,1.10,0",
        ]
    );
    // All lines together are the table.
    let both = "SELECT sum(rows), sum(CASE WHEN field = 'earning_amount' AND currency = 'EUR' THEN moved END) FROM restatements \
                UNION ALL SELECT count(*), sum(CASE WHEN transaction_currency = 'EUR' THEN earning_amount END) FROM transaction_history";
    let both = world.sql("lake", both);
    assert_eq!(both[0], both[1]);

    // The same again, later: nothing is told.
    september(&world, 3, &format!("{HEADER}\n{}", after.concat()));
    assert_eq!(lines(&world).len(), 10);
}

/// The same cells in other rows: no sum of a column tells it.
#[test]
fn what_changes_places_is_told() {
    let world = World::new();
    let (one, other) = (row("E-1", "EUR", "10.00", "SENT"), row("E-2", "EUR", "20.00", "UNPROCESSED"));
    september(&world, 1, &format!("{HEADER}\n{one}{other}"));
    let (one, other) = (row("E-1", "EUR", "20.00", "UNPROCESSED"), row("E-2", "EUR", "10.00", "SENT"));
    september(&world, 2, &format!("{HEADER}\n{one}{other}"));
    let told = lines(&world);
    for line in ["E-1,2026-09,earning_amount,10.00,20.00", "E-2,2026-09,payment_status,UNPROCESSED,SENT"] {
        assert!(told.iter().any(|told| told.contains(line)), "{line}: {told:?}");
    }
}

#[test]
fn a_new_column_is_no_restatement() {
    let world = World::new();
    let with =
        format!("{HEADER}\n{}{}", row("E-1", "EUR", "10.00", "SENT"), row("E-2", "EUR", "20.00", "SENT"));
    let without: Vec<String> =
        with.lines().map(|line| line.rsplit_once(',').unwrap().0.to_owned() + "\n").collect();
    september(&world, 1, &without.concat());
    // The column is there from now on: the rows are written anew, and nothing has changed.
    september(&world, 2, &with);
    assert_eq!(world.sql("lake", "SELECT lever FROM transaction_history"), ["L-1", "L-1"]);
    assert_eq!(lines(&world), Vec::<String>::new());
    // From then on it counts; beside a column that no schema knows.
    let later = with
        .replace("L-1", "L-2")
        .replacen("paymentStatus,lever", "paymentStatus,lever,weather", 1)
        .replace("L-2\n", "L-2,mild\n");
    september(&world, 3, &later);
    let told: Vec<String> = lines(&world);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.contains(",lever,L-1,L-2,")), "{told:?}");
}

#[test]
fn what_another_payoutlake_typed_otherwise_is_an_upgrade() {
    let world = World::new();
    september(&world, 1, &format!("{HEADER}\n{}", row("E-1", "EUR", "10.00", "SENT")));
    // As if the rows had been typed by other rules.
    let manifest = "lake/_payoutlake/manifests/transaction_history/contoso/00000000000000000001.json";
    let text = std::fs::read_to_string(world.path(manifest)).unwrap();
    let rules = format!("\"rules\":{}", payoutlake::schema::RULES);
    assert!(text.contains(&rules));
    world.write(manifest, text.replace(&rules, "\"rules\":0"));
    september(&world, 2, &format!("{HEADER}\n{}", row("E-1", "EUR", "10.50", "SENT")));
    assert_eq!(lines(&world), ["2,changed,upgrade,E-1,2026-09,earning_amount,10.00,10.50,EUR,0.50,0"]);
    let told = world.ok(&["changes", "--lake", "lake", "--since", "2020-01-01", "--format", "csv"]);
    assert!(!told.stdout.contains("earning_amount"), "{}", told.stdout);
}

#[test]
fn a_key_that_stands_twice_is_counted_twice() {
    let world = World::new();
    let one = row("E-1", "EUR", "10.00", "SENT");
    september(&world, 1, &format!("{HEADER}\n{one}{one}{one}"));
    // One of three equal rows goes, one of the others changes.
    september(&world, 2, &format!("{HEADER}\n{one}{}", row("E-1", "EUR", "11.00", "SENT")));
    let told = world.sql(
        "lake",
        "SELECT change, sum(rows), sum(moved) FROM restatements WHERE version = 2 AND (field = 'earning_amount' OR field IS NULL) GROUP BY 1 ORDER BY 1",
    );
    assert_eq!(told, ["changed,0,1.00", "removed,-1,-10.00"]);
}

#[test]
fn a_window_is_held_for_rows_sums_and_what_vanished() {
    let world = World::new();
    let many = |programme: &str, rows: std::ops::Range<u32>, amount: &str| -> String {
        rows.map(|n| {
            format!("E-{n},P-1,{programme},EUR,Rebate,{amount},{amount},2026-09-03T00:00:00Z,SENT,L-1\n")
        })
        .collect()
    };
    let held = |text: String, hour: u32, words: &[&str]| {
        world.write("september.csv", format!("{HEADER}\n{text}"));
        let at = format!("2026-10-05T{hour:02}:00:00Z");
        let done = world.run(&[
            "ingest",
            "--dataset",
            "transaction_history",
            "--lake",
            "lake",
            "--account",
            "contoso",
            "--covers",
            "2026-09",
            "--extracted-at",
            &at,
            "september.csv",
        ]);
        assert_eq!(done.code, if words.is_empty() { 0 } else { 65 }, "{}", done.stderr);
        for word in words {
            assert!(done.stderr.contains(word), "it does not say '{word}':\n{}", done.stderr);
        }
        done.stderr
    };
    held(many("CSP", 0..380, "100.00") + &many("Azure", 380..400, "100.00"), 1, &[]);
    // 41 of 400 rows are more than 10 % and more than 20.
    held(
        many("CSP", 0..339, "100.00") + &many("Azure", 380..400, "100.00"),
        2,
        &["rows: 400 in the lake, 359"],
    );
    held(many("CSP", 0..340, "100.00") + &many("Azure", 380..400, "100.00"), 3, &[]);
    // The sums fall by half.
    let half = many("CSP", 0..340, "50.00") + &many("Azure", 380..400, "100.00");
    held(half, 4, &["sum of earning_amount in EUR: 36000.00 in the lake, 19000.00"]);
    // All that a programme had goes; a new one is welcome, and told.
    let vanished = many("CSP", 0..340, "100.00") + &many("Dynamics", 380..400, "100.00");
    held(vanished, 5, &["rows of program_name 'Azure': 20 in the lake, 0"]);
    let welcome = many("CSP", 0..340, "100.00")
        + &many("Azure", 380..400, "100.00")
        + &many("Dynamics", 400..403, "1.00");
    let told = held(welcome, 6, &[]);
    assert!(told.contains("new in 2026-09: program_name 'Dynamics' with 3 rows"), "{told}");
    // What was held is overtaken by the newer export.
    let listed = world.ok(&["--json", "lake", "held", "--lake", "lake"]);
    assert!(!listed.stdout.contains("transaction_history"), "{}", listed.stdout);
}

/// A month that is too large for memory is compared in slices, which tell what one comparison of it all tells.
#[test]
fn rows_compared_in_slices_are_told_as_at_once() {
    let world = World::new();
    // More than the 16,384 rows that are compared at once in the default memory.
    let rows = 40_000;
    let text = |amount: &dyn Fn(u32) -> u32| {
        let rows = (0..rows).map(|n| row(&format!("E-{n}"), "EUR", &format!("{}.00", amount(n)), "SENT"));
        format!("{HEADER}\n{}", rows.collect::<String>())
    };
    september(&world, 1, &text(&|n| n));
    // Two of three change, the others and a twin stay.
    september(&world, 2, &text(&|n| if n % 3 == 0 { n } else { n + 1 }));
    let told = "SELECT change, field, count(DISTINCT row_key), sum(moved), sum(rows) FROM restatements \
                WHERE change <> 'loaded' GROUP BY ALL";
    assert_eq!(world.sql("lake", told), ["changed,earning_amount,26666,26666.00,0"]);
}

/// Rows that a person has loaded are known well: the first export of their month may not bring less money, however many
/// rows it has. A few rows that came with a neighbour's export are not (`imitation::a_month_that_a_neighbour_began_is_not_held`).
#[test]
fn the_first_export_of_a_loaded_month_is_held_for_its_sums() {
    let world = World::new();
    let file = |name: &str, rows: u32, amount: &str| {
        let rows = (0..rows).map(|n| row(&format!("E-{n}"), "EUR", amount, "SENT")).collect::<String>();
        world.write(name, format!("{HEADER}\n{rows}"));
    };
    // More than the floor of 20 rows, and more money than the floor of 10,000.
    file("by-hand.csv", 30, "1000.00");
    file("export.csv", 31, "1.00");
    let ingest = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"];
    world.ok(&[&ingest[..], &["by-hand.csv"]].concat());
    let covers = ["--covers", "2026-09", "--extracted-at", "2026-10-05T02:00:00Z", "export.csv"];
    let done = world.run(&[&ingest[..], &covers[..]].concat());
    assert_eq!(done.code, 65, "{}", done.stderr);
    let sum = "SELECT sum(earning_amount) FROM transaction_history";
    assert_eq!(world.sql("lake", sum), ["30000.00"]);
}
