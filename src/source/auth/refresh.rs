//! Refresh tokens: which one is used, and that its successor is kept before anything else is done.
//!
//! Another process or host may use the same store at the same moment, and a service may end a token by its first use. So
//! a refused token is not the end: the store is read again, and another token that stands there by now is tried first.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::store::{Store, Stored};
use super::token::{Granted, post};
use super::{Auth, Grant, Way, entra};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};
use crate::secret::Secret;
use crate::source::http::{Wire, below};
use crate::source::quote::Quoter;

/// Days after its last use in which a refresh token is good, unless the service tells another life.
const ASSUMED_DAYS: i64 = 90;

/// Looks at the store after a refusal: whoever used up the token may still be writing its successor.
const LOOKS: u32 = 3;

/// Before the first look, in milliseconds, when the options ask for no shorter one; each further wait is twice as long.
const FIRST_LOOK_MILLIS: u64 = 400;

/// A token in exchange for the newest refresh token that the store, this client (`kept`) or the configuration knows.
///
/// # Errors
/// `Auth` when nobody has signed in, or no token is accepted; `Source` when the service cannot be reached.
pub(super) async fn fetch(
    auth: &Auth,
    wire: &Wire,
    kept: &mut Option<Stored>,
    challenge: Option<&str>,
    step: Step,
) -> Result<Granted> {
    let Some(store) = auth.way.store() else {
        return Err(Error::new(Kind::Bug, format!("the kind {} has no store", auth.way)));
    };
    let mut tried: Vec<Secret> = Vec::new();
    let mut refusal = None;
    let mut look = 0;
    loop {
        let candidates = candidates(auth, wire, store, kept.as_ref(), step).await?;
        let untried = |one: &Stored| !tried.iter().any(|had| had.expose() == one.refresh_token.expose());
        let Some(base) = candidates.into_iter().find(untried) else {
            match refusal {
                None => return Err(nobody(auth, store)),
                Some(refusal) if look == LOOKS => return Err(refusal),
                Some(_) => tokio::time::sleep(pause(wire, look)).await,
            }
            look += 1;
            continue;
        };
        let mut secrets = auth.secrets();
        secrets.push(&base.refresh_token);
        let quoter = Quoter::new(secrets);
        let reply =
            post(wire, &quoter, step, || Ok(grant(auth, wire, &base.refresh_token, challenge))).await?;
        let refused = !reply.status.is_success() && entra::oauth_error(&reply.body) == "invalid_grant";
        match reply.granted(auth, wire, &quoter) {
            Ok(granted) => {
                let successor = successor(auth, wire, &base, &granted);
                keep(auth, wire, store, &successor, &base, step).await;
                *kept = Some(successor);
                return Ok(granted);
            }
            Err(error) if refused => {
                tried.push(base.refresh_token.clone());
                (refusal, look) = (Some(error), 0);
            }
            Err(error) => return Err(error),
        }
    }
}

fn pause(wire: &Wire, look: u32) -> Duration {
    Duration::from_millis(FIRST_LOOK_MILLIS.min(wire.options.retry_first_delay_millis) << look)
}

fn nobody(auth: &Auth, store: &Store) -> Error {
    Error::new(Kind::Auth, "nobody has signed in yet")
        .with("store", store)
        .hint(format!("Run: {}", auth.login))
}

/// The tokens that may be tried, the most promising one first.
async fn candidates(
    auth: &Auth,
    wire: &Wire,
    store: &Store,
    kept: Option<&Stored>,
    step: Step,
) -> Result<Vec<Stored>> {
    let stored = match store.read(auth).await {
        Ok(stored) => stored,
        // A token at hand is used: that the store cannot be read now is told, and is not the end of a day's waiting.
        Err(error) if kept.is_some() => {
            wire.observer.tell(Level::Warn, "", step, format!("the token store cannot be read: {error}"));
            None
        }
        Err(error) => return Err(error),
    };
    let mut found: Vec<Stored> = stored.into_iter().chain(kept.cloned()).collect();
    if let [stored, kept] = &found[..]
        && kept.is_newer_than(stored)
    {
        found.reverse();
    }
    if let Way::RefreshToken { given: Some(given), .. } = &auth.way {
        let mut first = Stored::first(auth, wire.options.authority.as_str(), given.clone());
        first.given = given_digest(auth);
        // One that was not there before was put there by a person, because the stored one had ended.
        let is_new = found.iter().all(|one| one.given != first.given);
        found.insert(if is_new { 0 } else { found.len() }, first);
    }
    Ok(found)
}

/// What tells one given token from another without being one.
pub(super) fn given_digest(auth: &Auth) -> Option<String> {
    match &auth.way {
        Way::RefreshToken { given: Some(given), .. } => {
            Some(blake3::hash(given.expose().as_bytes()).to_hex()[..16].to_owned())
        }
        _ => None,
    }
}

fn grant<'a>(auth: &'a Auth, wire: &Wire, token: &'a Secret, challenge: Option<&'a str>) -> Grant<'a> {
    let mut form = vec![
        ("grant_type", "refresh_token".into()),
        ("client_id", auth.client_id.as_str().into()),
        ("scope", auth.user_scope(&wire.options).into()),
        ("refresh_token", token.expose().into()),
    ];
    form.extend(auth.way.app_secret().map(|app| ("client_secret", app.secret.expose().into())));
    form.extend(challenge.map(|claims| ("claims", claims.into())));
    Grant { url: below(&wire.options.authority, [auth.tenant.as_str(), "oauth2", "v2.0", "token"]), form }
}

/// What is kept after a refresh. A service that gives no new token goes on with the old one.
pub(super) fn successor(auth: &Auth, wire: &Wire, base: &Stored, granted: &Granted) -> Stored {
    let now = auth.now();
    let mut next = base.clone();
    next.authority = wire.options.authority.to_string();
    next.who = granted.who.clone().or(next.who);
    next.last_used_at = now;
    next.given = given_digest(auth);
    if next.signed_in_at == Timestamp::UNIX_EPOCH {
        next.signed_in_at = now;
    }
    if let Some(token) = &granted.refresh_token {
        next.refresh_token = token.clone();
        next.obtained_at = now;
        next.generation += 1;
    }
    let told = granted.refresh_life.and_then(|life| SignedDuration::try_from(life).ok());
    let life = told.unwrap_or(SignedDuration::from_hours(24 * ASSUMED_DAYS));
    next.expires_at = now.checked_add(life).ok();
    next.expiry_assumed = told.is_none();
    next
}

/// Writes the successor back. A store that cannot be written is told: the token at hand works for this run, and with
/// Microsoft Entra the stored one goes on working too.
async fn keep(auth: &Auth, wire: &Wire, store: &Store, successor: &Stored, base: &Stored, step: Step) {
    if let Err(error) = store.write(auth, successor, Some(base)).await {
        let told =
            format!("{error}; this run goes on, and the next one begins with the token that is stored");
        wire.observer.tell(Level::Warn, "", step, told);
    }
}
