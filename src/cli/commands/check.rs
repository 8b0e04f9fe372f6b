use std::path::PathBuf;

use clap::Args;
use uuid::Uuid;

use crate::cli::Setting;
use crate::config::{self, Environment, RunFlags};
use crate::error::Result;
use crate::model::{Month, RequestId, RunId};
use crate::output::{Progress, print_checkup};
use crate::pipeline::{Probe, ProbeOptions};
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
    /// Also ask for one small export, and report how the service spells things: no value, no name, no id
    #[arg(long)]
    probe: bool,
    /// The month of that export, instead of the last complete one
    #[arg(long, value_name = "YYYY-MM", value_parser = Month::parse, requires = "probe")]
    probe_month: Option<Month>,
    /// Go on with an export that an earlier probe has asked for; again for one more to delete
    #[arg(long, value_name = "ID", requires = "probe")]
    request: Vec<String>,
    /// Where the report goes
    #[arg(long, value_name = "FILE", default_value = "payoutlake-probe.json", requires = "probe")]
    report: PathBuf,
}

impl Check {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let options = self.probe_options();
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
        let file = self.pipeline.display().to_string();
        let run_id = planned.as_ref().map_or(RunId(Uuid::nil()), |plan| plan.settings.run_id);
        let progress = Progress::new(setting.style, run_id, setting.clock);
        let observer = progress.observer();
        let if_stopped = |next_step: String| setting.if_stopped.set(next_step);
        let probe =
            options.as_ref().map(|options| Probe { options, observer: &observer, if_stopped: &if_stopped });
        let checkup = pipeline::check(&file, planned, probe.as_ref()).await;
        progress.finish();
        print_checkup(setting.style, &checkup);
        if let Some(server) = running {
            server.stop().await;
        }
        Ok(checkup.exit_code)
    }

    fn probe_options(&self) -> Option<ProbeOptions> {
        let given = [("--lake", &self.lake), ("--account", &self.account)];
        let given = given.iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", value.as_ref()?)));
        let command = format!(
            "{} check {}{} --probe --report {}",
            Environment::program(),
            self.pipeline.display(),
            given.collect::<String>(),
            self.report.display()
        );
        self.probe.then(|| ProbeOptions {
            month: self.probe_month,
            requests: self.request.iter().cloned().map(RequestId).collect(),
            report: self.report.clone(),
            command,
        })
    }
}
