//! Sign-in: the token endpoints of Entra as far as a client of the payout API meets them. User and password,
//! application with secret or certificate, device code, refresh token.
//!
//! ```text
//! jwt         access tokens and id tokens
//! tickets     device codes and refresh tokens
//! assertion   an application that signs with its certificate
//! refusal     why there is no token
//! ```
//!
//! Tokens and tickets say by themselves how long and for whom they are good, and are signed with the key of the state
//! folder: one given before a restart is good after it.

mod assertion;
mod jwt;
mod refusal;
mod tickets;

use std::collections::HashMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use url::Url;

use super::Options;
use super::clock::Moment;
use super::faults::FaultKind;
use super::faults::injector::Hits;
use super::server::Service;
pub use jwt::caller;
use refusal::Refused;
pub use tickets::Tickets;
use tickets::{DEVICE_LIFETIME_SECS, Refresh};

/// The only tenant.
pub const TENANT: &str = "1e5a4c10-7d3b-4b8e-9a55-5a6d0c0ffee1";
/// The only application.
pub const CLIENT_ID: &str = "6f1d2c3b-4a59-4e68-8f77-9a8b7c6d5e4f";
/// The secret of the application.
pub const CLIENT_SECRET: &str = "sandbox~secret/with+signs=";
/// The certificate of the application, PEM. It is nobody's: anyone can read its key.
pub const CERTIFICATE_PEM: &str = include_str!("certificate.pem");
/// The private key of the certificate, PKCS #8 in PEM.
pub const PRIVATE_KEY_PEM: &str = include_str!("private-key.pem");
/// The only user.
pub const USERNAME: &str = "payouts.reader@contoso.example";
/// The password of the user; a client that does not encode its form loses the signs in it.
pub const PASSWORD: &str = "correct horse+battery&staple";
/// The audience that the API wants.
pub const RESOURCE: &str = "https://api.partner.microsoft.com";

/// Callers of the API as exports remember them.
pub const USER: &str = "user";
pub const APPLICATION: &str = "app";

/// What `/devicelogin` shows.
pub const DEVICE_PAGE: &str = "<!DOCTYPE html><html><head><title>payoutlake sandbox</title></head><body><h1>Device sign-in of the sandbox</h1><p>Nobody has to type a code here: the imagined person does so two seconds after the code was given (option device_sign_in_secs). Start the sandbox with the fault device-declined, device-pending or device-expired to see what happens otherwise.</p></body></html>";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The audience of tokens that are for somebody else.
const OTHER_RESOURCE: &str = "https://graph.windows.net";

/// Seconds between two polls of a device code, for the client.
const DEVICE_INTERVAL_SECS: u32 = 1;

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

/// Who calls the API: [`USER`] or [`APPLICATION`].
pub type Caller = String;

pub type Fields = HashMap<String, String>;

/// A token request with what is needed to answer it.
struct Desk<'a> {
    key: &'a Key,
    base: &'a Url,
    tickets: &'a Tickets,
    options: &'a Options,
    now: Moment,
    hits: &'a Hits,
    version: Version,
    tenant: &'a str,
    form: &'a Fields,
}

/// What a request is given.
#[derive(Debug, PartialEq)]
struct Granted {
    caller: &'static str,
    audience: String,
    /// Whether the user proved more than a password.
    mfa: bool,
    openid: bool,
    /// The refresh token that comes with it.
    refresh: Option<Refresh>,
}

/// Answers a token request.
pub fn answer(service: &Service, version: Version, tenant: &str, form: &Fields, hits: &Hits) -> Response {
    let desk = Desk::new(service, version, tenant, form, hits);
    match desk.granted() {
        Ok(granted) => Json(desk.body(&granted)).into_response(),
        Err(refused) => refused.response(version, desk.now),
    }
}

/// Begins a sign-in by device code. Nobody has to type it: the user is taken to have signed in a little later.
pub fn device_code(service: &Service, tenant: &str, form: &Fields) -> Response {
    let hits = Hits::default();
    let desk = Desk::new(service, Version::V2, tenant, form, &hits);
    let scope = match desk.application().and_then(|()| desk.field("scope")) {
        Ok(scope) => scope,
        Err(refused) => return refused.response(Version::V2, desk.now),
    };
    if let Err(refused) = scope_audience(scope) {
        return refused.response(Version::V2, desk.now);
    }
    let page = format!("{}devicelogin", desk.base);
    Json(json!({
        "device_code": tickets::device(desk.key, scope, desk.now.own),
        "user_code": "SANDB0XPC",
        "verification_uri": page,
        "expires_in": desk.now.lifetime(DEVICE_LIFETIME_SECS),
        "interval": DEVICE_INTERVAL_SECS,
        "message": format!("To sign in, open the page {page} and enter the code SANDB0XPC to authenticate."),
    }))
    .into_response()
}

impl<'a> Desk<'a> {
    fn new(
        service: &'a Service,
        version: Version,
        tenant: &'a str,
        form: &'a Fields,
        hits: &'a Hits,
    ) -> Self {
        let Service { key, base, tickets, options, .. } = service;
        Desk { key, base, tickets, options, now: service.moment(), hits, version, tenant, form }
    }

    /// The body of a success. Version 1 spells its numbers as texts.
    fn body(&self, granted: &Granted) -> serde_json::Value {
        let told = self.now.lifetime(self.options.token_lifetime_secs);
        let audience = &granted.audience;
        let now = self.now.client.as_second();
        let mut body = match self.version {
            Version::V1 => json!({
                "token_type": "Bearer",
                "scope": "user_impersonation",
                "expires_in": told.to_string(),
                "ext_expires_in": told.to_string(),
                "expires_on": (now + i64::from(told)).to_string(),
                "not_before": now.to_string(),
                "resource": audience,
            }),
            Version::V2 => json!({
                "token_type": "Bearer",
                "scope": format!("{audience}/.default"),
                "expires_in": told,
                "ext_expires_in": told,
            }),
        };
        body["access_token"] = jwt::access(self, granted).into();
        if let Some(refresh) = &granted.refresh {
            body["refresh_token"] = refresh.ticket(self.key, self.now.own).into();
        }
        if granted.openid {
            body["id_token"] = jwt::id(self).into();
        }
        body
    }

    /// A field of the form that must be there.
    fn field(&self, name: &str) -> Result<&'a String, Refused> {
        self.form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            Refused::new(900144, format!("The request body must contain the following parameter: '{name}'."))
        })
    }

    /// Whether tenant and application are those of the sandbox.
    fn application(&self) -> Result<(), Refused> {
        if !self.tenant.eq_ignore_ascii_case(TENANT) {
            return Err(Refused::new(90002, format!("Tenant '{}' not found.", self.tenant)));
        }
        if !self.field("client_id")?.eq_ignore_ascii_case(CLIENT_ID) {
            return Err(Refused::new(
                700016,
                "Application with the given identifier was not found in the directory.",
            ));
        }
        Ok(())
    }

    /// What the form asks for, if it may have it.
    fn granted(&self) -> Result<Granted, Refused> {
        self.application()?;
        let grant = self.field("grant_type")?.as_str();
        let audience = self.audience(grant)?;
        let proved = self.client_proved()?;
        if let Some(refused) = refusal::by_fault(self.hits, grant) {
            return Err(refused);
        }
        let (caller, refresh) = match grant {
            "password" => {
                self.password()?;
                (USER, Some(Refresh::begin(false)))
            }
            "refresh_token" => (USER, Some(self.refreshed()?)),
            DEVICE_GRANT if self.version == Version::V2 => {
                self.device()?;
                (USER, Some(Refresh::begin(true)))
            }
            "client_credentials" if proved => (APPLICATION, None),
            "client_credentials" => {
                let message = "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.";
                return Err(Refused::new(7000218, message));
            }
            other => {
                let message = format!("The app requested an unsupported grant type '{other}'.");
                return Err(Refused::new(70003, message));
            }
        };
        let mfa = refresh.as_ref().is_some_and(|refresh| refresh.mfa);
        let wanted = self.wants("offline_access") || grant == "refresh_token" || self.version == Version::V1;
        let refresh = refresh.filter(|_| wanted && !self.hits.has(FaultKind::NoRefreshToken));
        let other = self.hits.has(FaultKind::WrongAudience);
        let audience = if other { OTHER_RESOURCE.to_owned() } else { audience };
        Ok(Granted { caller, audience, mfa, openid: caller == USER && self.wants("openid"), refresh })
    }

    /// Whether a word is in the scope; that of a device code was said when it was asked for.
    fn wants(&self, word: &str) -> bool {
        let code = self.form.get("device_code").and_then(|code| tickets::device_scope(self.key, code));
        let scopes = [self.form.get("scope").cloned(), code];
        scopes.iter().flatten().any(|scope| scope.split_ascii_whitespace().any(|one| one == word))
    }

    fn audience(&self, grant: &str) -> Result<String, Refused> {
        // Both were said before: with the device code, or when the refresh token was first given.
        let said = [DEVICE_GRANT, "refresh_token"].contains(&grant);
        match self.version {
            Version::V1 if said && !self.form.contains_key("resource") => Ok(RESOURCE.to_owned()),
            Version::V1 => self.field("resource").cloned(),
            Version::V2 if self.form.contains_key("resource") => {
                Err(Refused::new(901002, "The 'resource' request parameter is not supported."))
            }
            Version::V2 if said && !self.form.contains_key("scope") => Ok(RESOURCE.to_owned()),
            Version::V2 => scope_audience(self.field("scope")?),
        }
    }

    /// Whether the application proves itself, by secret or certificate; a wrong proof is an error.
    fn client_proved(&self) -> Result<bool, Refused> {
        let secret = self.form.get("client_secret");
        if secret.is_some_and(|secret| secret != CLIENT_SECRET) {
            return Err(Refused::new(7000215, "Invalid client secret provided."));
        }
        let Some(assertion) = self.form.get("client_assertion") else {
            return Ok(secret.is_some());
        };
        if self.field("client_assertion_type")? != assertion::TYPE {
            return Err(Refused::new(900144, "The client_assertion_type is not jwt-bearer."));
        }
        assertion::verify(assertion, self.base, self.tenant, self.now.client)?;
        Ok(true)
    }

    fn password(&self) -> Result<(), Refused> {
        if self.field("username")? != USERNAME || self.field("password")? != PASSWORD {
            let message = "Error validating credentials due to invalid username or password.";
            return Err(Refused::new(50126, message));
        }
        Ok(())
    }

    /// The successor of a refresh token.
    fn refreshed(&self) -> Result<Refresh, Refused> {
        let old = Refresh::read(self.key, self.field("refresh_token")?, self.now.own)?;
        let newest = self
            .tickets
            .used(&old)
            .map_err(|cause| Refused::new(90033, format!("The state folder cannot be written: {cause}")))?;
        if !newest && self.hits.has(FaultKind::RefreshReuseRefused) {
            let message =
                "The provided grant is not valid: the refresh token was replaced by one that has been used.";
            return Err(Refused::new(70000, message));
        }
        Ok(old.next())
    }

    fn device(&self) -> Result<(), Refused> {
        let code = self.field("device_code")?;
        let age = tickets::device_age(self.key, code, self.now.own)?;
        if self.tickets.polled_too_soon(code, self.now.client, DEVICE_INTERVAL_SECS) {
            return Err(Refused::slow_down());
        }
        if age < i64::from(self.options.device_sign_in_secs) {
            return Err(Refused::new(70016, "The user has not yet signed in with the code."));
        }
        Ok(())
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

#[cfg(test)]
mod tests;
