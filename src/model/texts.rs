//! A column of texts, whichever way Arrow holds it.

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringArray};
use arrow::datatypes::UInt16Type;

/// Texts as they stand, or as numbers of dictionary entries.
#[derive(Debug, Clone, Copy)]
pub enum Texts<'a> {
    Plain(&'a StringArray),
    Coded { keys: &'a PrimitiveArray<UInt16Type>, entries: &'a StringArray },
}

impl<'a> Texts<'a> {
    /// `None` when the column has no texts.
    #[must_use]
    pub fn of(column: &'a ArrayRef) -> Option<Self> {
        match column.as_dictionary_opt::<UInt16Type>() {
            Some(coded) => {
                Some(Texts::Coded { keys: coded.keys(), entries: coded.values().as_string_opt()? })
            }
            None => column.as_string_opt().map(Texts::Plain),
        }
    }

    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Texts::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Texts::Coded { keys, entries } => {
                keys.is_valid(row).then(|| entries.value(usize::from(keys.value(row))))
            }
        }
    }

    /// As they stand.
    #[must_use]
    pub fn plain(&self) -> StringArray {
        match self {
            Texts::Plain(texts) => (*texts).clone(),
            Texts::Coded { keys, .. } => (0..keys.len()).map(|row| self.get(row)).collect(),
        }
    }
}
