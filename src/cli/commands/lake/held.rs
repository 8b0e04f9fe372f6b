use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::Place;
use crate::cli::Setting;
use crate::config::{self, Environment};
use crate::error::Result;
use crate::lake;
use crate::output::{self, Progress, number, print_receipt};
use crate::pipeline::{self, Decision};
use crate::schema::Registry;

/// List the windows that a guard holds, with what they would change; load or drop one
#[derive(Debug, Args)]
pub(super) struct Held {
    /// Load this one as it is; nothing is downloaded
    #[arg(long, value_name = "ID", conflicts_with = "reject")]
    accept: Option<String>,
    /// Drop this one; the next run asks for a fresh export
    #[arg(long, value_name = "ID")]
    reject: Option<String>,
    /// Folder with schemas of your own, as in the pipeline file
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// A pipeline file, for its schemas, contracts and what it does to personal data
    #[arg(long, value_name = "FILE", conflicts_with = "schemas")]
    pipeline: Option<PathBuf>,
}

impl Held {
    pub(super) async fn perform(self, place: &Place, setting: &Setting) -> Result<u8> {
        let lake = place.open(setting).await?;
        let (id, decision) = match (&self.accept, &self.reject) {
            (Some(id), _) => (id, Decision::Accept),
            (None, Some(id)) => (id, Decision::Reject),
            (None, None) => {
                list(place, &pipeline::list_held(&lake).await?, setting);
                return Ok(0);
            }
        };
        let held = lake::Held::find(&lake, id).await?;
        let word = if decision == Decision::Accept { "accept" } else { "reject" };
        let mut settings = place.settings(&format!("held --{word} {id}"), setting).await?;
        let registry = match &self.pipeline {
            Some(path) => {
                let (of_file, registry) =
                    config::pipeline_settings(path, &setting.environment, setting.clock)?;
                (settings.normalise, settings.raw, settings.load) =
                    (of_file.normalise, of_file.raw, of_file.load);
                registry
            }
            None => Registry::load(self.schemas.as_deref())?,
        };
        let progress = Progress::new(setting.style, settings.run_id, setting.clock);
        let done = pipeline::decide(settings, &registry, id, decision, progress.observer()).await;
        progress.finish();
        let receipt = done?;
        if decision == Decision::Accept || setting.style.json {
            print_receipt(setting.style, &receipt, &Environment::program());
        } else if !setting.style.quiet {
            let scope = held.scope();
            output::say(&format!(
                "rejected: {scope}; the lake is as it was, the next run asks for a fresh export\n"
            ));
        }
        Ok(receipt.exit_code)
    }
}

fn list(place: &Place, all: &[lake::Held], setting: &Setting) {
    if setting.style.json {
        all.iter().for_each(|held| output::print_json("payoutlake.held.v1", held));
    } else if all.is_empty() {
        if !setting.style.quiet {
            output::say("nothing is held\n");
        }
    } else {
        let program = Environment::program();
        all.iter().for_each(|held| output::print(&words(held, &place.lake, &program)));
    }
}

fn words(held: &lake::Held, lake: &str, program: &str) -> String {
    let lake::HeldExport { name, request_id, blob_bytes, extracted_at, whole, .. } = &held.export;
    let mut out = String::new();
    let _ = writeln!(out, "{}  {}", held.id, held.scope());
    let _ = writeln!(out, "  held since {} by run {}", held.held_at, held.run_id);
    let export = match request_id {
        Some(id) => format!("request {id}"),
        None => format!("file {name}"),
    };
    let finished = extracted_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
    let effect = if *whole { "replaces what it covers" } else { "merges by key" };
    let _ = writeln!(out, "  {export}, {}, as of {finished}: {effect}", number::bytes(*blob_bytes));
    for difference in &held.differences {
        let _ = writeln!(out, "  ! {difference}");
    }
    if held.differences.is_empty() {
        let _ = writeln!(out, "  ! {}", held.reason);
    }
    let _ = writeln!(
        out,
        "  next: {program} lake held --lake {lake} --accept {id}  or  --reject {id}",
        id = held.id
    );
    out
}
