//! What one version has that another has not.

use serde::Serialize;

use super::dataset::{Column, Dataset, Version};
use super::header::comparable_name;

/// What a difference means to whoever reads the older of two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A column was added: nothing that was there is different.
    Additive,
    /// The same column has another name in the files, or became several.
    Renamed,
    /// Files no longer have the column; the table keeps it, and it is null in new rows.
    Retired,
    /// The column has another type or currency, or may be blank now, or may not be any more.
    Breaking,
}

/// One difference between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub change: Change,
    pub column: String,
    /// Headers before and after, or what is different about the column.
    pub before: Option<String>,
    pub after: Option<String>,
}

impl Change {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Additive => "additive",
            Change::Renamed => "renamed",
            Change::Retired => "retired",
            Change::Breaking => "breaking",
        }
    }
}

impl Dataset {
    /// What became of the columns that files have, from one version to another. Columns that the newest version keeps
    /// for older files are no difference.
    #[must_use]
    pub fn diff(&self, from: &Version, to: &Version) -> Vec<Difference> {
        let (mut found, mut renamed_to) = (Vec::new(), Vec::new());
        for old in from.live() {
            if let Some(new) = live(to, &old.name) {
                found.extend(same_column(old, new));
                continue;
            }
            let new: Vec<&Column> = to.live().filter(|new| self.is_rename(old, new, from)).collect();
            let change = if new.is_empty() { Change::Retired } else { Change::Renamed };
            let headers: Vec<&str> = new.iter().map(|column| column.published.as_str()).collect();
            let after = (!headers.is_empty()).then(|| headers.join(", "));
            found.push(difference(change, old, Some(old.published.clone()), after));
            renamed_to.extend(new.into_iter().map(|column| column.name.as_str()));
        }
        let added = to
            .live()
            .filter(|new| live(from, &new.name).is_none() && !renamed_to.contains(&new.name.as_str()));
        found.extend(added.map(|new| difference(Change::Additive, new, None, Some(new.published.clone()))));
        found.sort_by_key(|difference| difference.change);
        found
    }

    /// Whether a column of `to` that is not in `from` is the old one under another name: the table fills one of the two
    /// from the header of the other.
    fn is_rename(&self, old: &Column, new: &Column, from: &Version) -> bool {
        let newest = self.newest();
        let fills = |into: &Column, header: &Column| {
            newest.column(&into.name).is_some_and(|column| column.takes_over(header))
        };
        live(from, &new.name).is_none() && (fills(new, old) || fills(old, new))
    }
}

fn live<'a>(version: &'a Version, name: &str) -> Option<&'a Column> {
    version.column(name).filter(|column| column.retired.is_none())
}

fn same_column(old: &Column, new: &Column) -> Vec<Difference> {
    let mut found = Vec::new();
    if comparable_name(&old.published) != comparable_name(&new.published) {
        let (before, after) = (Some(old.published.clone()), Some(new.published.clone()));
        found.push(difference(Change::Renamed, old, before, after));
    }
    let (before, after) = (contract(old), contract(new));
    if before != after {
        found.push(difference(Change::Breaking, old, Some(before), Some(after)));
    }
    found
}

/// What a reader of the column relies on, in words.
fn contract(column: &Column) -> String {
    let currency = column.currency.as_ref().map(|currency| format!(" in {}", currency.to_text()));
    let required = if column.required { ", never blank" } else { "" };
    format!("{} ({}){}{required}", column.logical.as_str(), column.arrow, currency.unwrap_or_default())
}

fn difference(change: Change, column: &Column, before: Option<String>, after: Option<String>) -> Difference {
    Difference { change, column: column.name.clone(), before, after }
}
