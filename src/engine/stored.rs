//! A Parquet file of a store, read without a query plan.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use bytes::Bytes;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use datafusion::parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8192;

/// Bytes at the end of a file in which its footer usually stands: one request for all of it.
const FOOTER_BYTES: usize = 64 << 10;

/// A file in a store, whose size is known.
pub struct StoredFile {
    pub store: Arc<dyn ObjectStore>,
    pub path: Path,
    pub bytes: u64,
}

impl StoredFile {
    /// Some columns of all rows. A column that the file lacks is left out.
    ///
    /// # Errors
    /// When the footer cannot be read; the stream, when a row cannot.
    pub async fn rows(
        self,
        columns: impl IntoIterator<Item = &str>,
    ) -> Result<ParquetRecordBatchStream<StoredFile>> {
        let builder = ParquetRecordBatchStreamBuilder::new(self).await?;
        build(builder, columns)
    }

    /// The same for columns of few different texts, which come as numbers of dictionary entries: see
    /// [`Texts`](crate::model::Texts).
    ///
    /// # Errors
    /// As [`StoredFile::rows`].
    pub async fn rows_coded(
        mut self,
        columns: impl IntoIterator<Item = &str>,
    ) -> Result<ParquetRecordBatchStream<StoredFile>> {
        let options = ArrowReaderOptions::new();
        let mut found = ArrowReaderMetadata::load_async(&mut self, options.clone()).await?;
        // No row group has more entries than rows.
        let mut groups = found.metadata().row_groups().iter();
        if groups.all(|group| u16::try_from(group.num_rows()).is_ok()) {
            let schema = Arc::new(coded(found.schema()));
            found = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options.with_schema(schema))?;
        }
        build(ParquetRecordBatchStreamBuilder::new_with_metadata(self, found), columns)
    }
}

fn build<'a>(
    builder: ParquetRecordBatchStreamBuilder<StoredFile>,
    columns: impl IntoIterator<Item = &'a str>,
) -> Result<ParquetRecordBatchStream<StoredFile>> {
    let columns = ProjectionMask::columns(builder.parquet_schema(), columns);
    builder.with_projection(columns).with_batch_size(BATCH_ROWS).build()
}

/// With numbers of dictionary entries in place of texts.
fn coded(schema: &Schema) -> Schema {
    let kind = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(kind.clone())),
        _ => Arc::clone(field),
    };
    let fields: Vec<FieldRef> = schema.fields().iter().map(field).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { Ok(self.store.get_range(&self.path, range).await?) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_and_finish(self, bytes).await?))
        }
        .boxed()
    }
}
