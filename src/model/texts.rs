//! A column of texts, whichever way Arrow holds it.

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, StringArray};
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

    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Texts::Plain(texts) => texts.len(),
            Texts::Coded { keys, .. } => keys.len(),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// Sums the amounts of some rows by the text beside them. An amount without one stands under an empty text; nothing is
    /// nothing in every currency, and is left out there.
    pub fn sums(&self, amounts: &Decimal128Array, rows: impl Iterator<Item = usize>) -> Vec<(&'a str, i128)> {
        let rows = rows.filter(|row| amounts.is_valid(*row));
        let mut sums: Vec<(&str, i128)> = Vec::new();
        match self {
            Texts::Coded { keys, entries } => {
                // The last is of the amounts without a text.
                let mut by_code: Vec<Option<i128>> = vec![None; entries.len() + 1];
                for row in rows {
                    let code = if keys.is_valid(row) { usize::from(keys.value(row)) } else { entries.len() };
                    by_code[code] =
                        Some(by_code[code].unwrap_or_default().saturating_add(amounts.value(row)));
                }
                let text = |code: usize| if code < entries.len() { entries.value(code) } else { "" };
                let found = by_code.into_iter().enumerate();
                sums.extend(found.filter_map(|(code, sum)| Some((text(code), sum?))));
            }
            // A handful of currencies: a scan over them is quicker than a map.
            Texts::Plain(_) => {
                for row in rows {
                    let (text, amount) = (self.get(row).unwrap_or_default(), amounts.value(row));
                    match sums.iter_mut().find(|(known, _)| *known == text) {
                        Some((_, sum)) => *sum = sum.saturating_add(amount),
                        None => sums.push((text, amount)),
                    }
                }
            }
        }
        sums.retain(|(text, sum)| !text.is_empty() || *sum != 0);
        sums
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn sums_are_the_same_whichever_way_the_texts_are_held() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![
            Some("EUR"),
            None,
            Some("USD"),
            Some("EUR"),
            Some(""),
            Some("JPY"),
        ]));
        let kind = DataType::Dictionary(DataType::UInt16.into(), DataType::Utf8.into());
        let coded = cast(&plain, &kind).unwrap();
        let amounts = Decimal128Array::from(vec![Some(1), Some(2), Some(3), Some(4), Some(0), None]);
        for column in [&plain, &coded] {
            let texts = Texts::of(column).unwrap();
            assert_eq!(texts.plain(), *plain.as_string::<i32>());
            let sums = |rows: &[usize]| {
                let mut sums = texts.sums(&amounts, rows.iter().copied());
                sums.sort_unstable();
                sums
            };
            assert_eq!(sums(&[0, 1, 2, 3, 4, 5]), [("", 2), ("EUR", 5), ("USD", 3)]);
            assert_eq!(sums(&[4, 5]), []);
        }
    }
}
