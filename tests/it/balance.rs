//! A row dropped or a cent changed, at each hop of the way, ends in 65 and commits nothing.

use crate::world::World;

#[test]
fn damage_at_any_hop_is_seen_and_named() {
    for hop in ["decode", "normalise", "write"] {
        for damage in ["drop-row", "change-cent"] {
            let world = World::new();
            world.pipeline("", "");
            let mut command = world.command(&["run", "pipeline.toml"]);
            command.env("PAYOUTLAKE_MUTATE", format!("{hop}:{damage}"));
            let done = world.finish(command);
            assert_eq!(done.code, 65, "{hop}:{damage}\n{}", done.stderr);
            assert!(done.stderr.contains("hop: "), "{hop}:{damage} does not name the hop\n{}", done.stderr);
            // The damaged export is not there; the others are.
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
