//! Tags: names for the versions of all tables at one moment, such as a month-end close. What a tag names is kept for as
//! long as the tag exists: manifests, objects, and the blobs behind them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::format::FORMAT;
use super::{Chain, Created, Lake, tag_path, tags_prefix};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    format: u32,
    pub name: String,
    pub created_at: Timestamp,
    /// The version of every table of every account, sorted.
    pub tables: Vec<Tagged>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tagged {
    #[serde(flatten)]
    pub chain: Chain,
    pub version: u64,
    pub committed_at: Timestamp,
}

impl Tag {
    /// Gives a name to versions.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a name that is not one, or is taken; [`Kind::Destination`].
    pub async fn create(lake: &Lake, name: &str, mut tables: Vec<Tagged>, now: Timestamp) -> Result<Tag> {
        check_name(name)?;
        tables.sort();
        let tag = Tag { format: FORMAT, name: name.to_owned(), created_at: now, tables };
        match lake.create_json(&tag_path(name), &tag).await? {
            Created::New => Ok(tag),
            Created::Exists => {
                let there = Tag::find(lake, name).await?;
                // A storage may tell us of our own success.
                if there == tag {
                    return Ok(tag);
                }
                Err(Error::new(Kind::Usage, format!("the tag '{name}' exists already"))
                    .with("created", there.created_at)
                    .hint("a tag never moves: choose another name, or remove it first with `lake tag NAME --delete`"))
            }
        }
    }

    /// # Errors
    /// [`Kind::Usage`] when there is no such tag; [`Kind::Destination`].
    pub async fn find(lake: &Lake, name: &str) -> Result<Tag> {
        check_name(name)?;
        if let Some(tag) = lake.get_json(&tag_path(name)).await? {
            return Ok(tag);
        }
        let names: Vec<String> = Tag::all(lake).await?.into_iter().map(|tag| tag.name).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(Error::new(Kind::Usage, format!("there is no tag '{name}'"))
            .with("lake", lake.shown())
            .with("tags", known)
            .hint("`payoutlake lake tag NAME` makes one"))
    }

    /// All tags, by name.
    ///
    /// # Errors
    /// [`Kind::Destination`].
    pub async fn all(lake: &Lake) -> Result<Vec<Tag>> {
        let mut tags = Vec::new();
        for path in lake.list(&tags_prefix()).await? {
            tags.extend(lake.get_json::<Tag>(&path).await?);
        }
        Ok(tags)
    }

    /// Forgets the name; retention may remove what it kept.
    ///
    /// # Errors
    /// As [`Tag::find`].
    pub async fn delete(lake: &Lake, name: &str) -> Result<Tag> {
        let tag = Tag::find(lake, name).await?;
        lake.remove(&tag_path(name)).await?;
        Ok(tag)
    }

    /// The version of one table; `None` when it had no commit then.
    #[must_use]
    pub fn version(&self, chain: &Chain) -> Option<u64> {
        self.tables.iter().find(|tagged| tagged.chain == *chain).map(|tagged| tagged.version)
    }
}

/// A tag is a file's name on every system.
fn check_name(name: &str) -> Result<()> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let all_good = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    // Digits alone would be taken for the number of a version.
    let number = name.bytes().all(|b| b.is_ascii_digit());
    // And a day for a time that does not say its zone.
    let day = name.parse::<jiff::civil::DateTime>().is_ok();
    if starts_well && all_good && !number && !day && name.len() <= 63 {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("'{name}' cannot be the name of a tag")).hint(
        "use 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit, and neither digits alone \
         nor a date, for example FY26-P02",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_plain_file_name() {
        for good in ["FY26-P02", "close.2026-09", "2026-09"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "../x", "a/b", "42", "2026-09-30", ".hidden", "-x", "ä", &"a".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
