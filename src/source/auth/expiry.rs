//! What will end, and whether that is soon: secrets, certificates and refresh tokens end without anybody hearing it.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::store::Stored;
use super::{Auth, Way};

/// What ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiring {
    ClientSecret,
    Certificate,
    RefreshToken,
}

/// When one thing that the sign-in needs ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expiry {
    pub what: Expiring,
    pub at: Timestamp,
    /// Whether the time is a rule of thumb: a refresh token is good for 90 days after its last use, and Entra does
    /// not tell it.
    pub assumed: bool,
    /// Whole days from now; negative when it has passed.
    pub days_left: i64,
    /// Whether it is time to do something.
    pub near: bool,
}

impl Expiry {
    fn new(what: Expiring, at: Timestamp, assumed: bool, warn_days: u32, now: Timestamp) -> Self {
        let left = at.duration_since(now);
        let near = left <= SignedDuration::from_hours(24 * i64::from(warn_days));
        Expiry { what, at, assumed, days_left: left.as_hours().div_euclid(24), near }
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

/// What this sign-in needs and will lose one day, as of `now`. Nothing is sent. A store that cannot be read is passed
/// over here: it is an error where the token is needed.
pub async fn expiries(auth: &Auth, now: Timestamp) -> Vec<Expiry> {
    let stored = match auth.way.store() {
        Some(store) => store.read(auth).await.ok().flatten(),
        None => None,
    };
    of(auth, stored.as_ref(), now)
}

pub(super) fn of(auth: &Auth, stored: Option<&Stored>, now: Timestamp) -> Vec<Expiry> {
    let secret = auth.way.app_secret().and_then(|app| app.expires_on).and_then(|day| {
        let at = TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok()?;
        Some(Expiry::new(Expiring::ClientSecret, at, false, auth.warn_days, now))
    });
    let certificate = match &auth.way {
        Way::Certificate(certificate) => {
            Some(Expiry::new(Expiring::Certificate, certificate.not_after(), false, auth.warn_days, now))
        }
        _ => None,
    };
    let refresh = stored.and_then(|stored| of_refresh_token(stored, auth.warn_days, now));
    secret.into_iter().chain(certificate).chain(refresh).collect()
}

pub(super) fn of_refresh_token(stored: &Stored, warn_days: u32, now: Timestamp) -> Option<Expiry> {
    let at = stored.expires_at?;
    let known = !stored.expiry_assumed;
    // A token of a single-page application lives for a day: 14 days before that it does not exist.
    let life = at.duration_since(stored.obtained_at).as_hours().div_euclid(24).max(0);
    let warn_days =
        if known { warn_days.min(u32::try_from(life).unwrap_or(warn_days) / 2) } else { warn_days };
    Some(Expiry::new(Expiring::RefreshToken, at, stored.expiry_assumed, warn_days, now))
}
