//! An application's secret, version 2 endpoint (`scope`, not `resource`).

use super::Grant;
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::below;

pub(super) fn grant<'a>(
    options: &Options,
    tenant: &str,
    client_id: &'a str,
    client_secret: &'a Secret,
) -> Grant<'a> {
    let scope = format!("{}/.default", options.resource.trim_end_matches('/'));
    Grant {
        url: below(&options.authority, [tenant, "oauth2", "v2.0", "token"]),
        form: vec![
            ("grant_type", "client_credentials".into()),
            ("client_id", client_id.into()),
            ("scope", scope.into()),
            ("client_secret", client_secret.expose().into()),
        ],
    }
}
