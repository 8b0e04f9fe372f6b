//! Which version of which dataset a header is.
//!
//! Columns are added over the years, and which of them a file has depends on the programmes in it. So a header that a
//! version does not have speaks against it more than a column of it that the file lacks: versions are ranked by the first
//! number, then by the second. Of equals the newest wins.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::DatasetName;

use super::dataset::{Column, Dataset, Version};
use super::header::{Header, comparable_name, listed};
use super::registry::Registry;

/// A version of a dataset that a header was compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    pub dataset: DatasetName,
    pub version: u32,
    pub era: String,
    /// Columns of the version that the header has.
    pub columns: usize,
    /// Headers that other versions of the dataset have, and this one not.
    pub of_other_versions: Vec<String>,
    /// Headers that no version of the dataset has; they are kept in `_pc_extra`.
    pub unknown: Vec<String>,
    /// Published names of the version's columns that the header lacks; they become null.
    pub missing: Vec<String>,
    /// Headers that mean a column which another header fills: `customerCountry` and `Customer Country`.
    pub duplicates: Vec<String>,
    /// Why the dataset does not take such a file.
    pub refused: Option<String>,
}

impl Candidate {
    /// How little the header resembles the version: headers that it does not have, then columns that the file lacks.
    #[must_use]
    pub fn distance(&self) -> (usize, usize) {
        (self.of_other_versions.len() + self.unknown.len(), self.missing.len())
    }
}

impl Registry {
    /// All versions of all datasets, the one that the header resembles most first, those that refuse it last.
    #[must_use]
    pub fn detect(&self, header: &[impl AsRef<str>]) -> Vec<Candidate> {
        let datasets: Vec<Dataset> = self.datasets().cloned().collect();
        candidates(&Header::new(header), &datasets)
    }
}

/// The versions of these datasets, best first.
pub(super) fn candidates(header: &Header, datasets: &[Dataset]) -> Vec<Candidate> {
    let all = datasets.iter().flat_map(|dataset| {
        let refused = refusal(dataset, header);
        let columns = dataset.versions.iter().flat_map(|version| &version.columns);
        let known: BTreeSet<String> =
            columns.flat_map(Column::spellings).map(|name| comparable_name(name)).collect();
        let of = |version: &Version| candidate(header, dataset, version, &known, refused.clone());
        dataset.versions.iter().map(of).collect::<Vec<_>>()
    });
    let mut all: Vec<Candidate> = all.collect();
    all.sort_by_key(|found| (found.refused.is_some(), found.distance(), std::cmp::Reverse(found.version)));
    all
}

/// The best of those that take the file.
pub(super) fn best(header: &Header, datasets: &[Dataset]) -> Option<Candidate> {
    candidates(header, datasets).into_iter().next().filter(|found| found.refused.is_none())
}

fn candidate(
    header: &Header,
    dataset: &Dataset,
    version: &Version,
    known: &BTreeSet<String>,
    refused: Option<String>,
) -> Candidate {
    let mut of_version = vec![false; header.printed.len()];
    let (mut columns, mut duplicates, mut missing) = (0, Vec::new(), Vec::new());
    for column in version.live() {
        let cells = header.own_cells(column);
        cells.iter().for_each(|cell| of_version[*cell] = true);
        match cells.split_first() {
            Some((_, others)) => {
                columns += 1;
                duplicates.extend(others.iter().map(|cell| header.printed[*cell].clone()));
            }
            None => missing.push(column.published.clone()),
        }
    }
    let strangers = (0..header.printed.len()).filter(|cell| !of_version[*cell]);
    let (elsewhere, unknown): (Vec<usize>, Vec<usize>) =
        strangers.partition(|cell| known.contains(&comparable_name(&header.printed[*cell])));
    let names = |cells: Vec<usize>| cells.into_iter().map(|cell| header.printed[cell].clone()).collect();
    Candidate {
        dataset: dataset.name.clone(),
        version: version.number,
        era: version.era.clone(),
        columns,
        of_other_versions: names(elsewhere),
        unknown: names(unknown),
        missing,
        duplicates,
        refused,
    }
}

fn refusal(dataset: &Dataset, header: &Header) -> Option<String> {
    let (lacking, foreign) = dataset.objections(header);
    let words = [("it lacks", lacking), ("it has what only other reports have:", foreign)];
    let words = words.into_iter().filter(|(_, names)| !names.is_empty());
    let words = words.map(|(what, names)| format!("{what} {}", listed(&names)));
    let money = dataset.money_without_currency(header);
    let money = money.map(|(money, currency)| format!("it has {money} without its currency {currency}"));
    let words: Vec<String> = words.chain(money).collect();
    (!words.is_empty()).then(|| words.join("; "))
}
