//! What `check` found: one line each, one hint each.

use std::fmt::Write as _;

use super::{Style, print, print_json};
use crate::model::{Checkup, Verdict};

/// Prints the checks on standard output: words, or one JSON line each and a last one with all of them.
pub fn print_checkup(style: Style, checkup: &Checkup) {
    if style.json {
        checkup.checks.iter().for_each(|check| print_json("payoutlake.check.v1", check));
        print_json("payoutlake.checkup.v1", checkup);
        return;
    }
    let mut out = String::new();
    for check in &checkup.checks {
        if style.quiet && check.verdict != Verdict::Failed {
            continue;
        }
        let _ = writeln!(out, "{:<7}  {:<13}  {}", check.verdict.as_str(), check.check, check.seen);
        if let Some(hint) = &check.hint {
            let _ = writeln!(out, "{:25}hint: {hint}", "");
        }
    }
    print(&out);
}
