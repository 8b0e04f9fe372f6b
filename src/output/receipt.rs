//! The receipt as a person likes to read it.

use std::fmt::Write as _;

use super::{Style, number, print, say};
use crate::model::{Outcome, Receipt, StorageOps, TableReceipt, WindowReceipt, format_money};

/// Prints the receipt: words on standard error, or with `--json` a compact summary as the last line on standard
/// output, which orchestrators hand on to the next task. The whole receipt is in the lake.
pub fn print_receipt(style: Style, receipt: &Receipt, program: &str) {
    if style.json {
        print(&format!("{}\n", summary(receipt)));
    } else if style.quiet {
        let windows = receipt.tables.iter().flat_map(|table| table.windows.iter().map(move |w| (table, w)));
        for (table, window) in windows.filter(|(_, window)| window.error.is_some()) {
            say(&format!("{}\n{}", table.table, remarks(window)));
        }
    } else {
        say(&text(receipt, style, program));
    }
}

fn summary(receipt: &Receipt) -> serde_json::Value {
    let tables = receipt.tables.iter().map(|table| {
        let of = |outcome| table.windows.iter().filter(|window| window.outcome == outcome).count();
        let sum = |count: fn(&WindowReceipt) -> u64| table.windows.iter().map(count).sum::<u64>();
        let sums = table.headline.iter().flat_map(|column| {
            table.totals.of(column).map(move |(currency, units)| {
                serde_json::json!({ "column": column, "currency": currency, "sum": format_money(units) })
            })
        });
        serde_json::json!({
            "table": table.table,
            "manifest": table.manifest,
            "windows": {
                "published": of(Outcome::Published),
                "unchanged": of(Outcome::Unchanged),
                "held": of(Outcome::Held),
                "failed": of(Outcome::Failed),
                "pending": of(Outcome::Pending),
            },
            "rows_read": sum(|window| window.rows_read),
            "rows_written": sum(|window| window.rows_written),
            "rows_quarantined": sum(|window| window.rows_quarantined),
            "rows_discarded": sum(|window| window.rows_discarded),
            "files_written": table.files_written,
            "bytes_written": table.bytes_written,
            "table_rows": table.table_rows,
            "restatements": sum(|window| window.restatements),
            "sums": sums.collect::<Vec<_>>(),
        })
    });
    let errors = receipt.tables.iter().flat_map(|table| {
        table.windows.iter().filter(|window| window.error.is_some()).map(move |window| {
            serde_json::json!({
                "table": table.table,
                "window": window.window,
                "kind": window.error_kind,
                "error": window.error,
                "hint": window.hint,
                "held": window.held_id,
            })
        })
    });
    serde_json::json!({
        "schema": "payoutlake.summary.v1",
        "ts": receipt.finished_at,
        "level": if receipt.exit_code == 0 { "info" } else { "warn" },
        "event": "summary",
        "run_id": receipt.run_id,
        "exit_code": receipt.exit_code,
        "account": receipt.account,
        "lake": receipt.lake,
        "started_at": receipt.started_at,
        "tables": tables.collect::<Vec<_>>(),
        // The first ones: the receipt in the lake has all.
        "errors": errors.take(10).collect::<Vec<_>>(),
        "storage": receipt.storage,
    })
}

fn text(receipt: &Receipt, style: Style, program: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\n{}: account {} into {}", receipt.command, receipt.account, receipt.lake);
    for table in &receipt.tables {
        let _ = write!(out, "\n{}", table_text(table, style));
    }
    let took = number::duration(receipt.finished_at.duration_since(receipt.started_at));
    let _ = writeln!(out, "\n{} in {took}, exit code {}", verdict(receipt), receipt.exit_code);
    if style.verbose {
        let StorageOps { list, get, put, copy, remove } = receipt.storage;
        let _ = writeln!(
            out,
            "storage: {list} listings, {get} reads, {put} writes, {copy} copies, {remove} removals"
        );
    }
    let _ = writeln!(
        out,
        "receipt: {}/_payoutlake/runs/{}.json",
        receipt.lake.trim_end_matches('/'),
        receipt.run_id
    );
    if let Some(table) = receipt.tables.iter().find(|table| table.table_rows > 0) {
        let _ = writeln!(out, "next:    {program} {}", next_step(receipt, table));
    }
    out
}

fn next_step(receipt: &Receipt, table: &TableReceipt) -> String {
    let query = match table.table.as_str() {
        "transaction_history" => {
            "SELECT program_name, earning_month, sum(earning_amount_usd) FROM transaction_history GROUP BY ALL ORDER BY 1, 2".to_owned()
        }
        name => format!("SELECT * FROM {name} LIMIT 10"),
    };
    format!("sql --lake {} \"{query}\"", receipt.lake_argument)
}

fn verdict(receipt: &Receipt) -> &'static str {
    let outcomes = || receipt.tables.iter().flat_map(|table| &table.windows).map(|window| window.outcome);
    if outcomes().next().is_none() {
        return "nothing was due: every month that was asked for is covered newly enough";
    }
    let good = outcomes().all(|outcome| matches!(outcome, Outcome::Published | Outcome::Unchanged));
    if !good {
        return "ended with windows that were not published";
    }
    if outcomes().all(|outcome| outcome == Outcome::Unchanged) {
        return "nothing has changed, nothing was rewritten";
    }
    "published"
}

fn table_text(table: &TableReceipt, style: Style) -> String {
    let mut out = String::new();
    let version =
        table.manifest.map_or_else(|| "no commit yet".to_owned(), |version| format!("manifest {version}"));
    let _ = writeln!(out, "{}  ({version})", table.table);
    let rows: Vec<[String; 7]> = table.windows.iter().map(columns).collect();
    let header = ["window", "outcome", "read", "written", "refused", "overlap", "blob"].map(str::to_owned);
    let widths: [usize; 7] = std::array::from_fn(|i| {
        rows.iter().chain([&header]).map(|row| row[i].chars().count()).max().unwrap_or(0)
    });
    for row in [&header].into_iter().chain(&rows) {
        let cells = row.iter().enumerate().map(|(i, cell)| match i {
            0 | 1 => format!("{cell:<width$}", width = widths[i]),
            _ => format!("{cell:>width$}", width = widths[i]),
        });
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    for window in &table.windows {
        let _ = write!(out, "{}", remarks(window));
    }
    sums(&mut out, table, style);
    let _ = writeln!(
        out,
        "  table now: {} rows in {} files, {}; written by this run: {} files, {}",
        number::count(table.table_rows),
        number::count(table.table_files),
        number::bytes(table.table_bytes),
        number::count(table.files_written),
        number::bytes(table.bytes_written),
    );
    out
}

fn columns(window: &WindowReceipt) -> [String; 7] {
    [
        label(window),
        outcome(window.outcome).to_owned(),
        number::count(window.rows_read),
        number::count(window.rows_written),
        number::count(window.rows_quarantined),
        number::count(window.rows_overlap),
        number::bytes(window.blob_bytes),
    ]
}

fn label(window: &WindowReceipt) -> String {
    match (window.window, window.request_id.is_some(), window.source_files.first()) {
        (Some(months), ..) => months.to_string(),
        // An entry of an archive stands for the archive.
        (None, false, Some(file)) => file.split('!').next().unwrap_or(file).to_owned(),
        (None, ..) => "all months".to_owned(),
    }
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Published => "published",
        Outcome::Unchanged => "unchanged",
        Outcome::Held => "held",
        Outcome::Failed => "failed",
        Outcome::Pending => "pending",
    }
}

/// What went wrong or is worth knowing about one window.
fn remarks(window: &WindowReceipt) -> String {
    let mut out = String::new();
    let label = label(window);
    if let Some(error) = &window.error {
        let _ = writeln!(out, "  ! {label}: {error}");
        // The label says already which export it was.
        for (key, value) in window.error_context.iter().filter(|(key, _)| key != "export") {
            let _ = writeln!(out, "    {key}: {value}");
        }
        // One difference alone is the error's message.
        for difference in window.differences.iter().filter(|_| window.differences.len() > 1) {
            let _ = writeln!(out, "    - {difference}");
        }
    }
    if let Some(hint) = &window.hint {
        let _ = writeln!(out, "    hint: {hint}");
    }
    if window.rows_quarantined > 0 && window.error.is_none() {
        let faults: Vec<String> = window.faults.iter().map(|(code, n)| format!("{n} {code}")).collect();
        let faults = if faults.is_empty() { window.rows_quarantined.to_string() } else { faults.join(", ") };
        let _ = writeln!(out, "  ! {label}: refused rows are in the table quarantine: {faults}");
        if let Some(first) = &window.first_fault {
            let _ = writeln!(out, "    first: {first}");
        }
    }
    if window.restatements > 0 {
        let _ = writeln!(out, "  . {label}: {} restatement lines", number::count(window.restatements));
    }
    for note in &window.notes {
        let _ = writeln!(out, "  . {label}: {note}");
    }
    if window.rows_too_late > 0 {
        let rows = number::count(window.rows_too_late);
        let _ = writeln!(
            out,
            "  . {label}: {rows} rows were left out, the lake holds a newer extraction of them"
        );
    }
    for warning in &window.warnings {
        let _ = writeln!(out, "  ! {label}: {warning}");
    }
    if window.rows_read == 0 && window.error.is_none() && !window.texts.is_empty() {
        let _ = writeln!(out, "  . {label}: the file has no rows, and that is a result");
    }
    out
}

/// The sums that people look at first; all of them with `--verbose`.
fn sums(out: &mut String, table: &TableReceipt, style: Style) {
    let mut columns: Vec<&str> = table.totals.sums.keys().map(|(column, _)| column.as_str()).collect();
    columns.dedup();
    for column in columns.into_iter().filter(|c| style.verbose || table.headline.iter().any(|h| h == c)) {
        let sums = table
            .totals
            .of(column)
            .map(|(currency, units)| (if currency.is_empty() { "(no currency)" } else { currency }, units))
            .map(|(currency, units)| format!("{currency} {}", number::money(&format_money(units))));
        let _ = writeln!(out, "  sum of {column}: {}", sums.collect::<Vec<_>>().join("   "));
    }
}
