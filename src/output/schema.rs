//! Datasets, versions and columns for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::table::table;
use super::{Style, print, print_json};
use crate::model::Currency;
use crate::schema::{Candidate, Column, Dataset, Difference, Registry, Version};

/// How many versions are shown that a file could be as well.
const RUNNERS_UP: usize = 2;

/// Names that a line of words shows before it only counts.
const NAMES: usize = 12;

#[derive(Serialize)]
struct VersionLine<'a> {
    dataset: &'a str,
    title: &'a str,
    version: u32,
    newest: bool,
    era: &'a str,
    first_seen: &'a str,
    columns: usize,
    retired: usize,
    source: &'a str,
    confidence: &'a str,
    key: &'a [String],
    driving_date: &'a str,
    partition: &'a str,
    /// Whether the API exports it; others are downloaded in the portal.
    api: bool,
}

#[derive(Serialize)]
struct ColumnLine<'a> {
    dataset: &'a str,
    version: u32,
    column: &'a str,
    published: &'a str,
    also: &'a [String],
    falls_back_to: &'a [String],
    r#type: &'a str,
    arrow: String,
    /// The column that holds the currency, or `=USD`.
    currency: Option<String>,
    required: bool,
    personal: bool,
    since: Option<&'a str>,
    retired: Option<&'a str>,
    confidence: &'a str,
    meaning: &'a str,
    /// Where it stands in the table.
    table_columns: Vec<&'a str>,
}

#[derive(Serialize)]
struct DifferenceLine<'a> {
    dataset: &'a str,
    from: u32,
    to: u32,
    #[serde(flatten)]
    difference: &'a Difference,
}

#[derive(Serialize)]
struct DetectedLine<'a> {
    file: &'a str,
    columns: usize,
    header_line: u64,
    /// What the file is; null where no dataset takes it.
    found: Option<&'a Candidate>,
    runners_up: &'a [Candidate],
}

/// A line for each version of each dataset.
pub fn print_schemas(style: Style, registry: &Registry) {
    let versions =
        || registry.datasets().flat_map(|dataset| dataset.versions.iter().map(move |v| (dataset, v)));
    if style.json {
        versions().for_each(|(dataset, v)| print_json("payoutlake.schema.version.v1", &line_of(dataset, v)));
        return;
    }
    let rows: Vec<[String; 5]> = versions()
        .map(|(dataset, version)| {
            let name = if version.number == dataset.versions[0].number { dataset.name.as_str() } else { "" };
            let number = format!("v{}", version.number);
            let columns = version.live().count().to_string();
            [name.to_owned(), number, version.first_seen.clone(), columns, version.era.clone()]
        })
        .collect();
    print(&table(["dataset", "version", "first seen", ">columns", "era"], &rows));
}

fn line_of<'a>(dataset: &'a Dataset, version: &'a Version) -> VersionLine<'a> {
    let live = version.live().count();
    VersionLine {
        dataset: dataset.name.as_str(),
        title: &dataset.title,
        version: version.number,
        newest: version.number == dataset.newest().number,
        era: &version.era,
        first_seen: &version.first_seen,
        columns: live,
        retired: version.columns.len() - live,
        source: &version.source,
        confidence: &version.confidence,
        key: &dataset.key,
        driving_date: &dataset.driving_date,
        partition: &dataset.partition,
        api: dataset.api.is_some(),
    }
}

/// The columns of a version; only those with personal data if `personal`.
pub fn print_columns(style: Style, dataset: &Dataset, version: &Version, personal: bool) {
    let columns = || version.columns.iter().filter(|column| column.personal || !personal);
    if style.json {
        let line = |column| column_line(dataset, version, column);
        columns().for_each(|column| print_json("payoutlake.schema.column.v1", &line(column)));
        return;
    }
    let mut out = head(dataset, version);
    let rows: Vec<[String; 5]> = columns()
        .map(|column| {
            let since = column.since.clone().unwrap_or_default();
            let meaning = meaning(dataset, version, column);
            [column.name.clone(), type_words(column), since, headers(column), meaning]
        })
        .collect();
    out.push_str(&table(["column", "type", "since", "filled from", "meaning"], &rows));
    print(&out);
}

fn head(dataset: &Dataset, version: &Version) -> String {
    let key = match dataset.key.as_slice() {
        [] => "none: files replace whole months".to_owned(),
        key => key.join(", "),
    };
    let shape = match version.number == dataset.newest().number {
        true => "newest: the shape of the table".to_owned(),
        false => format!("rows land in the shape of v{}", dataset.newest().number),
    };
    format!(
        "{}, v{} ({shape})\n{}\nera         {}\nfirst seen  {}\nsource      {}\nconfidence  {}\nkey         {key}\n\
         partition   {}, the month of {}\n\n",
        dataset.name,
        version.number,
        dataset.title,
        version.era,
        version.first_seen,
        version.source,
        version.confidence,
        dataset.partition,
        dataset.driving_date,
    )
}

/// `money in transaction_currency, never blank, personal`.
pub(super) fn type_words(column: &Column) -> String {
    let currency = column.currency.as_ref().map(|currency| match currency {
        Currency::Column(name) | Currency::Fixed(name) => format!(" in {name}"),
    });
    let mut words = format!("{}{}", column.logical.as_str(), currency.unwrap_or_default());
    for (word, holds) in [(", never blank", column.required), (", personal", column.personal)] {
        words.push_str(if holds { word } else { "" });
    }
    words
}

/// The headers that fill the column, first those that win.
pub(super) fn headers(column: &Column) -> String {
    let own = column.spellings().map(String::as_str).collect::<Vec<_>>().join(", ");
    match column.falls_back_to.as_slice() {
        [] => own,
        others => format!("{own}; else {}", others.join(", ")),
    }
}

fn meaning(dataset: &Dataset, version: &Version, column: &Column) -> String {
    let mut words = column.meaning.clone();
    if let Some(month) = &column.retired {
        let _ = write!(words, " Not in files since {month}.");
    }
    if let Some(confidence) = &column.confidence {
        let _ = write!(words, " Confidence {confidence}.");
    }
    let line = column_line(dataset, version, column);
    if line.table_columns != [column.name.as_str()] {
        let _ = write!(words, " In the table: {}.", line.table_columns.join(", "));
    }
    words
}

fn column_line<'a>(dataset: &'a Dataset, version: &'a Version, column: &'a Column) -> ColumnLine<'a> {
    ColumnLine {
        dataset: dataset.name.as_str(),
        version: version.number,
        column: &column.name,
        published: &column.published,
        also: &column.also,
        falls_back_to: &column.falls_back_to,
        r#type: column.logical.as_str(),
        arrow: column.arrow.to_string(),
        currency: column.currency.as_ref().map(Currency::to_text),
        required: column.required,
        personal: column.personal,
        since: column.since.as_deref(),
        retired: column.retired.as_deref(),
        confidence: column.confidence.as_ref().unwrap_or(&version.confidence),
        meaning: &column.meaning,
        table_columns: dataset.lands_in(column).into_iter().map(|now| now.name.as_str()).collect(),
    }
}

/// What is different between two versions.
pub fn print_differences(style: Style, dataset: &Dataset, from: &Version, to: &Version) {
    let differences = dataset.diff(from, to);
    if style.json {
        for difference in &differences {
            let (dataset, from, to) = (dataset.name.as_str(), from.number, to.number);
            print_json("payoutlake.schema.difference.v1", &DifferenceLine { dataset, from, to, difference });
        }
        return;
    }
    let mut out = format!("{}: v{} ({})\n", dataset.name, from.number, from.era);
    let _ = writeln!(
        out,
        "{:width$}  v{} ({})\n",
        "to",
        to.number,
        to.era,
        width = dataset.name.as_str().len() - 1
    );
    let words = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let rows: Vec<[String; 4]> = differences
        .iter()
        .map(|found| {
            let change = found.change.as_str().to_owned();
            [change, found.column.clone(), words(&found.before), words(&found.after)]
        })
        .collect();
    out.push_str(&match rows.is_empty() {
        true => "no difference\n".to_owned(),
        false => table(["change", "column", "before", "after"], &rows),
    });
    print(&out);
}

/// What a file is, by its header: candidates best first. No candidate: the file is empty.
pub fn print_detected(style: Style, file: &str, columns: usize, header_line: u64, candidates: &[Candidate]) {
    let found = candidates.first().filter(|best| best.refused.is_none());
    let others = candidates.get(usize::from(found.is_some())..).unwrap_or_default();
    let runners_up = &others[..others.len().min(RUNNERS_UP)];
    if style.json {
        let line = DetectedLine { file, columns, header_line, found, runners_up };
        print_json("payoutlake.schema.detected.v1", &line);
        return;
    }
    let mut out = match found {
        Some(best) => format!("{file}: {} v{} ({})\n", best.dataset, best.version, best.era),
        None if candidates.is_empty() => format!("{file}: no header, so no rows\n"),
        None => format!("{file}: of no dataset that is known\n"),
    };
    if let Some(best) = found {
        let _ = writeln!(
            out,
            "  {} of its {} headers are columns of this version (header in line {header_line})",
            columns - best.of_other_versions.len() - best.unknown.len(),
            columns
        );
        out.push_str(&differences(best));
    }
    for other in runners_up {
        let (strange, missing) = other.distance();
        let refused = other.refused.as_ref().map(|why| format!("; refused: {why}")).unwrap_or_default();
        let _ = writeln!(
            out,
            "  less like {} v{}: {strange} headers are not in it, {missing} of its columns are missing{refused}",
            other.dataset, other.version
        );
    }
    print(&out);
}

fn differences(best: &Candidate) -> String {
    let lists = [
        ("missing, so null:", &best.missing),
        ("of other versions, and taken:", &best.of_other_versions),
        ("in no version, kept in _pc_extra:", &best.unknown),
        ("twice, kept in _pc_extra:", &best.duplicates),
    ];
    let lists = lists.into_iter().filter(|(_, names)| !names.is_empty());
    lists.map(|(what, names)| format!("  {what} {}\n", listed(names))).collect()
}

fn listed(names: &[String]) -> String {
    match names.len() {
        count if count > NAMES => format!("{} and {} more", names[..NAMES].join(", "), count - NAMES),
        _ => names.join(", "),
    }
}
