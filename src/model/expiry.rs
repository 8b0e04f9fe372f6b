//! What the sign-in needs and will lose one day: secrets, certificates and refresh tokens end without anybody hearing it.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiring {
    ClientSecret,
    Certificate,
    RefreshToken,
}

/// When one thing that the sign-in needs ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    pub what: Expiring,
    pub at: Timestamp,
    /// Whether the time is a rule of thumb: a refresh token is good for 90 days after its last use, and Entra does
    /// not tell it.
    pub assumed: bool,
    /// From when on it is time to do something.
    pub warn_from: Timestamp,
    /// Whole days from now; negative when it has passed.
    pub days_left: i64,
    /// Whether it is time to do something.
    pub near: bool,
}

impl Expiry {
    #[must_use]
    pub fn new(what: Expiring, at: Timestamp, assumed: bool, warn_days: u32, now: Timestamp) -> Self {
        let warned = SignedDuration::from_hours(24 * i64::from(warn_days));
        let warn_from = at.checked_sub(warned).unwrap_or(Timestamp::MIN);
        Expiry { what, at, assumed, warn_from, days_left: 0, near: false }.seen_at(now)
    }

    /// The same, as it looks at another time.
    #[must_use]
    pub fn seen_at(self, now: Timestamp) -> Self {
        let days_left = self.at.duration_since(now).as_hours().div_euclid(24);
        Expiry { days_left, near: now >= self.warn_from, ..self }
    }

    /// The one next step.
    #[must_use]
    pub fn advice(&self, login: &str) -> String {
        match self.what {
            Expiring::ClientSecret => {
                "make a new secret in the app registration, give it to payoutlake, and change client_secret_expires_on"
                    .to_owned()
            }
            Expiring::Certificate => {
                "upload a new certificate to the app registration, then give it to payoutlake".to_owned()
            }
            Expiring::RefreshToken => format!("sign in again: {login}"),
        }
    }
}

impl fmt::Display for Expiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expiring::ClientSecret => "client secret",
            Expiring::Certificate => "certificate",
            Expiring::RefreshToken => "refresh token",
        })
    }
}

/// `the certificate expires on 2027-01-31, in 12 days`.
impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = TimeZone::UTC.to_datetime(self.at).date();
        match self.days_left {
            ..0 => write!(f, "the {} has expired on {day}", self.what),
            0 => write!(f, "the {} expires on {day}, within a day", self.what),
            1 => write!(f, "the {} expires on {day}, in 1 day", self.what),
            days => write!(f, "the {} expires on {day}, in {days} days", self.what),
        }?;
        if self.assumed { f.write_str(" (assumed)") } else { Ok(()) }
    }
}
