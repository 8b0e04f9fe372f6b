use std::path::PathBuf;

use clap::Args;

use super::NOTHING;
use crate::cli::Setting;
use crate::config::{self, Environment, ReplayFlags};
use crate::error::Result;
use crate::model::Account;
use crate::output::{self, Progress, print_receipt};
use crate::pipeline;

/// Publish the refused rows that fit now, once, while their export is still the truth of their month
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// The pipeline file, with its lake, account, schemas and contracts
    #[arg(long, value_name = "FILE", conflicts_with_all = ["schemas", "account"])]
    pipeline: Option<PathBuf>,
    /// The lake, where there is no pipeline file [default: ./lake]
    #[arg(long, value_name = "URL", conflicts_with = "pipeline")]
    lake: Option<String>,
    /// This dataset only
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// This account; a lake of one account has no other
    #[arg(long, value_name = "ALIAS", value_parser = super::super::lake::account)]
    account: Option<Account>,
    /// Folder with schemas of your own, as in the pipeline file
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

impl Replay {
    pub(super) async fn perform(self, setting: &Setting) -> Result<u8> {
        let mut flags = ReplayFlags {
            pipeline: self.pipeline,
            lake: self.lake.unwrap_or_else(|| "./lake".to_owned()),
            dataset: self.dataset,
            account: self.account,
            schemas: self.schemas,
        };
        if flags.pipeline.is_none() {
            let lake = pipeline::open_existing(&config::lake_at(&flags.lake, &setting.environment)?).await?;
            flags.account = Some(pipeline::only_account(&lake, flags.account).await?);
        }
        let replay = config::replay_plan(flags, &setting.environment, setting.clock)?;
        // A replay never makes a lake.
        let _there = pipeline::open_existing(&replay.settings.lake).await?;
        let progress = Progress::new(setting.style, replay.settings.run_id, setting.clock);
        let done = pipeline::replay(replay, progress.observer()).await;
        progress.finish();
        let receipt = done?;
        if receipt.tables.is_empty() && !setting.style.json {
            if !setting.style.quiet {
                output::say(NOTHING);
            }
        } else {
            print_receipt(setting.style, &receipt, &Environment::program());
        }
        Ok(receipt.exit_code)
    }
}
