//! Random histories of a lake: the binary plays them step by step, also killed in the middle, and after each step the
//! published folders must hold what an independent oracle (`tests/oracle/lake.py`, Python, no code shared) says.
//!
//! `PAYOUTLAKE_ORACLE_SEED` and `PAYOUTLAKE_ORACLE_RUNS` play other and more histories. A history that fails is made
//! shorter while it still fails, and printed together with its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::world::World;

/// Histories of one test; each is about three seconds of a debug build.
const RUNS: u64 = 7;
const STEPS: usize = 11;
/// About as many storage operations has an ingest: it may be killed at each.
const POINTS: usize = 140;
/// A failing history is shortened for at most this long.
const SHRINK_FOR: Duration = Duration::from_secs(180);

// Small alphabets, so that keys, months and times collide.
const ACCOUNTS: [&str; 3] = ["anvil", "birch", "cedar"];
const MONTHS: [&str; 4] = ["2024-01", "2024-02", "2024-03", "2024-04"];
const TIMES: [&str; 8] = ["01", "02", "03", "04", "05", "06", "07", "08"];
const KEYS: [&str; 6] = ["E-1", "E-2", "E-3", "E-4", "E-5", "E-6"];
const AMOUNTS: [&str; 5] = ["1.00", "2.5", "-1.00", "0.0000000001", "9999999999.99"];
const CURRENCIES: [&str; 3] = ["EUR", "USD", "JPY"];

/// A table as this test sees it: the lake's names of the columns in use, and their headers.
struct Dataset {
    name: &'static str,
    month: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

const EARNINGS: Dataset = Dataset {
    name: "transaction_history",
    month: "earning_month",
    columns: &[
        ("earning_id", "earningId"),
        ("participant_id", "participantId"),
        ("program_name", "programName"),
        ("earning_type", "earningType"),
        ("earning_amount", "earningAmount"),
        ("earning_amount_usd", "earningAmountUSD"),
        ("earning_date", "earningDate"),
        ("payment_status", "paymentStatus"),
        ("transaction_currency", "transactionCurrency"),
        ("transaction_amount", "transactionAmount"),
    ],
};

const PAYMENTS: Dataset = Dataset {
    name: "payments",
    month: "payment_month",
    columns: &[
        ("participant_id", "participantID"),
        ("program_name", "programName"),
        ("payment_id", "paymentID"),
        ("payment_method", "paymentMethod"),
        ("payment_status", "paymentStatus"),
        ("payment_date", "paymentDate"),
        ("earned", "earned"),
        ("earned_currency_code", "earnedCurrencyCode"),
        ("earned_usd", "earnedUSD"),
        ("total_payment", "totalPayment"),
        ("payment_currency_code", "paymentCurrencyCode"),
    ],
};

/// Cells by the lake's names; a blank one is absent.
type Cells = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    month: Option<String>,
    cells: Cells,
    at: Option<String>,
}

/// Account and dataset; the rows, sorted.
type State = BTreeMap<(String, String), Vec<Row>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Window,
    Merge,
    File,
    Pull,
}

#[derive(Clone)]
struct Step {
    kind: Kind,
    dataset: &'static Dataset,
    account: &'static str,
    /// First and last month of a window.
    months: (&'static str, &'static str),
    at: Option<String>,
    rows: Vec<Cells>,
    /// The binary is killed at this storage operation, and then run again.
    kill_at: Option<u64>,
}

// --- The dice ------------------------------------------------------------------------------------------------------

/// SplitMix64: a few lines, and the same histories on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn shuffled<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        (0..of.len()).map(|_| left.swap_remove(self.below(left.len()))).collect()
    }
}

// --- Histories -----------------------------------------------------------------------------------------------------

/// A random history. Each time is used by one change of an account's dataset, and by repetitions of that change: what
/// two different exports of one instant mean is not defined.
fn history(seed: u64) -> Vec<Step> {
    let mut dice = Dice(seed);
    let mut times: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let mut steps: Vec<Step> = Vec::new();
    while steps.len() < STEPS {
        let account = ACCOUNTS[dice.one(&[0, 0, 0, 0, 0, 0, 1, 1, 2])];
        let dataset = dice.one(&[&EARNINGS, &EARNINGS, &PAYMENTS]);
        let before: Vec<usize> = (0..steps.len())
            .filter(|index| steps[*index].account == account && steps[*index].dataset.name == dataset.name)
            .collect();
        let kill_at = dice.percent(25).then(|| 1 + dice.below(POINTS) as u64);
        if !before.is_empty() && dice.percent(10) {
            let again = &steps[dice.one(&before)];
            steps.push(Step { kill_at, ..again.clone() });
            continue;
        }
        let carried = before.last().map(|index| steps[*index].rows.clone()).unwrap_or_default();
        let deck = times.entry((account, dataset.name)).or_insert_with(|| dice.shuffled(&TIMES));
        let kind = match dataset.name {
            "payments" => dice.one(&[Kind::Pull, Kind::Pull, Kind::Pull, Kind::Merge, Kind::File]),
            _ => dice.one(&[Kind::Window, Kind::Window, Kind::Merge, Kind::Merge, Kind::File]),
        };
        let day = if kind == Kind::File { None } else { deck.pop() };
        let kind = if day.is_none() { Kind::File } else { kind };
        let first = dice.below(MONTHS.len());
        let last = first + dice.below(MONTHS.len() - first);
        let mut step = Step {
            kind,
            dataset,
            account,
            months: (MONTHS[first], MONTHS[last]),
            at: day.map(|day| format!("2025-01-{day}T00:00:00Z")),
            rows: Vec::new(),
            kill_at,
        };
        if !dice.percent(10) {
            step.rows = rows(&mut dice, dataset, carried, &MONTHS[first..=last]);
        }
        steps.push(step);
    }
    steps
}

/// Most rows of the file before, some of them changed, and some new ones: so that much comes back, equal or not.
fn rows(dice: &mut Dice, dataset: &Dataset, carried: Vec<Cells>, months: &[&str]) -> Vec<Cells> {
    let mut rows: Vec<Cells> = Vec::new();
    for old in carried.into_iter().take(6) {
        if dice.percent(80) {
            rows.push(if dice.percent(40) { changed(dice, dataset, old, months) } else { old });
        }
    }
    for _ in 0..dice.below(4) {
        rows.push(new_row(dice, dataset, months));
    }
    if !rows.is_empty() && dice.percent(15) {
        // The service does send a key twice, with equal cells or with others.
        let again = rows[dice.below(rows.len())].clone();
        rows.push(if dice.percent(50) { again } else { changed(dice, dataset, again, months) });
    }
    rows
}

fn cells(named: &[(&str, &str)]) -> Cells {
    named
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(n, text)| ((*n).to_owned(), (*text).to_owned()))
        .collect()
}

/// A date, mostly in the months of the window.
fn date(dice: &mut Dice, months: &[&str]) -> String {
    let month = if dice.percent(75) { dice.one(months) } else { dice.one(&MONTHS) };
    format!("{month}-{}T00:00:00Z", dice.one(&["01", "15", "28"]))
}

fn new_row(dice: &mut Dice, dataset: &Dataset, months: &[&str]) -> Cells {
    let (amount, usd) = (dice.one(&AMOUNTS), dice.one(&AMOUNTS));
    let currency = dice.one(&CURRENCIES);
    let date = date(dice, months);
    if dataset.name == EARNINGS.name {
        return cells(&[
            ("earning_id", dice.one(&KEYS)),
            ("participant_id", "0042"),
            ("program_name", "CSP, \"Direct\""),
            ("earning_type", "Rebate"),
            ("earning_amount", amount),
            ("earning_amount_usd", usd),
            ("earning_date", &date),
            ("payment_status", dice.one(&["UNPROCESSED", "SENT"])),
            ("transaction_currency", currency),
            ("transaction_amount", dice.one(&["", "100.00"])),
        ]);
    }
    let id = dice.one(&["", "X-1", "X-2", "X-3"]);
    let undated = id.is_empty() || dice.percent(20);
    cells(&[
        ("participant_id", "0042"),
        ("program_name", dice.one(&["CSP", "OEM"])),
        ("payment_id", id),
        ("payment_method", dice.one(&["", "EFT"])),
        ("payment_status", if undated { "UPCOMING" } else { "SENT" }),
        ("payment_date", if undated { "" } else { &date }),
        ("earned", amount),
        ("earned_currency_code", dice.one(&["EUR", "JPY"])),
        ("earned_usd", usd),
        ("total_payment", dice.one(&AMOUNTS)),
        ("payment_currency_code", "EUR"),
    ])
}

/// The same row a while later: another amount, another month, paid.
fn changed(dice: &mut Dice, dataset: &Dataset, mut row: Cells, months: &[&str]) -> Cells {
    let mut set = |column: &str, text: String| row.insert(column.to_owned(), text);
    if dataset.name == EARNINGS.name {
        match dice.below(3) {
            0 => set("earning_amount", dice.one(&AMOUNTS).to_owned()),
            1 => set("payment_status", dice.one(&["UNPROCESSED", "IN PROGRESS", "SENT"]).to_owned()),
            _ => set("earning_date", date(dice, months)),
        };
    } else if dice.percent(60) {
        // A pending payment gains its id and its date; one that was sent moves.
        set("payment_status", "SENT".to_owned());
        set("payment_date", date(dice, months));
        row.entry("payment_id".to_owned()).or_insert_with(|| dice.one(&["X-1", "X-2", "X-3"]).to_owned());
    } else {
        set("earned", dice.one(&AMOUNTS).to_owned());
    }
    row
}

impl Step {
    fn oracle(&self) -> Value {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let months = (self.kind == Kind::Window).then_some([self.months.0, self.months.1]);
        json!({"kind": kind, "account": self.account, "dataset": self.dataset.name, "months": months,
               "at": self.at, "rows": self.rows})
    }

    fn csv(&self) -> Vec<u8> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(self.dataset.columns.iter().map(|(_, header)| header)).unwrap();
        for row in &self.rows {
            let text = |(name, _): &(&str, &str)| row.get(*name).cloned().unwrap_or_default();
            csv.write_record(self.dataset.columns.iter().map(text)).unwrap();
        }
        csv.into_inner().unwrap()
    }

    fn args(&self) -> Vec<String> {
        let mut args =
            vec!["ingest", "--dataset", self.dataset.name, "--lake", "lake", "--account", self.account];
        let window = format!("{}..{}", self.months.0, self.months.1);
        match self.kind {
            Kind::Window => args.extend(["--covers", &window, "--no-guards"]),
            Kind::Pull => args.extend(["--covers", "all", "--no-guards"]),
            Kind::Merge | Kind::File => {}
        }
        args.extend(self.at.iter().flat_map(|at| ["--extracted-at", at]));
        args.push("export.csv");
        args.into_iter().map(str::to_owned).collect()
    }

    fn table(&self) -> (String, String) {
        (self.account.to_owned(), self.dataset.name.to_owned())
    }
}

// --- What the oracle says ------------------------------------------------------------------------------------------

/// What a step must leave behind.
struct Expected {
    state: State,
    /// Account, dataset, month, money column, currency -> sum.
    sums: BTreeMap<[String; 5], String>,
    restated: Restated,
}

/// What one change of a table moved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Restated {
    rows: i64,
    /// By money column and currency, in units of the last place of an amount; without those that did not move.
    moved: BTreeMap<(String, String), i128>,
    /// Change, key, field, old and new value: rows that came or went, and all fields but money.
    entries: Vec<[Option<String>; 5]>,
    /// Keys with several rows: which of them became which is not defined.
    doubtful: BTreeSet<String>,
}

impl Restated {
    fn is_nothing(&self) -> bool {
        self.rows == 0 && self.moved.is_empty() && self.entries.is_empty()
    }

    /// Without the fields of keys that are in doubt.
    fn sure(&self, doubtful: &BTreeSet<String>) -> Self {
        let in_doubt = |[change, key, ..]: &[Option<String>; 5]| {
            change.as_deref() == Some("changed") && key.as_ref().is_some_and(|key| doubtful.contains(key))
        };
        let entries = self.entries.iter().filter(|entry| !in_doubt(entry)).cloned().collect();
        Restated { entries, doubtful: BTreeSet::new(), ..self.clone() }
    }

    fn settled(mut self) -> Self {
        self.moved.retain(|_, moved| *moved != 0);
        self.entries.sort();
        self
    }
}

/// The changes of an account's dataset, oldest first, without those that moved nothing.
type Restatements = BTreeMap<(String, String), Vec<Restated>>;

/// An amount in units of its last place.
fn units(text: &str) -> i128 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{fraction:0<10}").parse().unwrap()
}

fn is_money(dataset: &str, column: &str) -> bool {
    money(dataset).iter().any(|(money, _)| *money == column)
}

/// The money columns in use, and where their currency stands in SQL.
fn money(dataset: &str) -> &'static [(&'static str, &'static str)] {
    match dataset {
        "payments" => &[
            ("earned", "earned_currency_code"),
            ("earned_usd", "'USD'"),
            ("total_payment", "payment_currency_code"),
        ],
        _ => &[
            ("earning_amount", "transaction_currency"),
            ("earning_amount_usd", "'USD'"),
            ("transaction_amount", "transaction_currency"),
        ],
    }
}

fn python(args: &[&str], input: &str) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/lake.py");
    let mut command = Command::new("python3");
    command.arg(script).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|cause| format!("the oracle needs python3: {cause}"))?;
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    if !done.status.success() {
        return Err(format!("the oracle failed:\n{}", String::from_utf8_lossy(&done.stderr)));
    }
    Ok(String::from_utf8(done.stdout).unwrap())
}

fn document(steps: &[Step]) -> Value {
    json!({"changes": steps.iter().map(Step::oracle).collect::<Vec<_>>()})
}

fn oracle(steps: &[Step]) -> Result<Vec<Expected>, String> {
    let told: Value = serde_json::from_str(&python(&[], &document(steps).to_string())?).unwrap();
    Ok(told["steps"].as_array().unwrap().iter().map(expected).collect())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn expected(step: &Value) -> Expected {
    let (mut state, mut sums) = (State::new(), BTreeMap::new());
    for table in step["state"].as_array().unwrap() {
        let [account, dataset] = ["account", "dataset"].map(|name| text(&table[name]).unwrap());
        for month in table["months"].as_array().unwrap() {
            let named = text(&month["month"]).unwrap_or_default();
            for sum in month["sums"].as_array().unwrap() {
                let [column, currency, sum] =
                    ["column", "currency", "sum"].map(|name| text(&sum[name]).unwrap());
                sums.insert([account.clone(), dataset.clone(), named.clone(), column, currency], sum);
            }
        }
        for row in table["rows"].as_array().unwrap() {
            let cells = row["cells"].as_object().unwrap();
            let cells = cells.iter().map(|(name, cell)| (name.clone(), text(cell).unwrap())).collect();
            let row = Row { month: text(&row["month"]), at: text(&row["at"]), cells };
            state.entry((account.clone(), dataset.clone())).or_default().push(row);
        }
    }
    state.values_mut().for_each(|rows| rows.sort());
    Expected { state, sums, restated: restated(&step["restatements"]) }
}

/// A key as the lake writes it. What tells pending rows apart besides the key it says in its own way.
fn key_of(told: &Value) -> String {
    let parts = told.as_array().unwrap().iter().map_while(text);
    parts.collect::<Vec<_>>().join("|")
}

fn restated(told: &Value) -> Restated {
    let dataset = told["dataset"].as_str().unwrap();
    let mut restated = Restated { rows: told["rows"].as_i64().unwrap(), ..Restated::default() };
    for moved in told["moved"].as_array().unwrap() {
        let [column, currency, sum] = ["column", "currency", "sum"].map(|name| text(&moved[name]).unwrap());
        restated.moved.insert((column, currency), units(&sum));
    }
    for entry in told["entries"].as_array().unwrap() {
        let [change, field, old, new] = ["change", "field", "old", "new"].map(|name| text(&entry[name]));
        let is_money = field.as_ref().is_some_and(|field| is_money(dataset, field));
        if is_money || change.as_deref() == Some("loaded") {
            continue;
        }
        restated.entries.push([change, Some(key_of(&entry["key"])), field, old, new]);
    }
    restated.doubtful = told["doubtful"].as_array().unwrap().iter().map(key_of).collect();
    restated.settled()
}

/// All that is expected so far.
fn restatements(steps: &[Step], expected: &[Expected]) -> Restatements {
    let mut found = Restatements::new();
    for (step, expected) in steps.iter().zip(expected).filter(|(_, e)| !e.restated.is_nothing()) {
        found.entry(step.table()).or_default().push(expected.restated.clone());
    }
    found
}

/// All that the lake's table `restatements` says.
fn queried_restatements(world: &World) -> Result<Restatements, String> {
    let mut found: BTreeMap<(String, String), BTreeMap<String, Restated>> = BTreeMap::new();
    for line in sql(world, "SELECT * FROM restatements")? {
        let cell = |name: &str| text(&line[name]).or_else(|| line[name].as_i64().map(|n| n.to_string()));
        let [account, dataset, version, rows] =
            ["account", "dataset", "version", "rows"].map(|name| cell(name).unwrap());
        let is_money = cell("field").is_some_and(|field| is_money(&dataset, &field));
        let versions = found.entry((account, dataset)).or_default();
        let restated = versions.entry(format!("{version:0>9}")).or_default();
        restated.rows += rows.parse::<i64>().unwrap();
        if is_money {
            let moved = (cell("field").unwrap(), cell("currency").unwrap_or_default());
            *restated.moved.entry(moved).or_default() += units(&cell("moved").unwrap());
        } else if cell("change").as_deref() != Some("loaded") {
            let key = cell("row_key").map(|key| key.split("|#").next().unwrap().to_owned());
            let [change, field, old, new] = ["change", "field", "old_value", "new_value"].map(cell);
            restated.entries.push([change, key, field, old, new]);
        }
    }
    let settled = |versions: BTreeMap<String, Restated>| -> Vec<Restated> {
        versions.into_values().map(Restated::settled).filter(|restated| !restated.is_nothing()).collect()
    };
    let found = found.into_iter().map(|(table, versions)| (table, settled(versions)));
    Ok(found.filter(|(_, all)| !all.is_empty()).collect())
}

fn compare_restatements(expected: &Restatements, found: &Restatements) -> Result<(), String> {
    let none = Vec::new();
    for table in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let [expected, found] = [expected, found].map(|all| all.get(table).unwrap_or(&none));
        for index in 0..expected.len().max(found.len()) {
            let one = expected.get(index);
            let doubtful = one.map(|one| one.doubtful.clone()).unwrap_or_default();
            let [one, other] = [one, found.get(index)].map(|told| told.map(|told| told.sure(&doubtful)));
            if one != other {
                let number = index + 1;
                return Err(format!(
                    "restatement {number} of {table:?} differs: expected {one:?}\nfound {other:?}"
                ));
            }
        }
    }
    Ok(())
}

// --- What the lake holds -------------------------------------------------------------------------------------------

/// The published folders, as any program that reads Parquet sees them.
fn published(world: &World) -> State {
    let mut state = State::new();
    for dataset in [&EARNINGS, &PAYMENTS] {
        for (name, bytes) in world.files(&format!("lake/{}", dataset.name)) {
            let value = |column: &str| {
                let part = name.split('/').find_map(|part| part.strip_prefix(column)?.strip_prefix('='));
                part.unwrap_or_else(|| panic!("{name} does not say its {column}")).to_owned()
            };
            let month = Some(value(dataset.month)).filter(|month| month != "__HIVE_DEFAULT_PARTITION__");
            let rows = state.entry((value("account"), dataset.name.to_owned())).or_default();
            rows.extend(parquet_rows(bytes, &month));
        }
    }
    state.values_mut().for_each(|rows| rows.sort());
    state
}

fn parquet_rows(bytes: Vec<u8>, month: &Option<String>) -> Vec<Row> {
    let mut rows = Vec::new();
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    for batch in reader {
        let batch = batch.unwrap();
        let mut found = vec![Row { month: month.clone(), cells: Cells::new(), at: None }; batch.num_rows()];
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            let options = FormatOptions::new();
            let texts = ArrayFormatter::try_new(column.as_ref(), &options).unwrap();
            for (index, row) in found.iter_mut().enumerate().filter(|(index, _)| column.is_valid(*index)) {
                put(
                    row,
                    field.name(),
                    shortened(texts.value(index).to_string(), field.data_type().is_numeric()),
                );
            }
        }
        rows.extend(found);
    }
    rows
}

/// `12.3400000000` as `12.34`, as `sql` prints it.
fn shortened(mut text: String, number: bool) -> String {
    if let (true, Some(point)) = (number, text.find('.')) {
        while text.len() > point + 3 && text.ends_with('0') {
            text.pop();
        }
    }
    text
}

/// Notes a cell: business columns, and of ours only the time of the extraction.
fn put(row: &mut Row, column: &str, text: String) {
    if column == "_pc_extracted_at" {
        row.at = Some(text);
    } else if !column.starts_with("_pc_") {
        row.cells.insert(column.to_owned(), text);
    }
}

fn sql(world: &World, query: &str) -> Result<Vec<Value>, String> {
    let done = world.run(&["sql", "--lake", "lake", "--format", "json", query]);
    match done.code {
        0 => Ok(serde_json::from_str::<Vec<Value>>(&done.stdout).unwrap()),
        code => Err(format!("sql ended with {code}: {query}\n{}", done.stderr)),
    }
}

/// The tables as SQL shows them.
fn queried(world: &World, datasets: &[&Dataset]) -> Result<State, String> {
    let mut state = State::new();
    for dataset in datasets {
        for found in sql(world, &format!("SELECT * FROM {} ORDER BY 1", dataset.name))? {
            let mut row = Row { month: text(&found[dataset.month]), cells: Cells::new(), at: None };
            for (column, value) in found.as_object().unwrap() {
                if let Some(cell) = text(value).filter(|_| column != "account" && column != dataset.month) {
                    put(&mut row, column, cell);
                }
            }
            state.entry((text(&found["account"]).unwrap(), dataset.name.to_owned())).or_default().push(row);
        }
    }
    state.values_mut().for_each(|rows| rows.sort());
    Ok(state)
}

/// Sums as SQL computes them, under the oracle's names.
fn queried_sums(world: &World, datasets: &[&Dataset]) -> Result<BTreeMap<[String; 5], String>, String> {
    let mut sums = BTreeMap::new();
    for dataset in datasets {
        let selects = money(dataset.name).iter().map(|(column, currency)| {
            format!(
                "SELECT account, {} AS month, '{column}' AS c, {currency} AS currency, sum({column}) AS total \
                 FROM {} WHERE {column} IS NOT NULL GROUP BY 1, 2, 3, 4",
                dataset.month, dataset.name
            )
        });
        for row in sql(world, &selects.collect::<Vec<_>>().join(" UNION ALL "))? {
            let named = |name: &str| text(&row[name]).unwrap_or_default();
            let key =
                [named("account"), dataset.name.to_owned(), named("month"), named("c"), named("currency")];
            sums.insert(key, named("total"));
        }
    }
    Ok(sums)
}

// --- Comparing -----------------------------------------------------------------------------------------------------

/// Rows of one side that the other lacks; first by cells, then by the time of their extraction.
fn compare(what: &str, expected: &State, found: &State) -> Result<(), String> {
    differences(&format!("{what}: rows"), &timeless(expected), &timeless(found))?;
    differences(&format!("{what}: extraction times of rows"), expected, found)
}

fn timeless(state: &State) -> State {
    let rows = |rows: &[Row]| rows.iter().map(|row| Row { at: None, ..row.clone() }).collect();
    state.iter().map(|(table, found)| (table.clone(), rows(found))).collect()
}

fn differences(what: &str, expected: &State, found: &State) -> Result<(), String> {
    let mut wrong = String::new();
    for table in expected.keys().chain(found.keys()).collect::<BTreeSet<_>>() {
        let side = |state: &State| state.get(table).cloned().unwrap_or_default();
        for (sign, rows, others) in
            [("lacks", side(expected), side(found)), ("has", side(found), side(expected))]
        {
            let mut others = others;
            for row in rows {
                match others.iter().position(|other| *other == row) {
                    Some(index) => drop(others.swap_remove(index)),
                    None => writeln!(wrong, "    the lake {sign} {table:?} {}", shown(&row)).unwrap(),
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("{what} differ\n{wrong}")) }
}

fn shown(row: &Row) -> String {
    let cells = row.cells.iter().map(|(name, text)| format!("{name}={text}")).collect::<Vec<_>>();
    let at = row.at.as_ref().map(|at| format!(", extracted at {at}")).unwrap_or_default();
    format!("{}: {}{at}", row.month.as_deref().unwrap_or("no month"), cells.join(" "))
}

/// After a kill each month shows its rows of before or of after, and nothing else.
fn old_or_new(step: &Step, before: &State, after: &State, found: &State) -> Result<(), String> {
    let of = |state: &State, month: &Option<String>| -> Vec<Cells> {
        let rows = state.get(&step.table()).into_iter().flatten();
        rows.filter(|row| row.month == *month).map(|row| row.cells.clone()).collect()
    };
    for month in MONTHS.iter().map(|month| Some((*month).to_owned())).chain([None]) {
        let shows = of(found, &month);
        if shows != of(before, &month) && shows != of(after, &month) {
            return Err(format!("after the kill {month:?} is neither old nor new: {shows:#?}"));
        }
    }
    Ok(())
}

// --- Playing -------------------------------------------------------------------------------------------------------

struct Played {
    end: State,
    killed: u64,
}

/// Plays a history with the binary, and compares.
fn play(steps: &[Step]) -> Result<Played, String> {
    let world = World::new();
    let expected = oracle(steps)?;
    let mut played = Played { end: State::new(), killed: 0 };
    let mut datasets: Vec<&Dataset> = Vec::new();
    // Somewhere in the middle, and at the end, SQL is asked as well.
    let rows: usize = steps.iter().map(|step| step.rows.len()).sum();
    let middle = Dice(rows as u64).below(steps.len().max(1));
    for (index, step) in steps.iter().enumerate() {
        let failed = |why: String| format!("step {}: {why}", index + 1);
        world.write("export.csv", step.csv());
        let before = index.checked_sub(1).map(|last| expected[last].state.clone()).unwrap_or_default();
        let after = &expected[index].state;
        if ingest(&world, step, step.kill_at).map_err(failed)? {
            played.killed += 1;
            old_or_new(step, &before, after, &published(&world)).map_err(failed)?;
            if datasets.iter().any(|known| known.name == step.dataset.name) {
                let shows = queried(&world, &datasets).map_err(failed)?;
                let what = "SQL after the kill, against the state before and after";
                compare(what, &before, &shows).or_else(|_| compare(what, after, &shows)).map_err(failed)?;
            }
            ingest(&world, step, None).map_err(failed)?;
        }
        if !datasets.iter().any(|known| known.name == step.dataset.name) {
            datasets.push(step.dataset);
        }
        played.end = published(&world);
        compare("published", after, &played.end).map_err(failed)?;
        if index == middle || index + 1 == steps.len() {
            compare("SQL", after, &queried(&world, &datasets).map_err(failed)?).map_err(failed)?;
        }
        if index + 1 == steps.len() {
            let sums = queried_sums(&world, &datasets).map_err(failed)?;
            if sums != expected[index].sums {
                return Err(failed(format!("sums differ: {:#?}\nfound {sums:#?}", expected[index].sums)));
            }
            let told = queried_restatements(&world).map_err(failed)?;
            compare_restatements(&restatements(steps, &expected), &told).map_err(failed)?;
        }
    }
    Ok(played)
}

/// Runs one change; tells whether it was killed.
fn ingest(world: &World, step: &Step, kill_at: Option<u64>) -> Result<bool, String> {
    let args = step.args();
    let mut command = world.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
    command.envs(kill_at.map(|operation| ("PAYOUTLAKE_KILL_AT", operation.to_string())));
    let done = world.finish(command);
    match done.code {
        // 3: rows outside the window, which are told.
        0 | 3 => Ok(false),
        -1 if kill_at.is_some() => Ok(true),
        code => Err(format!("{} ended with {code}\n{}", args.join(" "), done.stderr)),
    }
}

/// Plays a history; where it fails, makes it shorter while it fails, and panics with it.
fn check(what: &str, steps: Vec<Step>) -> Played {
    let why = match play(&steps) {
        Ok(played) => return played,
        Err(why) => why,
    };
    let (steps, why) = shrink(steps, why);
    let mut text = format!("{what}: {why}\n");
    for (index, step) in steps.iter().enumerate() {
        let kill = step.kill_at.map(|operation| format!(", killed at {operation}")).unwrap_or_default();
        writeln!(text, "{}. payoutlake {}{kill}", index + 1, step.args().join(" ")).unwrap();
        step.rows.iter().for_each(|row| writeln!(text, "      {row:?}").unwrap());
    }
    panic!("{text}for the oracle: {}", document(&steps));
}

fn shrink(mut steps: Vec<Step>, mut why: String) -> (Vec<Step>, String) {
    let until = Instant::now() + SHRINK_FOR;
    loop {
        let smaller = simpler(&steps).into_iter().find_map(|candidate| {
            let failure = (Instant::now() < until).then(|| play(&candidate).err()).flatten()?;
            Some((candidate, failure))
        });
        match smaller {
            Some(found) => (steps, why) = found,
            None => return (steps, why),
        }
    }
}

/// The history without one change, without one kill, without one row.
fn simpler(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut candidates = Vec::new();
    for index in (0..steps.len()).rev() {
        let mut without = steps.to_vec();
        without.remove(index);
        candidates.push(without);
    }
    let mut alter = |index: usize, step: Step| {
        let mut altered = steps.to_vec();
        altered[index] = step;
        candidates.push(altered);
    };
    for (index, step) in steps.iter().enumerate() {
        if step.kill_at.is_some() {
            alter(index, Step { kill_at: None, ..step.clone() });
        }
        for row in 0..step.rows.len() {
            let mut step = step.clone();
            step.rows.remove(row);
            alter(index, step);
        }
    }
    candidates
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

// --- The tests -----------------------------------------------------------------------------------------------------

#[test]
fn the_oracle_holds_its_own_checks() {
    let told = python(&["--self-test"], "").unwrap_or_else(|why| panic!("{why}"));
    assert!(told.contains("checks hold"), "{told}");
}

#[test]
fn a_lake_holds_what_the_oracle_says() {
    let first = setting("PAYOUTLAKE_ORACLE_SEED", 1);
    let mut killed = 0;
    for seed in first..first + setting("PAYOUTLAKE_ORACLE_RUNS", RUNS) {
        killed += check(&format!("PAYOUTLAKE_ORACLE_SEED={seed}"), history(seed)).killed;
    }
    assert!(killed > 0, "no step was killed: PAYOUTLAKE_KILL_AT is not heeded");
}

/// Cases that dice seldom throw, each in an account of its own.
#[test]
fn what_was_once_wrong_stays_right() {
    let earning = |key: &str, status: &str, month: usize| {
        let date = format!("{}-15T00:00:00Z", MONTHS[month]);
        cells(&[
            ("earning_id", key),
            ("participant_id", "0042"),
            ("program_name", "CSP"),
            ("earning_type", "Rebate"),
            ("earning_amount", "1.00"),
            ("earning_amount_usd", "1.00"),
            ("earning_date", &date),
            ("payment_status", status),
            ("transaction_currency", "EUR"),
        ])
    };
    let step = |account, day: &str, window: Option<(usize, usize)>, rows: Vec<Cells>| Step {
        kind: if window.is_some() { Kind::Window } else { Kind::Merge },
        dataset: &EARNINGS,
        account,
        months: window.map_or((MONTHS[0], MONTHS[0]), |(first, last)| (MONTHS[first], MONTHS[last])),
        at: Some(format!("2025-01-{day}T00:00:00Z")),
        rows,
        kill_at: None,
    };
    let [anvil, birch, cedar] = ACCOUNTS;
    check(
        "known cases",
        vec![
            // A row that was merged later stays in a month of which the window has no row.
            step(anvil, "08", None, vec![earning("E-1", "SENT", 1)]),
            step(anvil, "07", Some((1, 1)), vec![]),
            // A row has moved into the window, and its old month gets another row by the same file.
            step(anvil, "09", Some((0, 0)), vec![earning("E-1", "SENT", 0), earning("E-2", "SENT", 1)]),
            // A row stands in a month of the window that is known better, or where it was merged later.
            step(birch, "08", Some((1, 2)), vec![earning("E-1", "SENT", 1)]),
            step(birch, "04", Some((0, 2)), vec![earning("E-1", "SENT", 0), earning("E-2", "SENT", 3)]),
            step(birch, "07", None, vec![earning("E-3", "SENT", 0)]),
            step(birch, "06", Some((0, 0)), vec![earning("E-3", "SENT", 3), earning("E-2", "SENT", 0)]),
            // An export that comes again removes what a file of unknown time has brought since.
            step(cedar, "08", Some((1, 1)), vec![]),
            Step { kind: Kind::File, at: None, ..step(cedar, "08", None, vec![earning("E-6", "SENT", 1)]) },
            step(cedar, "08", Some((1, 1)), vec![]),
            // One of three rows of a key changes, and no sum.
            step(
                cedar,
                "01",
                None,
                vec![earning("E-1", "SENT", 0), earning("E-1", "SENT", 0), earning("E-1", "UNPROCESSED", 0)],
            ),
            step(
                cedar,
                "02",
                None,
                vec![
                    earning("E-1", "SENT", 0),
                    earning("E-1", "UNPROCESSED", 0),
                    earning("E-1", "UNPROCESSED", 0),
                ],
            ),
        ],
    );
}

/// Windows and merges of distinct times end in the same rows, however they arrive. Keys stay in their month here: what a
/// newer export has removed from one month, an older one may still bring into another.
#[test]
fn windows_and_merges_end_alike_in_any_order() {
    let first = setting("PAYOUTLAKE_ORACLE_SEED", 1);
    for seed in first..first + setting("PAYOUTLAKE_ORACLE_RUNS", 2) {
        let mut dice = Dice(seed);
        let changes: Vec<Step> =
            dice.shuffled(&TIMES)[..5].iter().map(|day| settled_change(&mut dice, day)).collect();
        let ends: Vec<State> = (0..3)
            .map(|_| check(&format!("PAYOUTLAKE_ORACLE_SEED={seed}"), dice.shuffled(&changes)).end)
            .map(|end| timeless(&end).into_iter().filter(|(_, rows)| !rows.is_empty()).collect())
            .collect();
        for end in &ends[1..] {
            let what = format!("PAYOUTLAKE_ORACLE_SEED={seed}: the order of arrival matters");
            differences(&what, &ends[0], end).unwrap_or_else(|why| panic!("{why}"));
        }
    }
}

/// A window or a merge whose keys stand in one month for ever.
fn settled_change(dice: &mut Dice, day: &str) -> Step {
    let first = dice.below(2);
    let last = first + dice.below(2 - first);
    let mut rows = Vec::new();
    for (index, key) in KEYS.iter().enumerate().filter(|_| dice.percent(50)).collect::<Vec<_>>() {
        let mut row = new_row(dice, &EARNINGS, &MONTHS);
        row.insert("earning_id".to_owned(), (*key).to_owned());
        row.insert("earning_date".to_owned(), format!("{}-15T00:00:00Z", MONTHS[index % 2]));
        rows.push(row);
    }
    Step {
        kind: dice.one(&[Kind::Window, Kind::Merge]),
        dataset: &EARNINGS,
        account: ACCOUNTS[0],
        months: (MONTHS[first], MONTHS[last]),
        at: Some(format!("2025-01-{day}T00:00:00Z")),
        rows,
        kill_at: None,
    }
}
