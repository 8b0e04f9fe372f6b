//! How often each text of some columns stands in files.

use std::collections::{BTreeMap, HashMap};

use datafusion::error::DataFusionError;
use futures::TryStreamExt;

use super::{Engine, ParquetFile, Place, failed};
use crate::error::{Error, Kind, Result};
use crate::model::Texts;

impl Engine {
    /// Of each column, rows by text; those without one stand under an empty text.
    ///
    /// # Errors
    /// [`Kind::Destination`] when a file cannot be read; [`Kind::Bug`] when a column has no texts.
    pub async fn rows_by_text(
        &self,
        columns: &[&str],
        place: Place,
        files: &[ParquetFile],
    ) -> Result<Vec<BTreeMap<String, u64>>> {
        let unreadable = |cause| failed(cause, "the values of a column could not be counted");
        let mut counted = vec![BTreeMap::new(); columns.len()];
        for file in files {
            let rows =
                self.stored(place, file).map_err(unreadable)?.rows_coded(columns.iter().copied()).await;
            let mut rows = rows.map_err(|cause| unreadable(DataFusionError::from(cause)))?;
            while let Some(batch) = rows.try_next().await.map_err(|cause| unreadable(cause.into()))? {
                for (column, counted) in columns.iter().zip(&mut counted) {
                    // Files from before the column was known lack it.
                    let Some(texts) = batch.column_by_name(column) else {
                        add(counted, "", batch.num_rows() as u64);
                        continue;
                    };
                    let texts = Texts::of(texts).ok_or_else(|| {
                        Error::new(Kind::Bug, "a column that is watched is no text").with("column", column)
                    })?;
                    let mut here: HashMap<&str, u64> = HashMap::new();
                    for row in 0..texts.len() {
                        *here.entry(texts.get(row).unwrap_or_default()).or_default() += 1;
                    }
                    here.into_iter().for_each(|(text, rows)| add(counted, text, rows));
                }
            }
        }
        Ok(counted)
    }
}

fn add(counted: &mut BTreeMap<String, u64>, text: &str, rows: u64) {
    match counted.get_mut(text) {
        Some(all) => *all += rows,
        None => {
            counted.insert(text.to_owned(), rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
    use datafusion::parquet::arrow::ArrowWriter;
    use object_store::local::LocalFileSystem;

    use super::*;
    use crate::engine::Options;

    #[tokio::test]
    async fn rows_are_counted_over_files_also_where_one_lacks_the_column() {
        let folder = tempfile::tempdir().unwrap();
        let written = |name: &str, column: &str, texts: &[Option<&str>]| {
            let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
            let batch = RecordBatch::try_from_iter_with_nullable([(column, texts, true)]).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            let bytes = writer.into_inner().unwrap();
            std::fs::write(folder.path().join(name), &bytes).unwrap();
            let (path, bytes, rows) = (name.into(), bytes.len() as u64, batch.num_rows() as u64);
            ParquetFile { path, bytes, rows, partition: Vec::new(), only: None }
        };
        let files = [
            written("one", "programme", &[Some("CSP"), None, Some("CSP"), Some("Azure")]),
            written("two", "programme", &[Some("Azure"), Some("")]),
            written("three", "another", &[Some("CSP"); 3]),
        ];
        let store = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        let engine = Engine::new(&Options::default(), Arc::new(store)).unwrap();
        let counted = engine.rows_by_text(&["programme", "another"], Place::Lake, &files).await.unwrap();
        let told = |counted: &BTreeMap<String, u64>| {
            counted.iter().map(|(text, rows)| format!("{text}={rows}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(counted.iter().map(told).collect::<Vec<_>>(), ["=5 Azure=2 CSP=2", "=6 CSP=3"]);
    }
}
