//! The token of one client: fetched once for everybody, refreshed before it expires.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Auth, entra};
use crate::error::{Error, Kind, Result};
use crate::event::Step;
use crate::secret::Secret;
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
}

/// Signs in when a token is needed.
#[derive(Debug)]
pub(in crate::source) struct SignIn {
    auth: Auth,
    // Held while a token is fetched: the others wait and find it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    fetched: u64,
    // A refusal is final for this client: repeating a wrong password locks the account.
    refused: Option<Error>,
}

impl SignIn {
    pub(in crate::source) fn new(auth: Auth) -> Self {
        SignIn { auth, state: Mutex::default() }
    }

    /// What must never be quoted back.
    pub(in crate::source) fn secret(&self) -> &Secret {
        self.auth.secret()
    }

    /// A token that is good for at least two minutes, and is not token number `refused`.
    ///
    /// # Errors
    /// `Auth` when the sign-in is refused, `Source` when it cannot be reached.
    pub(in crate::source) async fn token(
        &self,
        wire: &Wire,
        refused: Option<u64>,
        step: Step,
    ) -> Result<Token> {
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Some(token.number) != refused
            && Instant::now() < token.refresh_at
        {
            return Ok(token.clone());
        }
        if let Some(refusal) = &state.refused {
            return Err(copied(refusal));
        }
        state.token = None;
        match self.fetch(wire, state.fetched + 1, step).await {
            Ok(token) => {
                state.fetched = token.number;
                state.token = Some(token.clone());
                Ok(token)
            }
            Err(error) => {
                state.refused = (error.kind() == Kind::Auth).then(|| copied(&error));
                Err(error)
            }
        }
    }

    async fn fetch(&self, wire: &Wire, number: u64, step: Step) -> Result<Token> {
        let mut tries = wire.tries(&wire.options.authority);
        loop {
            match self.fetch_once(wire, number).await {
                Ok(token) => return Ok(token),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) => tries.wait(passing, step).await?,
            }
        }
    }

    async fn fetch_once(&self, wire: &Wire, number: u64) -> Result<Token, Failure> {
        let grant = self.auth.grant(&wire.options);
        let request = wire
            .request(reqwest::Method::POST, grant.url)
            .timeout(wire.options.read_timeout())
            .header(reqwest::header::ACCEPT, "application/json")
            .form(&grant.form);
        let asked_at = Instant::now();
        let response = wire.send(request).await?;
        let status = response.status();
        let after = retry_after(&response);
        let body = read_body(response).await?;
        let quoter = Quoter::new([self.auth.secret()]);
        if is_passing(status) {
            let words = body.and_then(|body| quoter.quote_body(&body));
            return Err(Failure::Passing(Passing::of_answer(status, after, words)));
        }
        let body = body.unwrap_or_default();
        if !status.is_success() {
            return Err(entra::explain(status, &body, self.auth.tenant(), &quoter));
        }
        read_token(&body, number, asked_at).ok_or_else(|| {
            Failure::Final(
                Error::new(Kind::Auth, "the sign-in service answered without an access token")
                    .with("host", crate::source::host::name(&wire.options.authority))
                    .hint("Check source.api.authority, and that no proxy answers in its place."),
            )
        })
    }
}

fn read_token(body: &[u8], number: u64, asked_at: Instant) -> Option<Token> {
    let json: Value = serde_json::from_slice(body).ok()?;
    let bearer = json.get("access_token")?.as_str().map(str::trim)?;
    // Only what may stand in a header: anything else is not a token.
    if bearer.is_empty() || !bearer.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    // The version 1 endpoint writes the number as text.
    let secs = json.get("expires_in").and_then(|life| match life {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_u64(),
    });
    let life = secs.map_or(ASSUMED_LIFE, Duration::from_secs).min(MAX_LIFE);
    let refresh_at = asked_at + (life - MARGIN.min(life / 2));
    Some(Token { bearer: Secret::new(bearer), number, refresh_at })
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
        let now = Instant::now();
        let secs = |body: &str| {
            let token = read_token(body.as_bytes(), 1, now)?;
            Some((token.refresh_at - now).as_secs())
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
