//! The table of rooms: who may import whom. The test reads `src/` and holds it.

use std::path::Path;

/// Room and layer. A room imports rooms of lower layers only; `model` and its neighbours on the ground import
/// each other not at all.
const ROOMS: [(&str, u32); 17] = [
    ("model", 0),
    ("error", 0),
    ("secret", 0),
    ("event", 0),
    ("schema", 1),
    ("lake", 1),
    ("engine", 1),
    ("source", 2),
    ("decode", 2),
    ("normalise", 2),
    ("load", 2),
    ("query", 2),
    ("sandbox", 2),
    ("pipeline", 3),
    ("config", 4),
    ("output", 4),
    ("cli", 5),
];

/// What a room never imports although it is below it, or what it never does.
const NEVER: [(&str, &[&str]); 9] = [
    ("sandbox", &["crate::schema", "crate::source", "crate::normalise", "crate::lake", "crate::engine"]),
    ("source", &["crate::schema", "arrow::", "zip::", "csv_core::", "std::env"]),
    ("decode", &["reqwest", "crate::schema", "crate::lake"]),
    ("normalise", &["std::fs", "tokio", "std::time", "Timestamp::now", "f64", "f32", "object_store"]),
    ("load", &["reqwest"]),
    ("model", &["tokio", "std::fs"]),
    ("pipeline", &["clap", "println", "print!("]),
    ("output", &["crate::pipeline", "crate::config"]),
    ("query", &["put_opts", ".create(", "install("]),
];

fn layer(room: &str) -> u32 {
    ROOMS
        .iter()
        .find(|(name, _)| *name == room)
        .unwrap_or_else(|| panic!("`{room}` is not in the table of rooms"))
        .1
}

/// Every source file with its room, tests taken off.
fn sources() -> Vec<(String, String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let prefix = format!("{}/", src.display());
    let room_of = |path: &str| path.trim_start_matches(&prefix).split(['/', '.']).next().unwrap().to_owned();
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    files
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            (room_of(&path), path, code)
        })
        .filter(|(room, ..)| room != "lib" && room != "main")
        .collect()
}

/// Lines of code without comments; a `use` that goes over several lines is one.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        match lines.last_mut() {
            Some(last) if open => last.push_str(line),
            _ => lines.push(line.to_owned()),
        }
        let starts = line.starts_with("use ") || line.starts_with("pub use ");
        open = (open || starts) && !line.ends_with(';');
    }
    lines
}

/// Rooms that a line names: `crate::lake::Lake`, `use crate::{decode, engine}`.
fn named_rooms(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in line.split("crate::").skip(1) {
        if let Some(list) = part.strip_prefix('{') {
            let list = list.split('}').next().unwrap_or(list);
            found.extend(list.split(',').map(|item| item.trim().split("::").next().unwrap_or("").to_owned()));
        } else {
            found
                .push(part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned());
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

#[test]
fn rooms_import_downward_only() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (room, path, text) in sources() {
        for line in code_lines(&text) {
            for named in named_rooms(&line) {
                seen += 1;
                if named != room && layer(&named) >= layer(&room) {
                    wrong.push(format!("{path}: `{room}` names `{named}`: {line}"));
                }
            }
        }
    }
    assert!(seen > 100, "the test reads too little: {seen} imports");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rooms_keep_their_promises() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        let Some((_, never)) = NEVER.iter().find(|(name, _)| *name == room) else { continue };
        for line in code_lines(&text) {
            for word in *never {
                if line.contains(*word) {
                    wrong.push(format!("{path}: {word}: {line}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_room_reads_the_environment_and_one_prints() {
    let mut wrong = Vec::new();
    for (room, path, text) in sources() {
        for line in code_lines(&text) {
            let environment = line.contains("std::env::") || line.contains("env::var");
            let prints =
                ["println!", "eprintln!", "print!(", "stdout()", "stderr()"].iter().any(|w| line.contains(w));
            // The command line asks whether standard error is a terminal; it writes nothing.
            let asks = line.contains("is_terminal");
            if (environment && room != "config") || (prints && room != "output" && !asks) {
                wrong.push(format!("{path}: {line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_exists() {
    let rooms: std::collections::BTreeSet<String> = sources().into_iter().map(|(room, ..)| room).collect();
    let table: std::collections::BTreeSet<String> =
        ROOMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(rooms, table);
}
