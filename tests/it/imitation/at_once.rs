//! Two runs of one pipeline: at the same moment, and one that sleeps while the other does its work.

use super::*;

fn signal(run: &Running, name: &str) {
    let sent = Command::new("kill").args([name, &run.0.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Makes the notes of all runs so old that they count as over. It stands for the two minutes in which a run that sleeps
/// does not renew its own.
fn age_notes(world: &World) {
    for (name, note) in world.files("lake/_payoutlake/running") {
        let mut note: Value = serde_json::from_slice(&note).unwrap();
        note["renewed_at"] = "2026-01-01T00:00:00Z".into();
        world.write(&format!("lake/_payoutlake/running/{name}"), note.to_string());
    }
}

/// Every file that is the truth: not the notes of runs at work, nor what they told, nor what they had begun.
fn truth(world: &World) -> Vec<(String, Vec<u8>)> {
    let other = ["_payoutlake/running/", "_payoutlake/runs/", "_payoutlake/tmp/"];
    let mut files = world.files("lake");
    files.retain(|(name, _)| !other.iter().any(|folder| name.starts_with(folder)));
    files
}

/// A laptop that was closed in the middle of a run, or a virtual machine that was paused: another run takes its exports
/// over, and when it wakes up it changes nothing.
#[test]
fn a_run_that_was_overtaken_in_its_sleep_changes_nothing() {
    // While it waits for the exports, and while it downloads them.
    for (styles, held, kind) in
        [("documented", "--hold-file", "status"), ("trickle", "--halfway-file", "blob")]
    {
        let world = World::new();
        let plan = Plan::of(&world);
        let gate = world.path("gate");
        let imitation = Imitation::serve(&world, &[held, gate.to_str().unwrap()], styles);
        imitation.pipeline(&world, PASSWORD, 1);
        let sleeper = Running::start(&world);
        // One that is polled is known by its id in the ledger, too.
        until("every export is polled, and it is in the middle", || {
            let requests = imitation.requests();
            let polled: BTreeSet<String> =
                of_kind(&requests, "status").map(|request| request["export"].to_string()).collect();
            polled.len() == plan.windows.len() && count(&requests, kind) >= plan.windows.len()
        });
        signal(&sleeper, "-STOP");

        // Its note is fresh: nobody takes its exports away.
        let early = world.run(&["run", "imitation.toml", "--no-wait"]);
        assert_eq!(early.code, 75, "{styles}\n{}", early.stderr);
        assert!(early.stderr.contains("another run"), "{}", early.stderr);

        age_notes(&world);
        File::create(&gate).unwrap();
        let done = imitation.run(&world);
        assert_eq!(done.code, 0, "{styles}\n{}", done.stderr);
        let before = truth(&world);

        signal(&sleeper, "-CONT");
        let woken = sleeper.end();
        assert_eq!(woken.code, 75, "{styles}\n{}", woken.stderr);
        let after = truth(&world);
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{styles}");
        assert!(after == before, "{styles}: a file has changed");
        imitation.all_were_fetched();
        imitation.compare(&world, &plan, styles);
        imitation.check(&world, &plan, &good(styles, PASSWORD));
    }
}

/// Two schedulers start the same night: no window is asked for by both at once. What the first run fetches is no news any
/// more to the second, which asks again when the first one is done, and finds the same rows.
#[test]
fn two_runs_at_the_same_moment_take_turns() {
    let world = World::new();
    let plan = Plan::of(&world);
    let gate = world.path("gate");
    let imitation = Imitation::serve(&world, &["--hold-file", gate.to_str().unwrap()], "documented");
    imitation.pipeline(&world, PASSWORD, 1);
    let runs = [Running::start(&world), Running::start(&world)];
    until("every window is asked for", || count(&imitation.requests(), "create") >= plan.windows.len());
    // Both had the time to ask again.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(&imitation.requests(), "create"), plan.windows.len());
    File::create(&gate).unwrap();
    assert_eq!(runs.map(|run| run.end().code), [0, 0]);
    imitation.all_were_fetched();
    imitation.compare(&world, &plan, "documented");
    for table in ["transaction_history", "payments"] {
        let lines = world.ok(&["--json", "lake", "snapshots", "--lake", "lake", "--table", table]).stdout;
        let rewritten = lines.lines().filter(|line| line.contains("\"rewritten\":true")).count();
        // One commit for each window, whoever made it.
        let windows = plan.windows.iter().filter(|window| window.filter.is_empty() == (table == "payments"));
        assert_eq!(rewritten, windows.count(), "{table}: {lines}");
    }
}
