//! The ways to sign in: one file for each kind, one match that knows them all.
//!
//! A kind turns its values into a [`Grant`], the form that is posted to the sign-in service. What comes back is the
//! same for all of them: a token ([`token`]) or a refusal that is explained ([`entra`]).

mod client_secret;
mod entra;
mod password;
pub(super) mod token;

use std::borrow::Cow;

use url::Url;

use super::Options;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// How to sign in, with plain values.
#[derive(Debug, Clone)]
pub enum Auth {
    /// A user's name and password at the version 1 endpoint: the way of Microsoft's own sample. Users with
    /// multi-factor authentication and federated users cannot use it.
    UsernamePassword { tenant: String, client_id: String, username: String, password: Secret },
    /// An application's secret at the version 2 endpoint. Partners report that the payout API refuses such tokens with
    /// "token missing user information".
    ClientSecret { tenant: String, client_id: String, client_secret: Secret },
}

/// The form that is posted for a token.
pub(super) struct Grant<'a> {
    pub(super) url: Url,
    pub(super) form: Vec<(&'static str, Cow<'a, str>)>,
}

impl Auth {
    /// Tenant, and user name or application id: nothing secret.
    #[must_use]
    pub fn identity(&self) -> (&str, &str) {
        match self {
            Auth::UsernamePassword { tenant, username, .. } => (tenant, username),
            Auth::ClientSecret { tenant, client_id, .. } => (tenant, client_id),
        }
    }

    pub(super) fn grant<'a>(&'a self, options: &'a Options) -> Grant<'a> {
        match self {
            Auth::UsernamePassword { tenant, client_id, username, password } => {
                password::grant(options, tenant, client_id, username, password)
            }
            Auth::ClientSecret { tenant, client_id, client_secret } => {
                client_secret::grant(options, tenant, client_id, client_secret)
            }
        }
    }

    /// # Errors
    /// `Config` when a value is empty: Entra's own words for that are not clear.
    pub(super) fn check(&self) -> Result<()> {
        let values: &[(&str, &str)] = match self {
            Auth::UsernamePassword { tenant, client_id, username, password } => &[
                ("tenant", tenant),
                ("client_id", client_id),
                ("username", username),
                ("password", password.expose()),
            ],
            Auth::ClientSecret { tenant, client_id, client_secret } => {
                &[("tenant", tenant), ("client_id", client_id), ("client_secret", client_secret.expose())]
            }
        };
        match values.iter().find(|(_, value)| value.trim().is_empty()) {
            None => Ok(()),
            Some((name, _)) => Err(Error::new(Kind::Config, format!("the sign-in's {name} is empty")).hint(
                "Set it; if it comes from an environment variable or a file, check that this is not empty.",
            )),
        }
    }

    pub(super) fn tenant(&self) -> &str {
        match self {
            Auth::UsernamePassword { tenant, .. } | Auth::ClientSecret { tenant, .. } => tenant,
        }
    }

    /// What must never be quoted back.
    pub(super) fn secret(&self) -> &Secret {
        match self {
            Auth::UsernamePassword { password, .. } => password,
            Auth::ClientSecret { client_secret, .. } => client_secret,
        }
    }
}
