use std::path::PathBuf;

use clap::Args;

use crate::cli::Setting;
use crate::config::{self, RunFlags};
use crate::error::Result;
use crate::output::print_checkup;
use crate::{pipeline, sandbox};

/// Try everything that a run needs: pipeline file, sign-in, API, lake, schema, clock; asks for no export
#[derive(Debug, Args)]
pub(in crate::cli) struct Check {
    /// A pipeline file
    pipeline: PathBuf,
    /// The lake to try, instead of the pipeline file's
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// The account's alias, instead of the pipeline file's
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
}

impl Check {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let flags = RunFlags { lake: self.lake, account: self.account, ..RunFlags::default() };
        let planned = config::run_plan(&self.pipeline, &flags, &setting.environment, setting.clock);
        let mut running = None;
        let planned = match planned {
            Ok((mut plan, Some(embedded))) => {
                let server = sandbox::start(&embedded.options, 0, setting.clock).await?;
                embedded.point(&mut plan, server.url());
                running = Some(server);
                Ok(plan)
            }
            planned => planned.map(|(plan, _)| plan),
        };
        let checkup = pipeline::check(&self.pipeline.display().to_string(), planned).await;
        print_checkup(setting.style, &checkup);
        if let Some(server) = running {
            server.stop().await;
        }
        Ok(checkup.exit_code)
    }
}
