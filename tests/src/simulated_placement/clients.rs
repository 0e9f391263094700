//! Clients, each with keys of its own: what they have written, and what they must find.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use common::catalog::Catalog;
use common::entry::Change;
use common::partition_map::{Bucket, bucket_of_key};
use common::protocol::{Params, PartitionTarget, PinId, PinRequest, Statement, WorkItem, WriteRequest};
use common::replacing::RowKey;
use common::{Error, Outcome, Result, Value};
use coordinator::operations::cluster::Cluster as _;
use futures_util::future::join_all;
use rand::Rng as _;
use tokio::time::Instant;

use super::admin::DATABASE;
use super::requests::{Question, Told};
use super::world::World;
use crate::simulated_cluster::Violation;

/// The table under test.
pub(super) const TABLE: &str = "t";
/// Clients.
const CLIENTS: i64 = 5;
/// Keys of each.
const KEYS: i64 = 8;
/// How long a write may wait in its partition, in milliseconds.
const PATIENCE_MS: u64 = 300;
/// What the way may take besides.
const GRACE: Duration = Duration::from_millis(300);

/// What a key may hold: a value, or nothing.
type Holds = BTreeSet<Option<i64>>;

/// All clients.
pub(super) struct Clients {
    clients: Vec<Client>,
}

struct Client {
    world: World,
    number: i64,
    /// The catalog that it plans on.
    view: Arc<Catalog>,
    /// By key. One that is not here was never written.
    may_hold: BTreeMap<i64, Holds>,
    /// Its next value.
    value: i64,
    violation: Option<Violation>,
}

impl Clients {
    pub(super) fn new(world: &World) -> Clients {
        let client = |number| Client {
            world: world.clone(),
            number,
            view: Arc::default(),
            may_hold: BTreeMap::new(),
            value: 0,
            violation: None,
        };
        Clients { clients: (0..CLIENTS).map(client).collect() }
    }

    pub(super) async fn act(&mut self, until: Instant) {
        join_all(self.clients.iter_mut().map(|client| client.act(until))).await;
    }

    /// Reads all rows where they must be, once everything is at rest.
    pub(super) async fn check(self, world: &World) -> Result<(), Violation> {
        let mut may_hold = BTreeMap::new();
        for client in self.clients {
            client.violation.map_or(Ok(()), Err)?;
            may_hold.extend(client.may_hold);
        }
        let catalog = world.view();
        let database = &catalog.databases[DATABASE];
        let mut found = BTreeMap::new();
        for (place, bucket) in database.buckets.iter().enumerate() {
            for (key, value) in all_rows(world, &catalog, bucket).await? {
                if bucket_of_key(&database.buckets, &[Value::Integer(key)]) != place {
                    return Err(Violation(format!("key {key} lies in a partition that does not own it")));
                }
                if found.insert(key, value).is_some() {
                    return Err(Violation(format!("key {key} lies in two partitions")));
                }
            }
        }
        for (key, may) in &may_hold {
            let holds = found.remove(key);
            if !may.contains(&holds) {
                return Err(Violation(format!("in the end key {key} holds {holds:?} and may hold {may:?}")));
            }
        }
        found.keys().next().map_or(Ok(()), |key| Err(Violation(format!("key {key} was never written"))))
    }
}

async fn all_rows(world: &World, catalog: &Catalog, bucket: &Bucket) -> Result<Vec<(i64, i64)>, Violation> {
    for _ in 0..1_000 {
        for replica in &catalog.partitions[&bucket.partitions[0]].replicas {
            let address = catalog.nodes[&replica.node].address();
            let Ok(pin) = pin(world, &address, bucket).await else { continue };
            let images = world.ask(&address, bucket.partitions[0], Question::Images(pin)).await;
            let Ok(Told::Images(_, images)) = images else { continue };
            let of_table = images.iter().filter(|images| images.tables[0] == TABLE);
            return Ok(of_table
                .flat_map(|images| &images.rows)
                .filter_map(|row| row_of(&row.change))
                .collect());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(Violation(format!("partition {} cannot be read in the end", bucket.partitions[0])))
}

fn row_of(change: &Change) -> Option<(i64, i64)> {
    let Change::Insert { key, row } = change else { return None };
    match (key.first(), row.last()) {
        (Some(Value::Integer(key)), Some(Value::Integer(value))) => Some((*key, *value)),
        _ => None,
    }
}

async fn pin(world: &World, address: &str, bucket: &Bucket) -> Result<PinId> {
    let pin = PinId(world.state().random.random());
    let target = target(bucket);
    let request = PinRequest { target, pin, at: None, at_least: 0, readers: 1 };
    let time = Duration::from_millis(PATIENCE_MS) + GRACE;
    world.within(time, address, bucket.partitions[0], Question::Pin(request)).await?;
    Ok(pin)
}

fn target(bucket: &Bucket) -> PartitionTarget {
    PartitionTarget {
        partition: bucket.partitions[0],
        epoch: bucket.epoch,
        schema_version: 1,
        timeout_ms: PATIENCE_MS,
    }
}

impl Client {
    async fn act(&mut self, until: Instant) {
        while Instant::now() < until && self.violation.is_none() {
            let (pause, renew, key, reads) = {
                let random = &mut self.world.state().random;
                let pause = random.random_range(1..30);
                (pause, random.random_bool(0.2), random.random_range(0..KEYS), random.random_bool(0.3))
            };
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if renew || !self.view.databases.contains_key(DATABASE) {
                self.view = self.world.view();
            }
            let key = self.number * KEYS + key;
            if reads { self.read(key).await } else { self.write(key).await }
        }
    }

    /// The bucket of a key, and a replica that may lead its partition.
    fn route(&self, key: i64) -> Option<(Bucket, String)> {
        let database = self.view.databases.get(DATABASE)?;
        let bucket = &database.buckets[bucket_of_key(&database.buckets, &[Value::Integer(key)])];
        let partition = bucket.partitions[0];
        // The map may be out of date, and with it what is known of the replicas; those that lead are heard of.
        let leader = self.world.presumed_leader(partition);
        let replicas = &self.world.view().partitions.get(&partition)?.replicas.clone();
        let known = replicas.iter().find(|replica| Some(replica.id) == leader).or(replicas.first())?;
        Some((bucket.clone(), self.view.nodes.get(&known.node)?.address()))
    }

    async fn write(&mut self, key: i64) {
        let Some((bucket, address)) = self.route(key) else {
            self.view = self.world.view();
            return;
        };
        self.value += 1;
        let deletes = self.world.state().random.random_bool(0.25);
        let new = (!deletes).then_some(self.value);
        let sql = match new {
            Some(value) => format!(
                "INSERT INTO {TABLE} VALUES ({key}, {value}) ON CONFLICT DO UPDATE SET value = {value}"
            ),
            None => format!("DELETE FROM {TABLE} WHERE id = {key}"),
        };
        let work = vec![WorkItem::Statement(Statement { sql, params: Params::None })];
        let write = WriteRequest { target: target(&bucket), work, max_rows: 1 };
        let time = Duration::from_millis(PATIENCE_MS) + GRACE;
        let asked = self.world.within(time, &address, bucket.partitions[0], Question::Write(write)).await;
        let holds = self.may_hold.entry(key).or_insert_with(|| [None].into());
        let mut state = self.world.state();
        match &asked {
            Ok(_) => {
                *holds = [new].into();
                state.report.acknowledged += 1;
            }
            Err(error) if error.outcome == Outcome::NotApplied => state.report.refused += 1,
            Err(_) => {
                holds.insert(new);
                state.report.unknown += 1;
            }
        }
        state.note(&("write", key, asked.is_ok()));
        drop(state);
        self.heed(asked.err());
    }

    async fn read(&mut self, key: i64) {
        let Some((bucket, address)) = self.route(key) else {
            self.view = self.world.view();
            return;
        };
        let pin = match pin(&self.world, &address, &bucket).await {
            Ok(pin) => pin,
            Err(error) => return self.heed(Some(error)),
        };
        let keys = vec![RowKey { table: TABLE.into(), key: vec![Value::Integer(key)] }];
        let partition = bucket.partitions[0];
        let step = common::replacing::ReplacingRequest::RowsByKey { partition, pin, keys };
        let time = Duration::from_millis(PATIENCE_MS) + GRACE;
        let asked = self.world.within(time, &address, partition, Question::Replacing(step)).await;
        let Ok(Told::Replacing(common::replacing::ReplacingReply::Rows(rows))) = asked else { return };
        let found = rows.rows.first().and_then(|row| row_of(&row.change)).map(|(_, value)| value);
        self.world.state().report.reads += 1;
        let never = Holds::from([None]);
        let may = self.may_hold.get(&key).unwrap_or(&never);
        if !may.contains(&found) {
            let text = format!("key {key} was read as {found:?} and may hold {may:?}");
            self.violation = Some(Violation(text));
        }
    }

    fn heed(&mut self, error: Option<Error>) {
        if error.is_some_and(|error| error.code == common::ErrorCode::StalePartitionMap) {
            self.world.state().report.outdated += 1;
            self.view = self.world.view();
        }
    }
}
