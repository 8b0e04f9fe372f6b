//! Containers and delimited text become raw batches.
//!
//! ```text
//!  1 submit -> 2 wait -> 3 download | [4 decode]    | 5 normalise | 6 write | 7 commit | 8 query
//!                                     zip gz csv tsv
//!                                     -> RawBatch
//!                                     ^^^^^^^^^^^^ THIS STAGE
//! ```
//!
//! The example row, as it stands in the file and as it leaves this stage:
//!
//! ```text
//! "E-1","Contoso, Ltd.",12.50,USD        line 2 of export.zip!2026-09_1.csv
//! [E-1][Contoso, Ltd.][12.50][USD]       RawBatch::line(0) == 2
//! ```
//!
//! What a file is, its bytes say and never its name. A [`Decoder`] gives the text files of one downloaded file in
//! order (one for plain text and gzip, one for each entry of a zip), and a [`TextFile`] gives its header and then
//! batches of rows. Everything streams; memory depends on [`Options`] and not on the size of the file.
//!
//! What a column means, and whether a row has the right number of cells, is for the next stage to say. This stage
//! refuses only what makes the bytes as a whole doubtful: a file that is no delimited text, a damaged or hostile
//! archive, a record beyond the limits, a file that ends in the middle of a record. Such a refusal is an error of
//! kind [`Contract`](crate::error::Kind::Contract) and concerns the whole file.
//!
//! # The text format
//!
//! * UTF-8, with or without a byte order mark; UTF-16 of both orders with its mark, or without one when the first line
//!   leaves no doubt; Windows-1252 and UTF-16 without a mark when somebody declares it ([`Options::encoding`]). A mark is
//!   believed before a declaration. Cells are passed on as bytes of UTF-8 (what has no character as bytes that are
//!   none, for the next stage to refuse); the header must be UTF-8.
//! * Cells are parted by comma, tab or semicolon: whichever gives the widest header.
//! * LF, CRLF and a lone CR end a line; lines without any byte are skipped everywhere.
//! * A double quote at the start of a cell quotes it, and a doubled quote inside stands for one. A quote anywhere
//!   else is kept as it is, and a record with text behind a closing quote is marked: where it ends is doubtful. This holds for tabs
//!   as well: whether Microsoft quotes in its TSV is not documented. [`Options::quotes`] turns it off.
//! * Lines before the header are skipped, up to [`Options::max_preamble_lines`]: the header is the first record
//!   that reads like names and is more than half as wide as the widest such record.
//! * A file of no bytes, of a byte order mark, or of a header alone has zero rows. That is a result, not an error.

mod ahead;
mod archive;
mod blocks;
mod census;
mod container;
mod encoding;
mod header;
mod limits;
mod lines;
mod money;
mod record;
mod sniff;
mod spelling;
mod split;
mod text;

#[cfg(test)]
mod tests;

pub use census::Census;
pub use container::{Container, Decoder};
pub use limits::Options;
pub use money::{MoneyCensus, census_of_record};
pub use record::{batch_of_records, record_as};
pub use spelling::Spelling;
pub use text::TextFile;
