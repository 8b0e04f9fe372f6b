//! In which order a file writes month and day, found column by column over all of its rows.
//!
//! A cell proves an order when it is a date in that order alone: 9/15/2026 has the month first. One such cell decides for
//! its whole column; two that contradict each other, or none, decide nothing, and then the slashed dates of the column
//! are refused. What a neighbouring column or an earlier file does is no proof.

use crate::model::{DateOrder, RawBatch};

use super::slashed::Slashed;

/// Lines of the first cells that prove an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Proof {
    pub month_first: Option<u64>,
    pub day_first: Option<u64>,
}

impl Proof {
    pub fn order(self) -> Option<DateOrder> {
        match self {
            Proof { month_first: Some(_), day_first: None } => Some(DateOrder::MonthFirst),
            Proof { month_first: None, day_first: Some(_) } => Some(DateOrder::DayFirst),
            _ => None,
        }
    }

    /// Why there is no order, for people.
    pub fn lack(self) -> String {
        match self {
            Proof { month_first: Some(a), day_first: Some(b) } => {
                format!("line {a} has the month first and line {b} the day")
            }
            _ => "no cell of this column has a number above 12".to_owned(),
        }
    }
}

/// Looks at every row of a file, in order, for what its slashed dates prove.
pub struct Survey {
    pub(super) width: usize,
    /// Index of the cell, and what was found in it, for each column of dates.
    pub(super) columns: Vec<(usize, Proof)>,
}

impl Survey {
    /// Records that will be refused as a whole prove nothing: their cells may stand at other columns' places.
    pub fn look(&mut self, raw: &RawBatch) {
        for row in (0..raw.rows()).filter(|row| raw.width(*row) == self.width && !raw.is_misquoted(*row)) {
            for (cell, proof) in &mut self.columns {
                let text = raw.cell(row, *cell).unwrap_or_default();
                let first = match Slashed::parse(text.trim_ascii()).and_then(Slashed::proves) {
                    Some(DateOrder::MonthFirst) => &mut proof.month_first,
                    Some(DateOrder::DayFirst) => &mut proof.day_first,
                    None => continue,
                };
                first.get_or_insert(raw.line(row));
            }
        }
    }
}
