//! Publishing: the folders that other programs read are brought into line with the manifest.
//!
//! It is a projection, repeated until it is true: what is installed is recorded, and whatever command comes
//! next heals a publish that was cut short.

mod parquet;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::{self, Chain, Lake, Manifest};

/// The way in which tables are published; one match arm for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// Hive-partitioned Parquet: `<table>/account=…/<month>=…/part-0.parquet`.
    #[default]
    Parquet,
    /// Nothing is published: the tables are read through payoutlake alone.
    None,
    /// As the pipeline does it that wrote the table last; a new table as Parquet. For commands without a pipeline file.
    #[serde(skip)]
    AsBefore,
}

/// Brings the published folders of a table into line with a manifest.
///
/// # Errors
/// [`crate::error::Kind::Destination`].
pub async fn publish(lake: &Lake, how: Publish, manifest: &Manifest) -> Result<()> {
    match how {
        Publish::Parquet => parquet::publish(lake, manifest).await,
        Publish::AsBefore if manifest.version > 1 => catch_up(lake, manifest).await,
        Publish::AsBefore => parquet::publish(lake, manifest).await,
        Publish::None => Ok(()),
    }
}

/// Finishes a publish that was cut short, if the folders of this table are published at all: one read when all is well.
///
/// # Errors
/// [`crate::error::Kind::Destination`].
pub async fn catch_up(lake: &Lake, manifest: &Manifest) -> Result<()> {
    if parquet::is_behind(lake, manifest).await? {
        parquet::publish(lake, manifest).await?;
    }
    Ok(())
}

/// Looks after the tables before work begins: live objects must be there, and what an earlier publish left undone
/// is done (files that are not installed, or that somebody removed).
///
/// # Errors
/// [`crate::error::Kind::Destination`].
pub async fn heal(lake: &Lake, how: Publish, chains: &[Chain]) -> Result<()> {
    for chain in chains {
        let Some(manifest) = chain.newest(lake).await? else { continue };
        lake::check_objects(lake, &manifest).await?;
        let publishes = match how {
            Publish::Parquet => true,
            Publish::AsBefore => parquet::is_published(lake, &manifest).await?,
            Publish::None => false,
        };
        if publishes {
            parquet::heal(lake, &manifest).await?;
        }
    }
    Ok(())
}
