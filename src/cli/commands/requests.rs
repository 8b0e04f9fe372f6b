use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::ToSpan;
use jiff::tz::TimeZone;

use super::run::resolved;
use crate::cli::{Setting, confirm};
use crate::config;
use crate::config::RunFlags;
use crate::error::{Error, Kind, Result};
use crate::model::Month;
use crate::output::{Progress, print_requests, say};
use crate::pipeline::{self, Which};

/// Export jobs, as the ledger and the service know them
#[derive(Debug, Args)]
pub(in crate::cli) struct Requests {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Show(Show),
    Delete(Delete),
}

/// List the exports that are open, and what the service says of each
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Also those of the last two months that are closed
    #[arg(long)]
    all: bool,
    /// Also closed ones, as far back as this month
    #[arg(long, value_name = "YYYY-MM", value_parser = Month::parse)]
    since: Option<Month>,
}

/// Show everything that is written down about one export
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// The id of the export, or how it begins, or the service's request id
    id: String,
}

/// Where to look.
#[derive(Debug, Args)]
struct Place {
    /// A pipeline file; the service is asked, too
    #[arg(required_unless_present = "lake")]
    pipeline: Option<PathBuf>,
    /// The exports of all accounts of this lake instead; nobody signs in, and the service is not asked
    #[arg(long, value_name = "URL", conflicts_with = "pipeline")]
    lake: Option<String>,
    /// Do not sign in and do not ask the service
    #[arg(long)]
    offline: bool,
}

/// Remove exports at the service; never one that the service is still building
#[derive(Debug, Args)]
struct Delete {
    /// A pipeline file
    pipeline: PathBuf,
    /// Ids of exports, or how they begin, or the service's request ids
    #[arg(required = true)]
    ids: Vec<String>,
    /// Remove them without asking; needed where nobody sits at a terminal
    #[arg(long)]
    yes: bool,
}

impl Requests {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        match self.command {
            Command::List(List { place, all, since }) => {
                let today = TimeZone::UTC.to_datetime((setting.clock)()).date();
                let recent = all.then(|| Month::of(today.saturating_sub(1.month())));
                let which = since.or(recent).map_or(Which::Open, Which::Since);
                place.look(&which, setting).await
            }
            Command::Show(Show { place, id }) => place.look(&Which::Id(id), setting).await,
            Command::Delete(delete) => delete.perform(setting).await,
        }
    }
}

impl Place {
    async fn look(self, which: &Which, setting: &Setting) -> Result<u8> {
        let Some(file) = self.pipeline else {
            let lake = self.lake.unwrap_or_default();
            let requests = pipeline::requests_in(
                &config::lake_at(&lake, &setting.environment)?,
                which,
                (setting.clock)(),
            )
            .await?;
            print_requests(setting.style, &requests);
            return Ok(0);
        };
        let flags = RunFlags { offline: self.offline, ..RunFlags::default() };
        let (plan, running) = resolved(&file, &flags, setting).await?;
        let progress = Progress::new(setting.style, plan.settings.run_id, setting.clock);
        let done = pipeline::requests(&plan, which, self.offline, &progress.observer()).await;
        progress.finish();
        if let Some(server) = running {
            server.stop().await;
        }
        let (requests, failure) = done?;
        print_requests(setting.style, &requests);
        failure.map_or(Ok(0), Err)
    }
}

impl Delete {
    async fn perform(self, setting: &Setting) -> Result<u8> {
        if !self.yes {
            let ids = self.ids.join(", ");
            confirm(&format!("remove {ids} at the service? Rows that are in the lake stay there"), || {
                Error::new(Kind::Usage, "exports are removed at the service only with --yes")
                    .with("exports", &ids)
                    .hint("add --yes; the rows that are in the lake stay there. Nothing was changed")
            })?;
        }
        let (plan, running) = resolved(&self.pipeline, &RunFlags::default(), setting).await?;
        let progress = Progress::new(setting.style, plan.settings.run_id, setting.clock);
        let mut deleted = Ok(());
        for id in &self.ids {
            match pipeline::delete_request(&plan, id, &progress.observer()).await {
                Ok(request) if setting.style.json => print_requests(setting.style, &[request]),
                Ok(request) => say(&format!("deleted {} ({})\n", request.export, request.dataset)),
                Err(error) => {
                    deleted = Err(error.with("id", id));
                    break;
                }
            }
        }
        progress.finish();
        if let Some(server) = running {
            server.stop().await;
        }
        deleted.map(|()| 0)
    }
}
