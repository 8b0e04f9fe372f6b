use std::path::PathBuf;

use clap::Args;

use crate::cli::Setting;
use crate::cli::commands::lake::account;
use crate::engine::Engine;
use crate::error::Result;
use crate::model::Account;
use crate::output::print_explained;
use crate::schema::Registry;
use crate::{config, decode, pipeline};

/// Show where a row comes from: file, line, request, and each cell's text beside its value and the rule that made it
#[derive(Debug, Args)]
pub(in crate::cli) struct Explain {
    /// The lake to read
    #[arg(long, value_name = "URL", default_value = "./lake")]
    lake: String,
    #[command(flatten)]
    row: Row,
    /// The table [default: payments for --payment-id, else transaction_history]
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// This account only
    #[arg(long, value_name = "ALIAS", value_parser = account)]
    account: Option<Account>,
    /// Folder with schemas of your own, as in the pipeline file
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
}

/// What names the row.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Row {
    #[arg(long, value_name = "ID")]
    earning_id: Option<String>,
    #[arg(long, value_name = "ID")]
    payment_id: Option<String>,
    /// The value of _pc_row_key
    #[arg(long, value_name = "KEY")]
    row_key: Option<String>,
}

impl Explain {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let Row { earning_id, payment_id, row_key } = self.row;
        let named = [("earning_id", earning_id), ("payment_id", payment_id), ("_pc_row_key", row_key)];
        let named = named.into_iter().find_map(|(column, value)| Some((column, value?)));
        let (column, value) = named.unwrap_or_default();
        let by_payment = column == "payment_id";
        let dataset = self.dataset.as_deref();
        let dataset = dataset.unwrap_or(if by_payment { "payments" } else { "transaction_history" });
        let registry = Registry::load(self.schemas.as_deref())?;
        let wanted = pipeline::Explain {
            dataset: registry.dataset(dataset)?.clone(),
            column: column.to_owned(),
            value,
            account: self.account,
        };
        let lake = pipeline::open_existing(&config::lake_at(&self.lake, &setting.environment)?).await?;
        let engine = Engine::new(&config::engine_options(), lake.store().clone())?;
        let rows = pipeline::explain(&lake, &engine, &wanted, &decode::Options::default()).await?;
        print_explained(setting.style, &rows);
        Ok(0)
    }
}
