//! An application's secret, version 2 endpoint (`scope`, not `resource`).

use super::{Auth, Grant};
use crate::secret::Secret;
use crate::source::Options;
use crate::source::http::below;

pub(super) fn grant<'a>(auth: &'a Auth, options: &Options, client_secret: &'a Secret) -> Grant<'a> {
    Grant {
        url: below(&options.authority, [auth.tenant.as_str(), "oauth2", "v2.0", "token"]),
        form: vec![
            ("grant_type", "client_credentials".into()),
            ("client_id", auth.client_id.as_str().into()),
            ("scope", auth.scope(options).into()),
            ("client_secret", client_secret.expose().into()),
        ],
    }
}
