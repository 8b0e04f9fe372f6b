//! An application's certificate: it signs a short statement of who it is, and nothing secret goes over the wire.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use p12_keystore::Pkcs12Archive;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::KeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use serde_json::json;
use uuid::Uuid;
use x509_parser::pem::Pem;

use super::{Auth, Grant};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::below;

/// Seconds that a statement is good for: two clocks may differ by some minutes.
const LIFE_SECS: i64 = 600;

/// A certificate with its private key.
#[derive(Clone)]
pub struct Certificate {
    key: Arc<KeyPair>,
    /// The certificate itself, in DER.
    der: Vec<u8>,
    not_after: Timestamp,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate(until {})", self.not_after)
    }
}

impl Certificate {
    /// Reads a PEM file (certificate and unencrypted key) or a PFX file.
    ///
    /// # Errors
    /// `Config` when it cannot be read, the password is wrong, or there is no RSA key with its certificate in it.
    pub fn read(path: &Path, password: Option<&Secret>) -> Result<Certificate> {
        let bytes = std::fs::read(path).map_err(|cause| {
            Error::new(Kind::Config, "the certificate cannot be read")
                .hint("Name a PEM file with certificate and key, or a PFX file, in source.auth.certificate.")
                .caused_by(cause)
        });
        bytes
            .and_then(|bytes| Self::parse(&bytes, password))
            .map_err(|error| error.with("certificate", path.display()))
    }

    /// # Errors
    /// As [`Certificate::read`].
    pub fn parse(bytes: &[u8], password: Option<&Secret>) -> Result<Certificate> {
        let is_pem = bytes.windows(11).any(|part| part == b"-----BEGIN ");
        let (keys, certificates) = if is_pem { from_pem(bytes)? } else { from_pfx(bytes, password)? };
        let key = match &keys[..] {
            [] => return Err(wrong("has no private key")),
            [key, ..] => key,
        };
        // A chain may stand there in any order: ours is the one of the key.
        for der in certificates {
            let Ok((_, parsed)) = x509_parser::parse_x509_certificate(&der) else { continue };
            if parsed.public_key().subject_public_key.data.as_ref() == key.public_key().as_ref() {
                let not_after =
                    Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
                return Ok(Certificate { key: key.clone(), der: der.clone(), not_after });
            }
        }
        Err(wrong("does not hold the certificate that belongs to its key"))
    }

    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The signed statement, for this endpoint and for ten minutes.
    fn assertion(&self, client_id: &str, audience: &str, now: Timestamp) -> Result<String> {
        let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let thumb = |algorithm| URL_SAFE_NO_PAD.encode(digest(algorithm, &self.der));
        let header = json!({
            "alg": "RS256",
            "typ": "JWT",
            "x5t#S256": thumb(&SHA256),
            "x5t": thumb(&SHA1_FOR_LEGACY_USE_ONLY),
        });
        let now = now.as_second();
        let claims = json!({
            "aud": audience,
            "iss": client_id,
            "sub": client_id,
            "jti": Uuid::new_v4().to_string(),
            "iat": now,
            "nbf": now,
            "exp": now + LIFE_SECS,
        });
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| Error::new(Kind::Bug, "the certificate's key does not sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Private keys, and certificates in DER.
type Found = (Vec<Arc<KeyPair>>, Vec<Vec<u8>>);

fn from_pem(bytes: &[u8]) -> Result<Found> {
    let (mut keys, mut certificates) = (Vec::new(), Vec::new());
    if bytes.windows(10).any(|part| part == b",ENCRYPTED") {
        return Err(encrypted());
    }
    for part in Pem::iter_from_buffer(bytes) {
        let part = part.map_err(|_| wrong("is not a sound PEM file"))?;
        match part.label.as_str() {
            "CERTIFICATE" => certificates.push(part.contents),
            "PRIVATE KEY" => keys.push(key(KeyPair::from_pkcs8(&part.contents))?),
            "RSA PRIVATE KEY" => keys.push(key(KeyPair::from_der(&part.contents))?),
            "ENCRYPTED PRIVATE KEY" => return Err(encrypted()),
            "EC PRIVATE KEY" => return Err(wrong("has an elliptic-curve key; Microsoft Entra wants RSA")),
            _ => {}
        }
    }
    Ok((keys, certificates))
}

fn from_pfx(bytes: &[u8], password: Option<&Secret>) -> Result<Found> {
    let archive =
        Pkcs12Archive::from_pkcs12(bytes, password.map_or("", Secret::expose)).map_err(|cause| {
            // Whether the password or the file is wrong cannot be told apart.
            wrong("is no PEM file, and no PFX file that this password opens")
                .hint("Check PARTNER_CENTER_CERTIFICATE_PASSWORD (or source.auth.certificate_password).")
                .caused_by(cause)
        })?;
    let keys = archive.keys.iter().map(|bag| key(KeyPair::from_pkcs8(bag.key.as_der())));
    let certificates = archive.certs.iter().map(|bag| bag.cert.as_der().to_vec()).collect();
    Ok((keys.collect::<Result<_>>()?, certificates))
}

fn key(read: std::result::Result<KeyPair, ring::error::KeyRejected>) -> Result<Arc<KeyPair>> {
    read.map(Arc::new).map_err(|why| {
        wrong("has a private key that cannot be used")
            .with("why", why)
            .hint("Use an RSA key of 2048 to 4096 bits.")
    })
}

fn encrypted() -> Error {
    wrong("has an encrypted private key")
        .hint("Use a PFX file with its password, or take the encryption off: openssl pkey -in key.pem -out plain.pem")
}

fn wrong(what: &str) -> Error {
    Error::new(Kind::Config, format!("the certificate file {what}"))
}

pub(super) fn grant<'a>(auth: &'a Auth, options: &Options, certificate: &Certificate) -> Result<Grant<'a>> {
    let now = auth.now();
    if certificate.not_after <= now {
        return Err(Error::new(Kind::Auth, "the certificate has expired").with("at", certificate.not_after).hint(
            "Upload a new certificate to the app registration, and give it to payoutlake in source.auth.certificate.",
        ));
    }
    let url = below(&options.authority, [auth.tenant.as_str(), "oauth2", "v2.0", "token"]);
    let assertion = certificate.assertion(&auth.client_id, url.as_str(), now)?;
    let form = vec![
        ("grant_type", "client_credentials".into()),
        ("client_id", auth.client_id.as_str().into()),
        ("scope", auth.scope(options).into()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
        ("client_assertion", assertion.into()),
    ];
    Ok(Grant { url, form })
}
