//! User name and password. Version 1 wants a `resource`, version 2 a `scope`.

use super::{Auth, Grant};
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::below;

/// Which endpoint of the sign-in service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// `/oauth2/token`, as Microsoft's own sample for payouts.
    #[default]
    V1,
    /// `/oauth2/v2.0/token`.
    V2,
}

pub(super) fn grant<'a>(
    auth: &'a Auth,
    options: &'a Options,
    username: &'a str,
    password: &'a Secret,
    version: Version,
) -> Grant<'a> {
    let tenant = auth.tenant.as_str();
    let (url, what) = match version {
        Version::V1 => (
            below(&options.authority, [tenant, "oauth2", "token"]),
            ("resource", options.resource.as_str().into()),
        ),
        Version::V2 => (
            below(&options.authority, [tenant, "oauth2", "v2.0", "token"]),
            ("scope", auth.scope(options).into()),
        ),
    };
    Grant {
        url,
        form: vec![
            ("grant_type", "password".into()),
            ("client_id", auth.client_id.as_str().into()),
            what,
            ("username", username.into()),
            ("password", password.expose().into()),
        ],
    }
}

/// Why this kind is told to be legacy.
pub(super) const LEGACY: &str = "user and password is a legacy sign-in: Microsoft enforces multi-factor authentication \
    for Partner Center from 1 April 2026";
