//! Typed rows, and what was refused on the way to them.

use arrow::array::RecordBatch;

use super::{Month, NulledCell, QuarantinedRow, Totals};

/// What `normalise` makes of one raw batch.
#[derive(Debug, Clone)]
pub struct Normalised {
    /// The rows that fit, in file order, in the shape of the dataset's table.
    pub batch: RecordBatch,
    /// The month of each row of `batch` by the dataset's driving date; `None` where that is blank.
    pub months: Vec<Option<Month>>,
    pub quarantined: Vec<QuarantinedRow>,
    /// Rows that the contract leaves out.
    pub discarded: Vec<QuarantinedRow>,
    /// Cells of `batch` that the contract makes null.
    pub nulled: Vec<NulledCell>,
    /// Of the rows in `batch`, from the typed side.
    pub totals: Totals,
}
