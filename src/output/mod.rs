//! Words, JSON, progress and tables. The only room that prints; it decides nothing.
//!
//! Standard output carries data or NDJSON events; people read standard error.

mod events;
mod failure;
mod number;
mod receipt;
mod rows;

pub use events::Progress;
pub use failure::print_error;
pub use receipt::print_receipt;
pub use rows::{Format, print_rows};

use std::io::{self, Write};

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// NDJSON events and a summary on standard output instead of words on standard error.
    pub json: bool,
    /// Only errors.
    pub quiet: bool,
    /// Tell details.
    pub verbose: bool,
    /// Draw progress lines.
    pub progress: bool,
    /// Use colour on standard error.
    pub colour: bool,
}

/// Writes text to standard output. A reader that went away (`| head`) is no error.
pub fn print(text: &str) {
    let _closed = io::stdout().lock().write_all(text.as_bytes());
}

/// Writes text to standard error.
pub fn say(text: &str) {
    let _closed = io::stderr().lock().write_all(text.as_bytes());
}
