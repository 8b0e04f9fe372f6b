//! Manifests: the newest one names the live objects, and so is the table.
//!
//! A commit is one put-if-absent of the next version. A writer that meets "already exists" reads what is
//! there: it may be its own success, told twice.

use arrow::datatypes::{DataType, Field, Schema};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

use super::{Created, Lake, manifest_path, manifests_prefix, manifests_root, object_path, objects_prefix};
use crate::error::{Error, Kind, Result};
use crate::model::{PartitionKey, RunId, TableSpec, Totals};

/// The manifest format that this build writes, and the newest that it reads.
const FORMAT: u32 = 1;

/// The table at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of this document.
    pub format: u32,
    /// Smallest format that a reader must know to read this table rightly.
    pub min_reader: u32,
    /// Smallest format that a writer must know to extend this table.
    pub min_writer: u32,
    pub table: String,
    /// 1, 2, 3 ...; also the file's name.
    pub version: u64,
    /// Names the change that this commit makes: the same change committed twice is recognised by it.
    pub commit_id: String,
    pub committed_at: Timestamp,
    pub run_id: RunId,
    pub partition_columns: [String; 2],
    pub schema: StoredSchema,
    /// Sorted by key.
    pub partitions: Vec<Partition>,
}

/// One account and month: its live objects and what is known about them.
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
    /// When the newest export that is wholly in here was finished; `None` for hand-downloaded files only.
    pub extracted_at: Option<Timestamp>,
    /// Whether an unfiltered export of the whole month stands behind it.
    pub whole: bool,
}

/// An immutable Parquet file: `_payoutlake/objects/<table>/<hash>.parquet`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// blake3 of the file, in hex.
    pub hash: String,
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

/// What became of a commit.
#[derive(Debug)]
#[must_use]
pub enum CommitOutcome {
    Committed,
    /// Another writer was first; this is the table now. Plan again on it.
    Conflict(Box<Manifest>),
}

impl Manifest {
    /// The manifest that follows `current` (or begins the table), with `partitions` as the table's content.
    #[must_use]
    pub fn next(
        current: Option<&Manifest>,
        spec: &TableSpec,
        mut partitions: Vec<Partition>,
        commit_id: String,
        run_id: RunId,
        committed_at: Timestamp,
    ) -> Manifest {
        partitions.sort_by(|a, b| a.key.cmp(&b.key));
        Manifest {
            format: FORMAT,
            min_reader: FORMAT,
            min_writer: FORMAT,
            table: spec.name.clone(),
            version: current.map_or(1, |current| current.version + 1),
            commit_id,
            committed_at,
            run_id,
            partition_columns: spec.partition_columns.clone(),
            schema: StoredSchema::of(&spec.schema),
            partitions,
        }
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
    /// [`Kind::Contract`] when a type is not known to this build.
    pub fn to_arrow(&self) -> Result<Schema> {
        let field = |column: &StoredColumn| {
            let data_type = column.data_type.parse::<DataType>().map_err(|cause| {
                Error::new(Kind::Contract, "a column type in the manifest is not known to this build")
                    .with("column", &column.name)
                    .with("type", &column.data_type)
                    .hint("use a payoutlake at least as new as the one that wrote the lake")
                    .caused_by(cause)
            })?;
            Ok(Field::new(&column.name, data_type, column.nullable).with_metadata(column.metadata.clone()))
        };
        Ok(Schema::new(self.0.iter().map(field).collect::<Result<Vec<_>>>()?))
    }
}

/// Names of the tables that have a commit, sorted.
///
/// # Errors
/// [`Kind::Destination`].
pub async fn tables(lake: &Lake) -> Result<Vec<String>> {
    lake.folders(&manifests_root()).await
}

/// The newest manifest of a table; `None` before its first commit.
///
/// # Errors
/// [`Kind::Destination`] when it cannot be read, [`Kind::Contract`] when it is newer than this build.
pub async fn newest(lake: &Lake, table: &str) -> Result<Option<Manifest>> {
    let paths = lake.list(&manifests_prefix(table)).await?;
    let Some(path) = paths.iter().rfind(|path| path.as_ref().ends_with(".json")) else { return Ok(None) };
    read(lake, path).await
}

async fn read(lake: &Lake, path: &object_store::path::Path) -> Result<Option<Manifest>> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
        min_reader: u32,
    }
    // First the version alone: a newer document may have another shape.
    let Some(version) = lake.get_json::<Version>(path).await? else { return Ok(None) };
    if version.min_reader > FORMAT {
        return Err(Error::new(Kind::Contract, "the table was written by a newer payoutlake")
            .with("manifest", path)
            .with("format", version.format)
            .with("this build reads up to", FORMAT)
            .hint("update payoutlake; nothing was changed"));
    }
    lake.get_json(path).await
}

/// Makes `manifest` the table, unless another writer was first.
///
/// # Errors
/// [`Kind::Destination`]; [`Kind::Contract`] when the table may only be extended by a newer build.
pub async fn commit(lake: &Lake, manifest: &Manifest) -> Result<CommitOutcome> {
    let path = manifest_path(&manifest.table, manifest.version);
    if lake.create_json(&path, manifest).await? == Created::New {
        return Ok(CommitOutcome::Committed);
    }
    match read(lake, &path).await? {
        // Our own put, answered twice (a retry after a lost answer).
        Some(there) if there.commit_id == manifest.commit_id && there.run_id == manifest.run_id => {
            Ok(CommitOutcome::Committed)
        }
        _ => match newest(lake, &manifest.table).await? {
            Some(winner) => Ok(CommitOutcome::Conflict(Box::new(winner))),
            None => Err(Error::new(Kind::Destination, "a manifest exists and cannot be listed")
                .with("manifest", path)
                .hint("the storage does not list what it holds; check it, then run again")),
        },
    }
}

impl Manifest {
    /// # Errors
    /// [`Kind::Contract`] when this build is too old to extend the table.
    pub fn check_writable(&self) -> Result<()> {
        if self.min_writer <= FORMAT {
            return Ok(());
        }
        Err(Error::new(Kind::Contract, "the table may only be extended by a newer payoutlake")
            .with("table", &self.table)
            .with("needs format", self.min_writer)
            .with("this build writes", FORMAT)
            .hint("update payoutlake; nothing was changed"))
    }
}

/// Whether every live object is there with its size: one listing, no reading.
///
/// # Errors
/// [`Kind::Destination`] that names what is missing or cut.
pub async fn check_objects(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let there = lake.list_sizes(&objects_prefix(&manifest.table)).await?;
    let there: HashMap<&str, u64> = there
        .iter()
        .filter_map(|(path, bytes)| Some((path.filename()?.strip_suffix(".parquet")?, *bytes)))
        .collect();
    let damaged: Vec<&Object> =
        manifest.objects().filter(|object| there.get(object.hash.as_str()) != Some(&object.bytes)).collect();
    let Some(first) = damaged.first() else { return Ok(()) };
    Err(Error::new(Kind::Destination, "objects of the table are missing or damaged")
        .with("table", &manifest.table)
        .with("objects", damaged.len())
        .with("first", object_path(&manifest.table, &first.hash))
        .hint("restore them from a backup of the lake; nothing was changed"))
}

impl Manifest {
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
