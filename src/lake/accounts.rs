//! Who is behind an account's alias. Two identities may see different participants: rows of one must not replace rows
//! of the other because somebody used an alias twice.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::FORMAT;
use super::{Created, Lake, account_path, accounts_prefix};
use crate::error::{Error, Kind, Result};
use crate::model::{Account, AccountExpiry, Expiry};

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
    /// As the last run knew them: whoever only looks at the lake has no sign-in to ask.
    #[serde(default)]
    expiries: Vec<Expiry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Since {
    #[serde(flatten)]
    identity: Identity,
    since: Timestamp,
}

/// Compares who signs in with who did before under the same alias; the first one is recorded. With `accept` a
/// different one is recorded as the alias's identity from now on. What the sign-in will lose one day is kept with it.
///
/// # Errors
/// [`Kind::Config`] for a different identity; [`Kind::Destination`].
pub async fn check_identity(
    lake: &Lake,
    account: &Account,
    identity: &Identity,
    expiries: &[Expiry],
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
    let first = Known {
        format: FORMAT,
        account: account.clone(),
        identities: vec![since],
        expiries: expiries.to_vec(),
    };
    let Some(mut known) = lake.get_json::<Known>(&path).await? else {
        return match lake.create_json(&path, &first).await? {
            Created::New => Ok(()),
            Created::Exists => {
                Box::pin(check_identity(lake, account, &identity, expiries, accept, now)).await
            }
        };
    };
    let Some(current) = known.identities.last() else { return lake.replace_json(&path, &first).await };
    let same = current.identity == identity;
    if same && seen_at(&known.expiries, now).eq(seen_at(expiries, now)) {
        return Ok(());
    }
    if same || accept {
        known.expiries = first.expiries;
        if !same {
            known.identities.extend(first.identities);
        }
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

fn seen_at(expiries: &[Expiry], now: Timestamp) -> impl Iterator<Item = Expiry> {
    expiries.iter().map(move |expiry| expiry.clone().seen_at(now))
}

/// What the sign-ins of all accounts will lose one day, the next one first.
///
/// # Errors
/// [`Kind::Destination`].
pub async fn expiries(lake: &Lake, now: Timestamp) -> Result<Vec<AccountExpiry>> {
    let mut all = Vec::new();
    for path in lake.list(&accounts_prefix()).await? {
        let Some(known) = lake.get_json::<Known>(&path).await? else { continue };
        let of = |expiry| AccountExpiry { account: known.account.clone(), expiry };
        all.extend(seen_at(&known.expiries, now).map(of));
    }
    all.sort_by_key(|one| one.expiry.at);
    Ok(all)
}
