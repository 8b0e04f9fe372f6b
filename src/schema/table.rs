//! The lake's table of a dataset: the newest version's columns, then the ones that we add.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::model::{Currency, MoneyColumn, TableSpec};

use super::dataset::{Column, Dataset};

/// The rules by which rows are typed, identified and hashed. Whoever changes what a cell becomes, what a key is made of
/// or how a row is hashed adds one: differences between rows of two rules are ours, and no restatement of Microsoft's.
pub const RULES: u32 = 2;

/// Columns that we add to every row, in their order, with whether they may be null.
///
/// `_pc_request_id` and `_pc_extracted_at` are null for hand-downloaded files, `_pc_extra` where a row has no
/// cell that the schema does not know.
pub const OUR_COLUMNS: [(&str, bool); 10] = [
    ("_pc_run_id", false),
    ("_pc_request_id", true),
    ("_pc_extracted_at", true),
    ("_pc_loaded_at", false),
    ("_pc_source_file", false),
    ("_pc_source_line", false),
    ("_pc_schema_version", false),
    ("_pc_row_key", false),
    ("_pc_row_hash", false),
    ("_pc_extra", true),
];

/// Bytes of `_pc_row_hash`.
pub(crate) const ROW_HASH_BYTES: i32 = 16;

impl Dataset {
    /// The table that the rows of every version land in.
    #[must_use]
    pub fn table(&self) -> TableSpec {
        let columns = &self.newest().columns;
        let ours = OUR_COLUMNS.iter().map(|(name, nullable)| Field::new(*name, our_type(name), *nullable));
        let fields: Vec<Field> = columns.iter().map(field).chain(ours).collect();
        let money = columns.iter().filter_map(|column| {
            column.currency.clone().map(|currency| MoneyColumn { name: column.name.clone(), currency })
        });
        TableSpec {
            name: self.name.to_string(),
            schema: Arc::new(Schema::new(fields)),
            partition_columns: ["account".to_owned(), self.partition.clone()],
            sort: self.sort.clone(),
            lookup: self.lookup.clone(),
            vanishing: self.vanishing.clone(),
            schema_version: self.newest().number,
            rules: RULES,
            money: money.collect(),
        }
    }
}

fn field(column: &Column) -> Field {
    let mut metadata = HashMap::from([("published".to_owned(), column.published.clone())]);
    metadata.extend(column.currency.as_ref().map(|at| (Currency::METADATA.to_owned(), at.to_text())));
    Field::new(&column.name, column.arrow.clone(), !column.required).with_metadata(metadata)
}

fn our_type(name: &str) -> DataType {
    match name {
        "_pc_extracted_at" | "_pc_loaded_at" => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        "_pc_source_line" => DataType::Int64,
        "_pc_schema_version" => DataType::Int32,
        "_pc_row_hash" => DataType::FixedSizeBinary(ROW_HASH_BYTES),
        _ => DataType::Utf8,
    }
}
