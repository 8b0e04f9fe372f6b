//! Step 1 to 3: asks Partner Center for an export, waits for it, and brings its bytes home.
//!
//! ```text
//! [1 submit -> 2 wait -> 3 download] | 4 decode      | 5 normalise         | 6 write      | 7 commit   | 8 query
//! [source                          ] | decode        | normalise           | load         | load       | query
//!  THIS ROOM                           zip gz csv tsv| types, quarantine,  | split, sort, | manifest,  | DataFusion
//!  requestId in the ledger             -> RawBatch   | control totals      | objects      | publish    | SQL
//!  before the first wait
//! ```
//!
//! One export, as this room sees it:
//!
//! ```text
//! submit    POST   {api}/payouts/transactionhistory?fileformat=csv&$filter=...   -> requestId 93c2b3cf-...
//! status    GET    {api}/payouts/transactionhistory/93c2b3cf-...                 -> Queued, Processing, Completed
//! download  GET    https://{account}.blob.core.windows.net/...?{signature}       -> a file, its length and its SHA-256
//! delete    DELETE {api}/payouts/transactionhistory/93c2b3cf-...                 -> Deleted
//! ```
//!
//! Rules of the room:
//! 1. It knows bytes, never rows: no archive, no table, no meaning of a column.
//! 2. The bearer token goes to the API host alone. The blob host gets the signed address and nothing else, and only when
//!    its name is on the list. No redirect is followed.
//! 3. What another server says is quoted only after `quote` has taken every secret out of it.
//! 4. What may pass by itself is tried again within one budget ([`Options::retry_budget_secs`]); everything else fails
//!    at once with the one next step.
//! 5. A repeated POST carries the id of the first one, so that a lost answer does not queue a second day of waiting.
//!
//! | file | holds |
//! |---|---|
//! | `client` | the verbs: sign in, submit, status, delete, download |
//! | `call` | one API call: token, headers, repeats, the refresh after a 401 |
//! | `answer` | the shapes in which the service answers |
//! | `refusal` | what a status code means, and who can mend it |
//! | `blob`, `part` | the verified download, and the bytes that have come so far |
//! | `auth/` | one file for each way to sign in, the token cache, the sign-in's own errors |
//! | `filter` | the text of `$filter` |
//! | `retry`, `poll` | when to try again, when to look again |
//! | `host`, `quote` | who may be spoken to, and what of their words may be printed |
//! | `witness`, `signature` | what answers and addresses look like, apart from what they say: for `check --probe` |

mod answer;
pub mod auth;
mod blob;
mod call;
mod client;
mod export;
pub mod filter;
mod host;
mod http;
mod options;
mod part;
mod poll;
mod quote;
mod refusal;
mod retry;
mod signature;
#[cfg(test)]
mod tests;
mod witness;

pub use auth::{Auth, Way};
pub use blob::{Download, Downloaded};
pub use client::{Client, Looked};
pub use export::{Asked, BlobLocation, Deleted, Export, ExportRequest, FileFormat, Status};
pub use options::{Options, Poll};
pub use poll::next_poll;
pub use signature::Signature;
pub use witness::{Seen, SeenAnswer, SeenBlob};
