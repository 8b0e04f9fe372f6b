use clap::Args;

use super::{Place, Scope};
use crate::cli::Setting;
use crate::error::Result;
use crate::output::{self, number};
use crate::pipeline::{self, Snapshot};

/// List the versions of each table: when, by which run, what it did, and the tags on it
#[derive(Debug, Args)]
pub(super) struct Snapshots {
    #[command(flatten)]
    scope: Scope,
    /// So many versions of each table, newest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

impl Snapshots {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let lake = place.open(setting).await?;
        let snapshots = pipeline::snapshots(&lake, &self.scope.resolve(), self.last).await?;
        if setting.style.json {
            snapshots.iter().for_each(|snapshot| output::print_json("payoutlake.snapshot.v1", snapshot));
            return Ok(0);
        }
        let rows: Vec<_> = snapshots.iter().map(row).collect();
        let header =
            ["table", "account", ">version", "committed", ">rows", "rewritten", "what", "tags", "run"];
        output::print(&output::table(header, &rows));
        Ok(0)
    }
}

fn row(snapshot: &Snapshot) -> [String; 9] {
    let operation = &snapshot.operation;
    [
        snapshot.table.clone(),
        snapshot.account.to_string(),
        snapshot.version.to_string(),
        // In full: it is what --as-of takes.
        snapshot.committed_at.to_string(),
        number::count(snapshot.rows),
        if snapshot.rewritten { "yes" } else { "no" }.to_owned(),
        format!("{}: {}", operation.cause.as_str(), operation.what),
        snapshot.tags.join(", "),
        snapshot.run_id.to_string(),
    ]
}
