//! What says something about a person is hashed, masked or dropped before anything else looks at it: so what is refused,
//! kept in `_pc_extra`, hashed as a row or told as a fault has nothing of it either.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ring::hmac;
use serde::{Deserialize, Serialize};

use super::contract::OnColumn;
use crate::model::RawBatch;
use crate::schema::{Column, HeaderMatch, comparable_name};
use crate::secret::Secret;

/// What is done to the cells of a column. A blank cell stays blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    #[default]
    Keep,
    /// It becomes blank.
    Drop,
    /// HMAC-SHA-256 under a key, in hex: equal texts stay equal, in whatever column they stand.
    Hash,
    /// Its first character and `***`.
    Mask,
}

/// The key of the hashes. It cannot be printed.
#[derive(Clone)]
pub struct HashKey {
    key: hmac::Key,
    id: String,
}

impl HashKey {
    #[must_use]
    pub fn new(secret: &Secret) -> HashKey {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        // Tells keys apart, and nothing of the key.
        let id = hex(hmac::sign(&key, b"payoutlake key id").as_ref())[..8].to_owned();
        HashKey { key, id }
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[key {}]", self.id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the columns of a dataset are treated, by their names in the table.
#[derive(Debug, Clone, Default)]
pub struct Personal {
    /// Those that somebody has said something about.
    pub columns: BTreeMap<String, Treatment>,
    pub key: Option<HashKey>,
}

impl Personal {
    /// Whether some column is not kept as it is.
    #[must_use]
    pub fn treats_any(&self) -> bool {
        self.columns.values().any(|treatment| *treatment != Treatment::Keep)
    }

    /// What is done to each column, as the lake keeps it: `hash:1a2b3c4d`, `mask`, `drop`, `keep`.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let id = self.key.as_ref().map(|key| key.id.as_str()).unwrap_or_default();
        let label = |treatment: &Treatment| match treatment {
            Treatment::Keep => "keep".to_owned(),
            Treatment::Drop => "drop".to_owned(),
            Treatment::Mask => "mask".to_owned(),
            Treatment::Hash => format!("hash:{id}"),
        };
        self.columns.iter().map(|(name, treatment)| (name.clone(), label(treatment))).collect()
    }

    /// Names of the columns that are not kept as they are.
    #[must_use]
    pub fn treated(&self) -> Vec<&str> {
        let treated = self.columns.iter().filter(|(_, treatment)| **treatment != Treatment::Keep);
        treated.map(|(name, _)| name.as_str()).collect()
    }

    /// Without those columns: their cells were treated once.
    #[must_use]
    pub fn without(mut self, done: &BTreeSet<&str>) -> Personal {
        self.columns.retain(|name, _| !done.contains(name.as_str()));
        self
    }
}

/// The cells of a file that are treated.
pub(super) struct Treated {
    cells: BTreeMap<usize, Treatment>,
    key: Option<HashKey>,
    width: usize,
}

impl Treated {
    /// `None` when all are kept.
    pub fn new(
        personal: &Personal,
        columns: &[Column],
        matched: &HeaderMatch,
        unknown: OnColumn,
    ) -> Option<Treated> {
        let mut cells = BTreeMap::new();
        if unknown == OnColumn::Discard {
            // Nobody knows what they say: they are not kept with refused rows either.
            cells.extend(matched.unknown.iter().map(|(cell, _)| (*cell, Treatment::Drop)));
        }
        for (column, cell) in columns.iter().zip(&matched.cells) {
            let treatment = personal.columns.get(&column.name).copied().unwrap_or_default();
            if treatment == Treatment::Keep {
                continue;
            }
            cells.extend(cell.map(|cell| (cell, treatment)));
            // Another header of the same column goes to `_pc_extra`.
            let spellings =
                std::iter::once(&column.published).chain(&column.also).chain(&column.falls_back_to);
            let spellings: BTreeSet<String> = spellings.map(|name| comparable_name(name)).collect();
            let duplicates = matched.duplicates.iter().filter(|duplicate| duplicate.column == column.name);
            cells.extend(duplicates.map(|duplicate| (duplicate.extra, treatment)));
            let unknown =
                matched.unknown.iter().filter(|(_, name)| spellings.contains(&comparable_name(name)));
            cells.extend(unknown.map(|(cell, _)| (*cell, treatment)));
        }
        // A pipeline that treats columns which the file lacks keeps nothing of its broken records either.
        personal.treats_any().then(|| Treated { cells, key: personal.key.clone(), width: matched.width })
    }

    /// The rows with their cells treated. Of a record whose cells may stand anywhere none is kept.
    pub fn apply(&self, raw: &RawBatch) -> RawBatch {
        let mut treated = RawBatch::with_capacity(raw.bytes(), raw.rows() * self.width, raw.rows());
        let (mut data, mut ends) = (Vec::new(), Vec::new());
        for row in 0..raw.rows() {
            data.clear();
            ends.clear();
            let is_whole = raw.width(row) == self.width && !raw.is_misquoted(row);
            for (index, cell) in raw.cells(row).enumerate() {
                match self.cells.get(&index) {
                    _ if !is_whole => {}
                    None | Some(Treatment::Keep) => data.extend_from_slice(cell),
                    Some(_) if cell.trim_ascii().is_empty() => {}
                    Some(treatment) => self.treat(*treatment, cell, &mut data),
                }
                ends.push(data.len());
            }
            treated.push_row(raw.line(row), &data, &ends);
            if raw.is_misquoted(row) {
                treated.mark_misquoted();
            }
        }
        treated
    }

    fn treat(&self, treatment: Treatment, cell: &[u8], out: &mut Vec<u8>) {
        match (treatment, &self.key) {
            (Treatment::Hash, Some(key)) => {
                out.extend_from_slice(hex(hmac::sign(&key.key, cell).as_ref()).as_bytes());
            }
            (Treatment::Mask, _) => {
                let first = String::from_utf8_lossy(cell).trim_start().chars().next();
                out.extend_from_slice(format!("{}***", first.unwrap_or_default()).as_bytes());
            }
            // Without a key nothing can be hashed, and so nothing is kept.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_rfc_4231_and_the_key_is_not_printed() {
        let key = HashKey::new(&Secret::new("Jefe"));
        let treated = Treated {
            cells: [(0, Treatment::Hash), (1, Treatment::Mask), (2, Treatment::Drop)].into(),
            key: Some(key.clone()),
            width: 4,
        };
        let mut raw = RawBatch::new();
        raw.push_row(2, "what do ya want for nothing?Ärger,x,y".as_bytes(), &[28, 34, 36, 38]);
        raw.push_row(3, b" ", &[0, 1, 1, 1]);
        raw.push_row(4, b"secret", &[6]);
        let done = treated.apply(&raw);
        let cells: Vec<&[u8]> = done.cells(0).collect();
        assert_eq!(cells[0], b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(cells[1..], ["Ä***".as_bytes(), b"", b",y"]);
        assert!(done.cells(1).all(<[u8]>::is_empty));
        assert_eq!((done.width(2), done.cell(2, 0)), (1, Some(&b""[..])));
        assert_eq!(done.line(2), 4);
        let printed = format!("{key:?} {:?}", Personal { columns: BTreeMap::new(), key: Some(key.clone()) });
        assert!(!printed.contains("Jefe"), "{printed}");
    }
}
