//! Access tokens and id tokens. They look like those of Entra, so that a client can show what is in them; the signature
//! is the sandbox's own, and `sandbox_exp` is their end by its own clock.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::faults::FaultKind;
use super::{APPLICATION, CLIENT_ID, Caller, Desk, Granted, Key, RESOURCE, TENANT, USER, USERNAME, Version};

/// The object ids of the user and of the application in the directory.
const USER_OBJECT: &str = "a7c0b1d2-3e4f-4a5b-8c6d-7e8f90a1b2c3";
const APPLICATION_OBJECT: &str = "b8d1c2e3-4f50-4b6c-9d7e-8f90a1b2c3d4";

/// The role of an application; Microsoft publishes none for payouts, so the name is made up.
const ROLE: &str = "Payouts.Read";

/// The access token of a request.
pub fn access(desk: &Desk<'_>, granted: &Granted) -> String {
    let lifetime = desk.options.token_lifetime_secs;
    let early = desk.hits.has(FaultKind::TokenDiesEarly);
    let own = desk.now.own.as_second() + i64::from(if early { lifetime / 10 } else { lifetime });
    let mut claims = common(desk, &granted.audience, lifetime);
    let (id, version) = match desk.version {
        Version::V1 => ("appid", "1.0"),
        Version::V2 => ("azp", "2.0"),
    };
    claims[id] = CLIENT_ID.into();
    claims["ver"] = version.into();
    claims["idtyp"] = granted.caller.into();
    claims["sandbox_exp"] = own.into();
    if granted.caller == USER {
        let methods: &[&str] = if granted.mfa { &["pwd", "mfa"] } else { &["pwd"] };
        claims["oid"] = USER_OBJECT.into();
        claims["amr"] = json!(methods);
        claims["scp"] = "user_impersonation".into();
        claims[if desk.version == Version::V1 { "upn" } else { "preferred_username" }] = USERNAME.into();
    } else {
        claims["oid"] = APPLICATION_OBJECT.into();
        claims["roles"] = json!([ROLE]);
    }
    signed(desk.key, &claims)
}

/// The id token: who has signed in.
pub fn id(desk: &Desk<'_>) -> String {
    let mut claims = common(desk, CLIENT_ID, desk.options.token_lifetime_secs);
    claims["ver"] = "2.0".into();
    claims["oid"] = USER_OBJECT.into();
    claims["preferred_username"] = USERNAME.into();
    claims["name"] = "Payouts Reader".into();
    signed(desk.key, &claims)
}

fn common(desk: &Desk<'_>, audience: &str, lifetime_secs: u32) -> Value {
    let now = desk.now.client.as_second();
    json!({
        "aud": audience,
        "iss": format!("{}{TENANT}/v2.0", desk.base),
        "tid": TENANT,
        "sub": "sandbox-subject",
        "iat": now,
        "nbf": now,
        "exp": now + i64::from(desk.now.lifetime(lifetime_secs)),
        "uti": Uuid::new_v4().simple().to_string(),
    })
}

fn signed(key: &Key, claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "BLAKE3", "kid": "sandbox"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(&text));
    format!("{text}.{signature}")
}

/// The claims of a token that this sandbox signed.
pub fn claims(key: &Key, token: &str) -> Option<Value> {
    let (text, signature) = token.rsplit_once('.')?;
    let signature = String::from_utf8(URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let (_, payload) = text.split_once('.')?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok().filter(|_| key.verifies(text, &signature))?;
    serde_json::from_slice(&payload).ok()
}

/// The caller behind an `Authorization` header, if its token is good for the API now, by the sandbox's clock.
#[must_use]
pub fn caller(key: &Key, header: &str, now: Timestamp) -> Option<Caller> {
    let (scheme, token) = header.split_once(' ')?;
    let claims = claims(key, token)?;
    let caller = [USER, APPLICATION].into_iter().find(|caller| claims["idtyp"] == *caller)?;
    let good = scheme.eq_ignore_ascii_case("bearer")
        && claims["aud"] == RESOURCE
        && now.as_second() < claims["sandbox_exp"].as_i64()?;
    good.then(|| caller.to_owned())
}
