//! The ways to sign in: one file for each kind, one match that knows them all.
//!
//! A kind turns its values into a `Grant`, the form that is posted to the sign-in service. What comes back is the
//! same for all of them: a token (`token`) or a refusal that is explained (`entra`).
//!
//! | file | holds |
//! |---|---|
//! | `password`, `client_secret`, `certificate` | what each kind posts |
//! | `refresh` | refresh tokens: which one is used, and that its successor is kept |
//! | `device` | the sign-in of a person at another device |
//! | `given` | tokens that come from outside: a value, or a command that prints one |
//! | `store` | where refresh tokens live between two runs |
//! | `command` | running a program of the user without a shell |
//! | `claims` | what a token says about itself |
//! | `expiry` | what will end soon |
//! | `session` | what a person is told: who is signed in, and until when |

mod certificate;
mod claims;
mod client_secret;
mod command;
mod device;
mod entra;
mod expiry;
mod given;
mod password;
mod refresh;
mod session;
mod store;
pub(super) mod token;

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use url::Url;

pub use certificate::Certificate;
pub use command::Argv;
pub use device::DeviceCode;
pub use expiry::expiries;
pub use password::Version;
pub use session::SignedIn;
pub use store::{Store, StoredSignIn, stored_in};

use super::Options;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use claims::Who;

/// Days before something expires from which on it is told.
pub const WARN_DAYS: u32 = 14;

/// How to sign in, with plain values.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Directory id or domain. May be empty for tokens that come from outside.
    pub tenant: String,
    /// Id of the application. May be empty for tokens that come from outside.
    pub client_id: String,
    pub way: Way,
    /// Instead of `{resource}/.default`, at the version 2 endpoint.
    pub scope: Option<String>,
    /// Days before something expires from which on it is told.
    pub warn_days: u32,
    /// The command that signs a person in, for hints: `payoutlake auth login my.toml`.
    pub login: String,
    pub clock: fn() -> Timestamp,
}

/// The kinds of sign-in.
#[derive(Debug, Clone)]
pub enum Way {
    /// A person signs in once with a browser; from then on the refresh token in the store does. The only way that
    /// satisfies multi-factor authentication without an agreement with Microsoft.
    DeviceCode { store: Store },
    /// The secure application model: a refresh token from the store, or a first one that was given.
    RefreshToken { client_secret: Option<AppSecret>, given: Option<Secret>, store: Store },
    /// An application's secret at the version 2 endpoint. Partners report that the payout API refuses such tokens with
    /// "token missing user information".
    ClientSecret(AppSecret),
    /// An application's certificate: as a secret, without one on the wire.
    Certificate(Certificate),
    /// A user's name and password: the way of Microsoft's own sample. Users with multi-factor authentication and
    /// federated users cannot use it.
    UsernamePassword { username: String, password: Secret, version: Version },
    /// A token that somebody else fetched.
    AccessToken(Secret),
    /// A program that prints a token.
    TokenCommand(Argv),
}

/// The secret of an application.
#[derive(Debug, Clone)]
pub struct AppSecret {
    pub secret: Secret,
    /// Entra does not tell it; a person may.
    pub expires_on: Option<Date>,
}

impl From<Secret> for AppSecret {
    fn from(secret: Secret) -> Self {
        AppSecret { secret, expires_on: None }
    }
}

/// The form that is posted for a token.
pub(super) struct Grant<'a> {
    pub(super) url: Url,
    pub(super) form: Vec<(&'static str, Cow<'a, str>)>,
}

impl Way {
    /// As pipeline files spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Way::DeviceCode { .. } => "device-code",
            Way::RefreshToken { .. } => "refresh-token",
            Way::ClientSecret(_) => "client-secret",
            Way::Certificate(_) => "certificate",
            Way::UsernamePassword { .. } => "username-password",
            Way::AccessToken(_) => "access-token",
            Way::TokenCommand(_) => "token-command",
        }
    }

    /// Where the refresh token of this kind lives, if it has one.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        match self {
            Way::DeviceCode { store } | Way::RefreshToken { store, .. } => Some(store),
            _ => None,
        }
    }

    /// The same with another store, where the kind has one.
    #[must_use]
    pub fn with_store(mut self, other: Store) -> Self {
        if let Way::DeviceCode { store } | Way::RefreshToken { store, .. } = &mut self {
            *store = other;
        }
        self
    }

    fn app_secret(&self) -> Option<&AppSecret> {
        match self {
            Way::RefreshToken { client_secret, .. } => client_secret.as_ref(),
            Way::ClientSecret(secret) => Some(secret),
            _ => None,
        }
    }
}

/// Names that stand for "whichever tenant the user belongs to".
const ANY_TENANT: [&str; 3] = ["common", "organizations", "consumers"];

impl Auth {
    pub fn new(tenant: impl Into<String>, client_id: impl Into<String>, way: Way) -> Self {
        Auth {
            tenant: tenant.into(),
            client_id: client_id.into(),
            way,
            scope: None,
            warn_days: WARN_DAYS,
            login: "payoutlake auth login PIPELINE".to_owned(),
            clock: Timestamp::now,
        }
    }

    /// Tenant, and user name or application id, as far as they are known before the sign-in: nothing secret.
    #[must_use]
    pub fn identity(&self) -> (&str, &str) {
        match &self.way {
            Way::UsernamePassword { username, .. } => (&self.tenant, username),
            _ => (&self.tenant, &self.client_id),
        }
    }

    /// The same, once it is known whose token it is. The name by which a user signs in is chosen before the object id:
    /// so the identity stays when somebody changes from user and password to device code.
    fn identity_of(&self, who: Option<&Who>) -> (String, String) {
        let (tenant, principal) = self.identity();
        let fixed =
            matches!(self.way, Way::UsernamePassword { .. } | Way::ClientSecret(_) | Way::Certificate(_));
        let Some(who) = who.filter(|_| !fixed) else {
            return (or_unknown(tenant), or_unknown(principal));
        };
        let any = tenant.is_empty() || ANY_TENANT.contains(&tenant.to_ascii_lowercase().as_str());
        let tenant = who.tenant.as_deref().filter(|_| any).unwrap_or(tenant);
        (or_unknown(tenant), or_unknown(who.principal().unwrap_or(principal)))
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// What the token is asked for at the version 2 endpoint.
    fn scope(&self, options: &Options) -> String {
        match &self.scope {
            Some(scope) => scope.clone(),
            None => format!("{}/.default", options.resource.trim_end_matches('/')),
        }
    }

    /// The same for a user, with a refresh token and a word on who it is.
    fn user_scope(&self, options: &Options) -> String {
        let mut scope = self.scope(options);
        for word in ["offline_access", "openid", "profile"] {
            if !scope.split_whitespace().any(|had| had == word) {
                scope = format!("{scope} {word}");
            }
        }
        scope
    }

    /// # Errors
    /// `Config` when a value is empty: Entra's own words for that are not clear.
    pub(super) fn check(&self) -> Result<()> {
        let mut values: Vec<(&str, &str)> = match &self.way {
            Way::AccessToken(token) => vec![("access_token", token.expose())],
            Way::TokenCommand(argv) => vec![("command", argv.program())],
            _ => vec![("tenant", &self.tenant), ("client_id", &self.client_id)],
        };
        if let Way::UsernamePassword { username, password, .. } = &self.way {
            values.extend([("username", username.as_str()), ("password", password.expose())]);
        }
        values.extend(self.way.app_secret().map(|app| ("client_secret", app.secret.expose())));
        match values.iter().find(|(_, value)| value.trim().is_empty()) {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(Kind::Config, format!("the sign-in's {name} is empty")).hint(
                "Set it; if it comes from an environment variable or a file, check that this is not empty.",
            )),
        }
    }

    /// What must never be quoted back.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        let own = match &self.way {
            Way::UsernamePassword { password, .. } => Some(password),
            Way::AccessToken(token) => Some(token),
            Way::RefreshToken { given, .. } => given.as_ref(),
            _ => None,
        };
        own.into_iter().chain(self.way.app_secret().map(|app| &app.secret)).collect()
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
