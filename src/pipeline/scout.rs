//! A second look at a file, ahead of its rows, for what only the whole text can tell: in which order it writes month and
//! day. Files without slashed dates are read once.

use super::process::Input;
use crate::decode::{self, Decoder};
use crate::error::Result;
use crate::normalise::Survey;

/// Opens the file when it is first asked.
pub(super) struct Scout<'a> {
    input: &'a Input<'a>,
    decode: &'a decode::Options,
    decoder: Option<Decoder>,
}

impl<'a> Scout<'a> {
    pub fn new(input: &'a Input<'a>, decode: &'a decode::Options) -> Self {
        Scout { input, decode, decoder: None }
    }

    /// Looks at all rows of the text at a place. Places are asked for in order, and each once.
    ///
    /// # Errors
    /// As those of a [`Decoder`]: what is wrong behind the rows that were read so far is found here first.
    pub fn look(&mut self, place: usize, survey: &mut Survey) -> Result<()> {
        let Input { file, name, .. } = self.input;
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => self.decoder.insert(Decoder::open(file, name, self.decode)?),
        };
        decoder.go_to(place);
        if let Some(mut text) = decoder.next_file()? {
            while let Some(batch) = text.next_batch()? {
                survey.look(&batch);
            }
        }
        Ok(())
    }
}
