//! The values that stages hand to each other. This room imports no other.

mod check;
mod declared;
mod due;
mod expiry;
mod explained;
mod fault;
mod ids;
mod memory;
mod month;
mod mutation;
mod normalised;
mod probe;
mod raw;
mod receipt;
mod requests;
mod status;
mod table;
mod texts;
mod totals;

pub use check::{Check, Checkup, Verdict};
pub use declared::{DateOrder, Declared, Encoding};
pub use due::{
    Estimate, LeftOut, Measured, MovedPayment, PlannedExport, Preview, Reason, Why, reasons_in_words, spans,
};
pub use expiry::{Expiring, Expiry};
pub use explained::{Explained, ExplainedCell, Proof};
pub use fault::{Fault, FaultCode, NulledCell, QuarantinedRow};
pub use ids::{Account, DatasetName, ExportId, Invalid, RequestId, RunId};
pub use memory::Memory;
pub use month::{Month, Window};
pub use mutation::Mutation;
pub use normalised::Normalised;
pub use probe::{Finding, PROBE_FORMAT, ProbeReport, magnitude};
pub use raw::{LOWEST, RawBatch, WORD_BYTES, head_of};
pub use receipt::{
    Difference, Hop, Outcome, Packed, RECEIPT_FORMAT, Receipt, SourceText, StorageOps, TableReceipt,
    WindowReceipt,
};
pub use requests::{AtService, AtWork, Request, RequestEvent, RequestStep};
pub use status::{
    AccountExpiry, Age, HeldWindow, LastRun, Lateness, Leaving, OpenExport, Status, TableStatus, Tiers,
    Uncovered,
};
pub use table::{
    Currency, DEFAULT_PARTITION, MoneyColumn, PartitionKey, TREATED_VARIOUSLY, TableSpec, treatments,
    with_treatments,
};
pub use texts::Texts;
pub use totals::{CurrencyCell, MONEY_SCALE, MoneyCell, Totals, format_money, shorten_decimal};
