//! The one integration binary: linking DataFusion twice costs minutes.
//!
//! | module | proves |
//! |---|---|
//! | `architecture` | rooms import downward only |
//! | `files` | every schema, pipeline and example file parses; docs name real things |
//! | `one_row` | one row, followed through every hand-over |
//! | `e2e` | the binary against the sandbox: run, run again, interrupt, SQL, ingest, exit codes |
//! | `faults` | what the service can do wrong, and the exit code and message of each |
//! | `balance` | a row dropped or a cent changed at each hop ends in 65 |
//! | `golden` | help and errors, word for word |

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod architecture;
mod balance;
mod contract;
mod e2e;
mod faults;
mod files;
mod golden;
mod nights;
mod one_row;
mod readers;
mod world;
