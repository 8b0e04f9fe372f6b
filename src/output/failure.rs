//! Errors for people and for programs.

use super::{Style, print, say};
use crate::error::Error;

/// Prints an error: several lines on standard error, or one JSON line on standard output.
pub fn print_error(style: Style, error: &Error) {
    if style.json {
        let context: serde_json::Map<String, serde_json::Value> =
            error.context().iter().map(|(key, value)| ((*key).to_owned(), value.as_str().into())).collect();
        let line = serde_json::json!({
            "schema": "payoutlake.error.v1",
            "level": "error",
            "kind": error.kind().as_str(),
            "exit_code": error.kind().exit_code(),
            "retryable": error.kind().is_retryable(),
            "message": error.message(),
            "context": context,
            "causes": error.causes(),
            "hint": error.hint_text(),
        });
        print(&format!("{line}\n"));
        return;
    }
    let label = if style.colour { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
    say(&format!("{label} {error:#}\n"));
}
