//! What a file's columns are called, what type they have, and which version of a dataset a header is.
//!
//! The contracts are data: `schemas/<dataset>/dataset.toml` says what the dataset is, `vN.toml` holds the columns of
//! one version. The newest version is the shape of the table in the lake; older ones only say what files looked like.
//!
//! ```text
//! schemas/*.toml -> Registry -> Dataset --match_header(header)--> HeaderMatch   (which cell fills which column)
//!                                       --table()---------------> TableSpec     (Arrow schema of the lake's table)
//!                                       --diff(3, 5)------------> [Difference]  (additive, breaking, retired, renamed)
//!                       --detect(header)-> [Candidate]   (which version of which dataset a file is)
//! ```
//!
//! The files are part of the program; a user's own folder can add versions and datasets, never change released ones.
//!
//! Adding a version: write `schemas/<dataset>/vN.toml`, add its line to the built-in list in `registry.rs`, and its
//! digest to the list in that file's tests.

mod check;
mod dataset;
mod detect;
mod diff;
mod header;
mod parse;
mod registry;
mod table;

pub use dataset::{Api, Column, Dataset, Filter, FilterKind, LogicalType, Version};
pub use detect::Candidate;
pub use diff::{Change, Difference};
pub use header::{Duplicate, HeaderMatch, comparable_name};
pub use registry::Registry;
pub use table::{OUR_COLUMNS, RULES};
