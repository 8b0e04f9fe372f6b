//! Who is behind an account's alias. Two identities may see different participants: rows of one must not replace rows
//! of the other because somebody used an alias twice.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::FORMAT;
use super::{Created, Lake, account_path};
use crate::error::{Error, Kind, Result};
use crate::model::Account;

/// What one signs in as. None of it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Tenant id or domain.
    pub tenant: String,
    /// User name, or the id of the application.
    pub principal: String,
    /// The API that is asked.
    pub api: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} at {}", self.principal, self.tenant, self.api)
    }
}

/// The identities of an alias, newest last.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    format: u32,
    account: Account,
    identities: Vec<Since>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Since {
    #[serde(flatten)]
    identity: Identity,
    since: Timestamp,
}

/// Compares who signs in with who did before under the same alias; the first one is recorded. With `accept` a
/// different one is recorded as the alias's identity from now on.
///
/// # Errors
/// [`Kind::Config`] for a different identity; [`Kind::Destination`].
pub async fn check_identity(
    lake: &Lake,
    account: &Account,
    identity: &Identity,
    accept: bool,
    now: Timestamp,
) -> Result<()> {
    let path = account_path(account);
    let identity = Identity {
        tenant: identity.tenant.to_lowercase(),
        principal: identity.principal.to_lowercase(),
        api: identity.api.clone(),
    };
    let since = Since { identity: identity.clone(), since: now };
    let first = Known { format: FORMAT, account: account.clone(), identities: vec![since] };
    let Some(mut known) = lake.get_json::<Known>(&path).await? else {
        return match lake.create_json(&path, &first).await? {
            Created::New => Ok(()),
            Created::Exists => Box::pin(check_identity(lake, account, &identity, accept, now)).await,
        };
    };
    let Some(current) = known.identities.last() else { return lake.replace_json(&path, &first).await };
    if current.identity == identity {
        return Ok(());
    }
    if accept {
        known.identities.extend(first.identities);
        return lake.replace_json(&path, &known).await;
    }
    Err(Error::new(Kind::Config, format!("the account '{account}' of this lake belongs to another identity"))
        .with("recorded", &current.identity)
        .with("since", current.since)
        .with("signs in now", identity)
        .hint(
            "nothing was asked for; give this pipeline an `account` of its own, or, if the new identity sees the same \
             participants, run once with --accept-identity",
        ))
}
