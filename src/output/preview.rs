//! What a run would ask for, as a person likes to read it.

use std::fmt::Write as _;

use super::{Style, number, print, print_json};
use crate::model::{Estimate, Measured, PlannedExport, Preview, reasons_in_words, spans};

/// Prints a preview on standard output: words; or one JSON line for each export, and a summary as the last line.
pub fn print_preview(style: Style, preview: &Preview, pipeline: &str) {
    if !style.json {
        return print(&text(preview, pipeline));
    }
    for export in &preview.exports {
        print_json("payoutlake.plan.v1", export);
    }
    let Preview { lake, account, first_use, estimate, left_out, fresh, .. } = preview;
    let summary = serde_json::json!({
        "lake": lake,
        "account": account,
        "first_use": first_use,
        "estimate": estimate,
        "left_out": left_out,
        "fresh": fresh,
    });
    print_json("payoutlake.plan_summary.v1", &summary);
}

fn text(preview: &Preview, pipeline: &str) -> String {
    let mut out = String::new();
    if preview.first_use {
        let (lake, account) = (&preview.lake, &preview.account);
        let _ = writeln!(out, "first use: {lake} has nothing of {account} yet\n");
    }
    for export in &preview.exports {
        let _ = writeln!(out, "{}", one(export));
    }
    if !preview.fresh.is_empty() {
        let months = spans(&preview.fresh);
        let _ =
            writeln!(out, "left out, covered newly enough (--again asks for them all the same): {months}");
    }
    out.push_str(&estimate(&preview.estimate));
    for left_out in &preview.left_out {
        let (Some(first), Some(last)) = (left_out.months.first(), left_out.months.last()) else { continue };
        let _ = writeln!(
            out,
            "the service can still reach {} more months of {}, {}: payoutlake backfill {pipeline} --from {first} --to {last}",
            left_out.months.len(),
            left_out.dataset,
            spans(&left_out.months)
        );
    }
    out
}

fn one(export: &PlannedExport) -> String {
    let mut out = export.dataset.to_string();
    if let Some(window) = export.window {
        let _ = write!(out, " {window}");
    }
    out.push('\n');
    for (index, line) in reasons_in_words(&export.why).iter().enumerate() {
        let _ = writeln!(out, "  {:8} {line}", if index == 0 { "why:" } else { "" });
    }
    let _ = writeln!(out, "  request: POST {}", export.url);
    let filter = export.filter.as_deref().unwrap_or("none: all that the service can reach");
    let _ = writeln!(out, "  filter:  {filter}");
    let _ = writeln!(out, "  effect:  {}", effect(export));
    if let Some(at) = export.asked_at {
        let _ = writeln!(out, "  open:    asked for {at} by an earlier run; this one goes on with it");
    }
    out
}

fn effect(export: &PlannedExport) -> String {
    let rows = number::count(export.rows_there);
    let since = export.covered_at.map(|at| format!(", as they were {at}")).unwrap_or_default();
    match (export.rows_there, export.replaces, export.window) {
        (0, true, Some(window)) => format!("replaces the months {window}: nothing is there yet"),
        (_, true, Some(window)) => format!("replaces the months {window}: {rows} rows are there{since}"),
        (0, ..) => "merges by key: nothing is there yet".to_owned(),
        (_, false, None) => format!("merges by key with {rows} rows{since}"),
        _ => format!("filtered, so it covers nothing: merges by key with {rows} rows"),
    }
}

fn estimate(estimate: &Estimate) -> String {
    let Estimate { exports, months, at_a_time, at_most_hours, rows, last_run } = estimate;
    if *exports == 0 {
        return "nothing is due\n".to_owned();
    }
    let mut out = format!(
        "{}, {}; the service promises each within 24 hours, {at_a_time} wait at a time: at most {at_most_hours} hours\n",
        counted(*exports, "export"),
        counted(*months, "month")
    );
    if let Some(rows) = rows {
        let _ = writeln!(out, "about {} rows, by what the lake has of such months", number::count(*rows));
    }
    if let Some(Measured { exports, seconds }) = last_run {
        let took = number::duration(jiff::SignedDuration::from_secs(*seconds));
        let _ = writeln!(out, "the newest run brought {} in {took}", counted(*exports, "export"));
    }
    out
}

fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
