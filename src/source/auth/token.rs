//! The token of one client: fetched once for everybody, refreshed before it expires.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::claims::{Claims, Who};
use super::store::Stored;
use super::{Auth, Grant, Way, certificate, client_secret, entra, given, password, refresh};
use crate::error::{Error, Kind, Result};
use crate::event::Step;
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::{Wire, read_body};
use crate::source::quote::Quoter;
use crate::source::retry::{Failure, Passing, is_passing, retry_after};

/// A token is not used in the last two minutes of its life: what other clients of this API do.
const MARGIN: Duration = Duration::from_secs(120);

/// Life of a token whose answer does not say it. Microsoft gives 60 to 90 minutes.
const ASSUMED_LIFE: Duration = Duration::from_secs(50 * 60);

/// The longest life that is believed; with continuous access evaluation it is up to 28 hours.
const MAX_LIFE: Duration = Duration::from_secs(28 * 3600);

#[derive(Debug, Clone)]
pub(in crate::source) struct Token {
    pub(in crate::source) bearer: Secret,
    /// Counts the tokens of a client, so that many callers of a refused one ask for one new token together.
    pub(in crate::source) number: u64,
    refresh_at: Instant,
    pub(super) expires_at: Timestamp,
}

/// A token that the API refused, and what it wants instead.
#[derive(Debug, Clone)]
pub(in crate::source) struct Refused {
    pub(in crate::source) number: u64,
    /// The claims that a new token must have, as JSON.
    pub(in crate::source) challenge: Option<String>,
}

/// Signs in when a token is needed.
#[derive(Debug)]
pub(in crate::source) struct SignIn {
    pub(super) auth: Auth,
    // Held while a token is fetched: the others wait and find it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) token: Option<Token>,
    fetched: u64,
    // A refusal is final for this client: repeating a wrong password locks the account.
    refused: Option<Error>,
    /// The newest refresh token that this client knows: the store may be read-only.
    pub(super) kept: Option<Stored>,
    pub(super) who: Option<Who>,
}

/// What the sign-in service gives.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) bearer: Secret,
    pub(super) life: Option<Duration>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) refresh_life: Option<Duration>,
    pub(super) who: Option<Who>,
}

impl SignIn {
    pub(in crate::source) fn new(auth: Auth) -> Self {
        SignIn { auth, state: Mutex::default() }
    }

    /// What must never be quoted back.
    pub(in crate::source) fn secrets(&self) -> Vec<&Secret> {
        self.auth.secrets()
    }

    pub(super) async fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().await
    }

    /// Goes on with what a person has just signed in for, whatever was refused before.
    pub(super) async fn begin_again(&self, stored: Stored) {
        let mut state = self.state.lock().await;
        *state = State { kept: Some(stored), fetched: state.fetched, ..State::default() };
    }

    /// A token that is good for at least two minutes, and is not the `refused` one.
    ///
    /// # Errors
    /// `Auth` when the sign-in is refused, `Source` when it cannot be reached.
    pub(in crate::source) async fn token(
        &self,
        wire: &Wire,
        refused: Option<&Refused>,
        step: Step,
    ) -> Result<Token> {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && refused.is_none_or(|refused| token.number != refused.number)
            && Instant::now() < token.refresh_at
        {
            return Ok(token.clone());
        }
        if let Some(refusal) = &state.refused {
            return Err(copied(refusal));
        }
        state.token = None;
        let challenge = refused.and_then(|refused| refused.challenge.as_deref());
        let asked_at = Instant::now();
        match self.fetch(wire, &mut state, challenge, step).await {
            Ok(granted) => {
                state.fetched += 1;
                let token = self.token_of(&granted, state.fetched, asked_at);
                state.who = granted.who.or(state.who.take());
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                state.refused = (error.kind() == Kind::Auth).then(|| copied(&error));
                Err(error)
            }
        }
    }

    fn token_of(&self, granted: &Granted, number: u64, asked_at: Instant) -> Token {
        let life = granted.life.unwrap_or(ASSUMED_LIFE).min(MAX_LIFE);
        let left = SignedDuration::try_from(life).unwrap_or(SignedDuration::ZERO);
        Token {
            bearer: granted.bearer.clone(),
            number,
            refresh_at: asked_at + usable(life),
            expires_at: self.auth.now().saturating_add(left).unwrap_or(Timestamp::MAX),
        }
    }

    async fn fetch(
        &self,
        wire: &Wire,
        state: &mut State,
        challenge: Option<&str>,
        step: Step,
    ) -> Result<Granted> {
        let auth = &self.auth;
        match &auth.way {
            Way::DeviceCode { .. } | Way::RefreshToken { .. } => {
                refresh::fetch(auth, wire, &mut state.kept, challenge, step).await
            }
            Way::AccessToken(token) => given::access_token(auth, token, state.fetched > 0),
            Way::TokenCommand(argv) => given::by_command(auth, argv, state.fetched > 0).await,
            _ => {
                let quoter = Quoter::new(auth.secrets());
                let reply = post(wire, &quoter, step, || {
                    let mut grant = auth.grant(&wire.options)?;
                    grant.form.extend(challenge.map(|claims| ("claims", claims.into())));
                    Ok(grant)
                });
                reply.await?.granted(auth, wire, &quoter)
            }
        }
    }
}

impl Auth {
    /// The form of the kinds that need nothing but their own values.
    fn grant<'a>(&'a self, options: &'a Options) -> Result<Grant<'a>> {
        match &self.way {
            Way::UsernamePassword { username, password, version } => {
                Ok(password::grant(self, options, username, password, *version))
            }
            Way::ClientSecret(app) => Ok(client_secret::grant(self, options, &app.secret)),
            Way::Certificate(certificate) => certificate::grant(self, options, certificate),
            other => Err(Error::new(Kind::Bug, format!("the kind {other} has no form of its own"))),
        }
    }
}

/// How long a token of this life is used.
fn usable(life: Duration) -> Duration {
    life - MARGIN.min(life / 2)
}

/// An answer of the sign-in service that repeating does not change.
pub(super) struct Reply {
    pub(super) status: reqwest::StatusCode,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// # Errors
    /// `Auth` for a refusal, and for an answer without a token.
    pub(super) fn granted(&self, auth: &Auth, wire: &Wire, quoter: &Quoter<'_>) -> Result<Granted> {
        if !self.status.is_success() {
            return Err(entra::explain(self, auth, quoter));
        }
        read_granted(&self.body).ok_or_else(|| no_answer(wire, "an access token"))
    }
}

/// The error of a success that is none.
pub(super) fn no_answer(wire: &Wire, what: &str) -> Error {
    Error::new(Kind::Auth, format!("the sign-in service answered without {what}"))
        .with("host", crate::source::host::name(&wire.options.authority))
        .hint("Check source.api.authority, and that no proxy answers in its place.")
}

/// Posts a form to the sign-in service until an answer comes that is a grant or a refusal. The form is made anew for each
/// try: a signed assertion may be used once.
///
/// # Errors
/// `Source` when the service cannot be reached or stays busy; the errors of `grant`.
pub(super) async fn post<'a>(
    wire: &Wire,
    quoter: &Quoter<'_>,
    step: Step,
    grant: impl Fn() -> Result<Grant<'a>>,
) -> Result<Reply> {
    let mut tries = wire.tries(&wire.options.authority);
    loop {
        match post_once(wire, quoter, grant()?).await {
            Ok(reply) => return Ok(reply),
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Passing(passing)) => tries.wait(passing, step).await?,
        }
    }
}

async fn post_once(wire: &Wire, quoter: &Quoter<'_>, grant: Grant<'_>) -> Result<Reply, Failure> {
    let request = wire
        .request(reqwest::Method::POST, grant.url)
        .timeout(wire.options.read_timeout())
        .header(reqwest::header::ACCEPT, "application/json")
        .form(&grant.form);
    let response = wire.send(request).await?;
    let status = response.status();
    let after = retry_after(&response);
    let body = read_body(response).await?.unwrap_or_default();
    if is_passing(status) || (!status.is_success() && entra::passes(&body)) {
        return Err(Failure::Passing(Passing::of_answer(status, after, quoter.quote_body(&body))));
    }
    Ok(Reply { status, body })
}

/// A text that may stand in a header: anything else is not a token.
pub(super) fn as_bearer(text: &str) -> Option<Secret> {
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(text))
}

fn read_granted(body: &[u8]) -> Option<Granted> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let bearer = as_bearer(json.get("access_token")?.as_str()?)?;
    // The version 1 endpoint writes numbers as text.
    let secs = |name: &str| {
        let secs = match json.get(name)? {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_u64(),
        };
        secs.map(Duration::from_secs)
    };
    let text = |name: &str| json.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    // Who it is says the id token; an access token is the API's business, and is asked for want of a better witness.
    let who = ["id_token", "access_token"].iter().find_map(|name| Claims::read(text(name)?)?.who());
    Some(Granted {
        bearer,
        life: secs("expires_in"),
        refresh_token: text("refresh_token").map(Secret::new),
        refresh_life: secs("refresh_token_expires_in"),
        who,
    })
}

/// The same words again, without the cause.
fn copied(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message());
    let copy = error.context().iter().fold(copy, |copy, (key, value)| copy.with(key, value));
    match error.hint_text() {
        Some(hint) => copy.hint(hint),
        None => copy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_refreshed_before_it_expires() {
        let secs = |body: &str| {
            let granted = read_granted(body.as_bytes())?;
            Some(usable(granted.life.unwrap_or(ASSUMED_LIFE).min(MAX_LIFE)).as_secs())
        };
        assert_eq!(secs(r#"{"access_token":"t","expires_in":3600}"#), Some(3480));
        assert_eq!(secs(r#"{"access_token":"t","expires_in":"3599"}"#), Some(3479));
        assert_eq!(secs(r#"{"access_token":"t","expires_in":100}"#), Some(50));
        assert_eq!(secs(r#"{"access_token":"t","expires_in":0}"#), Some(0));
        assert_eq!(secs(r#"{"access_token":"t"}"#), Some(2880));
        assert_eq!(secs(r#"{"access_token":"t","expires_in":18446744073709551615}"#), Some(28 * 3600 - 120));
        for bad in ["", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"access_token":7}"#]
        {
            assert_eq!(secs(bad), None, "{bad}");
        }
    }
}
