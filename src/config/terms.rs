//! How rows are typed: the words of `[contract]`, and what `[datasets.personal]` says is done to each column.

use std::collections::BTreeMap;

use super::Environment;
use super::file::{PersonalSection, PipelineFile};
use crate::error::{Error, Kind, Result};
use crate::model::DatasetName;
use crate::normalise::{Contract, HashKey, Options, Personal, Treatment};
use crate::pipeline::Raw;
use crate::schema::{Column, Dataset, LogicalType, Registry};

/// The key that stands for every column that the schema marks.
const DEFAULT: &str = "default";

/// A shorter key can be guessed.
const MIN_KEY_BYTES: usize = 16;

/// # Errors
/// [`Kind::Config`] for a key that stands in the file itself, or is too short.
pub(super) fn key(section: &PersonalSection, environment: &Environment) -> Result<Option<HashKey>> {
    let Some(written) = &section.key else { return Ok(None) };
    let wrong = |message: &str| {
        Error::new(Kind::Config, message).with("key", "personal.key").hint(
            "write key = \"${env:PAYOUTLAKE_HASH_KEY}\", and set it to a random text: openssl rand -hex 32",
        )
    };
    if !(written.expose().starts_with("${") && written.expose().ends_with('}')) {
        return Err(wrong("the key of the hashes must not stand in the pipeline file"));
    }
    let key = crate::secret::Secret::new(environment.expand("personal.key", written.expose())?);
    if key.expose().len() < MIN_KEY_BYTES {
        return Err(wrong("the key of the hashes is too short: it needs 16 characters at least"));
    }
    Ok(Some(HashKey::new(&key)))
}

/// What is done to the columns of a dataset.
///
/// # Errors
/// [`Kind::Config`] for a column that is not there or cannot be treated so, or a hash without a key.
pub(super) fn personal(
    dataset: &Dataset,
    section: &BTreeMap<String, Treatment>,
    key: Option<&HashKey>,
) -> Result<Personal> {
    let mut columns = BTreeMap::new();
    if let Some(default) = section.get(DEFAULT) {
        let marked = dataset.newest().columns.iter().filter(|column| column.personal);
        columns.extend(marked.map(|column| (column.name.clone(), *default)));
    }
    columns.extend(
        section.iter().filter(|(name, _)| *name != DEFAULT).map(|(name, word)| (name.clone(), *word)),
    );
    for (name, treatment) in &columns {
        let column = dataset.newest().column(name).ok_or_else(|| unknown(dataset, name))?;
        if let Some(why) = refusal(dataset, column, *treatment) {
            return Err(Error::new(Kind::Config, format!("the column `{name}` cannot be treated like this: {why}"))
                .with("dataset", &dataset.name)
                .with("key", format!("datasets.personal.{name}"))
                .hint("write \"keep\", \"hash\", \"mask\" or \"drop\" as it fits; src/docs/contracts.md says what fits where"));
        }
    }
    if key.is_none() && columns.values().any(|treatment| *treatment == Treatment::Hash) {
        return Err(Error::new(Kind::Config, "columns are to be hashed, and `personal.key` is missing")
            .with("dataset", &dataset.name)
            .hint("add [personal] with key = \"${env:PAYOUTLAKE_HASH_KEY}\""));
    }
    Ok(Personal { columns, key: key.cloned() })
}

/// Why a column cannot be treated so.
fn refusal(dataset: &Dataset, column: &Column, treatment: Treatment) -> Option<&'static str> {
    let columns = &dataset.newest().columns;
    let names_currency = |other: &Column| matches!(&other.currency, Some(crate::model::Currency::Column(name)) if *name == column.name);
    let (name, lossy) = (&column.name, matches!(treatment, Treatment::Drop | Treatment::Mask));
    if treatment == Treatment::Keep {
        None
    } else if column.logical == LogicalType::Money || columns.iter().any(names_currency) {
        Some("it is money, or the currency of money, and must balance")
    } else if dataset.driving_date == *name {
        Some("it dates the row")
    } else if lossy && (dataset.key.contains(name) || dataset.pending.as_ref() == Some(name)) {
        Some("it tells rows apart; \"hash\" leaves that")
    } else if treatment == Treatment::Drop && column.required {
        Some("no row is without it")
    } else if treatment != Treatment::Drop && column.logical != LogicalType::String {
        Some("it is no text; \"drop\" makes it null")
    } else {
        None
    }
}

fn unknown(dataset: &Dataset, name: &str) -> Error {
    let columns = &dataset.newest().columns;
    let near = columns.iter().min_by_key(|column| strsim::damerau_levenshtein(&column.name, name));
    let personal: Vec<&str> =
        columns.iter().filter(|column| column.personal).map(|column| column.name.as_str()).collect();
    let near = near.map(|column| format!("did you mean `{}`? ", column.name)).unwrap_or_default();
    Error::new(Kind::Config, format!("there is no column `{name}`"))
        .with("dataset", &dataset.name)
        .with("key", format!("datasets.personal.{name}"))
        .hint(format!("{near}Personal data is in: {}", personal.join(", ")))
}

/// How the rows of each dataset are typed, also of those that the file does not export but that may be loaded by hand.
pub(super) fn terms(
    file: &PipelineFile,
    registry: &Registry,
    offline: bool,
    environment: &Environment,
) -> Result<BTreeMap<DatasetName, Options>> {
    // Whoever loads nothing needs no key.
    let hash_key = if offline { None } else { key(&file.personal, environment)? };
    let of = |dataset: &Dataset| {
        let all = file.contract.over(Contract::default());
        let section = file.datasets.iter().find(|section| section.name == dataset.name.as_str());
        let Some(section) = section else {
            return Ok(Options { contract: all, ..Options::default() });
        };
        let personal = match offline {
            true => Personal::default(),
            false => personal(dataset, &section.personal, hash_key.as_ref())?,
        };
        Ok(Options { contract: section.contract.over(all), personal })
    };
    registry.datasets().map(|dataset| Ok((dataset.name.clone(), of(dataset)?))).collect()
}

/// Whether downloaded files are kept: where personal data is treated, only on a word that says so.
pub(super) fn raw(written: Option<Raw>, is_treated: bool) -> Result<Raw> {
    match (written, is_treated) {
        (None, true) => Ok(Raw::None),
        (None, false) => Ok(Raw::Keep),
        (Some(Raw::Keep), true) => Err(Error::new(
            Kind::Config,
            "`raw = \"keep\"` would keep the personal data that [datasets.personal] hashes, masks or drops",
        )
        .with("key", "raw")
        .hint("write raw = \"none\"; or raw = \"keep-personal\", if the files shall be kept with all that is in them")),
        (Some(raw), _) => Ok(raw),
    }
}
