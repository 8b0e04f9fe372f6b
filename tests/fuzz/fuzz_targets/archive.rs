//! Any bytes as a downloaded file: plain, gzip or zip, by what they say themselves.
//!
//! Whatever they are, they are read within the limits or refused as a contract; and how rows are cut into batches changes
//! nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use payoutlake_fuzz::decode::Options;
use payoutlake_fuzz::{read, small_limits};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes, &small_limits()).map_err(|error| error.to_string());
    let rows_one_by_one = Options { batch_bytes: 1, ..small_limits() };
    assert_eq!(whole, read(bytes, &rows_one_by_one).map_err(|error| error.to_string()));
});
