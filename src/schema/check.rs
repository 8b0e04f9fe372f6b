//! What a dataset's files must agree on: among themselves, and older versions with the newest.

use std::collections::BTreeSet;

use crate::error::{Error, Kind, Result};
use crate::model::Currency;

use super::dataset::{Column, Dataset, LogicalType, Version};
use super::header::comparable_name;

/// Refuses a dataset whose parts contradict each other.
pub(super) fn check(dataset: &Dataset) -> Result<()> {
    let wrong = |message: String| {
        Error::new(Kind::Config, message)
            .with("dataset", &dataset.name)
            .hint("Correct the dataset's files; the ones that come with payoutlake are sound.")
    };
    let Some(newest) = dataset.versions.last() else {
        return Err(wrong("the dataset has no version: a file v1.toml is missing".to_owned()));
    };
    for version in &dataset.versions {
        columns_are_sound(version)
            .map_err(|message| wrong(format!("version {}: {message}", version.number)))?;
        fits_newest(dataset, version)
            .map_err(|message| wrong(format!("version {}: {message}", version.number)))?;
    }
    names_exist(dataset, newest).map_err(wrong)
}

fn columns_are_sound(version: &Version) -> Result<(), String> {
    let mut names = BTreeSet::new();
    let mut spellings = BTreeSet::new();
    for column in &version.columns {
        if !names.insert(column.name.as_str()) || column.name.starts_with("_pc_") {
            return Err(format!("the name '{}' is taken", column.name));
        }
        // Spellings of one column may agree with each other; those of two columns may not.
        let own: BTreeSet<String> = column.spellings().map(|text| comparable_name(text)).collect();
        for spelling in own {
            if !spellings.insert(spelling) {
                return Err(format!("a header of '{}' belongs to another column too", column.name));
            }
        }
        if let Some(Currency::Column(name)) = &column.currency
            && version.column(name).is_none_or(|column| column.logical != LogicalType::String)
        {
            return Err(format!("the currency '{name}' of '{}' is no text column", column.name));
        }
    }
    Ok(())
}

/// Every file must land in the newest table, so nothing may get lost or change its type on the way there.
fn fits_newest(dataset: &Dataset, version: &Version) -> Result<(), String> {
    let newest = dataset.newest().number;
    for column in &version.columns {
        let targets = dataset.lands_in(column);
        if targets.is_empty() {
            return Err(format!(
                "column '{}' is missing from version {newest}: keep it there and mark it retired, \
                 or name '{}' in the `falls_back_to` of what took its place",
                column.name, column.published
            ));
        }
        for now in targets {
            let same_type = (now.logical, &now.arrow) == (column.logical, &column.arrow);
            if !same_type || !same_currency(dataset, version, column, now) {
                return Err(format!("column '{}' has another type in version {newest}", column.name));
            }
            let knows = |header: &String| {
                let known = now.spellings().chain(&now.falls_back_to);
                known.map(|own| comparable_name(own)).any(|own| own == comparable_name(header))
            };
            if let Some(lost) = column.spellings().chain(&column.falls_back_to).find(|header| !knows(header))
            {
                return Err(format!(
                    "version {newest} does not know '{lost}' as a header of '{}': add it to its `also`",
                    now.name
                ));
            }
        }
    }
    Ok(())
}

/// Whether the currency stands where the table has it, under whatever name.
fn same_currency(dataset: &Dataset, version: &Version, column: &Column, now: &Column) -> bool {
    match (&column.currency, &now.currency) {
        (Some(Currency::Column(old)), Some(Currency::Column(new))) => {
            let old = version.column(old).map(|old| dataset.lands_in(old)).unwrap_or_default();
            old.iter().any(|target| target.name == *new)
        }
        (old, new) => old == new,
    }
}

fn names_exist(dataset: &Dataset, newest: &Version) -> Result<(), String> {
    let filters = dataset.api.iter().flat_map(|api| &api.filters).filter_map(|filter| filter.column.as_ref());
    let named = [&dataset.key, &dataset.sort, &dataset.lookup, &dataset.vanishing]
        .into_iter()
        .flatten()
        .chain(&dataset.pending);
    if let Some(name) = named.chain(filters).find(|name| newest.column(name).is_none()) {
        return Err(format!("dataset.toml names a column '{name}' that version {} lacks", newest.number));
    }
    let is_id = |name: &&String| newest.column(name).is_some_and(|column| can_be_key(column.logical));
    if let Some(name) = dataset.key.iter().find(|name| !is_id(name)) {
        return Err(format!("the key column '{name}' is not text, a month or a time"));
    }
    if dataset.key.is_empty() && dataset.pending.is_some() {
        return Err("a dataset without a key has no pending rows: no row has a lasting identity".to_owned());
    }
    let is_date = |column: &Column| matches!(column.logical, LogicalType::Date | LogicalType::Timestamp);
    if !newest.column(&dataset.driving_date).is_some_and(is_date) {
        return Err(format!("the driving date '{}' is no date or timestamp column", dataset.driving_date));
    }
    if newest.column(&dataset.partition).is_some() || dataset.partition == "account" {
        return Err(format!("the partition '{}' is also a column", dataset.partition));
    }
    Ok(())
}

/// Amounts and quantities name nothing; and what names a row must read the same in every version.
fn can_be_key(logical: LogicalType) -> bool {
    matches!(logical, LogicalType::String | LogicalType::Month | LogicalType::Timestamp)
}
