//! The key in the middle of a bucket's rows, before which it is divided: that of a sample, for no index need know it.

use std::sync::Arc;

use common::catalog::Database;
use common::entry::{Change, Effects};
use common::partition_division::{self, SplitPoint};
use common::partition_map::Bucket;
use common::{Error, Result, Value};
use futures_util::StreamExt as _;
use rand::Rng as _;

use super::super::cluster::Cluster;
use super::source::Source;

/// Keys that are looked at: their middle is within a few percent of that of all.
const SAMPLE: usize = 1_000;

/// Divides a bucket of keys where about as many rows lie left as right. Fails with `bad_request` if all its rows have the
/// same key.
pub(in super::super) async fn middle_key(
    cluster: &impl Cluster,
    database: &Database,
    bucket: &Bucket,
) -> Result<SplitPoint> {
    let mut keys = sample(cluster, database, bucket).await?;
    keys.sort_by(Value::compare);
    let middle = keys.len() / 2;
    // From the middle on to the right, then to the left.
    let points = keys[middle..].iter().chain(keys[..middle].iter().rev());
    let divides = |point: &&Value| {
        let at = SplitPoint::Key((*point).clone());
        keys[0].compare(point).is_lt() && partition_division::split(&bucket.range, &at).is_ok()
    };
    points
        .into_iter()
        .find(divides)
        .map(|point| SplitPoint::Key(point.clone()))
        .ok_or_else(|| Error::bad_request("all rows of the partition have the same key"))
}

/// Keys of rows, each row with the same chance (algorithm R: Vitter, "Random Sampling with a Reservoir", 1985).
async fn sample(cluster: &impl Cluster, database: &Database, bucket: &Bucket) -> Result<Vec<Value>> {
    let partition = bucket.partitions[0];
    let relocation = cluster.relocation(Arc::new(database.clone()), 0).await?;
    let source = Source::pin(cluster, partition, bucket.epoch, database.schema.version).await?;
    let (_, mut images) = cluster.images(&source.address, source.partition, source.pin).await?;
    let (mut keys, mut seen) = (Vec::new(), 0_usize);
    while let Some(effects) = images.next().await {
        let Effects { tables, rows } = effects?;
        for effect in rows {
            let Change::Insert { key, row } = effect.change else { continue };
            let Some(found) = relocation.key_of(&tables[usize::from(effect.table)], &key, &row)? else {
                continue;
            };
            seen += 1;
            if keys.len() < SAMPLE {
                keys.push(found);
            } else if let Some(place) = keys.get_mut(rand::rng().random_range(0..seen)) {
                *place = found;
            }
        }
    }
    Ok(keys)
}
