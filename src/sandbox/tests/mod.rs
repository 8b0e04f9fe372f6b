//! Tests of the room as a whole.

mod corpus;
mod faults;
mod http;
mod positions;
mod site;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::AtomicBool;

use jiff::civil::Date;

use super::build::{Format, Job};
use super::filter::Filter;
use super::{Dataset, Options};

const TODAY: Date = Date::constant(2026, 9, 23);

/// Small enough for a test, large enough to hold every kind of row.
fn small() -> Options {
    Options { rows_per_month: 400, as_of: Some(TODAY), ..Options::default() }
}

/// The bytes of an export.
fn bytes(options: &Options, dataset: Dataset, filter: Option<&str>, format: Format) -> Vec<u8> {
    let job = Job {
        corpus: options.corpus(TODAY),
        dataset,
        filter: filter.map(|text| Filter::parse(text, dataset).unwrap()),
        format,
        zip_above_rows: options.zip_above_rows,
        faults: options.faults.clone(),
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("blob");
    let built = job.build(&path, &AtomicBool::new(false)).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(built.bytes, bytes.len() as u64);
    bytes
}

/// A file as somebody else reads it: header, and rows by column.
struct Table {
    header: Vec<String>,
    rows: Vec<BTreeMap<String, String>>,
}

fn read_text(bytes: &[u8], separator: u8) -> Table {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").expect("a byte order mark");
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(text);
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        header.iter().cloned().zip(record.iter().map(str::to_owned)).collect()
    });
    Table { rows: rows.collect(), header }
}

fn read(options: &Options, dataset: Dataset, filter: Option<&str>) -> Table {
    read_text(&bytes(options, dataset, filter, Format::Csv), b',')
}

fn unzip(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let entries = (0..zip.len()).map(|at| {
        let mut entry = zip.by_index(at).unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.name().unwrap().into_owned(), bytes)
    });
    entries.collect()
}

/// A decimal text in units of 10⁻¹⁰; blank is `None`.
fn units(text: &str) -> Option<i128> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 10, "{text}");
    let value: i128 = if text.is_empty() {
        return None;
    } else {
        format!("{whole}{fraction:0<10}").parse().unwrap()
    };
    Some(sign * value)
}
