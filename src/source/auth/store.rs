//! Where a refresh token lives between two runs: a file of ours, a mounted file, or a pair of commands.
//!
//! Each refresh may give a new token and end the old one, so what comes is written back at once. Others may do the same
//! at the same moment. What decides is the order of the tokens ([`Stored::is_newer_than`]), never who writes last.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::claims::Who;
use super::command::Argv;
use super::{Auth, expiry};
use crate::error::{Error, Kind, Result};
use crate::model::Expiry;
use crate::secret::Secret;

/// The format of what is stored.
const VERSION: u32 = 1;

/// A place for one refresh token.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file of payoutlake's own, readable by its user alone, in a folder of its own.
    Own(PathBuf),
    /// A file that somebody else mounts and protects.
    Mounted(PathBuf),
    /// Two programs: `get` prints the text, `set` reads it from standard input.
    Commands { get: Argv, set: Argv },
    /// No place yet: the client alone knows the token, until [`Client::keep_in`](crate::source::Client::keep_in).
    Memory,
}

/// A refresh token with what is known of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stored {
    version: u32,
    /// For which sign-in service and application it is good.
    pub(super) authority: String,
    pub(super) tenant: String,
    pub(super) client_id: String,
    pub(super) who: Option<Who>,
    #[serde(serialize_with = "expose")]
    pub(super) refresh_token: Secret,
    /// When a person signed in, or a first token was taken over.
    pub(super) signed_in_at: Timestamp,
    /// Counts the tokens since then.
    pub(super) generation: u64,
    pub(super) obtained_at: Timestamp,
    pub(super) last_used_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    /// Whether the service did not tell the expiry.
    pub(super) expiry_assumed: bool,
    /// A digest of the first token that was given by the configuration: another one there means that a person changed it.
    #[serde(default)]
    pub(super) given: Option<String>,
}

fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// Stands where a sign-in was removed: a secret store may not take an empty text.
const SIGNED_OUT: &str = r#"{"version":1,"signed_out":true}"#;

impl Stored {
    /// The first token of a sign-in.
    pub(super) fn first(auth: &Auth, authority: &str, token: Secret) -> Stored {
        let now = auth.now();
        Stored {
            version: VERSION,
            authority: authority.to_owned(),
            tenant: auth.tenant.clone(),
            client_id: auth.client_id.clone(),
            who: None,
            refresh_token: token,
            signed_in_at: now,
            generation: 0,
            obtained_at: now,
            last_used_at: now,
            expires_at: None,
            expiry_assumed: true,
            given: None,
        }
    }

    /// Later sign-ins win; of one sign-in the later token. Clocks of two hosts are compared for sign-ins only.
    pub(super) fn is_newer_than(&self, other: &Stored) -> bool {
        (self.signed_in_at, self.generation) > (other.signed_in_at, other.generation)
    }

    pub(super) fn is_same_token(&self, other: &Stored) -> bool {
        self.refresh_token.expose() == other.refresh_token.expose()
    }

    /// # Errors
    /// `Auth` when it is good for another application, tenant or sign-in service.
    fn check(&self, auth: &Auth, store: &Store) -> Result<()> {
        let same = |a: &str, b: &str| a.is_empty() || a.eq_ignore_ascii_case(b);
        if same(&self.tenant, &auth.tenant) && same(&self.client_id, &auth.client_id) {
            return Ok(());
        }
        Err(Error::new(Kind::Auth, "the stored sign-in belongs to another tenant or application")
            .with("store", store)
            .with("stored", format!("{} in {}", self.client_id, self.tenant))
            .with("wanted", format!("{} in {}", auth.client_id, auth.tenant))
            .hint(format!("Sign in again: {}", auth.login)))
    }
}

impl std::fmt::Display for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Store::Own(path) | Store::Mounted(path) => write!(f, "{}", path.display()),
            Store::Commands { get, set } => write!(f, "commands {} and {}", get.program(), set.program()),
            Store::Memory => f.write_str("memory"),
        }
    }
}

impl Store {
    /// The file of an account in `folder`. Its name is the same for the same sign-in service, tenant, application and alias.
    #[must_use]
    pub fn own(folder: &Path, authority: &str, tenant: &str, client_id: &str, account: &str) -> Store {
        let parts = [authority, tenant, client_id, account].map(str::to_ascii_lowercase);
        let digest = blake3::hash(parts.join("\n").as_bytes()).to_hex();
        Store::Own(folder.join(format!("{account}-{}.json", &digest[..16])))
    }

    /// The token that stands there; `None` when nobody has signed in.
    ///
    /// # Errors
    /// `Auth` when it cannot be read, others than its user can read it, or it belongs to another application.
    pub(super) async fn read(&self, auth: &Auth) -> Result<Option<Stored>> {
        let text = match self {
            Store::Own(path) => check_mode(path).and_then(|()| read_file(path))?,
            Store::Mounted(path) => read_file(path)?,
            Store::Commands { get, .. } => Some(get.run(None).await.map_err(|error| {
                error.hint(format!("If nobody has signed in yet: {}. Otherwise try it by hand.", auth.login))
            })?),
            Store::Memory => None,
        };
        let Some(text) = text.as_ref().map(Secret::expose).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let Some(stored) = self.parse(text, auth)? else { return Ok(None) };
        stored.check(auth, self)?;
        Ok(Some(stored))
    }

    /// Our own document, or a bare refresh token that somebody else put there.
    fn parse(&self, text: &str, auth: &Auth) -> Result<Option<Stored>> {
        if !text.starts_with('{') {
            // The times are not known; any token that follows is newer.
            let mut stored = Stored::first(auth, "", Secret::new(text));
            stored.signed_in_at = Timestamp::UNIX_EPOCH;
            return Ok(Some(stored));
        }
        #[derive(Deserialize)]
        struct Head {
            version: u32,
            #[serde(default)]
            signed_out: bool,
        }
        let wrong = |why: &str| {
            Error::new(Kind::Auth, format!("the stored sign-in {why}"))
                .with("store", self)
                .hint(format!("Sign in again: {}", auth.login))
        };
        let head: Head = serde_json::from_str(text).map_err(|_| wrong("is not readable"))?;
        match head {
            Head { signed_out: true, .. } => Ok(None),
            Head { version, .. } if version > VERSION => {
                Err(wrong("was written by a newer payoutlake").hint("Update payoutlake here too."))
            }
            _ => serde_json::from_str(text).map(Some).map_err(|_| wrong("is not complete")),
        }
    }

    /// Writes a token in the place of `base`, unless a newer one came there meanwhile.
    ///
    /// # Errors
    /// `Destination` when it cannot be written.
    pub(super) async fn write(&self, auth: &Auth, new: &Stored, base: Option<&Stored>) -> Result<()> {
        // What cannot be read is replaced.
        let overtaken = |current: Option<Stored>| {
            current.is_some_and(|current| {
                base.is_none_or(|base| !current.is_same_token(base)) && !new.is_newer_than(&current)
            })
        };
        let text = Secret::new(serde_json::to_string_pretty(new).map_err(|cause| {
            Error::new(Kind::Bug, "a sign-in cannot be written as text").caused_by(cause)
        })?);
        match self {
            Store::Commands { set, .. } => {
                if overtaken(self.read(auth).await.unwrap_or_default()) {
                    return Ok(());
                }
                set.run(Some(&text)).await.map(|_| ())
            }
            Store::Memory => Ok(()),
            Store::Own(path) | Store::Mounted(path) => {
                let own = matches!(self, Store::Own(_));
                let locked = lock(path, own).map_err(|cause| not_written(self, cause))?;
                if overtaken(self.read(auth).await.unwrap_or_default()) {
                    return Ok(());
                }
                let written = write_file(path, text.expose(), own);
                drop(locked);
                written.map_err(|cause| not_written(self, cause))
            }
        }
    }

    /// Forgets the token; `false` when there was none.
    ///
    /// # Errors
    /// `Destination` when it cannot be removed.
    pub(super) async fn remove(&self, auth: &Auth) -> Result<bool> {
        match self {
            Store::Own(path) | Store::Mounted(path) => match fs::remove_file(path) {
                Ok(()) => {
                    let _none = fs::remove_file(lock_path(path));
                    Ok(true)
                }
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(cause) => Err(Error::new(Kind::Destination, "the stored sign-in cannot be removed")
                    .with("store", self)
                    .caused_by(cause)),
            },
            Store::Commands { set, .. } => {
                let was = self.read(auth).await?.is_some();
                if was {
                    set.run(Some(&Secret::new(SIGNED_OUT))).await?;
                }
                Ok(was)
            }
            Store::Memory => Ok(false),
        }
    }
}

fn not_written(store: &Store, cause: io::Error) -> Error {
    Error::new(Kind::Destination, "the refresh token cannot be written back")
        .with("store", store)
        .caused_by(cause)
        .hint("Give payoutlake the right to write there (the folder too: the file is replaced), or use get and set commands.")
}

fn read_file(path: &Path) -> Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Secret::new(text.trim()))),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::new(Kind::Auth, "the stored sign-in cannot be read")
            .with("file", path.display())
            .caused_by(cause)),
    }
}

/// # Errors
/// `Auth` when others than the user may read the file: the token in it may be theirs too by now.
#[cfg(unix)]
fn check_mode(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(about) = fs::metadata(path) else { return Ok(()) };
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Error::new(Kind::Auth, "others on this machine may read the stored sign-in")
        .with("file", path.display())
        .with("mode", format!("{mode:03o}"))
        .hint(format!(
            "If nobody else has been here: chmod 600 {}. Otherwise sign out and in again.",
            path.display()
        )))
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<()> {
    Ok(())
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

/// Held while a file is compared and replaced, so that two processes of one machine take turns. Where it cannot be had,
/// the order of the tokens alone decides.
fn lock(path: &Path, own: bool) -> io::Result<Option<fs::File>> {
    if !own {
        return Ok(None);
    }
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = fs::File::options().create(true).truncate(false).write(true).open(lock_path(path))?;
    // Not every network file system can lock.
    let _unlocked = file.lock();
    Ok(Some(file))
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Replaces a file in one step: a reader sees the old text or the new one. The new file is its user's alone; a mounted
/// one keeps its mode.
fn write_file(path: &Path, text: &str, own: bool) -> io::Result<()> {
    // What a link points to is replaced, and not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::Builder::new().prefix(".payoutlake-").tempfile_in(folder)?;
    if !own && let Ok(about) = fs::metadata(&path) {
        temporary.as_file().set_permissions(about.permissions())?;
    }
    temporary.write_all(text.as_bytes())?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    // The name is durable when its folder is; not every system lets a folder be opened.
    let _durable = fs::File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// A sign-in that is kept on this machine: no token.
#[derive(Debug, Clone, Serialize)]
pub struct StoredSignIn {
    pub file: PathBuf,
    pub tenant: String,
    /// The user, or the application where the user is not known.
    pub principal: String,
    pub signed_in_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expiry: Option<Expiry>,
}

/// The sign-ins in a folder of payoutlake's own, by the name of their files.
///
/// # Errors
/// `Auth` when the folder cannot be read.
pub fn stored_in(folder: &Path, warn_days: u32, now: Timestamp) -> Result<Vec<StoredSignIn>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => {
            return Err(Error::new(Kind::Auth, "the stored sign-ins cannot be read")
                .with("folder", folder.display())
                .caused_by(cause));
        }
    };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let shown = |file: PathBuf| {
        let stored: Stored = serde_json::from_str(read_file(&file).ok()??.expose()).ok()?;
        let who = stored.who.as_ref();
        Some(StoredSignIn {
            tenant: who.and_then(|who| who.tenant.clone()).unwrap_or_else(|| stored.tenant.clone()),
            principal: who.and_then(Who::principal).unwrap_or(&stored.client_id).to_owned(),
            signed_in_at: stored.signed_in_at,
            last_used_at: stored.last_used_at,
            expiry: expiry::of_refresh_token(&stored, warn_days, now),
            file,
        })
    };
    Ok(files.into_iter().filter_map(shown).collect())
}
