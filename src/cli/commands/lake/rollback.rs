use std::fmt::Write as _;

use clap::Args;

use super::{Place, Scope};
use crate::cli::Setting;
use crate::error::Result;
use crate::load::DERIVED;
use crate::output::{self, number};
use crate::pipeline::{self, RollbackTo, RolledBack};

/// Make an earlier version the table again, by a new commit: nothing is lost
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// A version of one table (see `lake snapshots`), or the name of a tag
    #[arg(long, value_name = "VERSION|TAG")]
    to: String,
    #[command(flatten)]
    scope: Scope,
}

impl Rollback {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let settings = place.settings(&format!("rollback --to {}", self.to), setting).await?;
        let to = match self.to.parse() {
            Ok(version) => RollbackTo::Version(version),
            Err(_) => RollbackTo::Tag(self.to),
        };
        let scope = self.scope.resolve();
        let done = pipeline::rollback(&settings, &scope, &to).await?;
        if setting.style.json {
            done.iter().for_each(|table| output::print_json("payoutlake.rollback.v1", table));
        } else if !setting.style.quiet {
            output::say(&words(&done));
            for chain in scope.chains(&place.open(setting).await?).await? {
                let back = done.iter().any(|one| one.table == chain.table && one.account == chain.account);
                if !back && !DERIVED.contains(&chain.table.as_str()) {
                    output::say(&format!("{chain}: left as it is, it was not there yet\n"));
                }
            }
        }
        Ok(0)
    }
}

fn words(done: &[RolledBack]) -> String {
    let mut out = String::new();
    for table in done {
        let RolledBack { table, account, from, to, version, rows_before, rows_after } = table;
        let _ = if version == from {
            writeln!(out, "{table} of {account}: has the content of version {to} already")
        } else {
            let (before, after) = (number::count(*rows_before), number::count(*rows_after));
            writeln!(
                out,
                "{table} of {account}: version {version} has the content of version {to}: {before} rows before, \
                 {after} now; `--to {from}` takes it back"
            )
        };
    }
    if done.is_empty() {
        let _ = writeln!(out, "the tag names no version of these tables: nothing was changed");
    } else {
        let _ = writeln!(out, "the next run of a pipeline brings newer exports in again");
    }
    out
}
