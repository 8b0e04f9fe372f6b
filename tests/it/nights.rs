//! A year of nights: the sandbox's calendar moves on, exports come late and out of order, and every night the lake is
//! what the service said, `restatements` explains what changed since the night before, and history gives it back.
//!
//! Every night is run inside this process, at a time of its own: one clock, which the test moves, is the clock of
//! the pipeline and of the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use payoutlake::config::{self, Environment, RunFlags, SandboxPlan};
use payoutlake::engine::{self, Engine};
use payoutlake::event::Observer;
use payoutlake::lake::{Chain, Lake, Location, Moment, raw_path};
use payoutlake::model::{Currency, Month, Outcome, Receipt, TableSpec, Window};
use payoutlake::pipeline::{self, Ask, Covers, Ingest, Known, Plan};
use payoutlake::query::Query;
use payoutlake::sandbox::{self, Running, Sums, TableTruth, Truth};
use payoutlake::schema::Registry;
use payoutlake::source::{Asked, Client, Download, Export, ExportRequest, FileFormat, Status};

use crate::world::World;

/// The first night. A year later the corpus has lost as many months as it has gained.
const FIRST: Date = Date::constant(2025, 12, 19);
const NIGHTS: i32 = 365;
/// A night takes more than a second in a debug build, nearly all of it planning joins; a year of them is for a machine
/// with time (`PAYOUTLAKE_TEST_ALL_NIGHTS=1`). So every night of two weeks is run, with days on which payments are sent,
/// returned and ordered and the turn of a month, quarter and year, and then every 14th night until the year is over.
const IN_A_ROW: i32 = 14;
const THEN_EVERY: usize = 14;
/// As long as a row can change: an adjustment comes nine months later, is paid the month after, and again two months
/// after that when the bank returns the payment.
const MONTHS: u32 = 13;
/// Few, so that a night takes a fraction of a second; every kind of row is among some hundred of them.
const ROWS_PER_MONTH: u32 = 20;

/// Microseconds since 1970-01-01; each look at the clock moves it by `STEP`.
static CLOCK: AtomicI64 = AtomicI64::new(0);
static STEP: AtomicI64 = AtomicI64::new(SECOND);
const SECOND: i64 = 1_000_000;

fn clock() -> Timestamp {
    let step = STEP.load(Ordering::SeqCst);
    Timestamp::from_microsecond(CLOCK.fetch_add(step, Ordering::SeqCst)).unwrap()
}

/// What is different in a night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Night {
    Usual,
    /// The service does not finish some exports in time; the next night adopts them.
    Late,
    /// Exports of two nights before come once more, as files.
    Stale,
    /// The pipeline does not run; a person downloads what it would have asked for.
    ByHand,
    /// What was downloaded is loaded, the newest first, and then the pipeline runs.
    Loaded,
}

/// The nights that are run. What needs the night before or after happens only where nights follow each other.
fn nights() -> Vec<(i32, Night)> {
    let all = std::env::var_os("PAYOUTLAKE_TEST_ALL_NIGHTS").is_some();
    let in_a_row = if all { NIGHTS } else { IN_A_ROW };
    let kind = |night: i32| match night % 14 {
        3 | 9 => Night::Late,
        5 => Night::Stale,
        11 | 12 => Night::ByHand,
        13 => Night::Loaded,
        _ => Night::Usual,
    };
    let first = (0..in_a_row).map(|night| (night, kind(night)));
    let rest = (in_a_row..NIGHTS).rev().step_by(THEN_EVERY).map(|night| (night, Night::Usual));
    let mut nights: Vec<(i32, Night)> = first.chain(rest).collect();
    nights.sort_by_key(|(night, _)| *night);
    nights
}

/// Rows (as column `rows` without a currency) and sums in units of 10^-10 by dataset, month, column and currency; zeros
/// are left out.
type Figures = BTreeMap<(String, String, String, String), i128>;

/// What one export is asked for.
type Scope = (String, Option<Window>);

/// A file that was downloaded by hand.
struct ByHand {
    scope: Scope,
    file: PathBuf,
    at: Timestamp,
}

struct Year {
    world: World,
    embedded: SandboxPlan,
    sandbox: Running,
    lake: Lake,
    engine: Engine,
    specs: Vec<TableSpec>,
    /// What the exports so far said: by dataset and month.
    told: BTreeMap<(String, String), Figures>,
    /// Exports that are still running, and the day of their request.
    open: BTreeMap<Scope, Date>,
    by_hand: Vec<ByHand>,
    /// Of each night: the blobs of its exports and when it began.
    blobs: Vec<(Timestamp, BTreeMap<Scope, String>)>,
}

#[test]
fn a_year_of_nights() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut year = Year::new().await;
        let mut ends: Vec<(Timestamp, Figures)> = Vec::new();
        let mut before = Figures::new();
        let mut changed = 0;
        let nights = nights();
        for &(number, kind) in &nights {
            let day = FIRST.checked_add(number.days()).unwrap();
            let start = TimeZone::UTC.to_timestamp(day.at(2, 0, 0, 0)).unwrap();
            CLOCK.store(start.as_microsecond(), Ordering::SeqCst);
            year.night(number, kind, day, start).await;
            let after = year.figures(&Moment::Now).await;
            let told = year.told.values().flatten().map(|(key, units)| (key.clone(), *units));
            same(&after, &told.collect(), &format!("{day}: the lake against what the exports said"));
            let moved = difference(&after, &before);
            let explained = year.restatements(start).await;
            same(&explained, &moved, &format!("{day}: restatements against the night before"));
            changed += usize::from(!moved.is_empty());
            ends.push((clock(), after.clone()));
            before = after;
        }
        // In a whole year many nights have nothing to tell: rows are few, and payments are sent on some days only.
        assert!(
            changed * 3 > nights.len(),
            "too few nights changed something: {changed} of {}",
            nights.len()
        );
        let days: Vec<Date> =
            nights.iter().map(|(number, _)| FIRST.checked_add(number.days()).unwrap()).collect();
        year.settled(&before, &days);
        year.gives_back(&ends).await;
    });
}

impl Year {
    async fn new() -> Self {
        let world = World::new();
        let (lake, state) = (world.path("lake"), world.path("state"));
        // One refund is a quarter of what such a small month has in a currency: no guard holds it here.
        let file = format!(
            "version = 1\naccount = \"contoso\"\nlake = {lake:?}\ncleanup = \"delete\"\n\
             [load.guards]\nsums = {{ percent = 100, floor = 0 }}\n\
             [source]\nkind = \"sandbox\"\n\
             [source.sandbox]\nmonths = {MONTHS}\nrows_per_month = {ROWS_PER_MONTH}\ndelay_millis = 1000\n\
             state_dir = {state:?}\n\
             [[datasets]]\nname = \"transaction_history\"\nmonths = {MONTHS}\nmonths_per_export = 6\n\
             [[datasets]]\nname = \"payments\"\n"
        );
        let file = world.write("nights.toml", file);
        CLOCK.store(0, Ordering::SeqCst);
        let flags = RunFlags::default();
        let (_, embedded) = config::run_plan(&file, &flags, &Environment::default(), clock).unwrap();
        let embedded = embedded.unwrap();
        let sandbox = sandbox::start(&embedded.options, 0, clock).await.unwrap();
        let lake = Lake::open(&Location::folder(&lake), clock()).await.unwrap();
        let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
        let registry = Registry::built_in().unwrap();
        let specs = ["transaction_history", "payments"].map(|name| registry.dataset(name).unwrap().table());
        Year {
            world,
            embedded,
            sandbox,
            lake,
            engine,
            specs: specs.into(),
            told: BTreeMap::new(),
            open: BTreeMap::new(),
            by_hand: Vec::new(),
            blobs: Vec::new(),
        }
    }

    fn plan(&self) -> Plan {
        let (file, flags) = (self.world.path("nights.toml"), RunFlags::default());
        let (mut plan, _) = config::run_plan(&file, &flags, &Environment::default(), clock).unwrap();
        self.embedded.point(&mut plan, self.sandbox.url());
        plan
    }

    async fn night(&mut self, number: i32, kind: Night, day: Date, start: Timestamp) {
        let plan = self.plan();
        let all: BTreeSet<Scope> =
            plan.wanted(&Known::default()).iter().map(|w| (w.dataset.name.to_string(), w.window)).collect();
        // Each late night other exports are late: one of the windows, the payments, or all of them.
        let late: BTreeSet<Scope> = match kind {
            Night::Late => all
                .iter()
                .enumerate()
                .filter(|(index, _)| {
                    let turn = number as usize % (all.len() + 1);
                    turn == all.len() || *index == turn
                })
                .map(|(_, scope)| scope.clone())
                .collect(),
            _ => BTreeSet::new(),
        };
        if kind == Night::ByHand {
            self.download(&plan, start).await;
            self.blobs.push((start, BTreeMap::new()));
            return;
        }
        if kind == Night::Loaded {
            self.load_by_hand(&plan).await;
        }
        if !late.is_empty() {
            self.leave_running(only(plan.clone(), &late), day, &late).await;
        }
        let rest: BTreeSet<Scope> = all.difference(&late).cloned().collect();
        let mut blobs = BTreeMap::new();
        if !rest.is_empty() {
            let receipt = pipeline::run(only(self.plan(), &rest), Observer::silent()).await.unwrap();
            assert_eq!(receipt.exit_code, 0, "{day}\n{receipt:#?}");
            for scope in &rest {
                // An export that another night asked for says what was true then.
                let asked = self.open.remove(scope).unwrap_or(day);
                self.tell(scope, &self.truth(asked));
                blobs.insert(scope.clone(), blob_of(&receipt, scope));
            }
        }
        // What is not asked for in the same words again is never adopted.
        self.open.retain(|scope, asked| late.contains(scope) && *asked == day);
        if kind == Night::Stale {
            self.load_stale(&plan, number as usize - 2).await;
        }
        self.blobs.push((start, blobs));
    }

    fn truth(&self, day: Date) -> Truth {
        sandbox::truth(&self.embedded.options, day)
    }

    /// An export of this scope, as true as `truth`, is in the lake now.
    fn tell(&mut self, (dataset, window): &Scope, truth: &Truth) {
        let (table, months): (&TableTruth, Vec<String>) = match window {
            Some(window) => (&truth.transaction_history, window.months().map(|m| m.to_string()).collect()),
            // Payments before the reach stay as they are.
            None => {
                let reach = truth.months.months().map(|month| month.to_string());
                (&truth.payments, reach.chain(["none".to_owned()]).collect())
            }
        };
        for month in months {
            let sums = table.by_month.get(&month).cloned().unwrap_or_default();
            self.told.insert((dataset.clone(), month.clone()), figures_of(dataset, &month, &sums));
        }
    }

    /// Asks for exports at a service that does not finish them; nothing may change.
    async fn leave_running(&mut self, mut plan: Plan, day: Date, late: &BTreeSet<Scope>) {
        let before = self.figures(&Moment::Now).await;
        plan.wait.deadline_minutes = 0;
        STEP.store(0, Ordering::SeqCst);
        let receipt = pipeline::run(plan, Observer::silent()).await.unwrap();
        STEP.store(SECOND, Ordering::SeqCst);
        // An export of the night before that is adopted is finished by now, but none of these tests makes two in a row.
        assert_eq!(receipt.exit_code, 75, "{day}\n{receipt:#?}");
        same(&self.figures(&Moment::Now).await, &before, "an export that is still running changed the lake");
        self.open.extend(late.iter().map(|scope| (scope.clone(), day)));
    }

    /// Downloads what the plan would ask for, as a person does in the portal.
    async fn download(&mut self, plan: &Plan, at: Timestamp) {
        let client = Client::new(plan.source.clone(), plan.auth.clone()).unwrap();
        for wanted in plan.wanted(&Known::default()) {
            let request = ExportRequest {
                path: wanted.path.clone(),
                filter: wanted.filter.clone(),
                format: FileFormat::Csv,
            };
            let asked = client.submit(&request, uuid::Uuid::new_v4()).await.unwrap();
            let Asked::Queued(Export { request_id: id, .. }) = asked else { panic!("{asked:?}") };
            let location = loop {
                let export = client.status(&wanted.path, &id).await.unwrap().unwrap();
                if let (Status::Completed, Some(location)) = (export.status, export.blob) {
                    break location;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            };
            let file = self.world.path(&format!("by-hand-{}.csv", id.0));
            let done = client.download(&location, &file, &Observer::silent(), "").await.unwrap();
            assert!(matches!(done, Download::Done(_)));
            let scope = (wanted.dataset.name.to_string(), wanted.window);
            self.by_hand.push(ByHand { scope, file, at });
        }
    }

    /// Loads the files of two nights, the newer night first: the older one comes too late for everything that it says.
    async fn load_by_hand(&mut self, plan: &Plan) {
        let files = std::mem::take(&mut self.by_hand);
        let newest = files.last().unwrap().at;
        let (newer, older): (Vec<ByHand>, Vec<ByHand>) = files.into_iter().partition(|f| f.at == newest);
        for file in newer.iter().rev() {
            self.ingest(plan, &file.scope, file.file.clone(), file.at, true).await;
            let day = TimeZone::UTC.to_datetime(file.at).date();
            self.tell(&file.scope, &self.truth(day));
        }
        let told = self.told.values().flatten().map(|(key, units)| (key.clone(), *units)).collect();
        same(&self.figures(&Moment::Now).await, &told, "files that were downloaded by hand");
        for file in older {
            self.comes_too_late(plan, &file.scope, file.file, file.at).await;
        }
    }

    /// Exports of an earlier night come once more.
    async fn load_stale(&mut self, plan: &Plan, night: usize) {
        let (at, blobs) = self.blobs[night].clone();
        for (scope, sha256) in blobs {
            let file = self.world.path(&sha256);
            assert!(self.lake.copy_to(&raw_path(&sha256), &file).await.unwrap());
            self.comes_too_late(plan, &scope, file, at).await;
        }
    }

    /// An older export changes nothing, whether it is said what it covers or not. Where a row has left the service's reach
    /// between it and the newer one, it is the last that tells the row: then it may write the row's later time.
    async fn comes_too_late(&self, plan: &Plan, scope: &Scope, file: PathBuf, at: Timestamp) {
        let before = (self.figures(&Moment::Now).await, self.world.files("lake/transaction_history"));
        // Merging has one rule for all windows: the newest shows it.
        let newest = window_is_last(plan, scope);
        for covers in [true, false].into_iter().filter(|covers| *covers || newest) {
            let receipt = self.ingest(plan, scope, file.clone(), at, covers).await;
            let window = &receipt.tables[0].windows[0];
            let confirms = window.outcome == Outcome::Unchanged || scope.0 == "payments" && !covers;
            assert!(confirms && window.restatements == 0, "{scope:?}, covers {covers}\n{window:#?}");
            let after = (self.figures(&Moment::Now).await, self.world.files("lake/transaction_history"));
            assert!(after == before, "{scope:?} of {at} changed the lake, covers {covers}");
        }
    }

    async fn ingest(
        &self,
        plan: &Plan,
        scope: &Scope,
        file: PathBuf,
        at: Timestamp,
        covers: bool,
    ) -> Receipt {
        let (dataset, window) = scope;
        let dataset = Registry::built_in().unwrap().dataset(dataset).unwrap().clone();
        let mut settings = plan.settings.clone();
        settings.now = clock();
        settings.run_id = payoutlake::model::RunId(uuid::Uuid::now_v7());
        let ingest = Ingest {
            settings,
            dataset,
            files: vec![file],
            covers: covers.then_some(window.map_or(Covers::Everything, Covers::Months)),
            extracted_at: Some(at),
            guarded: true,
        };
        let receipt = pipeline::ingest(ingest, Observer::silent()).await.unwrap();
        // 3: a request overlaps its neighbours by a day, and a person does not say so.
        assert!([0, 3].contains(&receipt.exit_code), "{receipt:#?}");
        receipt
    }

    async fn query(&self, moment: &Moment, sql: &str) -> Vec<Vec<String>> {
        let query = Query::open(&self.lake, &self.engine, moment).await.unwrap();
        if query.tables().is_empty() {
            return Vec::new();
        }
        let batches: Vec<RecordBatch> = query.run(sql).await.unwrap().rows.try_collect().await.unwrap();
        batches.iter().flat_map(rows_of).collect()
    }

    /// Everything that the lake says about rows and money, by SQL.
    async fn figures(&self, moment: &Moment) -> Figures {
        let mut figures = Figures::new();
        for spec in &self.specs {
            let currencies: BTreeSet<&str> = spec
                .money
                .iter()
                .filter_map(|m| match &m.currency {
                    Currency::Column(name) => Some(name.as_str()),
                    Currency::Fixed(_) => None,
                })
                .collect();
            let currencies: Vec<&str> = currencies.into_iter().collect();
            let (by, month) = (currencies.join(", "), &spec.partition_columns[1]);
            let sums: Vec<String> = spec.money.iter().map(|m| format!("sum({})", m.name)).collect();
            let sql = format!(
                "SELECT coalesce({month}, 'none'), {by}, count(*), {} FROM {} GROUP BY ALL",
                sums.join(", "),
                spec.name
            );
            for row in self.query(moment, &sql).await {
                let mut add = |column: &str, currency: &str, text: &str| {
                    let key = (spec.name.clone(), row[0].clone(), column.to_owned(), currency.to_owned());
                    *figures.entry(key).or_default() += units(text);
                };
                let (codes, rest) = row[1..].split_at(currencies.len());
                add("rows", "", &rest[0]);
                for (money, sum) in spec.money.iter().zip(&rest[1..]) {
                    let currency = match &money.currency {
                        Currency::Column(name) => &codes[currencies.iter().position(|c| c == name).unwrap()],
                        Currency::Fixed(code) => code,
                    };
                    add(&money.name, currency, sum);
                }
            }
        }
        figures.retain(|_, units| *units != 0);
        figures
    }

    /// What the lines that were seen since `start` say: by how much rows and sums moved.
    async fn restatements(&self, start: Timestamp) -> Figures {
        let sql = format!(
            "SELECT dataset, coalesce(period, 'none'), field, currency, sum(moved), sum(rows) FROM restatements \
             WHERE seen_at >= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))') GROUP BY ALL",
            start.as_microsecond()
        );
        let mut figures = Figures::new();
        if self.rewritten_nothing_yet().await {
            return figures;
        }
        for row in self.query(&Moment::Now, &sql).await {
            let [dataset, month, field, currency, moved, rows] = <[String; 6]>::try_from(row).unwrap();
            if !moved.is_empty() {
                *figures.entry((dataset.clone(), month.clone(), field, currency)).or_default() +=
                    units(&moved);
            }
            *figures.entry((dataset, month, "rows".into(), String::new())).or_default() += units(&rows);
        }
        figures.retain(|_, units| *units != 0);
        figures
    }

    async fn rewritten_nothing_yet(&self) -> bool {
        Chain::tables(&self.lake).await.unwrap().is_empty()
    }

    /// Months that left the look-back have changed no more since then.
    fn settled(&self, lake: &Figures, days: &[Date]) {
        let last = days[days.len() - 1];
        let far = sandbox::Options { months: 2 * MONTHS, ..self.embedded.options.clone() };
        let truth = sandbox::truth(&far, last).transaction_history.by_month;
        let mut months = 0;
        for first in Window::new(Month::of(FIRST).plus(1 - MONTHS as i32), Month::of(last)).months() {
            // The last payments of a month are sent until the 20th, twelve months later.
            let end = first.plus(MONTHS as i32 - 1);
            let looked = days.iter().any(|day| Month::of(*day) == end && day.day() > 20);
            if end < Month::of(last) && !looked {
                continue;
            }
            let month = first.to_string();
            let there = lake.iter().filter(|((d, m, ..), _)| d == "transaction_history" && *m == month);
            let there = there.map(|(key, units)| (key.clone(), *units)).collect();
            same(
                &there,
                &figures_of("transaction_history", &month, &truth[&month]),
                "a month that left the look-back",
            );
            months += 1;
        }
        assert!(months > MONTHS + 3, "too few months left the look-back: {months}");
    }

    /// `--as-of` gives the sums of every tenth night back.
    async fn gives_back(&self, ends: &[(Timestamp, Figures)]) {
        for (end, figures) in ends.iter().step_by(10).chain(ends.last()) {
            same(&self.figures(&Moment::At(*end)).await, figures, &format!("as of {end}"));
        }
        // And the same words on the command line.
        let (end, figures) = &ends[ends.len() / 2];
        let query = "SELECT count(*) FROM transaction_history";
        let args = ["sql", "--lake", "lake", "--format", "csv", "--as-of", &end.to_string(), query];
        let rows: i128 = figures
            .iter()
            .filter(|((d, _, c, _), _)| d == "transaction_history" && c == "rows")
            .map(|(_, r)| r / ONE)
            .sum();
        assert_eq!(self.world.ok(&args).stdout.lines().nth(1).unwrap(), rows.to_string());
    }
}

/// Whether it is the last window of its dataset, or the dataset has none.
fn window_is_last(plan: &Plan, (dataset, window): &Scope) -> bool {
    let wanted = plan.wanted(&Known::default());
    wanted.iter().rfind(|wanted| wanted.dataset.name.as_str() == dataset).unwrap().window == *window
}

/// The plan without what is not in `scopes`.
fn only(mut plan: Plan, scopes: &BTreeSet<Scope>) -> Plan {
    for dataset in plan.datasets.iter_mut().filter(|dataset| dataset.ask != Ask::Whole) {
        let mine = scopes.iter().filter(|(name, _)| name == dataset.dataset.name.as_str());
        dataset.ask = Ask::Windows(mine.filter_map(|(_, window)| *window).collect());
    }
    plan.datasets.retain(|dataset| scopes.iter().any(|(name, _)| name == dataset.dataset.name.as_str()));
    plan
}

fn blob_of(receipt: &Receipt, (dataset, window): &Scope) -> String {
    let table = receipt.tables.iter().find(|table| table.table == *dataset).unwrap();
    let found = table.windows.iter().find(|found| found.window == *window).unwrap();
    found.blob_sha256.clone().unwrap()
}

const ONE: i128 = 10_000_000_000;

/// `earningAmountUSD` is `earning_amount_usd` in the lake.
fn snake(published: &str) -> String {
    let mut name = String::new();
    let mut after_small = false;
    for letter in published.chars() {
        if letter.is_uppercase() && after_small {
            name.push('_');
        }
        after_small = letter.is_lowercase();
        name.extend(letter.to_lowercase());
    }
    name
}

fn figures_of(dataset: &str, month: &str, sums: &Sums) -> Figures {
    let key = |column: &str, currency: &str| {
        (dataset.to_owned(), month.to_owned(), column.to_owned(), currency.to_owned())
    };
    let mut figures = Figures::from([(key("rows", ""), i128::from(sums.rows) * ONE)]);
    // What must be exceeded before anything is earned may be a head count: the lake never sums it.
    for (column, sums) in sums.money.iter().filter(|(column, _)| **column != "baseline") {
        figures.extend(sums.iter().map(|(currency, amount)| (key(&snake(column), currency), amount.0)));
    }
    figures.retain(|_, units| *units != 0);
    figures
}

fn difference(after: &Figures, before: &Figures) -> Figures {
    let mut moved = after.clone();
    for (key, units) in before {
        *moved.entry(key.clone()).or_default() -= units;
    }
    moved.retain(|_, units| *units != 0);
    moved
}

/// Says only what differs: a year has thousands of figures.
fn same(left: &Figures, right: &Figures, what: &str) {
    let differs = difference(left, right);
    let shown: Vec<_> = differs.iter().take(10).map(|(key, units)| format!("{key:?} by {units}")).collect();
    assert!(differs.is_empty(), "{what}: {} figures differ:\n{}", differs.len(), shown.join("\n"));
}

/// Decimal text in units of 10^-10; nothing is 0.
fn units(text: &str) -> i128 {
    if text.is_empty() {
        return 0;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 10, "{text}");
    format!("{whole}{fraction:0<10}").parse().unwrap()
}

/// The cells as text; NULL is empty.
fn rows_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default();
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let cell = |column: usize, row: usize| match batch.column(column).is_null(row) {
        true => String::new(),
        false => columns[column].value(row).to_string(),
    };
    (0..batch.num_rows()).map(|row| (0..columns.len()).map(|column| cell(column, row)).collect()).collect()
}
