//! Retention: old history goes, what a tag names stays, and objects that no kept manifest names are removed.
//!
//! Safe beside running writers, without a lock: an object's name is never made twice, so an object that no manifest
//! names and that is older than any run ([`GRACE`]) cannot become part of a table any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use super::{
    AsOf, Chain, Held, Lake, Ledger, Manifest, Tag, manifest_path, objects_prefix, published_folder,
    published_path, raw_prefix, receipts_prefix, together,
};
use crate::error::Result;
use crate::model::RunId;

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Versions that were the table at some time of the last so many days are kept.
    pub keep_days: u32,
    /// Downloaded blobs go after so many days, unless a tag needs them; `None`: with the history that they belong to.
    pub raw_days: Option<u32>,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// What was removed, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Maintained {
    pub versions: u64,
    pub objects: u64,
    pub blobs: u64,
    pub receipts: u64,
    /// Bytes of objects and blobs.
    pub bytes: u64,
    pub kept_versions: u64,
    pub kept_objects: u64,
}

/// An export takes a day at most, and its rows are written after it: what is older and unnamed belongs to no run.
const GRACE: Duration = Duration::from_secs(48 * 3600);

/// How many manifests are read together.
const READS: usize = 64;

/// Removes what retention does not keep.
///
/// # Errors
/// [`crate::error::Kind::Destination`]; what was removed until then stays removed, and nothing that is needed was.
pub async fn maintain(lake: &Lake, retention: Retention, now: Timestamp) -> Result<Maintained> {
    let mut sweep = Sweep { lake, retention, now, done: Maintained::default() };
    let tags = Tag::all(lake).await?;
    let chains = Chain::all(lake).await?;
    let needed = followed(lake, &chains).await?;
    let (mut blobs, mut tagged_blobs) = (BTreeSet::new(), BTreeSet::new());
    for chain in &chains {
        let pinned: BTreeSet<u64> = tags.iter().filter_map(|tag| tag.version(chain)).collect();
        let needed = needed.get(chain).copied();
        sweep.chain(chain, &pinned, needed, &mut blobs, &mut tagged_blobs).await?;
    }
    // Somebody has yet to decide about these, or to load them: they stay as those of a tag do.
    tagged_blobs.extend(Held::all(lake).await?.into_iter().map(|held| held.export.blob));
    let ledger = Ledger::new(lake.clone(), RunId(uuid::Uuid::nil()));
    let open = ledger.open_exports(now).await?;
    tagged_blobs.extend(open.into_iter().filter_map(|export| export.blob.map(|(sha256, ..)| sha256)));
    sweep.blobs(&blobs, &tagged_blobs).await?;
    sweep.receipts().await?;
    Ok(sweep.done)
}

/// The oldest version of each chain that a table which is derived from it has yet to read.
async fn followed(lake: &Lake, chains: &[Chain]) -> Result<BTreeMap<Chain, u64>> {
    let mut needed = BTreeMap::new();
    for chain in chains {
        let Some(manifest) = chain.newest(lake).await? else { continue };
        for (table, version) in &manifest.follows {
            let followed = Chain::new(table, &chain.account);
            let newest = followed.newest(lake).await?;
            // Later versions that only confirm rows need not be read.
            if newest.is_some_and(|newest| newest.rewritten_in > *version) {
                let needed = needed.entry(followed).or_insert(*version);
                *needed = (*needed).min(*version);
            }
        }
    }
    Ok(needed)
}

struct Sweep<'a> {
    lake: &'a Lake,
    retention: Retention,
    now: Timestamp,
    done: Maintained,
}

impl Sweep<'_> {
    fn cutoff(&self, days: u32) -> Timestamp {
        self.now.saturating_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN)
    }

    async fn chain(
        &mut self,
        chain: &Chain,
        pinned: &BTreeSet<u64>,
        needed: Option<u64>,
        blobs: &mut BTreeSet<String>,
        tagged_blobs: &mut BTreeSet<String>,
    ) -> Result<()> {
        // Listed before the manifests are read: what a writer adds meanwhile is too young to be removed.
        let mut objects = self.lake.list_all(&objects_prefix(chain)).await?;
        // A Delta table has the files of earlier versions under the objects' own names.
        let published = self.lake.list_all(&published_folder(chain)).await?;
        objects.extend(published.into_iter().filter(|file| is_object(&file.location)));
        let versions = chain.versions(self.lake).await?;
        let at_cutoff = match chain.as_of(self.lake, self.cutoff(self.retention.keep_days)).await {
            Ok(Some(AsOf::Manifest(manifest))) => manifest.version,
            // All history is younger, or what is older is gone already.
            _ => 0,
        };
        let shown = self.lake.get_json::<Shown>(&published_path(chain)).await;
        let shown = shown.unwrap_or_default().filter(|shown| shown.format.as_deref() == Some("delta"));
        let behind = shown.map(|shown| shown.manifest);
        if behind.is_some_and(|behind| !versions.contains(&behind)) {
            // What the Delta table shows cannot be told from what it does not.
            objects.retain(|object| object.location.prefix_matches(&objects_prefix(chain)));
        }
        let first_kept = [needed, behind].into_iter().flatten().fold(at_cutoff, u64::min);
        let (kept, expired): (Vec<u64>, Vec<u64>) =
            versions.iter().partition(|version| **version >= first_kept || pinned.contains(version));

        let mut live = BTreeSet::new();
        let mut mark = |manifest: &Manifest| {
            live.extend(manifest.objects().map(|object| object.name.clone()));
            let named = manifest.partitions.iter().flat_map(|partition| partition.blobs.clone());
            let named: Vec<String> = named.chain(manifest.operation.blob.clone()).collect();
            if pinned.contains(&manifest.version) {
                tagged_blobs.extend(named.iter().cloned());
            }
            blobs.extend(named);
        };
        // Some at a time: a year of nights has thousands.
        for some in kept.chunks(READS) {
            let reads = some.iter().map(|version| chain.read(self.lake, *version)).collect();
            together(reads).await?.iter().flatten().for_each(&mut mark);
        }
        // What was committed since the versions were listed.
        let newest = chain.newest(self.lake).await?;
        newest.iter().for_each(&mut mark);
        if let (Some(newest), false) = (&newest, self.retention.dry_run || expired.is_empty()) {
            // Who opens the table must not begin to look among what is removed.
            chain.point_at(self.lake, newest.version).await?;
        }

        self.done.kept_versions += kept.len() as u64;
        for version in expired {
            self.done.versions += 1;
            self.remove(&manifest_path(chain, version)).await?;
        }
        for object in objects {
            let name = object.location.filename().and_then(|name| name.strip_suffix(".parquet"));
            if name.is_some_and(|name| live.contains(name)) || !self.is_older(&object, GRACE) {
                self.done.kept_objects += 1;
                continue;
            }
            self.done.objects += 1;
            self.done.bytes += object.size;
            self.remove(&object.location).await?;
        }
        Ok(())
    }

    async fn blobs(&mut self, named: &BTreeSet<String>, tagged: &BTreeSet<String>) -> Result<()> {
        let history = days(self.retention.keep_days);
        for blob in self.lake.list_all(&raw_prefix()).await? {
            let name = blob.location.filename().unwrap_or_default();
            // A blob is downloaded before it is named: it has the grace of every other file.
            let expired = match self.retention.raw_days {
                Some(limit) => self.is_older(&blob, days(limit).max(GRACE)),
                None => !named.contains(name) && self.is_older(&blob, history.max(GRACE)),
            };
            if expired && !tagged.contains(name) {
                self.done.blobs += 1;
                self.done.bytes += blob.size;
                self.remove(&blob.location).await?;
            }
        }
        Ok(())
    }

    async fn receipts(&mut self) -> Result<()> {
        for receipt in self.lake.list_all(&receipts_prefix()).await? {
            if self.is_older(&receipt, days(self.retention.keep_days).max(GRACE)) {
                self.done.receipts += 1;
                self.remove(&receipt.location).await?;
            }
        }
        Ok(())
    }

    fn is_older(&self, object: &ObjectMeta, age: Duration) -> bool {
        let written = object.last_modified.timestamp();
        self.now.as_second().saturating_sub(written) > i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        if self.retention.dry_run {
            return Ok(());
        }
        self.lake.remove(path).await
    }
}

/// Of the record of what is published (see `load::publish`), what must not be removed.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    format: Option<String>,
    manifest: u64,
}

/// `<64 hex digits>-<run>.parquet`, see [`super::Object`].
fn is_object(path: &Path) -> bool {
    let name = path.filename().and_then(|name| name.strip_suffix(".parquet")).unwrap_or_default();
    name.split_once('-')
        .is_some_and(|(hash, _)| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 24 * 3600)
}
