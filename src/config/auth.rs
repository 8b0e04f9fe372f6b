//! Sign-in values: environment first, then the pipeline file. For the embedded sandbox: the pipeline file, then what the
//! sandbox knows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::Environment;
use super::file::{AuthKind, AuthSection, StoreKind, StoreSection};
use crate::error::{Error, Kind, Result};
use crate::model::Account;
use crate::sandbox;
use crate::secret::Secret;
use crate::source::auth::{AppSecret, Argv, Certificate, Store, Version, WARN_DAYS};
use crate::source::{Auth, Options, Way};

/// Seconds for a program of the user. `az` takes some when it is cold.
const COMMAND_SECS: u64 = 60;

/// What stands around the section.
pub(super) struct Place<'a> {
    pub(super) environment: &'a Environment,
    pub(super) account: &'a Account,
    pub(super) pipeline: &'a Path,
    pub(super) api: &'a Options,
    /// Whether the embedded sandbox is signed in to: the environment is about the real service.
    pub(super) sandbox: bool,
    /// Whether the account was given as a flag.
    pub(super) account_flag: bool,
    pub(super) clock: fn() -> Timestamp,
}

/// # Errors
/// [`Kind::Config`] that names every place where a missing value was looked for.
pub(super) fn auth(section: &AuthSection, place: &Place<'_>) -> Result<Auth> {
    let way = match section.kind {
        AuthKind::DeviceCode => Way::DeviceCode { store: place.store(section)? },
        AuthKind::RefreshToken => Way::RefreshToken {
            client_secret: place.app_secret(section, false)?,
            given: place
                .optional(REFRESH_TOKEN, section.refresh_token.as_ref().map(Secret::expose))?
                .map(Secret::new),
            store: place.store(section)?,
        },
        AuthKind::ClientSecret => match place.app_secret(section, true)? {
            Some(secret) => Way::ClientSecret(secret),
            None => return Err(place.missing(CLIENT_SECRET)),
        },
        AuthKind::Certificate => Way::Certificate(place.certificate(section)?),
        AuthKind::UsernamePassword => Way::UsernamePassword {
            username: place.value(USERNAME, section.username.as_deref())?,
            password: Secret::new(place.value(PASSWORD, section.password.as_ref().map(Secret::expose))?),
            version: version(section.version)?,
        },
        AuthKind::AccessToken => Way::AccessToken(Secret::new(
            place.value(ACCESS_TOKEN, section.access_token.as_ref().map(Secret::expose))?,
        )),
        AuthKind::TokenCommand => {
            let argv = place.argv("command", section.command.as_deref(), section.timeout_secs)?;
            Way::TokenCommand(argv)
        }
    };
    // A token from outside says by itself whose it is.
    let outside = matches!(way, Way::AccessToken(_) | Way::TokenCommand(_));
    let named = |name, in_file: Option<&str>| match outside {
        true => place.optional(name, in_file).map(Option::unwrap_or_default),
        false => place.value(name, in_file),
    };
    let mut auth = Auth::new(
        named(TENANT, section.tenant.as_deref())?,
        named(CLIENT_ID, section.client_id.as_deref())?,
        way,
    );
    auth.scope = section
        .scope
        .as_ref()
        .map(|scope| place.environment.expand("source.auth.scope", scope))
        .transpose()?;
    auth.warn_days = section.warn_days.unwrap_or(WARN_DAYS);
    auth.login = place.login();
    auth.clock = place.clock;
    Ok(auth)
}

/// A key of the section, its environment variable, and what the sandbox takes.
pub(super) type Name = (&'static str, &'static str, Option<&'static str>);

pub(super) const TENANT: Name = ("tenant", "PARTNER_CENTER_TENANT_ID", Some(sandbox::TENANT));
pub(super) const CLIENT_ID: Name = ("client_id", "PARTNER_CENTER_CLIENT_ID", Some(sandbox::CLIENT_ID));
pub(super) const CLIENT_SECRET: Name =
    ("client_secret", "PARTNER_CENTER_CLIENT_SECRET", Some(sandbox::CLIENT_SECRET));
pub(super) const USERNAME: Name = ("username", "PARTNER_CENTER_USERNAME", Some(sandbox::USERNAME));
pub(super) const PASSWORD: Name = ("password", "PARTNER_CENTER_PASSWORD", Some(sandbox::PASSWORD));
const REFRESH_TOKEN: Name = ("refresh_token", "PARTNER_CENTER_REFRESH_TOKEN", None);
pub(super) const CERTIFICATE: Name = ("certificate", "PARTNER_CENTER_CERTIFICATE", None);
const CERTIFICATE_PASSWORD: Name = ("certificate_password", "PARTNER_CENTER_CERTIFICATE_PASSWORD", None);
pub(super) const ACCESS_TOKEN: Name = ("access_token", "PARTNER_CENTER_ACCESS_TOKEN", None);

impl Place<'_> {
    /// A value that may be left out.
    fn optional(&self, name: Name, in_file: Option<&str>) -> Result<Option<String>> {
        let (key, variable, sandbox) = name;
        if let Some(value) = self.environment.get(variable).filter(|_| !self.sandbox) {
            return Ok(Some(value.to_owned()));
        }
        match in_file {
            Some(text) => self.environment.expand(&format!("source.auth.{key}"), text).map(Some),
            None => Ok(sandbox.filter(|_| self.sandbox).map(str::to_owned)),
        }
    }

    fn value(&self, name: Name, in_file: Option<&str>) -> Result<String> {
        self.optional(name, in_file)?.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, (key, variable, _): Name) -> Error {
        let path = format!("source.auth.{key}");
        Error::new(Kind::Config, format!("`{path}` is missing"))
            .with(
                "looked for",
                format!("the environment variable {variable}, then `{path}` in the pipeline file"),
            )
            .hint(format!("set {variable}, or write {key} = \"${{env:{variable}}}\" below [source.auth]"))
    }

    fn app_secret(&self, section: &AuthSection, needed: bool) -> Result<Option<AppSecret>> {
        let mut name = CLIENT_SECRET;
        if !needed {
            // A public client must not send one.
            name.2 = None;
        }
        let secret = self.optional(name, section.client_secret.as_ref().map(Secret::expose))?;
        let expires_on = section.client_secret_expires_on;
        Ok(secret.map(|secret| AppSecret { secret: Secret::new(secret), expires_on }))
    }

    fn certificate(&self, section: &AuthSection) -> Result<Certificate> {
        if self.sandbox && section.certificate.is_none() {
            let known = [sandbox::CERTIFICATE_PEM, sandbox::PRIVATE_KEY_PEM].concat();
            return Certificate::parse(known.as_bytes(), None);
        }
        let text = self.value(CERTIFICATE, section.certificate.as_deref())?;
        let password = section.certificate_password.as_ref().map(Secret::expose);
        let password = self.optional(CERTIFICATE_PASSWORD, password)?.map(Secret::new);
        // A secret store may give the text itself.
        match text.contains("-----BEGIN ") {
            true => Certificate::parse(text.as_bytes(), password.as_ref()),
            false => Certificate::read(Path::new(&text), password.as_ref()),
        }
    }

    fn argv(&self, key: &str, argv: Option<&[String]>, secs: Option<u64>) -> Result<Argv> {
        let path = format!("source.auth.{key}");
        let argv = argv.unwrap_or_default();
        let argv =
            argv.iter().map(|part| self.environment.expand(&path, part)).collect::<Result<Vec<_>>>()?;
        Argv::new(&path, argv, Duration::from_secs(secs.unwrap_or(COMMAND_SECS)))
    }

    fn store(&self, section: &AuthSection) -> Result<Store> {
        let wrong = |what: &str| {
            Error::new(Kind::Config, format!("[source.auth.store] {what}"))
                .hint("write kind = \"file\" (with `path` for a mounted file), or kind = \"command\" with `get` and `set`")
        };
        match &section.store {
            None | Some(StoreSection { kind: StoreKind::File, path: None, get: None, set: None }) => {
                self.own_store(section)
            }
            Some(StoreSection { kind: StoreKind::File, path: Some(path), get: None, set: None }) => {
                let path = self.environment.expand("source.auth.store.path", path)?;
                Ok(Store::Mounted(PathBuf::from(path)))
            }
            Some(StoreSection { kind: StoreKind::Command, path: None, get: Some(get), set: Some(set) }) => {
                let secs = section.timeout_secs;
                Ok(Store::Commands {
                    get: self.argv("store.get", Some(get), secs)?,
                    set: self.argv("store.set", Some(set), secs)?,
                })
            }
            Some(StoreSection { kind: StoreKind::File, .. }) => Err(wrong("of kind \"file\" has commands")),
            Some(StoreSection { kind: StoreKind::Command, .. }) => {
                Err(wrong("of kind \"command\" needs `get` and `set`, and has no `path`"))
            }
        }
    }

    fn own_store(&self, section: &AuthSection) -> Result<Store> {
        let folder = sign_in_folder(self.environment).ok_or_else(|| {
            Error::new(Kind::Config, "there is no folder to keep the sign-in in")
                .with("looked for", "the environment variables XDG_STATE_HOME and HOME")
                .hint("set one of them, or write [source.auth.store] with a `path` or with commands")
        })?;
        // The embedded sandbox listens on another port each time.
        let authority = if self.sandbox { "sandbox" } else { self.api.authority.as_str() };
        let tenant = self.value(TENANT, section.tenant.as_deref())?;
        let client_id = self.value(CLIENT_ID, section.client_id.as_deref())?;
        Ok(Store::own(&folder, authority, &tenant, &client_id, self.account.as_str()))
    }

    /// What a person types to sign in.
    fn login(&self) -> String {
        let flag = if self.account_flag { format!(" --account {}", self.account) } else { String::new() };
        format!("payoutlake auth login {}{flag}", self.pipeline.display())
    }
}

/// Where refresh tokens are kept on this machine, if it has a home.
#[must_use]
pub fn sign_in_folder(environment: &Environment) -> Option<PathBuf> {
    environment.state_dir().map(|state| state.join("sign-in"))
}

fn version(number: Option<u8>) -> Result<Version> {
    match number {
        None | Some(1) => Ok(Version::V1),
        Some(2) => Ok(Version::V2),
        Some(other) => Err(Error::new(Kind::Config, format!("`source.auth.version` is {other}"))
            .hint("write 1 (resource, as Microsoft's own sample) or 2 (scope)")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(section: &str, variables: &[(&str, &str)], sandbox: bool) -> Result<Auth> {
        let section: AuthSection = toml::from_str(section).unwrap();
        let variables = variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let environment = Environment::of(variables.chain([("HOME".to_owned(), "/home/u".to_owned())]));
        let place = Place {
            environment: &environment,
            account: &Account::default(),
            pipeline: Path::new("p.toml"),
            api: &Options::default(),
            sandbox,
            account_flag: false,
            clock: Timestamp::now,
        };
        auth(&section, &place)
    }

    #[test]
    fn every_kind_is_made_from_its_keys() {
        let ids = "tenant = \"t\"\nclient_id = \"c\"\n";
        for (kind, keys) in [
            ("device-code", ids.to_owned()),
            ("refresh-token", format!("{ids}refresh_token = \"r\"\nclient_secret = \"s\"")),
            (
                "client-secret",
                format!("{ids}client_secret = \"s\"\nclient_secret_expires_on = \"2027-01-31\""),
            ),
            ("certificate", format!("{ids}certificate = \"src/source/tests/certificates/app.pem\"")),
            ("username-password", format!("{ids}username = \"u\"\npassword = \"p\"\nversion = 2")),
            ("access-token", "access_token = \"a\"".to_owned()),
            ("token-command", "command = [\"az\"]\ntimeout_secs = 5".to_owned()),
        ] {
            let auth = resolved(&format!("kind = \"{kind}\"\n{keys}"), &[], false).unwrap();
            assert_eq!(auth.way.name(), kind);
            assert_eq!(auth.login, "payoutlake auth login p.toml");
        }
    }

    #[test]
    fn the_environment_wins_and_a_missing_value_is_named() {
        let section = "kind = \"client-secret\"\ntenant = \"in-file\"\nclient_id = \"${env:ID}\"";
        let variables =
            [("PARTNER_CENTER_TENANT_ID", "t-1"), ("PARTNER_CENTER_CLIENT_SECRET", "s"), ("ID", "c-1")];
        let auth = resolved(section, &variables, false).unwrap();
        assert_eq!((auth.tenant.as_str(), auth.client_id.as_str()), ("t-1", "c-1"));
        let auth = resolved(section, &variables, true).unwrap();
        assert_eq!(auth.tenant, "in-file", "the sandbox does not know the environment");
        for (kind, missing) in [
            ("client-secret", "client_secret"),
            ("certificate", "certificate"),
            ("username-password", "username"),
            ("access-token", "access_token"),
        ] {
            let section = format!("kind = \"{kind}\"\ntenant = \"t\"\nclient_id = \"c\"");
            let error = resolved(&section, &[], false).unwrap_err();
            assert_eq!(error.kind(), Kind::Config);
            assert_eq!(error.message(), format!("`source.auth.{missing}` is missing"));
        }
    }

    #[test]
    fn a_store_is_one_of_three() {
        let store = |text: &str| {
            let section = format!("kind = \"device-code\"\ntenant = \"t\"\nclient_id = \"c\"\n{text}");
            resolved(&section, &[("XDG_STATE_HOME", "/state")], false).map(|auth| auth.way.store().cloned())
        };
        let own = |text: &str| match store(text).unwrap().unwrap() {
            Store::Own(path) => path.display().to_string(),
            other => panic!("{other:?}"),
        };
        assert!(own("").starts_with("/state/payoutlake/sign-in/default-"), "{}", own(""));
        assert_eq!(own("store = { kind = \"file\" }"), own(""));
        assert!(matches!(
            store("store = { kind = \"file\", path = \"/run/token\" }").unwrap(),
            Some(Store::Mounted(path)) if path == Path::new("/run/token")
        ));
        assert!(matches!(
            store("store = { kind = \"command\", get = [\"a\"], set = [\"b\"] }").unwrap(),
            Some(Store::Commands { .. })
        ));
        for bad in [
            "store = { kind = \"file\", get = [\"a\"] }",
            "store = { kind = \"command\", get = [\"a\"] }",
            "store = { kind = \"command\", get = [], set = [\"b\"] }",
        ] {
            assert_eq!(store(bad).unwrap_err().kind(), Kind::Config, "{bad}");
        }
    }
}
