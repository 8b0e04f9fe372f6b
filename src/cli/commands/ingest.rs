use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::cli::Setting;
use crate::config::{self, Environment, IngestFlags};
use crate::error::Result;
use crate::model::{DateOrder, Declared, Encoding};
use crate::output::{Progress, print_receipt};
use crate::pipeline;

/// Bring files that a person downloaded (csv, tsv, gz, zip) into a lake
#[derive(Debug, Args)]
pub(in crate::cli) struct Ingest {
    /// What the files hold, for example transaction_history or payments
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// Folder with schemas of your own, as in the pipeline file
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
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
    /// How characters stand in bytes; without it UTF-8 or UTF-16, as the file tells by a byte order mark or its first line
    #[arg(long, value_name = "ENCODING", value_parser = spelled::<Encoding>(&Encoding::NAMES))]
    encoding: Option<Encoding>,
    /// What 9/10/2026 means; without it the file must prove it, column by column, by a number above 12
    #[arg(long, value_name = "ORDER", value_parser = spelled::<DateOrder>(&DateOrder::NAMES))]
    date_order: Option<DateOrder>,
    /// Quotes are text like any other, as in TSV without quoting
    #[arg(long)]
    no_quotes: bool,
    /// The files; what they are is told by their bytes, not by their names
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// A value that pipeline files spell the same way.
fn spelled<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| serde_json::from_value(name.into()))
}

impl Ingest {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let declared =
            Declared { encoding: self.encoding, quotes: !self.no_quotes, date_order: self.date_order };
        let flags = IngestFlags {
            dataset: self.dataset,
            schemas: self.schemas,
            pipeline: self.pipeline,
            lake: self.lake,
            account: self.account,
            files: self.files,
            covers: self.covers,
            extracted_at: self.extracted_at,
            max_quarantined_percent: self.max_quarantined_percent,
            no_guards: self.no_guards,
            declared,
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
