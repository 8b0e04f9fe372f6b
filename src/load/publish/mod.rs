//! Publishing: the folders that other programs read are brought into line with the manifest.
//!
//! It is a projection, repeated until it is true: what is installed is recorded, and whatever command comes
//! next heals a publish that was cut short.

#[cfg(feature = "delta")]
mod delta;
#[cfg(not(feature = "delta"))]
mod no_delta;
mod parquet;

#[cfg(not(feature = "delta"))]
use no_delta as delta;

use std::collections::BTreeMap;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::lake::{self, Chain, Lake, Manifest, Object, object_path, published_path, published_prefix};

/// The way in which tables are published; one match arm for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Publish {
    /// Hive-partitioned Parquet: `<table>/account=…/<month>=…/part-0.parquet`.
    #[default]
    Parquet,
    /// A Delta table in each table's folder: `<table>/_delta_log`.
    Delta,
    /// Nothing is published: the tables are read through payoutlake alone. What was published before is taken away.
    None,
    /// As the pipeline does it that wrote the table last; a new table as the lake's others, else as Parquet. For commands
    /// without a pipeline file.
    #[serde(skip)]
    AsBefore,
}

impl Publish {
    /// # Errors
    /// [`Kind::Config`] for a way that this build does not have.
    pub fn check(self) -> Result<()> {
        match self {
            Publish::Delta if !cfg!(feature = "delta") => Err(no_delta()),
            _ => Ok(()),
        }
    }
}

fn no_delta() -> Error {
    Error::new(Kind::Config, "this payoutlake was built without Delta")
        .hint("build it with `cargo install --path . --features delta`, or set publish = \"parquet\"")
}

/// What the folders of a table and account show now. It may be behind, or lost: then more is installed than needed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Installed {
    #[serde(default)]
    format: Format,
    /// The manifest that the folders follow.
    manifest: u64,
    /// Published path and name of the object behind it.
    files: BTreeMap<String, String>,
    /// On an object store: published path and the tag that the storage gave the copy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Parquet,
    Delta,
}

/// Brings the published folders of a table into line with a manifest.
///
/// # Errors
/// [`Kind::Destination`]; [`Kind::Config`] for a way that this build does not have.
pub async fn publish(lake: &Lake, how: Publish, manifest: &Manifest) -> Result<()> {
    let chain = manifest.chain();
    let format = match how {
        Publish::Parquet => Format::Parquet,
        Publish::Delta => Format::Delta,
        Publish::None => return unpublish(lake, &chain).await,
        Publish::AsBefore if manifest.version > 1 => return catch_up(lake, manifest).await,
        Publish::AsBefore => usual(lake).await?,
    };
    bring_into_line(lake, &chain, manifest, format, record(lake, &chain).await?).await
}

/// Finishes a publish that was cut short, if the folders of this table are published at all: one read when all is well.
///
/// # Errors
/// [`Kind::Destination`].
pub async fn catch_up(lake: &Lake, manifest: &Manifest) -> Result<()> {
    let chain = manifest.chain();
    match record(lake, &chain).await? {
        Some(installed) if installed.manifest < manifest.version => {
            let format = installed.format;
            bring_into_line(lake, &chain, manifest, format, Some(installed)).await
        }
        _ => Ok(()),
    }
}

/// Looks after the tables before work begins: live objects must be there, and what an earlier publish left undone
/// is done (files that are not installed, or that somebody removed).
///
/// # Errors
/// [`Kind::Destination`].
pub async fn heal(lake: &Lake, how: Publish, chains: &[Chain]) -> Result<()> {
    for chain in chains {
        let Some(manifest) = chain.newest(lake).await? else { continue };
        lake::check_objects(lake, &manifest).await?;
        let installed = record(lake, chain).await?;
        let format = match (how, &installed) {
            (Publish::Parquet, _) => Format::Parquet,
            (Publish::Delta, _) => Format::Delta,
            (Publish::AsBefore, Some(installed)) => installed.format,
            (Publish::AsBefore, None) => continue,
            (Publish::None, _) => {
                unpublish(lake, chain).await?;
                continue;
            }
        };
        bring_into_line(lake, chain, &manifest, format, installed).await?;
        match format {
            Format::Parquet => parquet::heal(lake, &manifest).await?,
            Format::Delta => delta::heal(lake, &manifest).await?,
        }
    }
    Ok(())
}

async fn bring_into_line(
    lake: &Lake,
    chain: &Chain,
    manifest: &Manifest,
    format: Format,
    installed: Option<Installed>,
) -> Result<()> {
    let was = installed.as_ref().map(|installed| installed.format);
    match (format, was) {
        (Format::Parquet, Some(Format::Delta)) => {
            // Who globs the folder must not find the files of both.
            delta::withdraw(lake, chain).await?;
            lake.replace_json(&published_path(chain), &Installed::default()).await?;
            delta::drop_unused_log(lake, &chain.table).await?;
            parquet::publish(lake, manifest, Some(Installed::default())).await
        }
        (Format::Parquet, _) => {
            // The change from Delta may have been cut short.
            if installed.as_ref().is_some_and(|installed| installed.manifest == 0) {
                delta::drop_unused_log(lake, &chain.table).await?;
            }
            parquet::publish(lake, manifest, installed).await
        }
        (Format::Delta, _) => delta::publish(lake, manifest, installed).await,
    }
}

/// The record of what is published; one that cannot be read is a projection like the rest, and is made anew.
async fn record(lake: &Lake, chain: &Chain) -> Result<Option<Installed>> {
    match lake.get_json(&published_path(chain)).await {
        Err(error) if error.kind() == Kind::Contract => {
            let is_delta = delta::has_log(lake, &chain.table).await?;
            let format = if is_delta { Format::Delta } else { Format::Parquet };
            Ok(Some(Installed { format, ..Installed::default() }))
        }
        read => read,
    }
}

/// Takes away what an earlier run has published: folders that nobody looks after any more would be believed.
async fn unpublish(lake: &Lake, chain: &Chain) -> Result<()> {
    match record(lake, chain).await? {
        None => return Ok(()),
        Some(Installed { format: Format::Delta, .. }) => delta::withdraw(lake, chain).await?,
        Some(_) => parquet::withdraw(lake, chain).await?,
    }
    lake.remove(&published_path(chain)).await?;
    delta::drop_unused_log(lake, &chain.table).await
}

/// How a lake publishes its tables.
async fn usual(lake: &Lake) -> Result<Format> {
    for path in lake.list(&published_prefix()).await? {
        if let Ok(Some(Installed { format: Format::Delta, .. })) = lake.get_json(&path).await {
            return Ok(Format::Delta);
        }
    }
    Ok(Format::Parquet)
}

/// Puts objects in the place of published files, some at a time.
async fn put_in_place(lake: &Lake, chain: &Chain, files: &[(&String, &Object)]) -> Result<()> {
    let paths =
        |(path, object): &(&String, &Object)| (object_path(chain, &object.name), Path::from(path.as_str()));
    lake.install(&files.iter().map(paths).collect::<Vec<_>>()).await
}

async fn remove(lake: &Lake, path: &str) -> Result<()> {
    lake.remove(&Path::from(path)).await
}

/// The object behind every partition that has rows, by published path. `name` names the n-th file of a partition.
fn wanted(manifest: &Manifest, name: impl Fn(usize, &Object) -> String) -> BTreeMap<String, &Object> {
    let name = &name;
    let files = manifest.partitions.iter().flat_map(|partition| {
        let folder = partition.key.path(&manifest.partition_columns);
        partition.objects.iter().enumerate().map(move |(number, object)| {
            (format!("{}/{folder}/{}.parquet", manifest.table, name(number, object)), object)
        })
    });
    files.collect()
}
