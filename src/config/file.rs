//! The pipeline file as it is written: TOML, `version = 1`, unknown keys are errors.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use jiff::civil::Date;
use serde::Deserialize;

use super::nearest;
use crate::error::{Error, Kind, Result};
use crate::load::publish::Publish;
use crate::model::Memory;
use crate::normalise::{Contract, OnColumn, OnRow, OnType, Treatment};
use crate::pipeline::{Cleanup, Raw, Tier, Wait};
use crate::secret::Secret;
use crate::{decode, engine, load, sandbox, source};

/// The format of pipeline files that this build reads.
const VERSION: u32 = 1;

/// A file in `pipelines/`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineFile {
    /// Format of the file: 1.
    pub version: u32,
    /// Alias of the identity that asks; a folder name in the lake. Rows of two accounts never mix.
    pub account: String,
    /// A path or URL.
    pub lake: String,
    /// What the lake's storage must know, by object_store's names in lower case; wins over the environment. Secrets are
    /// references: `${env:NAME}`, `${file:path}`.
    #[serde(default)]
    pub storage: BTreeMap<String, String>,
    pub source: SourceSection,
    /// What to export, in this order.
    pub datasets: Vec<DatasetSection>,
    #[serde(default)]
    pub publish: Publish,
    /// Without it files are kept, unless personal data is not.
    #[serde(default)]
    pub raw: Option<Raw>,
    #[serde(default)]
    pub cleanup: Cleanup,
    /// A folder with schema files of your own, in the layout of `schemas/`.
    #[serde(default)]
    pub schemas: Option<PathBuf>,
    /// What becomes of columns, cells and rows that no schema expects, in all datasets.
    #[serde(default)]
    pub contract: ContractSection,
    /// The key of `hash` in `[datasets.personal]`.
    #[serde(default)]
    pub personal: PersonalSection,
    #[serde(default)]
    pub wait: Wait,
    #[serde(default)]
    pub limits: LimitsSection,
    #[serde(default)]
    pub decode: decode::Options,
    #[serde(default)]
    pub load: load::Options,
    #[serde(default)]
    pub engine: engine::Options,
}

/// What a command may use of the machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// `"512 MiB"`, `"2 GiB"`.
    pub memory: Memory,
}

/// Where the exports come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSection {
    pub kind: SourceKind,
    /// How to sign in. The sandbox does it by itself when this is left out.
    #[serde(default)]
    pub auth: Option<AuthSection>,
    /// Hosts, time-outs, retries, polling.
    #[serde(default)]
    pub api: Option<source::Options>,
    /// The embedded imitation; only with `kind = "sandbox"`.
    #[serde(default)]
    pub sandbox: Option<sandbox::Options>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// The real service.
    PartnerCenter,
    /// The embedded sandbox: no account, no network.
    Sandbox,
}

/// Values may be references: `${env:NAME}`, `${file:path}`. An environment variable `PARTNER_CENTER_*` wins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSection {
    pub kind: AuthKind,
    pub tenant: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    /// `YYYY-MM-DD`: Entra does not tell it. It is told as a warning before.
    pub client_secret_expires_on: Option<Date>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// 1 or 2: the endpoint for user and password.
    pub version: Option<u8>,
    /// A first refresh token; the ones that follow live in the store.
    pub refresh_token: Option<Secret>,
    /// Path of a PEM or PFX file.
    pub certificate: Option<String>,
    pub certificate_password: Option<Secret>,
    pub access_token: Option<Secret>,
    /// A program that prints a token, and its arguments.
    pub command: Option<Vec<String>>,
    /// Seconds that a program of this section may take.
    pub timeout_secs: Option<u64>,
    /// Instead of `{resource}/.default`.
    pub scope: Option<String>,
    /// Days before something expires from which on it is told.
    pub warn_days: Option<u32>,
    pub store: Option<StoreSection>,
}

/// Pipeline files and command lines spell them alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AuthKind {
    #[default]
    DeviceCode,
    RefreshToken,
    ClientSecret,
    Certificate,
    UsernamePassword,
    AccessToken,
    TokenCommand,
}

impl AuthKind {
    /// As pipeline files spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AuthKind::DeviceCode => "device-code",
            AuthKind::RefreshToken => "refresh-token",
            AuthKind::ClientSecret => "client-secret",
            AuthKind::Certificate => "certificate",
            AuthKind::UsernamePassword => "username-password",
            AuthKind::AccessToken => "access-token",
            AuthKind::TokenCommand => "token-command",
        }
    }
}

/// Where refresh tokens live.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    pub kind: StoreKind,
    /// For a file that is mounted; without it the file is payoutlake's own.
    pub path: Option<String>,
    /// A program that prints the stored text.
    pub get: Option<Vec<String>>,
    /// A program that reads the text to store from its standard input.
    pub set: Option<Vec<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    File,
    Command,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetSection {
    /// The name of a dataset: `transaction_history`.
    pub name: String,
    /// How many months back are pulled by every run, the current one included. Only for windowed datasets.
    #[serde(default = "twelve")]
    pub months: u32,
    /// How many months back are pulled how often, instead of `months`. A month belongs to the most frequent tier that
    /// reaches it; one that no export covers is due at once.
    #[serde(default)]
    pub lookback: Option<Vec<Tier>>,
    /// Neighbouring months that share one export.
    #[serde(default = "three")]
    pub months_per_export: u32,
    /// What rows must be, by the names of their columns. Such a pipeline covers nothing: its rows merge by key.
    #[serde(default)]
    pub filter: BTreeMap<String, toml::Value>,
    /// Other words than those of the whole file.
    #[serde(default)]
    pub contract: ContractSection,
    /// What is done to columns of personal data, by their names; `default` is about all that the schema marks.
    #[serde(default)]
    pub personal: BTreeMap<String, Treatment>,
}

/// How personal data is hashed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonalSection {
    /// A reference: `${env:PAYOUTLAKE_HASH_KEY}`.
    pub key: Option<Secret>,
}

/// A contract as far as it is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractSection {
    /// A column that no schema version knows: `evolve`, `freeze`, `quarantine`, `discard`.
    pub columns: Option<OnColumn>,
    /// A cell that does not fit its type: `quarantine`, `null`, `freeze`, `discard`.
    pub types: Option<OnType>,
    /// A row without a value that every row has, or a record that is none: `quarantine`, `freeze`, `discard`.
    pub rows: Option<OnRow>,
}

impl ContractSection {
    /// These words, and those of `other` where nothing is said.
    #[must_use]
    pub fn over(self, other: Contract) -> Contract {
        Contract {
            columns: self.columns.unwrap_or(other.columns),
            types: self.types.unwrap_or(other.types),
            rows: self.rows.unwrap_or(other.rows),
        }
    }
}

fn twelve() -> u32 {
    12
}

fn three() -> u32 {
    3
}

impl PipelineFile {
    /// # Errors
    /// [`Kind::Config`] with file, line and column, and the nearest known key for an unknown one.
    pub fn read(path: &Path) -> Result<PipelineFile> {
        let text = std::fs::read_to_string(path).map_err(|cause| {
            Error::new(Kind::Config, "the pipeline file cannot be read")
                .with("file", path.display())
                .hint("name an existing file; `pipelines/quickstart.toml` is one to try")
                .caused_by(cause)
        })?;
        Self::parse(&text, path)
    }

    /// # Errors
    /// As [`PipelineFile::read`].
    pub fn parse(text: &str, path: &Path) -> Result<PipelineFile> {
        let file: PipelineFile = toml::from_str(text).map_err(|cause| wrong(text, path, &cause))?;
        if file.version != VERSION {
            return Err(Error::new(
                Kind::Config,
                format!("pipeline file version {} is not known", file.version),
            )
            .with("file", path.display())
            .hint(format!("this build reads `version = {VERSION}`; update payoutlake for a newer one")));
        }
        Ok(file)
    }
}

/// `invalid type: string "hunter2", expected u32` without what stands in the file.
fn without_values(message: &str) -> String {
    match (message.split_once(": "), message.rsplit_once(", expected ")) {
        (Some((what, _)), Some((_, expected))) if what.starts_with("invalid") => {
            format!("{what}, expected {expected}")
        }
        _ => message.to_owned(),
    }
}

fn wrong(text: &str, path: &Path, cause: &toml::de::Error) -> Error {
    let message = without_values(cause.message().lines().next().unwrap_or("the file is not valid"));
    // The hint lists what is known.
    let short = message.split(", expected one of").next().unwrap_or(&message);
    let mut error = Error::new(Kind::Config, format!("the pipeline file is wrong: {short}"));
    error = error.with("file", path.display());
    if let Some(span) = cause.span() {
        let before = &text[..span.start.min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        error = error.with("line", line).with("column", column);
        // The key alone: the value may be a password.
        if let Some((key, _)) = text.lines().nth(line - 1).and_then(|shown| shown.split_once('=')) {
            error = error.with("key", key.trim());
        }
    }
    match nearest::suggestion(&message) {
        Some(hint) => error.hint(hint),
        None => error.hint("compare it with `pipelines/partner-center.toml`, which explains every key"),
    }
}

/// # Errors
/// [`Kind::Usage`] when something stands at a path, unless it may be replaced.
pub fn check_free(path: &Path, replace: bool) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) if !replace => Err(Error::new(Kind::Usage, "the file is there already")
            .with("file", path.display())
            .hint("Give another name, or --force to replace it.")),
        _ => Ok(()),
    }
}

/// Writes a file in one step: it is whole or not there.
///
/// # Errors
/// [`Kind::Usage`] as [`check_free`], [`Kind::Destination`] when it cannot be written.
pub fn write_file(path: &Path, text: &str, replace: bool) -> Result<()> {
    check_free(path, replace)?;
    let write = || -> std::io::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        // A temporary file is for its owner alone; there is no secret in this one.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(".payoutlake-").tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        if replace {
            file.persist(path)?
        } else {
            file.persist_noclobber(path)?
        };
        Ok(())
    };
    write().map_err(|cause| {
        Error::new(Kind::Destination, "the pipeline file cannot be written")
            .with("file", path.display())
            .caused_by(cause)
            .hint("Name a place that this user may write to.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/folder/my.toml");
        write_file(&path, "first", false).unwrap();
        assert_eq!(write_file(&path, "second", false).unwrap_err().kind(), Kind::Usage);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first");
        write_file(&path, "third", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third");
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        assert_eq!(write_file(dir.path(), "x", true).unwrap_err().kind(), Kind::Destination);
    }
}
