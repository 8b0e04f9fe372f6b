//! A dataset, its versions and their columns, as `schemas/` describes them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use serde::Deserialize;

use crate::model::{Currency, DatasetName};

use super::header::comparable_name;

/// One thing that Partner Center exports.
#[derive(Debug, Clone)]
pub struct Dataset {
    pub name: DatasetName,
    /// For people.
    pub title: String,
    /// Columns that name one row together. Some of them may be blank. Without any, a row is named by its hash.
    pub key: Vec<String>,
    /// The date or timestamp column whose month is the row's partition.
    pub driving_date: String,
    /// Name of the partition column: `earning_month`.
    pub partition: String,
    pub sort: Vec<String>,
    /// Columns that people look single values up in.
    pub lookup: Vec<String>,
    /// Columns of which no value goes from a month unseen: whose money it is, and what it is paid for.
    pub vanishing: Vec<String>,
    /// A column that a row gains late. A full pull replaces all rows in which it is still blank, and the key of such
    /// a row is its key columns and its hash: it has no lasting identity yet.
    pub pending: Option<String>,
    /// The dataset whose rows pay these: one that moves names the months to ask for again.
    pub paid_by: Option<DatasetName>,
    /// Headers that only files of other reports have, although all of this one's are there too.
    pub foreign: Vec<String>,
    /// How Partner Center exports it; `None` where only hand-downloaded files exist.
    pub api: Option<Api>,
    /// Ascending by number; never empty.
    pub versions: Vec<Version>,
    // All datasets of the registry, to say "this is a payments file"; theirs is empty.
    pub(super) all: Arc<[Dataset]>,
}

/// How a dataset is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Last part of the request path: `transactionhistory`.
    pub path: String,
    /// The filter field that spans of time are asked by.
    pub window_field: String,
    /// False: the whole reachable history is asked for at once.
    pub windowed: bool,
    #[serde(default, rename = "filter")]
    pub filters: Vec<Filter>,
}

/// A field that the service can filter by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The service's name of the field.
    pub field: String,
    /// What pipeline files call it where that is not the column.
    pub name: Option<String>,
    pub kind: FilterKind,
    /// The column that the field most likely compares with.
    pub column: Option<String>,
}

/// How a filter's value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterKind {
    /// Between apostrophes.
    Text,
    /// As the pipeline file writes it: documents of the service have both, a text and a bare number.
    Id,
    /// Bare digits.
    Number,
    /// A bare UTC time.
    Time,
}

/// The numbered, frozen column contract of a dataset.
#[derive(Debug, Clone)]
pub struct Version {
    pub number: u32,
    pub era: String,
    /// When files like this were first seen, as far as it is known.
    pub first_seen: String,
    /// Where the list of columns comes from.
    pub source: String,
    pub confidence: String,
    /// In the order of the table.
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the lake: `earning_amount_usd`.
    pub name: String,
    /// Microsoft's name: `earningAmountUSD`.
    pub published: String,
    /// Other spellings of the same column.
    pub also: Vec<String>,
    /// Headers that fill this column in files that lack its own.
    pub falls_back_to: Vec<String>,
    pub logical: LogicalType,
    /// The Arrow type that the version gives to the logical type.
    pub arrow: DataType,
    /// Where the currency stands; for money only.
    pub currency: Option<Currency>,
    /// A row with a blank cell here is refused, and so is a file without the column.
    pub required: bool,
    /// Personal data of a customer.
    pub personal: bool,
    /// First month (`YYYY-MM`) or year whose files are known to have the column.
    pub since: Option<String>,
    /// First month (`YYYY-MM`) whose files no longer have the column.
    pub retired: Option<String>,
    /// How sure the column is, where that differs from its version.
    pub confidence: Option<String>,
    pub meaning: String,
}

/// What a cell means, before it has an Arrow type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogicalType {
    String,
    /// An amount with a currency beside it; it is summed in control totals.
    Money,
    /// An exchange rate.
    Rate,
    /// A quantity or percent rate.
    Decimal,
    Integer,
    Boolean,
    Date,
    Timestamp,
    /// `YYYY-MM`, or a text that says why there is none.
    Month,
}

impl Api {
    /// The fields that a pipeline file may filter by, with their names there. A windowed dataset is asked for by spans of
    /// its window field already.
    pub fn conditions(&self) -> impl Iterator<Item = (&str, &Filter)> {
        let free = self.filters.iter().filter(|filter| !self.windowed || filter.field != self.window_field);
        free.filter_map(|filter| Some((filter.name.as_ref().or(filter.column.as_ref())?.as_str(), filter)))
    }
}

impl Dataset {
    /// The version that is the shape of the table.
    #[must_use]
    pub fn newest(&self) -> &Version {
        self.versions.last().expect("the registry refuses a dataset without a version")
    }

    #[must_use]
    pub fn version(&self, number: u32) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// Where a column of any version stands in the table: under its own name, else in the columns whose
    /// `falls_back_to` has its header (`currencyCode` was split in two).
    #[must_use]
    pub fn lands_in(&self, column: &Column) -> Vec<&Column> {
        let newest = self.newest();
        match newest.column(&column.name) {
            Some(same) => vec![same],
            None => newest.columns.iter().filter(|now| now.takes_over(column)).collect(),
        }
    }
}

impl Version {
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that files of this version have; a newest version also keeps those of older files.
    pub fn live(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| column.retired.is_none())
    }
}

impl Column {
    /// Every header that is this column's own.
    pub fn spellings(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.published).chain(&self.also)
    }

    /// Whether the other column's header fills this one in files that lack its own.
    #[must_use]
    pub fn takes_over(&self, other: &Column) -> bool {
        let header = comparable_name(&other.published);
        self.falls_back_to.iter().any(|spelling| comparable_name(spelling) == header)
    }

    /// Fraction digits, for the types that have them.
    #[must_use]
    pub fn scale(&self) -> Option<u8> {
        match self.arrow {
            DataType::Decimal128(_, scale) => u8::try_from(scale).ok(),
            _ => None,
        }
    }
}

impl LogicalType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LogicalType::String => "string",
            LogicalType::Money => "money",
            LogicalType::Rate => "rate",
            LogicalType::Decimal => "decimal",
            LogicalType::Integer => "integer",
            LogicalType::Boolean => "boolean",
            LogicalType::Date => "date",
            LogicalType::Timestamp => "timestamp",
            LogicalType::Month => "month",
        }
    }
}
