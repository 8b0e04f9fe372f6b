use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::Setting;
use crate::error::{Error, Kind, Result};
use crate::output::{
    SchemaFormat, print_columns, print_detected, print_differences, print_schema, print_schemas,
};
use crate::pipeline;
use crate::schema::{Dataset, Registry, Version};

/// Datasets and their versions: what columns they have, what differs, which of them a file is
#[derive(Debug, Args)]
pub(in crate::cli) struct Schema {
    /// Folder with schemas of your own, as in the pipeline file
    #[arg(long, value_name = "DIR", global = true)]
    schemas: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List every version of every dataset
    List,
    Show(Show),
    Diff(Diff),
    Detect(Detect),
    Export(Export),
}

/// Show the columns of a version: type, headers that fill them, meaning
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    which: Which,
    /// Only columns that say something about a customer as a person or place
    #[arg(long)]
    pii: bool,
}

/// Show what a version has that another has not, column by column
#[derive(Debug, Args)]
struct Diff {
    /// The dataset, for example transaction_history
    dataset: String,
    /// The older version: 3 or v3
    #[arg(value_parser = number)]
    from: u32,
    /// The newer version
    #[arg(value_parser = number)]
    to: u32,
}

/// Tell which version of which dataset files are, by their headers alone
#[derive(Debug, Args)]
struct Detect {
    /// csv, tsv, gz or zip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Write a version for other programs
#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    which: Which,
    /// What to write
    #[arg(long, value_enum)]
    format: SchemaFormat,
}

#[derive(Debug, Args)]
struct Which {
    /// The dataset, for example transaction_history
    dataset: String,
    /// The version, 3 or v3; without it the newest, which is the shape of the table
    #[arg(long, value_name = "N", value_parser = number)]
    version: Option<u32>,
}

impl Schema {
    pub(in crate::cli) fn perform(self, setting: &Setting) -> Result<u8> {
        let registry = Registry::load(self.schemas.as_deref())?;
        let style = setting.style;
        match self.command {
            Command::List => print_schemas(style, &registry),
            Command::Show(show) => {
                let (dataset, version) = show.which.find(&registry)?;
                print_columns(style, dataset, version, show.pii);
            }
            Command::Diff(diff) => {
                let dataset = registry.dataset(&diff.dataset)?;
                let (from, to) = (version(dataset, diff.from)?, version(dataset, diff.to)?);
                print_differences(style, dataset, from, to);
            }
            Command::Detect(detect) => {
                let detected = pipeline::detect(&detect.files, &registry)?;
                for file in &detected {
                    print_detected(style, &file.file, file.columns, file.header_line, &file.candidates);
                }
                if detected.iter().any(|file| file.columns > 0 && file.found().is_none()) {
                    return Ok(Kind::Contract.exit_code());
                }
            }
            Command::Export(export) => {
                let (dataset, version) = export.which.find(&registry)?;
                print_schema(style, export.format, dataset, version);
            }
        }
        Ok(0)
    }
}

impl Which {
    fn find<'a>(&self, registry: &'a Registry) -> Result<(&'a Dataset, &'a Version)> {
        let dataset = registry.dataset(&self.dataset)?;
        let version = self.version.map_or(Ok(dataset.newest()), |number| version(dataset, number))?;
        Ok((dataset, version))
    }
}

fn version(dataset: &Dataset, number: u32) -> Result<&Version> {
    dataset.version(number).ok_or_else(|| {
        let known: Vec<String> = dataset.versions.iter().map(|known| format!("v{}", known.number)).collect();
        Error::new(Kind::Usage, format!("dataset '{}' has no version {number}", dataset.name))
            .with("known", known.join(", "))
            .hint("Name one of the known versions.")
    })
}

/// `3` or `v3`.
fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('v').unwrap_or(text);
    digits.parse().map_err(|_| format!("'{text}' is no version: write 3 or v3"))
}
