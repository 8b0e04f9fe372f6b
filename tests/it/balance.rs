//! A row dropped or a cent changed, at each hop of the way, ends in 65 and commits nothing.

use crate::world::World;

#[test]
fn damage_at_any_hop_is_seen_and_named() {
    // Where the damage is done, and the hop at which it must be seen.
    for (hop, damage, seen) in [
        ("decode", "drop-row", "decode"),
        ("decode", "change-cent", "normalise"),
        ("normalise", "drop-row", "stage"),
        ("normalise", "change-cent", "stage"),
        ("write", "drop-row", "write"),
        ("write", "change-cent", "write"),
    ] {
        {
            let world = World::new();
            world.pipeline("", "");
            let mut command = world.command(&["run", "pipeline.toml"]);
            command.env("PAYOUTLAKE_MUTATE", format!("{hop}:{damage}"));
            let done = world.finish(command);
            assert_eq!(done.code, 65, "{hop}:{damage}\n{}", done.stderr);
            assert!(done.stderr.contains(&format!("hop: {seen}\n")), "{hop}:{damage}\n{}", done.stderr);
            // The damaged export is not there, the three others are.
            let receipt: serde_json::Value =
                serde_json::from_slice(&world.files("lake/_payoutlake/runs")[0].1).unwrap();
            let windows = receipt["tables"].as_array().unwrap().iter();
            let outcomes: Vec<&serde_json::Value> = windows
                .flat_map(|table| table["windows"].as_array().unwrap())
                .map(|w| &w["outcome"])
                .collect();
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == "held").count(), 1, "{outcomes:?}");
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == "published").count(), 3, "{outcomes:?}");
            let healed = world.run(&["run", "pipeline.toml"]);
            assert_eq!(healed.code, 0, "{hop}:{damage}\n{}", healed.stderr);
        }
    }
}

#[test]
fn damage_while_merging_is_seen() {
    for damage in ["drop-row", "change-cent"] {
        let world = World::new();
        world.pipeline("", "");
        world.ok(&["run", "pipeline.toml"]);
        let text = std::fs::read_to_string(world.path("pipeline.toml")).unwrap();
        // A later day: payments change, and are merged by key.
        world.write("later.toml", text.replace("2026-11-23", "2026-11-30"));
        let before = world.files("lake/payments");
        let mut command = world.command(&["run", "later.toml"]);
        command.env("PAYOUTLAKE_MUTATE", format!("merge:{damage}"));
        let done = world.finish(command);
        assert_eq!(done.code, 65, "{damage}\n{}", done.stderr);
        assert!(done.stderr.contains("hop: merge"), "{damage}\n{}", done.stderr);
        assert_eq!(world.files("lake/payments"), before);
    }
}
