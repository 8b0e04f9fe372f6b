//! A pipeline file, the environment and flags become a plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::file::{PipelineFile, SourceKind};
use super::{Environment, auth, filters};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, DatasetName, Declared, Invalid, Month, RunId, Window};
use crate::normalise::{self, Contract};
use crate::pipeline::{
    Ask, Covers, DatasetPlan, Ingest, Plan, REACH_MONTHS, Raw, Replay, Settings, Tier, Wait, reach,
};
use crate::schema::{Dataset, Registry};
use crate::secret::Secret;
use crate::source::auth::Version;
use crate::source::{self, Auth, Way};
use crate::{engine, sandbox};

/// Flags that win over the pipeline file.
#[derive(Debug, Clone, Default)]
pub struct RunFlags {
    pub lake: Option<String>,
    pub account: Option<String>,
    pub accept_identity: bool,
    /// As `wait.deadline_minutes = 0`.
    pub no_wait: bool,
    /// Months that somebody asks for, instead of those that are due.
    pub backfill: Option<BackfillFlags>,
    /// Nobody signs in: the sign-in of the pipeline file is not looked at, so it needs no secret.
    pub offline: bool,
}

/// Which months a backfill asks for.
#[derive(Debug, Clone)]
pub struct BackfillFlags {
    /// Without it the first month that the service can reach.
    pub from: Option<Month>,
    /// Without it the running month.
    pub to: Option<Month>,
    /// Without it as many as the pipeline file says.
    pub chunk_months: Option<u32>,
    /// A month that was covered so short a time ago is left out.
    pub fresh_for: SignedDuration,
}

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

/// The embedded sandbox that a run has to start first.
#[derive(Debug, Clone)]
pub struct SandboxPlan {
    pub options: sandbox::Options,
}

impl SandboxPlan {
    /// Points a plan that is only printed at a sandbox that does not run: the port is chosen when it starts.
    pub fn point_nowhere(&self, plan: &mut Plan) {
        // A constant that is a valid URL.
        if let Ok(nowhere) = url::Url::parse("http://127.0.0.1:0/") {
            self.point(plan, &nowhere);
        }
    }

    /// Points a plan at the sandbox that was started.
    pub fn point(&self, plan: &mut Plan, sandbox: &url::Url) {
        // Joining a constant relative path to a valid URL cannot fail.
        plan.source.api = sandbox.join("v1.0/").unwrap_or_else(|_| sandbox.clone());
        plan.source.authority = sandbox.clone();
    }
}

/// # Errors
/// [`Kind::Config`] for a value that is wrong or missing.
pub fn run_plan(
    path: &Path,
    flags: &RunFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<(Plan, Option<SandboxPlan>)> {
    planned(&PipelineFile::read(path)?, path, flags, environment, clock)
}

/// As [`run_plan`], for the text of a file that stands, or will stand, at `path`.
///
/// # Errors
/// As [`run_plan`].
pub(super) fn planned(
    file: &PipelineFile,
    path: &Path,
    flags: &RunFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<(Plan, Option<SandboxPlan>)> {
    let now = clock();
    let sandbox = sandbox_plan(file, environment);
    // A sandbox that stands at another day makes that day today.
    let today = sandbox.as_ref().and_then(|plan| plan.options.as_of);
    let today = today.unwrap_or_else(|| TimeZone::UTC.to_datetime(now).date());
    let registry = Registry::load(file.schemas.as_deref())?;
    let in_file = |error: Error| error.with("file", path.display());
    let datasets = datasets(file, &registry, today, flags.backfill.as_ref()).map_err(in_file)?;
    let verb = if flags.backfill.is_some() { "backfill" } else { "run" };
    let command = format!("{verb} {}", path.display());
    let settings = file_settings(command, file, &registry, flags, environment, clock).map_err(in_file)?;
    let api = api(file);
    let place = auth::Place {
        environment,
        account: &settings.account,
        pipeline: path,
        api: &api,
        sandbox: sandbox.is_some(),
        account_flag: flags.account.is_some(),
        clock,
    };
    let auth = sign_in(file, &place, flags.offline).map_err(in_file)?;
    let plan = Plan {
        settings,
        source: api,
        auth,
        datasets,
        wait: if flags.no_wait { Wait { deadline_minutes: 0, ..file.wait } } else { file.wait.clone() },
        cleanup: file.cleanup,
        accept_identity: flags.accept_identity,
    };
    Ok((plan, sandbox))
}

/// Settings of a command that works by a pipeline file.
fn file_settings(
    command: String,
    file: &PipelineFile,
    registry: &Registry,
    flags: &RunFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<Settings> {
    let account = flags.account.as_ref().unwrap_or(&file.account);
    let lake = flags.lake.as_ref().unwrap_or(&file.lake);
    Ok(Settings {
        account: parse_account(account, environment)?,
        decode: file.decode.clone(),
        normalise: terms(file, registry),
        load: with_mutation(file.load.clone(), environment),
        engine: file.engine.clone(),
        publish: file.publish,
        raw: file.raw,
        ..lake_settings(&command, &environment.expand("lake", lake)?, environment, clock)
    })
}

/// How the rows of each dataset are typed, also of those that the file does not export but that may be loaded by hand.
fn terms(file: &PipelineFile, registry: &Registry) -> BTreeMap<DatasetName, normalise::Options> {
    let of = |dataset: &Dataset| {
        let section = file.datasets.iter().find(|section| section.name == dataset.name.as_str());
        let all = file.contract.over(Contract::default());
        normalise::Options { contract: section.map_or(all, |section| section.contract.over(all)) }
    };
    registry.datasets().map(|dataset| (dataset.name.clone(), of(dataset))).collect()
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
            let file = PipelineFile::read(path)?;
            let registry = Registry::load(file.schemas.as_deref())?;
            let command = format!("{command} --pipeline {}", path.display());
            let settings = file_settings(command, &file, &registry, &RunFlags::default(), environment, clock)
                .map_err(|error| error.with("file", path.display()))?;
            (settings, registry)
        }
        None => {
            let settings = lake_settings(command, &flags.lake, environment, clock);
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
    settings.decode = settings.decode.with(flags.declared);
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
    let mut settings = lake_settings("ingest", lake, environment, clock);
    if let Some(account) = &flags.account {
        settings.account = parse_account(account, environment)?;
    }
    Ok((settings, Registry::load(flags.schemas.as_deref())?))
}

/// Settings of a command that works on a lake without a pipeline file.
#[must_use]
pub fn lake_settings(
    command: &str,
    lake: &str,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Settings {
    Settings {
        command: command.to_owned(),
        run_id: RunId(Uuid::now_v7()),
        account: Account::default(),
        lake: lake.to_owned(),
        decode: crate::decode::Options::default(),
        normalise: BTreeMap::new(),
        load: with_mutation(crate::load::Options::default(), environment),
        engine: engine::Options::default(),
        publish: crate::load::publish::Publish::AsBefore,
        raw: Raw::default(),
        kill_at: kill_at(environment),
        now: clock(),
        clock,
    }
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

fn parse_account(text: &str, environment: &Environment) -> Result<Account> {
    let text = environment.expand("account", text)?;
    Account::parse(&text).map_err(|invalid| Error::new(Kind::Config, invalid.0).with("key", "account"))
}

fn datasets(
    file: &PipelineFile,
    registry: &Registry,
    today: jiff::civil::Date,
    backfill: Option<&BackfillFlags>,
) -> Result<Vec<DatasetPlan>> {
    if file.datasets.is_empty() {
        return Err(Error::new(Kind::Config, "the pipeline names no dataset")
            .hint("add [[datasets]] with name = \"transaction_history\""));
    }
    let plan = |section: &super::DatasetSection| {
        let dataset = registry.dataset(&section.name)?.clone();
        let Some(api) = &dataset.api else {
            return Err(Error::new(
                Kind::Config,
                format!("the API does not offer the dataset '{}'", section.name),
            )
            .hint("download it in the portal and use `payoutlake ingest`"));
        };
        let condition = filters::condition(&dataset, &section.filter)?;
        let ask = match (api.windowed, backfill) {
            (false, _) => Ask::Whole,
            (true, None) => look_back(section, Month::of(today))?,
            (true, Some(flags)) => wanted_months(flags, section, Month::of(today))?,
        };
        Ok(DatasetPlan { dataset, ask, condition })
    };
    let mut names: Vec<&str> = file.datasets.iter().map(|section| section.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(Kind::Config, format!("the dataset '{}' is listed twice", twice[0]))
            .hint("keep one [[datasets]] entry for each dataset"));
    }
    let mut plans = file.datasets.iter().map(plan).collect::<Result<Vec<_>>>()?;
    if backfill.is_some() {
        // What is pulled whole has no months to ask for.
        plans.retain(|plan| plan.ask != Ask::Whole);
        if plans.is_empty() {
            return Err(Error::new(Kind::Usage, "the pipeline has no dataset that is asked for by months")
                .hint(
                    "what it has is pulled whole: `payoutlake run` brings all that the service can reach",
                ));
        }
    }
    Ok(plans)
}

fn look_back(section: &super::DatasetSection, running: Month) -> Result<Ask> {
    let out_of_range = |key: &str| {
        Error::new(Kind::Config, format!("`{key}` is out of range"))
            .with("dataset", &section.name)
            .hint(format!("use 1 to {REACH_MONTHS}: the service reaches back {REACH_MONTHS} months"))
    };
    let in_range = |months: u32| (1..=REACH_MONTHS).contains(&months);
    let tiers = match &section.lookback {
        Some(tiers) => tiers.clone(),
        None if !in_range(section.months) => return Err(out_of_range("months")),
        None => vec![Tier { months: section.months, every: SignedDuration::ZERO }],
    };
    if tiers.is_empty() || !tiers.iter().all(|tier| in_range(tier.months)) {
        return Err(out_of_range("lookback"));
    }
    if !in_range(section.months_per_export) {
        return Err(out_of_range("months_per_export"));
    }
    if section.lookback.is_some() && !section.filter.is_empty() {
        return Err(Error::new(Kind::Config, "`lookback` does not go with a filter")
            .with("dataset", &section.name)
            .hint("filtered exports cover no month, so nothing tells when one is due again: use `months`"));
    }
    Ok(Ask::LookBack { running, tiers, per_export: section.months_per_export })
}

fn wanted_months(flags: &BackfillFlags, section: &super::DatasetSection, running: Month) -> Result<Ask> {
    let reach = reach(running);
    let (first, last) = (flags.from.unwrap_or(reach.first), flags.to.unwrap_or(reach.last));
    let per_export = flags.chunk_months.unwrap_or(section.months_per_export);
    if first > last || first < reach.first || last > reach.last || !(1..=REACH_MONTHS).contains(&per_export) {
        let months =
            if first > last { format!("{first} to {last}") } else { Window::new(first, last).to_string() };
        return Err(Error::new(Kind::Usage, "these months cannot be asked for")
            .with("months", months)
            .with("months in a chunk", per_export)
            .with("the service reaches", reach)
            .hint(format!("give --from and --to within {reach}, and chunks of 1 to {REACH_MONTHS} months")));
    }
    Ok(Ask::Backfill { months: Window::new(first, last), per_export, fresh_for: flags.fresh_for })
}

fn sandbox_plan(file: &PipelineFile, environment: &Environment) -> Option<SandboxPlan> {
    if file.source.kind != SourceKind::Sandbox {
        return None;
    }
    let mut options = file.source.sandbox.clone().unwrap_or_default();
    // Requests outlive the process, so that an interrupted run finds its exports again.
    if options.state_dir.is_none() {
        options.state_dir = environment.state_dir().map(|state| state.join("sandbox"));
    }
    Some(SandboxPlan { options })
}

fn api(file: &PipelineFile) -> source::Options {
    let mut api = file.source.api.clone().unwrap_or_default();
    if file.source.kind == SourceKind::Sandbox && file.source.api.is_none() {
        api.poll = source::Poll { first_secs: 0, max_secs: 1 };
    }
    api
}

fn sign_in(file: &PipelineFile, place: &auth::Place<'_>, offline: bool) -> Result<Auth> {
    match &file.source.auth {
        Some(section) if !offline => auth::auth(section, place),
        // Whoever sends nothing needs no sign-in of his own.
        _ if place.sandbox || offline => {
            let (username, password) = (sandbox::USERNAME.to_owned(), Secret::new(sandbox::PASSWORD));
            let way = Way::UsernamePassword { username, password, version: Version::default() };
            Ok(Auth::new(sandbox::TENANT, sandbox::CLIENT_ID, way))
        }
        _ => Err(Error::new(Kind::Config, "the pipeline does not say how to sign in")
            .hint("add [source.auth] with kind = \"device-code\", see pipelines/partner-center.toml")),
    }
}

/// In test builds, `PAYOUTLAKE_KILL_AT=K` kills the process at the K-th point of its storage operations.
fn kill_at(environment: &Environment) -> Option<u64> {
    environment.get("PAYOUTLAKE_KILL_AT").filter(|_| cfg!(feature = "mutation"))?.parse().ok()
}

/// In test builds, `PAYOUTLAKE_MUTATE=HOP:DAMAGE` damages one row.
#[cfg(feature = "mutation")]
fn with_mutation(mut options: crate::load::Options, environment: &Environment) -> crate::load::Options {
    let mutation = environment.get("PAYOUTLAKE_MUTATE").and_then(crate::model::Mutation::parse);
    options.mutation = mutation.map(std::sync::Arc::new);
    options
}

#[cfg(not(feature = "mutation"))]
fn with_mutation(options: crate::load::Options, _environment: &Environment) -> crate::load::Options {
    options
}
