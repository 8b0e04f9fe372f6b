use clap::Args;

use super::Place;
use crate::cli::Setting;
use crate::error::Result;
use crate::lake::{Maintained, Retention};
use crate::output::{self, number};
use crate::pipeline;

/// Remove old history and files that no version needs; what a tag names stays. Safe beside running writers
#[derive(Debug, Args)]
pub(super) struct Maintain {
    /// Keep the versions that were the table at some time of the last so many days
    #[arg(long, value_name = "DAYS", default_value_t = 400)]
    keep_days: u32,
    /// Remove downloaded exports after so many days; without it they stay as long as the versions made of them
    #[arg(long, value_name = "DAYS")]
    raw_days: Option<u32>,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Maintain {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let settings = place.settings("maintain", setting).await?;
        let Maintain { keep_days, raw_days, dry_run } = self;
        let done = pipeline::maintain(&settings, Retention { keep_days, raw_days, dry_run }).await?;
        if setting.style.json {
            let line = serde_json::json!({
                "dry_run": dry_run, "keep_days": keep_days, "raw_days": raw_days,
                "removed": {
                    "versions": done.versions, "objects": done.objects, "blobs": done.blobs,
                    "receipts": done.receipts, "bytes": done.bytes,
                },
                "kept": { "versions": done.kept_versions, "objects": done.kept_objects },
            });
            output::print_json("payoutlake.maintain.v1", &line);
        } else if !setting.style.quiet {
            output::say(&words(&done, dry_run));
        }
        Ok(0)
    }
}

fn words(done: &Maintained, dry_run: bool) -> String {
    let count = number::count;
    format!(
        "{}: {} versions, {} files of tables, {} downloaded exports, {} receipts; {}\n\
         {}: {} versions, {} files of tables\n",
        if dry_run { "would be removed" } else { "removed" },
        count(done.versions),
        count(done.objects),
        count(done.blobs),
        count(done.receipts),
        number::bytes(done.bytes),
        if dry_run { "would be kept" } else { "kept" },
        count(done.kept_versions),
        count(done.kept_objects),
    )
}
