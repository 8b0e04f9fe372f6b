//! Device codes and refresh tokens: signed texts that say what they are for and when they were given.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use uuid::Uuid;

use super::Key;
use super::refusal::Refused;

/// A quarter of an hour, as Entra gives.
pub const DEVICE_LIFETIME_SECS: u32 = 900;

/// 90 days, as Entra gives.
pub const REFRESH_LIFETIME_SECS: i64 = 90 * 86_400;

/// Milliseconds that a poll may come too early for each second of the interval: timers and networks are not exact.
const EARLY_MILLIS: i64 = 200;

/// What the sandbox remembers of tickets.
pub struct Tickets {
    path: PathBuf,
    /// The newest refresh token of each sign-in that was used.
    used: Mutex<HashMap<Uuid, u32>>,
    /// When each device code was last asked for.
    polls: Mutex<HashMap<String, Timestamp>>,
}

/// Each step leaves the map whole, so that a poisoned lock means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tickets {
    /// # Errors
    /// What the file system says, and a file that is not understood.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("refreshed.json");
        let used = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Tickets { path, used: Mutex::new(used), polls: Mutex::default() })
    }

    /// Notes the use of a refresh token; tells whether none of its successors has been used yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn used(&self, refresh: &Refresh) -> io::Result<bool> {
        let mut used = lock(&self.used);
        let newest = used.entry(refresh.family).or_insert(0);
        if refresh.generation < *newest {
            return Ok(false);
        }
        if refresh.generation > *newest {
            *newest = refresh.generation;
            let temporary = self.path.with_extension("part");
            fs::write(&temporary, serde_json::to_vec(&*used)?)?;
            fs::rename(temporary, &self.path)?;
        }
        Ok(true)
    }

    /// Notes that a device code is asked for; tells whether that came before the interval was over.
    pub fn polled_too_soon(&self, code: &str, now: Timestamp, interval_secs: u32) -> bool {
        let mut polls = lock(&self.polls);
        polls.retain(|_, last| now.as_second() - last.as_second() < i64::from(DEVICE_LIFETIME_SECS));
        let last = polls.insert(code.to_owned(), now);
        let least = (1_000 - EARLY_MILLIS) * i64::from(interval_secs);
        last.is_some_and(|last| now.as_millisecond() - last.as_millisecond() < least)
    }
}

/// A refresh token. Those that come one from another are a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    family: Uuid,
    generation: u32,
    pub mfa: bool,
}

impl Refresh {
    /// The first of a sign-in.
    pub fn begin(mfa: bool) -> Self {
        Refresh { family: Uuid::new_v4(), generation: 1, mfa }
    }

    pub fn next(&self) -> Self {
        Refresh { generation: self.generation + 1, ..self.clone() }
    }

    pub fn ticket(&self, key: &Key, now: Timestamp) -> String {
        ticket(key, "refresh", &format!("{} {} {}", self.family, self.generation, self.mfa), now)
    }

    pub fn read(key: &Key, text: &str, now: Timestamp) -> Result<Self, Refused> {
        let parsed = read(key, "refresh", text).and_then(|(about, given)| {
            let mut words = about.split(' ');
            let family = Uuid::parse_str(words.next()?).ok()?;
            let generation = words.next()?.parse().ok()?;
            Some((Refresh { family, generation, mfa: words.next()? == "true" }, given))
        });
        match parsed {
            None => Err(Refused::new(
                70000,
                "The provided value for the input parameter 'refresh_token' is not valid.",
            )),
            Some((_, given)) if now.as_second() - given >= REFRESH_LIFETIME_SECS => {
                Err(Refused::new(700082, "The refresh token has expired due to inactivity."))
            }
            Some((refresh, _)) => Ok(refresh),
        }
    }
}

/// A device code, with the scope that it was asked for.
pub fn device(key: &Key, scope: &str, now: Timestamp) -> String {
    ticket(key, "device", scope, now)
}

/// The scope of a device code.
pub fn device_scope(key: &Key, code: &str) -> Option<String> {
    read(key, "device", code).map(|(scope, _)| scope)
}

/// Seconds since a device code was given.
pub fn device_age(key: &Key, code: &str, now: Timestamp) -> Result<i64, Refused> {
    let (_, given) =
        read(key, "device", code).ok_or_else(|| Refused::new(70018, "The device code is not valid."))?;
    match now.as_second() - given {
        age if age >= i64::from(DEVICE_LIFETIME_SECS) => {
            Err(Refused::new(70019, "The device code has expired."))
        }
        age => Ok(age),
    }
}

fn ticket(key: &Key, purpose: &str, about: &str, now: Timestamp) -> String {
    let about = URL_SAFE_NO_PAD.encode(about);
    let text = format!("{purpose}.{}.{about}.{}", now.as_second(), Uuid::new_v4().simple());
    format!("{text}.{}", key.sign(&text))
}

/// What a ticket is about and the second in which it was given; `None` when it is not one for this purpose.
fn read(key: &Key, purpose: &str, ticket: &str) -> Option<(String, i64)> {
    let (text, signature) = ticket.rsplit_once('.')?;
    let mut parts = text.split('.');
    let named = parts.next()? == purpose && key.verifies(text, signature);
    let (given, about) = (parts.next()?.parse().ok()?, URL_SAFE_NO_PAD.decode(parts.next()?).ok()?);
    String::from_utf8(about).ok().filter(|_| named).map(|about| (about, given))
}
