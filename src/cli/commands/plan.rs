use std::path::PathBuf;

use clap::Args;

use super::backfill::Months;
use super::run::Overrides;
use crate::cli::Setting;
use crate::config::{self, RunFlags};
use crate::error::Result;
use crate::output::{Progress, print_preview};
use crate::pipeline;

/// Print every request that a run would queue, and why; changes nothing and needs no secret
///
/// With options of a backfill: what `backfill` would queue.
#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    /// A pipeline file, for example pipelines/quickstart.toml
    pipeline: PathBuf,
    #[command(flatten)]
    months: Months,
    #[command(flatten)]
    overrides: Overrides,
}

impl Plan {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let backfill = self.months.is_given().then(|| self.months.flags());
        let flags = RunFlags { backfill, offline: true, ..self.overrides.flags() };
        let (mut plan, embedded) =
            config::run_plan(&self.pipeline, &flags, &setting.environment, setting.clock)?;
        if let Some(embedded) = embedded {
            embedded.point_nowhere(&mut plan);
        }
        let progress = Progress::new(setting.style, plan.settings.run_id, setting.clock);
        let preview = pipeline::preview(&plan, &progress.observer()).await?;
        print_preview(setting.style, &preview, &self.pipeline.display().to_string());
        Ok(0)
    }
}
