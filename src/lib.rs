//! payoutlake turns Microsoft Partner Center payout exports into a lake that people can trust with money.
//!
//! The design is told in [`_architecture`], its reasons in [`_decisions`], and one row is followed through every room
//! in [`_one_row`]. The columns of every era are in [`_schemas`]; what a pipeline says about rows that do not fit is in
//! [`_contracts`]. What can be made to go wrong is listed in [`_faults`], what fuzzing found in [`_fuzzing`], and what a probe
//! of the real service tells in [`_probe`].

pub mod cli;
pub mod config;
pub mod decode;
pub mod engine;
pub mod error;
pub mod event;
pub mod lake;
pub mod load;
pub mod model;
pub mod normalise;
pub mod output;
pub mod pipeline;
pub mod query;
pub mod sandbox;
pub mod schema;
pub mod secret;
pub mod source;

#[doc = include_str!("docs/architecture.md")]
pub mod _architecture {}

#[doc = include_str!("docs/contracts.md")]
pub mod _contracts {}

#[doc = include_str!("docs/decisions.md")]
pub mod _decisions {}

#[doc = include_str!("docs/faults.md")]
pub mod _faults {}

#[doc = include_str!("docs/fuzzing.md")]
pub mod _fuzzing {}

#[doc = include_str!("docs/one-row.md")]
pub mod _one_row {}

#[doc = include_str!("docs/probe.md")]
pub mod _probe {}

#[doc = include_str!("docs/schemas.md")]
pub mod _schemas {}

#[doc = include_str!("docs/sign-in.md")]
pub mod _sign_in {}

#[doc = include_str!("docs/storage.md")]
pub mod _storage {}
