//! Plans of the commands that work on a lake and ask the service for nothing, with or without a pipeline file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use uuid::Uuid;

use super::Environment;
use super::file::PipelineFile;
use super::resolve::{RunFlags, file_settings, kill_at, location, parse_account, with_mutation};
use crate::engine;
use crate::error::{Error, Kind, Result};
use crate::lake::Location;
use crate::model::{Account, Declared, Invalid, Month, RunId, Window};
use crate::pipeline::{Covers, Ingest, Raw, Replay, Settings};
use crate::schema::{Dataset, Registry};

/// What `ingest` was told.
#[derive(Debug, Clone)]
pub struct IngestFlags {
    pub dataset: String,
    /// A folder with schema files of the user.
    pub schemas: Option<PathBuf>,
    /// Then what is not given is as in the file: lake, account, schemas, contracts, guards.
    pub pipeline: Option<PathBuf>,
    pub lake: Option<String>,
    pub account: Option<String>,
    pub files: Vec<PathBuf>,
    /// `YYYY-MM`, `YYYY-MM..YYYY-MM` or `all`.
    pub covers: Option<String>,
    pub extracted_at: Option<Timestamp>,
    /// A file of which a larger share is refused is held, in percent.
    pub max_quarantined_percent: Option<u32>,
    /// Nothing is held.
    pub no_guards: bool,
    pub declared: Declared,
}

/// What `quarantine replay` was told.
#[derive(Debug, Clone)]
pub struct ReplayFlags {
    /// Then lake, account and schemas are those of the file.
    pub pipeline: Option<PathBuf>,
    pub lake: String,
    pub dataset: Option<String>,
    pub account: Option<Account>,
    pub schemas: Option<PathBuf>,
}

/// The settings and schemas of a pipeline file, for a command that asks the service for nothing.
///
/// # Errors
/// [`Kind::Config`] for a value that is wrong or missing.
pub fn pipeline_settings(
    path: &Path,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<(Settings, Registry)> {
    let file = PipelineFile::read(path)?;
    let registry = Registry::load(file.schemas.as_deref())?;
    let mut settings =
        file_settings(String::new(), &file, &registry, &RunFlags::default(), environment, clock)
            .map_err(|error| error.with("file", path.display()))?;
    settings.lake = settings.lake.named_by(path);
    Ok((settings, registry))
}

/// # Errors
/// [`Kind::Config`] for a value that is wrong or missing, or a dataset that is not known.
pub fn replay_plan(
    flags: ReplayFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<Replay> {
    let command = "quarantine replay";
    let (settings, registry) = match &flags.pipeline {
        Some(path) => {
            let (settings, registry) = pipeline_settings(path, environment, clock)?;
            let command = format!("{command} --pipeline {}", path.display());
            (Settings { command, ..settings }, registry)
        }
        None => {
            let settings = lake_settings(command, &flags.lake, environment, clock)?;
            let account = flags.account.unwrap_or_default();
            (Settings { account, ..settings }, Registry::load(flags.schemas.as_deref())?)
        }
    };
    let datasets = match &flags.dataset {
        Some(name) => vec![registry.dataset(name)?.clone()],
        None => registry.datasets().cloned().collect(),
    };
    Ok(Replay { settings, datasets })
}

/// # Errors
/// [`Kind::Usage`] for a flag that is wrong, [`Kind::Config`] for an account or dataset that is.
pub fn ingest_plan(
    flags: IngestFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<Ingest> {
    let (mut settings, registry) = ingest_settings(&flags, environment, clock)?;
    let dataset = registry.dataset(&flags.dataset)?.clone();
    if flags.covers.is_some() && flags.files.len() > 1 {
        return Err(Error::new(
            Kind::Usage,
            "--covers takes one file: each file would replace the one before",
        )
        .with("files", flags.files.len())
        .hint("put the files into one zip archive, or leave --covers out and let them merge by key"));
    }
    if let Some(percent) = flags.max_quarantined_percent {
        settings.load.guards.quarantined.percent = percent;
    }
    let (flag, in_file) = (flags.declared, settings.decode.declared());
    settings.decode = settings.decode.with(Declared {
        encoding: flag.encoding.or(in_file.encoding),
        quotes: flag.quotes && in_file.quotes,
        date_order: flag.date_order.or(in_file.date_order),
    });
    let covers = covers(flags.covers.as_deref(), flags.extracted_at, &dataset)?;
    // A time to come would win over every export until then.
    if flags.extracted_at.is_some_and(|at| at > settings.now) {
        return Err(Error::new(Kind::Usage, "--extracted-at lies in the future")
            .with("now", settings.now)
            .hint("give the time at which the file was downloaded, with its zone: 2026-11-02T08:00:00Z"));
    }
    Ok(Ingest {
        settings,
        dataset,
        files: flags.files,
        covers,
        extracted_at: flags.extracted_at,
        guarded: !flags.no_guards,
    })
}

fn ingest_settings(
    flags: &IngestFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<(Settings, Registry)> {
    if let Some(path) = &flags.pipeline {
        let file = PipelineFile::read(path)?;
        let registry = Registry::load(flags.schemas.as_deref().or(file.schemas.as_deref()))?;
        let (lake, account) = (flags.lake.clone(), flags.account.clone());
        let over = RunFlags { lake, account, ..RunFlags::default() };
        let settings = file_settings("ingest".to_owned(), &file, &registry, &over, environment, clock)
            .map_err(|error| error.with("file", path.display()))?;
        return Ok((settings, registry));
    }
    let Some(lake) = &flags.lake else {
        return Err(Error::new(Kind::Usage, "nothing says which lake to write")
            .hint("give --lake URL, or --pipeline FILE"));
    };
    let mut settings = lake_settings("ingest", lake, environment, clock)?;
    if let Some(account) = &flags.account {
        settings.account = parse_account(account, environment)?;
    }
    Ok((settings, Registry::load(flags.schemas.as_deref())?))
}

/// The lake that a command names: by a path, a URL, or a pipeline file, of which `[storage]` counts as well.
///
/// # Errors
/// [`Kind::Config`] for a pipeline file that is wrong.
pub fn lake_at(lake: &str, environment: &Environment) -> Result<Location> {
    let path = Path::new(lake);
    if path.extension().is_none_or(|extension| extension != "toml") || !path.is_file() {
        return Ok(environment.location(lake));
    }
    let file = PipelineFile::read(path)?;
    let named =
        location(&file, &file.lake, environment).map_err(|error| error.with("file", path.display()))?;
    Ok(named.named_by(path))
}

/// Settings of a command that works on a lake without a pipeline file.
///
/// # Errors
/// As [`lake_at`].
pub fn lake_settings(
    command: &str,
    lake: &str,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<Settings> {
    Ok(Settings {
        command: command.to_owned(),
        run_id: RunId(Uuid::now_v7()),
        account: Account::default(),
        lake: lake_at(lake, environment)?,
        decode: crate::decode::Options::default(),
        normalise: BTreeMap::new(),
        load: with_mutation(crate::load::Options::default(), environment),
        engine: engine::Options::default(),
        publish: crate::load::publish::Publish::AsBefore,
        raw: Raw::default(),
        kill_at: kill_at(environment),
        now: clock(),
        clock,
    })
}

/// The engine's options for commands that have no pipeline file.
#[must_use]
pub fn engine_options() -> engine::Options {
    engine::Options::default()
}

fn covers(text: Option<&str>, extracted_at: Option<Timestamp>, dataset: &Dataset) -> Result<Option<Covers>> {
    let usage = |message: &str| {
        Error::new(Kind::Usage, message).hint(
            "--covers 2025-01..2025-06 --extracted-at 2025-07-02T08:00:00Z says that the file is the whole truth about \
             those months as they were at that time; --covers all says it of everything that the service could reach",
        )
    };
    let Some(text) = text else {
        if dataset.key.is_empty() {
            return Err(usage(
                "rows of this dataset have no key, so a file can only replace whole months: name them",
            )
            .with("dataset", &dataset.name));
        }
        return Ok(None);
    };
    if extracted_at.is_none() {
        return Err(usage("--covers needs --extracted-at"));
    }
    if text == "all" {
        if dataset.pending.is_none() {
            return Err(usage("--covers all is only for datasets that are pulled whole: name the months")
                .with("dataset", &dataset.name));
        }
        return Ok(Some(Covers::Everything));
    }
    if dataset.pending.is_some() {
        return Err(usage(
            "this dataset is pulled whole, and months of it are covered by nothing: use --covers all",
        )
        .with("dataset", &dataset.name));
    }
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    let wrong = |invalid: Invalid| usage(&invalid.0);
    let (first, last) = (Month::parse(first).map_err(wrong)?, Month::parse(last).map_err(wrong)?);
    if first > last {
        return Err(usage("--covers ends before it begins"));
    }
    Ok(Some(Covers::Months(Window::new(first, last))))
}
