//! What one version has that another has not.

use serde::Serialize;

use crate::model::Currency;

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
        let (mut found, mut renamed) = (Vec::new(), Vec::new());
        for old in from.live() {
            if let Some(new) = live(to, &old.name) {
                found.extend(self.same_column(old, new, from, to));
                continue;
            }
            let new: Vec<&Column> = to.live().filter(|new| self.is_rename(old, new, from, to)).collect();
            let change = if new.is_empty() { Change::Retired } else { Change::Renamed };
            let headers: Vec<&str> = new.iter().map(|column| column.published.as_str()).collect();
            let after = (!headers.is_empty()).then(|| headers.join(", "));
            found.push(difference(change, old, Some(old.published.clone()), after));
            renamed.extend(new.into_iter().map(|column| column.name.as_str()));
        }
        let is_new = |new: &&Column| live(from, &new.name).is_none() && !renamed.contains(&new.name.as_str());
        let added = to.live().filter(is_new);
        found.extend(added.map(|new| difference(Change::Additive, new, None, Some(new.published.clone()))));
        found.sort_by_key(|difference| difference.change);
        found
    }

    /// Whether the new column is the old one under another name: each is in one version alone, and the table fills one of
    /// the two from the header of the other.
    fn is_rename(&self, old: &Column, new: &Column, from: &Version, to: &Version) -> bool {
        let newest = self.newest();
        let fills = |into: &Column, header: &Column| {
            newest.column(&into.name).is_some_and(|column| column.takes_over(header))
        };
        live(to, &old.name).is_none()
            && live(from, &new.name).is_none()
            && (fills(new, old) || fills(old, new))
    }

    fn same_column(&self, old: &Column, new: &Column, from: &Version, to: &Version) -> Vec<Difference> {
        let mut found = Vec::new();
        if comparable_name(&old.published) != comparable_name(&new.published) {
            let (before, after) = (Some(old.published.clone()), Some(new.published.clone()));
            found.push(difference(Change::Renamed, old, before, after));
        }
        let same_currency = match (&old.currency, &new.currency) {
            // The column of the currency may have been renamed: that is a difference of its own.
            (Some(Currency::Column(old)), Some(Currency::Column(new))) if old != new => {
                let (old, new) = (live(from, old), live(to, new));
                old.zip(new).is_some_and(|(old, new)| self.is_rename(old, new, from, to))
            }
            (old, new) => old == new,
        };
        let contract = |column: &Column| (column.logical, column.arrow.clone(), column.required);
        if !same_currency || contract(old) != contract(new) {
            found.push(difference(Change::Breaking, old, Some(words(old)), Some(words(new))));
        }
        found
    }
}

fn live<'a>(version: &'a Version, name: &str) -> Option<&'a Column> {
    version.column(name).filter(|column| column.retired.is_none())
}

/// What a reader of the column relies on.
fn words(column: &Column) -> String {
    let currency = column.currency.as_ref().map(|currency| format!(" in {}", currency.to_text()));
    let required = if column.required { ", never blank" } else { "" };
    format!("{} ({}){}{required}", column.logical.as_str(), column.arrow, currency.unwrap_or_default())
}

fn difference(change: Change, column: &Column, before: Option<String>, after: Option<String>) -> Difference {
    Difference { change, column: column.name.clone(), before, after }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use super::*;

    #[test]
    fn a_column_that_must_be_filled_now_is_breaking() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("own")).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join("own").join(name), text).unwrap();
        write("dataset.toml", "name = 'own'\ntitle = ''\ndriving_date = 'at'\npartition = 'month'\n");
        let head = |version| {
            format!(
                "version = {version}\nera = ''\nfirst_seen = ''\nsource = ''\nconfidence = ''\n\
                 [types.string]\narrow = 'utf8'\nwhy = ''\n[types.date]\narrow = 'date32'\nwhy = ''\n\
                 [[column]]\nname = 'at'\npublished = 'at'\ntype = 'date'\nmeaning = ''\n"
            )
        };
        let name = "[[column]]\nname = 'name'\npublished = 'name'\ntype = 'string'\nmeaning = ''\n";
        write("v1.toml", &(head(1) + name));
        write("v2.toml", &(head(2) + name + "required = true\n"));
        let registry = Registry::built_in().unwrap().with_folder(folder.path()).unwrap();
        let own = registry.dataset("own").unwrap();
        let found = own.diff(&own.versions[0], &own.versions[1]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].change, found[0].column.as_str()), (Change::Breaking, "name"));
        assert_eq!(found[0].after.as_deref(), Some("string (Utf8), never blank"));
        assert!(own.diff(own.newest(), own.newest()).is_empty());
    }
}
