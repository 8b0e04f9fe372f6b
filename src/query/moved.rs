//! Payments that moved, and the months whose rows they pay.

use std::collections::BTreeMap;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Query;
use super::changes::{batches, literal, texts, typed};
use crate::error::Result;
use crate::model::{Account, Month, MovedPayment};
use crate::schema::Dataset;

/// Which payments of an account, and of which rows.
#[derive(Debug, Clone, Copy)]
pub struct PaidBy<'a> {
    /// What is paid: `transaction_history`.
    pub dataset: &'a Dataset,
    /// The dataset of the payments.
    pub payments: &'a str,
    pub account: &'a Account,
    /// Only what was seen since.
    pub since: Timestamp,
}

impl PaidBy<'_> {
    /// The months among these that have rows which a moved payment pays: rows that carry its id; and when the payment is
    /// new, rows of its participant and programme that were earned before it and are not told to be sent yet.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub async fn months(&self, query: &Query, among: &[Month]) -> Result<BTreeMap<Month, Vec<MovedPayment>>> {
        let mut months: BTreeMap<Month, Vec<MovedPayment>> = BTreeMap::new();
        let tables = [self.dataset.name.as_str(), self.payments, "restatements"];
        if among.is_empty() || tables.iter().any(|table| !query.tables().iter().any(|known| known == table)) {
            return Ok(months);
        }
        for batch in batches(query.run(&self.sql(among)).await?).await? {
            let month = texts(&batch, 0)?;
            for (row, payment) in payments(&batch, 1)?.into_iter().enumerate() {
                if let Ok(month) = Month::parse(month.as_string::<i32>().value(row)) {
                    months.entry(month).or_default().push(payment);
                }
            }
        }
        Ok(months)
    }

    /// When the newest of them was seen; `None` when there is none: then no month has to be read.
    ///
    /// # Errors
    /// As [`Query::run`].
    pub async fn newest(&self, query: &Query) -> Result<Option<Timestamp>> {
        let tables = [self.payments, "restatements"];
        if tables.iter().any(|table| !query.tables().iter().any(|known| known == table)) {
            return Ok(None);
        }
        let sql = format!("{} SELECT payment_id, payment_status, seen_at FROM moved", self.moved());
        let mut newest = None;
        for batch in batches(query.run(&sql).await?).await? {
            newest = newest.max(payments(&batch, 0)?.into_iter().map(|payment| payment.seen_at).max());
        }
        Ok(newest)
    }

    /// The moved payments, with the row that tells of them: a roll-back is not Microsoft's doing, and first loads have no
    /// lines of single rows.
    fn moved(&self) -> String {
        let (payments, account) = (self.payments, literal(self.account.as_str()));
        let month = Month::of(TimeZone::UTC.to_datetime(self.since).date()).to_string();
        format!(
            "WITH moved AS (SELECT p.payment_id, p.participant_id, p.program_name, p.payment_status, p.payment_date, \
             max(r.seen_at) AS seen_at, max(CASE WHEN r.change = 'added' THEN 1 ELSE 0 END) AS is_new \
             FROM restatements r JOIN {payments} p ON p._pc_row_key = r.row_key \
             WHERE r.account = {account} AND p.account = {account} AND r.dataset = {dataset} \
             AND r.seen_month >= {month} \
             AND r.seen_at >= arrow_cast({since}, 'Timestamp(Microsecond, Some(\"UTC\"))') \
             AND r.cause NOT IN ('rollback', 'upgrade') \
             AND (r.change = 'added' OR (r.change = 'changed' AND r.field IN ('payment_status', 'payment_date'))) \
             AND p.payment_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5)",
            dataset = literal(payments),
            month = literal(&month),
            since = self.since.as_microsecond(),
        )
    }

    fn sql(&self, among: &[Month]) -> String {
        let (table, partition, date) =
            (self.dataset.name.as_str(), &self.dataset.partition, &self.dataset.driving_date);
        let among: Vec<String> = among.iter().map(|month| literal(&month.to_string())).collect();
        let rows = format!(
            "FROM {table} WHERE account = {} AND {partition} IN ({})",
            literal(self.account.as_str()),
            among.join(", ")
        );
        // Co-op money goes out by claims: its earnings never carry a payment.
        format!(
            "{moved}, \
             paid AS (SELECT DISTINCT {partition} AS month, payment_id {rows} AND payment_id IS NOT NULL), \
             unpaid AS (SELECT {partition} AS month, participant_id, program_name, min({date}) AS since {rows} \
             AND (payment_id IS NULL OR payment_status NOT ILIKE 'sent') AND earning_type NOT ILIKE '%co%op%' \
             GROUP BY 1, 2, 3), \
             named AS (SELECT paid.month, moved.* FROM paid JOIN moved ON paid.payment_id = moved.payment_id \
             UNION ALL SELECT unpaid.month, moved.* FROM unpaid JOIN moved \
             ON unpaid.participant_id = moved.participant_id AND unpaid.program_name = moved.program_name \
             WHERE moved.is_new = 1 AND (moved.payment_date IS NULL OR unpaid.since <= moved.payment_date)) \
             SELECT month, payment_id, max(payment_status), max(seen_at) FROM named GROUP BY 1, 2 ORDER BY 1, 2",
            moved = self.moved(),
        )
    }
}

/// Id, status and time in three columns from `first`.
fn payments(batch: &RecordBatch, first: usize) -> Result<Vec<MovedPayment>> {
    let (ids, statuses) = (texts(batch, first)?, texts(batch, first + 1)?);
    let seen = typed(batch, first + 2, &DataType::Int64)?;
    let payment = |row: usize| MovedPayment {
        payment_id: ids.as_string::<i32>().value(row).to_owned(),
        status: statuses.as_string::<i32>().value(row).to_owned(),
        seen_at: Timestamp::from_microsecond(seen.as_primitive::<Int64Type>().value(row))
            .unwrap_or(Timestamp::MIN),
    };
    Ok((0..batch.num_rows()).map(payment).collect())
}
