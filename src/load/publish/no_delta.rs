//! In the place of `delta.rs` in a build without it.

use super::{Installed, no_delta};
use crate::error::Result;
use crate::lake::{Chain, Lake, Manifest};

pub(super) async fn publish(_: &Lake, _: &Manifest, _: Option<Installed>) -> Result<()> {
    Err(no_delta())
}

pub(super) async fn heal(_: &Lake, _: &Manifest) -> Result<()> {
    Err(no_delta())
}

pub(super) async fn has_log(_: &Lake, _: &str) -> Result<bool> {
    Ok(false)
}

pub(super) async fn drop_unused_log(_: &Lake, _: &str) -> Result<()> {
    Ok(())
}

pub(super) async fn withdraw(_: &Lake, _: &Chain) -> Result<()> {
    Err(no_delta())
}
