//! A database whose partitions are SQLite files in this process: what a gateway does, without a network.
#![allow(dead_code, unused_imports)]

pub mod compare;
pub mod engine;
pub mod random;
pub mod shop;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use common::catalog::{Database, DatabaseState, one_column_group};
use common::entry::{Change, Effects};
use common::partition_division::first_homes;
use common::partition_map::{Bucket, BucketRange, PartitionMethod, hash_ranges, key_ranges};
use common::protocol::{Params, RowsHeader, Statement, StatementResult, WorkItem};
use common::row::RowBlock;
use common::schema::{DatabaseKind, PartitionType, Schema};
use common::{Error, ErrorCode, Outcome, PartitionId, Result, Value};
pub use differential::layout::{LAYOUTS, Layout, MIXED, VERTICAL};
use futures_util::StreamExt as _;
use query::access::{PartitionAccess, RowStream};
use query::schema::SchemaChange;
use query::sql::{SqlRequest, run};
use query::{Moment, Planner, Rules};
use sqlite::{Applier, Budget, Executor, Flow, Location, Position, Reader, SystemState};

/// One partition's file with the connections that a storage node would hold.
struct File {
    applier: Applier,
    executor: Executor,
    reader: Reader,
    schema_version: u64,
}

impl File {
    /// Commits as the next entry of a log, which may leave another version of the schema.
    fn commit(&mut self, schema_version: Option<u64>) {
        let position = self.executor.system().position().unwrap();
        let next = Position { index: position.index + 1, base: position.index + 1, ..position };
        let record = |system: &sqlite::System<'_>| {
            system.set_position(next)?;
            schema_version.map_or(Ok(()), |version| system.set_schema_version(version))
        };
        self.executor.commit(record).unwrap();
    }
}

pub struct Cluster {
    folder: tempfile::TempDir,
    files: Vec<Mutex<File>>,
    database: RwLock<Arc<Database>>,
    planner: RwLock<Arc<Planner>>,
    /// Next rowid and "set by client", by table.
    rowids: Mutex<BTreeMap<String, (i64, bool)>>,
    rules: Rules,
    /// Look up the greatest rowid every time, so that a deleted greatest one is used again as in one file.
    pub reuses_rowids: bool,
    /// Believe whatever a write was computed from: a fault that tests plant.
    pub ignores_proofs: bool,
    /// Let other requests run between any two accesses of one.
    pub interleaves: bool,
    /// Rows that fragments brought to the coordinator.
    pub rows_streamed: Mutex<u64>,
    /// Partitions that were asked for rows.
    pub read: Mutex<BTreeSet<usize>>,
    /// Partitions whose rows were changed by images or statements.
    pub written: Mutex<BTreeSet<usize>>,
    /// How many writes and schema changes still work; after that each is refused.
    pub writes_left: AtomicU64,
    /// Rows of the hidden tables, counted by their effects.
    hidden_rows: Mutex<BTreeMap<String, i64>>,
    changing_schema: Mutex<()>,
}

/// One request against the version of the schema that it was planned on.
pub struct Session<'a> {
    cluster: &'a Cluster,
    schema_version: AtomicU64,
    /// The next rowids of tables after those that the request was given.
    next_rowids: Mutex<HashMap<String, i64>>,
}

impl Cluster {
    pub fn hashed(buckets: u32, key: Option<&str>) -> Cluster {
        Cluster::new(PartitionMethod::Hash, hash_ranges(buckets), key)
    }

    /// As many buckets and column groups.
    pub fn layout(layout: Layout, key: Option<&str>) -> Cluster {
        let groups = (1..=layout.column_groups).map(|number| format!("g{number}")).collect();
        Cluster::divided(PartitionMethod::Hash, hash_ranges(layout.buckets), groups, key)
    }

    /// The same, with attributes of documents that are said to lie in each column group.
    pub fn with_attributes(layout: Layout, groups: &[&[&str]]) -> Cluster {
        let cluster = Cluster::layout(layout, None);
        let names = |group: &&[&str]| group.iter().map(|name| (*name).to_owned()).collect();
        let attribute_groups = groups.iter().map(names).collect();
        let database = Arc::new(Database { attribute_groups, ..cluster.database().as_ref().clone() });
        *cluster.planner.write().unwrap() =
            Arc::new(Planner::new(Arc::clone(&database), cluster.rules).unwrap());
        *cluster.database.write().unwrap() = database;
        cluster
    }

    pub fn ranged(points: &[Value], key: &str) -> Cluster {
        Cluster::new(PartitionMethod::Range, key_ranges(points).unwrap(), Some(key))
    }

    fn new(method: PartitionMethod, ranges: Vec<BucketRange>, key: Option<&str>) -> Cluster {
        Cluster::divided(method, ranges, one_column_group(), key)
    }

    fn divided(
        method: PartitionMethod,
        ranges: Vec<BucketRange>,
        column_groups: Vec<String>,
        key: Option<&str>,
    ) -> Cluster {
        // Files that live for a moment need no disk, where the system has memory to mount.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (buckets, groups) = (ranges.len(), column_groups.len());
        let partition_type = match (buckets, groups) {
            (_, 1) => PartitionType::Horizontal,
            (1, _) => PartitionType::Vertical,
            _ => PartitionType::Mixed,
        };
        let files = (0..buckets * groups)
            .map(|bucket| {
                let location = Location::file(folder.path().join(format!("p{bucket}.db")));
                let applier = Applier::create(&location, &SystemState::default()).unwrap();
                let mut executor = Executor::open(&location).unwrap();
                executor.enforce_foreign_keys(ranges.len() == 1).unwrap();
                let reader = Reader::open(&location).unwrap();
                Mutex::new(File { applier, executor, reader, schema_version: 0 })
            })
            .collect();
        let partition = |group: usize, bucket: usize| PartitionId((group * buckets + bucket) as u64 + 1);
        let homes = first_homes(&ranges);
        let buckets = ranges
            .into_iter()
            .zip(homes)
            .enumerate()
            .map(|(bucket, (range, homes))| Bucket {
                range,
                homes,
                partitions: (0..groups).map(|group| partition(group, bucket)).collect(),
                epoch: 1,
            })
            .collect();
        let database = Arc::new(Database {
            name: "d".into(),
            kind: DatabaseKind::Sql,
            partition_type,
            partition_key: key.map(str::to_owned),
            method,
            replication_factor: 1,
            state: DatabaseState::Ready,
            schema: Schema::default(),
            schema_change: None,
            buckets,
            column_groups,
            attribute_groups: Vec::new(),
            created_at: 0,
            retired: Vec::new(),
            successors: BTreeMap::new(),
            buckets_asked: 0,
        });
        let rules = Rules::default().verifying();
        Cluster {
            folder,
            files,
            planner: RwLock::new(Arc::new(Planner::new(Arc::clone(&database), rules).unwrap())),
            database: RwLock::new(database),
            rowids: Mutex::default(),
            rules,
            reuses_rowids: false,
            ignores_proofs: false,
            interleaves: false,
            rows_streamed: Mutex::default(),
            read: Mutex::default(),
            written: Mutex::default(),
            writes_left: AtomicU64::new(u64::MAX),
            hidden_rows: Mutex::default(),
            changing_schema: Mutex::default(),
        }
    }

    /// Plans with other rules. By default all are used, and every answer is compared with what gathering
    /// gives.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
        *self.planner.write().unwrap() = Arc::new(Planner::new(self.database(), rules).unwrap());
    }

    pub fn planner(&self) -> Arc<Planner> {
        self.planner.read().unwrap().clone()
    }

    pub fn database(&self) -> Arc<Database> {
        self.database.read().unwrap().clone()
    }

    pub async fn run(&self, request: SqlRequest) -> Result<Vec<Result<StatementResult>>> {
        loop {
            let planner = self.planner();
            let version = planner.database().schema.version;
            let session = self.session(version);
            let answer = run(&planner, &session, request.clone()).await;
            let unchanged = session.schema_version.load(Ordering::SeqCst) == version;
            let stale = |error: &Error| {
                error.code == ErrorCode::StaleSchema && error.outcome == Outcome::NotApplied && unchanged
            };
            let first = match &answer {
                Ok(answer) => answer.results.first().and_then(|first| first.as_ref().err()),
                Err(error) => Some(error),
            };
            if first.is_some_and(stale) {
                tokio::task::yield_now().await;
                continue;
            }
            return Ok(answer?.results);
        }
    }

    fn session(&self, schema_version: u64) -> Session<'_> {
        Session {
            cluster: self,
            schema_version: AtomicU64::new(schema_version),
            next_rowids: Mutex::default(),
        }
    }

    /// A request planned on the schema as it is.
    fn current(&self) -> Session<'_> {
        self.session(self.database().schema.version)
    }

    /// Lets other requests run between any two accesses of this one, if they are to interleave.
    async fn give_way(&self) {
        if self.interleaves {
            tokio::task::yield_now().await;
        }
    }

    fn spend_a_write(&self) -> Result<()> {
        let spent =
            self.writes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| Error::new(ErrorCode::Unavailable, "no more writes"))
    }

    pub async fn with(&self, sql: &str, params: Params) -> Result<StatementResult> {
        let statements = vec![Statement { sql: sql.to_owned(), params }];
        let request = SqlRequest { statements, atomic: true, max_rows: 100_000, read_only: false };
        self.run(request).await?.remove(0)
    }

    pub async fn sql(&self, sql: &str) -> Result<StatementResult> {
        self.with(sql, Params::None).await
    }

    pub async fn ok(&self, sql: &str) -> StatementResult {
        self.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub async fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        self.ok(sql).await.rows.to_values().unwrap()
    }

    pub async fn error(&self, sql: &str) -> Error {
        match self.sql(sql).await {
            Ok(result) => panic!("{sql} succeeded: {result:?}"),
            Err(error) => error,
        }
    }

    pub async fn batch(&self, statements: &[&str]) -> Result<Vec<StatementResult>> {
        let statements =
            statements.iter().map(|sql| Statement { sql: (*sql).to_owned(), params: Params::None }).collect();
        let request = SqlRequest { statements, atomic: true, max_rows: 100_000, read_only: false };
        self.run(request).await?.into_iter().collect()
    }

    pub fn plan(&self, sql: &str) -> Vec<String> {
        let statement = Statement { sql: sql.to_owned(), params: Params::None };
        let plan = self.planner().describe(&statement).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        plan.lines()
    }

    /// Rows of a hidden table over all buckets.
    pub fn hidden_rows(&self, table: &str) -> i64 {
        self.hidden_rows.lock().unwrap().get(table).copied().unwrap_or(0)
    }

    fn count_hidden(&self, effects: &Effects) {
        let mut hidden = self.hidden_rows.lock().unwrap();
        for effect in &effects.rows {
            let table = effects.tables.get(usize::from(effect.table));
            if let Some(table) = table.filter(|table| table.starts_with("_unique_")) {
                *hidden.entry(table.clone()).or_default() += match effect.change {
                    Change::Insert { .. } => 1,
                    Change::Delete { .. } => -1,
                    _ => 0,
                };
            }
        }
    }

    /// Column groups of the partitions in a set, which is emptied.
    pub fn groups_in(&self, partitions: &Mutex<BTreeSet<usize>>) -> Vec<usize> {
        let buckets = self.database().buckets.len();
        let taken = std::mem::take(&mut *partitions.lock().unwrap());
        taken
            .into_iter()
            .map(|partition| partition / buckets)
            .collect::<BTreeSet<usize>>()
            .into_iter()
            .collect()
    }

    /// How many rows each table has in each partition, as storage nodes tell it.
    pub fn statistics(&self) -> query::Statistics {
        let mut statistics = query::Statistics::default();
        for partition in 0..self.files.len() {
            let location = Location::file(self.folder.path().join(format!("p{partition}.db")));
            let counts = sqlite::Maintenance::open(&location).unwrap().count_rows().unwrap();
            statistics.set(partition, counts.iter().map(|(table, rows)| (table.as_str(), *rows)));
        }
        statistics
    }

    /// Rows of a table by bucket.
    pub fn counts(&self, table: &str) -> Vec<u64> {
        (0..self.files.len())
            .map(|bucket| {
                let location = Location::file(self.folder.path().join(format!("p{bucket}.db")));
                let counts = sqlite::Maintenance::open(&location).unwrap().count_rows().unwrap();
                counts.into_iter().find(|(name, _)| name == table).map_or(0, |(_, count)| count)
            })
            .collect()
    }
}

impl Session<'_> {
    fn file(&self, bucket: usize) -> Result<std::sync::MutexGuard<'_, File>> {
        let file = self.cluster.files[bucket].lock().unwrap();
        if file.schema_version == self.schema_version.load(Ordering::SeqCst) {
            return Ok(file);
        }
        Err(Error::new(ErrorCode::StaleSchema, format!("the schema version is {}", file.schema_version)))
    }

    fn read_now(&self, bucket: usize, statement: &Statement, rows: u64) -> Result<StatementResult> {
        self.cluster.read.lock().unwrap().insert(bucket);
        let budget = Budget { rows, ..Budget::default() };
        Ok(self.file(bucket)?.reader.query(statement, &budget)?)
    }
}

/// Rows that a partition answers at once: so few that the other way is taken too.
const BRIEF_ROWS: u64 = 8;

pub fn moment(now_ms: u64) -> Moment {
    Moment { now_ms, random: u128::from(now_ms).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) }
}

impl PartitionAccess for Session<'_> {
    async fn read(&self, bucket: usize, statement: Statement, max_rows: u32) -> Result<StatementResult> {
        self.read_now(bucket, &statement, u64::from(max_rows))
    }

    async fn stream(&self, bucket: usize, statement: Statement) -> Result<RowStream> {
        self.cluster.give_way().await;
        let (mut columns, mut types, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        self.cluster.read.lock().unwrap().insert(bucket);
        let mut file = self.file(bucket)?;
        let snapshot = file.reader.snapshot().map_err(Error::from)?;
        let index = snapshot.system().position().map_err(Error::from)?.index;
        snapshot
            .stream(
                &statement,
                &Budget::unlimited(),
                |names, declared| {
                    (columns, types) = (names, declared);
                    Flow::Continue
                },
                |block| {
                    *self.cluster.rows_streamed.lock().unwrap() += u64::from(block.rows);
                    blocks.push(Ok(block));
                    Flow::Continue
                },
            )
            .map_err(Error::from)?;
        let header = RowsHeader { columns, types, index };
        Ok(RowStream { header, blocks: futures_util::stream::iter(blocks).boxed() })
    }

    async fn read_briefly(
        &self,
        partitions: &[usize],
        statement: &Statement,
    ) -> Result<Option<Vec<RowBlock>>> {
        self.cluster.give_way().await;
        let answer = |&partition: &usize| self.read_now(partition, statement, BRIEF_ROWS);
        let answers: Vec<StatementResult> = partitions.iter().map(answer).collect::<Result<_>>()?;
        if answers.iter().any(|answer| answer.truncated) {
            return Ok(None);
        }
        let rows: u64 = answers.iter().map(|answer| u64::from(answer.rows.rows)).sum();
        *self.cluster.rows_streamed.lock().unwrap() += rows;
        Ok(Some(answers.into_iter().map(|answer| answer.rows).collect()))
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.cluster.give_way().await;
        self.cluster.spend_a_write()?;
        let files: Result<Vec<_>> = work.iter().map(|(bucket, _)| self.file(*bucket)).collect();
        self.carry_out(&mut files?, &work, max_rows, None)
    }

    async fn allocate_rowids(&self, table: &str, count: u64) -> Result<i64> {
        let full = || Error::new(ErrorCode::SqlError, "database or disk is full");
        let planner = self.cluster.planner();
        let greatest = query::greatest_rowid(&planner, self, table).await?;
        let mut rowids = self.cluster.rowids.lock().unwrap();
        let entry = rowids.entry(table.to_owned()).or_insert((1, false));
        if entry.1 || self.cluster.reuses_rowids {
            let next = greatest.checked_add(1).ok_or_else(full)?;
            let counts_on = planner.database().schema.objects.iter().any(|object| {
                object.name.eq_ignore_ascii_case(table) && object.sql.contains("AUTOINCREMENT")
            });
            let reuses = self.cluster.reuses_rowids && !counts_on;
            let given = self.next_rowids.lock().unwrap().get(table).copied().unwrap_or(i64::MIN);
            entry.0 = if reuses { next.max(given) } else { entry.0.max(next) };
            entry.1 = false;
        }
        let first = entry.0;
        entry.0 = first.checked_add(i64::try_from(count).unwrap()).ok_or_else(full)?;
        self.next_rowids.lock().unwrap().insert(table.to_owned(), entry.0);
        Ok(first)
    }

    async fn release_rowids(&self, table: &str, first: i64, count: u64) {
        let mut rowids = self.cluster.rowids.lock().unwrap();
        if let Some(entry) = rowids.get_mut(table)
            && entry.0 == first + i64::try_from(count).unwrap()
        {
            entry.0 = first;
            self.next_rowids.lock().unwrap().insert(table.to_owned(), first);
        }
    }

    async fn rowids_set(&self, table: &str, _greatest: i64) -> Result<()> {
        self.cluster.rowids.lock().unwrap().entry(table.to_owned()).or_insert((1, false)).1 = true;
        Ok(())
    }

    async fn change_schema(&self, change: SchemaChange) -> Result<()> {
        let cluster = self.cluster;
        cluster.spend_a_write()?;
        let _alone = cluster.changing_schema.lock().unwrap();
        let version = change.schema.version;
        if cluster.database().schema.version + 1 != version {
            return Err(Error::new(ErrorCode::StaleSchema, "the schema has changed meanwhile"));
        }
        let buckets = cluster.database().buckets.len();
        let mut files: Vec<_> = cluster.files.iter().map(|file| file.lock().unwrap()).collect();
        let changed = files.iter_mut().enumerate().try_for_each(|(index, file)| {
            let statements = match index / buckets {
                0 => change.statements.as_slice(),
                group => change.group_statements.get(group - 1).map(Vec::as_slice).unwrap_or_default(),
            };
            file.applier.begin()?;
            let changed = file.applier.change_schema(version, statements, &sqlite::TableSums::default())?;
            assert!(changed.is_some(), "a schema version was used twice");
            Ok::<_, sqlite::Failure>(())
        });
        if let Err(error) = changed {
            files.iter_mut().for_each(|file| file.applier.rollback());
            return Err(error.into());
        }
        for file in &mut files {
            file.applier.commit()?;
            file.schema_version = version;
        }
        drop(files);
        self.publish(change.schema)
    }

    async fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let cluster = self.cluster;
        cluster.give_way().await;
        cluster.spend_a_write()?;
        let _alone = cluster.changing_schema.lock().unwrap();
        let version = change.schema.version;
        if cluster.database().schema.version + 1 != version {
            return Err(Error::new(ErrorCode::StaleSchema, "the schema has changed meanwhile"));
        }
        let partitions: Vec<usize> = work.iter().map(|(partition, _)| *partition).collect();
        assert_eq!(
            partitions,
            (0..cluster.files.len()).collect::<Vec<usize>>(),
            "every partition takes part"
        );
        for (partition, items) in &work {
            let steps = items.iter().filter_map(|item| match item {
                WorkItem::Schema(step) => Some(step.version),
                _ => None,
            });
            let versions: BTreeSet<u64> = steps.collect();
            assert_eq!(versions, BTreeSet::from([version]), "the steps of partition {partition}");
        }
        let files: Result<Vec<_>> = partitions.iter().map(|partition| self.file(*partition)).collect();
        let mut files = files?;
        let answers = self.carry_out(&mut files, &work, max_rows, Some(version))?;
        for file in &mut files {
            file.schema_version = version;
        }
        drop(files);
        self.publish(change.schema)?;
        Ok(answers)
    }
}

impl Session<'_> {
    /// Runs work on files, on all of them or on none.
    fn carry_out(
        &self,
        files: &mut [std::sync::MutexGuard<'_, File>],
        work: &[(usize, Vec<WorkItem>)],
        max_rows: u32,
        schema_version: Option<u64>,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let budget = Budget { rows: u64::from(max_rows), ..Budget::default() };
        let mut answers = Vec::new();
        let (mut failure, mut items_before) = (None, 0);
        for (file, (bucket, items)) in files.iter_mut().zip(work) {
            if items.iter().any(|item| !matches!(item, WorkItem::Proof(_))) {
                self.cluster.written.lock().unwrap().insert(*bucket);
            }
            let mut items = items.clone();
            if self.cluster.ignores_proofs {
                let believed = Statement { sql: "SELECT 1".into(), params: Params::None };
                let is_proof = |item: &&mut WorkItem| matches!(item, WorkItem::Proof(_));
                items
                    .iter_mut()
                    .filter(is_proof)
                    .for_each(|item| *item = WorkItem::Statement(believed.clone()));
            }
            file.executor.begin().unwrap();
            match file.executor.run(&items, &budget) {
                Ok(results) => answers.push(results),
                Err(error) => {
                    let mut error = Error::from(error);
                    error.statement = error.statement.map(|item| item + items_before);
                    failure = Some(error);
                    break;
                }
            }
            items_before += u32::try_from(items.len()).unwrap();
        }
        for file in files {
            if failure.is_some() && file.executor.is_open() {
                file.executor.rollback();
            } else if file.executor.is_open() {
                self.cluster.count_hidden(&file.executor.take_effects());
                file.commit(schema_version);
            }
        }
        failure.map_or(Ok(answers), Err)
    }

    /// Has everybody plan with a schema that all partitions have.
    fn publish(&self, schema: Schema) -> Result<()> {
        let (cluster, version) = (self.cluster, schema.version);
        let mut rowids = cluster.rowids.lock().unwrap();
        for spec in schema.tables.values() {
            let (next, set_by_client) = rowids.entry(spec.name.clone()).or_insert((1, false));
            *next = spec.next_rowid.max(*next);
            *set_by_client |= spec.rowids_set_by_client;
        }
        drop(rowids);
        let specs = schema.tables.values();
        let hidden: Vec<&str> =
            specs.flat_map(|spec| &spec.global_indexes).map(|index| index.table.as_str()).collect();
        cluster.hidden_rows.lock().unwrap().retain(|table, _| hidden.contains(&table.as_str()));
        let mut database = cluster.database.write().unwrap();
        let mut newer = database.as_ref().clone();
        newer.schema = schema;
        *database = Arc::new(newer);
        *cluster.planner.write().unwrap() = Arc::new(Planner::new(Arc::clone(&database), cluster.rules)?);
        self.schema_version.store(version, Ordering::SeqCst);
        Ok(())
    }
}

/// A document as answered.
pub fn parsed(document: &query::documents::Document) -> serde_json::Value {
    serde_json::from_str(&document.text).unwrap()
}

/// The documents of an answer.
pub fn listed(list: &query::documents::DocumentList) -> Vec<serde_json::Value> {
    serde_json::from_str(list.text()).unwrap()
}

/// Requests planned on the schema as it is.
impl PartitionAccess for Cluster {
    async fn read(&self, bucket: usize, statement: Statement, max_rows: u32) -> Result<StatementResult> {
        self.current().read(bucket, statement, max_rows).await
    }

    async fn stream(&self, bucket: usize, statement: Statement) -> Result<RowStream> {
        self.current().stream(bucket, statement).await
    }

    async fn read_briefly(
        &self,
        partitions: &[usize],
        statement: &Statement,
    ) -> Result<Option<Vec<RowBlock>>> {
        self.current().read_briefly(partitions, statement).await
    }

    async fn write(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.current().write(work, max_rows).await
    }

    async fn allocate_rowids(&self, table: &str, count: u64) -> Result<i64> {
        self.current().allocate_rowids(table, count).await
    }

    async fn release_rowids(&self, table: &str, first: i64, count: u64) {
        self.current().release_rowids(table, first, count).await;
    }

    async fn rowids_set(&self, table: &str, greatest: i64) -> Result<()> {
        self.current().rowids_set(table, greatest).await
    }

    async fn change_schema(&self, change: SchemaChange) -> Result<()> {
        self.current().change_schema(change).await
    }

    async fn change_schema_and_rows(
        &self,
        change: SchemaChange,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        self.current().change_schema_and_rows(change, work, max_rows).await
    }
}
