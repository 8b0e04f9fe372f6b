//! What of a sign-in will end, and whether that is soon.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::store::Stored;
use super::{Auth, Way};
use crate::model::{Expiring, Expiry};

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
