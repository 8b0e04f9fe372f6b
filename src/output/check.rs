//! What `check` found: one line each, one hint each.

use std::fmt::Write as _;

use super::{Style, print, print_json};
use crate::model::{Checkup, Finding, Verdict};

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
    let findings = checkup.probe.iter().filter(|_| !style.quiet).flat_map(|report| &report.findings);
    found(findings, &mut out);
    print(&out);
}

/// One line for each finding; columns without a value share one.
fn found<'a>(findings: impl Iterator<Item = &'a Finding>, out: &mut String) {
    let mut blank: Vec<(&str, Vec<&str>)> = Vec::new();
    for Finding { about, column, seen } in findings {
        let seen = seen.join("; ");
        let _ = match column {
            Some(column) if seen.is_empty() => {
                match blank.iter_mut().find(|(kind, _)| kind == about) {
                    Some((_, columns)) => columns.push(column),
                    None => blank.push((about, vec![column])),
                }
                Ok(())
            }
            Some(column) => writeln!(out, "found    {about:<13}  {column}: {seen}"),
            None if seen.is_empty() => writeln!(out, "-        {about:<13}  not seen"),
            None => writeln!(out, "found    {about:<13}  {seen}"),
        };
    }
    for (about, columns) in blank {
        let _ = writeln!(out, "-        {about:<13}  no value in {}", columns.join(", "));
    }
}
