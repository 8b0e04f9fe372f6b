//! `payoutlake quarantine`: one file for each subcommand.

mod list;
mod replay;
mod show;

use clap::{Args, Subcommand};

use crate::cli::Setting;
use crate::config;
use crate::error::Result;
use crate::load::Refused;
use crate::model::Account;
use crate::pipeline;

/// Look at the rows that were refused, and publish those that fit after a schema or a contract has changed
#[derive(Debug, Args)]
pub(in crate::cli) struct Quarantine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Replay(replay::Replay),
}

impl Quarantine {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        match self.command {
            Command::List(list) => list.perform(setting).await,
            Command::Show(show) => show.perform(setting).await,
            Command::Replay(replay) => replay.perform(setting).await,
        }
    }
}

/// Which refused rows.
#[derive(Debug, Args)]
struct Scope {
    /// The lake
    #[arg(long, value_name = "URL", default_value = "./lake")]
    lake: String,
    /// This dataset only
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// This account only
    #[arg(long, value_name = "ALIAS", value_parser = super::lake::account)]
    account: Option<Account>,
}

impl Scope {
    async fn rows(&self, setting: &Setting) -> Result<Vec<Refused>> {
        let lake = pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await?;
        pipeline::refused(&lake, self.account.as_ref(), self.dataset.as_deref()).await
    }
}

const NOTHING: &str = "no row is refused\n";
