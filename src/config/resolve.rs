//! A pipeline file, the environment and flags become a plan.

use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::file::{PipelineFile, SourceKind};
use super::lake::lake_settings;
use super::terms::{raw, terms};
use super::{Environment, auth, filters};
use crate::error::{Error, Kind, Result};
use crate::lake::Location;
use crate::model::{Account, Month, Window};
use crate::pipeline::{Ask, DatasetPlan, Plan, REACH_MONTHS, Settings, Tier, Wait, reach};
use crate::schema::Registry;
use crate::secret::Secret;
use crate::source::auth::Version;
use crate::source::{self, Auth, Way};
use crate::{engine, load, sandbox};

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
    let mut settings = file_settings(command, file, &registry, flags, environment, clock).map_err(in_file)?;
    if flags.lake.is_none() && !file.storage.is_empty() {
        settings.lake = settings.lake.named_by(path);
    }
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
pub(super) fn file_settings(
    command: String,
    file: &PipelineFile,
    registry: &Registry,
    flags: &RunFlags,
    environment: &Environment,
    clock: fn() -> Timestamp,
) -> Result<Settings> {
    let account = flags.account.as_ref().unwrap_or(&file.account);
    let lake = flags.lake.as_ref().unwrap_or(&file.lake);
    let normalise = terms(file, registry, flags.offline, environment)?;
    let memory = file.limits.memory;
    file.publish.check().map_err(|error| error.with("key", "publish"))?;
    let is_treated = normalise.values().any(|terms| terms.personal.treats_any());
    Ok(Settings {
        account: parse_account(account, environment)?,
        decode: file.decode.clone(),
        raw: raw(file.raw, is_treated)?,
        normalise,
        load: with_mutation(load::Options { memory, ..file.load.clone() }, environment),
        engine: engine::Options { memory, ..file.engine.clone() },
        publish: file.publish,
        lake: location(file, lake, environment)?,
        ..lake_settings(&command, "", environment, clock)?
    })
}

/// The lake's URL with what its storage must know: from the environment, and before that from the file.
pub(super) fn location(file: &PipelineFile, lake: &str, environment: &Environment) -> Result<Location> {
    let mut location = environment.location(&environment.expand("lake", lake)?);
    // Here the file wins over the environment: it names the lake, and machines set names of storages for other purposes.
    file.storage.keys().for_each(|name| location.forget_others(name));
    for (name, value) in &file.storage {
        let key = format!("storage.{name}");
        if !Location::is_setting(name) {
            let prefixes = ["azure_storage_", "azure_", "aws_", "google_"];
            let mut whole = prefixes.iter().map(|prefix| format!("{prefix}{name}"));
            let meant = whole.find(|whole| Location::is_setting(whole));
            let meant = meant.map(|name| format!("did you mean `{name}`? ")).unwrap_or_default();
            return Err(Error::new(Kind::Config, "no storage has a setting of this name")
                .with("key", key)
                .hint(format!(
                    "{meant}names are those of the environment, in lower case; src/docs/storage.md lists them"
                )));
        }
        location.set(name, Secret::new(environment.expand(&key, value)?));
    }
    Ok(location)
}

pub(super) fn parse_account(text: &str, environment: &Environment) -> Result<Account> {
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
pub(super) fn kill_at(environment: &Environment) -> Option<u64> {
    environment.get("PAYOUTLAKE_KILL_AT").filter(|_| cfg!(feature = "mutation"))?.parse().ok()
}

/// In test builds, `PAYOUTLAKE_MUTATE=HOP:DAMAGE` damages one row.
#[cfg(feature = "mutation")]
pub(super) fn with_mutation(
    mut options: crate::load::Options,
    environment: &Environment,
) -> crate::load::Options {
    let mutation = environment.get("PAYOUTLAKE_MUTATE").and_then(crate::model::Mutation::parse);
    options.mutation = mutation.map(std::sync::Arc::new);
    options
}

#[cfg(not(feature = "mutation"))]
pub(super) fn with_mutation(
    options: crate::load::Options,
    _environment: &Environment,
) -> crate::load::Options {
    options
}
