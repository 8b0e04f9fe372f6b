//! The Delta table itself: what its log shows of an account, and the transactions that change it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType as Arrow, Field, TimeUnit};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{
    CommitBuilder, CommitProperties, TableReference, TransactionError,
};
use deltalake_core::kernel::{
    Action, Add, CommitInfo, DataType, MetadataExt as _, PrimitiveType, Remove, StructField, StructType,
    Transaction, new_metadata,
};
use deltalake_core::logstore::{LogStore, LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::state::DeltaTableState;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use serde_json::{Value, json};
use url::Url;

use super::{app_id, files, log, put_in_place, stats};
use crate::error::{Error, Kind, Result};
use crate::lake::{Chain, Lake, Manifest, Object, object_path, together};
use crate::model::{DEFAULT_PARTITION, format_money};
use crate::secret::redact_error;

/// How long other engines are told to keep what versions need; payoutlake keeps by its own retention.
const KEPT: &str = "interval 400 days";

/// Readers of a table read one document for each transaction since the last checkpoint.
const CHECKPOINT_EVERY: &str = "10";

/// A Delta table as it is now, or is not.
pub(super) struct Table {
    log: LogStoreRef,
    state: Option<DeltaTableState>,
    pub(super) name: String,
}

impl Table {
    pub(super) async fn open(lake: &Lake, name: &str) -> Result<Table> {
        // The scheme is nobody's: the store that is given is the one that is used.
        let url = Url::parse(&format!("memory:///{name}/")).map_err(|cause| {
            Error::new(Kind::Bug, "the name of a table is no part of a URL")
                .with("table", name)
                .caused_by(cause)
        })?;
        let root: Arc<dyn ObjectStore> = Arc::clone(lake.store());
        let table: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&root), Path::from(name)));
        let log = default_logstore(table, root, &url, &StorageConfig::default());
        let is_there = log.is_delta_table_location().await.map_err(|cause| failed(cause, name))?;
        let state = match is_there {
            true => match DeltaTableState::try_new(log.as_ref(), None).await {
                Ok(state) => Some(state),
                Err(cause) => return Err(unreadable(lake, name, cause).await),
            },
            false => None,
        };
        Ok(Table { log, state, name: name.to_owned() })
    }

    pub(super) fn version(&self) -> Option<u64> {
        self.state.as_ref().map(DeltaTableState::version)
    }

    /// The manifest of an account that the table shows.
    pub(super) async fn shown(&self, chain: &Chain) -> Result<Option<u64>> {
        let Some(state) = &self.state else { return Ok(None) };
        let version = state.transaction_version(self.log.as_ref(), app_id(chain)).await;
        let version = version.map_err(|cause| failed(cause, &self.name))?;
        // 0: the account has left the table.
        Ok(version.and_then(|version| u64::try_from(version).ok()).filter(|version| *version > 0))
    }

    /// The files of an account that the table shows, as they would be removed: by their path in the lake.
    pub(super) fn live(&self, chain: &Chain) -> Result<BTreeMap<String, Remove>> {
        let Some(state) = &self.state else { return Ok(BTreeMap::new()) };
        let ours = format!("account={}/", chain.account);
        let files = state.log_data().into_iter().filter(|file| file.path().starts_with(&ours));
        Ok(files.map(|file| (format!("{}/{}", self.name, file.path()), file.remove_action(true))).collect())
    }

    /// Makes the table show a manifest.
    pub(super) async fn commit(&mut self, lake: &Lake, chain: &Chain, manifest: &Manifest) -> Result<()> {
        // Before anything is put in place: it may be refused.
        let schema = self.schema(manifest)?;
        let mut old = self.live(chain)?;
        let wanted = files(manifest);
        let new: Vec<_> = wanted
            .iter()
            .map(|(path, object)| (path, *object))
            .filter(|(path, _)| old.remove(*path).is_none())
            .collect();
        put_in_place(lake, chain, &new).await?;
        // Rounded up: at that time, the lake has this commit.
        let at = manifest.committed_at.as_nanosecond().div_euclid(1_000_000) + 1;
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let adds = new.iter().map(|(path, object)| self.add(lake, manifest, path, object, at)).collect();
        let adds = together(adds).await?;
        let removes = old.into_values().map(|remove| Remove { deletion_timestamp: Some(at), ..remove });
        let actions = adds.into_iter().map(Action::Add).chain(removes.map(Action::Remove));
        let actions: Vec<Action> = schema.into_iter().chain(actions).collect();
        let transaction =
            Transaction::new_with_last_update(app_id(chain), signed(manifest.version), Some(at));
        let info = CommitInfo { timestamp: Some(at), ..info_of("publish", told(manifest)) };
        self.state = Some(self.transact(actions, transaction, info).await?);
        Ok(())
    }

    async fn add(
        &self,
        lake: &Lake,
        manifest: &Manifest,
        path: &str,
        object: &Object,
        at: i64,
    ) -> Result<Add> {
        let stats = stats::of(lake, &object_path(&manifest.chain(), &object.name), object).await?;
        let key = manifest.partitions.iter().find(|partition| partition.objects.contains(object));
        let [account, month] = &manifest.partition_columns;
        let value = key.map(|partition| &partition.key).filter(|key| key.value != DEFAULT_PARTITION);
        let values = [
            (account.clone(), Some(manifest.account.to_string())),
            (month.clone(), value.map(|key| key.value.clone())),
        ];
        let relative = path.strip_prefix(&format!("{}/", self.name)).unwrap_or(path);
        Ok(Add {
            path: relative.to_owned(),
            partition_values: values.into(),
            size: signed(object.bytes),
            modification_time: at,
            data_change: true,
            stats: Some(stats),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
            clustering_provider: None,
        })
    }

    /// What a new table begins with, or a changed schema. Columns only come: files of other accounts may have what ours lack.
    fn schema(&self, manifest: &Manifest) -> Result<Vec<Action>> {
        let bug = |cause: String| {
            Error::new(Kind::Bug, "the columns of a table are none of Delta's")
                .with("table", &self.name)
                .caused_by(cause)
        };
        let there = self.state.as_ref().map(DeltaTableState::schema);
        let there = there.iter().flat_map(|schema| schema.fields());
        // Partition columns stand at the end.
        let is_data = |field: &&StructField| !manifest.partition_columns.contains(field.name());
        let mut fields: Vec<StructField> = there.filter(is_data).cloned().collect();
        let known = fields.len();
        let arrow = manifest.schema.to_arrow()?;
        for field in arrow.fields() {
            let ours = StructField::nullable(field.name(), delta_type(field).map_err(bug)?);
            match fields.iter().find(|there| there.name() == ours.name()) {
                Some(there) if there.data_type() != ours.data_type() => {
                    return Err(Error::new(Kind::Contract, "a column has another type in the Delta table")
                        .with("table", &self.name)
                        .with("column", field.name())
                        .with("in the Delta table", there.data_type())
                        .with("in the lake", ours.data_type())
                        .hint(
                            "two accounts have schema files that do not agree: let both use the same, remove the table's \
                             folder, and run both again: it is written anew from the lake",
                        ));
                }
                Some(_) => {}
                None => fields.push(ours),
            }
        }
        if self.state.is_some() && fields.len() == known {
            return Ok(Vec::new());
        }
        let partition = manifest.partition_columns.iter();
        fields.extend(partition.map(|name| StructField::nullable(name, DataType::STRING)));
        let schema = StructType::try_new(fields).map_err(|cause| bug(cause.to_string()))?;
        if let Some(state) = &self.state {
            let changed = state.metadata().clone().with_schema(&schema);
            return Ok(vec![Action::Metadata(changed.map_err(|cause| failed(cause, &self.name))?)]);
        }
        let settings = [
            ("delta.checkpointInterval", CHECKPOINT_EVERY),
            ("delta.logRetentionDuration", KEPT),
            ("delta.deletedFileRetentionDuration", KEPT),
        ];
        let metadata = new_metadata(&schema, &manifest.partition_columns, settings);
        let protocol = serde_json::from_value(json!({"minReaderVersion": 1, "minWriterVersion": 2}));
        Ok(vec![
            Action::Protocol(protocol.map_err(|cause| bug(cause.to_string()))?),
            Action::Metadata(metadata.map_err(|cause| failed(cause, &self.name))?),
        ])
    }

    /// One transaction on the table as it was opened, and the table after it; fails when somebody was first.
    pub(super) async fn transact(
        &self,
        mut actions: Vec<Action>,
        transaction: Transaction,
        info: CommitInfo,
    ) -> Result<DeltaTableState> {
        actions.insert(0, Action::CommitInfo(info));
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transaction(transaction);
        let operation =
            DeltaOperation::Write { mode: SaveMode::Overwrite, partition_by: None, predicate: None };
        let state = self.state.as_ref().map(|state| state as &dyn TableReference);
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let done = commit.build(state, Arc::clone(&self.log), operation).await;
        done.map(|done| done.snapshot).map_err(|cause| match &cause {
            DeltaTableError::Transaction {
                source:
                    TransactionError::UnsupportedTableFeatures(_)
                    | TransactionError::TableFeaturesRequired(_)
                    | TransactionError::DeltaTableAppendOnly,
            } => Error::new(Kind::Contract, "somebody has given the Delta table a property that payoutlake cannot honour")
                .with("table", &self.name)
                .hint(
                    "the rows are committed and in `payoutlake sql`; remove the table's folder, and the next run writes it anew \
                     from the lake: change feeds and append-only are not for a table that somebody else writes",
                )
                .caused_by(cause),
            _ => failed(cause, &self.name),
        })
    }
}

pub(super) fn info_of(what: &str, told: Value) -> CommitInfo {
    CommitInfo {
        operation: Some("WRITE".to_owned()),
        operation_parameters: Some(HashMap::from([
            ("mode".to_owned(), json!("Overwrite")),
            ("payoutlake".to_owned(), json!(what)),
        ])),
        engine_info: Some(concat!("payoutlake/", env!("CARGO_PKG_VERSION")).to_owned()),
        info: HashMap::from([("payoutlake".to_owned(), told)]),
        ..CommitInfo::default()
    }
}

/// What a transaction tells of its commit: which it is, and what the account's rows add up to.
fn told(manifest: &Manifest) -> Value {
    let totals = manifest.totals();
    let mut sums: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for ((column, currency), units) in &totals.sums {
        sums.entry(column).or_default().insert(currency, format_money(*units));
    }
    json!({
        "account": manifest.account,
        "manifest": manifest.version,
        "committed_at": manifest.committed_at,
        "run_id": manifest.run_id,
        "cause": manifest.operation.cause,
        "what": manifest.operation.what,
        "rows": totals.rows,
        "sums": sums,
    })
}

/// What Delta calls a type of ours; the files have it as it is.
fn delta_type(field: &Field) -> std::result::Result<DataType, String> {
    let primitive = match field.data_type() {
        Arrow::Utf8 => PrimitiveType::String,
        Arrow::Boolean => PrimitiveType::Boolean,
        Arrow::Int32 => PrimitiveType::Integer,
        Arrow::Int64 => PrimitiveType::Long,
        Arrow::Date32 => PrimitiveType::Date,
        Arrow::Timestamp(TimeUnit::Microsecond, Some(_)) => PrimitiveType::Timestamp,
        Arrow::Binary | Arrow::FixedSizeBinary(_) => PrimitiveType::Binary,
        Arrow::Decimal128(precision, scale) => {
            let scale = u8::try_from(*scale).map_err(|_| format!("{field}: scale"))?;
            PrimitiveType::decimal(*precision, scale).map_err(|cause| cause.to_string())?
        }
        _ => return Err(field.to_string()),
    };
    Ok(DataType::Primitive(primitive))
}

/// Delta counts in signed numbers.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Why a log cannot be read: somebody has damaged it, or the storage fails.
async fn unreadable(lake: &Lake, table: &str, cause: DeltaTableError) -> Error {
    match damage(lake, table).await {
        Ok(Some(what)) => Error::new(Kind::Contract, "the log of a Delta table is damaged")
            .with("table", table)
            .with("log", what)
            .hint(format!(
                "what was committed is safe and in `payoutlake sql`; remove the table's folder ({table}), and the next run of any \
                 account writes it anew from the lake, without its earlier versions"
            )),
        _ => failed(cause, table),
    }
}

/// What is wrong with a log: an entry is missing between others, or is no JSON.
async fn damage(lake: &Lake, table: &str) -> Result<Option<String>> {
    let mut before = None;
    for path in lake.list(&log(table)).await? {
        let number = path.filename().and_then(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        let Some(number) = number else { continue };
        if before.is_some_and(|before| number != before + 1) {
            return Ok(Some(format!("no entry stands before {number}")));
        }
        let entry = lake.get(&path).await?.unwrap_or_default();
        let actions = serde_json::Deserializer::from_slice(&entry).into_iter::<Value>();
        if let Some(Err(cause)) = actions.into_iter().find(Result::is_err) {
            return Ok(Some(format!("entry {number} is no JSON: {cause}")));
        }
        before = Some(number);
    }
    Ok(None)
}

fn failed(cause: impl std::error::Error + 'static, table: &str) -> Error {
    Error::new(Kind::Destination, "the Delta table cannot be read or written")
        .with("table", table)
        .hint(
            "what was committed is safe, and the next command publishes it; a table that is damaged may be removed with its \
             folder: it is written anew from the lake",
        )
        .caused_by(redact_error(&cause))
}
