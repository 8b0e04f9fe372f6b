use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use url::Url;

use crate::cli::Setting;
use crate::config::{self, AuthKind, Draft, Environment, Id};
use crate::error::{Error, Kind, Result};
use crate::output::{self, Initialised, print_device_code, print_initialised, say_sight};
use crate::pipeline::{self, Plan, Sight};

/// Write a commented pipeline file: sign in, and offer what the sign-in can see
///
/// On a terminal it asks for what neither a flag nor the environment says. Elsewhere it asks nothing, and takes what it would
/// offer. Secrets are not written: the file refers to environment variables.
#[derive(Debug, Args)]
pub(in crate::cli) struct Init {
    /// The file to write
    #[arg(default_value = "pipeline.toml")]
    file: PathBuf,
    /// How runs sign in; src/docs/sign-in.md explains the kinds
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    sign_in: AuthKind,
    /// Directory (tenant) id or domain, instead of the environment's PARTNER_CENTER_TENANT_ID
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Application (client) id, instead of the environment's PARTNER_CENTER_CLIENT_ID
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Alias of the account, a folder in the lake [default: from the domain of whoever signs in]
    #[arg(long, value_name = "ALIAS")]
    account: Option<String>,
    /// The lake to write [default: ./lake]
    #[arg(long, value_name = "URL")]
    lake: Option<String>,
    /// What to load; may be repeated [default: all that the sign-in can see]
    #[arg(long, value_name = "NAME")]
    dataset: Vec<String>,
    /// Where the API is, for other clouds than the public one
    #[arg(long, value_name = "URL")]
    api: Option<Url>,
    /// Where the sign-in service is, for other clouds than the public one
    #[arg(long, value_name = "URL")]
    authority: Option<Url>,
    /// Whom a token must be for, for other clouds than the public one
    #[arg(long, value_name = "URL")]
    resource: Option<String>,
    /// Do not sign in: write the file without having tried it
    #[arg(long)]
    offline: bool,
    /// A pipeline on the embedded imitation of Partner Center, which needs no account
    #[arg(long, conflicts_with_all = ["sign_in", "tenant", "client_id", "api", "authority", "resource", "offline"])]
    sandbox: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        config::check_free(&self.file, self.force)?;
        let mut draft = self.draft(&setting.environment)?;
        let person = Person::of(setting);
        ask_for_ids(&mut draft, person, &setting.environment)?;
        let sight = match self.offline || self.sandbox {
            true => None,
            false => Some(self.sign_in(&draft, setting).await?),
        };
        // The sandbox is nobody's: what its template says is good.
        if !self.sandbox {
            complete(&mut draft, sight.as_ref(), person, &setting.environment)?;
        }
        let plan = self.plan(&draft, setting)?;
        if let Some(sight) = &sight {
            sight.keep_for(&plan).await?;
        }
        config::write_file(&self.file, &draft.text(&self.file)?, self.force)?;
        self.tell(&plan, sight.as_ref(), setting);
        Ok(0)
    }

    /// What the flags say.
    fn draft(&self, environment: &Environment) -> Result<Draft> {
        let mut draft = Draft::new(self.sandbox, self.sign_in);
        draft.api = self.api.clone();
        draft.authority = self.authority.clone();
        draft.resource = self.resource.clone();
        for (id, given) in [(Id::Tenant, &self.tenant), (Id::Client, &self.client_id)] {
            if let Some(text) = given {
                draft.set_id(id, text, environment)?;
            }
        }
        if let Some(alias) = &self.account {
            draft.set_account(alias)?;
        }
        if let Some(lake) = &self.lake {
            draft.set_lake(lake, environment)?;
        }
        if !self.dataset.is_empty() {
            draft.set_datasets(&self.dataset.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        Ok(draft)
    }

    fn plan(&self, draft: &Draft, setting: &Setting) -> Result<Plan> {
        draft.plan(&self.file, self.offline, &setting.environment, setting.clock)
    }

    async fn sign_in(&self, draft: &Draft, setting: &Setting) -> Result<Sight> {
        let done = match self.plan(draft, setting) {
            Ok(plan) => {
                let show = |code: &_| print_device_code(setting.style, code, (setting.clock)());
                pipeline::look_around(&plan, show).await
            }
            Err(error) => Err(error),
        };
        let sight =
            done.map_err(|error| error.with("not written", "--offline writes the file without signing in"))?;
        say_sight(setting.style, &sight.signed_in, &sight.refused);
        Ok(sight)
    }

    fn tell(&self, plan: &Plan, sight: Option<&Sight>, setting: &Setting) {
        let by_person = self.sign_in == AuthKind::DeviceCode && self.offline;
        let next = ["auth login", "check", "plan", "run"];
        let done = Initialised {
            file: &self.file,
            account: &plan.settings.account,
            lake: &plan.settings.lake.to_string(),
            datasets: plan.datasets.iter().map(|plan| &plan.dataset.name).collect(),
            refused: sight.iter().flat_map(|sight| &sight.refused).map(|(name, _)| name).collect(),
            sign_in: (!self.sandbox).then(|| self.sign_in.as_str()),
            signed_in: sight.is_some(),
            next: if by_person { &next } else { &next[1..] },
        };
        print_initialised(setting.style, &done, &Environment::program());
    }
}

/// Somebody on a terminal who can be asked.
#[derive(Clone, Copy)]
struct Person;

impl Person {
    fn of(setting: &Setting) -> Option<Person> {
        let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        (there && !setting.style.json).then_some(Person)
    }

    fn ask(self, question: &str, proposal: Option<&str>, take: impl FnMut(&str) -> Result<()>) -> Result<()> {
        // A person thinks for long: other work, and the signal that ends it, goes on meanwhile.
        tokio::task::block_in_place(|| output::ask(&mut std::io::stdin().lock(), question, proposal, take))
    }
}

fn ask_for_ids(draft: &mut Draft, person: Option<Person>, environment: &Environment) -> Result<()> {
    let missing = draft.missing(environment);
    let Some(person) = person else {
        if missing.is_empty() {
            return Ok(());
        }
        let flags: Vec<&str> = missing.iter().map(|id| id.flag()).collect();
        let variables: Vec<&str> = missing.iter().map(|id| id.variable()).collect();
        let (flags, variables) = (flags.join(" and "), variables.join(" and "));
        return Err(Error::new(Kind::Usage, format!("{flags} must be given")).hint(format!(
            "Give {flags}, or set {variables}. Without a terminal nobody is asked; --sandbox needs no account."
        )));
    };
    for id in missing {
        let question = match id {
            Id::Tenant => "Directory (tenant) id, or domain such as contoso.onmicrosoft.com",
            Id::Client => "Application (client) id",
        };
        person.ask(question, None, |answer| draft.set_id(id, answer, environment))?;
    }
    Ok(())
}

/// What is still open has a proposal: a person may change it, elsewhere it is taken.
fn complete(
    draft: &mut Draft,
    sight: Option<&Sight>,
    person: Option<Person>,
    environment: &Environment,
) -> Result<()> {
    let decide = |question: &str, proposal: &str, mut take: &mut dyn FnMut(&str) -> Result<()>| match person {
        Some(person) => person.ask(question, Some(proposal), &mut take),
        None => take(proposal),
    };
    if let Some(sight) = sight.filter(|_| !draft.has_datasets()) {
        let seen: Vec<&str> = sight.seen.iter().map(|name| name.as_str()).collect();
        decide("Datasets", &seen.join(", "), &mut |answer| {
            let names = answer.split([',', ' ']).filter(|name| !name.is_empty());
            draft.set_datasets(&names.collect::<Vec<_>>())
        })?;
    }
    if !draft.has_account() {
        let principal = sight.map(|sight| sight.signed_in.principal.as_str());
        let proposal = draft.proposed_account(principal, environment);
        decide("Alias of the account, a folder in the lake", proposal.as_str(), &mut |answer| {
            draft.set_account(answer)
        })?;
    }
    if !draft.has_lake() {
        decide("Lake", "./lake", &mut |answer| draft.set_lake(answer, environment))?;
    }
    Ok(())
}
