//! Every file that users copy or extend parses, and what the documents name exists.

use std::path::{Path, PathBuf};

use payoutlake::config::PipelineFile;
use payoutlake::schema::Registry;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_pipeline_file_parses() {
    let pipelines = files("pipelines", "toml");
    assert!(pipelines.len() >= 2);
    let registry = Registry::built_in().unwrap();
    for path in pipelines {
        let file = PipelineFile::read(&path).unwrap_or_else(|error| panic!("{error:#}"));
        for dataset in &file.datasets {
            registry.dataset(&dataset.name).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
        }
    }
}

#[test]
fn every_column_of_a_table_says_what_it_means() {
    let registry = Registry::built_in().unwrap();
    let mut datasets = 0;
    for dataset in registry.datasets() {
        datasets += 1;
        let spec = dataset.table();
        for column in &dataset.newest().columns {
            assert!(column.meaning.len() > 10, "{}.{} has no meaning", dataset.name, column.name);
            let field = spec.schema.field_with_name(&column.name).unwrap();
            assert_eq!(field.is_nullable(), !column.required, "{}.{}", dataset.name, column.name);
        }
        for ours in ["_pc_run_id", "_pc_row_key", "_pc_row_hash", "_pc_extra", "_pc_source_line"] {
            assert!(spec.schema.field_with_name(ours).is_ok(), "{} lacks {ours}", dataset.name);
        }
        assert!(!spec.money.is_empty());
    }
    assert!(datasets >= 2);
}

#[test]
fn links_in_documents_lead_to_files() {
    let mut documents =
        vec![root().join("README.md"), root().join("CONTRIBUTING.md"), root().join("CHANGELOG.md")];
    documents.extend(files("src/docs", "md"));
    let mut links = 0;
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") || target.starts_with('#') || target.contains("::") {
                continue;
            }
            links += 1;
            let path = document.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target} leads nowhere", document.display());
        }
    }
    assert!(links > 10, "the test reads too little: {links} links");
}

#[test]
fn production_files_keep_one_subject() {
    // A smell, not a law: the bound is above the budget of 400 lines, so that it only stops growth.
    for path in files("src", "rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().count();
        let tests = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        assert!(tests || lines <= 500, "{} has {lines} lines", path.display());
    }
}
