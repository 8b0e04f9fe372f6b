//! `check`: everything that a run needs, tried without an export and without leaving anything behind.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use payoutlake::sandbox;
use serde_json::Value;

use crate::world::{AS_OF, Done, World};

/// `payoutlake sandbox` as a process of its own.
struct Service {
    child: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It ends with the test, however that ends.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    fn start(world: &World, more: &[&str]) -> Service {
        let mut args = vec!["--json", "sandbox", "--months", "2", "--rows-per-month", "50", "--as-of", AS_OF];
        args.extend(["--delay-millis", "20"]);
        args.extend(more);
        let mut child = world.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap();
        Service { child, url: told["url"].as_str().unwrap().to_owned() }
    }
}

/// A pipeline on a service at `url`; the API may stand elsewhere than the sign-in.
fn pipeline(world: &World, url: &str, api: &str, password: &str) {
    let text = format!(
        "version = 1\naccount = \"contoso\"\nlake = \"lake\"\n\
         [source]\nkind = \"partner-center\"\n\
         [source.api]\napi = \"{api}v1.0/\"\nauthority = \"{url}\"\nretry_first_delay_millis = 10\n\
         poll = {{ first_secs = 0, max_secs = 1 }}\n\
         [source.auth]\nkind = \"username-password\"\ntenant = \"{}\"\nclient_id = \"{}\"\nusername = \"{}\"\npassword = \"{password}\"\n\
         [[datasets]]\nname = \"transaction_history\"\nmonths = 2\n[[datasets]]\nname = \"payments\"\n",
        sandbox::TENANT,
        sandbox::CLIENT_ID,
        sandbox::USERNAME,
    );
    world.write("p.toml", text);
}

/// The verdict of each check, in order: `sign-in=ok`.
fn verdicts(done: &Done) -> Vec<String> {
    let lines = done.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let checks = lines.filter(|line| line["schema"] == "payoutlake.check.v1");
    checks.map(|c| format!("{}={}", c["check"].as_str().unwrap(), c["verdict"].as_str().unwrap())).collect()
}

const NAMES: [&str; 7] = ["pipeline file", "sign-in", "API", "blob hosts", "lake", "schema", "clock"];

#[track_caller]
fn assert_verdicts(done: &Done, code: i32, wanted: [&str; 7]) {
    let wanted: Vec<String> =
        NAMES.iter().zip(wanted).map(|(name, verdict)| format!("{name}={verdict}")).collect();
    assert_eq!((done.code, verdicts(done)), (code, wanted), "{}{}", done.stdout, done.stderr);
    let last: Value = serde_json::from_str(done.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["schema"], &last["exit_code"]), (&"payoutlake.checkup.v1".into(), &code.into()));
}

#[test]
fn all_is_well_and_nothing_is_left_behind() {
    let world = World::new();
    world.pipeline("request_log = \"requests.jsonl\"", "");
    let done = world.run(&["--json", "check", "pipeline.toml"]);
    assert_verdicts(&done, 0, ["ok", "ok", "ok", "ok", "ok", "skipped", "ok"]);
    assert!(!world.path("lake").exists(), "a check makes no lake");
    let names = std::fs::read_dir(world.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("payoutlake-check")));
    let log = std::fs::read_to_string(world.path("requests.jsonl")).unwrap();
    assert!(log.contains("\"status\":404") && !log.contains("\"create\""), "{log}");

    world.ok(&["run", "pipeline.toml"]);
    let before = world.files("lake");
    let done = world.ok(&["--json", "check", "pipeline.toml"]);
    assert_verdicts(&done, 0, ["ok"; 7]);
    assert_eq!(world.files("lake"), before, "a check changes nothing");
    let words = world.ok(&["check", "pipeline.toml"]).stdout;
    assert!(words.contains("transaction_history is v9; payments is v3"), "{words}");
    assert!(words.contains("a second create refused") && words.lines().count() == 7, "{words}");
    assert_eq!(world.ok(&["--quiet", "check", "pipeline.toml"]).stdout, "");
}

#[test]
fn columns_that_nobody_knows_are_told() {
    let world = World::new();
    world.pipeline("faults = [\"unknown-column:payments\"]", "");
    world.run(&["run", "pipeline.toml"]);
    let done = world.run(&["--json", "check", "pipeline.toml"]);
    assert_verdicts(&done, 3, ["ok", "ok", "ok", "ok", "ok", "warning", "ok"]);
    assert!(done.stdout.contains("no version knows") && done.stdout.contains("_pc_extra"), "{}", done.stdout);
}

#[test]
fn each_thing_that_is_wrong_is_one_line_and_one_code() {
    let world = World::new();
    world.write("p.toml", "version = 1\nacount = \"contoso\"\n");
    let done = world.run(&["--json", "check", "p.toml"]);
    let mut wanted = ["skipped"; 7];
    wanted[0] = "failed";
    assert_verdicts(&done, 78, wanted);

    let service = Service::start(&world, &[]);
    pipeline(&world, &service.url, &service.url, "canary-password");
    let done = world.run(&["--json", "check", "p.toml"]);
    assert_verdicts(&done, 77, ["ok", "failed", "skipped", "ok", "ok", "skipped", "skipped"]);
    assert!(!format!("{}{}", done.stdout, done.stderr).contains("canary"));
    let words = world.run(&["check", "p.toml"]).stdout;
    assert!(words.contains("failed   sign-in") && words.contains("hint: "), "{words}");

    pipeline(&world, &service.url, "http://127.0.0.1:9/", sandbox::PASSWORD);
    let done = world.run(&["--json", "check", "p.toml"]);
    assert_verdicts(&done, 69, ["ok", "ok", "failed", "ok", "ok", "skipped", "skipped"]);

    // The worst of two is the code.
    pipeline(&world, &service.url, "http://127.0.0.1:9/", sandbox::PASSWORD);
    world.write("lake", "a file where the lake should be");
    let done = world.run(&["--json", "check", "p.toml"]);
    assert_verdicts(&done, 74, ["ok", "ok", "failed", "ok", "failed", "skipped", "skipped"]);
}

#[test]
fn a_missing_role_is_told_with_the_role_to_ask_for() {
    let world = World::new();
    let service = Service::start(&world, &["--fault", "missing-role"]);
    pipeline(&world, &service.url, &service.url, sandbox::PASSWORD);
    let done = world.run(&["--json", "check", "p.toml"]);
    assert_verdicts(&done, 77, ["ok", "ok", "failed", "ok", "ok", "skipped", "skipped"]);
    assert!(done.stdout.contains("Finance Contributor"), "{}", done.stdout);
}

#[cfg(target_os = "linux")]
#[test]
fn a_lake_that_cannot_be_written_is_74() {
    let world = World::new();
    world.pipeline("", "");
    // Nobody can write there, not even root.
    let done = world.run(&["--json", "check", "pipeline.toml", "--lake", "/proc/lake"]);
    assert_verdicts(&done, 74, ["ok", "ok", "ok", "ok", "failed", "skipped", "ok"]);
}
