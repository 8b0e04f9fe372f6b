use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::Setting;
use crate::config::{self, Environment, RunFlags};
use crate::error::Result;
use crate::output::{Progress, print_receipt};
use crate::pipeline::Plan;
use crate::{pipeline, sandbox};

/// Run a pipeline: ask for the exports, wait, download, check, publish
#[derive(Debug, Args)]
pub(in crate::cli) struct Run {
    /// A pipeline file, for example pipelines/quickstart.toml
    pipeline: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    waiting: Waiting,
}

/// Flags that win over the pipeline file.
#[derive(Debug, Args)]
pub(super) struct Overrides {
    /// The lake to write, instead of the pipeline file's
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// The account's alias, instead of the pipeline file's
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
    /// Sign in under this alias as somebody else than before, from now on
    #[arg(long)]
    accept_identity: bool,
}

/// What `run` and `backfill` have in common.
#[derive(Debug, Args)]
pub(super) struct Waiting {
    /// Ask for all exports, take what is finished, and leave with 75 while some are not; run again to go on
    #[arg(long)]
    pub(super) no_wait: bool,
}

impl Overrides {
    pub(super) fn flags(self) -> RunFlags {
        let Overrides { lake, account, accept_identity } = self;
        RunFlags { lake, account, accept_identity, ..RunFlags::default() }
    }
}

impl Run {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let flags = RunFlags { no_wait: self.waiting.no_wait, ..self.overrides.flags() };
        perform(&self.pipeline, &flags, setting).await
    }
}

pub(super) async fn perform(file: &Path, flags: &RunFlags, setting: &Setting) -> Result<u8> {
    let (plan, running) = resolved(file, flags, setting).await?;
    let progress = Progress::new(setting.style, plan.settings.run_id, setting.clock);
    let done = pipeline::run(plan, progress.observer()).await;
    progress.finish();
    let receipt = done?;
    print_receipt(setting.style, &receipt, &Environment::program());
    if let Some(server) = running {
        server.stop().await;
    }
    Ok(receipt.exit_code)
}

/// The plan of a pipeline file, and the embedded sandbox that it needs, started.
pub(super) async fn resolved(
    file: &Path,
    flags: &RunFlags,
    setting: &Setting,
) -> Result<(Plan, Option<sandbox::Running>)> {
    let (mut plan, embedded) = config::run_plan(file, flags, &setting.environment, setting.clock)?;
    let Some(embedded) = embedded else { return Ok((plan, None)) };
    let server = sandbox::start(&embedded.options, 0, setting.clock).await?;
    embedded.point(&mut plan, server.url());
    Ok((plan, Some(server)))
}
