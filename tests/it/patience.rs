//! A day of waiting, by the sandbox's clock: few requests, tokens that are refreshed before they are refused, and a process
//! that does not grow.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use payoutlake::sandbox;
use serde_json::Value;

use crate::world::{AS_OF, World};

/// Seconds of the sandbox in one of the test: a day takes 43 of them, and a token of 36 minutes lives for one.
const SPEED: &str = "2000";
/// Tokens of 36 minutes in a day.
const EXPIRIES: usize = 40;
/// A look every second with a fresh token for each; both and some more for the three requests of the end.
const FEW_HUNDRED: usize = 200;
/// KiB that the process may differ by: what the allocator keeps moves by some pages.
const GROWTH: u64 = 4 * 1024;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It ends with the test, however that ends.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Resident memory in KiB.
fn resident(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn a_day_of_waiting_costs_few_requests_and_no_memory() {
    let world = World::new();
    let args = "--json sandbox --months 1 --rows-per-month 50 --delay 24h --token-lifetime 36m --request-log log.jsonl";
    let args: Vec<&str> =
        args.split(' ').chain(["--clock-speed", SPEED, "--as-of", AS_OF, "--state-dir", "state"]).collect();
    let mut service = Ended(world.command(&args).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = serde_json::from_str::<Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    let (tenant, client, user, password) =
        (sandbox::TENANT, sandbox::CLIENT_ID, sandbox::USERNAME, sandbox::PASSWORD);
    world.write(
        "p.toml",
        format!(
            "version = 1\naccount = \"contoso\"\nlake = \"lake\"\ncleanup = \"delete\"\n\
             [source]\nkind = \"partner-center\"\n\
             [source.api]\napi = \"{url}v1.0/\"\nauthority = \"{url}\"\npoll = {{ first_secs = 0, max_secs = 1 }}\n\
             [source.auth]\nkind = \"username-password\"\ntenant = \"{tenant}\"\nclient_id = \"{client}\"\n\
             username = \"{user}\"\npassword = \"{password}\"\n\
             [[datasets]]\nname = \"payments\"\n"
        ),
    );
    let (began, mut early, mut late) = (Instant::now(), 0, 0);
    let mut run = Ended(world.command(&["run", "p.toml"]).stderr(Stdio::null()).spawn().unwrap());
    let code = loop {
        if let Some(status) = run.0.try_wait().unwrap() {
            break status.code();
        }
        let memory = resident(run.0.id()).unwrap_or(0);
        match began.elapsed().as_secs() {
            4..10 => early = early.max(memory),
            30..40 => late = late.max(memory),
            waited => assert!(waited < 120, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert_eq!(code, Some(0));
    assert!(began.elapsed() > Duration::from_secs(43), "it did not wait");
    assert!(early > 0 && late > 0, "nothing was measured: {early} and {late}");
    assert!(late <= early + GROWTH, "from {early} to {late} KiB");

    let log = std::fs::read_to_string(world.path("log.jsonl")).unwrap();
    let requests: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |key: &str, value: Value| requests.iter().filter(|request| request[key] == value).count();
    assert!(requests.len() <= FEW_HUNDRED, "{} requests", requests.len());
    assert!(count("route", "token".into()) >= EXPIRIES, "{} tokens", count("route", "token".into()));
    assert_eq!(count("status", 401.into()), 0, "a token was used until it was refused");
    assert_eq!((count("route", "create".into()), count("route", "delete".into())), (1, 1));
    assert_eq!(world.sql("lake", "SELECT count(*) > 0 FROM payments"), ["true"]);
}
