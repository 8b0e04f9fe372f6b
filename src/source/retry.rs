//! What may pass by itself, how long to wait for it, and when to stop.

use std::fmt;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::{Response, StatusCode, header};
use tokio::time::Instant;
use url::Url;

use super::host;
use super::http::{Wire, header_text};
use crate::error::{Error, Kind, Result};
use crate::event::{Level, Step};

/// Longest wait between two tries that we choose ourselves.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// Shortest wait between two tries, when a server asks for none.
const MIN_DELAY: Duration = Duration::from_millis(50);

/// Tries at a host that cannot be reached and before any host has answered: probably its name is wrong, and a person is waiting.
const TRIES_UNREACHABLE: u32 = 4;

/// Why one try failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Trying again changes nothing.
    Final(Error),
    Passing(Passing),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

/// A failure that may pass by itself.
#[derive(Debug)]
pub(super) struct Passing {
    /// What happened, to stand behind "{host} ": `answered 503 Service Unavailable`.
    what: String,
    /// How long the server asks us to stay away.
    after: Option<Duration>,
    unreachable: bool,
    /// The request may have reached the server.
    lost: bool,
    cause: Option<reqwest::Error>,
}

impl Passing {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Passing { what: what.into(), after: None, unreachable: false, lost: false, cause: None }
    }

    /// A connection that could not be made, broke, or stayed silent.
    pub(super) fn of_transport(cause: reqwest::Error) -> Self {
        let what = match () {
            () if cause.is_connect() => "cannot be reached",
            () if cause.is_timeout() => "did not answer in time",
            () => "broke the connection",
        };
        let unreachable = cause.is_connect();
        // The address of a request may carry a signature.
        let cause = Some(cause.without_url());
        Passing { what: what.to_owned(), after: None, unreachable, lost: !unreachable, cause }
    }

    /// An answer that asks to try again, with the service's own words if it said any.
    pub(super) fn of_answer(status: StatusCode, after: Option<Duration>, words: Option<String>) -> Self {
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        Passing { after, ..Passing::new(format!("answered {status}{words}")) }
    }

    /// Whether the server may have done what it was asked, without anybody knowing.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }
}

/// Whether the same request may succeed a little later.
pub(super) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

/// `Retry-After` as seconds or as a date. A date is compared with the answer's own `Date`, so that
/// neither clock has to be right.
pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    wait_of(header_text(response, header::RETRY_AFTER)?, header_text(response, header::DATE))
}

fn wait_of(after: &str, date: Option<&str>) -> Option<Duration> {
    if let Ok(secs) = after.trim().parse() {
        return Some(Duration::from_secs(secs));
    }
    let at = |text: &str| -> Option<Timestamp> { Some(rfc2822::parse(text.trim()).ok()?.timestamp()) };
    // A date that has passed is a wait of zero.
    Some(Duration::try_from(at(after)?.duration_since(at(date?)?)).unwrap_or(Duration::ZERO))
}

/// The tries of one call: how many there were, and whether there may be another.
pub(super) struct Tries<'a> {
    wire: &'a Wire,
    host: String,
    delays: ExponentialBackoff,
    started: Instant,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(wire: &'a Wire, url: &Url) -> Self {
        let delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(wire.options.retry_first_delay_millis).min(MAX_DELAY))
            .with_max_delay(MAX_DELAY)
            .without_max_times()
            .with_jitter()
            .build();
        Tries { wire, host: host::name(url), delays, started: Instant::now(), made: 0 }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// `Source` when there were enough tries, or the wait would end after the budget.
    pub(super) async fn wait(&mut self, passing: Passing, step: Step) -> Result<()> {
        self.made += 1;
        let own = self.delays.next().unwrap_or(MAX_DELAY);
        let delay = passing.after.unwrap_or(own).max(MIN_DELAY);
        let budget = Duration::from_secs(self.wire.options.retry_budget_secs);
        let hopeless =
            passing.unreachable && !self.wire.has_been_answered() && self.made >= TRIES_UNREACHABLE;
        let too_late = self.started.elapsed().saturating_add(delay) > budget;
        if self.made >= self.wire.options.retry_attempts || hopeless || too_late {
            return Err(self.give_up(passing));
        }
        let next = self.made + 1;
        let told = format!("{} {}; try {next} in {}", self.host, passing.what, Seconds(delay));
        self.wire.observer.tell(Level::Warn, "", step, told);
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// The error of a failure that is not tried again.
    pub(super) fn give_up(&self, passing: Passing) -> Error {
        let hint = if passing.unreachable {
            "Check the network, the proxy (HTTPS_PROXY), the certificates and the host's name, then run the same command again."
        } else {
            "Run the same command again later: the ledger keeps the export, so nothing is queued twice."
        };
        let mut error = Error::new(Kind::Source, format!("{} {}", self.host, passing.what))
            .with("tries", self.made)
            .with("for", Seconds(self.started.elapsed()))
            .hint(hint);
        if let Some(after) = passing.after {
            error = error.with("retry after", Seconds(after));
        }
        match passing.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

/// A duration for people: `12.3 s`.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0.as_secs(), self.0.subsec_millis() / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let table = [
            ("7", None, Some(7)),
            (" 0 ", date, Some(0)),
            ("Sun, 06 Nov 1994 08:51:07 GMT", date, Some(90)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", date, Some(0)),
            ("Sun, 06 Nov 1994 08:51:07 GMT", None, None),
            ("soon", date, None),
            ("-3", date, None),
        ];
        for (after, date, secs) in table {
            assert_eq!(wait_of(after, date), secs.map(Duration::from_secs), "{after}");
        }
    }
}
