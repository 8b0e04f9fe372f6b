//! Damage done on purpose, so that a test can prove that the balance sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{AsArray, Decimal128Array, RecordBatch};
use arrow::datatypes::Decimal128Type;

use super::RawBatch;

/// Where and how one row of a run is damaged. Only a build with the feature `mutation` lets a user ask for it.
#[derive(Debug)]
pub struct Mutation {
    hop: String,
    damage: Damage,
    done: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    DropRow,
    ChangeCent,
    /// Not the data: the code panics, as a bug does.
    Panic,
}

impl Mutation {
    /// Parses `HOP:drop-row`, `HOP:change-cent` or `HOP:panic`; the hops are `decode`, `normalise`, `write`, `merge` and `append`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hop, damage) = text.split_once(':')?;
        let damage = match damage {
            "drop-row" => Damage::DropRow,
            "change-cent" => Damage::ChangeCent,
            "panic" => Damage::Panic,
            _ => return None,
        };
        Some(Mutation { hop: hop.to_owned(), damage, done: AtomicBool::new(false) })
    }

    fn strikes(&self, hop: &str, possible: bool) -> bool {
        self.hop == hop && possible && !self.done.swap(true, Ordering::Relaxed)
    }

    /// Damages text cells; `money` is the cell of an amount.
    pub fn on_raw(&self, hop: &str, batch: &mut RawBatch, money: Option<usize>) {
        let row = batch.rows().checked_sub(1);
        let Some((row, money)) = row.zip(money) else { return };
        let has_digit = batch.cell(row, money).is_some_and(|cell| cell.iter().any(u8::is_ascii_digit));
        if !self.strikes(hop, has_digit) {
            return;
        }
        match self.damage {
            Damage::DropRow => batch.drop_last_row(),
            Damage::ChangeCent => batch.change_last_digit(row, money),
            Damage::Panic => on_purpose(hop),
        }
    }

    /// Damages typed rows; `money` names a decimal column.
    pub fn on_rows(&self, hop: &str, batch: &mut RecordBatch, money: &str) {
        if !self.strikes(hop, batch.num_rows() > 0) {
            return;
        }
        match self.damage {
            Damage::DropRow => {
                *batch = batch.slice(0, batch.num_rows() - 1);
                return;
            }
            Damage::Panic => on_purpose(hop),
            Damage::ChangeCent => {}
        }
        let Some((index, field)) = batch.schema().column_with_name(money).map(|(i, f)| (i, f.clone())) else {
            return;
        };
        let old = batch.column(index).as_primitive::<Decimal128Type>();
        let new: Decimal128Array =
            old.iter().enumerate().map(|(row, v)| v.map(|v| v + i128::from(row == 0))).collect();
        let mut columns = batch.columns().to_vec();
        columns[index] = Arc::new(new.with_data_type(field.data_type().clone()));
        if let Ok(damaged) = RecordBatch::try_new(batch.schema(), columns) {
            *batch = damaged;
        }
    }
}

#[expect(clippy::panic, reason = "a test asked for it")]
fn on_purpose(hop: &str) {
    panic!("a panic was asked for at {hop}");
}
