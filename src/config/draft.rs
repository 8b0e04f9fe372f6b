//! The text of a new pipeline file: that of one in `pipelines/` with other values, so that all its comments come along.

use std::path::Path;

use jiff::Timestamp;
use toml_edit::{Array, DocumentMut, Item, Table, value};
use url::Url;
use uuid::Uuid;

use super::Environment;
use super::auth::{self, Name};
use super::file::{AuthKind, PipelineFile};
use super::resolve::{self, RunFlags};
use crate::error::{Error, Kind, Result};
use crate::model::Account;
use crate::pipeline::Plan;
use crate::source::auth::Store;

/// A file in `pipelines/`: its name there, which stands in its own comments, and its text.
type Template = (&'static str, &'static str);

const PRODUCTION: Template =
    ("pipelines/partner-center.toml", include_str!("../../pipelines/partner-center.toml"));
const SANDBOX: Template = ("pipelines/quickstart.toml", include_str!("../../pipelines/quickstart.toml"));

/// What a new pipeline file says. What is not set stays as in the template.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// On the embedded sandbox, without a sign-in.
    sandbox: bool,
    sign_in: AuthKind,
    /// Addresses of another cloud than the public one.
    pub api: Option<Url>,
    pub authority: Option<Url>,
    pub resource: Option<String>,
    tenant: Option<String>,
    client_id: Option<String>,
    account: Option<Account>,
    lake: Option<String>,
    datasets: Vec<String>,
}

/// What names an application in Microsoft Entra: no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Id {
    /// The directory.
    Tenant,
    /// The application.
    Client,
}

impl Id {
    fn name(self) -> Name {
        match self {
            Id::Tenant => auth::TENANT,
            Id::Client => auth::CLIENT_ID,
        }
    }

    /// The environment variable that has it.
    #[must_use]
    pub fn variable(self) -> &'static str {
        self.name().1
    }

    /// The flag of `init` that gives it.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Id::Tenant => "--tenant",
            Id::Client => "--client-id",
        }
    }
}

impl Draft {
    /// A file that is as its template, but for the sign-in.
    #[must_use]
    pub fn new(sandbox: bool, sign_in: AuthKind) -> Self {
        Draft { sandbox, sign_in, ..Draft::default() }
    }

    /// Writes an id into the file.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it cannot be one, or when the environment, which wins over files, has another.
    pub fn set_id(&mut self, id: Id, text: &str, environment: &Environment) -> Result<()> {
        let is_host = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let (fits, wanted) = match id {
            Id::Tenant => (
                !text.is_empty() && text.chars().all(is_host),
                "the directory (tenant) id, or a domain such as contoso.onmicrosoft.com",
            ),
            Id::Client => (Uuid::parse_str(text).is_ok(), "the application (client) id as Entra shows it"),
        };
        if !fits {
            return Err(Error::new(Kind::Usage, format!("'{text}' cannot be {wanted}"))
                .hint("Copy it from the application's overview in Microsoft Entra."));
        }
        if environment.get(id.variable()).is_some_and(|set| !set.eq_ignore_ascii_case(text)) {
            return Err(Error::new(Kind::Usage, format!("{} has another value", id.variable()))
                .with("given", text)
                .hint(format!(
                    "The environment wins over pipeline files: unset {}, or leave out {}.",
                    id.variable(),
                    id.flag()
                )));
        }
        match id {
            Id::Tenant => self.tenant = Some(text.to_owned()),
            Id::Client => self.client_id = Some(text.to_owned()),
        }
        Ok(())
    }

    /// The ids that the sign-in needs, and that neither the file nor the environment has.
    #[must_use]
    pub fn missing(&self, environment: &Environment) -> Vec<Id> {
        let known = |id: &Id| self.id(*id, environment).is_some();
        let needed = !self.sandbox && !self.is_from_outside();
        [Id::Tenant, Id::Client].into_iter().filter(|id| needed && !known(id)).collect()
    }

    fn id<'a>(&'a self, id: Id, environment: &'a Environment) -> Option<&'a str> {
        let set = match id {
            Id::Tenant => &self.tenant,
            Id::Client => &self.client_id,
        };
        set.as_deref().or_else(|| environment.get(id.variable()))
    }

    /// Whether somebody else fetches the tokens: they say by themselves whose they are.
    fn is_from_outside(&self) -> bool {
        matches!(self.sign_in, AuthKind::AccessToken | AuthKind::TokenCommand)
    }

    /// Writes the account's alias into the file.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it cannot be an alias.
    pub fn set_account(&mut self, alias: &str) -> Result<()> {
        let account = Account::parse(alias).map_err(|invalid| Error::new(Kind::Usage, invalid.0))?;
        self.account = Some(account);
        Ok(())
    }

    /// Whether [`Draft::set_account`] has been called.
    #[must_use]
    pub fn has_account(&self) -> bool {
        self.account.is_some()
    }

    /// An alias for whoever has signed in: the first part of the tenant's or the user's domain.
    #[must_use]
    pub fn proposed_account(&self, principal: Option<&str>, environment: &Environment) -> Account {
        let tenant = self.id(Id::Tenant, environment).filter(|tenant| tenant.contains('.'));
        let domain = tenant.or_else(|| Some(principal?.rsplit_once('@')?.1));
        let first = domain.and_then(|domain| domain.split('.').next()).unwrap_or_default();
        Account::parse(&first.to_ascii_lowercase()).unwrap_or_default()
    }

    /// Writes a lake into the file; it may be a reference.
    ///
    /// # Errors
    /// [`Kind::Config`] for a storage that this build does not know.
    pub fn set_lake(&mut self, lake: &str, environment: &Environment) -> Result<()> {
        environment.location(&environment.expand("lake", lake)?).check()?;
        self.lake = Some(lake.to_owned());
        Ok(())
    }

    /// Whether [`Draft::set_lake`] has been called.
    #[must_use]
    pub fn has_lake(&self) -> bool {
        self.lake.is_some()
    }

    /// Leaves only these datasets in the file; the others become comments.
    ///
    /// # Errors
    /// [`Kind::Usage`] for one that the API does not offer.
    pub fn set_datasets(&mut self, names: &[&str]) -> Result<()> {
        let offered = self.offered()?;
        if let Some(other) = names.iter().find(|name| !offered.iter().any(|offered| offered == *name)) {
            return Err(Error::new(Kind::Usage, format!("the API has no dataset '{other}'"))
                .hint(format!("Choose among {}.", offered.join(", "))));
        }
        if names.is_empty() {
            return Err(Error::new(Kind::Usage, "no dataset is named")
                .hint(format!("Choose among {}.", offered.join(", "))));
        }
        self.datasets = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(())
    }

    /// Whether [`Draft::set_datasets`] has been called.
    #[must_use]
    pub fn has_datasets(&self) -> bool {
        !self.datasets.is_empty()
    }

    /// The datasets of the template: all that the API offers, as a test holds.
    fn offered(&self) -> Result<Vec<String>> {
        let (name, text) = self.template();
        let file = PipelineFile::parse(text, Path::new(name))?;
        Ok(file.datasets.into_iter().map(|dataset| dataset.name).collect())
    }

    fn template(&self) -> Template {
        if self.sandbox { SANDBOX } else { PRODUCTION }
    }

    /// The text of the file that will stand at `path`.
    ///
    /// # Errors
    /// [`Kind::Bug`] when the template is not what it must be.
    pub fn text(&self, path: &Path) -> Result<String> {
        let (name, text) = self.template();
        // A line end in a name would end the comment that it stands in.
        let shown = path.display().to_string().replace(char::is_control, "?");
        let text = text.replace("cargo run --release --", "payoutlake").replace(name, &shown);
        let mut document: DocumentMut = text
            .parse()
            .map_err(|cause| Error::new(Kind::Bug, "the template cannot be read").caused_by(cause))?;
        if let Some(account) = &self.account {
            document["account"] = value(account.as_str());
        }
        if let Some(lake) = &self.lake {
            document["lake"] = value(lake);
        }
        if !self.sandbox {
            self.set_sign_in(section(&mut document, "auth")?);
            let api = section(&mut document, "api")?;
            let (service, authority) = (self.api.as_ref(), self.authority.as_ref());
            for (key, new) in [
                ("api", service.map(Url::as_str)),
                ("authority", authority.map(Url::as_str)),
                ("resource", self.resource.as_deref()),
            ] {
                if let Some(new) = new {
                    api[key] = value(new);
                }
            }
        }
        if self.has_datasets() {
            leave_out(&mut document, |name| !self.datasets.iter().any(|chosen| chosen == name));
        }
        Ok(document.to_string())
    }

    fn set_sign_in(&self, auth: &mut Table) {
        auth["kind"] = value(self.sign_in.as_str());
        for (key, id) in [("tenant", &self.tenant), ("client_id", &self.client_id)] {
            match id {
                Some(id) => auth[key] = value(id),
                // A reference to a variable that nobody needs to set would be an error.
                None if self.is_from_outside() => drop(auth.remove(key)),
                None => {}
            }
        }
        for (key, variable, _) in self.secrets() {
            auth[key] = value(format!("${{env:{variable}}}"));
        }
        if self.sign_in == AuthKind::TokenCommand {
            let resource = self.resource.as_deref().unwrap_or("https://api.partner.microsoft.com");
            let command = ["az", "account", "get-access-token", "--resource", resource];
            auth["command"] = value(command.into_iter().collect::<Array>());
        }
    }

    /// What the sign-in needs besides the ids. It stands in the file as a reference, never as a value. What it only may
    /// have comes from the environment without one.
    fn secrets(&self) -> &'static [Name] {
        match self.sign_in {
            AuthKind::DeviceCode | AuthKind::RefreshToken | AuthKind::TokenCommand => &[],
            AuthKind::ClientSecret => &[auth::CLIENT_SECRET],
            AuthKind::Certificate => &[auth::CERTIFICATE],
            AuthKind::UsernamePassword => &[auth::USERNAME, auth::PASSWORD],
            AuthKind::AccessToken => &[auth::ACCESS_TOKEN],
        }
    }

    /// What a run of the file would do. As long as there is no alias, a sign-in has no place to be kept in.
    ///
    /// # Errors
    /// [`Kind::Config`] when the file would be wrong, or its sign-in lacks something; with `offline` that is not looked at.
    pub fn plan(
        &self,
        path: &Path,
        offline: bool,
        environment: &Environment,
        clock: fn() -> Timestamp,
    ) -> Result<Plan> {
        let file = PipelineFile::parse(&self.text(path)?, path)?;
        let flags = RunFlags { offline, ..RunFlags::default() };
        let (mut plan, _) = resolve::planned(&file, path, &flags, environment, clock)?;
        // Also where nobody signs in: an address may carry a password.
        plan.source.check()?;
        if self.account.is_none() {
            plan.auth.way = plan.auth.way.with_store(Store::Memory);
        }
        plan.auth.login = format!("payoutlake init {}", path.display());
        Ok(plan)
    }
}

/// `[source.NAME]`.
fn section<'a>(document: &'a mut DocumentMut, name: &str) -> Result<&'a mut Table> {
    let found = document.get_mut("source").and_then(|source| source.get_mut(name)?.as_table_mut());
    found.ok_or_else(|| Error::new(Kind::Bug, format!("the template has no [source.{name}]")))
}

/// Turns datasets into comments. What stands above a header may be about the dataset before: it stays.
fn leave_out(document: &mut DocumentMut, is_out: impl Fn(&str) -> bool) {
    let mut above = String::new();
    if let Some(datasets) = document["datasets"].as_array_of_tables_mut() {
        for mut table in std::mem::take(datasets) {
            above.push_str(prefix(&table));
            if is_out(table.get("name").and_then(Item::as_str).unwrap_or_default()) {
                above.push_str("# [[datasets]]\n");
                above.extend(table.to_string().lines().map(|line| format!("# {line}\n")));
            } else {
                table.decor_mut().set_prefix(std::mem::take(&mut above));
                datasets.push(table);
            }
        }
    }
    match document.get_mut("wait").and_then(Item::as_table_mut) {
        Some(next) => {
            above.push_str(prefix(next));
            next.decor_mut().set_prefix(above);
        }
        None => document.set_trailing(above),
    }
}

fn prefix(table: &Table) -> &str {
    table.decor().prefix().and_then(|text| text.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;
    use crate::schema::Registry;

    const CLIENT: &str = "6f1d2c3b-4a59-4e68-8f77-9a8b7c6d5e4f";

    fn environment(variables: &[(&str, &str)]) -> Environment {
        let home = [("HOME", "/home/u")];
        let all = home.iter().chain(variables).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Environment::of(all)
    }

    fn draft(kind: AuthKind) -> Draft {
        let mut draft = Draft { sign_in: kind, ..Draft::default() };
        let nothing = environment(&[]);
        draft.set_id(Id::Tenant, "contoso.onmicrosoft.com", &nothing).unwrap();
        draft.set_id(Id::Client, CLIENT, &nothing).unwrap();
        draft
    }

    /// Every comment of a text, without the marks and the words of what may be a comment now.
    fn comments(text: &str) -> Vec<&str> {
        text.lines().filter(|line| line.starts_with('#')).collect()
    }

    #[test]
    fn what_is_not_set_stays_and_what_is_set_keeps_its_comments() {
        let (name, template) = PRODUCTION;
        assert_eq!(Draft::default().text(Path::new(name)).unwrap(), template, "nothing set, nothing changed");
        let mut draft = draft(AuthKind::DeviceCode);
        draft.set_account("fabrikam").unwrap();
        draft.set_lake("/data/lake \"two\"", &environment(&[])).unwrap();
        draft.api = Some(Url::parse("https://api.example/v1.0/").unwrap());
        draft.authority = Some(Url::parse("https://login.microsoftonline.us/").unwrap());
        draft.resource = Some("https://api.example".to_owned());
        let text = draft.text(Path::new("my.toml")).unwrap();
        assert!(text.contains("payoutlake check my.toml"), "{text}");
        assert_eq!(comments(&text), comments(&template.replace(name, "my.toml")));
        let file = PipelineFile::parse(&text, Path::new("my.toml")).unwrap();
        assert_eq!((file.account.as_str(), file.lake.as_str()), ("fabrikam", "/data/lake \"two\""));
        let api = file.source.api.unwrap();
        assert_eq!(api.authority.as_str(), "https://login.microsoftonline.us/");
        assert_eq!(
            (api.api.as_str(), api.resource.as_str()),
            ("https://api.example/v1.0/", "https://api.example")
        );
        assert_eq!(file.source.auth.unwrap().client_id.as_deref(), Some(CLIENT));
        assert_eq!(text.lines().count(), template.lines().count(), "values change, and nothing else");
    }

    #[test]
    fn every_kind_gives_a_file_that_works_once_its_variables_are_set() {
        let pem = "src/source/tests/certificates/app.pem";
        for kind in AuthKind::value_variants() {
            let text = draft(*kind).text(Path::new("my.toml")).unwrap();
            assert!(text.contains(&format!("\nkind = \"{}\"\n", kind.as_str())), "{text}");
            let secrets = environment(&[
                ("PARTNER_CENTER_CLIENT_SECRET", "canary"),
                ("PARTNER_CENTER_USERNAME", "canary"),
                ("PARTNER_CENTER_PASSWORD", "canary"),
                ("PARTNER_CENTER_CERTIFICATE", pem),
                ("PARTNER_CENTER_REFRESH_TOKEN", "canary"),
                ("PARTNER_CENTER_ACCESS_TOKEN", "canary"),
            ]);
            let plan = draft(*kind).plan(Path::new("my.toml"), false, &secrets, Timestamp::now).unwrap();
            assert_eq!(plan.auth.way.name(), kind.as_str());
            assert_eq!(plan.auth.tenant, "contoso.onmicrosoft.com");
            assert!(plan.auth.way.store().is_none_or(|store| matches!(store, Store::Memory)));
            // A token from outside needs no ids, and the others find them in the environment.
            let bare = Draft { sign_in: *kind, ..Draft::default() };
            let outside = matches!(kind, AuthKind::AccessToken | AuthKind::TokenCommand);
            assert_eq!(bare.missing(&secrets).is_empty(), outside, "{kind:?}");
            assert_eq!(bare.plan(Path::new("p"), false, &secrets, Timestamp::now).is_ok(), outside);
        }
        let ids = environment(&[("PARTNER_CENTER_TENANT_ID", "t"), ("PARTNER_CENTER_CLIENT_ID", CLIENT)]);
        assert!(Draft::default().missing(&ids).is_empty());
        let text = Draft::default().text(Path::new("my.toml")).unwrap();
        assert!(text.contains("\ntenant = \"${env:PARTNER_CENTER_TENANT_ID}\"\n"), "{text}");
    }

    #[test]
    fn datasets_that_are_left_out_become_comments() {
        for sandbox in [false, true] {
            let mut offered = Draft { sandbox, ..Draft::default() }.offered().unwrap();
            for chosen in &offered {
                let mut draft = Draft { sandbox, ..Draft::default() };
                draft.set_datasets(&[chosen]).unwrap();
                let (name, template) = draft.template();
                let text = draft.text(Path::new(name)).unwrap();
                let file = PipelineFile::parse(&text, Path::new(name)).unwrap();
                assert_eq!(file.datasets.iter().map(|one| &one.name).collect::<Vec<_>>(), [chosen]);
                // Without the marks both texts have the same lines in the same order.
                let plain =
                    |text: &str| text.replace("# ", "").replace("payoutlake", "cargo run --release --");
                assert_eq!(plain(&text), plain(template), "{text}");
            }
            let registry = Registry::built_in().unwrap();
            let mut api: Vec<&str> = registry
                .datasets()
                .filter(|dataset| dataset.api.is_some())
                .map(|dataset| dataset.name.as_str())
                .collect();
            api.sort_unstable();
            offered.sort();
            assert_eq!(offered, api, "a template lacks a dataset");
        }
        let error = Draft::default().set_datasets(&["payment"]).unwrap_err();
        assert!(error.hint_text().unwrap().contains("transaction_history, payments"), "{error:#}");
        assert!(Draft::default().set_datasets(&[]).is_err());
    }

    #[test]
    fn an_alias_is_proposed_from_a_domain() {
        let nothing = environment(&[]);
        let by_principal = |principal| Draft::default().proposed_account(principal, &nothing).to_string();
        assert_eq!(by_principal(Some("ann@contoso.onmicrosoft.com")), "contoso");
        assert_eq!(by_principal(Some("ann_fabrikam.com#EXT#@Contoso-EU.example")), "contoso-eu");
        for nobody in [None, Some(CLIENT), Some("ann@"), Some("ann@.example"), Some("ann@müller.example")] {
            assert_eq!(by_principal(nobody), "default", "{nobody:?}");
        }
        let tenant = draft(AuthKind::ClientSecret);
        assert_eq!(tenant.proposed_account(Some("x@fabrikam.com"), &nothing).as_str(), "contoso");
        let tenant = environment(&[("PARTNER_CENTER_TENANT_ID", "fabrikam.com")]);
        assert_eq!(Draft::default().proposed_account(None, &tenant).as_str(), "fabrikam");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let other = environment(&[("PARTNER_CENTER_TENANT_ID", "fabrikam.com")]);
        let mut draft = Draft::default();
        for (id, text) in [(Id::Tenant, ""), (Id::Tenant, "a/b"), (Id::Tenant, "a b"), (Id::Client, "my app")]
        {
            assert_eq!(draft.set_id(id, text, &environment(&[])).unwrap_err().kind(), Kind::Usage, "{text}");
        }
        let error = draft.set_id(Id::Tenant, "contoso.com", &other).unwrap_err();
        assert!(error.hint_text().unwrap().contains("unset PARTNER_CENTER_TENANT_ID"), "{error:#}");
        draft.set_id(Id::Tenant, "fabrikam.com", &other).unwrap();
        assert!(draft.set_account("Contoso Ltd").is_err());
        assert_eq!(draft.set_lake("s3://bucket/lake?sig=canary", &other).unwrap_err().kind(), Kind::Config);
        assert!(draft.set_lake("", &other).is_err());
    }
}
