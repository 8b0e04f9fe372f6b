//! Merging by key as joins: which old rows stay, which are superseded, which new rows count.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{JoinType, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{DataFrame, Expr, SessionContext, col, lit};
use jiff::Timestamp;

use super::{Engine, ParquetFiles, failed};
use crate::error::Result;

pub(super) const KEY: &str = "_pc_row_key";
const EXTRACTED_AT: &str = "_pc_extracted_at";

/// Old and new rows of the same shape, and the rule between them: for each key the newer extraction wins.
///
/// The old files come sorted by what is known of them, so that rows are compared one by one only where they must be.
#[derive(Default)]
pub struct Merge {
    /// Old rows that win over every new one: a newer export of their month is known.
    pub winners: Option<Arc<ParquetFiles>>,
    /// Old rows of which some may be newer than the new ones.
    pub mixed: Option<Arc<ParquetFiles>>,
    /// Old rows that give way to a new one of their key.
    pub losers: Option<Arc<ParquetFiles>>,
    pub new: Option<Arc<ParquetFiles>>,
    /// When the new rows were extracted; `None` for hand-downloaded files, which never win over a row whose
    /// extraction time is known.
    pub new_extracted_at: Option<Timestamp>,
    /// Old rows that go whatever their key and time: a full pull of payments replaces all rows without a payment id.
    pub replaces: Option<Expr>,
    /// New rows that do not count.
    pub drops: Option<Expr>,
}

/// The four disjoint parts: `old = kept + superseded`, `new = added + stale`. `None`: no rows.
#[derive(Debug, Clone)]
pub struct MergeParts {
    /// Old rows that stay, with their partition columns.
    pub kept: Option<DataFrame>,
    /// Old rows that the new ones replace, with their partition columns.
    pub superseded: Option<DataFrame>,
    /// New rows that become part of the table, with their partition columns.
    pub added: Option<DataFrame>,
    /// New rows that are older than what the table holds.
    pub stale: Option<DataFrame>,
}

impl Merge {
    /// # Errors
    /// [`crate::error::Kind::Bug`] when the sides do not have the columns of a table.
    pub fn plan(&self, engine: &Engine) -> Result<MergeParts> {
        let sides = [&self.winners, &self.mixed, &self.new];
        let held = sides.into_iter().flatten().map(|files| files.rows()).sum();
        self.try_plan(&engine.session_for(held))
            .map_err(|cause| failed(cause, "the merge could not be planned"))
    }

    fn try_plan(&self, session: &SessionContext) -> datafusion::common::Result<MergeParts> {
        let [winners, mixed, losers, new] =
            [&self.winners, &self.mixed, &self.losers, &self.new].map(|files| read(session, files));
        let (winners, mixed, losers, new) = (winners?, mixed?, losers?, new?);
        let (winners, gone_winners) = split(winners, self.replaces.as_ref())?;
        let (mixed, gone_mixed) = split(mixed, self.replaces.as_ref())?;
        let (losers, gone_losers) = split(losers, self.replaces.as_ref())?;
        let (candidates, dropped) = split(new, self.drops.as_ref())?;
        let (mixed_losers, mixed_winners) = split(mixed, Some(&newer_than(self.new_extracted_at)))?;
        let winners = union([winners, mixed_winners])?;
        let losers = union([losers, mixed_losers])?;

        let (added, late) = by_key(&candidates, &winners)?;
        let (losers_kept, superseded) = by_key(&losers, &added)?;
        Ok(MergeParts {
            kept: union([winners, losers_kept])?,
            superseded: union([superseded, gone_winners, gone_mixed, gone_losers])?,
            added,
            stale: union([late, dropped])?,
        })
    }
}

/// The condition on a row that was extracted earlier than `at`, or nobody knows when.
#[must_use]
pub fn older_than(at: Timestamp) -> Expr {
    let at = ScalarValue::TimestampMicrosecond(Some(at.as_microsecond()), Some("UTC".into()));
    col(EXTRACTED_AT).is_null().or(col(EXTRACTED_AT).lt(lit(at)))
}

/// The condition on a row of this extraction; `None`: of an extraction of which nobody knows when it was.
#[must_use]
pub fn extracted_at(at: Option<Timestamp>) -> Expr {
    let Some(at) = at else { return col(EXTRACTED_AT).is_null() };
    let at = ScalarValue::TimestampMicrosecond(Some(at.as_microsecond()), Some("UTC".into()));
    col(EXTRACTED_AT).eq(lit(at))
}

/// The condition on a row that was extracted later than `at`; later than unknown is every known time.
#[must_use]
pub fn newer_than(at: Option<Timestamp>) -> Expr {
    let known = col(EXTRACTED_AT).is_not_null();
    let Some(at) = at else { return known };
    let at = ScalarValue::TimestampMicrosecond(Some(at.as_microsecond()), Some("UTC".into()));
    known.and(col(EXTRACTED_AT).gt(lit(at)))
}

fn read(
    session: &SessionContext,
    files: &Option<Arc<ParquetFiles>>,
) -> datafusion::common::Result<Option<DataFrame>> {
    let files = files.as_ref().map(|files| Arc::clone(files) as Arc<dyn TableProvider>);
    files.map(|files| session.read_table(files)).transpose()
}

type Two = (Option<DataFrame>, Option<DataFrame>);

/// The rows for which the condition is not true, and those for which it is.
fn split(rows: Option<DataFrame>, condition: Option<&Expr>) -> datafusion::common::Result<Two> {
    let (Some(rows), Some(condition)) = (&rows, condition) else { return Ok((rows, None)) };
    let not = rows.clone().filter(Expr::IsNotTrue(Box::new(condition.clone())))?;
    Ok((Some(not), Some(rows.clone().filter(condition.clone())?)))
}

fn union(
    parts: impl IntoIterator<Item = Option<DataFrame>>,
) -> datafusion::common::Result<Option<DataFrame>> {
    let mut all: Option<DataFrame> = None;
    for part in parts.into_iter().flatten() {
        all = Some(match all {
            Some(all) => all.union(part)?,
            None => part,
        });
    }
    Ok(all)
}

/// The rows whose key is not among those of `other`, and those whose key is. The keys alone are held in memory; the
/// wide rows stream past them.
fn by_key(rows: &Option<DataFrame>, other: &Option<DataFrame>) -> datafusion::common::Result<Two> {
    let (Some(rows), Some(other)) = (rows, other) else { return Ok((rows.clone(), None)) };
    let keys = other.clone().select(vec![col(KEY).alias("other_key")])?;
    let join = |how| keys.clone().join(rows.clone(), how, &["other_key"], &[KEY], None);
    Ok((Some(join(JoinType::RightAnti)?), Some(join(JoinType::RightSemi)?)))
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
