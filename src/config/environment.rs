//! The process environment, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, Kind, Result};
use crate::lake::Location;
use crate::secret::Secret;

/// The environment variables of one process. Values may be secrets: `Debug` tells names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process. Those that are not Unicode are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let unicode = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Environment(unicode.collect())
    }

    /// The program as it was called, so that a printed command can be typed as it stands.
    #[must_use]
    pub fn program() -> String {
        std::env::args().next().unwrap_or_else(|| "payoutlake".to_owned())
    }

    /// A given set, for tests and programs that embed payoutlake.
    pub fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Environment(variables.into_iter().collect())
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A path or URL of a lake, with what the environment says of storages: object_store's own names.
    #[must_use]
    pub fn location(&self, url: &str) -> Location {
        let is_storage =
            |name: &str| ["AZURE_", "AWS_", "GOOGLE_"].iter().any(|start| name.starts_with(start));
        let named = self.0.iter().filter(|(name, value)| is_storage(name) && !value.is_empty());
        // Azure's own hosts (App Service, Functions, Container Apps) tell where tokens are in a name without the prefix.
        let endpoint =
            self.get("IDENTITY_ENDPOINT").map(|url| ("azure_identity_endpoint".to_owned(), Secret::new(url)));
        let options = named.map(|(name, value)| (name.clone(), Secret::new(value.as_str())));
        Location::new(url, options.chain(endpoint))
    }

    /// Where state that outlives a run is kept on this machine: `$XDG_STATE_HOME/payoutlake`, or
    /// `~/.local/state/payoutlake`; `None` without a home.
    #[must_use]
    pub fn state_dir(&self) -> Option<PathBuf> {
        let xdg = self.get("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || self.get("HOME").map(|home| PathBuf::from(home).join(".local").join("state"));
        xdg.or_else(home).map(|state| state.join("payoutlake"))
    }

    /// Replaces `${env:NAME}` and `${file:path}` in a value of a pipeline file.
    ///
    /// # Errors
    /// [`Kind::Config`] when a variable is unset, a file cannot be read, or a reference is malformed.
    pub fn expand(&self, key: &str, value: &str) -> Result<String> {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(start) = rest.find("${") {
            out.push_str(&rest[..start]);
            let after = &rest[start + 2..];
            let Some(end) = after.find('}') else {
                return Err(malformed(key).hint("close the reference with '}'"));
            };
            out.push_str(&self.reference(key, &after[..end])?);
            rest = &after[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn reference(&self, key: &str, reference: &str) -> Result<String> {
        match reference.split_once(':') {
            Some(("env", name)) => self.get(name).map(str::to_owned).ok_or_else(|| {
                Error::new(Kind::Config, format!("the environment variable {name} is not set"))
                    .with("key", key)
                    .hint(format!("set it: export {name}=..."))
            }),
            Some(("file", path)) => {
                let text = std::fs::read_to_string(path).map_err(|cause| {
                    Error::new(Kind::Config, "a file that a value refers to cannot be read")
                        .with("key", key)
                        .with("file", path)
                        .caused_by(cause)
                })?;
                // A file written by an editor or a secret store ends with a line end that is no part of the value.
                Ok(text.trim_end_matches(['\r', '\n']).to_owned())
            }
            _ => Err(malformed(key).hint("write ${env:NAME} or ${file:path}")),
        }
    }
}

fn malformed(key: &str) -> Error {
    Error::new(Kind::Config, "a reference in a value is malformed").with("key", key)
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_replaced_and_missing_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        let environment = Environment::of([("TENANT".to_owned(), "t-1".to_owned())]);
        assert_eq!(environment.expand("k", "a-${env:TENANT}-b").unwrap(), "a-t-1-b");
        assert_eq!(environment.expand("k", &format!("${{file:{}}}", file.display())).unwrap(), "s3cret");
        assert_eq!(environment.expand("k", "plain $ {x}").unwrap(), "plain $ {x}");
        for bad in ["${env:NOPE}", "${env:TENANT", "${TENANT}", "${file:/no/such/file}"] {
            let error = environment.expand("source.auth.password", bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Config, "{bad}");
            assert!(error.to_string().contains("source.auth.password"), "{error}");
        }
        assert!(!format!("{environment:?}").contains("t-1"), "values are not printed");
    }
}
