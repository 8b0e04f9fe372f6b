//! Keys that stand on more than one row of a file. All rows are kept: a sum that Microsoft's file has twice is not ours to
//! halve. But somebody should know.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::functions_aggregate::expr_fn::{count, min, sum};
use datafusion::prelude::{DataFrame, col, lit};

use super::guards::new_files;
use super::verify::table_of;
use super::{Context, Staged};
use crate::engine::{Place, Slice, failed};
use crate::error::Result;
use crate::model::TableSpec;

const KEY: &str = "_pc_row_key";
const HASH: &str = "_pc_row_hash";

/// How many keys are repeated, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    pub keys: i64,
    /// Rows with these keys.
    pub rows: i64,
    /// Keys of which two rows differ.
    pub differing: i64,
    /// The smallest of the keys.
    pub first: String,
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repeated { keys, rows, differing, first } = self;
        write!(
            f,
            "keys that stand on more than one row: {keys}, on {rows} rows, {differing} of them with different contents; \
             all rows are kept; first: {first}"
        )
    }
}

/// Looks for repeated keys in what was staged of one file; `None` when there are none, as it should be.
///
/// # Errors
/// [`crate::error::Kind::Destination`] when the staged files cannot be read.
pub async fn repeated_keys(
    context: &Context<'_>,
    spec: &TableSpec,
    staged: &Staged,
) -> Result<Option<Repeated>> {
    let parts: Vec<_> = staged.parts.iter().collect();
    if parts.is_empty() || !staged.may_repeat {
        return Ok(None);
    }
    let table = Arc::new(table_of(spec, Place::Local, new_files(&parts)?));
    let mut found: Option<Repeated> = None;
    for slice in Slice::ALL.parts(table.rows(), context.engine.keys_at_once()) {
        let rows = || {
            let rows = context.engine.session().read_table(table.clone())?;
            slice.filter(rows.select_columns(&[KEY, HASH])?)
        };
        if let Some(more) =
            look(rows).await.map_err(|cause| failed(cause, "the keys could not be compared"))?
        {
            found = Some(match found {
                Some(found) => Repeated {
                    keys: found.keys + more.keys,
                    rows: found.rows + more.rows,
                    differing: found.differing + more.differing,
                    first: found.first.min(more.first),
                },
                None => more,
            });
        }
    }
    Ok(found)
}

async fn look(
    rows: impl Fn() -> datafusion::common::Result<DataFrame>,
) -> datafusion::common::Result<Option<Repeated>> {
    let by_key = rows()?.aggregate(vec![col(KEY)], vec![count(lit(1)).alias("rows")])?;
    let several = by_key.filter(col("rows").gt(lit(1)))?;
    let counted =
        several.aggregate(vec![], vec![count(lit(1)), sum(col("rows")), min(col(KEY))])?.collect().await?;
    let number = |column: usize| counted[0].column(column).as_primitive::<Int64Type>().value(0);
    if number(0) == 0 {
        return Ok(None);
    }
    // The hash knows every business column. It is read only now that there is something to compare.
    let contents = rows()?.distinct()?.aggregate(vec![col(KEY)], vec![count(lit(1)).alias("contents")])?;
    let differing = contents.filter(col("contents").gt(lit(1)))?.count().await?;
    let first = counted[0].column(2).as_string::<i32>().value(0).to_owned();
    Ok(Some(Repeated { keys: number(0), rows: number(1), differing: differing as i64, first }))
}
