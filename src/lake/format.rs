//! What keeps an older payoutlake from guessing: every document says which format it has, and the lake says which
//! format a program must know to read it and to write it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::store::Created;
use super::{Lake, lake_path, manifests_root};
use crate::error::{Error, Kind, Result};

/// The format of a lake's documents that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

/// `_payoutlake/lake.json`, written once, when the lake is made.
#[derive(Debug, Serialize, Deserialize)]
struct LakeDocument {
    format: u32,
    min_reader: u32,
    min_writer: u32,
    created_at: Timestamp,
    /// The payoutlake that made it.
    created_by: String,
}

/// The smallest formats that a program must know, without the rest of a document: a newer document may have another
/// shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Needs {
    pub min_reader: u32,
    pub min_writer: u32,
}

impl Needs {
    /// # Errors
    /// [`Kind::Contract`] when this build is too old to read what `what` names.
    pub(super) fn check_reader(self, what: &str) -> Result<()> {
        check(self.min_reader, "read", what)
    }

    /// # Errors
    /// [`Kind::Contract`] when this build is too old to extend what `what` names.
    pub(super) fn check_writer(self, what: &str) -> Result<()> {
        self.check_reader(what)?;
        check(self.min_writer, "written", what)
    }
}

fn check(needed: u32, how: &str, what: &str) -> Result<()> {
    if needed <= FORMAT {
        return Ok(());
    }
    Err(Error::new(Kind::Contract, format!("this lake may only be {how} by a newer payoutlake"))
        .with("document", what)
        .with("needs format", needed)
        .with("this build knows", FORMAT)
        .with("this build", env!("CARGO_PKG_VERSION"))
        .hint("update payoutlake; nothing was changed"))
}

/// Checks that this build may read the lake; false when there is none.
///
/// # Errors
/// [`Kind::Contract`] when it is too old, or the lake is from before the first release.
pub(super) async fn check_readable(lake: &Lake) -> Result<bool> {
    match lake.get_json::<Needs>(&lake_path()).await? {
        Some(needs) => needs.check_reader(lake_path().as_ref()).map(|()| true),
        None => no_document(lake).await.map(|()| false),
    }
}

/// Checks that this build may write the lake and that its storage keeps writers apart; makes a new one.
///
/// # Errors
/// As [`check_readable`]; [`Kind::Destination`]; [`Kind::Config`] for a storage without put-if-absent.
pub(super) async fn check_writable(lake: &Lake, now: Timestamp) -> Result<()> {
    let mut there = lake.get(&lake_path()).await?;
    if there.is_none() {
        no_document(lake).await?;
        let document = LakeDocument {
            format: FORMAT,
            min_reader: FORMAT,
            min_writer: FORMAT,
            created_at: now,
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let _or_by_another_process = lake.create_json(&lake_path(), &document).await?;
        there = lake.get(&lake_path()).await?;
    }
    let there = there.unwrap_or_default();
    lake.parse_json::<Needs>(&there, &lake_path())?.check_writer(lake_path().as_ref())?;
    // The very same bytes: nothing is lost where they are taken.
    if lake.is_object_store() && lake.create(&lake_path(), there).await? == Created::New {
        return Err(no_put_if_absent(lake));
    }
    Ok(())
}

/// What a storage is told that lets a second create succeed.
pub(super) fn no_put_if_absent(lake: &Lake) -> Error {
    Error::new(Kind::Config, "the storage lets a second writer replace what the first one created")
        .with("lake", lake.shown())
        .hint(
            "use a storage with put-if-absent (S3, Azure, GCS, R2, MinIO from 2024 on): without it two runs could overwrite \
             each other's commit. AWS_CONDITIONAL_PUT must be unset or 'etag'",
        )
}

/// As [`check_writable`], without writing anything.
///
/// # Errors
/// As [`check_readable`].
pub(super) async fn check_extendable(lake: &Lake) -> Result<()> {
    match lake.get_json::<Needs>(&lake_path()).await? {
        Some(needs) => needs.check_writer(lake_path().as_ref()),
        None => no_document(lake).await,
    }
}

/// A folder without the document is no lake yet, unless something stands in it.
async fn no_document(lake: &Lake) -> Result<()> {
    if lake.folders(&manifests_root()).await?.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Contract, "this lake was made by a payoutlake from before the first release")
        .with("missing", lake_path())
        .hint("name a new folder with --lake and load it again; nothing was changed"))
}
