//! Where a row comes from, for people and for programs.

use std::fmt::Write as _;

use super::table::table;
use super::{Style, print, print_json};
use crate::model::{Explained, ExplainedCell, Proof};

/// A longer text is cut in the table; JSON has all of it.
const MAX_CHARS: usize = 60;

/// Prints each row on standard output; cells that are NULL and without text only when verbose.
pub fn print_explained(style: Style, rows: &[Explained]) {
    if style.json {
        rows.iter().for_each(|row| print_json("payoutlake.explained.v1", row));
        return;
    }
    let texts: Vec<String> = rows.iter().map(|row| text(row, style.verbose)).collect();
    print(&texts.join("\n"));
}

fn text(row: &Explained, all: bool) -> String {
    let mut out = format!("{} of {}, {}, version {}\n", row.dataset, row.account, row.partition, row.version);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:<9} {value}");
    };
    line("key", row.row_key.clone());
    line("file", format!("{} line {}", row.source_file, row.source_line));
    let finished = row.extracted_at.map(|at| format!(", finished {at}")).unwrap_or_default();
    line(
        "export",
        row.request_id.as_ref().map_or_else(
            || format!("a file that a person loaded{finished}"),
            |id| format!("request {id}{finished}"),
        ),
    );
    let loaded = row.loaded_at.map(|at| format!(", {at}")).unwrap_or_default();
    line("run", format!("{}{loaded}", row.run_id));
    line("schema", format!("v{}", row.schema_version));
    line(
        "bytes",
        match &row.proof {
            Proof::SameRow { blob_sha256 } => format!("raw/{blob_sha256}: typed again they give this row"),
            Proof::OtherRow { blob_sha256 } => {
                format!(
                    "raw/{blob_sha256}: typed again they give another row, as rules or schema have changed since"
                )
            }
            Proof::NoBytes => {
                "not kept (raw = \"none\"), or removed by retention: texts are not known".to_owned()
            }
        },
    );
    let cells = row.cells.iter().filter(|cell| all || !is_empty(cell));
    let rows: Vec<[String; 5]> = cells
        .map(|cell| {
            let shown = |text: &Option<String>| short(text.as_deref().unwrap_or_default());
            let value = cell.value.as_deref().map_or_else(|| "NULL".to_owned(), short);
            [cell.column.clone(), shown(&cell.header), shown(&cell.text), value, cell.rule.clone()]
        })
        .collect();
    out.push('\n');
    out.push_str(&table(["column", "header", "text", "value", "rule"], &rows));
    out
}

fn is_empty(cell: &ExplainedCell) -> bool {
    cell.value.is_none() && cell.text.as_ref().is_none_or(|text| text.trim().is_empty())
}

fn short(text: &str) -> String {
    // A line end in a cell would break the table.
    let plain: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    match plain.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{} ...", &plain[..end]),
        None => plain,
    }
}
