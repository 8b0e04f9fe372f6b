//! The sandbox as people use it: its faults by name and by the number of a request, and its log.

use serde_json::Value;

use crate::world::World;

/// The log of a run: number, route, status, faults.
fn log(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.path("requests.jsonl")).unwrap();
    let mut records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record["number"].as_u64());
    records
}

#[test]
fn a_request_of_an_observed_run_can_be_hit() {
    let world = World::new();
    world.pipeline("request_log = \"requests.jsonl\"", "");
    world.ok(&["run", "pipeline.toml"]);
    let good = log(&world);
    let numbers: Vec<u64> = good.iter().map(|record| record["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=good.len() as u64).collect::<Vec<_>>());
    assert!(good.iter().all(|record| record["faults"].as_array().unwrap().is_empty()));

    // The first request that queues an export; a fresh world asks in the same order.
    let create = good.iter().find(|record| record["route"] == "create").unwrap()["number"].clone();
    let world = World::new();
    world.pipeline(&format!("request_log = \"requests.jsonl\"\nfaults = [\"error-503@{create}\"]"), "");
    world.ok(&["run", "pipeline.toml"]);
    let hit: Vec<Value> = log(&world).into_iter().filter(|record| record["status"] == 503).collect();
    assert_eq!(hit.len(), 1, "{hit:?}");
    assert_eq!((&hit[0]["number"], &hit[0]["faults"][0]), (&create, &Value::from("error-503")));
}

#[test]
fn faults_are_listed_and_a_misspelt_one_is_helped() {
    let world = World::new();
    let text = world.ok(&["sandbox", "--list-faults"]).stdout;
    let lines = world.ok(&["--json", "sandbox", "--list-faults"]).stdout;
    assert_eq!(lines.lines().count(), payoutlake::sandbox::FAULTS.len());
    for known in payoutlake::sandbox::FAULTS {
        assert!(text.contains(&format!("{}\n    {}\n", known.name, known.about)), "{}", known.name);
    }
    for (fault, told) in [
        ("eror-503", "did you mean 'error-503'"),
        ("error-503@0", "counted from 1"),
        ("mfa-required:payments", "belongs to no data set"),
        ("hang:payment", "is not a data set"),
    ] {
        let done = world.run(&["sandbox", "--fault", fault]);
        assert_eq!(done.code, 2, "{fault}");
        assert!(done.stderr.contains(told), "{fault}: {}", done.stderr);
    }
    let done = world.run(&["sandbox", "--delay", "soon"]);
    assert!(done.code == 2 && done.stderr.contains("90s"), "{}", done.stderr);
}
