//! Step 8: SQL over the committed tables.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download -> 4 decode -> 5 normalise -> 6 write -> 7 commit -> [8 query]
//!                                                                                        ^^^^^^^ this room
//! ```
//!
//! Each table is the set of objects that its newest manifest names, with the partition values stated
//! explicitly: the example row `E-2026-09-000017` is found in the one file of `earning_month = '2026-09'`.

mod changes;
mod moved;
mod views;

pub use changes::{Changes, Late, Moved, Span, Versions, lateness};
pub use moved::PaidBy;

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::SessionContext;
use object_store::Error::NotFound;

use crate::engine::{Engine, ParquetFile, ParquetFiles, Place};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Lake, Manifest, Moment, Object, Partition, object_path, together};
use crate::model::TableSpec;
use crate::secret::redact_error;

/// A read-only session over one lake, as it was when it was opened.
pub struct Query {
    session: SessionContext,
    tables: Vec<String>,
}

/// The rows of an answer as they come.
pub struct Answer {
    pub schema: SchemaRef,
    pub rows: SendableRecordBatchStream,
}

impl Query {
    /// Registers every table that has a commit, as it was at a moment.
    ///
    /// # Errors
    /// [`Kind::Destination`] when the lake cannot be read, [`Kind::Contract`] when a table is newer than this build,
    /// [`Kind::Usage`] when the history of that instant is not kept any more.
    pub async fn open(lake: &Lake, engine: &Engine, moment: &Moment) -> Result<Query> {
        let session = engine.session();
        let tables = Chain::tables(lake).await?;
        for table in &tables {
            let chains = Chain::of_table(lake, table).await?;
            let snapshots = together(chains.iter().map(|chain| chain.at(lake, moment)).collect()).await?;
            let snapshots: Vec<Manifest> = snapshots.into_iter().flatten().collect();
            let Some(provider) = provider(&snapshots)? else { continue };
            register(&session, table, provider)?;
        }
        Ok(Query { session, tables })
    }

    /// With those of these tables that no commit has made yet, without a row: where all is well nothing was ever refused, and
    /// a query that watches over that finds no row, and not no table.
    ///
    /// # Errors
    /// [`Kind::Bug`].
    pub fn with_empty(mut self, tables: &[TableSpec]) -> Result<Query> {
        for spec in tables {
            if !self.tables.is_empty() && !self.tables.contains(&spec.name) {
                let schema = Arc::clone(&spec.schema);
                let none = ParquetFiles::new(Place::Lake, schema, &spec.partition_columns, Vec::new());
                register(&self.session, &spec.name, none)?;
                self.tables.push(spec.name.clone());
            }
        }
        Ok(self)
    }

    #[must_use]
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Plans and starts one query. Nothing can be written through it.
    ///
    /// # Errors
    /// [`Kind::Usage`] for SQL that is wrong or would write.
    pub async fn run(&self, sql: &str) -> Result<Answer> {
        let read_only =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        let frame =
            self.session.sql_with_options(sql, read_only).await.map_err(|cause| self.refused(cause))?;
        let rows = frame.execute_stream().await.map_err(|cause| self.refused(cause))?;
        Ok(Answer { schema: rows.schema(), rows })
    }

    fn refused(&self, cause: DataFusionError) -> Error {
        let tables = self.tables.join(", ");
        let text = cause.strip_backtrace();
        // A table has a hundred columns and more: the list of all of them buries what is wrong.
        let text = text.split("\nValid fields are").next().unwrap_or(&text).to_owned();
        let hint = if self.tables.is_empty() {
            "the lake has no tables yet: run a pipeline first".to_owned()
        } else if text.contains("not found") || text.contains("No field named") {
            format!("the tables are {tables}; `DESCRIBE <table>` lists the columns of one")
        } else {
            format!("queries only read; the tables are {tables}")
        };
        Error::new(Kind::Usage, format!("the query was refused: {text}")).hint(hint)
    }
}

impl Answer {
    /// The error of a query that failed while its rows were read.
    #[must_use]
    pub fn failed(cause: DataFusionError) -> Error {
        let unreadable = |hint: &str| {
            Error::new(Kind::Destination, "the lake could not be read")
                .hint(hint)
                .caused_by(redact_error(&cause))
        };
        match cause.find_root() {
            DataFusionError::ObjectStore(failed) if !matches!(**failed, NotFound { .. }) => unreadable(
                "check the storage and its credentials (src/docs/storage.md), and run the same command again",
            ),
            DataFusionError::ObjectStore(_)
            | DataFusionError::IoError(_)
            | DataFusionError::ParquetError(_) => unreadable(
                "a file of the lake is missing or damaged; restore `_payoutlake/objects` from a backup",
            ),
            _ => Error::new(Kind::Usage, format!("the query failed: {}", cause.strip_backtrace())),
        }
    }
}

fn register(session: &SessionContext, table: &str, provider: ParquetFiles) -> Result<()> {
    let done = session.register_table(table, Arc::new(provider));
    done.map(drop).map_err(|cause| Error::new(Kind::Bug, "a table could not be registered").caused_by(cause))
}

/// One table over the manifests of its accounts; `None` without any.
fn provider(manifests: &[Manifest]) -> Result<Option<ParquetFiles>> {
    let Some(first) = manifests.first() else { return Ok(None) };
    let files = manifests.iter().flat_map(|manifest| {
        let chain = manifest.chain();
        let objects = manifest.partitions.iter().flat_map(|part| part.objects.iter().map(move |o| (part, o)));
        let file = move |(partition, object): (&Partition, &Object)| ParquetFile {
            path: object_path(&chain, &object.name),
            bytes: object.bytes,
            rows: object.rows,
            partition: vec![partition.key.account.to_string(), partition.key.value.clone()],
            only: None,
        };
        objects.map(file).collect::<Vec<_>>()
    });
    let schema = Arc::new(schema(manifests)?);
    Ok(Some(ParquetFiles::new(Place::Lake, schema, &first.partition_columns, files.collect())))
}

/// The columns of all accounts: one that was loaded by an older payoutlake may lack some.
fn schema(manifests: &[Manifest]) -> Result<Schema> {
    let schemas = manifests.iter().map(|manifest| manifest.schema.to_arrow()).collect::<Result<Vec<_>>>()?;
    let widest = schemas.iter().max_by_key(|schema| schema.fields().len()).cloned();
    let mut fields: Vec<FieldRef> =
        widest.iter().flat_map(|schema| schema.fields().iter().cloned()).collect();
    for (manifest, field) in
        manifests.iter().zip(&schemas).flat_map(|(m, schema)| schema.fields().iter().map(move |f| (m, f)))
    {
        match fields.iter().find(|known| known.name() == field.name()) {
            None => fields.push(Arc::new(field.as_ref().clone().with_nullable(true))),
            Some(known) if known.data_type() == field.data_type() => {}
            Some(known) => {
                return Err(Error::new(Kind::Contract, "two accounts have a column in different types")
                    .with("table", manifest.chain())
                    .with("column", field.name())
                    .with("types", format!("{} and {}", known.data_type(), field.data_type()))
                    .hint("run the pipelines of both accounts with the same payoutlake and schema folder"));
            }
        }
    }
    Ok(Schema::new(fields))
}
