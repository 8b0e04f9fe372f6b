//! Questions to the table `restatements`: what Microsoft changed, and how late it still does.

use std::collections::BTreeMap;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use futures::TryStreamExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Answer, Query};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Tag};
use crate::model::{Account, MONEY_SCALE, Month};

/// Which changes are asked for.
#[derive(Debug, Clone)]
pub struct Changes {
    pub span: Span,
    /// `None`: all.
    pub dataset: Option<String>,
    pub account: Option<Account>,
    /// Single lines instead of totals.
    pub rows: bool,
    /// Also what was not Microsoft's doing: going back, other rules of typing, the first load of a month.
    pub all: bool,
}

/// From when to when.
#[derive(Debug, Clone)]
pub enum Span {
    /// What was committed from this instant on.
    Since(Timestamp),
    /// What was committed between versions of each table.
    Versions(Vec<Versions>),
}

/// Versions of one table: later than `after`, up to and with `up_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    pub chain: Chain,
    pub after: u64,
    pub up_to: u64,
}

/// By how much the sum of a money column moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub dataset: String,
    pub field: String,
    /// Empty: the rows have an amount and no currency.
    pub currency: String,
    /// In units of 10^-[`MONEY_SCALE`].
    pub units: i128,
}

/// How many rows of a dataset changed how long after their month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Late {
    /// Different UTC days on which changes were seen.
    pub nights: u64,
    /// Changed keys by age: months from the row's month to the one in which the change was seen.
    pub ages: BTreeMap<u32, u64>,
}

/// The table's name.
const TABLE: &str = "restatements";

/// A lake in which nothing was ever loaded has no such table: its columns, and no lines.
const EMPTY: &str = "\
(SELECT CAST(NULL AS VARCHAR) AS dataset, CAST(NULL AS VARCHAR) AS account, CAST(NULL AS VARCHAR) AS period, \
CAST(NULL AS VARCHAR) AS change, CAST(NULL AS VARCHAR) AS cause, CAST(NULL AS VARCHAR) AS row_key, \
CAST(NULL AS VARCHAR) AS field, CAST(NULL AS VARCHAR) AS old_value, CAST(NULL AS VARCHAR) AS new_value, \
CAST(NULL AS VARCHAR) AS currency, CAST(NULL AS DECIMAL(38, 10)) AS moved, CAST(NULL AS BIGINT) AS \"rows\", \
CAST(NULL AS BIGINT) AS version, CAST(NULL AS VARCHAR) AS seen_month, \
arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS seen_at, \
arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS old_extracted_at, \
arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS new_extracted_at LIMIT 0) AS restatements";

/// What Microsoft did: neither a person going back nor a payoutlake that types by other rules, nor rows that were refused
/// before, and not the first load.
const BY_MICROSOFT: &str = "cause NOT IN ('rollback', 'upgrade', 'replay') AND change <> 'loaded'";

impl Span {
    /// What happened between two tags.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the first is the later one.
    pub fn between(first: &Tag, last: &Tag) -> Result<Span> {
        let mut spans = Vec::new();
        for tagged in &last.tables {
            let after = first.version(&tagged.chain).unwrap_or(0);
            if after > tagged.version {
                return Err(Error::new(Kind::Usage, "the first tag is later than the second")
                    .with("table", &tagged.chain)
                    .with("versions", format!("{after} and {}", tagged.version))
                    .hint(format!("turn them round: --between {} {}", last.name, first.name)));
            }
            spans.push(Versions { chain: tagged.chain.clone(), after, up_to: tagged.version });
        }
        Ok(Span::Versions(spans))
    }

    fn condition(&self) -> String {
        match self {
            Span::Since(at) => {
                let month = Month::of(TimeZone::UTC.to_datetime(*at).date());
                // The month lets whole files out; the instant decides.
                format!(
                    "seen_month >= {} AND seen_at >= arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')",
                    literal(&month.to_string()),
                    at.as_microsecond()
                )
            }
            Span::Versions(spans) => {
                let spans = spans.iter().filter(|span| span.after < span.up_to).map(|span| {
                    let Versions { chain, after, up_to } = span;
                    let (table, account) = (literal(&chain.table), literal(chain.account.as_str()));
                    format!(
                        "(dataset = {table} AND account = {account} AND version > {after} AND version <= {up_to})"
                    )
                });
                let spans: Vec<String> = spans.collect();
                if spans.is_empty() { "false".to_owned() } else { format!("({})", spans.join(" OR ")) }
            }
        }
    }
}

impl Changes {
    /// Single lines, or totals by dataset, account, month, kind of change and field.
    ///
    /// `schema` becomes the first column when it is given: it says what a line of JSON is.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub async fn answer(&self, query: &Query, schema: Option<&str>) -> Result<Answer> {
        let what = if self.rows { self.lines() } else { self.totals() };
        let schema = schema.map(|schema| format!("{} AS schema, ", literal(schema))).unwrap_or_default();
        query.run(&what.replace("{schema}", &schema).replace("{source}", &self.source(query))).await
    }

    /// By how much every sum moved.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub async fn moved(&self, query: &Query) -> Result<Vec<Moved>> {
        let sql = format!(
            "SELECT dataset, field, coalesce(currency, '') AS currency, sum(moved) AS moved FROM {} \
             AND moved IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            self.source(query)
        );
        let mut all = Vec::new();
        for batch in batches(query.run(&sql).await?).await? {
            let (datasets, fields, currencies) = (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?);
            let money = typed(&batch, 3, &DataType::Decimal128(38, MONEY_SCALE as i8))?;
            let money = money.as_primitive::<Decimal128Type>();
            all.extend((0..batch.num_rows()).map(|row| Moved {
                dataset: datasets.as_string::<i32>().value(row).to_owned(),
                field: fields.as_string::<i32>().value(row).to_owned(),
                currency: currencies.as_string::<i32>().value(row).to_owned(),
                units: money.value(row),
            }));
        }
        Ok(all)
    }

    /// Whether somebody went back to an earlier version in that time: what came in again after it is told again.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub async fn went_back(&self, query: &Query) -> Result<bool> {
        let all = Changes { all: true, ..self.clone() };
        let sql = format!("SELECT 1 FROM {} AND cause = 'rollback' LIMIT 1", all.source(query));
        Ok(batches(query.run(&sql).await?).await?.iter().any(|batch| batch.num_rows() > 0))
    }

    /// Columns that tell why, where several causes are shown.
    fn cause(&self) -> &'static str {
        if self.all { "cause, " } else { "" }
    }

    fn totals(&self) -> String {
        let by = format!("dataset, account, {}period, change, field", self.cause());
        format!(
            "SELECT {{schema}}{by}, count(DISTINCT row_key) AS keys, sum(\"rows\") AS \"rows\", currency, \
             sum(moved) AS moved FROM {{source}} GROUP BY {by}, currency ORDER BY {by}, currency"
        )
    }

    fn lines(&self) -> String {
        format!(
            "SELECT {{schema}}dataset, account, {}period, change, row_key, field, old_value, new_value, currency, \
             moved, \"rows\", version, seen_at, old_extracted_at, new_extracted_at FROM {{source}} \
             ORDER BY dataset, account, version, period, row_key, field, currency",
            self.cause()
        )
    }

    /// The table and which of its lines.
    fn source(&self, query: &Query) -> String {
        let mut conditions = vec![self.span.condition()];
        conditions.extend(self.dataset.as_ref().map(|name| format!("dataset = {}", literal(name))));
        conditions.extend(self.account.as_ref().map(|name| format!("account = {}", literal(name.as_str()))));
        conditions.extend((!self.all).then(|| BY_MICROSOFT.to_owned()));
        format!("{} WHERE {}", table(query), conditions.join(" AND "))
    }
}

/// How late each dataset still changes: exports alone, not what was loaded for the first time.
///
/// # Errors
/// As [`Query::run`].
pub async fn lateness(query: &Query) -> Result<BTreeMap<String, Late>> {
    let lines = format!("{} WHERE cause = 'export' AND change <> 'loaded'", table(query));
    let by_age = format!(
        "SELECT dataset, period, seen_month, count(*) AS keys FROM \
         (SELECT DISTINCT dataset, account, version, row_key, period, seen_month FROM {lines} AND period IS NOT NULL) \
         GROUP BY 1, 2, 3"
    );
    let mut late: BTreeMap<String, Late> = BTreeMap::new();
    for batch in batches(query.run(&by_age).await?).await? {
        let (datasets, periods, seen) = (texts(&batch, 0)?, texts(&batch, 1)?, texts(&batch, 2)?);
        let keys = typed(&batch, 3, &DataType::Int64)?;
        for row in 0..batch.num_rows() {
            let month = |texts: &ArrayRef| Month::parse(texts.as_string::<i32>().value(row)).ok();
            let (Some(period), Some(seen)) = (month(&periods), month(&seen)) else { continue };
            let late = late.entry(datasets.as_string::<i32>().value(row).to_owned()).or_default();
            // A row may stand in a month to come.
            let age = u32::try_from(seen.index() - period.index()).unwrap_or(0);
            *late.ages.entry(age).or_default() += keys.as_primitive::<Int64Type>().value(row).unsigned_abs();
        }
    }
    let nights =
        format!("SELECT dataset, count(DISTINCT date_trunc('day', seen_at)) FROM {lines} GROUP BY 1");
    for batch in batches(query.run(&nights).await?).await? {
        let (datasets, nights) = (texts(&batch, 0)?, typed(&batch, 1, &DataType::Int64)?);
        for row in 0..batch.num_rows() {
            let late = late.entry(datasets.as_string::<i32>().value(row).to_owned()).or_default();
            late.nights = nights.as_primitive::<Int64Type>().value(row).unsigned_abs();
        }
    }
    Ok(late)
}

fn table(query: &Query) -> &'static str {
    if query.tables().iter().any(|name| name == TABLE) { TABLE } else { EMPTY }
}

/// Text as a literal of SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) async fn batches(answer: Answer) -> Result<Vec<RecordBatch>> {
    answer.rows.try_collect().await.map_err(Answer::failed)
}

/// A column in one type, however the engine holds it.
pub(super) fn typed(batch: &RecordBatch, column: usize, data_type: &DataType) -> Result<ArrayRef> {
    cast(batch.column(column), data_type)
        .map_err(|cause| Error::new(Kind::Bug, "an answer has an unexpected type").caused_by(cause))
}

pub(super) fn texts(batch: &RecordBatch, column: usize) -> Result<ArrayRef> {
    typed(batch, column, &DataType::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain() -> Chain {
        Chain::new("payments", &Account::default())
    }

    #[test]
    fn a_value_cannot_end_its_literal() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("x' OR '1'='1"), "'x'' OR ''1''=''1'");
    }

    #[test]
    fn versions_that_are_equal_ask_for_nothing() {
        let span = |after, up_to| Span::Versions(vec![Versions { chain: chain(), after, up_to }]).condition();
        assert_eq!(span(3, 3), "false");
        assert_eq!(
            span(3, 5),
            "((dataset = 'payments' AND account = 'default' AND version > 3 AND version <= 5))"
        );
    }

    #[test]
    fn an_instant_is_asked_for_with_its_month() {
        let since = Span::Since("2026-11-01T00:00:00Z".parse().unwrap()).condition();
        assert!(
            since.starts_with("seen_month >= '2026-11' AND seen_at >= arrow_cast(1793491200000000, "),
            "{since}"
        );
    }
}
