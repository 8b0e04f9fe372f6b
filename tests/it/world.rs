//! A folder of its own for each test, and the real binary run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a command left behind.
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct World {
    dir: tempfile::TempDir,
}

/// A small corpus: quick in a debug build, and still several exports of several months.
pub const ROWS_PER_MONTH: u32 = 300;
/// All tests stand at this day, so that figures do not change with the calendar.
pub const AS_OF: &str = "2026-11-23";

impl World {
    pub fn new() -> Self {
        World { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A pipeline on the embedded sandbox, with more lines for `[source.sandbox]` and for the rest of the file.
    pub fn pipeline(&self, sandbox: &str, rest: &str) -> PathBuf {
        let state = self.path("state");
        let text = format!(
            "version = 1\naccount = \"contoso\"\nlake = \"lake\"\ncleanup = \"delete\"\n{rest}\n\
             [source]\nkind = \"sandbox\"\n\
             [source.sandbox]\nseed = 7\nmonths = 5\nrows_per_month = {ROWS_PER_MONTH}\nas_of = \"{AS_OF}\"\n\
             delay_millis = 20\nstate_dir = {state:?}\n{sandbox}\n\
             [[datasets]]\nname = \"transaction_history\"\nmonths = 5\nmonths_per_export = 2\n\
             [[datasets]]\nname = \"payments\"\n"
        );
        self.write("pipeline.toml", text)
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payoutlake"));
        // Nothing of the machine's environment reaches the binary.
        command.env_clear().env("HOME", self.dir.path()).current_dir(self.dir.path()).args(args);
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        self.finish(self.command(args))
    }

    pub fn finish(&self, mut command: Command) -> Done {
        let Output { status, stdout, stderr } = command.output().unwrap();
        Done {
            code: status.code().unwrap_or(-1),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Done {
        let done = self.run(args);
        assert_eq!(done.code, 0, "payoutlake {args:?}\n{}\n{}", done.stdout, done.stderr);
        done
    }

    /// The rows of a query on `lake`, as CSV without the header.
    pub fn sql(&self, lake: &str, query: &str) -> Vec<String> {
        let done = self.ok(&["sql", "--lake", lake, "--format", "csv", query]);
        done.stdout.lines().skip(1).map(str::to_owned).collect()
    }

    /// The exports that a lake has asked for, open and closed: id, and every event as text.
    pub fn exports(&self, lake: &str) -> BTreeMap<String, String> {
        let mut exports: BTreeMap<String, String> = BTreeMap::new();
        for folder in ["ledger", "archive"] {
            for (name, event) in self.files(&format!("{lake}/_payoutlake/{folder}")) {
                // ledger/<export>/0001.json, archive/<month>/<export>.json
                let (first, second) = name.split_once('/').unwrap();
                let id = if folder == "ledger" { first } else { second.trim_end_matches(".json") };
                exports.entry(id.to_owned()).or_default().push_str(&String::from_utf8(event).unwrap());
            }
        }
        exports
    }

    /// Names and contents of the files below a folder, sorted.
    pub fn files(&self, folder: &str) -> Vec<(String, Vec<u8>)> {
        let root = self.path(folder);
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        found.sort();
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

/// Copies a folder with its files; files that were links to each other are links again.
pub fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap();
    assert!(copied.success());
}
