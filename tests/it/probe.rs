//! `check --probe`: what it tells of a service, that it tells nothing else, and that it loses no export.

use std::process::Stdio;
use std::time::{Duration, Instant};

use payoutlake::sandbox;
use serde_json::Value;

use crate::world::{Done, World};

const PROBE: [&str; 3] = ["check", "pipeline.toml", "--probe"];
const REPORT: &str = "payoutlake-probe.json";

/// A world with a sandbox that has these faults, and takes so long for an export.
fn world(faults: &str, delay_millis: u32, rest: &str) -> World {
    let world = World::new();
    let faults: Vec<String> = faults.split_whitespace().map(|fault| format!("{fault:?}")).collect();
    let log = world.path("requests.jsonl");
    let file = world.pipeline(&format!("faults = [{}]\nrequest_log = {log:?}", faults.join(", ")), rest);
    let text = std::fs::read_to_string(file).unwrap();
    let delay = format!("delay_millis = {delay_millis}");
    world.write("pipeline.toml", text.replace("delay_millis = 20", &delay));
    world
}

fn report(world: &World) -> Value {
    serde_json::from_slice(&std::fs::read(world.path(REPORT)).unwrap()).unwrap()
}

/// What the report says about something (`container`, `dates/earningDate`), on one line.
fn seen(report: &Value, about: &str) -> String {
    let (about, column) =
        about.split_once('/').map_or((about, Value::Null), |(kind, name)| (kind, name.into()));
    let of = |finding: &&Value| finding["about"] == about && finding["column"] == column;
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(of).unwrap_or_else(|| panic!("nothing about {about}: {report:#}"));
    let seen = finding["seen"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    seen.collect::<Vec<_>>().join("; ")
}

/// Requests of the last command, by their route.
fn count(world: &World, route: &str) -> usize {
    let log = std::fs::read_to_string(world.path("requests.jsonl")).unwrap_or_default();
    log.lines().filter(|line| line.contains(&format!("\"route\":\"{route}\""))).count()
}

/// Exports that the service still has.
fn left(world: &World) -> usize {
    world.files("state/requests").len()
}

fn hold(world: &World, expected: &[(&str, &str)]) -> Done {
    let done = world.run(&PROBE);
    let report = report(world);
    for (about, words) in expected {
        let seen = seen(&report, about);
        let fits = if words.is_empty() { seen.is_empty() } else { seen.contains(words) };
        assert!(fits, "{about}: {seen}\n{}", done.stderr);
    }
    done
}

#[test]
fn a_probe_answers_the_open_questions() {
    let world = world("", 20, "");
    let done = hold(
        &world,
        &[
            ("API", "this machine"),
            ("sign-in", "username-password"),
            ("request", "202 with a list under `value`, id in the body, names as documented"),
            ("request", "requestDateTime with 7 fraction digits and Z"),
            ("bare dates", "taken"),
            ("idempotency", "yes"),
            ("statuses", "Completed after 0 s"),
            ("looks", "200 with a list under `value`"),
            ("address", "ends 59 min after it was given"),
            ("address", "version 2025-07-05; resource b; permissions r; protocols not said"),
            (
                "download",
                "Content-Type application/octet-stream; Content-Encoding not said; Content-Length right",
            ),
            ("download", "ETag strong; Accept-Ranges bytes"),
            ("range", "status 206; the one byte"),
            ("delete", "200 with no body"),
            ("after delete", "404 with an object with `error`"),
            ("container", "plain text; 1 file"),
            ("text", "byte order mark: yes; cells parted by comma; line ends: CRLF (<1000)"),
            ("text", "quoted header cells: none; quoted cells: some"),
            ("header", "104 columns; alphabetical: the first 7; closest schema version: 9"),
            ("columns", "unknown: none; twice: none"),
            ("month columns", "Maturity month: there; estimatedPaymentMonth: there"),
            ("rows", "rows (<1000); with more or fewer cells than the header (none)"),
            // The sandbox takes a bare date for its midnight, and compares days.
            (
                "asked days",
                "later on that day (none); on the day before (<100); outside, in the same month (none); in other months (none)",
            ),
            ("dates/earningDate", "9999-99-99T99:99:99Z (<1000)"),
            ("numbers/earningAmount", "9.9 (<1000)"),
            ("booleans/isPrivateOffer", "False (<"),
        ],
    );
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    assert_eq!(report(&world)["outcome"], "complete");
    for line in ["ok       probe", "found    container      plain text; 1 file", "no value in "] {
        assert!(done.stdout.contains(line), "{line}: {}", done.stdout);
    }
    assert_eq!((left(&world), count(&world, "create"), count(&world, "delete")), (0, 2, 1));
    assert!(!world.path("lake").exists(), "a probe made the lake");
    let files: Vec<String> = world.files("").into_iter().map(|(name, _)| name).collect();
    let beside = |name: &&String| !name.starts_with("state/") && !name.starts_with('.');
    assert_eq!(files.iter().filter(beside).count(), 3, "a probe left something behind: {files:?}");
}

#[test]
fn every_way_of_a_service_is_told() {
    for (faults, delay_millis, expected) in [
        (
            "repeats-not-honoured shape-capital create-200 no-range crc64-only no-etag blob-gzip",
            20,
            &[
                ("idempotency", "no: the repeated request queued another export"),
                ("request", "200 with a list under `Value`, id in the body, names in another case"),
                ("range", "status 200; the whole"),
                (
                    "download",
                    "Content-MD5 not offered; x-ms-content-crc64 offered; ETag none; Accept-Ranges not said",
                ),
                ("container", "gzip; 1 file"),
                ("address", "file name ends with: gz"),
            ][..],
        ),
        (
            "id-in-location status-upper address-once blob-many-files unknown-column",
            20,
            &[
                ("request", "202 with no body, id in Location alone"),
                ("statuses", "Completed after"),
                ("address", "another address at each look: yes"),
                ("range", "status 206"),
                ("container", "zip; <10 files"),
                ("file names", "9999-99"),
                ("columns", "unknown: "),
            ],
        ),
        (
            "blob-header-only expired-signature unknown-status location-late",
            400,
            &[
                ("address", "ends no time at all after it was given"),
                ("statuses", "Validating after"),
                ("rows", "rows (none)"),
                ("asked days", ""),
                ("dates/earningDate", ""),
                ("header", "104 columns"),
            ],
        ),
        ("blob-zero-bytes", 20, &[("container", "plain text; 1 file"), ("text", ""), ("rows", "")]),
    ] {
        let world = world(faults, delay_millis, "");
        let done = hold(&world, expected);
        assert_eq!(done.code, 0, "{faults}\n{}\n{}", done.stdout, done.stderr);
        assert_eq!(left(&world), 0, "{faults}: an export was left behind");
    }
}

#[test]
fn what_goes_wrong_has_its_code_and_loses_no_export() {
    for (fault, code, outcome, exports, words) in [
        ("answer-lost@4", 3, "complete", 0, "the answer to a request was lost"),
        ("delete-refused", 3, "complete", 1, "page 'Export data'"),
        ("export-failed", 69, "source", 0, "nothing of the probe is left"),
        ("missing-key-column", 65, "contract", 1, "--request "),
        ("location-never", 69, "source", 1, "--request "),
        ("foreign-host", 65, "contract", 1, "--request "),
    ] {
        let world = world(fault, 20, "[wait]\nmax_looks_without_address = 2");
        let done = world.run(&PROBE);
        let log = std::fs::read_to_string(world.path("requests.jsonl")).unwrap();
        assert!(!fault.contains('@') || log.contains(fault.split('@').next().unwrap()), "no {fault}: {log}");
        assert_eq!(done.code, code, "{fault}\n{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains(words), "{fault}: {}", done.stdout);
        assert_eq!(report(&world)["outcome"], outcome, "{fault}");
        assert_eq!(left(&world), exports, "{fault}");
    }
    // Nothing is asked for when the service does not let anybody in, or the report has no place.
    let world = world("missing-role", 20, "");
    let done = world.run(&PROBE);
    assert_eq!((done.code, count(&world, "create")), (77, 0), "{}", done.stdout);
    assert!(done.stdout.contains("skipped  probe"), "{}", done.stdout);
    let world = self::world("", 20, "");
    let done = world.run(&[PROBE.as_slice(), &["--report", "nowhere/report.json"]].concat());
    assert_eq!((done.code, count(&world, "create")), (74, 0), "{}", done.stdout);
}

/// The words of a printed command behind the program.
fn printed_command(text: &str) -> Vec<String> {
    let (_, command) = text.split_once("not to ask again: ").unwrap_or_else(|| panic!("no command: {text}"));
    let line = command.lines().next().unwrap();
    line.split_whitespace().skip(1).map(|word| word.trim_matches('"').to_owned()).collect()
}

#[test]
fn a_probe_that_waits_too_long_is_gone_on_with() {
    for (faults, idempotency) in [("", "yes"), ("repeats-not-honoured", "no")] {
        // The second asks once, finds the export finished, and takes it.
        let world = world(faults, 1200, "[wait]\ndeadline_minutes = 0");
        let done = world.run(&PROBE);
        assert_eq!(done.code, 75, "{}\n{}", done.stdout, done.stderr);
        assert_eq!((report(&world)["outcome"].as_str(), count(&world, "create")), (Some("waiting"), 2));
        assert_eq!(count(&world, "delete"), 0, "an export in work was deleted");
        std::thread::sleep(Duration::from_millis(1500));
        let again = printed_command(&done.stdout);
        let done = world.run(&again.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(done.code, 0, "{again:?}\n{}\n{}", done.stdout, done.stderr);
        assert_eq!((count(&world, "create"), left(&world)), (0, 0), "{faults}");
        let report = report(&world);
        assert_eq!(report["outcome"], "complete");
        // The first command's findings are not lost.
        assert!(seen(&report, "idempotency").starts_with(idempotency), "{report:#}");
        assert!(seen(&report, "asked days").starts_with("inside the asked days (<1000)"), "{report:#}");
    }
    // One that the service does not know is not asked for.
    let world = world("", 20, "");
    let id = "93c2b3cf-c6d8-4e7e-ade1-007768a6eba4";
    let done = world.run(&[PROBE.as_slice(), &["--request", id]].concat());
    assert_eq!((done.code, count(&world, "create")), (69, 0), "{}", done.stdout);
}

#[cfg(unix)]
#[test]
fn an_interrupted_probe_says_how_to_go_on() {
    let world = world("", 60_000, "");
    let mut command = world.command(&PROBE);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(60);
    while count(&world, "status") < 2 {
        assert!(Instant::now() < patience, "the export was not looked at");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    let (_, hint) = told.split_once("hint: ").unwrap();
    assert!(printed_command(hint).iter().any(|word| word == "--request"), "{told}");
    // It was told before, too: a process can end without a word.
    assert_eq!(told.matches("--request").count(), 2, "{told}");
    assert_eq!(report(&world)["outcome"], "waiting");
}

#[test]
fn the_last_line_of_json_holds_the_report() {
    let world = world("", 20, "");
    let done = world.run(&[&["--json"], PROBE.as_slice()].concat());
    let last: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(last["schema"], "payoutlake.checkup.v1");
    assert_eq!(last["probe"], report(&world));
    assert_eq!(last["probe"]["schema"], "payoutlake.probe.v1");
}

/// The report without the names of columns, which are Microsoft's and may be in it.
fn without_names(report: &str, header: &csv::StringRecord) -> String {
    let mut names: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.iter().fold(report.to_owned(), |text, name| text.replace(name, ""))
}

/// Spellings of truth may be told.
const BOOLEANS: [&str; 2] = ["True", "False"];

/// The first of the values that stands in a text.
fn leaked<'a>(text: &str, values: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    values.into_iter().find(|value| text.contains(*value))
}

#[test]
fn no_value_and_no_name_stands_in_the_report() {
    // The service keeps the export, so that the test can read what the probe has read.
    let world = world("delete-refused repeats-not-honoured", 20, "");
    let done = world.run(&PROBE);
    assert_eq!(done.code, 3, "{}\n{}", done.stdout, done.stderr);
    let text = std::fs::read_to_string(world.path(REPORT)).unwrap();
    let (mut values, mut text_without_names) = (std::collections::BTreeSet::new(), text.clone());
    for (_, blob) in world.files("state/blobs") {
        let mut reader = csv::ReaderBuilder::new().from_reader(blob.as_slice());
        text_without_names = without_names(&text_without_names, reader.headers().unwrap());
        for record in reader.records() {
            let record = record.unwrap();
            // Short cells and short numbers stand in words of ours by chance.
            let told = |cell: &&str| {
                let short =
                    cell.len() < 4 || cell.bytes().all(|byte| byte.is_ascii_digit()) && cell.len() < 7;
                let fraction = cell.len() < 6 && cell.contains('.');
                !short && !fraction && !BOOLEANS.contains(cell)
            };
            values.extend(record.iter().filter(told).map(str::to_owned));
            // A part of a name is a name, too.
            let words = record.iter().flat_map(|cell| cell.split(|c: char| !c.is_alphabetic()));
            let named = |word: &&str| word.len() >= 4 && word.starts_with(char::is_uppercase);
            values.extend(words.filter(named).filter(|word| !BOOLEANS.contains(word)).map(str::to_owned));
        }
    }
    assert!(values.len() > 500, "the test searches for too little: {}", values.len());
    assert_eq!(leaked(&text_without_names, values.iter().map(String::as_str)), None, "{text}");
    // The search finds what it is for: each value, wherever it stands.
    for value in values.iter().step_by(50) {
        let spoilt = text_without_names.replacen("(<10", &format!("({value}"), 1);
        assert!(leaked(&spoilt, [value.as_str()]).is_some(), "{value}");
    }

    let requests: Vec<String> = world.files("state/requests").into_iter().map(|(name, _)| name).collect();
    assert_eq!(requests.len(), 2);
    let ids = requests.iter().map(|name| name.trim_end_matches(".json"));
    let who = ["contoso", sandbox::TENANT, sandbox::CLIENT_ID, sandbox::USERNAME, sandbox::PASSWORD];
    let address = ["127.0.0.1", "http", "sig=", "sig\"", "2026", "eyJ"];
    assert_eq!(leaked(&text, ids.chain(who).chain(address)), None, "{text}");
}
