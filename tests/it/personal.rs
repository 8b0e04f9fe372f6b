//! What says something about a person is hashed, masked or dropped, and then stands nowhere.

use sha2::{Digest, Sha256};

use crate::contracts::{dataset, words};
use crate::world::{Done, World};

const KEY: &str = "canary-key-of-32-characters-more";

/// Texts that must be found nowhere.
const CANARIES: [&str; 6] =
    ["Ann Canary", "ann@canary.example", "tenant-canary", "Canary-City", "Second Canary", KEY];

/// A name to hash (also under a second header), an address to mask, a tenant and a city to drop.
const TREATMENTS: &str = "[personal]\nkey = \"${env:KEY}\"\n";

fn treated(contract: &str) -> String {
    let personal = "[datasets.personal]\ncustomer_name = \"hash\"\ncustomer_email = \"mask\"\n\
                    customer_tenant_id = \"drop\"\ncustomer_city = \"drop\"\n";
    format!("{TREATMENTS}{}", dataset(&format!("{personal}{contract}")))
}

const HEADER: &str = "earningId,participantId,programName,transactionCurrency,earningType,earningAmount,earningAmountUSD,earningDate,paymentStatus,transactionAmount,customerName,customerEmail,customerTenantId,customerCity,Customer Name,mood";

fn row(id: &str, amount: &str, transaction: &str) -> String {
    format!(
        "{id},P-1,CSP,EUR,Rebate,{amount},1.00,2026-08-03T00:00:00Z,SENT,{transaction},\
         Ann Canary,ann@canary.example,tenant-canary,Canary-City,Second Canary,sunny\n"
    )
}

/// A good row, one with a bad amount, one with an amount that may be missing, one with a cell too many, one misquoted, and
/// one with an amount that is no UTF-8.
fn file() -> Vec<u8> {
    let text = [
        format!("{HEADER}\n"),
        row("E-1", "1.00", "10.00"),
        row("E-2", "two", "20.00"),
        row("E-3", "3.00", "oops"),
        row("E-4", "4.00", "40.00").replace("Ann Canary", "Canary, Ann Canary"),
        row("E-5", "5.00", "50.00").replace("Ann Canary", "\"Ann Canary\" of"),
        row("E-6", "?", "60.00"),
    ];
    // `?` stands for a byte that begins no character.
    text.concat().bytes().map(|byte| if byte == b'?' { 0xff } else { byte }).collect()
}

fn ingest_as(world: &World, key: &str, at: &str, file: &str, more: &[&str]) -> Done {
    let args = ["-v", "ingest", "--pipeline", "p.toml", "--dataset", "transaction_history"];
    let known = ["--covers", "2026-08", "--extracted-at", at];
    let mut command = world.command(&[&args[..], &known, more, &[file]].concat());
    command.env("KEY", key);
    world.finish(command)
}

fn ingest(world: &World) -> Done {
    ingest_as(world, KEY, "2026-10-01T00:00:00Z", "file.csv", &[])
}

fn with_key(world: &World, args: &[&str]) -> Done {
    let mut command = world.command(args);
    command.env("KEY", KEY);
    world.finish(command)
}

/// None of the canaries stands in what is printed, in a file of the lake, or in a row of a table.
fn clean(world: &World, printed: &[&Done]) {
    let mut texts: Vec<(String, Vec<u8>)> = world.files("lake");
    for done in printed {
        texts.push(("printed".to_owned(), [done.stdout.as_bytes(), done.stderr.as_bytes()].concat()));
    }
    let tables =
        world.sql("lake", "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    assert!(tables.len() > 3, "{tables:?}");
    for table in tables {
        let rows = world.ok(&["sql", "--format", "ndjson", &format!("SELECT * FROM {table}")]).stdout;
        texts.push((table, rows.into_bytes()));
    }
    let shown = world.ok(&["--json", "quarantine", "show", "file.csv"]).stdout;
    texts.push(("quarantine show".to_owned(), shown.into_bytes()));
    for (name, bytes) in texts {
        let text = String::from_utf8_lossy(&bytes);
        for canary in CANARIES {
            assert!(!text.contains(canary), "'{canary}' stands in {name}");
        }
        // Nor a plain hash of one.
        let plain: String = Sha256::digest(CANARIES[0]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!text.contains(&plain), "a plain hash stands in {name}");
    }
}

#[test]
fn what_is_treated_stands_nowhere() {
    for contract in
        ["", "[datasets.contract]\ntypes = \"null\"\n", "[datasets.contract]\ncolumns = \"quarantine\"\n"]
    {
        let world = World::new();
        words(&world, &treated(contract));
        world.write("file.csv", file());
        let done = ingest(&world);
        assert_eq!(done.code, 3, "{}", done.stderr);
        std::fs::remove_file(world.path("file.csv")).unwrap();
        clean(&world, &[&done]);
        assert!(!world.path("lake/_payoutlake/raw").exists());
        if contract.is_empty() {
            let cells = "SELECT length(customer_name), customer_email, customer_tenant_id, customer_city, _pc_extra FROM transaction_history";
            let found = world.sql("lake", cells).concat();
            assert!(found.starts_with("64,a***,,,") && found.contains("sunny"), "{found}");
        }
        // The lake says what was done, and under which key.
        let receipt = String::from_utf8(world.files("lake/_payoutlake/runs")[0].1.clone()).unwrap();
        let manifest = world.files("lake/_payoutlake/manifests/transaction_history");
        let manifest = String::from_utf8(manifest[0].1.clone()).unwrap();
        for text in [receipt, manifest] {
            let (_, id) = text.split_once("hash:").unwrap();
            assert!(id[..8].bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }
}

fn hash(world: &World) -> String {
    world.sql("lake", "SELECT DISTINCT customer_name FROM transaction_history").concat()
}

#[test]
fn equal_texts_have_equal_hashes_under_one_key() {
    let hash_of = |key: &str| {
        let world = World::new();
        words(&world, &treated(""));
        world.write("file.csv", format!("{HEADER}\n{}{}", row("E-1", "1.00", ""), row("E-2", "2.00", "")));
        let done = ingest_as(&world, key, "2026-10-01T00:00:00Z", "file.csv", &[]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        // A later run gives the same.
        let rows = format!("{HEADER}\n{}{}", row("E-1", "1.00", ""), row("E-2", "2.00", ""));
        world.write("again.csv", rows);
        let again = ingest_as(&world, key, "2026-10-02T00:00:00Z", "again.csv", &[]);
        assert!(again.stderr.contains("nothing was rewritten"), "{}", again.stderr);
        hash(&world)
    };
    let (first, again, other) = (hash_of(KEY), hash_of(KEY), hash_of("another key of 32 characters, or so"));
    assert_eq!(first.len(), 64);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

/// Rows that were kept plain before are told as another rule, and their text is not told again.
#[test]
fn a_new_treatment_is_no_restatement() {
    let world = World::new();
    words(&world, &dataset(""));
    world.write("file.csv", format!("{HEADER}\n{}{}", row("E-1", "1.00", ""), row("E-2", "2.00", "")));
    assert_eq!(ingest(&world).code, 0);
    words(&world, &treated(""));
    world.write("later.csv", format!("{HEADER}\n{}{}", row("E-1", "1.00", ""), row("E-2", "2.50", "")));
    let done = ingest_as(&world, KEY, "2026-10-02T00:00:00Z", "later.csv", &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let told = world
        .sql("lake", "SELECT cause, row_key, field FROM restatements WHERE change <> 'loaded' ORDER BY 2, 3");
    assert_eq!(told, ["upgrade,E-2,earning_amount"]);
    assert_eq!(world.ok(&["changes", "--since", "2020-01-01"]).stderr, "nothing was changed\n");
    // From then on changes are Microsoft's again.
    world.write("last.csv", format!("{HEADER}\n{}{}", row("E-1", "1.50", ""), row("E-2", "2.50", "")));
    assert_eq!(ingest_as(&world, KEY, "2026-10-03T00:00:00Z", "last.csv", &[]).code, 0);
    let told = world.sql("lake", "SELECT cause, row_key, field FROM restatements WHERE version = 3");
    assert_eq!(told, ["file,E-1,earning_amount"]);

    // Who says nothing about the columns does not make them plain again; who says so does.
    let silent =
        ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso", "last.csv"];
    let done = world.run(&silent);
    assert_eq!(done.code, 78, "{}", done.stderr);
    assert!(
        done.stderr.contains("would write it plain") && done.stderr.contains("customer_"),
        "{}",
        done.stderr
    );
    words(&world, &dataset("[datasets.personal]\ndefault = \"keep\"\n"));
    let done = ingest_as(&world, KEY, "2026-10-04T00:00:00Z", "last.csv", &[]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(hash(&world), "Ann Canary");
}

#[test]
fn a_replay_does_not_hash_twice() {
    let world = World::new();
    words(&world, &treated(""));
    world.write(
        "file.csv",
        format!("{HEADER}\n{}{}", row("E-1", "1.00", "10.00"), row("E-2", "2.00", "oops")),
    );
    assert_eq!(ingest(&world).code, 3);
    std::fs::remove_file(world.path("file.csv")).unwrap();
    let before = hash(&world);
    words(&world, &treated("[datasets.contract]\ntypes = \"null\"\n"));
    // Without the pipeline file nothing is written plain.
    let silent = world.run(&["quarantine", "replay", "--lake", "lake"]);
    assert_eq!(silent.code, 3, "nothing fits: {}", silent.stderr);
    let done = with_key(&world, &["quarantine", "replay", "--pipeline", "p.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(
        world.sql("lake", "SELECT count(*), max(customer_email) FROM transaction_history"),
        ["2,a***"]
    );
    assert_eq!(hash(&world), before);

    // What was refused while it was kept plain is hashed when it is replayed.
    let world = World::new();
    words(&world, &dataset(""));
    world.write("file.csv", format!("{HEADER}\n{}", row("E-2", "2.00", "oops")));
    assert_eq!(ingest(&world).code, 3);
    words(&world, &treated("[datasets.contract]\ntypes = \"null\"\n"));
    let done = with_key(&world, &["quarantine", "replay", "--pipeline", "p.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(hash(&world), before);
}

#[test]
fn a_held_window_is_kept_only_on_a_word() {
    let freeze = "[datasets.contract]\ncolumns = \"freeze\"\n";
    let world = World::new();
    words(&world, &treated(freeze));
    world.write("file.csv", format!("{HEADER}\n{}", row("E-1", "1.00", "10.00")));
    let done = ingest(&world);
    assert_eq!(done.code, 65, "{}", done.stderr);
    assert!(done.stderr.contains("keep-personal"), "{}", done.stderr);
    assert!(!world.path("lake/_payoutlake/raw").exists());
    assert_eq!(world.ok(&["lake", "held"]).stderr, "nothing is held\n");

    words(&world, &format!("raw = \"keep-personal\"\n{}", treated(freeze)));
    assert_eq!(ingest(&world).code, 65);
    let held = world.ok(&["--json", "lake", "held"]).stdout;
    let held: serde_json::Value = serde_json::from_str(held.lines().next().unwrap()).unwrap();
    let id = held["id"].as_str().unwrap();
    let plain = world.run(&["lake", "held", "--accept", id]);
    assert_eq!(plain.code, 78, "{}", plain.stderr);
    let done = with_key(&world, &["lake", "held", "--accept", id, "--pipeline", "p.toml"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(hash(&world).len(), 64);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    let key = "[personal]\nkey = \"${env:KEY}\"\n";
    for (head, treatment, told) in [
        (key, "earning_id = \"mask\"", "it tells rows apart"),
        (key, "earning_id = \"drop\"", "it tells rows apart"),
        (key, "earning_date = \"drop\"", "it dates the row"),
        (key, "earning_amount = \"hash\"", "it is money"),
        (key, "transaction_amount = \"drop\"", "it is money"),
        (key, "transaction_currency = \"mask\"", "the currency of money"),
        (key, "program_name = \"drop\"", "no row is without it"),
        (key, "quantity = \"hash\"", "it is no text"),
        (key, "customer_nam = \"hash\"", "did you mean `customer_name`"),
        (key, "customer_name = \"sha256\"", "unknown variant `sha256`"),
        ("", "customer_name = \"hash\"", "`personal.key` is missing"),
        (
            "[personal]\nkey = \"a key that stands in the file\"\n",
            "customer_name = \"hash\"",
            "must not stand in the pipeline file",
        ),
        ("[personal]\nkey = \"${env:SHORT}\"\n", "customer_name = \"hash\"", "too short"),
        ("[personal]\nkey = \"${env:NOT_SET}\"\n", "customer_name = \"hash\"", "NOT_SET is not set"),
        (
            "raw = \"keep\"\n[personal]\nkey = \"${env:KEY}\"\n",
            "default = \"hash\"",
            "would keep the personal data",
        ),
    ] {
        let world = World::new();
        words(&world, &format!("{head}{}", dataset(&format!("[datasets.personal]\n{treatment}\n"))));
        world.write("file.csv", format!("{HEADER}\n"));
        let args = ["ingest", "--pipeline", "p.toml", "--dataset", "transaction_history", "file.csv"];
        let mut command = world.command(&args);
        command.env("KEY", KEY).env("SHORT", "canary-short");
        let done = world.finish(command);
        assert_eq!(done.code, 78, "{treatment}: {}", done.stderr);
        assert!(done.stderr.contains(told), "{treatment}: no '{told}' in {}", done.stderr);
        assert!(!done.stderr.contains("canary") && !world.path("lake").exists(), "{treatment}");
    }
    // A key may be hashed, and a plan needs no secret.
    let world = World::new();
    words(&world, &format!("{key}{}", dataset("[datasets.personal]\nearning_id = \"hash\"\n")));
    world.write("file.csv", format!("{HEADER}\n{}", row("E-1", "1.00", "")));
    assert_eq!(ingest(&world).code, 0);
    assert_eq!(world.sql("lake", "SELECT length(_pc_row_key) FROM transaction_history"), ["64"]);
    assert_eq!(world.run(&["plan", "p.toml"]).code, 0);
}

/// A whole run against the sandbox: same rows, same cents, and no name of a customer.
#[test]
fn a_run_hashes_what_the_schema_marks() {
    let (plain, hashed) = (World::new(), World::new());
    plain.pipeline(
        "faults = [\"bad-cells:transactionhistory\"]",
        "[load.guards]\nquarantined = { percent = 100, floor = 0 }",
    );
    assert_eq!(plain.run(&["run", "pipeline.toml"]).code, 3);
    hashed.pipeline(
        "faults = [\"bad-cells:transactionhistory\"]",
        "[load.guards]\nquarantined = { percent = 100, floor = 0 }\n[personal]\nkey = \"${env:KEY}\"",
    );
    let text = std::fs::read_to_string(hashed.path("pipeline.toml")).unwrap();
    let section = "months_per_export = 2\n[datasets.personal]\ndefault = \"hash\"\n";
    hashed.write("pipeline.toml", text.replace("months_per_export = 2\n", section));
    let done = with_key(&hashed, &["run", "pipeline.toml"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    let sums = "SELECT earning_month, transaction_currency, count(*), count(DISTINCT customer_name), sum(earning_amount) FROM transaction_history GROUP BY 1, 2 ORDER BY 1, 2";
    assert_eq!(plain.sql("lake", sums), hashed.sql("lake", sums));
    let names = plain.sql(
        "lake",
        "SELECT DISTINCT customer_name FROM transaction_history WHERE length(customer_name) > 6",
    );
    assert!(names.len() > 3, "{names:?}");
    let raw = "SELECT raw FROM quarantine UNION ALL SELECT customer_name FROM transaction_history";
    let kept = hashed.sql("lake", raw).concat();
    assert!(kept.len() > 1000);
    assert!(names.iter().all(|name| !kept.contains(name.trim_matches('"'))));
    assert!(hashed.files("lake/_payoutlake/raw").is_empty());
    assert!(hashed.files("lake/_payoutlake/tmp").is_empty(), "nothing is left on the way");
}

/// A command that knows nothing of what is treated in the table leaves nothing of its file in the lake.
#[test]
fn a_command_without_the_words_of_the_table_leaves_no_trace() {
    let world = World::new();
    words(&world, &treated(""));
    world.write("file.csv", file());
    assert_eq!(ingest(&world).code, 3);
    let before = world.files("lake");
    for (name, text) in [("good.csv", row("E-9", "9.00", "1.00")), ("bad.csv", row("E-9", "nine", "1.00"))] {
        world.write(name, format!("{HEADER}\n{text}"));
        let args =
            ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso", name];
        let done = world.run(&args);
        assert_eq!(done.code, 78, "{name}\n{}", done.stderr);
        assert!(done.stderr.contains("this command would write it plain"), "{}", done.stderr);
        assert!(world.files("lake") == before, "{name}: something is left in the lake");
    }
}

/// Columns that the contract leaves out are not kept with refused rows either: nobody knows what they say.
#[test]
fn what_the_contract_leaves_out_is_not_in_the_quarantine() {
    let world = World::new();
    words(&world, &treated("[datasets.contract]\ncolumns = \"discard\"\n"));
    world.write("file.csv", file());
    assert_eq!(ingest(&world).code, 3);
    assert_eq!(
        world.sql("lake", "SELECT count(*) > 0, count(*) FILTER (WHERE raw LIKE '%sunny%') FROM quarantine"),
        ["true,0"]
    );
}
