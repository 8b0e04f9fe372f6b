//! The manifest: one table of one account at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::FORMAT;
use super::store::together;
use super::{Chain, Lake, object_path};
use crate::error::{Error, Kind, Result};
use crate::model::{
    Account, Hop, PartitionKey, RequestId, RunId, SourceText, TREATED_VARIOUSLY, TableSpec, Totals, Window,
    treatments,
};

/// One table of one account at one moment: its live objects, and what is known about them.
///
/// Every manifest is complete, so that a reader needs one document however long the history is. A document has one
/// entry for each month of one account: some ten kilobytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this document.
    pub format: u32,
    /// Smallest format that a reader must know to read this table rightly.
    pub min_reader: u32,
    /// Smallest format that a writer must know to extend this table.
    pub min_writer: u32,
    pub table: String,
    pub account: Account,
    /// 1, 2, 3 ...; also the file's name.
    pub version: u64,
    /// Names the change that this commit makes: the same change committed twice is recognised by it.
    pub commit_id: String,
    /// Never earlier than that of the version before, whatever the clocks of the writers say.
    pub committed_at: Timestamp,
    pub run_id: RunId,
    pub operation: Operation,
    /// The newest version, this one included, in which rows changed: later ones only confirm them.
    pub rewritten_in: u64,
    /// When the newest pull of everything was finished, for a table that is pulled whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled_at: Option<Timestamp>,
    /// For a table that is derived from others: up to which version of each it follows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub follows: BTreeMap<String, u64>,
    pub partition_columns: [String; 2],
    pub schema: StoredSchema,
    /// Sorted by key.
    pub partitions: Vec<Partition>,
}

/// What a commit did, and on whose word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub cause: Cause,
    /// For people: `transaction_history 2026-07..2026-09`, the name of a file, `to version 17`.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// SHA-256 of the bytes that the rows came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// How many bytes, and which texts were in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<SourceText>,
    /// What was counted on the way to the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hops: Vec<Hop>,
}

impl Operation {
    /// Of which nothing else is known.
    #[must_use]
    pub fn new(cause: Cause, what: String) -> Operation {
        Operation {
            cause,
            what,
            window: None,
            request_id: None,
            blob: None,
            blob_bytes: None,
            texts: Vec::new(),
            hops: Vec::new(),
        }
    }
}

/// Why rows changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// An export of the service.
    Export,
    /// A file that a person downloaded.
    File,
    /// A person went back to an earlier version.
    Rollback,
    /// Rows that were refused and fit now.
    Replay,
    /// The table follows others.
    Derived,
}

impl Cause {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Export => "export",
            Cause::File => "file",
            Cause::Rollback => "rollback",
            Cause::Replay => "replay",
            Cause::Derived => "derived",
        }
    }
}

/// One month (or other second-level value): its live objects and what is known about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partition {
    #[serde(flatten)]
    pub key: PartitionKey,
    pub objects: Vec<Object>,
    /// Rows and exact sums per money column and currency, over all objects.
    pub totals: Totals,
    /// Sum modulo 2^128 of the rows' hashes, in hex: two partitions with the same rows have the same digest,
    /// in whatever order the rows stand.
    pub digest: String,
    /// When the newest export was finished that is the whole truth about this partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_at: Option<Timestamp>,
    /// The newest extraction of a row that was merged in later than `covered_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_at: Option<Timestamp>,
    /// SHA-256 of the downloaded bytes behind the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
    /// What all rows were made of and by which rules, as a hash: an export of which it is the same has the same rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_of: Option<String>,
    /// Columns of the table that the rows could not have: their files, or the schema of their time, lack them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// What was done to columns of personal data: `hash:1a2b3c4d`, `mask`, `drop`, or several of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub treatments: BTreeMap<String, String>,
    /// The rules by which the rows were typed (see [`crate::schema::RULES`]).
    pub rules: u32,
}

/// An immutable Parquet file: `_payoutlake/objects/<table>/<name>.parquet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// blake3 of the file and the run that wrote it: no later writer ever makes the same name, so that an old file
    /// that no manifest names can be removed beside running writers.
    pub name: String,
    pub bytes: u64,
    pub rows: u64,
}

/// The table's columns as text, so that a table opens without its schema file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSchema(Vec<StoredColumn>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StoredColumn {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
    nullable: bool,
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    metadata: HashMap<String, String>,
}

/// What a new manifest says besides its partitions.
#[derive(Debug, Clone)]
pub struct Commit {
    pub operation: Operation,
    pub run_id: RunId,
    pub committed_at: Timestamp,
}

impl Manifest {
    /// The manifest that follows `current` (or begins the table), with `partitions` as the table's content.
    #[must_use]
    pub fn next(
        current: Option<&Manifest>,
        chain: &Chain,
        spec: &TableSpec,
        mut partitions: Vec<Partition>,
        commit: Commit,
    ) -> Manifest {
        partitions.sort_by(|a, b| a.key.cmp(&b.key));
        let schema = StoredSchema::of(&spec.schema);
        // Columns that the table gains now are unknown to what is carried over.
        let gained = current.map(|current| schema.gained_since(&current.schema)).unwrap_or_default();
        for partition in &mut partitions {
            let old = current.and_then(|current| current.partition(&partition.key));
            if old.is_some_and(|old| old.objects == partition.objects) {
                partition.lacks(&gained);
            }
        }
        let version = current.map_or(1, |current| current.version + 1);
        let same_rows = current.filter(|current| same_objects(&current.partitions, &partitions));
        Manifest {
            format: FORMAT,
            min_reader: FORMAT,
            min_writer: FORMAT,
            table: chain.table.clone(),
            account: chain.account.clone(),
            version,
            commit_id: commit_id(&partitions),
            committed_at: current.map_or(commit.committed_at, |c| c.committed_at.max(commit.committed_at)),
            run_id: commit.run_id,
            operation: commit.operation,
            rewritten_in: same_rows.map_or(version, |current| current.rewritten_in),
            pulled_at: current.and_then(|current| current.pulled_at),
            follows: current.map(|current| current.follows.clone()).unwrap_or_default(),
            partition_columns: spec.partition_columns.clone(),
            schema,
            partitions,
        }
    }

    /// The manifest that follows this one and has the content of an earlier one.
    #[must_use]
    pub fn back_to(&self, earlier: &Manifest, commit: Commit) -> Manifest {
        let mut partitions = earlier.partitions.clone();
        let gained = self.schema.gained_since(&earlier.schema);
        partitions.iter_mut().for_each(|partition| partition.lacks(&gained));
        Manifest {
            version: self.version + 1,
            commit_id: commit_id(&partitions),
            committed_at: self.committed_at.max(commit.committed_at),
            run_id: commit.run_id,
            operation: commit.operation,
            rewritten_in: if same_objects(&self.partitions, &partitions) {
                self.rewritten_in
            } else {
                self.version + 1
            },
            pulled_at: earlier.pulled_at,
            partitions,
            ..self.clone()
        }
    }

    #[must_use]
    pub fn chain(&self) -> Chain {
        Chain { table: self.table.clone(), account: self.account.clone() }
    }

    #[must_use]
    pub fn partition(&self, key: &PartitionKey) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.key == *key)
    }

    #[must_use]
    pub fn rows(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.totals.rows).sum()
    }

    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.partitions.iter().flat_map(|partition| &partition.objects)
    }

    /// Rows and sums of the whole table.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.partitions.iter().for_each(|partition| totals.merge(&partition.totals));
        totals
    }

    /// # Errors
    /// [`Kind::Contract`] when the table has a column that `schema` lacks or types otherwise: writing it under that
    /// schema would lose the column.
    pub fn check_columns(&self, schema: &Schema) -> Result<()> {
        let there = self.schema.to_arrow()?;
        let lost = there.fields().iter().find(|field| {
            !schema.field_with_name(field.name()).is_ok_and(|new| new.data_type() == field.data_type())
        });
        let Some(lost) = lost else { return Ok(()) };
        Err(Error::new(Kind::Contract, "the table has a column that this command does not know")
            .with("table", &self.table)
            .with("column", lost.name())
            .with("type", lost.data_type())
            .hint("use the schema folder or the payoutlake that wrote the table last; nothing was changed"))
    }
}

impl Manifest {
    /// # Errors
    /// [`Kind::Config`] when the table has a column of personal data that is hashed, masked or dropped, and whoever
    /// writes says nothing about it: it would become plain.
    pub fn check_treatments(&self, schema: &Schema) -> Result<()> {
        let (there, said) = (treatments(&self.schema.to_arrow()?), treatments(schema));
        let silent = there.iter().find(|(name, label)| *label != KEPT && !said.contains_key(*name));
        let Some((column, label)) = silent else { return Ok(()) };
        Err(Error::new(Kind::Config, "a column of the table is not kept as it is, and this command would write it plain")
            .with("table", &self.table)
            .with("column", column)
            .with("in the table", label)
            .hint("use the pipeline file that says so (--pipeline FILE), or write \"keep\" for the column there; nothing was changed"))
    }
}

/// How a column is marked that somebody has decided to keep.
const KEPT: &str = "keep";

impl Partition {
    /// Notes what was done to the columns of the rows that are written now, and of those that stay beside them.
    pub fn treat(&mut self, schema: &Schema, beside: Option<&Partition>) {
        self.treatments = treatments(schema);
        self.treatments.retain(|_, label| label != KEPT);
        let Some(beside) = beside.filter(|old| old.totals.rows > 0) else { return };
        let both: BTreeSet<String> =
            self.treatments.keys().chain(beside.treatments.keys()).cloned().collect();
        let unlike: Vec<String> =
            both.into_iter().filter(|name| !self.is_treated_like(beside, name)).collect();
        for column in unlike {
            self.treatments.insert(column, TREATED_VARIOUSLY.to_owned());
        }
    }

    /// Whether the same was done to a column in both.
    #[must_use]
    pub fn is_treated_like(&self, other: &Partition, column: &str) -> bool {
        let (ours, theirs) = (self.treatments.get(column), other.treatments.get(column));
        ours == theirs && ours.is_none_or(|label| label != TREATED_VARIOUSLY)
    }

    /// Notes columns that the rows could not have.
    fn lacks(&mut self, columns: &[String]) {
        let new = columns.iter().filter(|column| !self.absent.contains(column)).cloned().collect::<Vec<_>>();
        self.absent.extend(new);
    }
}

fn same_objects(left: &[Partition], right: &[Partition]) -> bool {
    let live = |partitions: &[Partition]| -> Vec<(PartitionKey, Vec<Object>)> {
        let filled = partitions.iter().filter(|partition| !partition.objects.is_empty());
        filled.map(|partition| (partition.key.clone(), partition.objects.clone())).collect()
    };
    live(left) == live(right)
}

/// Names the content: the same partitions give the same id.
fn commit_id(partitions: &[Partition]) -> String {
    let mut hasher = blake3::Hasher::new();
    for partition in partitions {
        let covered = partition.covered_at.map_or(0, Timestamp::as_microsecond);
        hasher.update(partition.key.to_string().as_bytes());
        hasher.update(partition.digest.as_bytes());
        hasher.update(&covered.to_le_bytes());
        partition.objects.iter().for_each(|object| {
            hasher.update(object.name.as_bytes());
        });
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

impl StoredSchema {
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        let column = |field: &Arc<Field>| StoredColumn {
            name: field.name().clone(),
            data_type: field.data_type().to_string(),
            nullable: field.is_nullable(),
            metadata: field.metadata().clone(),
        };
        StoredSchema(schema.fields().iter().map(column).collect())
    }

    /// # Errors
    /// [`Kind::Contract`] for a type that this build does not know.
    pub fn to_arrow(&self) -> Result<Schema> {
        let field = |column: &StoredColumn| {
            let data_type = column.data_type.parse::<DataType>().map_err(|cause| {
                Error::new(Kind::Contract, "a manifest names a column type that this build does not know")
                    .with("column", &column.name)
                    .with("type", &column.data_type)
                    .hint("use a payoutlake at least as new as the one that wrote the lake")
                    .caused_by(cause)
            })?;
            Ok(Field::new(&column.name, data_type, column.nullable).with_metadata(column.metadata.clone()))
        };
        Ok(Schema::new(self.0.iter().map(field).collect::<Result<Vec<_>>>()?))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|column| column.name.as_str())
    }

    /// The columns that `before` does not have.
    fn gained_since(&self, before: &StoredSchema) -> Vec<String> {
        let new = self.names().filter(|name| !before.names().any(|known| known == *name));
        new.map(str::to_owned).collect()
    }
}

/// Whether every live object is there with its size: one look at each, no reading.
///
/// # Errors
/// [`Kind::Destination`] that names what is missing or cut.
pub async fn check_objects(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let chain = manifest.chain();
    let paths: Vec<_> = manifest.objects().map(|object| object_path(&chain, &object.name)).collect();
    let sizes = together(paths.iter().map(|path| lake.size(path)).collect()).await?;
    let looked = manifest.objects().zip(&paths).zip(sizes);
    let damaged: Vec<_> = looked.filter(|((object, _), size)| *size != Some(object.bytes)).collect();
    let Some(((_, first), _)) = damaged.first() else { return Ok(()) };
    Err(Error::new(Kind::Destination, "objects of the table are missing or damaged")
        .with("table", &manifest.table)
        .with("account", &manifest.account)
        .with("objects", damaged.len())
        .with("first", first)
        .hint("restore them from a backup of the lake; nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::TimeUnit;

    #[test]
    fn every_type_that_we_store_reads_back() {
        let schema = Schema::new(vec![
            Field::new("s", DataType::Utf8, true).with_metadata([("published".into(), "S".into())].into()),
            Field::new("d", DataType::Decimal128(38, 10), false),
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("day", DataType::Date32, true),
            Field::new("h", DataType::FixedSizeBinary(16), false),
            Field::new("b", DataType::Boolean, true),
            Field::new("i", DataType::Int32, true),
            Field::new("j", DataType::Int64, true),
            Field::new("x", DataType::Binary, true),
        ]);
        let stored = StoredSchema::of(&schema);
        let json = serde_json::to_string(&stored).unwrap();
        let back: StoredSchema = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_arrow().unwrap(), schema);
    }
}
