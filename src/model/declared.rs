//! What a person says of a text because it cannot say it itself.

use serde::{Deserialize, Serialize};

/// How `9/10/2026` is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateOrder {
    /// The tenth of September, as in the United States.
    MonthFirst,
    /// The ninth of October.
    DayFirst,
}

impl DateOrder {
    pub const NAMES: [&str; 2] = ["month-first", "day-first"];

    /// As pipeline files and command lines spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DateOrder::MonthFirst => "month-first",
            DateOrder::DayFirst => "day-first",
        }
    }
}

/// How characters stand in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "utf-16le")]
    Utf16Le,
    #[serde(rename = "utf-16be")]
    Utf16Be,
    /// Western European Windows. Nearly every sequence of bytes is one, so nothing but a person can tell that it is.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

impl Encoding {
    pub const NAMES: [&str; 4] = ["utf-8", "utf-16le", "utf-16be", "windows-1252"];

    /// As pipeline files and command lines spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Utf8 => "utf-8",
            Encoding::Utf16Le => "utf-16le",
            Encoding::Utf16Be => "utf-16be",
            Encoding::Windows1252 => "windows-1252",
        }
    }
}

/// All of it; the default says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Declared {
    pub encoding: Option<Encoding>,
    pub quotes: bool,
    pub date_order: Option<DateOrder>,
}

impl Default for Declared {
    fn default() -> Self {
        Declared { encoding: None, quotes: true, date_order: None }
    }
}

impl Declared {
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Declared::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_pipeline_files_spell() {
        for name in Encoding::NAMES {
            assert_eq!(serde_json::from_value::<Encoding>(name.into()).unwrap().as_str(), name);
        }
        for name in DateOrder::NAMES {
            assert_eq!(serde_json::from_value::<DateOrder>(name.into()).unwrap().as_str(), name);
        }
    }
}
