//! The fault matrix: every fault of the sandbox at every request of a run of three windows ends in the lake of a run without
//! faults, or with a code and nothing lost, and the next run ends there.
//!
//! By default each fault hits one request, of one kind or another; `PAYOUTLAKE_TEST_WHOLE_MATRIX=1` hits all of them.
//! `src/docs/fault-matrix.md` holds what became of the cells that were tried when `INSTA_UPDATE=always` wrote it; a cell that
//! it holds must come out the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{StreamExt, TryStreamExt};
use jiff::{Timestamp, ToSpan};
use payoutlake::config::{self, Environment, RunFlags};
use payoutlake::engine::{self, Engine};
use payoutlake::event::Observer;
use payoutlake::lake::{ExportState, Lake, Ledger, LedgerEvent, Location, Moment};
use payoutlake::model::{Month, Outcome, RunId};
use payoutlake::pipeline;
use payoutlake::query::Query;
use payoutlake::sandbox::{self, At, FAULTS, Fault, FaultKind, Known, Record, Route};
use payoutlake::source::Poll;

use crate::world::{AS_OF, World};

/// Cells at once: they wait more than they work.
const AT_ONCE: usize = 16;
/// How often a cell is tried whose run asked for things in another order than the observed one.
const TRIES: usize = 5;
/// Between the first look, at once, and the second, after a second: far enough from both that the order of the requests is
/// the same on a busy machine. In the second the export before is deleted.
const DELAY_MILLIS: u64 = 550;
/// A run that ends later than this waits for ever, and is interrupted. A body that is slow takes two seconds; an export that
/// never has an address takes 16, twice eight looks, when nothing else is to be done.
const PATIENCE: Duration = Duration::from_secs(45);
const WINDOWS: usize = 3;

/// The rows of a lake: dataset, month, business columns.
type Rows = Vec<(String, String, String)>;

/// What a request of the observed run was. Which export comes first is not the same in every run.
type Place = Route;

/// What became of one fault at one request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    code: u8,
    equal: bool,
    /// Exports that the service queued, above one for each window.
    more: usize,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.equal {
            true if self.code == 0 => f.write_str("=")?,
            true => write!(f, "={}", self.code)?,
            false => write!(f, "{}", self.code)?,
        }
        (0..self.more).try_for_each(|_| f.write_str("+"))
    }
}

/// Faults whose content looks sound: on first use nobody can know that rows are missing, and the next run brings them.
const LOOKS_SOUND: [FaultKind; 4] =
    [FaultKind::FewerRows, FaultKind::BlobHeaderOnly, FaultKind::BlobBomOnly, FaultKind::BlobZeroBytes];

#[test]
fn every_fault_at_every_request_ends_in_the_same_lake() {
    let whole = std::env::var_os("PAYOUTLAKE_TEST_WHOLE_MATRIX").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (places, cells) = runtime.block_on(async {
        let good = Site::new();
        let (code, requests) = good.run(None, false).await;
        assert_eq!(code, Some(0));
        let clean = good.rows().await;
        assert!(clean.len() > 50, "{}", clean.len());
        let places: Vec<Place> = requests.iter().map(place).collect();
        let wanted: Vec<usize> = if whole { (0..places.len()).collect() } else { distinct(&places) };
        let mut all: Vec<(&Known, usize)> = Vec::new();
        for (turn, known) in FAULTS.iter().enumerate() {
            let within = wanted.iter().filter(|position| known.reach.routes.contains(&places[**position]));
            let within: Vec<usize> = within.copied().collect();
            match whole {
                true => all.extend(within.into_iter().map(|position| (known, position))),
                // One for each, and not the same one for all.
                false => {
                    all.extend(within.get(turn % within.len().max(1)).map(|position| (known, *position)))
                }
            }
        }
        let (clean, observed) = (&clean, &places);
        let cells: BTreeMap<(&str, usize), Result<Cell, String>> = futures::stream::iter(all)
            .map(|(known, position)| {
                let (clean, observed) = (clean.clone(), observed.clone());
                let cell = tokio::spawn(async move { cell(known, position, &clean, &observed).await });
                async move {
                    let cell = cell.await.unwrap_or_else(|why| Err(why.to_string()));
                    // The harness keeps this for a failure.
                    println!("{}@{}: {cell:?}", known.name, position + 1);
                    ((known.name, position), cell)
                }
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        (places, cells)
    });
    let wrong: Vec<String> = cells
        .iter()
        .filter_map(|((name, at), cell)| Some(format!("{name}@{}: {}", at + 1, cell.as_ref().err()?)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
    let cells = cells.into_iter().map(|(key, cell)| (key, cell.unwrap().to_string())).collect();
    compare(&places, &cells);
}

fn place(record: &Record) -> Place {
    record.route
}

/// The first request of each kind, and the second look at an export.
fn distinct(places: &[Place]) -> Vec<usize> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let first = |(position, route): (usize, &Place)| {
        let times = seen.entry(format!("{route:?}")).or_default();
        *times += 1;
        let wanted = if *route == Route::Status { 2 } else { 1 };
        (*times <= wanted).then_some(position)
    };
    places.iter().enumerate().filter_map(first).collect()
}

/// One fault at one request, and the run after it.
async fn cell(known: &Known, position: usize, clean: &Rows, observed: &[Place]) -> Result<Cell, String> {
    let fault = Fault { kind: known.kind, only: None, at: Some(At::From(position as u64 + 1)) };
    for _ in 0..TRIES {
        let site = Site::new();
        let (code, requests) = site.run(Some(fault), false).await;
        // The deletion of one export and the wait for the next are a race, and an export may need one look more.
        if requests.get(position).map(place) != Some(observed[position]) {
            continue;
        }
        return judge(known.kind, clean, site, code, requests).await;
    }
    Err("its requests never came in the order of the observed run".to_owned())
}

async fn judge(
    kind: FaultKind,
    clean: &Rows,
    site: Site,
    code: Option<u8>,
    requests: Vec<Record>,
) -> Result<Cell, String> {
    let rows = site.rows().await;
    let equal = rows == *clean;
    let exports = site.exports().await;
    exports_are_known(&exports, &requests)?;
    let queued = queued(&requests).len();
    // 130 is what an interrupted run ends with.
    let code = code.unwrap_or(130);
    let (months, told) = site.published();
    let of = |rows: &Rows, scope: &(String, String)| -> Rows {
        rows.iter().filter(|(table, month, _)| (table, month) == (&scope.0, &scope.1)).cloned().collect()
    };
    let trusted = !LOOKS_SOUND.contains(&kind);
    if trusted {
        if code == 0 && !equal {
            return Err(format!("ended with 0 and another lake\n{told}"));
        }
        let known: BTreeSet<_> = clean.iter().collect();
        if let Some(other) = rows.iter().find(|row| !known.contains(row)) {
            return Err(format!("a row that the good run has not: {other:?}\n{told}"));
        }
        // A month with refused rows lacks them, and the run says so with 3.
        if let Some(month) = months.iter().find(|month| code != 3 && of(&rows, month) != of(clean, month)) {
            return Err(format!("{month:?} is published and is not whole\n{told}"));
        }
    }
    let waiting = exports.iter().filter(|state| state.is_waiting()).count();
    let (next, more) = site.run(None, kind == FaultKind::ExportStuck).await;
    if next != Some(0) {
        return Err(format!("{code}, and the next run ended with {next:?}\n{told}\n{}", site.published().1));
    }
    if site.rows().await != *clean {
        return Err(format!("{code}, and the next run does not heal\n{told}\n{}", site.published().1));
    }
    let after = site.exports().await;
    if let Some(open) = after.iter().find(|state| state.is_waiting()) {
        return Err(format!("{code}, and nobody adopts {open:?}"));
    }
    // What was left waiting is adopted: only what was given up is asked for again.
    let again = after.iter().filter(|state| gave_up(state)).count()
        - exports.iter().filter(|state| gave_up(state)).count();
    if after.len() != exports.len() - waiting + WINDOWS + again {
        let counts = (exports.len(), waiting, again, after.len());
        return Err(format!("{code}: exports, waiting, given up, exports after the next run: {counts:?}"));
    }
    exports_are_known(&after, &requests.into_iter().chain(more).collect::<Vec<_>>())?;
    Ok(Cell { code, equal, more: queued.saturating_sub(WINDOWS) })
}

fn gave_up(state: &ExportState) -> bool {
    state.entries.iter().any(|entry| matches!(entry.event, LedgerEvent::Failed { .. }))
}

/// The exports that the service queued.
fn queued(requests: &[Record]) -> BTreeSet<String> {
    let created = requests.iter().filter(|record| record.route == Route::Create);
    created.filter_map(|record| Some(record.export?.to_string())).collect()
}

/// No export stands at the service that the ledger neither names nor counts as an orphan, and no window has two that
/// were not given up, held or left behind by a lost answer.
fn exports_are_known(exports: &[ExportState], requests: &[Record]) -> Result<(), String> {
    let named: BTreeSet<String> =
        exports.iter().filter_map(|state| Some(state.request_id.as_ref()?.0.to_lowercase())).collect();
    let unknown = queued(requests).difference(&named).count();
    let orphans: usize = exports.iter().map(|state| state.orphans as usize).sum();
    if unknown > orphans {
        return Err(format!("{unknown} exports at the service are unknown, and {orphans} are counted"));
    }
    let mut alive = BTreeMap::new();
    for state in exports.iter().filter(|state| state.is_waiting()) {
        let scope = (state.wish.dataset.to_string(), state.wish.window);
        if alive.insert(scope.clone(), state.id).is_some() {
            return Err(format!("{scope:?} is asked for twice"));
        }
    }
    Ok(())
}

/// A lake of its own and what the service keeps.
struct Site {
    world: World,
    file: PathBuf,
}

impl Site {
    fn new() -> Site {
        let world = World::new();
        let (lake, state) = (world.path("lake"), world.path("state"));
        // The fewer months, the fewer files to write; one export a month and one for the payments.
        let text = format!(
            "version = 1\naccount = \"contoso\"\nlake = {lake:?}\ncleanup = \"delete\"\n\
             wait = {{ max_in_flight = 1, max_looks_without_address = 5 }}\n\
             [source]\nkind = \"sandbox\"\n\
             [source.sandbox]\nmonths = 2\nrows_per_month = 40\nas_of = \"{AS_OF}\"\ndelay_millis = {DELAY_MILLIS}\n\
             state_dir = {state:?}\n\
             [[datasets]]\nname = \"transaction_history\"\nmonths = 2\nmonths_per_export = 1\n\
             [[datasets]]\nname = \"payments\"\n"
        );
        let file = world.write("matrix.toml", text);
        Site { world, file }
    }

    /// The exit code (`None`: it would have waited for ever), and the requests.
    async fn run(&self, fault: Option<Fault>, days_later: bool) -> (Option<u8>, Vec<Record>) {
        let clock = if days_later { later } else { Timestamp::now };
        let (flags, environment) = (RunFlags::default(), Environment::default());
        let (mut plan, embedded) = config::run_plan(&self.file, &flags, &environment, clock).unwrap();
        let mut embedded = embedded.unwrap();
        embedded.options.faults = fault.into_iter().collect();
        let service = sandbox::start(&embedded.options, 0, clock).await.unwrap();
        embedded.point(&mut plan, service.url());
        // Long enough for a body that is slow, and short enough for one that hangs.
        (plan.source.read_timeout_secs, plan.source.retry_attempts) = (3, 5);
        plan.source.retry_first_delay_millis = 1;
        plan.source.poll = Poll { first_secs: 1, max_secs: 1 };
        let run = tokio::time::timeout(PATIENCE, pipeline::run(plan, Observer::silent())).await;
        let code = run.ok().map(|done| match done {
            Ok(receipt) => receipt.exit_code,
            Err(error) => error.kind().exit_code(),
        });
        let requests = service.requests();
        drop(service);
        (code, requests)
    }

    async fn lake(&self) -> Lake {
        Lake::open(&Location::folder(&self.world.path("lake")), Timestamp::now()).await.unwrap()
    }

    /// The business columns of every row, sorted.
    async fn rows(&self) -> Rows {
        let mut rows = Rows::new();
        if !self.world.path("lake").exists() {
            return rows;
        }
        let lake = self.lake().await;
        let engine = Engine::new(&engine::Options::default(), lake.store().clone()).unwrap();
        let query = Query::open(&lake, &engine, &Moment::Now).await.unwrap();
        for (table, month) in [("transaction_history", "earning_month"), ("payments", "payment_month")] {
            if !query.tables().iter().any(|name| name == table) {
                continue;
            }
            let answer = query.run(&format!("SELECT * FROM {table}")).await.unwrap().rows;
            let batches: Vec<_> = answer.try_collect().await.unwrap();
            for batch in batches {
                let schema = batch.schema();
                let options = FormatOptions::default().with_null("null");
                let columns: Vec<(&str, ArrayFormatter<'_>)> = schema
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .map(|(field, column)| {
                        (field.name().as_str(), ArrayFormatter::try_new(column, &options).unwrap())
                    })
                    .filter(|(name, _)| !name.starts_with("_pc_"))
                    .collect();
                for row in 0..batch.num_rows() {
                    let (mut of, mut text) = (String::new(), String::new());
                    for (name, column) in &columns {
                        let cell = column.value(row);
                        write!(text, "{name}={cell}|").unwrap();
                        if *name == month {
                            of = cell.to_string();
                        }
                    }
                    rows.push((table.to_owned(), of, text));
                }
            }
        }
        rows.sort();
        rows
    }

    async fn exports(&self) -> Vec<ExportState> {
        if !self.world.path("lake").exists() {
            return Vec::new();
        }
        let ledger = Ledger::new(self.lake().await, RunId(uuid::Uuid::now_v7()));
        ledger.exports_since(Month::new(2000, 1), later()).await.unwrap()
    }

    /// Table and month of what the newest receipt calls published, and for people what became of the windows.
    fn published(&self) -> (Vec<(String, String)>, String) {
        let (mut months, mut told) = (Vec::new(), String::new());
        let Some((_, bytes)) = self.world.files("lake/_payoutlake/runs").pop() else {
            return (months, "no receipt".to_owned());
        };
        let receipt: payoutlake::model::Receipt = serde_json::from_slice(&bytes).unwrap();
        for table in &receipt.tables {
            for window in &table.windows {
                let (error, facts) = (&window.error, &window.error_context);
                writeln!(told, "    {} {:?} {error:?} {facts:?}", table.table, window.outcome).unwrap();
                if let (Outcome::Published, Some(of)) = (window.outcome, window.window) {
                    months.extend(of.months().map(|month| (table.table.clone(), month.to_string())));
                }
            }
        }
        (months, told)
    }
}

/// An export that never ends is given up after two days.
fn later() -> Timestamp {
    Timestamp::now() + 72.hours()
}

/// Compares the cells with the document, or writes it.
fn compare(places: &[Place], cells: &BTreeMap<(&str, usize), String>) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/docs/fault-matrix.md");
    let text = std::fs::read_to_string(&path).unwrap();
    const MARK: &str = "writes it. -->\n";
    let (prose, known) = text.split_once(MARK).unwrap();
    let table = table(places, cells);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, format!("{prose}{MARK}\n{table}")).unwrap();
        return;
    }
    let known: BTreeMap<&str, Vec<&str>> = known
        .lines()
        .filter_map(|line| {
            let mut columns = line.strip_prefix('|')?.split('|').map(str::trim);
            Some((columns.next()?.trim_matches('`'), columns.collect()))
        })
        .collect();
    let mut wrong = Vec::new();
    for ((name, position), cell) in cells {
        let told = known.get(name).and_then(|columns| columns.get(*position).copied());
        if told.is_some_and(|told| !told.is_empty() && told != cell) {
            wrong.push(format!("{name}@{}: {cell}, and the document says {told:?}", position + 1));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn table(places: &[Place], cells: &BTreeMap<(&str, usize), String>) -> String {
    let heads: Vec<String> = places
        .iter()
        .enumerate()
        .map(|(position, route)| format!("{} {}", position + 1, format!("{route:?}").to_lowercase()))
        .collect();
    let mut text =
        format!("| fault | {} | tried | equal at once | healed by the next run |\n", heads.join(" | "));
    writeln!(text, "|---|{}---|---|---|", "---|".repeat(places.len())).unwrap();
    let mut sums = [0; 3];
    for known in FAULTS {
        let row: Vec<&str> = (0..places.len())
            .map(|position| cells.get(&(known.name, position)).map_or("", String::as_str))
            .collect();
        let tried = row.iter().filter(|cell| !cell.is_empty()).count();
        let equal = row.iter().filter(|cell| cell.starts_with('=')).count();
        for (sum, count) in sums.iter_mut().zip([tried, equal, tried - equal]) {
            *sum += count;
        }
        let row = row.join(" | ");
        writeln!(text, "| `{}` | {row} | {tried} | {equal} | {} |", known.name, tried - equal).unwrap();
    }
    let [tried, equal, healed] = sums;
    let gap = " |".repeat(places.len());
    writeln!(text, "| all |{gap} {tried} | {equal} | {healed} |").unwrap();
    text
}
