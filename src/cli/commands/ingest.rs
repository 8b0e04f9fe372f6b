use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use crate::cli::Setting;
use crate::config::{self, Environment, IngestFlags};
use crate::error::Result;
use crate::output::{Progress, print_receipt};
use crate::pipeline;

/// Bring files that a person downloaded (csv, tsv, gz, zip) into a lake
#[derive(Debug, Args)]
pub(in crate::cli) struct Ingest {
    /// What the files hold, for example transaction_history or payments
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// The lake to write
    #[arg(long, value_name = "URL", required_unless_present = "pipeline")]
    lake: Option<String>,
    /// A pipeline file: its lake, account, schemas, contracts and guards, where no flag says otherwise
    #[arg(long, value_name = "FILE")]
    pipeline: Option<PathBuf>,
    /// Alias of the account that the files are about [default: default]
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
    /// The file is the whole truth about these months (YYYY-MM or YYYY-MM..YYYY-MM), or, for payments, about `all`
    /// that the service could reach; without this rows merge by key and remove nothing
    #[arg(long, value_name = "MONTHS", requires = "extracted_at")]
    covers: Option<String>,
    /// When the file was downloaded, with its zone: 2026-11-02T08:00:00Z
    #[arg(long, value_name = "TIME")]
    extracted_at: Option<Timestamp>,
    /// Hold a file of which more than this share of the rows is refused [default: 1]
    #[arg(long, value_name = "PERCENT")]
    max_quarantined_percent: Option<u32>,
    /// Load what a guard would hold, after a look at it
    #[arg(long)]
    no_guards: bool,
    /// The files; what they are is told by their bytes, not by their names
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Ingest {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let flags = IngestFlags {
            dataset: self.dataset,
            pipeline: self.pipeline,
            lake: self.lake,
            account: self.account,
            files: self.files,
            covers: self.covers,
            extracted_at: self.extracted_at,
            max_quarantined_percent: self.max_quarantined_percent,
            no_guards: self.no_guards,
        };
        let ingest = config::ingest_plan(flags, &setting.environment, setting.clock)?;
        let progress = Progress::new(setting.style, ingest.settings.run_id, setting.clock);
        let done = pipeline::ingest(ingest, progress.observer()).await;
        progress.finish();
        let receipt = done?;
        print_receipt(setting.style, &receipt, &Environment::program());
        Ok(receipt.exit_code)
    }
}
