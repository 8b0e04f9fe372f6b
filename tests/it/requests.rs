//! `requests`: what the ledger and the service know of an export, and its removal.

use serde_json::Value;

use crate::world::{Done, World};

fn listed(world: &World, args: &[&str]) -> Vec<Value> {
    let done = world.ok(&[&["--json", "requests", "list", "pipeline.toml"], args].concat());
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("-")
}

/// Exports that take so long are asked for, and are not finished when the tests look at them.
fn asked(world: &World, delay_millis: u64, sandbox: &str) -> Done {
    world.pipeline(sandbox, "");
    let file = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let delay = format!("delay_millis = {delay_millis}");
    world.write("pipeline.toml", file.replace("delay_millis = 20", &delay));
    world.run(&["run", "pipeline.toml", "--no-wait"])
}

#[test]
fn an_export_is_followed_from_its_request_to_its_end() {
    let world = World::new();
    let done = asked(&world, 3_000, "");
    assert_eq!(done.code, 75, "{}", done.stderr);

    let open = listed(&world, &[]);
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(open.iter().all(|export| text(export, "step") == "waiting" && export["at_work"].is_null()));
    assert!(open.iter().all(|export| !text(&export["now"], "status").is_empty()), "{open:?}");
    let offline = listed(&world, &["--offline"]);
    assert!(offline.iter().all(|export| export["now"] == "not_asked"), "{offline:?}");

    // An export in the making is not deleted, and nothing is without --yes.
    let id = text(&open[0], "request_id").to_owned();
    assert_eq!(world.run(&["requests", "delete", "pipeline.toml", &id]).code, 2);
    let refused = world.run(&["requests", "delete", "pipeline.toml", &id, "--yes"]);
    assert_eq!(refused.code, 75, "{}", refused.stderr);
    assert!(refused.stderr.contains("still building"), "{}", refused.stderr);

    std::thread::sleep(std::time::Duration::from_millis(3_200));
    let deleted = world.ok(&["requests", "delete", "pipeline.toml", &id, "--yes"]);
    assert!(deleted.stderr.contains("deleted"), "{}", deleted.stderr);
    assert_eq!(listed(&world, &[]).len(), 3);
    let shown = world.ok(&["requests", "show", "pipeline.toml", &id]).stdout;
    for word in ["planned", "submitted", "deleted by a person", "not there"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }

    // The next run asks for the deleted one again, takes the others, and deletes them after the commit.
    world.ok(&["run", "pipeline.toml"]);
    assert!(listed(&world, &[]).is_empty());
    let all = listed(&world, &["--all"]);
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(
        all.iter().all(|export| text(export, "step") == "closed" && export["now"] == "unknown"),
        "{all:?}"
    );
    assert!(!shown.contains("sig="));
}

#[test]
fn an_unknown_id_is_a_mistake_and_a_service_that_refuses_hides_nothing() {
    let world = World::new();
    assert_eq!(asked(&world, 60_000, "").code, 75);
    let unknown = world.run(&["requests", "show", "pipeline.toml", "ffffffff"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
    let several = world.run(&["requests", "show", "pipeline.toml", "0"]);
    assert_eq!(several.code, 2, "{}", several.stderr);

    asked(&world, 60_000, "faults = [\"missing-role\"]");
    let refused = world.run(&["requests", "list", "pipeline.toml"]);
    assert_eq!(refused.code, 77, "{}", refused.stderr);
    assert_eq!(refused.stdout.matches("transaction_history").count(), 3, "{}", refused.stdout);
}

/// What a killed or refused clean-up leaves at the service is deleted by the next run; with `keep` nothing is.
#[test]
fn what_could_not_be_deleted_is_deleted_by_the_next_run() {
    let world = World::new();
    let hasty = "[source.api]\nretry_attempts = 1\npoll = { first_secs = 0, max_secs = 1 }";
    world.pipeline(&format!("faults = [\"delete-fails\"]\n{hasty}"), "");
    world.ok(&["run", "pipeline.toml"]);
    let open = listed(&world, &["--offline"]);
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(open.iter().all(|export| text(export, "step") == "to_be_deleted"), "{open:?}");
    world.pipeline("", "");
    world.ok(&["run", "pipeline.toml"]);
    assert!(listed(&world, &[]).is_empty());

    let world = World::new();
    world.pipeline("", "");
    let file = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    world.write("pipeline.toml", file.replace("cleanup = \"delete\"", "cleanup = \"keep\""));
    world.ok(&["run", "pipeline.toml"]);
    let kept = listed(&world, &["--all"]);
    assert!(kept.iter().all(|export| export["now"]["status"] == "Completed"), "{kept:?}");
    assert_eq!(kept.len(), 4);
    // A person deletes one of them later: its record says so, and nothing else changes.
    let (export, run) = (text(&kept[0], "export").to_owned(), text(&kept[0], "run_id").to_owned());
    let records = world.exports("lake");
    world.ok(&["requests", "delete", "pipeline.toml", &export, "--yes"]);
    let mut after = world.exports("lake");
    let noted = after.insert(export.clone(), records[&export].clone()).unwrap();
    assert_eq!(after, records);
    assert_ne!(noted, records[&export]);
    let shown = world.ok(&["--json", "requests", "show", "pipeline.toml", &export]).stdout;
    let shown: Value = serde_json::from_str(shown.trim()).unwrap();
    let last = shown["events"].as_array().unwrap().last().unwrap();
    assert_eq!(last["event"]["event"], "deleted", "{shown}");
    assert_ne!(last["run_id"], run.as_str(), "{shown}");
}

/// Without a pipeline file, on a machine that has no sign-in.
#[test]
fn a_lake_tells_what_was_asked_for() {
    let world = World::new();
    assert_eq!(asked(&world, 60_000, "").code, 75);
    std::fs::remove_file(world.path("pipeline.toml")).unwrap();
    let look = |args: &[&str]| -> Vec<Value> {
        let done = world.ok(&[&["--json", "requests"], args].concat());
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let open = look(&["list", "--lake", "lake"]);
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(open.iter().all(|export| export["now"] == "not_asked" && text(export, "step") == "waiting"));
    let one = look(&["show", "--lake", "lake", text(&open[2], "export")]);
    assert_eq!((one.len(), &one[0]["export"]), (1, &open[2]["export"]));
    assert!(one[0]["events"].as_array().unwrap().len() > 1, "{one:?}");

    let nowhere = world.run(&["requests", "list", "--lake", "elsewhere"]);
    assert_eq!(nowhere.code, 74, "{}", nowhere.stderr);
    for wrong in [&["list"][..], &["show", "abc"], &["list", "pipeline.toml", "--lake", "lake"]] {
        assert_eq!(world.run(&[&["requests"], wrong].concat()).code, 2, "{wrong:?}");
    }
}

/// A pipeline that does not pull the dataset any more cannot ask for the removal, and does not claim it.
#[test]
fn nothing_is_called_deleted_that_was_not() {
    let world = World::new();
    let hasty = "[source.api]\nretry_attempts = 1\npoll = { first_secs = 0, max_secs = 1 }";
    world.pipeline(&format!("faults = [\"delete-fails\"]\n{hasty}"), "");
    world.ok(&["run", "pipeline.toml"]);
    world.pipeline("", "");
    let whole = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
    let narrow = whole.replace("[[datasets]]\nname = \"payments\"\n", "");
    assert_ne!(narrow, whole);
    world.write("narrow.toml", narrow);
    world.ok(&["run", "narrow.toml"]);
    let open = listed(&world, &[]);
    assert_eq!(open.len(), 1, "{open:?}");
    assert_eq!((text(&open[0], "dataset"), text(&open[0], "step")), ("payments", "to_be_deleted"));
    assert_eq!(open[0]["now"]["status"], "Completed", "{open:?}");
}

/// A request that never left the machine is no export at the service.
#[test]
fn a_service_that_is_down_leaves_no_orphan() {
    let world = World::new();
    let hasty = "[source.api]\nretry_attempts = 1\npoll = { first_secs = 0, max_secs = 1 }";
    world.pipeline(&format!("faults = [\"missing-role\"]\n{hasty}"), "");
    for _ in 0..2 {
        assert_eq!(world.run(&["run", "pipeline.toml"]).code, 77);
    }
    let open = listed(&world, &["--offline"]);
    assert_eq!(open.len(), 4, "{open:?}");
    assert!(open.iter().all(|export| export["orphans"] == 0), "{open:?}");
}
