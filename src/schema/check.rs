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
        fits_newest(version, newest)
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
        let own: BTreeSet<String> = std::iter::once(&column.published)
            .chain(&column.also)
            .map(|text| comparable_name(text))
            .collect();
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
fn fits_newest(version: &Version, newest: &Version) -> Result<(), String> {
    for column in &version.columns {
        let Some(now) = newest.column(&column.name) else {
            return Err(format!(
                "column '{}' is missing from version {}: keep it there and mark it retired",
                column.name, newest.number
            ));
        };
        if (now.logical, &now.arrow, &now.currency) != (column.logical, &column.arrow, &column.currency) {
            return Err(format!("column '{}' has another type in version {}", column.name, newest.number));
        }
        let known =
            |spelling: &String| spellings(now).any(|own| comparable_name(own) == comparable_name(spelling));
        if let Some(lost) = spellings(column).find(|spelling| !known(spelling)) {
            return Err(format!(
                "version {} does not know '{lost}' as a header of '{}': add it to its `also`",
                newest.number, column.name
            ));
        }
    }
    Ok(())
}

fn spellings(column: &Column) -> impl Iterator<Item = &String> {
    std::iter::once(&column.published).chain(&column.also).chain(&column.falls_back_to)
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
    let is_text =
        |name: &&String| newest.column(name).is_some_and(|column| column.logical == LogicalType::String);
    if let Some(name) = dataset.key.iter().find(|name| !is_text(name)) {
        // A number or date can be written in several ways, and so would be several keys.
        return Err(format!("the key column '{name}' is not text"));
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
