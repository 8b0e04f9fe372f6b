//! A table over an explicit list of Parquet files with explicit partition values.
//!
//! DataFusion's own listing table over such a list has no partition values, and a filter on a month would
//! answer zero rows.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use object_store::ObjectMeta;
use object_store::path::Path;

/// Where the files of a table stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the lake's store.
    Lake,
    /// On local disk: files that are not objects yet.
    Local,
}

/// One Parquet file, or some of its rows.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    /// Path inside the store; for a local file its absolute path.
    pub path: Path,
    pub bytes: u64,
    pub rows: u64,
    /// One value for each partition column.
    pub partition: Vec<String>,
    /// Which rows of the file these are; `None`: all of them.
    pub only: Option<RowSelection>,
}

/// The files as one table: the columns of `schema`, then the partition columns (text).
#[derive(Debug)]
pub struct ParquetFiles {
    pub(super) place: Place,
    table_schema: TableSchema,
    partition_schema: SchemaRef,
    pub(super) files: Vec<ParquetFile>,
}

impl ParquetFiles {
    /// `schema` has the columns of the files; a file that lacks some of them reads as NULL there.
    #[must_use]
    pub fn new(
        place: Place,
        schema: SchemaRef,
        partition_columns: &[String],
        files: Vec<ParquetFile>,
    ) -> Self {
        let columns: Vec<FieldRef> =
            partition_columns.iter().map(|name| Arc::new(Field::new(name, DataType::Utf8, true))).collect();
        let partition_schema = Arc::new(Schema::new(columns.clone()));
        let table_schema = TableSchema::builder(schema).with_table_partition_cols(columns).build();
        ParquetFiles { place, table_schema, partition_schema, files }
    }

    /// Rows of all files.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Whether only partition columns stand in the expression: it can then be decided for whole files.
    fn is_about_partitions(&self, filter: &Expr) -> bool {
        !filter.is_volatile()
            && filter.column_refs().iter().all(|c| self.partition_schema.column_with_name(&c.name).is_some())
    }

    /// The files whose partition values do not rule the filters out.
    fn selected(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<&ParquetFile>> {
        let mut keep = vec![true; self.files.len()];
        let batch = self.partition_values()?;
        let schema = DFSchema::try_from(Arc::clone(&self.partition_schema))?;
        for filter in filters.iter().filter(|filter| self.is_about_partitions(filter)) {
            let physical = state.create_physical_expr(filter.clone(), &schema)?;
            let values = physical.evaluate(&batch)?.into_array(batch.num_rows())?;
            let values = values
                .as_any()
                .downcast_ref::<BooleanArray>()
                .ok_or_else(|| DataFusionError::Internal(format!("a filter is not a condition: {filter}")))?;
            for (keep, value) in keep.iter_mut().zip(values) {
                *keep &= value == Some(true);
            }
        }
        Ok(self.files.iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect())
    }

    /// One row for each file.
    fn partition_values(&self) -> Result<RecordBatch> {
        let columns = (0..self.partition_schema.fields().len()).map(|column| {
            let values = self.files.iter().map(|file| partition_value(&file.partition[column]));
            Arc::new(values.collect::<StringArray>()) as ArrayRef
        });
        let options =
            datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(self.files.len()));
        let schema = Arc::clone(&self.partition_schema);
        Ok(RecordBatch::try_new_with_options(schema, columns.collect(), &options)?)
    }

    fn to_partitioned(&self, file: &ParquetFile) -> PartitionedFile {
        let values =
            file.partition.iter().map(|value| ScalarValue::Utf8(partition_value(value).map(str::to_owned)));
        let mut statistics = Statistics::new_unknown(self.table_schema.file_schema());
        statistics.num_rows = Precision::Exact(file.rows as usize);
        // The path as it is: `PartitionedFile::new` would encode it once more.
        let meta = ObjectMeta {
            location: file.path.clone(),
            last_modified: Default::default(),
            size: file.bytes,
            e_tag: None,
            version: None,
        };
        let partitioned = PartitionedFile::new_from_meta(meta)
            .with_partition_values(values.collect())
            .with_statistics(Arc::new(statistics));
        match &file.only {
            Some(only) => partitioned.with_extension(ParquetRowSelection::new(only.clone())),
            None => partitioned,
        }
    }
}

/// The hive name of NULL is NULL in SQL.
fn partition_value(value: &str) -> Option<&str> {
    (value != crate::model::DEFAULT_PARTITION).then_some(value)
}

#[async_trait]
impl TableProvider for ParquetFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table_schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| {
            if self.is_about_partitions(filter) {
                TableProviderFilterPushDown::Exact
            } else {
                // Row groups and pages are pruned by statistics; the rows are filtered again above the scan.
                TableProviderFilterPushDown::Inexact
            }
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let selected = self.selected(state, filters)?;
        if selected.is_empty() {
            // A scan of no file has no stream of rows at all, and a sort above it needs one.
            let schema = self.schema();
            let schema = projection.map_or(Ok(Arc::clone(&schema)), |p| schema.project(p).map(Arc::new))?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let groups = selected.into_iter().map(|file| self.to_partitioned(file));
        // One group of files for each thread, so that a query uses all cores.
        let groups = FileGroup::new(groups.collect()).split_files(state.config().target_partitions());
        let options = state.default_table_options().parquet;
        let source = ParquetSource::new(self.table_schema.clone()).with_table_parquet_options(options);
        let config = FileScanConfigBuilder::new(super::store_url(self.place), Arc::new(source))
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
