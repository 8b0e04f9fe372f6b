//! A lake at a glance, as a person likes to read it.

use std::fmt::Write as _;

use super::requests::orphans;
use super::{Style, number, print, print_json, table};
use crate::model::{
    AccountExpiry, LastRun, Lateness, Leaving, Outcome, Status, TableStatus, Uncovered, spans,
};

/// Prints the status on standard output: words, or one JSON document on one line.
pub fn print_status(style: Style, status: &Status) {
    match style.json {
        true => print_json("payoutlake.status.v1", status),
        false => print(&text(status)),
    }
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "lake {} at {}\n", status.lake, status.at);
    let rows: Vec<_> = status.tables.iter().map(row).collect();
    let header =
        ["table", "account", ">rows", ">files", ">size", "months", "newest export", ">version", "committed"];
    match rows.is_empty() {
        true => out.push_str("no tables yet: run a pipeline first\n"),
        false => out.push_str(&table(header, &rows)),
    }
    for one in status.tables.iter().filter(|one| !one.gaps.is_empty()) {
        let gaps: Vec<String> = one.gaps.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            out,
            "! {} of {}: nothing was ever loaded of {}",
            one.table,
            one.account,
            gaps.join(", ")
        );
    }
    status.uncovered.iter().for_each(|one| out.push_str(&leaving(one, status.last_run.as_ref())));
    out.push('\n');
    match &status.last_run {
        Some(run) => out.push_str(&last_run(run)),
        None => out.push_str("last run:     none\n"),
    }
    for run in &status.at_work {
        let _ = writeln!(out, "at work:      run {} on {} since {}", run.run_id, run.host, run.since);
    }
    status.expiries.iter().for_each(|one| out.push_str(&expiry(one)));
    let _ = writeln!(out, "open exports: {}", status.open_exports.len());
    for export in &status.open_exports {
        let window = export.window.map(|window| format!(" {window}")).unwrap_or_default();
        let word = export.status.as_deref().unwrap_or("not answered yet");
        let (dataset, account) = (&export.dataset, &export.account);
        let _ = writeln!(out, "  {dataset}{window} of {account}: {word}, asked for {}", export.planned_at);
        if export.orphans > 0 {
            let _ = writeln!(out, "    {}", orphans(export.orphans));
        }
    }
    let _ = writeln!(out, "held windows: {}", status.held.len());
    for held in &status.held {
        let _ = writeln!(out, "  {}  {} since {}: {}", held.id, held.scope, held.held_at, held.reason);
    }
    let _ = writeln!(out, "tags:         {}", status.tags);
    status.lateness.iter().for_each(|late| out.push_str(&lateness(late)));
    out
}

fn expiry(one: &AccountExpiry) -> String {
    let AccountExpiry { account, expiry } = one;
    match expiry.near {
        true => {
            format!("! sign-in of {account}: {expiry}: {}\n", expiry.advice("payoutlake auth login PIPELINE"))
        }
        false => format!("sign-in:      {account}: {expiry}\n"),
    }
}

/// Months that leave for good within so many days are counted down one by one.
const SOON_DAYS: i32 = 92;

fn leaving(one: &Uncovered, last_run: Option<&LastRun>) -> String {
    let Uncovered { dataset, account, months } = one;
    let pipeline = last_run.filter(|run| run.account == *account);
    let pipeline = pipeline
        .and_then(|run| run.command.split_once(' ').filter(|(verb, _)| matches!(*verb, "run" | "backfill")));
    let pipeline = pipeline.map_or("PIPELINE", |(_, file)| file);
    let mut out = String::new();
    let (soon, later): (Vec<_>, Vec<_>) = months.iter().partition(|leaving| leaving.days_left <= SOON_DAYS);
    for Leaving { month, days_left } in soon {
        let days = if days_left == 1 { "1 day".to_owned() } else { format!("{days_left} days") };
        let _ = writeln!(
            out,
            "! {dataset} of {account}: {month} leaves Microsoft's reach in {days}, and no export covers it: \
             payoutlake backfill {pipeline} --from {month} --to {month}"
        );
    }
    if let Some(first) = later.first() {
        let all: Vec<_> = later.iter().map(|leaving| leaving.month).collect();
        let (first, days) = (first.month, first.days_left);
        let _ = writeln!(
            out,
            "  {dataset} of {account}: no export covers {} either; {first} can be asked for for {days} more days",
            spans(&all)
        );
    }
    out
}

fn row(one: &TableStatus) -> [String; 9] {
    [
        one.table.clone(),
        one.account.to_string(),
        number::count(one.rows),
        number::count(one.files),
        number::bytes(one.bytes),
        one.months.map(|months| months.to_string()).unwrap_or_default(),
        one.extracted_at.map(|at| at.to_string()).unwrap_or_default(),
        one.version.to_string(),
        one.committed_at.to_string(),
    ]
}

fn last_run(run: &LastRun) -> String {
    let kinds = [
        (Outcome::Published, "published"),
        (Outcome::Unchanged, "unchanged"),
        (Outcome::Held, "held"),
        (Outcome::Failed, "failed"),
        (Outcome::Pending, "pending"),
    ];
    let counted =
        kinds.iter().map(|(kind, word)| (run.outcomes.iter().filter(|one| *one == kind).count(), word));
    let told: Vec<String> =
        counted.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let told = if told.is_empty() { "no windows".to_owned() } else { told.join(", ") };
    format!(
        "last run:     {} of {}, ended {}: {told}, exit code {}\n",
        run.command, run.account, run.finished_at, run.exit_code
    )
}

fn lateness(late: &Lateness) -> String {
    let mut out =
        format!("\nhow late {} still changes (nights with changes: {})\n", late.dataset, late.nights);
    let rows: Vec<_> =
        late.ages.iter().map(|age| [age.months.to_string(), number::count(age.changed_keys)]).collect();
    out.push_str(&table([">months after", ">changed keys"], &rows));
    match late.proposed {
        Some(tiers) => {
            let _ = writeln!(
                out,
                "proposed look-back: nightly {} months, weekly {}, monthly {}",
                tiers.nightly_months, tiers.weekly_months, tiers.monthly_months
            );
        }
        None => {
            let _ = writeln!(
                out,
                "proposed look-back: not measured yet, it takes {} nights with changes",
                late.nights_needed
            );
        }
    }
    out
}
