//! Restatements: what changed between two versions of a table, row by row and to the cent.
//!
//! They are derived from the history: version N compared with version N - 1.
//!
//! ```text
//! sum(rows)  of all lines of a version = rows of the table after it - rows before it
//! sum(moved) by field and currency     = sum of the money column after it - sum before it
//! ```

mod compare;
mod lines;
mod side;

pub(in crate::load) use compare::compare;
pub use lines::{RESTATEMENTS, restatements_spec};
