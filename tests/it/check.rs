//! `check`: what a run needs, one line each, and an exit code by the worst of them.

use crate::world::{Done, World};

fn check(world: &World) -> Done {
    world.run(&["check", "pipeline.toml"])
}

/// The line of one check: the verdict, its name, and what was seen.
fn line<'a>(done: &'a Done, name: &str) -> &'a str {
    let is_it =
        |line: &&str| line.split_once(' ').is_some_and(|(_, rest)| rest.trim_start().starts_with(name));
    done.stdout
        .lines()
        .find(is_it)
        .unwrap_or_else(|| panic!("no line {name}\n{}\n{}", done.stdout, done.stderr))
}

#[test]
fn a_sound_pipeline_passes_before_and_after_its_first_run() {
    let world = World::new();
    world.pipeline("", "");
    let first = check(&world);
    assert_eq!(first.code, 0, "{}\n{}", first.stdout, first.stderr);
    assert!(line(&first, "sign-in").contains("proved by pwd"), "{}", first.stdout);
    assert!(line(&first, "lake").contains("not there yet"), "{}", first.stdout);
    assert!(!world.path("lake").exists(), "a check made the lake");
    assert!(line(&first, "API").contains("404"), "{}", first.stdout);

    world.ok(&["run", "pipeline.toml"]);
    let before = world.files("lake");
    let second = check(&world);
    assert_eq!(second.code, 0, "{}\n{}", second.stdout, second.stderr);
    assert!(line(&second, "schema").contains("transaction_history is v"), "{}", second.stdout);
    assert_eq!(world.files("lake"), before, "a check left something behind");
}

#[test]
fn what_is_wrong_is_named_with_its_code() {
    for (fault, name, words) in [
        ("missing-role", "API", "may not do this"),
        ("wrong-password", "sign-in", "wrong user name or password"),
    ] {
        let world = World::new();
        world.pipeline(&format!("faults = [\"{fault}\"]"), "");
        let done = check(&world);
        assert_eq!(done.code, 77, "{fault}\n{}\n{}", done.stdout, done.stderr);
        let found = line(&done, name);
        assert!(found.starts_with("failed") && found.contains(words), "{fault}: {}", done.stdout);
        // The rest is looked at all the same.
        assert!(line(&done, "lake").contains("not there yet"), "{fault}: {}", done.stdout);
    }
    // A file stands where the lake should be.
    let world = World::new();
    world.pipeline("", "");
    world.write("lake", "not a folder");
    let done = check(&world);
    assert_eq!(done.code, 74, "{}\n{}", done.stdout, done.stderr);
    // A column that nobody knows is kept, and told.
    let world = World::new();
    world.pipeline("faults = [\"unknown-column\"]", "");
    world.run(&["run", "pipeline.toml"]);
    let done = check(&world);
    assert_eq!(done.code, 3, "{}\n{}", done.stdout, done.stderr);
    let schema = line(&done, "schema");
    assert!(schema.starts_with("warning") && schema.contains("no version knows"), "{}", done.stdout);
}
