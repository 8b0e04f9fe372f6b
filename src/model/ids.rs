//! Names and ids, each a type of its own, so that one is never taken for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not a name or an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub String);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// One invocation of a pipeline: a UUIDv7, so that runs sort by their start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

/// Our own id of an export, known before the service answers: a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExportId(pub Uuid);

/// The `requestId` that Partner Center gave to an export.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub String);

/// What Partner Center exports, by its name in `schemas/`: `transaction_history`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DatasetName(Arc<str>);

/// The alias of one identity's view of Partner Center. It is a folder name in the lake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(Arc<str>);

/// Lower-case letters, digits, `_` and `-`, at most 63 of them, beginning with a letter or digit:
/// safe as a folder, a SQL literal and an object-store key on every system.
fn check_name(text: &str, what: &str) -> Result<Arc<str>, Invalid> {
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let all_good =
        text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if starts_well && all_good && text.len() <= 63 {
        return Ok(text.into());
    }
    Err(Invalid(format!(
        "'{text}' is not a valid {what}: use 1 to 63 lower-case letters, digits, '_' or '-', beginning with a letter or digit"
    )))
}

macro_rules! name {
    ($type:ident, $what:literal) => {
        impl $type {
            /// # Errors
            /// The rule that the text breaks.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                check_name(text, $what).map($type)
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(DatasetName, "dataset name");
name!(Account, "account alias");

impl Default for Account {
    /// The alias where nobody chose one.
    fn default() -> Self {
        Account("default".into())
    }
}

macro_rules! display_inner {
    ($($type:ident),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_inner!(RunId, ExportId, RequestId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_safe_as_a_folder() {
        assert!(Account::parse("contoso-eu_2").is_ok());
        for bad in ["", "..", "a/b", "Contoso", "-a", "a=b", &"a".repeat(64)] {
            assert!(Account::parse(bad).is_err(), "{bad}");
        }
    }
}
