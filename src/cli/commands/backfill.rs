use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;

use super::run::{Overrides, Waiting, perform};
use crate::cli::Setting;
use crate::config::{BackfillFlags, RunFlags};
use crate::error::Result;
use crate::model::Month;
use crate::pipeline;

/// Ask for months of the past, in chunks, whether they are due or not
///
/// A backfill that was interrupted is started again with the same words: exports that are still open are gone on with, and
/// months that an export has covered within --newer-than are left out. It moves nothing else: what is due for `run` follows
/// from what the lake has. `plan` with the same flags prints what would be asked for.
#[derive(Debug, Args)]
pub(in crate::cli) struct Backfill {
    /// A pipeline file, for example pipelines/partner-center.toml
    pipeline: PathBuf,
    #[command(flatten)]
    months: Months,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    waiting: Waiting,
}

const BACKFILL: &str = "Backfill";

/// Which months, and in which chunks.
#[derive(Debug, Args)]
pub(super) struct Months {
    /// The first month; without it the first that the service can reach
    #[arg(long, help_heading = BACKFILL, value_name = "YYYY-MM", value_parser = Month::parse)]
    from: Option<Month>,
    /// The last month; without it the running one
    #[arg(long, help_heading = BACKFILL, value_name = "YYYY-MM", value_parser = Month::parse)]
    to: Option<Month>,
    /// Months that share one export; without it the pipeline file's months_per_export
    #[arg(long, help_heading = BACKFILL, value_name = "N")]
    chunk_months: Option<u32>,
    /// Leave out months that were covered so short a time ago
    #[arg(long, help_heading = BACKFILL, value_name = "SPAN", value_parser = pipeline::parse_span, default_value = "7 days")]
    newer_than: SignedDuration,
    /// Ask for all of them, however new their rows are
    #[arg(long, help_heading = BACKFILL, conflicts_with = "newer_than")]
    again: bool,
}

impl Months {
    pub(super) fn is_given(&self) -> bool {
        self.from.is_some() || self.to.is_some() || self.chunk_months.is_some() || self.again
    }

    pub(super) fn flags(&self) -> BackfillFlags {
        BackfillFlags {
            from: self.from,
            to: self.to,
            chunk_months: self.chunk_months,
            fresh_for: if self.again { SignedDuration::ZERO } else { self.newer_than },
        }
    }
}

impl Backfill {
    pub(in crate::cli) async fn perform(self, setting: &Setting) -> Result<u8> {
        let flags = RunFlags {
            backfill: Some(self.months.flags()),
            no_wait: self.waiting.no_wait,
            ..self.overrides.flags()
        };
        perform(&self.pipeline, &flags, setting).await
    }
}
