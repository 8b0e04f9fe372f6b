//! All datasets that this program knows: the built-in ones, and those of a user's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};

use super::check::check;
use super::dataset::Dataset;
use super::parse::Source;

macro_rules! built_in {
    ($($path:literal),* $(,)?) => {
        /// Every file of `schemas/`, with its text.
        const BUILT_IN: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../schemas/", $path)))),*];
    };
}

built_in! {
    "earnings_growth/dataset.toml",
    "earnings_growth/v1.toml",
    "earnings_growth/v2.toml",
    "earnings_marketplace/dataset.toml",
    "earnings_marketplace/v1.toml",
    "earnings_store/dataset.toml",
    "earnings_store/v1.toml",
    "earnings_summarized/dataset.toml",
    "earnings_summarized/v1.toml",
    "historical_statements_paid/dataset.toml",
    "historical_statements_paid/v1.toml",
    "historical_statements_reserved/dataset.toml",
    "historical_statements_reserved/v1.toml",
    "ineligible_revenue_usage/dataset.toml",
    "ineligible_revenue_usage/v1.toml",
    "max_cap_balance/dataset.toml",
    "max_cap_balance/v1.toml",
    "payments/dataset.toml",
    "payments/v1.toml",
    "payments/v2.toml",
    "payments/v3.toml",
    "transaction_history/dataset.toml",
    "transaction_history/v1.toml",
    "transaction_history/v2.toml",
    "transaction_history/v3.toml",
    "transaction_history/v4.toml",
    "transaction_history/v5.toml",
    "transaction_history/v6.toml",
    "transaction_history/v7.toml",
    "transaction_history/v8.toml",
    "transaction_history/v9.toml",
}

/// The datasets by name.
#[derive(Debug, Clone)]
pub struct Registry {
    datasets: Vec<Dataset>,
    // By dataset and file name, so that a folder can be laid over what is there.
    sources: BTreeMap<(String, String), Source>,
}

impl Registry {
    /// The datasets that come with the program.
    ///
    /// # Errors
    /// [`Kind::Config`] when a built-in file is unsound; a test keeps that from happening.
    pub fn built_in() -> Result<Registry> {
        let mut sources = BTreeMap::new();
        for (path, text) in BUILT_IN {
            let (dataset, file) = path.split_once('/').unwrap_or((path, ""));
            let source = Source { file: format!("schemas/{path}"), text: (*text).to_owned() };
            sources.insert((dataset.to_owned(), file.to_owned()), source);
        }
        build(sources)
    }

    /// The built-in datasets, and those of a user's folder if there is one.
    ///
    /// # Errors
    /// As [`Registry::with_folder`].
    pub fn load(folder: Option<&Path>) -> Result<Registry> {
        let registry = Registry::built_in()?;
        match folder {
            Some(folder) => registry.with_folder(folder),
            None => Ok(registry),
        }
    }

    /// Adds the files `<folder>/<dataset>/dataset.toml` and `<folder>/<dataset>/vN.toml`.
    ///
    /// # Errors
    /// [`Kind::Config`] when the folder cannot be read, a file is unsound, or one differs from a released file of
    /// the same name: rows in the lake carry that version's number.
    pub fn with_folder(self, folder: &Path) -> Result<Registry> {
        let mut sources = self.sources;
        for dataset in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
            for file in
                entries(&dataset)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml"))
            {
                let text = fs::read_to_string(&file).map_err(|cause| unreadable(&file, cause))?;
                let source = Source { file: file.display().to_string(), text };
                let key = (last_name(&dataset), last_name(&file));
                if let Some(released) = sources.get(&key)
                    && released.text != source.text
                {
                    return Err(source
                        .wrong(0, format!("this file would replace the released '{}'", released.file))
                        .hint("Give your version the next free number: a released version never changes."));
                }
                sources.insert(key, source);
            }
        }
        build(sources)
    }

    /// # Errors
    /// [`Kind::Config`] for an unknown name, with the nearest known one.
    pub fn dataset(&self, name: &str) -> Result<&Dataset> {
        if let Some(dataset) = self.datasets.iter().find(|dataset| dataset.name.as_str() == name) {
            return Ok(dataset);
        }
        let known: Vec<&str> = self.datasets.iter().map(|dataset| dataset.name.as_str()).collect();
        let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
        let error =
            Error::new(Kind::Config, format!("there is no dataset '{name}'")).with("known", known.join(", "));
        Err(match nearest {
            Some(nearest) => error.hint(format!("Did you mean '{nearest}'?")),
            None => error,
        })
    }

    /// In the order of their names.
    pub fn datasets(&self) -> impl Iterator<Item = &Dataset> {
        self.datasets.iter()
    }
}

fn build(sources: BTreeMap<(String, String), Source>) -> Result<Registry> {
    let mut datasets: BTreeMap<&str, Dataset> = BTreeMap::new();
    for ((folder, file), source) in &sources {
        if file == "dataset.toml" {
            datasets.insert(folder, source.dataset(folder)?);
        }
    }
    for ((folder, file), source) in sources.iter().filter(|((_, file), _)| file != "dataset.toml") {
        let Some(number) = version_number(file) else {
            return Err(source.wrong(0, "a schema file is called dataset.toml or vN.toml, with N from 1"));
        };
        let Some(dataset) = datasets.get_mut(folder.as_str()) else {
            return Err(source.wrong(0, "a dataset.toml is missing beside this version"));
        };
        dataset.versions.push(source.version(number)?);
    }
    let mut datasets: Vec<Dataset> = datasets.into_values().collect();
    for dataset in &mut datasets {
        dataset.versions.sort_by_key(|version| version.number);
        check(dataset)?;
    }
    let all: Arc<[Dataset]> = datasets.clone().into();
    datasets.iter_mut().for_each(|dataset| dataset.all = Arc::clone(&all));
    Ok(Registry { datasets, sources })
}

/// `v9.toml` -> 9; one spelling for each number.
fn version_number(file: &str) -> Option<u32> {
    let number: u32 = file.strip_prefix('v')?.strip_suffix(".toml")?.parse().ok()?;
    (number > 0 && file == format!("v{number}.toml")).then_some(number)
}

fn entries(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    let read = || -> std::io::Result<Vec<_>> {
        let mut paths =
            fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    read().map_err(|cause| unreadable(folder, cause))
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    Error::new(Kind::Config, "the schema folder cannot be read")
        .with("path", path.display())
        .caused_by(cause)
        .hint("Name a folder that holds <dataset>/vN.toml, and that this user may read.")
}

fn last_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Currency;
    use sha2::{Digest, Sha256};

    /// SHA-256 of each released version.
    const RELEASED: &[(&str, &str)] = &[
        ("earnings_growth/v1.toml", "8047d11c701121f9d6ffb4cff3a67471004047d0a62c4879b56b87573339af75"),
        ("earnings_growth/v2.toml", "f19cfe772b908b30bffe73a2853422edfeaa57e96d4cebc61e0f07f99c249079"),
        ("earnings_marketplace/v1.toml", "a030737ed720253d59913b7cfb576ab045c9c8669ee060f0d78fc541b7b25b13"),
        ("earnings_store/v1.toml", "baac0ab6e38ccf45691bebce363d41ae2b4542ff41a6211f9a58112bfe26d67b"),
        ("earnings_summarized/v1.toml", "7a38e6a6a1bbf201ae4133b4c0f0440b38b041e84bf586ee888b0f2c5545b231"),
        (
            "historical_statements_paid/v1.toml",
            "860f40454598ef2ca88ccc6f7d8c36c892d2d2e006030123190f34b2f8198768",
        ),
        (
            "historical_statements_reserved/v1.toml",
            "a7de065b926795af8ffd72f217a0a7c000d95c1e70128f56a4029cdf1c792ef5",
        ),
        (
            "ineligible_revenue_usage/v1.toml",
            "8d515da8544e3d820a80d52e652ae7ddc43733ec28e529a51aa4143d8e0100c3",
        ),
        ("max_cap_balance/v1.toml", "f229fb66be8d42239344fcf3ffc378112d89d6ff1ac3c7b387df484321022f9c"),
        ("payments/v1.toml", "cbc274fa01f12e405cb8660ef603a4fb02b4cba9492429d56ee1e2bea7eb0362"),
        ("payments/v2.toml", "73726aa9e1f548c4e53299885764e2a1dd84817c45d701831b42bea806640fda"),
        ("payments/v3.toml", "9aa4dd20bea0155f4c7471a8270e29ead676fa0cdc5efcd3f0720e76212da1ab"),
        ("transaction_history/v1.toml", "a1b461e011c4713531fe81c478f6e92bcf17f20b456a8787e289c2c051210ee4"),
        ("transaction_history/v2.toml", "a74f96cd2d2f0a55b6db89fe62c2281e05f5e42d8e0a9cdf2c61a67712933bb9"),
        ("transaction_history/v3.toml", "b9370500693d91b31e340466ced85d106d650879b703c66d45e4e01f5416af8f"),
        ("transaction_history/v4.toml", "9acc75ac26048f25a09787b9ffb7275578fc0682f480d6a5b8b4f13595208dc4"),
        ("transaction_history/v5.toml", "7270dad0819244899227c8883d728b08262a0be0a4225b71887948abd323145e"),
        ("transaction_history/v6.toml", "1aa6a84941072f9f3efe80d48c09669059e3399cd0a65f9b4cbca3a1ae0ba4eb"),
        ("transaction_history/v7.toml", "a9a695b4670b0b4f10e354928e05176872f21cd8dda7a839a21c12edc2a9a456"),
        ("transaction_history/v8.toml", "e760ec1d2d25691e83252ec81a735c21449f6ea0b69493a4d69de69862da5a37"),
        ("transaction_history/v9.toml", "7fdfddb871f5f1dd070680847eb23586b1b011dbc3673c64d9ef826f421d92c9"),
    ];

    #[test]
    fn a_released_version_never_changes() {
        for (path, text) in BUILT_IN.iter().filter(|(path, _)| !path.ends_with("dataset.toml")) {
            let digest: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            let released = RELEASED.iter().find(|(released, _)| released == path);
            assert_eq!(
                released.map(|(_, digest)| *digest),
                Some(digest.as_str()),
                "a released version never changes: make vN+1 instead of editing {path}"
            );
        }
    }

    #[test]
    fn every_schema_file_is_built_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let mut found = Vec::new();
        for dataset in entries(&folder).unwrap() {
            for file in entries(&dataset).unwrap() {
                found.push(format!("{}/{}", last_name(&dataset), last_name(&file)));
            }
        }
        let listed: Vec<&str> = BUILT_IN.iter().map(|(path, _)| *path).collect();
        assert_eq!(found, listed, "add the file to the list at the top of registry.rs");
        assert_eq!(Registry::built_in().unwrap().datasets().count(), 10);
    }

    #[test]
    fn the_table_has_all_columns_and_ours_at_the_end() {
        let registry = Registry::built_in().unwrap();
        let earnings = registry.dataset("transaction_history").unwrap();
        let table = earnings.table();
        assert_eq!(earnings.newest().columns.len(), 116);
        assert_eq!(table.schema.fields().len(), 126);
        assert_eq!(table.schema.field(116).name(), "_pc_run_id");
        assert_eq!(table.partition_columns, ["account", "earning_month"]);
        let usd = table.schema.field_with_name("earning_amount_usd").unwrap();
        assert_eq!(usd.metadata().get("published").map(String::as_str), Some("earningAmountUSD"));
        assert!(!usd.is_nullable());
        let currency = |name: &str| {
            table.money.iter().find(|money| money.name == name).map(|money| money.currency.clone())
        };
        assert_eq!(currency("earning_amount_usd"), Some(Currency::Fixed("USD".to_owned())));
        assert_eq!(currency("earning_amount"), Some(Currency::Column("transaction_currency".to_owned())));
        assert_eq!(currency("baseline"), None);
    }

    #[test]
    fn an_unknown_dataset_names_the_nearest() {
        let error = Registry::built_in().unwrap().dataset("payment").unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert_eq!(error.hint_text(), Some("Did you mean 'payments'?"));
        assert!(error.to_string().contains("max_cap_balance, payments, transaction_history"), "{error}");
    }

    #[test]
    fn a_folder_adds_versions_and_never_replaces_one() {
        let folder = tempfile::tempdir().unwrap();
        let payments = folder.path().join("payments");
        fs::create_dir(&payments).unwrap();
        let v3 = BUILT_IN.iter().find(|(path, _)| *path == "payments/v3.toml").unwrap().1;
        fs::write(payments.join("v3.toml"), v3).unwrap();
        let v4 = v3.replace("version = 3", "version = 4")
            + "\n[[column]]\nname = \"fee_note\"\npublished = \"feeNote\"\ntype = \"string\"\nmeaning = \"A note.\"\n";
        fs::write(payments.join("v4.toml"), &v4).unwrap();
        let registry = Registry::built_in().unwrap().with_folder(folder.path()).unwrap();
        let dataset = registry.dataset("payments").unwrap();
        assert_eq!(dataset.newest().number, 4);
        assert!(dataset.table().schema.field_with_name("fee_note").is_ok());

        fs::write(payments.join("v3.toml"), format!("{v3}\n# mine\n")).unwrap();
        let error = Registry::built_in().unwrap().with_folder(folder.path()).unwrap_err();
        assert!(error.message().contains("would replace the released"), "{error}");
    }

    #[test]
    fn a_version_that_loses_a_column_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let payments = folder.path().join("payments");
        fs::create_dir(&payments).unwrap();
        let v3 = BUILT_IN.iter().find(|(path, _)| *path == "payments/v3.toml").unwrap().1;
        let v4 = v3.replace("version = 3", "version = 4").replace("\"participant_name\"", "\"partner_name\"");
        fs::write(payments.join("v4.toml"), v4).unwrap();
        let error = Registry::built_in().unwrap().with_folder(folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.message().contains("'participant_name' is missing from version 4"), "{error}");
    }
}
