//! Views for queries that were written against an older shape of a table: `transaction_history_v3`.

use datafusion::common::ScalarValue;
use datafusion::prelude::{DataFrame, Expr, ident, lit, when};

use super::Query;
use crate::error::{Error, Kind, Result};
use crate::schema::{Column, Dataset, OUR_COLUMNS, Registry, Version};

impl Query {
    /// Adds a view for each version of each dataset in the lake: the columns of that version under its names, then ours,
    /// then those of the partition. All rows are in it, whatever version their file was.
    ///
    /// # Errors
    /// [`Kind::Bug`] when a view cannot be planned.
    pub async fn add_views(&self, registry: &Registry) -> Result<()> {
        for dataset in registry.datasets() {
            for version in &dataset.versions {
                let name = format!("{}_v{}", dataset.name, version.number);
                // A dataset could be called so.
                if !self.has(dataset.name.as_str())? || self.has(&name)? {
                    continue;
                }
                let table = self.session.table(dataset.name.as_str()).await.map_err(planning)?;
                let view = table.clone().select(columns(dataset, version, &table)).map_err(planning)?;
                self.session.register_table(&name, view.into_view()).map_err(planning)?;
            }
        }
        Ok(())
    }

    fn has(&self, table: &str) -> Result<bool> {
        self.session.table_exist(table).map_err(planning)
    }
}

fn columns(dataset: &Dataset, version: &Version, table: &DataFrame) -> Vec<Expr> {
    let has = |name: &str| table.schema().has_column_with_unqualified_name(name);
    let own = version.columns.iter().map(|column| value(dataset, column, &has).alias(&column.name));
    let partition = ["account", dataset.partition.as_str()];
    let ours = OUR_COLUMNS.iter().map(|(name, _)| *name).chain(partition).filter(|name| has(name));
    own.chain(ours.map(ident)).collect()
}

/// What the table has of a column; one that became several has a value only where these agree: an amount beside the
/// wrong currency would be a wrong sum.
fn value(dataset: &Dataset, column: &Column, has: &impl Fn(&str) -> bool) -> Expr {
    let mut parts =
        dataset.lands_in(column).into_iter().filter(|part| has(&part.name)).map(|part| ident(&part.name));
    let Some(first) = parts.next() else {
        // The table was last written before it had the column.
        return lit(ScalarValue::try_new_null(&column.arrow).unwrap_or(ScalarValue::Null));
    };
    parts.fold(first.clone(), |value, part| {
        when(part.eq(first.clone()), value).end().unwrap_or_else(|_| first.clone())
    })
}

fn planning(cause: datafusion::error::DataFusionError) -> Error {
    Error::new(Kind::Bug, "a view of an older version could not be planned").caused_by(cause)
}
