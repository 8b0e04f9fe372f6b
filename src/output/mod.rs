//! Words, JSON, progress and tables. The only room that prints; it decides nothing.
//!
//! Standard output carries data or NDJSON events; people read standard error.

mod check;
mod events;
mod explained;
mod failure;
mod init;
pub mod number;
mod preview;
mod prompt;
mod receipt;
mod requests;
mod rows;
mod schema;
mod schema_export;
mod sign_in;
mod status;
mod table;

pub use check::print_checkup;
pub use events::Progress;
pub use explained::print_explained;
pub use failure::print_error;
pub use init::{Initialised, print_initialised, say_sight};
pub use preview::print_preview;
pub use prompt::ask;
pub use receipt::print_receipt;
pub use requests::print_requests;
pub use rows::{Format, print_rows};
pub use schema::{print_columns, print_detected, print_differences, print_schemas};
pub use schema_export::{SchemaFormat, print_schema};
pub use sign_in::{print_device_code, print_logged_out, print_signed_in, print_stored_sign_ins};
pub use status::print_status;
pub use table::table;

use std::io::{self, Write};

use serde::Serialize;

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

/// Writes one JSON line to standard output that says what it is: `payoutlake.tag.v1`.
pub fn print_json(schema: &'static str, value: &impl Serialize) {
    #[derive(Serialize)]
    struct Line<'a, T> {
        schema: &'static str,
        #[serde(flatten)]
        value: &'a T,
    }
    if let Ok(json) = serde_json::to_string(&Line { schema, value }) {
        print(&format!("{json}\n"));
    }
}
