use clap::Args;

use crate::cli::Setting;
use crate::config;
use crate::engine::Engine;
use crate::error::Result;
use crate::output::print_status;
use crate::pipeline;

/// The lake at a glance: tables, months, last run, what is open or held, how late months still change
#[derive(Debug, Args)]
pub(in crate::cli) struct Status {
    /// The lake to look at
    #[arg(long, value_name = "URL", default_value = "./lake")]
    lake: String,
}

impl Status {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let lake = pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await?;
        let engine = Engine::new(&config::engine_options(), lake.store().clone())?;
        let status = pipeline::status(&lake, &engine, (setting.clock)()).await?;
        print_status(setting.style, &status);
        Ok(0)
    }
}
