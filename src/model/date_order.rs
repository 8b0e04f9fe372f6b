//! Which of the two small numbers of a slashed date is the month.

use serde::{Deserialize, Serialize};

/// How `9/10/2026` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateOrder {
    /// The tenth of September, as in the United States.
    MonthFirst,
    /// The ninth of October.
    DayFirst,
}

impl DateOrder {
    pub const NAMES: [&str; 2] = ["month-first", "day-first"];

    /// As pipeline files and command lines spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DateOrder::MonthFirst => "month-first",
            DateOrder::DayFirst => "day-first",
        }
    }
}
