//! Sign-in values: environment first, then the pipeline file.

use super::Environment;
use super::file::{AuthKind, AuthSection};
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;
use crate::source::Auth;

/// # Errors
/// [`Kind::Config`] that names every place where a missing value was looked for.
pub(super) fn auth(section: &AuthSection, environment: &Environment) -> Result<Auth> {
    let value = |key: &str, variable: &str, in_file: Option<&str>| -> Result<String> {
        if let Some(value) = environment.get(variable) {
            return Ok(value.to_owned());
        }
        let path = format!("source.auth.{key}");
        match in_file {
            Some(text) => environment.expand(&path, text),
            None => Err(Error::new(Kind::Config, format!("`{path}` is missing"))
                .with(
                    "looked for",
                    format!("the environment variable {variable}, then `{path}` in the pipeline file"),
                )
                .hint(format!(
                    "set {variable}, or write {key} = \"${{env:{variable}}}\" below [source.auth]"
                ))),
        }
    };
    let tenant = value("tenant", "PARTNER_CENTER_TENANT_ID", section.tenant.as_deref())?;
    let client_id = value("client_id", "PARTNER_CENTER_CLIENT_ID", section.client_id.as_deref())?;
    Ok(match section.kind {
        AuthKind::UsernamePassword => Auth::UsernamePassword {
            tenant,
            client_id,
            username: value("username", "PARTNER_CENTER_USERNAME", section.username.as_deref())?,
            password: Secret::new(value(
                "password",
                "PARTNER_CENTER_PASSWORD",
                section.password.as_ref().map(Secret::expose),
            )?),
        },
        AuthKind::ClientSecret => Auth::ClientSecret {
            tenant,
            client_id,
            client_secret: Secret::new(value(
                "client_secret",
                "PARTNER_CENTER_CLIENT_SECRET",
                section.client_secret.as_ref().map(Secret::expose),
            )?),
        },
    })
}
