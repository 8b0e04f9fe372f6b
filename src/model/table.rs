//! What a table of the lake looks like.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::{Account, Month};

/// The partition value of a row without a date (the name that Hive and all its readers use for NULL).
pub const DEFAULT_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Where the currency of a money column stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Currency {
    /// In another column of the same row.
    Column(String),
    /// Always this one: `USD`.
    Fixed(String),
}

impl Currency {
    /// Key of a money column's metadata.
    pub const METADATA: &'static str = "currency";

    /// As it stands in the metadata of a column: the name of the other column, or `=USD`.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Currency::Column(name) => name.clone(),
            Currency::Fixed(currency) => format!("={currency}"),
        }
    }

    /// The inverse of [`Currency::to_text`].
    #[must_use]
    pub fn parse(text: &str) -> Currency {
        match text.strip_prefix('=') {
            Some(currency) => Currency::Fixed(currency.to_owned()),
            None => Currency::Column(text.to_owned()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyColumn {
    pub name: String,
    pub currency: Currency,
}

/// A table of the lake: what its files hold and how they are laid out.
#[derive(Debug, Clone)]
pub struct TableSpec {
    pub name: String,
    /// Columns of the files; the partition columns are not among them.
    pub schema: SchemaRef,
    /// Two columns that stand in the path: `account`, and the second level (`earning_month`).
    pub partition_columns: [String; 2],
    /// Rows are sorted by these inside a row group.
    pub sort: Vec<String>,
    /// Columns that people look single values up in: they get bloom filters.
    pub lookup: Vec<String>,
    /// Columns of which no value goes from a month unseen.
    pub vanishing: Vec<String>,
    /// Of the newest version that the table has the columns of.
    pub schema_version: u32,
    /// The rules by which the rows are typed and identified.
    pub rules: u32,
    pub money: Vec<MoneyColumn>,
}

/// Key of a column's metadata: what is done to it because it says something about a person.
const TREATMENT: &str = "treatment";

/// Rows of one partition whose column was treated in several ways.
pub const TREATED_VARIOUSLY: &str = "various";

/// The schema with what is done to its columns: `hash:1a2b3c4d`, `mask`, `drop`, or `keep` where somebody has said so.
#[must_use]
pub fn with_treatments(schema: &SchemaRef, treatments: &BTreeMap<String, String>) -> SchemaRef {
    let field = |field: &Arc<Field>| match treatments.get(field.name()) {
        Some(label) => {
            let mut metadata = field.metadata().clone();
            metadata.insert(TREATMENT.to_owned(), label.clone());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        }
        None => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// What is done to the columns of a schema, where somebody has said something.
#[must_use]
pub fn treatments(schema: &Schema) -> BTreeMap<String, String> {
    let label = |field: &Arc<Field>| Some((field.name().clone(), field.metadata().get(TREATMENT)?.clone()));
    schema.fields().iter().filter_map(label).collect()
}

/// Which partition a row belongs to. The second level is a month for datasets, a name for our own tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct PartitionKey {
    pub account: Account,
    pub value: String,
}

impl PartitionKey {
    /// The partition of a month, or of rows without a date.
    #[must_use]
    pub fn of_month(account: &Account, month: Option<Month>) -> Self {
        let value = month.map_or_else(|| DEFAULT_PARTITION.to_owned(), |month| month.to_string());
        PartitionKey { account: account.clone(), value }
    }

    /// The month, unless this is the partition of rows without a date.
    #[must_use]
    pub fn month(&self) -> Option<Month> {
        Month::parse(&self.value).ok()
    }

    /// The hive path below the table's folder: `account=contoso/earning_month=2026-09`.
    #[must_use]
    pub fn path(&self, columns: &[String; 2]) -> String {
        format!("{}={}/{}={}", columns[0], self.account, columns[1], self.value)
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.value)
    }
}
