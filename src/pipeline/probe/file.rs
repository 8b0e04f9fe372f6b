//! The file of an export: what it is packed in, how its text is written, what its header says.

use std::path::Path;

use jiff::civil::Date;

use super::columns::{Columns, column_name};
use super::shapes;
use crate::decode::{Container, Decoder, Options, Spelling};
use crate::error::Result;
use crate::model::{Finding, RawBatch, magnitude};
use crate::schema::{Dataset, HeaderMatch, comparable_name};

/// The two headers of which a file has one or both: whether they are two columns is not documented.
const PAYMENT_MONTHS: [&str; 2] = ["Maturity month", "estimatedPaymentMonth"];

/// Looks at a downloaded file. What was found before an error is found all the same.
///
/// # Errors
/// `Contract` when the file cannot be read as one of the dataset, `Destination` when the disk cannot be read.
pub(super) fn look(
    file: &Path,
    dataset: &Dataset,
    options: &Options,
    asked: Option<(Date, Date)>,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    texts(file, options, findings)?;
    let mut rows = Rows { columns: Columns::new(asked), ..Rows::default() };
    let read = rows.read(file, dataset, options, findings);
    rows.tell(findings);
    read
}

/// How the texts are packed and written.
fn texts(file: &Path, options: &Options, findings: &mut Vec<Finding>) -> Result<()> {
    let mut decoder = Decoder::open(file, "export", options)?;
    let container = match decoder.container() {
        Container::Plain => "plain text",
        Container::Gzip => "gzip",
        Container::Zip => "zip",
    };
    let mut all = Vec::new();
    // An error is for the second reading, which stops at the same place.
    while let Ok(Some(spelling)) = decoder.next_spelling() {
        all.push(spelling);
    }
    let files =
        if all.len() == 1 { "1 file".to_owned() } else { format!("{} files", magnitude(all.len() as u64)) };
    findings.push(Finding::new("container", [container.to_owned(), files]));
    findings.push(Finding::new("text", spelled(&all)));
    Ok(())
}

fn spelled(all: &[Spelling]) -> Vec<String> {
    if all.iter().all(|one| one.header_cells == 0 && !one.byte_order_mark) {
        return Vec::new();
    }
    let sum = |of: fn(&Spelling) -> u64| all.iter().map(of).sum::<u64>();
    let share = |part: u64, of: u64| match part {
        0 => "none".to_owned(),
        _ if part == of => "all".to_owned(),
        _ => format!("some ({})", magnitude(part)),
    };
    let files_with = |of: fn(&Spelling) -> bool| match all.iter().filter(|one| of(one)).count() {
        0 => "no",
        count if count == all.len() => "yes",
        _ => "in some files",
    };
    let ends = [("CRLF", sum(|one| one.crlf)), ("LF", sum(|one| one.lf)), ("CR", sum(|one| one.cr))];
    let ends: Vec<String> = ends
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} ({})", magnitude(count)))
        .collect();
    let mut delimiters: Vec<&str> = all
        .iter()
        .map(|one| match one.delimiter {
            b'\t' => "tab",
            b';' => "semicolon",
            _ => "comma",
        })
        .collect();
    delimiters.dedup();
    let mut encodings: Vec<&str> = all.iter().map(|one| one.encoding.as_str()).collect();
    encodings.dedup();
    vec![
        format!("encoding: {}", encodings.join(" and ")),
        format!("byte order mark: {}", files_with(|one| one.byte_order_mark)),
        format!("cells parted by {}", delimiters.join(" and ")),
        format!("line ends: {}", if ends.is_empty() { "none".to_owned() } else { ends.join(", ") }),
        format!("line ends inside quotes: {}", magnitude(sum(|one| one.quoted_line_ends))),
        format!(
            "quoted header cells: {}",
            share(sum(|one| one.quoted_header_cells), sum(|one| one.header_cells))
        ),
        format!("quoted cells: {}", share(sum(|one| one.quoted_cells), sum(|one| one.cells))),
        format!("doubled quotes: {}", magnitude(sum(|one| one.doubled_quotes))),
        format!("lines before the header: {}", magnitude(sum(|one| one.preamble_records as u64))),
        format!("blank lines: {}", magnitude(sum(|one| one.blank_lines))),
        format!("last line without an end: {}", files_with(|one| one.unterminated)),
    ]
}

/// Headers that are told apart: an archive may have one in each of thousands of files.
const MAX_HEADERS: usize = 100;

/// What is counted over the rows of all files.
#[derive(Default)]
struct Rows {
    columns: Columns,
    /// Headers that differ.
    headers: Vec<Vec<String>>,
    /// Shapes of the names of files in an archive.
    names: shapes::Tally,
    rows: u64,
    other_width: u64,
    misquoted: u64,
    not_utf8: u64,
}

impl Rows {
    fn read(
        &mut self,
        file: &Path,
        dataset: &Dataset,
        options: &Options,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let mut decoder = Decoder::open(file, "export", options)?;
        while let Some(mut text) = decoder.next_file()? {
            if let Some((_, inner)) = text.name().split_once('!') {
                self.names.count(shapes::date(inner.as_bytes()));
            }
            let header = text.header().to_vec();
            if header.is_empty() {
                continue;
            }
            let found = dataset.match_header(&header);
            if self.headers.len() < MAX_HEADERS && !self.headers.contains(&header) {
                if self.headers.is_empty() {
                    findings.extend(described(dataset, &header, found.as_ref().ok()));
                }
                self.headers.push(header.clone());
            }
            let found = found?;
            self.columns.begin(dataset, &header, &found);
            while let Some(batch) = text.next_batch()? {
                self.count(&batch, header.len());
            }
        }
        Ok(())
    }

    fn count(&mut self, batch: &RawBatch, width: usize) {
        self.rows += batch.rows() as u64;
        for row in 0..batch.rows() {
            self.other_width += u64::from(batch.width(row) != width);
            self.misquoted += u64::from(batch.is_misquoted(row));
            self.not_utf8 += u64::from(batch.cells(row).any(|cell| str::from_utf8(cell).is_err()));
        }
        self.columns.count(batch);
    }

    fn tell(&self, findings: &mut Vec<Finding>) {
        findings.push(Finding::new("file names", self.names.words()));
        let headers = match self.headers.len() {
            0 => Vec::new(),
            1 => vec!["the same in all files".to_owned()],
            count => vec![format!("{} that differ", magnitude(count as u64))],
        };
        findings.push(Finding::new("headers", headers));
        let rows = [
            format!("rows ({})", magnitude(self.rows)),
            format!("with more or fewer cells than the header ({})", magnitude(self.other_width)),
            format!("with text behind a closing quote ({})", magnitude(self.misquoted)),
            format!("that are not UTF-8 ({})", magnitude(self.not_utf8)),
        ];
        let rows = if self.headers.is_empty() { Vec::new() } else { rows.to_vec() };
        findings.push(Finding::new("rows", rows));
        let days = self.columns.days.as_ref().map(super::columns::Days::words);
        findings.push(Finding::new("asked days", days.unwrap_or_default()));
        findings.extend(self.columns.findings());
    }
}

/// What the first header says.
fn described(dataset: &Dataset, header: &[String], found: Option<&HeaderMatch>) -> Vec<Finding> {
    let comparable: Vec<String> = header.iter().map(|name| comparable_name(name)).collect();
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let lower: Vec<String> = header.iter().map(|name| name.trim().to_lowercase()).collect();
    let sorted = match lower.windows(2).position(|pair| pair[0] > pair[1]) {
        None => "yes".to_owned(),
        // New columns are said to come on the right.
        Some(index) => format!("the first {}", index + 1),
    };
    let mut order = vec![format!("{} columns", header.len()), format!("alphabetical: {sorted}")];
    let mut columns = Vec::new();
    match found {
        None => order.push("it is no header of this dataset".to_owned()),
        Some(found) => {
            let newest = &dataset.newest().columns;
            let cells: Vec<usize> = found.cells.iter().flatten().copied().collect();
            order.push(format!("closest schema version: {}", found.version));
            order.push(format!("in the order of that schema: {}", yes_no(cells.is_sorted())));
            let retired = newest.iter().zip(&found.cells);
            let retired = retired.filter(|(column, cell)| column.retired.is_some() && cell.is_some());
            let names = |kind: &str, names: Vec<String>| match names.is_empty() {
                true => format!("{kind}: none"),
                false => format!("{kind}: {}", names.join(", ")),
            };
            columns.push(names("missing", found.missing.clone()));
            let unknown = found.unknown.iter().map(|(cell, _)| column_name(*cell, &header[*cell]));
            columns.push(names("unknown", unknown.collect()));
            let twice = found.duplicates.iter().map(|twice| column_name(twice.used, &header[twice.used]));
            columns.push(names("twice", twice.collect()));
            columns.push(names(
                "retired and here",
                retired.map(|(column, _)| column.published.clone()).collect(),
            ));
        }
    }
    let months = PAYMENT_MONTHS.map(|name| {
        format!("{name}: {}", if comparable.contains(&comparable_name(name)) { "there" } else { "not there" })
    });
    vec![
        Finding::new("header", order),
        Finding::new("columns", columns),
        Finding::new("month columns", months),
    ]
}
