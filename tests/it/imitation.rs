//! An independent imitation of the service (`tests/imitation`), in every style that the documentation leaves open.
//!
//! It is Python's standard library, was written from public documentation by somebody who had read neither the client nor
//! the sandbox, and says itself what a lake of its rows must hold.

mod at_once;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Done, World};

/// The password sign-in of the payout API's own documentation, and the one as an application.
const PASSWORD: &str = "username-password";
const SECRET: &str = "client-secret";
/// A person in a browser, and a refresh token that somebody has.
const DEVICE: &str = "device-code";
const REFRESH: &str = "refresh-token";
const FIRST: &str = "0.AXfirst-refresh-token";

/// One style, and how a run against it must end.
struct Case {
    styles: &'static str,
    auth: &'static str,
    exit: i32,
    /// POSTs and exports more than there are windows.
    posts: usize,
    exports: usize,
}

/// Must end with every window published, each asked for once.
const fn good(styles: &'static str, auth: &'static str) -> Case {
    Case { styles, auth, exit: 0, posts: 0, exports: 0 }
}

/// Must be published too, with so many more POSTs, and so many exports of which the client cannot know.
const fn again(styles: &'static str, posts: usize, exports: usize) -> Case {
    Case { styles, auth: PASSWORD, exit: 0, posts, exports }
}

/// Must publish nothing and end with this code.
const fn bad(styles: &'static str, exit: i32, posts: usize, exports: usize) -> Case {
    Case { styles, auth: SECRET, exit, posts, exports }
}

#[test]
fn answers_of_every_shape_are_understood() {
    hold(&[
        good("documented", PASSWORD),
        good("value-capital,create-201,status-shouting,chunked,delete-json,expires-text,idempotent", SECRET),
        good(
            "value-object,create-200,status-unknown,no-length,delete-204,expires-missing,neighbours",
            PASSWORD,
        ),
        good("bare-array,names-pascal,late-location,text-type,extra-fields,total-text", SECRET),
        good("bare-object,names-odd,few-fields,status-missing,opaque-token", PASSWORD),
        good("location-only,status-lower,extra-fields,json-bom", PASSWORD),
        good("status-at-once,delete-500", SECRET),
    ]);
}

#[test]
fn files_of_every_make_are_read_to_the_cent() {
    hold(&[
        good("era-2019,lf,seconds,snake-case,gzip", PASSWORD),
        good("era-2020,cr,dates,shuffled,title-case", PASSWORD),
        good("era-2023,no-bom,millis,lower-case,zip-stored,quote-all", PASSWORD),
        good("era-2025,listed,accounting,unknown-column,named-zip", PASSWORD),
        good("zip-months,thousands,lf,title-case", PASSWORD),
        good("zip,numbers-plain,listed", PASSWORD),
        good("other-clock", PASSWORD),
        // The file cannot say whether its last cell is whole: told, and published.
        Case { exit: 3, ..good("no-last-newline", PASSWORD) },
    ]);
}

/// A neighbour's export has brought one row of a month, and then comes the month itself: what its sums were is no loss.
#[test]
fn a_month_that_a_neighbour_began_is_not_held() {
    let world = World::new();
    let header = "earningId,participantId,programName,earningType,transactionCurrency,earningAmount,earningAmountUSD,\
                  earningDate,paymentStatus";
    let adjustment = "e0,1,P,Adjustment-Rebate,EUR,-30000,-30000,2026-09-01,Sent";
    let rest: String =
        (1..6).map(|n| format!("e{n},1,P,Rebate,EUR,20000,20000,2026-09-0{n},Sent\n")).collect();
    world.write("one.csv", format!("{header}\n{adjustment}\n"));
    world.write("month.csv", format!("{header}\n{adjustment}\n{rest}"));
    let into = ["ingest", "--dataset", "transaction_history", "--lake", "lake", "--account", "contoso"];
    world.ok(&[into.as_slice(), &["one.csv"]].concat());
    let whole = ["--covers", "2026-09..2026-09", "--extracted-at", "2026-11-01T00:00:00Z", "month.csv"];
    world.ok(&[into.as_slice(), &whole].concat());
    assert_eq!(world.sql("lake", "SELECT sum(earning_amount) FROM transaction_history"), ["70000.00"]);
}

#[test]
fn what_breaks_is_tried_again() {
    hold(&[
        good("token-cut,status-cut,blob-cut,delete-cut", PASSWORD),
        good("token-down,status-down,blob-down", SECRET),
        good("status-429,blob-reset,chunked", PASSWORD),
        again("create-down", 2, 0),
        again("create-429", 2, 0),
        // The answer to a POST was lost: one orphan at most, and none where the service honours the repeated id.
        again("create-lost", 1, 1),
        again("create-lost,idempotent", 1, 0),
        again("create-cut", 1, 1),
        again("create-cut,idempotent", 1, 0),
        again("failed-once", 1, 1),
        again("forgotten-waiting", 1, 1),
        // A new export needs a new id, or such a service gives the old one again.
        again("failed-once,idempotent", 1, 1),
        again("forgotten-waiting,idempotent", 1, 1),
    ]);
}

#[test]
fn tokens_that_end_are_renewed() {
    let short = Case { auth: PASSWORD, ..good("short-tokens", PASSWORD) };
    let requests = hold_slowly(&short);
    assert!(count(&requests, "token") >= 3, "{requests:?}");
    let lying = good("lying-tokens,status-401", SECRET);
    let requests = hold_slowly(&lying);
    assert!(requests.iter().any(|request| request["status"] == 401), "no token was refused: {requests:?}");
}

/// A person signs in once, in a browser that this test need not have; runs go on with refresh tokens that change each time.
#[test]
fn a_person_signs_in_with_a_code() {
    let (world, plan) = (World::new(), Plan::of(&World::new()));
    // Access tokens of two seconds: a run needs some, and each costs a refresh token that is good for once.
    let imitation = Imitation::serve(&world, &[], "short-tokens");
    imitation.pipeline(&world, DEVICE, 1);
    assert_eq!(imitation.run(&world).code, 77);
    let signed = world.run(&["auth", "login", "imitation.toml"]);
    assert_eq!(signed.code, 0, "{}\n{}", signed.stdout, signed.stderr);
    for shown in ["https://microsoft.com/devicelogin", "FK7Q2MZ9P"] {
        assert!(signed.stderr.contains(shown) || signed.stdout.contains(shown), "{}", signed.stderr);
    }
    // Not before the interval of a second, and five seconds later each time after `slow_down`.
    let polls: Vec<Value> =
        lines_of(&imitation.log).into_iter().filter(|entry| entry["kind"] == "device-poll").collect();
    let waited: Vec<_> = polls.iter().map(|poll| poll["after"].as_f64().unwrap()).collect();
    assert!(waited.len() == 4 && waited[..2].iter().all(|waited| *waited > 0.9), "{waited:?}");
    assert!(waited[2..].iter().all(|waited| *waited > 5.9), "{waited:?}");
    for _ in 0..2 {
        let done = imitation.run(&world);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    imitation.all_were_fetched();
    imitation.compare(&world, &plan, "short-tokens");
    let requests = imitation.requests();
    let refreshed = requests.iter().filter(|request| request["grant"] == "refresh_token").count();
    assert!(refreshed >= 4, "{requests:#?}");

    for declined in ["device-declined", "device-expired"] {
        let world = World::new();
        let imitation = Imitation::serve(&world, &[], declined);
        imitation.pipeline(&world, DEVICE, 0);
        assert_eq!(world.run(&["auth", "login", "imitation.toml"]).code, 77, "{declined}");
    }
}

/// The secure application model: somebody else made the first refresh token.
#[test]
fn a_refresh_token_is_gone_on_with() {
    for (styles, runs) in [("documented", 2), ("refresh-keeps,expires-text", 1)] {
        let (world, plan) = (World::new(), Plan::of(&World::new()));
        let imitation = Imitation::serve(&world, &["--refresh-token", FIRST], styles);
        imitation.pipeline(&world, REFRESH, 0);
        for _ in 0..runs {
            let done = imitation.run(&world);
            assert_eq!(done.code, 0, "{}", done.stderr);
        }
        imitation.all_were_fetched();
        imitation.compare(&world, &plan, styles);
    }
}

#[test]
fn blobs_are_taken_from_all_kinds_of_servers() {
    hold(&[
        good("weak-tags,blob-cut", PASSWORD),
        good("no-ranges,no-md5,blob-cut", PASSWORD),
        good("no-md5,trickle,chunked", PASSWORD),
        good("blob-flipped", PASSWORD),
        good("sas-expired-first,blob-cut", PASSWORD),
    ]);
}

#[test]
fn refusals_end_with_the_right_code() {
    hold(&[
        bad("refused-400", 78, 0, 0).each_refused(),
        bad("refused-403", 77, 0, 0).each_refused(),
        bad("refused-mfa", 77, 0, 0).never_asked(),
        bad("token-garbled", 77, 0, 0).never_asked(),
        // Each export is queued a second time, and that is enough.
        bad("failed-always", 69, 3, 3),
        // Nobody follows a redirect with credentials, and no blob is taken from a host that is not listed.
        bad("status-redirect", 78, 0, 0),
        bad("blob-redirect", 65, 0, 0),
        bad("blob-elsewhere", 65, 0, 0),
    ]);
}

impl Case {
    /// Every POST is answered, and no export comes of it.
    const fn each_refused(self) -> Case {
        Case { exports: NONE, ..self }
    }

    /// There is no POST at all.
    const fn never_asked(self) -> Case {
        Case { posts: NONE, exports: NONE, ..self }
    }
}

/// Instead of a number that is added to the windows: nothing at all.
const NONE: usize = usize::MAX;

/// A probe tells the style, leaves nothing behind, and repeats nothing that it was given.
#[test]
fn a_probe_tells_the_style() {
    for (styles, posts, words) in [
        (
            "bare-array,names-pascal,gzip,lf,quote-all,no-ranges,times-only,idempotent",
            3,
            &[
                "a bare list",
                "names in another case",
                "refused; taken as times",
                "yes: the repeated request",
                "\"gzip\"",
                "line ends: LF",
                "quoted cells: all",
                "the whole: ranges are not known",
            ][..],
        ),
        (
            "zip-months,listed,accounting,unknown-column,no-md5,delete-json",
            2,
            &[
                "no: the repeated request",
                "\"zip\"",
                "alphabetical: the first 104",
                "(9.9)",
                "Content-MD5 not offered",
                "file name ends with: zip",
            ],
        ),
        (
            "location-only,thousands,cr,no-bom,status-unknown,dates,sas-expired-first",
            2,
            &[
                "id in Location alone",
                "9,9.9",
                "line ends: CR (",
                "byte order mark: no",
                "In Progress after",
                "another status after",
                "another address at each look: yes",
            ],
        ),
    ] {
        let world = World::new();
        let imitation = Imitation::serve(&world, &[], styles);
        imitation.pipeline(&world, PASSWORD, 0);
        let done = world.run(&["check", "imitation.toml", "--probe", "--verbose"]);
        assert!(matches!(done.code, 0 | 3), "{styles}\n{}\n{}", done.stdout, done.stderr);
        let report = std::fs::read_to_string(world.path("payoutlake-probe.json")).unwrap();
        for word in words {
            assert!(report.contains(word), "{styles}: {word}\n{report}");
        }
        for secret in imitation.secrets() {
            let told = [&report, &done.stdout, &done.stderr].iter().any(|text| text.contains(&secret));
            assert!(!told, "{styles}: a secret was told");
        }
        assert_eq!(count(&imitation.requests(), "create"), posts, "{styles}");
        imitation.all_were_fetched();
    }
}

/// A window that waits does not hold back the others.
#[test]
fn a_slow_export_holds_nobody_back() {
    let world = World::new();
    let plan = Plan::of(&world);
    let (gate, slow) = (world.path("gate"), &plan.windows[0]);
    let imitation = Imitation::serve(
        &world,
        &["--hold-file", gate.to_str().unwrap(), "--hold-filter", slow.filter.as_str()],
        "documented",
    );
    imitation.pipeline(&world, PASSWORD, 1);
    let run = Running::start(&world);
    let published = |window: &Window| world.path("lake").join(&window.file).exists();
    until("the other windows are published", || plan.windows[1..].iter().all(published));
    assert!(!published(slow), "the slow export was published before it was ready");
    File::create(&gate).unwrap();
    assert_eq!(run.end().code, 0);
    imitation.check(&world, &plan, &good("documented", PASSWORD));
}

/// Killed while it waits, a run leaves its exports to the next one.
#[test]
fn a_killed_run_is_gone_on_with() {
    let world = World::new();
    let plan = Plan::of(&world);
    let gate = world.path("gate");
    let imitation = Imitation::serve(&world, &["--hold-file", gate.to_str().unwrap()], "documented");
    imitation.pipeline(&world, PASSWORD, 1);
    let mut run = Running::start(&world);
    until("every export is polled", || {
        let polled: BTreeSet<String> =
            of_kind(&imitation.requests(), "status").map(|request| request["export"].to_string()).collect();
        polled.len() == plan.windows.len()
    });
    run.0.kill().unwrap();
    drop(run);
    File::create(&gate).unwrap();
    let done = imitation.run(&world);
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    imitation.check(&world, &plan, &good("documented", PASSWORD));
}

/// Killed between a POST and its answer, a run cannot know its export. The next one repeats the id: one orphan at most, and
/// none where the service honours it.
#[test]
fn a_run_killed_before_the_answer_leaves_one_orphan_at_most() {
    let plan = Plan::of(&World::new());
    for (styles, orphans) in [("create-slow", 1), ("create-slow,idempotent", 0)] {
        let world = World::new();
        let imitation = Imitation::serve(&world, &[], styles);
        imitation.pipeline(&world, PASSWORD, 1);
        let mut run = Running::start(&world);
        until("an export is made", || lines_of(&imitation.log).iter().any(|entry| entry["kind"] == "made"));
        // The others have their answers by now.
        std::thread::sleep(Duration::from_millis(500));
        run.0.kill().unwrap();
        drop(run);
        let done = imitation.run(&world);
        assert_eq!(done.code, 0, "{styles}\n{}", done.stderr);
        until("the slow answer is given", || count(&imitation.requests(), "create") > plan.windows.len());
        imitation.check(&world, &plan, &again(styles, 1, orphans));
    }
}

/// Killed while it downloads, a run leaves its exports to the next one.
#[test]
fn a_killed_download_costs_no_export() {
    killed_while_downloading();
}

/// ... and also the bytes that have come.
#[test]
fn a_killed_download_costs_no_byte() {
    let requests = killed_while_downloading();
    let resumed = of_kind(&requests, "blob").any(|request| request["start"].as_u64() > Some(0));
    assert!(resumed, "everything was downloaded again: {requests:#?}");
}

/// What the run after the killed one has asked for.
fn killed_while_downloading() -> Vec<Value> {
    let world = World::new();
    let plan = Plan::of(&world);
    // About half a megabyte for each export, at less than a megabyte a second.
    let imitation = Imitation::serve(&world, &["--padding", "6000"], "trickle");
    imitation.pipeline(&world, PASSWORD, 0);
    let mut run = Running::start(&world);
    until("a download goes on", || count(&imitation.requests(), "blob") > 1);
    std::thread::sleep(Duration::from_millis(600));
    run.0.kill().unwrap();
    drop(run);
    let before = imitation.requests().len();
    let done = imitation.run(&world);
    assert_eq!(done.code, 0, "{}", done.stderr);
    imitation.all_were_fetched();
    imitation.compare(&world, &plan, "trickle");
    imitation.requests().split_off(before)
}

/// A signature may end in the middle of a download: with a fresh one it goes on at the same byte.
#[test]
fn a_signature_that_ends_costs_no_byte() {
    for styles in ["sas-bytes", "sas-seconds"] {
        let requests = hold_one(&good(styles, PASSWORD), &Plan::of(&World::new()), 0);
        let starts: Vec<u64> =
            of_kind(&requests, "blob").filter_map(|request| request["start"].as_u64()).collect();
        assert!(starts.iter().any(|start| *start > 0), "{styles}: {starts:?}");
    }
}

/// A finished export that is gone before its blob was taken is asked for again, in the same run.
#[test]
fn a_finished_export_that_is_gone_is_made_again() {
    hold(&[again("forgotten-finished", 1, 1)]);
}

/// The service is down for longer than a run has patience. The next ones go on with the same exports.
#[test]
fn an_outage_costs_no_export() {
    let world = World::new();
    let plan = Plan::of(&world);
    let imitation = Imitation::serve(&world, &[], "outage");
    imitation.pipeline(&world, SECRET, 0);
    let mut codes = Vec::new();
    while codes.last() != Some(&0) && codes.len() < 9 {
        codes.push(imitation.run(&world).code);
    }
    assert!(codes.len() > 1 && codes[..codes.len() - 1].iter().all(|code| *code == 69), "{codes:?}");
    imitation.all_were_fetched();
    imitation.compare(&world, &plan, "outage");
}

/// Something that is not an answer stands in place of one: it is asked for again.
#[test]
fn a_garbled_answer_costs_no_export() {
    let world = World::new();
    let plan = Plan::of(&world);
    let imitation = Imitation::serve(&world, &[], "status-garbled");
    imitation.pipeline(&world, SECRET, 0);
    let run = imitation.run(&world);
    assert_eq!(run.code, 0, "{}", run.stderr);
    imitation.all_were_fetched();
    imitation.compare(&world, &plan, "status-garbled");
}

/// A real blob server behind signed addresses: Azurite.
#[test]
fn a_real_blob_server_gives_its_blobs() {
    let azurite = Azurite::start();
    let plan = Plan::of(&World::new());
    // Addresses that were over when they were handed out: the client asks for others.
    for styles in ["zip-months,listed", "sas-expired-first"] {
        let world = World::new();
        let imitation = Imitation::serve(&world, &["--azurite", &azurite.address], styles);
        imitation.pipeline(&world, PASSWORD, 0);
        let done = imitation.run(&world);
        assert_eq!(done.code, 0, "{styles}\n{}", done.stderr);
        let requests = imitation.check(&world, &plan, &good(styles, PASSWORD));
        assert_eq!(count(&requests, "blob"), 0, "a blob did not come from the blob server");
    }

    // Some megabytes, of which two connections break in the middle: what has come is not asked for again.
    let world = World::new();
    let log = world.path("cutter.log");
    let to = azurite.address.strip_prefix("http://").unwrap();
    let cut = 1_000_000;
    let cutter = ["--to", to, "--cut", &cut.to_string(), "--times", "2", "--log", log.to_str().unwrap()];
    let (cutter, ready) = Server::start(script("cutter.py", &cutter), "ready");
    let public = format!("http://127.0.0.1:{}", ready.trim_start_matches("ready "));
    let large = ["--padding", "24000"];
    let through = ["--azurite", &azurite.address, "--azurite-public", &public];
    let imitation = Imitation::serve(&world, &[large.as_slice(), &through].concat(), "documented");
    imitation.pipeline(&world, PASSWORD, 0);
    let done = imitation.run(&world);
    assert_eq!(done.code, 0, "{}", done.stderr);
    imitation.check(&world, &plan, &good("documented", PASSWORD));
    drop((imitation, cutter));
    let entries = lines_of(&log);
    let resumed: Vec<u64> = entries.iter().filter_map(|entry| entry["range"].as_u64()).collect();
    assert_eq!(resumed.len(), 2, "{entries:?}");
    assert!(resumed.iter().all(|start| *start > 1000 && *start < cut), "{entries:?}");
}

// --- Running the cases ---

/// Runs the cases two at a time.
fn hold(cases: &[Case]) {
    let plan = Plan::of(&World::new());
    let (even, odd): (Vec<_>, Vec<_>) = cases.iter().enumerate().partition(|(at, _)| at % 2 == 0);
    std::thread::scope(|scope| {
        for half in [even, odd] {
            let plan = &plan;
            scope.spawn(move || half.iter().for_each(|(_, case)| drop(hold_one(case, plan, 0))));
        }
    });
}

/// Runs one case with a second between two polls, and returns what was asked.
fn hold_slowly(case: &Case) -> Vec<Value> {
    hold_one(case, &Plan::of(&World::new()), 1)
}

fn hold_one(case: &Case, plan: &Plan, poll_secs: u32) -> Vec<Value> {
    let world = World::new();
    let imitation = Imitation::serve(&world, &[], case.styles);
    imitation.pipeline(&world, case.auth, poll_secs);
    let done = imitation.run(&world);
    assert_eq!(done.code, case.exit, "{}\n{}\n{}", case.styles, done.stdout, done.stderr);
    imitation.check(&world, plan, case)
}

/// What the pipeline asks for.
struct Plan {
    windows: Vec<Window>,
    /// The first earning month.
    first: String,
}

struct Window {
    /// The filter of its request; payments have none.
    filter: String,
    /// A file that is there, below the lake, when the window is published.
    file: PathBuf,
}

impl Plan {
    fn of(world: &World) -> Plan {
        let nobody = serde_json::json!({"port": 9, "tenant": "t", "client": "c", "secret": "s"});
        pipeline(world, SECRET, &nobody, 0);
        let printed = world.ok(&["plan", "imitation.toml", "--json"]).stdout;
        let lines = printed.lines().map(|line| serde_json::from_str(line).unwrap());
        let requests: Vec<Value> = lines.filter(|line: &Value| line.get("dataset").is_some()).collect();
        let month = |request: &Value, end: &str| request["window"][end].as_str().map(str::to_owned);
        let windows = requests.iter().map(|request| Window {
            filter: request["filter"].as_str().unwrap_or_default().to_owned(),
            file: match month(request, "last") {
                Some(last) => {
                    format!("transaction_history/account=contoso/earning_month={last}/part-0.parquet").into()
                }
                None => "payments".into(),
            },
        });
        let first = requests.iter().filter_map(|request| month(request, "first")).min().unwrap();
        Plan { windows: windows.collect(), first }
    }
}

// --- The imitation ---

struct Imitation {
    _server: Server,
    ready: Value,
    log: PathBuf,
    /// What decides its rows and their text.
    style: Vec<String>,
}

impl Imitation {
    fn serve(world: &World, options: &[&str], styles: &str) -> Imitation {
        let log = world.path("imitation.log");
        let style: Vec<String> = ["--months", "4", "--rows-per-month", "60", "--style", styles]
            .into_iter()
            .chain(options.iter().copied())
            .map(str::to_owned)
            .collect();
        let mut command = script("partner_center.py", &["serve", "--log", log.to_str().unwrap()]);
        command.args(&style);
        let (server, ready) = Server::start(command, "{");
        Imitation { _server: server, ready: serde_json::from_str(&ready).unwrap(), log, style }
    }

    fn pipeline(&self, world: &World, auth: &str, poll_secs: u32) {
        pipeline(world, auth, &self.ready, poll_secs);
    }

    fn run(&self, world: &World) -> Done {
        let done = world.run(&RUN);
        for secret in self.secrets() {
            for said in [&done.stdout, &done.stderr] {
                assert!(!said.contains(&secret), "{:?}: a secret was printed\n{said}", self.style);
            }
        }
        done
    }

    fn requests(&self) -> Vec<Value> {
        lines_of(&self.log).into_iter().filter(|entry| entry["method"].is_string()).collect()
    }

    /// Passwords, tokens and signatures that it knows or has handed out.
    fn secrets(&self) -> Vec<String> {
        let entries = lines_of(&self.log).into_iter().filter(|entry| entry["kind"] == "secret");
        entries.map(|entry| entry["value"].as_str().unwrap().to_owned()).collect()
    }

    /// Looks at what was asked, at what lies in the lake, and at the rows.
    fn check(&self, world: &World, plan: &Plan, case: &Case) -> Vec<Value> {
        let (requests, styles) = (self.requests(), case.styles);
        let more = |more: usize| if more == NONE { 0 } else { plan.windows.len() + more };
        assert_eq!(count(&requests, "create"), more(case.posts), "{styles}: POSTs {requests:#?}");
        let exports: BTreeSet<String> = of_kind(&requests, "create")
            .filter_map(|request| request["export"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(exports.len(), more(case.exports), "{styles}: exports {requests:#?}");
        if case.posts != NONE {
            let filters = |asked: Vec<&str>| asked.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
            let asked =
                of_kind(&requests, "create").map(|request| request["filter"].as_str().unwrap()).collect();
            let planned = plan.windows.iter().map(|window| window.filter.as_str()).collect();
            assert_eq!(filters(asked), filters(planned), "{styles}");
        }
        for request in &requests {
            let known = matches!(request["kind"].as_str(), Some("token" | "create" | "status" | "delete"));
            assert!(known || request["authorization"] == false, "{styles}: a token left the API: {request}");
        }
        for (name, content) in world.files("lake") {
            for secret in self.secrets() {
                let found = memchr::memmem::find(&content, secret.as_bytes());
                assert!(found.is_none(), "{styles}: a secret lies in {name}");
            }
        }
        if matches!(case.exit, 0 | 3) {
            self.compare(world, plan, styles);
        } else {
            assert!(!world.path("lake/transaction_history").exists(), "{styles}: something was published");
        }
        requests
    }

    /// Every export that was made was taken and cleaned up: none was forgotten and asked for a second time.
    fn all_were_fetched(&self) {
        let requests = self.requests();
        let with = |kind| -> BTreeSet<String> {
            of_kind(&requests, kind)
                .filter_map(|request| Some(request["export"].as_str()?.to_owned()))
                .collect()
        };
        assert_eq!(with("create"), with("delete"), "{requests:#?}");
    }

    /// Every row and every sum, month and currency by month and currency.
    fn compare(&self, world: &World, plan: &Plan, styles: &str) {
        let mut truth = script("partner_center.py", &["truth", "--from", &plan.first]);
        let Output { status, stdout, stderr } = truth.args(&self.style).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        let truth: Value = serde_json::from_slice(&stdout).unwrap();
        for (table, truth) in truth.as_object().unwrap() {
            let months = truth["months"].as_object().unwrap();
            let columns = texts(&truth["columns"]);
            let mut inside = Vec::new();
            let outside: BTreeSet<Vec<String>> = lists(&truth["outside"]).into_iter().collect();
            for row in select(world, &format!("SELECT {} FROM {table}", columns.join(", "))) {
                let cells = columns.iter().map(|column| row[column].as_str().unwrap_or_default());
                let mut cells: Vec<String> = cells.map(str::to_owned).collect();
                let money = cells.last_mut().unwrap();
                *money = plain(money);
                match months.contains_key(&cells[0]) {
                    true => inside.push(cells),
                    // Rows of other months may be there: the requests reach over their windows.
                    false => assert!(outside.contains(&cells), "{styles}: {table} has {cells:?}"),
                }
            }
            inside.sort();
            assert!(inside.len() > 30, "{styles}: {table} has too few rows");
            same(&inside, &lists(&truth["rows"]), &format!("{styles}: rows of {table}"));
            let mut sums = sums(world, table, &columns[0], truth["money"].as_object().unwrap());
            sums.retain(|sum| months.contains_key(&sum[1]));
            same(&sums, &lists(&truth["sums"]), &format!("{styles}: sums of {table}"));
        }
    }
}

/// The lines of a table: money column, month, currency, cells that are not NULL, and their sum.
fn sums(world: &World, table: &str, month: &str, money: &serde_json::Map<String, Value>) -> Vec<Vec<String>> {
    let parts = money.iter().map(|(column, currency)| {
        let currency = currency.as_str().unwrap();
        format!(
            "SELECT '{column}' AS a, coalesce({month}, '') AS b, coalesce({currency}, '') AS c, \
             count(*) AS d, sum({column}) AS e FROM {table} WHERE {column} IS NOT NULL GROUP BY 1, 2, 3"
        )
    });
    let query = parts.collect::<Vec<_>>().join(" UNION ALL ");
    let rows = select(world, &query);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut sums: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![text(&row["a"]), text(&row["b"]), text(&row["c"]), text(&row["d"]), plain(&text(&row["e"]))]
        })
        .collect();
    sums.sort();
    sums
}

fn select(world: &World, query: &str) -> Vec<Value> {
    let done = world.ok(&["sql", "--lake", "lake", "--format", "ndjson", query]);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Two sorted lists, of which the first difference is told.
fn same(ours: &[Vec<String>], theirs: &[Vec<String>], what: &str) {
    let difference = ours.iter().zip(theirs).find(|(our, their)| our != their);
    assert!(difference.is_none(), "{what}: the lake has, and must have: {difference:#?}");
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// A decimal without the zeros at its end.
fn plain(amount: &str) -> String {
    let trimmed =
        if amount.contains('.') { amount.trim_end_matches('0').trim_end_matches('.') } else { amount };
    if trimmed == "-0" { "0".to_owned() } else { trimmed.to_owned() }
}

fn texts(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    list.as_array().unwrap().iter().map(text).collect()
}

fn lists(list: &Value) -> Vec<Vec<String>> {
    list.as_array().unwrap().iter().map(texts).collect()
}

fn of_kind<'a>(requests: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    requests.iter().filter(move |request| request["kind"] == kind)
}

fn count(requests: &[Value], kind: &str) -> usize {
    of_kind(requests, kind).count()
}

/// The lines of a log that somebody may be writing to.
fn lines_of(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const RUN: [&str; 4] = ["run", "imitation.toml", "--verbose", "--json"];

/// Three windows: two of earnings, one of them of two months or one, and all payments.
fn pipeline(world: &World, auth: &str, ready: &Value, poll_secs: u32) {
    let api = format!("http://127.0.0.1:{}/", ready["port"]);
    let who = match auth {
        SECRET => format!("client_secret = {}", ready["secret"]),
        DEVICE => String::new(),
        REFRESH => format!("refresh_token = \"{FIRST}\""),
        // A JSON text is a TOML text.
        _ => format!("username = {}\npassword = {}", ready["user"], ready["password"]),
    };
    let (tenant, client) = (&ready["tenant"], &ready["client"]);
    let text = format!(
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\ncleanup = \"delete\"\n\
         [source]\nkind = \"partner-center\"\n\
         [source.auth]\nkind = \"{auth}\"\ntenant = {tenant}\nclient_id = {client}\n{who}\n\
         [source.api]\napi = \"{api}v1.0/\"\nauthority = \"{api}\"\nblob_hosts = [\"127.0.0.1\"]\n\
         retry_first_delay_millis = 20\npoll = {{ first_secs = {poll_secs}, max_secs = {poll_secs} }}\n\
         [[datasets]]\nname = \"transaction_history\"\nmonths = 3\nmonths_per_export = 2\n\
         [[datasets]]\nname = \"payments\"\n\
         [wait]\ndeadline_minutes = 2\nmax_in_flight = 4\nmax_attempts = 2\n"
    );
    world.write("imitation.toml", text);
}

// --- Processes ---

/// A run that somebody looks at while it is going on.
struct Running(Child);

impl Running {
    fn start(world: &World) -> Running {
        let mut command = world.command(&RUN);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn end(mut self) -> Done {
        let code = self.0.wait().unwrap().code().unwrap_or(-1);
        Done { code, stdout: String::new(), stderr: String::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Something that serves until it is dropped.
struct Server(Child);

impl Server {
    /// Waits for the line of its output that has `sign`.
    fn start(mut command: Command, sign: &str) -> (Server, String) {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut server =
            Server(child.unwrap_or_else(|cause| panic!("{command:?} cannot be started: {cause}")));
        let mut output = BufReader::new(server.0.stdout.take().unwrap());
        let line = output.by_ref().lines().map(Result::unwrap).find(|line| line.contains(sign));
        let line = line.unwrap_or_else(|| panic!("{command:?} ended"));
        // What else it says goes nowhere, and does not stop it.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        (server, line)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn script(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(folder().join(name)).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imitation")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < patience, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Azurite, in memory, on a port of its own.
struct Azurite {
    address: String,
    _server: Server,
}

impl Azurite {
    fn start() -> Azurite {
        let mut command = Command::new("node");
        command.arg(azurite()).args(["--blobPort", "0", "--inMemoryPersistence", "--silent"]);
        let (server, line) = Server::start(command, "successfully listens on ");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        Azurite { address, _server: server }
    }
}

/// The program that `PAYOUTLAKE_TEST_AZURITE` names, else one that is installed once below the target folder.
fn azurite() -> PathBuf {
    if let Some(named) = std::env::var_os("PAYOUTLAKE_TEST_AZURITE") {
        return named.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azurite");
    std::fs::create_dir_all(&target).unwrap();
    // Tests run beside each other, and so may test runs.
    let lock = File::create(target.join("install.lock")).unwrap();
    lock.lock().unwrap();
    let (found, done) = (target.join("node_modules/azurite/dist/src/blob/main.js"), target.join("done"));
    let wanted = std::fs::read(folder().join("package-lock.json")).unwrap();
    if std::fs::read(&done).is_ok_and(|there| there == wanted) && found.exists() {
        return found;
    }
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(folder().join(name), target.join(name)).unwrap();
    }
    let npm = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    let installed = Command::new("npm").args(npm).current_dir(&target).output();
    let help = "this test needs node and npm, and Azurite from npm's registry: install both (Debian: apt-get install \
                nodejs npm), or let PAYOUTLAKE_TEST_AZURITE name the file dist/src/blob/main.js of an Azurite";
    let installed = installed.unwrap_or_else(|cause| panic!("npm cannot be started ({cause}); {help}"));
    assert!(installed.status.success(), "{}\n{help}", String::from_utf8_lossy(&installed.stderr));
    std::fs::write(&done, wanted).unwrap();
    found
}
