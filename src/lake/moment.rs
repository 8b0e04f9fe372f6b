//! Which state of a lake is meant: the newest, that of an instant, or that of a tag.

use jiff::Timestamp;

use super::{AsOf, Chain, Lake, Manifest, Tag};
use crate::error::{Error, Kind, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    Now,
    /// What was committed by then.
    At(Timestamp),
    Tagged(Tag),
}

impl Moment {
    /// An instant with its zone (`2026-08-31T23:59:59Z`, `2026-08-31T23:59:59+02:00`), or the name of a tag.
    ///
    /// # Errors
    /// [`Kind::Usage`] for a time without a zone, and for a tag that does not exist; [`Kind::Destination`].
    pub async fn parse(lake: &Lake, text: &str) -> Result<Moment> {
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Moment::At(at));
        }
        if text.parse::<jiff::civil::DateTime>().is_ok() {
            return Err(Error::new(Kind::Usage, format!("'{text}' does not say its time zone")).hint(
                "write `2026-08-31T23:59:59Z` for UTC, or `2026-08-31T23:59:59+02:00` for a time with its offset",
            ));
        }
        Tag::find(lake, text).await.map(Moment::Tagged)
    }
}

impl Chain {
    /// The table as it was at a moment; `None` when it was not there.
    ///
    /// # Errors
    /// As [`Chain::as_of`].
    pub async fn at(&self, lake: &Lake, moment: &Moment) -> Result<Option<Manifest>> {
        Ok(match moment {
            Moment::Now => self.newest(lake).await?,
            Moment::At(at) => match self.as_of(lake, *at).await? {
                Some(AsOf::Manifest(manifest)) => Some(*manifest),
                // It has its columns and no rows.
                Some(AsOf::NotYet(first)) => Some(Manifest { partitions: Vec::new(), ..*first }),
                None => None,
            },
            Moment::Tagged(tag) => match tag.version(self) {
                Some(version) => self.read(lake, version).await?,
                None => None,
            },
        })
    }
}
