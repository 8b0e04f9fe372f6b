//! What `init` saw and wrote: for people on standard error, for programs one last line.

use std::path::Path;

use serde::Serialize;

use super::{Style, print_json, say};
use crate::error::Error;
use crate::model::{Account, DatasetName};
use crate::source::auth::SignedIn;

/// A pipeline file that was written.
#[derive(Debug, Serialize)]
pub struct Initialised<'a> {
    pub file: &'a Path,
    pub account: &'a Account,
    pub lake: &'a str,
    pub datasets: Vec<&'a DatasetName>,
    /// Datasets that the sign-in may not ask for.
    pub refused: Vec<&'a DatasetName>,
    /// How its runs sign in; `None` on the embedded sandbox.
    pub sign_in: Option<&'static str>,
    /// Whether the sign-in was tried, and works.
    pub signed_in: bool,
    /// What comes before the first run: `check`, `plan`.
    #[serde(skip)]
    pub next: &'a [&'a str],
}

/// Tells who has signed in, and what that sign-in may not ask for.
pub fn say_sight(style: Style, signed_in: &SignedIn, refused: &[(DatasetName, Error)]) {
    if style.json || style.quiet {
        return;
    }
    say(&format!("signed in as {} in {}\n", signed_in.principal, signed_in.tenant));
    for (dataset, error) in refused {
        say(&format!("! {dataset} is out of its sight: {error}\n"));
        if let Some(hint) = error.hint_text() {
            say(&format!("  hint: {hint}\n"));
        }
    }
}

/// Tells what was written, and what to do next.
pub fn print_initialised(style: Style, done: &Initialised<'_>, program: &str) {
    if style.json {
        print_json("payoutlake.init.v1", done);
        return;
    }
    if style.quiet {
        return;
    }
    let Initialised { account, lake, .. } = done;
    let file = done.file.display();
    let datasets: Vec<&str> = done.datasets.iter().map(|name| name.as_str()).collect();
    say(&format!("wrote {file}: account {account}, lake {lake}, datasets {}\n", datasets.join(", ")));
    for (nth, command) in done.next.iter().enumerate() {
        let label = if nth == 0 { "next:" } else { "" };
        say(&format!("{label:<5} {program} {command} {file}\n"));
    }
}
