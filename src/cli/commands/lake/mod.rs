//! `payoutlake lake`: one file for each subcommand.

mod files;
mod held;
mod maintain;
mod rollback;
mod snapshots;
mod tag;

use clap::{Args, Subcommand};

use crate::cli::Setting;
use crate::config;
use crate::error::Result;
use crate::lake;
use crate::model::Account;
use crate::pipeline::{self, Settings};

/// Look at a lake's history, keep a moment of it, go back, decide on what is held, clean up
#[derive(Debug, Args)]
pub(in crate::cli) struct Lake {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Place {
    /// The lake
    #[arg(long, value_name = "URL", default_value = "./lake", global = true)]
    lake: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    Snapshots(snapshots::Snapshots),
    Files(files::Files),
    Tag(tag::Tag),
    Rollback(rollback::Rollback),
    Held(held::Held),
    Maintain(maintain::Maintain),
}

impl Lake {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let place = &self.place;
        match self.command {
            Command::Snapshots(snapshots) => snapshots.perform(place, setting).await,
            Command::Files(files) => files.perform(place, setting).await,
            Command::Tag(tag) => tag.perform(place, setting).await,
            Command::Rollback(rollback) => rollback.perform(place, setting).await,
            Command::Held(held) => held.perform(place, setting).await,
            Command::Maintain(maintain) => maintain.perform(place, setting).await,
        }
    }
}

impl Place {
    async fn open(&self, setting: &Setting) -> Result<lake::Lake> {
        pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await
    }

    /// What a subcommand that writes works with. It never makes a lake.
    async fn settings(&self, command: &str, setting: &Setting) -> Result<Settings> {
        let _there = self.open(setting).await?;
        let command = format!("lake {command}");
        config::lake_settings(&command, &self.lake, &setting.environment, setting.clock)
    }
}

#[derive(Debug, Args)]
struct Scope {
    /// This table only
    #[arg(long, value_name = "NAME")]
    table: Option<String>,
    /// This account only
    #[arg(long, value_name = "ALIAS", value_parser = account)]
    account: Option<Account>,
}

impl Scope {
    fn resolve(self) -> pipeline::Scope {
        pipeline::Scope { table: self.table, account: self.account }
    }
}

/// An alias as a flag.
pub(super) fn account(text: &str) -> std::result::Result<Account, String> {
    Account::parse(text).map_err(|invalid| invalid.0)
}
