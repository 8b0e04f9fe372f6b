//! User name and password, version 1 endpoint (`resource`, not `scope`).

use super::Grant;
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::below;

pub(super) fn grant<'a>(
    options: &'a Options,
    tenant: &str,
    client_id: &'a str,
    username: &'a str,
    password: &'a Secret,
) -> Grant<'a> {
    Grant {
        url: below(&options.authority, [tenant, "oauth2", "token"]),
        form: vec![
            ("grant_type", "password".into()),
            ("client_id", client_id.into()),
            ("resource", options.resource.as_str().into()),
            ("username", username.into()),
            ("password", password.expose().into()),
        ],
    }
}
