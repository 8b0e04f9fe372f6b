//! Tokens from outside: a value, or a program that prints one.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Auth;
use super::claims::Claims;
use super::command::Argv;
use super::token::{Granted, as_bearer};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// How often a program that has printed a token before is tried again when it fails.
const TRIES: u32 = 3;

/// A token that was given. It cannot be renewed: `renewal` says that this would be one.
///
/// # Errors
/// `Auth` when it has expired, the API does not accept it, or it is not a token.
pub(super) fn access_token(auth: &Auth, token: &Secret, renewal: bool) -> Result<Granted> {
    let claims = Claims::read(token.expose());
    let expires_at = claims.as_ref().and_then(Claims::expires_at);
    let bearer = as_bearer(token.expose())
        .ok_or_else(|| Error::new(Kind::Auth, "the given access token is not one").hint(FRESH))?;
    if let Some(at) = expires_at.filter(|at| *at <= auth.now()) {
        return Err(Error::new(Kind::Auth, "the given access token has expired").with("at", at).hint(FRESH));
    }
    let life = expires_at.map(|at| at.duration_since(auth.now()));
    if renewal {
        return Err(Error::new(Kind::Auth, "the given access token is not accepted, or has expired by now")
            .with("audience", claims.as_ref().and_then(Claims::audience).unwrap_or("unknown".to_owned()))
            .hint(FRESH));
    }
    Ok(granted(bearer, life, claims.as_ref()))
}

const FRESH: &str = "Give a fresh one in PARTNER_CENTER_ACCESS_TOKEN; for a job that waits longer than an hour use kind = \
    \"token-command\" or \"device-code\".";

/// The token that a program prints.
///
/// # Errors
/// As [`Argv::run`], and `Auth` when it prints no token, or one that has expired.
pub(super) async fn by_command(auth: &Auth, argv: &Argv, worked: bool) -> Result<Granted> {
    let mut tries = if worked { TRIES } else { 1 };
    let text = loop {
        tries -= 1;
        match argv.run(None).await {
            Err(error) if tries > 0 && error.kind() != Kind::Config => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            done => break done,
        }
    };
    let text =
        text.map_err(|error| error.hint("Try it by hand; for the Azure CLI, `az login` may be due."))?;
    let Some((bearer, expires_at)) = printed(text.expose(), &TimeZone::system()) else {
        return Err(Error::new(Kind::Auth, format!("the command {} printed no token", argv.program())).hint(
            "It prints the token alone, or JSON with accessToken and expires_on as `az account get-access-token` does.",
        ));
    };
    let claims = Claims::read(bearer.expose());
    let expires_at = expires_at.or_else(|| claims.as_ref()?.expires_at());
    let life = expires_at.map(|at| at.duration_since(auth.now()));
    if let Some(at) = expires_at.filter(|at| *at <= auth.now()) {
        return Err(Error::new(
            Kind::Auth,
            format!("the command {} printed a token that has expired", argv.program()),
        )
        .with("at", at)
        .hint("Check the clock of this machine, and that the command does not print from a cache."));
    }
    Ok(granted(bearer, life, claims.as_ref()))
}

fn granted(bearer: Secret, life: Option<SignedDuration>, claims: Option<&Claims>) -> Granted {
    Granted {
        bearer,
        life: life.and_then(|life| Duration::try_from(life).ok()),
        refresh_token: None,
        refresh_life: None,
        who: claims.and_then(Claims::who),
    }
}

/// A token and its end, from what a program printed. `zone` is that of times without one.
fn printed(text: &str, zone: &TimeZone) -> Option<(Secret, Option<Timestamp>)> {
    if !text.starts_with('{') {
        return Some((as_bearer(text.trim_matches('"'))?, None));
    }
    let json: Value = serde_json::from_str(text).ok()?;
    let value = |names: &[&str]| names.iter().find_map(|name| json.get(name));
    let bearer = as_bearer(value(&["accessToken", "access_token", "token"])?.as_str()?)?;
    let epoch = value(&["expires_on"]).and_then(|at| match at {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64(),
    });
    let at = match epoch {
        Some(second) => Timestamp::from_second(second).ok(),
        None => {
            value(&["expiresOn", "expires_on"]).and_then(Value::as_str).and_then(|text| instant(text, zone))
        }
    };
    Some((bearer, at))
}

/// `2026-11-25T04:36:33Z`, or the local time `2026-11-25 04:36:33.000000` of older Azure CLIs. An hour that the clocks
/// showed twice is the earlier one.
fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let local: DateTime = text.parse().ok()?;
        zone.to_ambiguous_timestamp(local).earlier().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_print_is_read() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let table = [
            (
                r#"{"accessToken":"t1","expires_on":1790000000,"expiresOn":"2020-01-01 00:00:00"}"#,
                at("2026-09-21T14:13:20Z"),
            ),
            (r#"{"accessToken":"t1","expires_on":"1790000000"}"#, at("2026-09-21T14:13:20Z")),
            (
                r#"{"accessToken":"t1","expiresOn":"2026-11-25 04:36:33.000000","tokenType":"Bearer"}"#,
                at("2026-11-25T02:36:33Z"),
            ),
            (r#"{"token":"t1","expiresOn":"2026-11-25T04:36:33Z"}"#, at("2026-11-25T04:36:33Z")),
            (r#"{"access_token":"t1"}"#, None),
            ("t1", None),
            ("\"t1\"", None),
        ];
        for (text, expected) in table {
            let (token, at) = printed(text, &zone).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((token.expose(), at), ("t1", expected), "{text}");
        }
        for bad in ["", "{}", "two words", r#"{"accessToken":""}"#, r#"{"accessToken":"a\nb"}"#, "{"] {
            assert!(printed(bad, &zone).is_none(), "{bad}");
        }
    }
}
