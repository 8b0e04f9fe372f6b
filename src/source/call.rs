//! One call of the API: the token, the headers, the repeats, and one refresh after a 401.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::{Method, StatusCode, header};
use url::Url;
use uuid::Uuid;

use super::auth::token::{Refused, Token};
use super::client::Client;
use super::http::{MAX_JSON_BYTES, claims_challenge, header_text, read_body};
use super::quote::Quoter;
use super::refusal;
use super::retry::{Failure, Passing, is_passing, retry_after};
use crate::error::{Error, Kind, Result};
use crate::event::Step;

/// What is asked.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The same in every repeat, so that the service can tell a repeat from a new request.
    pub(super) id: Uuid,
    /// Completes "cannot ...".
    pub(super) verb: &'static str,
    pub(super) step: Step,
}

/// What came back, once repeating does not help any more.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) location: Option<String>,
    /// What the service said about a refusal, safe to print.
    pub(super) words: Option<String>,
    /// The claims that the service misses in a token that it refuses, as JSON.
    pub(super) challenge: Option<String>,
    /// The service's clock.
    pub(super) date: Option<Timestamp>,
    pub(super) body: Vec<u8>,
}

/// What became of a call.
pub(super) enum Called {
    Answered(Answer),
    /// The service may have done what it was asked: the connection broke, or stayed silent, after the request was sent.
    /// Only for a POST; everything else is simply asked again.
    Lost(Error),
}

impl Client {
    /// The answer of the API: any status but those that pass by themselves and 401.
    ///
    /// # Errors
    /// `Auth` when sign-in or token are refused, `Source` when the budget is spent, `Contract` when the answer is too long.
    pub(super) async fn call(&self, call: &Call) -> Result<Answer> {
        match self.try_call(call).await? {
            Called::Answered(answer) => Ok(answer),
            Called::Lost(error) => Err(error),
        }
    }

    /// As [`Client::call`].
    pub(super) async fn try_call(&self, call: &Call) -> Result<Called> {
        let mut tries = self.wire.tries(&call.url);
        let mut refused = None;
        loop {
            let token = self.sign_in.token(&self.wire, refused.as_ref(), call.step).await?;
            match self.try_once(call, &token).await {
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED && refused.is_none() => {
                    refused = Some(Refused { number: token.number, challenge: answer.challenge });
                }
                Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
                    return Err(self.refusal(call, answer));
                }
                Ok(answer) => return Ok(Called::Answered(answer)),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing(passing)) if passing.is_lost() && call.method == Method::POST => {
                    return Ok(Called::Lost(tries.give_up(passing)));
                }
                Err(Failure::Passing(passing)) => tries.wait(passing, call.step).await?,
            }
        }
    }

    async fn try_once(&self, call: &Call, token: &Token) -> Result<Answer, Failure> {
        let mut bearer = header::HeaderValue::from_str(&format!("Bearer {}", token.bearer.expose()))
            .map_err(|_| Error::new(Kind::Bug, "a token passed the check and is not fit for a header"))?;
        bearer.set_sensitive(true);
        let mut request = self
            .wire
            .request(call.method.clone(), call.url.clone())
            .timeout(self.wire.options.read_timeout())
            .header(header::AUTHORIZATION, bearer)
            .header(header::ACCEPT, "application/json")
            .header("ms-correlationid", self.correlation.to_string())
            .header("ms-requestid", call.id.to_string())
            .header("client-request-id", call.id.to_string());
        if call.method == Method::POST {
            // The general Partner API list has a 411 for a POST that does not say it.
            request = request.header(header::CONTENT_LENGTH, "0");
        }
        let response = self.wire.send(request).await?;
        let status = response.status();
        let after = retry_after(&response);
        let location = header_text(&response, header::LOCATION).map(str::to_owned);
        let challenge = claims_challenge(&response);
        let date = header_text(&response, header::DATE).and_then(|date| rfc2822::parse(date.trim()).ok());
        let date = date.map(|date| date.timestamp());
        let body = read_body(response).await?;
        if let Some(witness) = &self.wire.witness {
            witness.answer(status, after.is_some(), location.as_deref(), body.as_deref().unwrap_or_default());
        }
        let refused = !status.is_success();
        let words = body.as_ref().filter(|_| refused).and_then(|body| self.quoter(token).quote_body(body));
        if is_passing(status) {
            return Err(Failure::Passing(Passing::of_answer(status, after, words)));
        }
        // A proxy's page, or nothing: the next look may bring the service's own answer.
        if call.method == Method::GET && !refused && body.as_ref().is_some_and(|body| !is_json(body)) {
            return Err(Failure::Passing(Passing::new("answered with something that is not JSON")));
        }
        match body {
            Some(body) => Ok(Answer { status, location, words, challenge, date, body }),
            None if refused => Ok(Answer { status, location, words, challenge, date, body: Vec::new() }),
            None => Err(Failure::Final(
                Error::new(Kind::Contract, format!("cannot {}: the answer is too long to be one", call.verb))
                    .with("limit", format!("{MAX_JSON_BYTES} bytes"))
                    .hint("Check source.api.api, and that no proxy answers in its place."),
            )),
        }
    }

    /// The error of an answer that is not a success.
    pub(super) fn refusal(&self, call: &Call, answer: Answer) -> Error {
        refusal::explain(call.verb, answer.status, answer.words)
            .with("host", super::host::name(&call.url))
            .with("correlation", self.correlation)
    }

    fn quoter<'a>(&'a self, token: &'a Token) -> Quoter<'a> {
        Quoter::new(self.sign_in.secrets().into_iter().chain([&token.bearer]))
    }
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}
