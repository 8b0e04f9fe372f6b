//! Sign-in: the two token endpoints of Entra, as far as a client of the payout API meets them.
//!
//! A token is opaque, says by itself how long and for whom it is good, and is signed with the key of the state
//! folder: one given before a restart is good after it.

use std::collections::HashMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

/// The only tenant.
pub const TENANT: &str = "1e5a4c10-7d3b-4b8e-9a55-5a6d0c0ffee1";
/// The only application.
pub const CLIENT_ID: &str = "6f1d2c3b-4a59-4e68-8f77-9a8b7c6d5e4f";
/// The secret of the application.
pub const CLIENT_SECRET: &str = "sandbox~secret/with+signs=";
/// The only user.
pub const USERNAME: &str = "payouts.reader@contoso.example";
/// The password of the user; a client that does not encode its form loses the signs in it.
pub const PASSWORD: &str = "correct horse+battery&staple";
/// The audience that the API wants.
pub const RESOURCE: &str = "https://api.partner.microsoft.com";

/// Signs tokens and blob addresses; it outlives a restart, because it stands in the state folder.
#[derive(Clone)]
pub struct Key(pub [u8; 32]);

impl Key {
    /// The signature of `text`, in hexadecimal.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        blake3::keyed_hash(&self.0, text.as_bytes()).to_hex().to_string()
    }

    /// Whether `signature` is that of `text`; takes the same time wherever they differ.
    #[must_use]
    pub fn verifies(&self, text: &str, signature: &str) -> bool {
        blake3::Hash::from_hex(signature)
            .is_ok_and(|given| given == blake3::keyed_hash(&self.0, text.as_bytes()))
    }
}

/// Which endpoint was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// Who calls the API: the user or the application.
pub type Caller = String;

/// Why there is no token.
#[derive(Debug)]
pub struct Refused {
    /// The AADSTS number.
    pub code: u32,
    message: String,
}

impl Refused {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Refused { code, message: message.into() }
    }

    /// HTTP status and OAuth error of an AADSTS number.
    fn oauth(&self) -> (StatusCode, &'static str) {
        match self.code {
            50126 => (StatusCode::BAD_REQUEST, "invalid_grant"),
            70003 => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            70011 => (StatusCode::BAD_REQUEST, "invalid_scope"),
            700016 => (StatusCode::BAD_REQUEST, "unauthorized_client"),
            7000215 | 7000218 => (StatusCode::UNAUTHORIZED, "invalid_client"),
            _ => (StatusCode::BAD_REQUEST, "invalid_request"),
        }
    }
}

/// Answers a token request.
pub fn answer(
    key: &Key,
    version: Version,
    tenant: &str,
    form: &HashMap<String, String>,
    lifetime_secs: u32,
    now: Timestamp,
) -> Response {
    match granted(version, tenant, form) {
        Ok((caller, audience)) => {
            let token = issue(key, &caller, &audience, lifetime_secs, now);
            grant(version, token, &audience, lifetime_secs, now).into_response()
        }
        Err(refused) => refusal(&refused, now),
    }
}

/// The body of a success. Version 1 spells its numbers as texts.
fn grant(
    version: Version,
    token: String,
    audience: &str,
    lifetime_secs: u32,
    now: Timestamp,
) -> Json<serde_json::Value> {
    Json(match version {
        Version::V1 => json!({
            "token_type": "Bearer",
            "scope": "user_impersonation",
            "expires_in": lifetime_secs.to_string(),
            "ext_expires_in": lifetime_secs.to_string(),
            "expires_on": (now.as_second() + i64::from(lifetime_secs)).to_string(),
            "not_before": now.as_second().to_string(),
            "resource": audience,
            "access_token": token,
        }),
        Version::V2 => json!({
            "token_type": "Bearer",
            "scope": format!("{audience}/.default"),
            "expires_in": lifetime_secs,
            "ext_expires_in": lifetime_secs,
            "access_token": token,
        }),
    })
}

fn refusal(refused: &Refused, now: Timestamp) -> Response {
    let (status, error) = refused.oauth();
    let (trace, correlation) = (Uuid::new_v4(), Uuid::new_v4());
    let at = now.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let description = format!(
        "AADSTS{}: {} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {at}",
        refused.code, refused.message
    );
    let body = json!({
        "error": error,
        "error_description": description,
        "error_codes": [refused.code],
        "timestamp": at,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={}", refused.code),
    });
    (status, Json(body)).into_response()
}

/// The caller and the audience of the token that a form asks for.
fn granted(
    version: Version,
    tenant: &str,
    form: &HashMap<String, String>,
) -> Result<(Caller, String), Refused> {
    if !tenant.eq_ignore_ascii_case(TENANT) {
        return Err(Refused::new(90002, format!("Tenant '{tenant}' not found.")));
    }
    let field = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Refused::new(900144, format!("The request body must contain the following parameter: '{name}'."))
        })
    };
    let grant = field("grant_type")?;
    if !field("client_id")?.eq_ignore_ascii_case(CLIENT_ID) {
        return Err(Refused::new(
            700016,
            "Application with the given identifier was not found in the directory.",
        ));
    }
    let audience = match version {
        Version::V1 => field("resource")?.clone(),
        Version::V2 if form.contains_key("resource") => {
            return Err(Refused::new(901002, "The 'resource' request parameter is not supported."));
        }
        Version::V2 => scope_audience(field("scope")?)?,
    };
    let secret = form.get("client_secret");
    if secret.is_some_and(|secret| secret != CLIENT_SECRET) {
        return Err(Refused::new(7000215, "Invalid client secret provided."));
    }
    match grant.as_str() {
        "password" => {
            if field("username")? != USERNAME || field("password")? != PASSWORD {
                return Err(Refused::new(
                    50126,
                    "Error validating credentials due to invalid username or password.",
                ));
            }
            Ok((USERNAME.to_owned(), audience))
        }
        "client_credentials" if secret.is_none() => Err(Refused::new(
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )),
        "client_credentials" => Ok((CLIENT_ID.to_owned(), audience)),
        other => Err(Refused::new(70003, format!("The app requested an unsupported grant type '{other}'."))),
    }
}

/// The resource that a scope belongs to: `https://host/.default` or `https://host/user_impersonation`, beside the
/// scopes of OpenID.
fn scope_audience(scope: &str) -> Result<String, Refused> {
    let wanted =
        scope.split_ascii_whitespace().filter(|word| !["offline_access", "openid", "profile"].contains(word));
    let audiences: Option<Vec<&str>> = wanted
        .map(|word| word.strip_suffix("/.default").or_else(|| word.strip_suffix("/user_impersonation")))
        .collect();
    match audiences.as_deref() {
        Some([audience]) if audience.starts_with("https://") => Ok((*audience).to_owned()),
        _ => Err(Refused::new(70011, "The provided value for the input parameter 'scope' is not valid.")),
    }
}

fn issue(key: &Key, caller: &str, audience: &str, lifetime_secs: u32, now: Timestamp) -> String {
    let audience = if audience == RESOURCE { "api" } else { "other" };
    let caller = if caller == USERNAME { "user" } else { "app" };
    let expires = now.as_second() + i64::from(lifetime_secs);
    let claims = format!("{caller}.{audience}.{expires}.{}", Uuid::new_v4().simple());
    format!("{claims}.{}", key.sign(&claims))
}

/// The caller behind an `Authorization` header, if its token is good for the API now.
#[must_use]
pub fn caller(key: &Key, header: &str, now: Timestamp) -> Option<Caller> {
    let (scheme, token) = header.split_once(' ')?;
    let (claims, signature) = token.rsplit_once('.')?;
    let mut parts = claims.split('.');
    let (caller, audience, expires) = (parts.next()?, parts.next()?, parts.next()?.parse::<i64>().ok()?);
    let good = scheme.eq_ignore_ascii_case("bearer")
        && key.verifies(claims, signature)
        && audience == "api"
        && now.as_second() < expires;
    good.then(|| caller.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(change: &[(&str, &str)]) -> HashMap<String, String> {
        let good = [
            ("grant_type", "password"),
            ("username", USERNAME),
            ("password", PASSWORD),
            ("client_id", CLIENT_ID),
        ];
        let pairs = good.iter().chain(change).filter(|(_, value)| *value != "-");
        let mut form: HashMap<String, String> =
            pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        for (name, _) in change.iter().filter(|(_, value)| *value == "-") {
            form.remove(*name);
        }
        form
    }

    #[test]
    fn refusals_have_their_numbers() {
        let scope = format!("{RESOURCE}/.default");
        let app = [("grant_type", "client_credentials"), ("scope", scope.as_str())];
        let cases: [(Version, &str, Vec<(&str, &str)>, u32); 10] = [
            (Version::V1, TENANT, vec![("resource", RESOURCE), ("password", "wrong")], 50126),
            (Version::V1, TENANT, vec![("resource", RESOURCE), ("client_id", "other")], 700016),
            (Version::V1, "elsewhere", vec![("resource", RESOURCE)], 90002),
            (Version::V1, TENANT, vec![], 900144),
            (Version::V1, TENANT, vec![("resource", RESOURCE), ("username", "-")], 900144),
            (Version::V2, TENANT, vec![("resource", RESOURCE)], 901002),
            (Version::V2, TENANT, vec![("scope", "payouts")], 70011),
            (Version::V2, TENANT, [&app[..], &[("client_secret", "wrong")]].concat(), 7000215),
            (Version::V2, TENANT, app.to_vec(), 7000218),
            (Version::V2, TENANT, vec![("scope", &scope), ("grant_type", "magic")], 70003),
        ];
        for (version, tenant, change, expected) in cases {
            assert_eq!(granted(version, tenant, &form(&change)).unwrap_err().code, expected, "{change:?}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_audience_and_its_time() {
        let (key, now) = (Key([1; 32]), Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(59).unwrap();
        let header = |token: String| format!("Bearer {token}");
        let good = header(issue(&key, USERNAME, RESOURCE, 60, now));
        assert_eq!(caller(&key, &good, later).as_deref(), Some("user"));
        assert_eq!(caller(&key, &good, Timestamp::from_second(60).unwrap()), None);
        assert_eq!(caller(&Key([2; 32]), &good, later), None);
        assert_eq!(caller(&key, &good.replace("user", "app"), later), None);
        assert_eq!(
            caller(&key, &header(issue(&key, USERNAME, "https://graph.windows.net", 60, now)), later),
            None
        );
        for bad in ["", "Bearer", "Bearer ", "Bearer x", "Basic abc.def", "Bearer ....."] {
            assert_eq!(caller(&key, bad, later), None, "{bad}");
        }
    }
}
