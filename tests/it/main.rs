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
//! | `history` | tags, times, going back, held windows, changes, clean-up, status |
//! | `golden` | help and errors, word for word |
//! | `oracle` | random histories, with kills, against an oracle that shares no code (`tests/oracle/lake.py`) |

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod architecture;
mod balance;
mod crash;
mod e2e;
mod faults;
mod files;
mod golden;
mod history;
mod one_row;
mod oracle;
mod world;
