//! The one integration binary: linking DataFusion twice costs minutes.
//!
//! | module | proves |
//! |---|---|
//! | `architecture` | rooms import downward only |
//! | `files` | every schema, pipeline and example file parses; docs name real things |
//! | `one_row` | one row, followed through every hand-over |
//! | `e2e` | the binary against the sandbox: run, run again, interrupt, SQL, ingest, exit codes |
//! | `eras` | files of every era, written by another program: told apart, loaded whole, told different, older shapes in SQL |
//! | `faults` | what the service can do wrong, and the exit code and message of each |
//! | `texts` | the same rows in every encoding, line end, quoting and date order; what cannot be read is named |
//! | `archives` | hostile archives are refused by name |
//! | `balance` | a row dropped or a cent changed at each hop ends in 65 |
//! | `crash` | killed at every point of its storage operations, a run loses and doubles nothing |
//! | `clouds` | a lake on a server has the cells of one on local disk |
//! | `credentials` | wrong, missing and expiring credentials of the storage; source and storage in two tenants |
//! | `concurrency` | several writers at once: the newest export stays, nothing is lost |
//! | `matrix` | every fault of the sandbox at every request ends in the same lake, at once or after the next run |
//! | `operations` | what a run asks of the storage stays the same after a thousand commits |
//! | `delta` | Delta tables: other readers, every version and time, healing, several accounts |
//! | `restatements` | what is told to have changed, what is not, and what holds a window |
//! | `compatibility` | the first release's lake is read and extended; a later one's is refused |
//! | `history` | tags, times, going back, held windows, changes, clean-up, status |
//! | `imitation` | a second imitation of the service, which nobody of the client has written, and a real blob server |
//! | `nights` | a year of nights: truth, restatements and history, with exports late and out of order |
//! | `sign_in` | login, runs that follow, status, logout; another person under the same alias is refused |
//! | `patience` | a day of waiting: few requests, tokens in time, no memory |
//! | `secrets` | every command, at its most talkative, tells no secret, on good ways and bad ones |
//! | `init` | from nothing to a pipeline file that works, with and without somebody to ask |
//! | `check` | what a run needs: sound, and wrong in one thing at a time |
//! | `personal` | what says something about a person is hashed, masked or dropped, and stands nowhere else |
//! | `probe` | what a probe tells of a service, that it tells nothing else, and that it loses no export |
//! | `explain` | a row of the lake and the bytes that it was made of |
//! | `quarantine` | refused rows: listed, shown, and published once when they fit |
//! | `requests` | export jobs: listed, shown, deleted, and what a clean-up left |
//! | `readers` | DuckDB, pyarrow, Polars and Spark on the published folders, also while months are replaced |
//! | `contract` | what every storage must do, on local disk, in memory and on servers |
//! | `contracts` | every word of a contract, told, counted and balanced |
//! | `windows` | what is due and why: tiers, gaps, payments, backfill, filters, what leaves the reach |
//! | `golden` | help and errors, word for word |
//! | `sandbox` | its faults by name and by the number of a request, and its log |
//! | `oracle` | random histories, with kills, against an oracle that shares no code (`tests/oracle/lake.py`) |

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod architecture;
mod archives;
mod balance;
mod check;
mod clouds;
mod compatibility;
mod concurrency;
mod contract;
mod contracts;
mod crash;
mod credentials;
mod delta;
mod e2e;
mod eras;
mod explain;
mod faults;
mod files;
mod golden;
mod history;
mod imitation;
mod init;
mod matrix;
mod nights;
mod one_row;
mod operations;
mod oracle;
mod patience;
mod personal;
mod probe;
mod quarantine;
mod readers;
mod requests;
mod restatements;
mod sandbox;
mod secrets;
mod servers;
mod sign_in;
mod texts;
mod windows;
mod world;
