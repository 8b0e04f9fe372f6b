//! The one question that a command asks before it destroys something.

use std::io::IsTerminal;

use crate::error::{Error, Kind, Result};
use crate::output::say;

/// Asks a person at a terminal. Where nobody sits, only `--yes` agrees: everything else is `refused`.
///
/// # Errors
/// `refused`; [`Kind::Usage`] when the person does not agree.
pub(super) fn confirm(question: &str, refused: impl FnOnce() -> Error) -> Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(refused());
    }
    say(&format!("{question} [y/N] "));
    let mut answer = String::new();
    // A person thinks for long: the signal that ends the command goes on meanwhile.
    let _end_of_input = tokio::task::block_in_place(|| std::io::stdin().read_line(&mut answer));
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::new(Kind::Usage, "not confirmed").hint("nothing was changed")),
    }
}
