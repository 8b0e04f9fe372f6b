use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::Scope;
use super::list::short;
use crate::cli::Setting;
use crate::config::Environment;
use crate::decode;
use crate::error::{Error, Kind, Result};
use crate::lake::raw_path;
use crate::load::Refused;
use crate::output;

/// Show refused rows: their cells beside the names of the header, what is wrong, and the next step
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    scope: Scope,
    /// The beginning of an id of `quarantine list`, or a file, or FILE:LINE
    #[arg(required = true, value_name = "ID|FILE[:LINE]")]
    rows: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    dataset: &'a str,
    account: &'a str,
    window: Option<crate::model::Window>,
    file: &'a str,
    line: u64,
    fault: &'a str,
    column: Option<&'a str>,
    expected: &'a str,
    found: &'a str,
    cells: Vec<Cell>,
    run_id: &'a str,
    request_id: Option<&'a crate::model::RequestId>,
    extracted_at: Option<jiff::Timestamp>,
    schema_version: i32,
    /// Where the bytes of its file are, if they were kept.
    raw: Option<String>,
    next: &'static str,
}

/// One cell of the record; lossy where it is not UTF-8.
#[derive(Debug, Serialize)]
struct Cell {
    name: String,
    text: String,
}

impl Show {
    pub(super) async fn perform(self, setting: &Setting) -> Result<u8> {
        let all = self.scope.rows(setting).await?;
        for wanted in &self.rows {
            let found: Vec<&Refused> = all.iter().filter(|row| is_meant(wanted, row)).collect();
            if found.is_empty() {
                return Err(Error::new(Kind::Usage, format!("no refused row is '{wanted}'"))
                    .with("refused rows", all.len())
                    .hint("`payoutlake quarantine list` tells ids, files and lines"));
            }
            for row in found {
                let shown = shown(row);
                match setting.style.json {
                    true => output::print_json("payoutlake.refused_row.v1", &shown),
                    false => output::print(&words(&shown, &self.scope.lake)),
                }
            }
        }
        Ok(0)
    }
}

fn is_meant(wanted: &str, row: &Refused) -> bool {
    let place = wanted.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse::<u64>().ok()?)));
    row.file == wanted
        || place.is_some_and(|(file, line)| row.file == file && row.line == line)
        || (wanted.len() >= 4 && row.id.starts_with(wanted))
}

fn shown(row: &Refused) -> Shown<'_> {
    Shown {
        id: &row.id,
        dataset: row.dataset.as_str(),
        account: row.account.as_str(),
        window: row.window,
        file: &row.file,
        line: row.line,
        fault: &row.fault,
        column: row.column.as_deref(),
        expected: &row.expected,
        found: &row.found,
        cells: cells(row),
        run_id: &row.run_id,
        request_id: row.request_id.as_ref(),
        extracted_at: row.extracted_at,
        schema_version: row.schema_version,
        raw: row.blob.as_deref().map(|blob| raw_path(blob).to_string()),
        next: next(row),
    }
}

fn cells(row: &Refused) -> Vec<Cell> {
    let header = row.header.as_deref().unwrap_or_default();
    let both = decode::batch_of_records([(0, header.as_bytes(), false), (row.line, &row.record, false)]);
    let text = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
    let names: Vec<String> = both.cells(0).map(text).collect();
    let name = |index: usize| {
        let known = row.header.as_ref().and_then(|_| names.get(index).cloned());
        known.unwrap_or_else(|| format!("cell {}", index + 1))
    };
    both.cells(1).enumerate().map(|(index, cell)| Cell { name: name(index), text: text(cell) }).collect()
}

fn next(row: &Refused) -> &'static str {
    match (&row.header, &row.column) {
        (Some(_), _) if row.fault == "not-utf8" => {
            "say how its text is encoded (encoding = \"windows-1252\" in [decode]); then `payoutlake quarantine replay --pipeline FILE`"
        }
        (Some(_), _) if row.fault == "ambiguous-date" => {
            "say which number is the month (date_order in [decode]); then `payoutlake quarantine replay --pipeline FILE`"
        }
        (None, _) => {
            "load the file again, or let the next export of its window replace it: its header was not kept"
        }
        (_, None) => {
            "correct the file and load it again, or let the next export replace it: no schema helps a broken record"
        }
        _ => "teach the schema this cell, or change the contract; then `payoutlake quarantine replay`",
    }
}

fn words(row: &Shown<'_>, lake: &str) -> String {
    let window = row.window.map(|window| format!(" {window}")).unwrap_or_default();
    let column = row.column.map(|column| format!(" in {column}")).unwrap_or_default();
    let request = row.request_id.map_or_else(|| "a file".to_owned(), |id| format!("request {id}"));
    let finished = row.extracted_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}{window} of {}", short(row.id), row.dataset, row.account);
    let _ = writeln!(out, "  {} line {}", row.file, row.line);
    let _ = writeln!(
        out,
        "  {request}, as of {finished}, run {}, schema version {}",
        row.run_id, row.schema_version
    );
    if let Some(raw) = &row.raw {
        let _ = writeln!(out, "  its bytes, if they are kept: {}/{raw}", lake.trim_end_matches('/'));
    }
    let _ = writeln!(out, "  ! {}{column}", row.fault);
    let _ = writeln!(out, "    expected: {}", row.expected);
    let _ = writeln!(out, "    found:    {}", row.found);
    let cells = row.cells.iter().map(|cell| {
        let mark = if Some(cell.name.as_str()) == row.column { "!" } else { "" };
        [format!("    {mark}"), cell.name.clone(), cell.text.clone()]
    });
    out.push_str(&output::table(["    ", "column", "cell"], &cells.collect::<Vec<_>>()));
    let _ = writeln!(out, "  next: {}", row.next.replace("payoutlake", &Environment::program()));
    out
}
