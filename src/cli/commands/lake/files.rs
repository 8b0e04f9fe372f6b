use clap::Args;

use super::{Place, Scope};
use crate::cli::Setting;
use crate::error::Result;
use crate::lake::Moment;
use crate::{output, pipeline};

/// List the Parquet files that are the tables, for other engines: one path a line
///
/// Account and month are no columns of the files: `--json` tells them beside each path.
#[derive(Debug, Args)]
pub(super) struct Files {
    #[command(flatten)]
    scope: Scope,
    /// As it was then, by commit time (2026-08-31T23:59:59Z), or the name of a tag
    #[arg(long, value_name = "TIME|TAG")]
    as_of: Option<String>,
}

impl Files {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let lake = place.open(setting).await?;
        let moment = match &self.as_of {
            Some(text) => Moment::parse(&lake, text).await?,
            None => Moment::Now,
        };
        for file in pipeline::live_files(&lake, &self.scope.resolve(), &moment).await? {
            match setting.style.json {
                true => output::print_json("payoutlake.file.v1", &file),
                false => output::print(&format!("{}\n", file.path)),
            }
        }
        Ok(0)
    }
}
