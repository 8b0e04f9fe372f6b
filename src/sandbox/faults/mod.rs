//! What the imitation does wrong on purpose, for tests of what a client makes of it.
//!
//! ```text
//! list       every fault: name, reach, default, one line
//! injector   the middleware in front of the routes: counts requests, chooses faults, answers or cuts
//! answers    whole answers that stand in for the real one
//! shapes     other spellings of a good answer
//! wire       connections that can be reset, bodies that end early
//! ```

mod answers;
pub(super) mod injector;
mod list;
mod shapes;
pub(super) mod wire;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Dataset;
pub use list::{FAULTS, FaultKind, Known};

/// Faults that hit every third request, or three in a row.
const THREE: u64 = 3;

/// What a request is about. The names stand in the request log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// POST of a token endpoint.
    Token,
    DeviceCode,
    /// The page where a device code is typed.
    Page,
    /// POST of the API.
    Create,
    /// GET of the API.
    Status,
    /// DELETE of the API.
    Delete,
    Blob,
    /// Anything else.
    Other,
}

/// Which requests a fault can hit.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    pub routes: &'static [Route],
    /// The fault stays with the export that the request queues or names.
    pub kept: bool,
    /// For people.
    pub about: &'static str,
}

impl Reach {
    const fn requests(about: &'static str, routes: &'static [Route]) -> Self {
        Reach { routes, kept: false, about }
    }

    const fn kept(about: &'static str, routes: &'static [Route]) -> Self {
        Reach { routes, kept: true, about }
    }

    /// Whether the requests that it can hit belong to a data set.
    fn has_dataset(&self) -> bool {
        self.routes
            .iter()
            .any(|route| matches!(route, Route::Create | Route::Status | Route::Delete | Route::Blob))
    }
}

/// Which of the requests within reach a fault hits that names no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    First,
    EveryThird,
    /// Three in a row of every ten. From a position on: three in a row.
    Burst,
    /// All but the first. From a position on: for ever.
    Onward,
}

impl When {
    /// Whether the `nth` request within reach, from 1, is hit.
    fn hits(self, nth: u64) -> bool {
        match self {
            When::Always => true,
            When::First => nth == 1,
            When::EveryThird => nth.is_multiple_of(THREE),
            When::Burst => (1..=THREE).contains(&(nth % 10)),
            When::Onward => nth > 1,
        }
    }

    /// The last position that is hit when only the first is named.
    fn last(self, first: u64) -> u64 {
        match self {
            When::Always | When::First | When::EveryThird => first,
            When::Burst => first.saturating_add(THREE - 1),
            When::Onward => u64::MAX,
        }
    }

    /// For people.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            When::Always => "all of them",
            When::First => "the first",
            When::EveryThird => "every third",
            When::Burst => "the first three of every ten",
            When::Onward => "all but the first",
        }
    }
}

/// Numbers of requests, as they stand behind `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// `@k`: this one; a burst begins here.
    From(u64),
    /// `@k-m`, and with `u64::MAX` `@k..`: these.
    Range(u64, u64),
}

/// A fault, for both data sets or for one, by its own rule or at a position: `blob-corrupt`, `blob-corrupt:payments`,
/// `error-503@7`, `error-503@7-9`, `missing-role:payments@4..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// `None` is both.
    pub only: Option<Dataset>,
    /// `None` is the fault's own rule.
    pub at: Option<At>,
}

impl Fault {
    /// The fault for both data sets, by its own rule.
    #[must_use]
    pub fn everywhere(kind: FaultKind) -> Self {
        Fault { kind, only: None, at: None }
    }

    /// Whether it hits the request with this number, the `nth` within its reach.
    fn hits(&self, number: u64, nth: u64) -> bool {
        match self.at {
            None => self.kind.known().when.hits(nth),
            Some(At::From(first)) => (first..=self.kind.known().when.last(first)).contains(&number),
            Some(At::Range(first, last)) => (first..=last).contains(&number),
        }
    }
}

impl FaultKind {
    /// Its line of the list.
    #[must_use]
    pub fn known(self) -> &'static Known {
        // The list is made together with the kinds, in their order.
        &FAULTS[self as usize]
    }
}

/// Whether a fault is among those set for a data set without a position.
#[must_use]
pub fn is_set(faults: &[Fault], kind: FaultKind, dataset: Dataset) -> bool {
    faults.iter().any(|fault| {
        fault.kind == kind && fault.at.is_none() && fault.only.is_none_or(|only| only == dataset)
    })
}

/// The list as a table of Markdown.
#[must_use]
pub fn table() -> String {
    let mut text =
        String::from("| fault | can hit | without a position | what happens |\n|---|---|---|---|\n");
    for known in FAULTS {
        let when = known.when.about();
        text += &format!("| `{}` | {} | {when} | {} |\n", known.name, known.reach.about, known.about);
    }
    text
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number > 0);
        let parsed = if let Some(first) = text.strip_suffix("..") {
            number(first).map(|first| At::Range(first, u64::MAX))
        } else if let Some((first, last)) = text.split_once('-') {
            number(first).zip(number(last)).filter(|(k, m)| k <= m).map(|(k, m)| At::Range(k, m))
        } else {
            number(text).map(At::From)
        };
        parsed.ok_or_else(|| format!("'@{text}' is no position: '@7', '@7-9' or '@7..', counted from 1"))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::From(first) => write!(f, "@{first}"),
            At::Range(first, u64::MAX) => write!(f, "@{first}.."),
            At::Range(first, last) => write!(f, "@{first}-{last}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (text, at) = text.split_once('@').map_or((text, None), |(text, at)| (text, Some(at)));
        let (name, dataset) = text.split_once(':').map_or((text, None), |(name, only)| (name, Some(only)));
        let Some(known) = FAULTS.iter().find(|known| known.name == name) else {
            let near = FAULTS
                .iter()
                .map(|known| known.name)
                .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
            let near = near.unwrap_or_default();
            return Err(format!(
                "'{name}' is not a fault; did you mean '{near}'? `payoutlake sandbox --list-faults` shows them all"
            ));
        };
        let only = match dataset {
            None => None,
            Some(_) if !known.reach.has_dataset() => {
                return Err(format!("'{name}' hits sign-in, which belongs to no data set"));
            }
            Some(name) => Some(Dataset::parse(name).ok_or_else(|| {
                format!("'{name}' is not a data set; the data sets are transactionhistory and payments")
            })?),
        };
        Ok(Fault { kind: known.kind, only, at: at.map(str::parse).transpose()? })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.known().name)?;
        if let Some(dataset) = self.only {
            write!(f, ":{}", dataset.segment())?;
        }
        self.at.map_or(Ok(()), |at| at.fmt(f))
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_that_reads_back() {
        for known in FAULTS {
            assert_eq!(known.kind.known().name, known.name);
            let fault: Fault = known.name.parse().unwrap();
            assert_eq!((fault, fault.to_string().as_str()), (Fault::everywhere(known.kind), known.name));
            let narrow = format!("{}:payments", known.name);
            if known.reach.has_dataset() {
                let narrow: Fault = narrow.parse().unwrap();
                assert!(is_set(&[narrow], known.kind, Dataset::Payments));
                assert!(!is_set(&[narrow], known.kind, Dataset::TransactionHistory));
                assert_eq!(narrow.to_string(), format!("{}:payments", known.name));
            } else {
                assert!(narrow.parse::<Fault>().is_err(), "{narrow}");
            }
        }
        assert!("no-such-fault".parse::<Fault>().is_err());
        assert!("server-busy:nowhere".parse::<Fault>().is_err());
    }

    #[test]
    fn positions_read_back_and_count_from_one() {
        let hit = |text: &str| -> Vec<u64> {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.to_string(), text);
            (1..=12).filter(|number| fault.hits(*number, *number)).collect()
        };
        for (text, expected) in [
            ("error-503@4", vec![4]),
            ("error-503:payments@4-6", vec![4, 5, 6]),
            ("error-503@10..", vec![10, 11, 12]),
            ("error-503", vec![3, 6, 9, 12]),
            ("burst-503@4", vec![4, 5, 6]),
            ("burst-503", vec![1, 2, 3, 11, 12]),
            ("burst-503@4-4", vec![4]),
            ("lost-role@11", vec![11, 12]),
            ("hang", vec![1]),
        ] {
            assert_eq!(hit(text), expected, "{text}");
        }
        for bad in ["hang@", "hang@0", "hang@x", "hang@3-2", "hang@-3", "hang@..", "hang@1@2", "hang@1.."] {
            assert_eq!(bad.parse::<Fault>().is_err(), bad != "hang@1..", "{bad}");
        }
    }
}
