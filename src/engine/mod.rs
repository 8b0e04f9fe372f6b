//! One DataFusion runtime: memory pool, spill folder, the lake's object store. It knows files, schemas and
//! joins; tables are made of manifests elsewhere, and SQL text is written elsewhere.

mod counts;
mod files;
mod keys;
mod merge;
mod slice;
mod stored;
mod unlike;

pub use files::{ParquetFile, ParquetFiles, Place};
pub use merge::{Merge, MergeParts, extracted_at, newer_than, older_than};
pub use slice::Slice;
pub use stored::StoredFile;

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::model::Memory;
use crate::secret::redact_error;

use keys::KnownKeys;

/// How much the engine may use.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Bounds what joins, sorts and aggregates take before they spill to disk.
    #[serde(skip)]
    pub memory: Memory,
    /// Threads of one query; 0: as many as the machine has cores.
    pub threads: usize,
}

/// The runtime that queries and merges share.
#[derive(Debug, Clone)]
pub struct Engine {
    runtime: Arc<RuntimeEnv>,
    // Bytes that the pool gives out.
    memory: u64,
    threads: usize,
    keys: Arc<KnownKeys>,
}

/// The URLs under which the stores are known to DataFusion; no user sees them.
const LAKE_URL: &str = "payoutlake://lake";
const LOCAL_URL: &str = "payoutlake://local";

impl Engine {
    /// # Errors
    /// [`Kind::Destination`] when there is no room for the spill folder.
    pub fn new(options: &Options, lake: Arc<dyn ObjectStore>) -> Result<Engine> {
        let memory = options.memory.engine();
        let pool = FairSpillPool::new(usize::try_from(memory).unwrap_or(usize::MAX));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_metadata_cache_limit(usize::try_from(options.memory.footers()).unwrap_or(usize::MAX))
            .build_arc()
            .map_err(|cause| failed(cause, "the query engine could not start"))?;
        runtime.register_object_store(store_url(Place::Lake).as_ref(), lake);
        runtime.register_object_store(store_url(Place::Local).as_ref(), Arc::new(LocalFileSystem::new()));
        let keys = Arc::new(KnownKeys::new(options.memory.keys()));
        Ok(Engine { runtime, memory, threads: options.threads, keys })
    }

    /// A session with `information_schema` (for `SHOW TABLES` and `DESCRIBE`) and DuckDB's dialect, which
    /// analysts of files know best.
    #[must_use]
    pub fn session(&self) -> SessionContext {
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_default_catalog_and_schema("payoutlake", "public");
        if self.threads > 0 {
            config = config.with_target_partitions(self.threads);
        }
        // What each of a plan's sorts keeps for merging what it has spilled: on many threads it must fit many times.
        let sorts = (8 * config.target_partitions().max(1)) as u64;
        let spill = usize::try_from(self.memory / sorts).unwrap_or(usize::MAX);
        let options = config.options_mut();
        options.execution.sort_spill_reservation_bytes =
            options.execution.sort_spill_reservation_bytes.min(spill);
        options.sql_parser.dialect = datafusion::common::config::Dialect::DuckDB;
        // A literal like 0.1 is money as well.
        options.sql_parser.parse_float_as_decimal = true;
        // Filters run while reading: only the rows that match are decoded.
        options.execution.parquet.pushdown_filters = true;
        SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime))
    }

    fn stored(&self, place: Place, file: &ParquetFile) -> datafusion::common::Result<StoredFile> {
        let store = self.runtime.object_store(store_url(place))?;
        Ok(StoredFile { store, path: file.path.clone(), bytes: file.bytes })
    }

    /// How many rows of a wide table a join, a sort and what they hand on can hold at once.
    #[must_use]
    pub fn rows_at_once(&self) -> u64 {
        self.memory / ROW_BYTES
    }

    /// How many keys can be grouped at once.
    #[must_use]
    pub fn keys_at_once(&self) -> u64 {
        self.memory / KEY_BYTES
    }
}

/// Memory for a row of a hundred columns in a plan of sorts and a join: some 2 KiB, and eight times that, because both
/// sides, their sorts and the streams between them share the pool. With a quarter of it, 1.2 million rows of 107 columns
/// ran out of 256 MiB.
const ROW_BYTES: u64 = 16 * 1024;

/// Memory for a key and its count, which two threads may hold.
const KEY_BYTES: u64 = 256;

/// Memory for a row of which a join holds the key: some 2 million in the default pool. With more, it sorts both sides and
/// spills.
const HELD_ROW_BYTES: u64 = 128;

impl Engine {
    /// A session for joins that hold the keys of about so many rows.
    pub(crate) fn session_for(&self, rows: u64) -> SessionContext {
        let session = self.session();
        if rows <= self.memory / HELD_ROW_BYTES {
            return session;
        }
        let mut config = session.copied_config();
        config.options_mut().optimizer.prefer_hash_join = false;
        SessionContext::new_with_config_rt(config, Arc::clone(&self.runtime))
    }
}

fn store_url(place: Place) -> ObjectStoreUrl {
    let url = match place {
        Place::Lake => LAKE_URL,
        Place::Local => LOCAL_URL,
    };
    ObjectStoreUrl::parse(url).expect("a constant URL")
}

/// A failure of the engine on our own plans (not on a user's SQL).
pub(crate) fn failed(cause: DataFusionError, what: &str) -> Error {
    let kind = match cause.find_root() {
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) | DataFusionError::ParquetError(_) => {
            Kind::Destination
        }
        DataFusionError::ResourcesExhausted(_) => Kind::Config,
        _ => Kind::Bug,
    };
    let error = Error::new(kind, what).caused_by(redact_error(&cause));
    match kind {
        Kind::Config => error.hint("raise `limits.memory` in the pipeline file, or ask for less at once"),
        Kind::Destination => error.hint("check the lake's storage; nothing was changed"),
        _ => error,
    }
}
