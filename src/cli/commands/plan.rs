use std::path::PathBuf;

use clap::Args;

use super::run::Overrides;
use crate::cli::Setting;
use crate::config;
use crate::error::Result;
use crate::output;

/// Print every request that a run would queue; changes nothing
#[derive(Debug, Args)]
pub(in crate::cli) struct Plan {
    /// A pipeline file, for example pipelines/quickstart.toml
    pipeline: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
}

impl Plan {
    pub(in crate::cli) fn perform(self, setting: &Setting) -> Result<u8> {
        let (plan, _) =
            config::run_plan(&self.pipeline, &self.overrides.flags(), &setting.environment, setting.clock)?;
        for wanted in plan.wanted() {
            let replaces = match wanted.window {
                Some(window) => format!("replaces the months {window}"),
                None => "merges by key".to_owned(),
            };
            if setting.style.json {
                let line = serde_json::json!({
                    "schema": "payoutlake.plan.v1",
                    "dataset": wanted.dataset.name,
                    "window": wanted.window,
                    "path": wanted.path,
                    "filter": wanted.filter,
                });
                output::print(&format!("{line}\n"));
            } else {
                let filter = wanted.filter.as_deref().unwrap_or("none: all that the service can reach");
                output::print(&format!("{}\n  filter: {filter}\n  effect: {replaces}\n", wanted.scope()));
            }
        }
        Ok(0)
    }
}
