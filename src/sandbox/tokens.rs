//! Sign-in: the token endpoints of Entra as far as a client of the payout API meets them. User and password,
//! application and secret, device code, refresh token.
//!
//! A token is opaque, says by itself how long and for whom it is good, and is signed with the key of the state
//! folder: one given before a restart is good after it.

use std::collections::HashMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use url::Url;
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

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A quarter of an hour, as Entra gives.
const DEVICE_LIFETIME_SECS: i64 = 900;

/// Until then a device code is answered with `authorization_pending`.
const DEVICE_PENDING_SECS: i64 = 2;

/// 90 days, as Entra gives.
const REFRESH_LIFETIME_SECS: i64 = 90 * 86_400;

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
            50126 | 70000 | 70018 | 700082 => (StatusCode::BAD_REQUEST, "invalid_grant"),
            70016 => (StatusCode::BAD_REQUEST, "authorization_pending"),
            70019 => (StatusCode::BAD_REQUEST, "expired_token"),
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
    match granted(key, version, tenant, form, now) {
        Ok((caller, audience)) => {
            let token = issue(key, &caller, &audience, lifetime_secs, now);
            let mut body = grant(version, token, &audience, lifetime_secs, now);
            let offline = form.get("scope").is_some_and(|scope| scope.contains("offline_access"));
            if offline && caller == USERNAME {
                body["refresh_token"] = ticket(key, "refresh", now).into();
            }
            Json(body).into_response()
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
) -> serde_json::Value {
    match version {
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
    }
}

/// Begins a sign-in by device code. Nobody has to type it: the user is taken to have signed in
/// [`DEVICE_PENDING_SECS`] later.
pub fn device_code(
    key: &Key,
    base: &Url,
    tenant: &str,
    form: &HashMap<String, String>,
    now: Timestamp,
) -> Response {
    let checked = application(tenant, form).and_then(|()| scope_audience(field(form, "scope")?));
    if let Err(refused) = checked {
        return refusal(&refused, now);
    }
    let page = format!("{base}devicelogin");
    Json(json!({
        "device_code": ticket(key, "device", now),
        "user_code": "SANDB0XPC",
        "verification_uri": page,
        "expires_in": DEVICE_LIFETIME_SECS,
        "interval": 1,
        "message": format!("To sign in, open the page {page} and enter the code SANDB0XPC to authenticate."),
    }))
    .into_response()
}

/// A signed text that says what it is for and when it was given.
fn ticket(key: &Key, purpose: &str, now: Timestamp) -> String {
    let claims = format!("{purpose}.{}.{}", now.as_second(), Uuid::new_v4().simple());
    format!("{claims}.{}", key.sign(&claims))
}

/// Seconds since a ticket was given; `None` when it is not one for this purpose.
fn ticket_age(key: &Key, purpose: &str, ticket: &str, now: Timestamp) -> Option<i64> {
    let (claims, signature) = ticket.rsplit_once('.')?;
    let (given, _) = claims.strip_prefix(purpose)?.strip_prefix('.')?.split_once('.')?;
    key.verifies(claims, signature).then_some(now.as_second() - given.parse::<i64>().ok()?)
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

/// A field of the form that must be there.
fn field<'a>(form: &'a HashMap<String, String>, name: &str) -> Result<&'a String, Refused> {
    form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
        Refused::new(900144, format!("The request body must contain the following parameter: '{name}'."))
    })
}

/// Whether tenant and application are those of the sandbox.
fn application(tenant: &str, form: &HashMap<String, String>) -> Result<(), Refused> {
    if !tenant.eq_ignore_ascii_case(TENANT) {
        return Err(Refused::new(90002, format!("Tenant '{tenant}' not found.")));
    }
    if !field(form, "client_id")?.eq_ignore_ascii_case(CLIENT_ID) {
        return Err(Refused::new(
            700016,
            "Application with the given identifier was not found in the directory.",
        ));
    }
    Ok(())
}

/// The caller and the audience of the token that a form asks for.
fn granted(
    key: &Key,
    version: Version,
    tenant: &str,
    form: &HashMap<String, String>,
    now: Timestamp,
) -> Result<(Caller, String), Refused> {
    application(tenant, form)?;
    let grant = field(form, "grant_type")?;
    let audience = match version {
        Version::V1 => field(form, "resource")?.clone(),
        Version::V2 if form.contains_key("resource") => {
            return Err(Refused::new(901002, "The 'resource' request parameter is not supported."));
        }
        // The scope of a device code was said when it was asked for.
        Version::V2 if grant == DEVICE_GRANT && !form.contains_key("scope") => RESOURCE.to_owned(),
        Version::V2 => scope_audience(field(form, "scope")?)?,
    };
    let secret = form.get("client_secret");
    if secret.is_some_and(|secret| secret != CLIENT_SECRET) {
        return Err(Refused::new(7000215, "Invalid client secret provided."));
    }
    match grant.as_str() {
        "password" => password(form)?,
        "refresh_token" => refresh(key, field(form, "refresh_token")?, now)?,
        DEVICE_GRANT if version == Version::V2 => device(key, field(form, "device_code")?, now)?,
        "client_credentials" if secret.is_none() => {
            let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
            return Err(Refused::new(7000218, message));
        }
        "client_credentials" => return Ok((CLIENT_ID.to_owned(), audience)),
        other => {
            return Err(Refused::new(
                70003,
                format!("The app requested an unsupported grant type '{other}'."),
            ));
        }
    }
    Ok((USERNAME.to_owned(), audience))
}

fn password(form: &HashMap<String, String>) -> Result<(), Refused> {
    if field(form, "username")? != USERNAME || field(form, "password")? != PASSWORD {
        let message = "Error validating credentials due to invalid username or password.";
        return Err(Refused::new(50126, message));
    }
    Ok(())
}

fn refresh(key: &Key, token: &str, now: Timestamp) -> Result<(), Refused> {
    match ticket_age(key, "refresh", token, now) {
        None => Err(Refused::new(
            70000,
            "The provided value for the input parameter 'refresh_token' is not valid.",
        )),
        Some(age) if age >= REFRESH_LIFETIME_SECS => {
            Err(Refused::new(700082, "The refresh token has expired due to inactivity."))
        }
        Some(_) => Ok(()),
    }
}

fn device(key: &Key, code: &str, now: Timestamp) -> Result<(), Refused> {
    match ticket_age(key, "device", code, now) {
        None => Err(Refused::new(70018, "The device code is not valid.")),
        Some(age) if age >= DEVICE_LIFETIME_SECS => Err(Refused::new(70019, "The device code has expired.")),
        Some(age) if age < DEVICE_PENDING_SECS => {
            Err(Refused::new(70016, "The user has not yet signed in with the code."))
        }
        Some(_) => Ok(()),
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
        let cases = [
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
            assert_eq!(
                granted(&Key([1; 32]), version, tenant, &form(&change), Timestamp::UNIX_EPOCH)
                    .unwrap_err()
                    .code,
                expected,
                "{change:?}"
            );
        }
    }

    #[test]
    fn a_device_code_waits_works_and_ends() {
        let key = Key([1; 32]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let code = ticket(&key, "device", at(0));
        let outcome = |second| device(&key, &code, at(second)).map_err(|refused| refused.code);
        assert_eq!([outcome(1), outcome(2), outcome(900)], [Err(70016), Ok(()), Err(70019)]);
        assert_eq!(device(&key, "device.0.x.y", at(5)).unwrap_err().code, 70018);
        let token = ticket(&key, "refresh", at(0));
        assert!(refresh(&key, &token, at(1_000)).is_ok());
        assert_eq!(refresh(&key, &code, at(1_000)).unwrap_err().code, 70000);
        assert_eq!(refresh(&key, &token, at(REFRESH_LIFETIME_SECS)).unwrap_err().code, 700082);
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
