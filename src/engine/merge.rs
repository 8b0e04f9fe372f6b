//! Merging by key as joins: which old rows stay, which are superseded, which new rows count.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{DataFrame, Expr, col, lit};
use jiff::Timestamp;

use super::{Engine, ParquetFiles, failed};
use crate::error::Result;

const KEY: &str = "_pc_row_key";
const EXTRACTED_AT: &str = "_pc_extracted_at";

/// Old and new rows of the same shape, and the rule between them: for each key the newer extraction wins.
pub struct Merge {
    pub old: Arc<ParquetFiles>,
    pub new: Arc<ParquetFiles>,
    /// When the new rows were extracted; `None` for hand-downloaded files, which never win over a row whose
    /// extraction time is known.
    pub new_extracted_at: Option<Timestamp>,
    /// Old rows that the new ones replace whatever their key: a full pull of payments replaces all rows
    /// without a payment id.
    pub replaces: Option<Expr>,
}

/// The four disjoint parts: `old = kept + superseded`, `new = added + stale`.
#[derive(Debug, Clone)]
pub struct MergeParts {
    /// Old rows that stay, with their partition columns.
    pub kept: DataFrame,
    /// Old rows that the new ones replace, with their partition columns.
    pub superseded: DataFrame,
    /// New rows that become part of the table, with their partition columns.
    pub added: DataFrame,
    /// New rows that are older than what the table holds.
    pub stale: DataFrame,
}

impl Merge {
    /// # Errors
    /// [`crate::error::Kind::Bug`] when the sides do not have the columns of a table.
    pub fn plan(&self, engine: &Engine) -> Result<MergeParts> {
        self.try_plan(engine).map_err(|cause| failed(cause, "the merge could not be planned"))
    }

    fn try_plan(&self, engine: &Engine) -> datafusion::common::Result<MergeParts> {
        let session = engine.session();
        let old = session.read_table(Arc::clone(&self.old) as Arc<dyn TableProvider>)?;
        let new = session.read_table(Arc::clone(&self.new) as Arc<dyn TableProvider>)?;

        let old_wins = self.old_wins();
        let winners = old.clone().filter(old_wins.clone())?;
        let losers = old.filter(Expr::IsNotTrue(Box::new(old_wins)))?;

        let added = by_key(&new, &winners, JoinType::RightAnti)?;
        let stale = by_key(&new, &winners, JoinType::RightSemi)?;
        let kept = by_key(&losers, &new, JoinType::RightAnti)?;
        let superseded = by_key(&losers, &new, JoinType::RightSemi)?;
        let (kept, superseded) = match &self.replaces {
            None => (kept, superseded),
            Some(replaced) => (
                kept.clone().filter(Expr::IsNotTrue(Box::new(replaced.clone())))?,
                superseded.union(kept.filter(replaced.clone())?)?,
            ),
        };
        Ok(MergeParts { kept: winners.union(kept)?, superseded, added, stale })
    }

    /// The condition on an old row under which it wins over a new one of the same key.
    fn old_wins(&self) -> Expr {
        let known = col(EXTRACTED_AT).is_not_null();
        match self.new_extracted_at {
            None => known,
            Some(at) => {
                known.and(col(EXTRACTED_AT).gt(lit(ScalarValue::TimestampMicrosecond(
                    Some(at.as_microsecond()),
                    Some("UTC".into()),
                ))))
            }
        }
    }
}

/// Rows of `rows` whose key is ([`JoinType::RightSemi`]) or is not ([`JoinType::RightAnti`]) among the keys
/// of `other`. The keys alone are held in memory; the wide rows stream past them.
fn by_key(rows: &DataFrame, other: &DataFrame, how: JoinType) -> datafusion::common::Result<DataFrame> {
    let keys = other.clone().select(vec![col(KEY).alias("other_key")])?;
    keys.join(rows.clone(), how, &["other_key"], &[KEY], None)
}

impl MergeParts {
    /// Runs a plan of the merge.
    ///
    /// # Errors
    /// [`crate::error::Kind::Destination`] when the lake cannot be read.
    pub async fn stream(plan: DataFrame) -> Result<SendableRecordBatchStream> {
        plan.execute_stream().await.map_err(|cause| failed(cause, "the merge could not read the lake"))
    }
}
