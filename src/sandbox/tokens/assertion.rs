//! An application that proves itself by a JWT signed with its certificate (RFC 7523).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::digest;
use ring::signature::{self, KeyPair, RsaKeyPair, UnparsedPublicKey};
use serde_json::Value;
use url::Url;

use super::refusal::Refused;
use super::{CERTIFICATE_PEM, CLIENT_ID, PRIVATE_KEY_PEM};

pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Seconds by which two clocks may differ, as Entra allows.
const SKEW_SECS: i64 = 300;

/// # Errors
/// The refusal that Entra has for what is wrong.
pub fn verify(assertion: &str, base: &Url, tenant: &str, now: Timestamp) -> Result<(), Refused> {
    let bad = || Refused::new(700027, "Client assertion failed signature validation.");
    let (signed, signature) = assertion.rsplit_once('.').ok_or_else(bad)?;
    let (header, claims) = signed.split_once('.').ok_or_else(bad)?;
    let (header, claims) = (json(header).ok_or_else(bad)?, json(claims).ok_or_else(bad)?);
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| bad())?;
    if !names_certificate(&header) || !is_signed(&header, signed, &signature) {
        return Err(bad());
    }
    if claims["iss"] != CLIENT_ID || claims["sub"] != CLIENT_ID {
        let message = "Client assertion application identifier doesn't match 'client_id' parameter.";
        return Err(Refused::new(700021, message));
    }
    let ends = ["oauth2/v2.0/token", "oauth2/token", "v2.0"];
    let audience = claims["aud"].as_str().unwrap_or_default();
    if !ends.iter().any(|end| audience.eq_ignore_ascii_case(&format!("{base}{tenant}/{end}"))) {
        let message = "Client assertion audience claim does not match Realm issuer.";
        return Err(Refused::new(700023, message));
    }
    let second = |name: &str| claims[name].as_i64();
    let now = now.as_second();
    let early = second("nbf").is_some_and(|from| from > now + SKEW_SECS);
    if early || second("exp").is_none_or(|until| until < now - SKEW_SECS) {
        return Err(Refused::new(700024, "Client assertion is not within its valid time range."));
    }
    Ok(())
}

fn json(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Whether the header names the certificate of the sandbox by one of its thumbprints.
fn names_certificate(header: &Value) -> bool {
    let certificate = der(CERTIFICATE_PEM);
    let thumbprint = |algorithm| URL_SAFE_NO_PAD.encode(digest::digest(algorithm, &certificate));
    header["x5t#S256"] == thumbprint(&digest::SHA256)
        || header["x5t"] == thumbprint(&digest::SHA1_FOR_LEGACY_USE_ONLY)
}

fn is_signed(header: &Value, text: &str, signature: &[u8]) -> bool {
    let algorithm = match header["alg"].as_str() {
        Some("RS256") => &signature::RSA_PKCS1_2048_8192_SHA256,
        Some("PS256") => &signature::RSA_PSS_2048_8192_SHA256,
        _ => return false,
    };
    RsaKeyPair::from_pkcs8(&der(PRIVATE_KEY_PEM)).is_ok_and(|pair| {
        UnparsedPublicKey::new(algorithm, pair.public_key().as_ref())
            .verify(text.as_bytes(), signature)
            .is_ok()
    })
}

/// The bytes of a PEM block.
pub fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap_or_default()
}
