//! What the node runs, brought into line with what the coordinators assign.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::protocol::{Assignment, Assignments, ReplicaReport};
use common::{Error, ErrorCode, PartitionId, Result};
use parking_lot::{Mutex, RwLock};

use crate::layout::{DataDir, read_word, write_durably};
use crate::replica::{self, Known, Replica, ReplicaError, Surroundings};

/// How often a node that ends looks whether others lead now.
const HAND_OVER_LOOK: Duration = Duration::from_millis(20);

/// The replicas of a node.
pub struct Registry {
    data_dir: Arc<DataDir>,
    around: Surroundings,
    replicas: RwLock<BTreeMap<PartitionId, Arc<Replica>>>,
    /// What the log held when the node started, until the replica is started.
    known: Mutex<BTreeMap<PartitionId, Known>>,
    /// The cluster that the node belongs to, once a coordinator has told it.
    cluster: Mutex<Option<String>>,
    /// Version of the assignments obeyed last. The lock is held while assignments are obeyed, one set after
    /// the other.
    obeyed: tokio::sync::Mutex<u64>,
    version: std::sync::atomic::AtomicU64,
}

impl Registry {
    /// A registry that runs nothing yet. `known` is what the shared log holds.
    pub fn new(
        data_dir: Arc<DataDir>,
        around: Surroundings,
        known: BTreeMap<PartitionId, Known>,
    ) -> io::Result<Registry> {
        let obeyed = match read_word(&data_dir.obeyed())? {
            Some(text) => text.parse().map_err(io::Error::other)?,
            None => 0,
        };
        Ok(Registry {
            cluster: Mutex::new(data_dir.cluster()?),
            data_dir,
            around,
            replicas: RwLock::default(),
            known: Mutex::new(known),
            obeyed: tokio::sync::Mutex::new(obeyed),
            version: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// Starts the replicas that the data directory holds, without asking anybody: a cluster whose
    /// coordinators are down still has its data.
    pub async fn start_existing(&self) -> io::Result<()> {
        for partition in self.data_dir.partitions()? {
            let dir = self.data_dir.partition(partition);
            match replica::description(&dir) {
                Ok(Some(assignment)) => {
                    if let Err(error) = self.start(assignment).await {
                        tracing::error!(%partition, %error, "a replica could not be started");
                    }
                }
                // Its making was interrupted before anything was promised.
                Ok(None) => fs::remove_dir_all(dir.root())?,
                Err(error) => tracing::error!(%partition, %error, "a replica could not be started"),
            }
        }
        Ok(())
    }

    async fn start(&self, assignment: Assignment) -> Result<(), ReplicaError> {
        let partition = assignment.partition;
        let known = self.known.lock().get(&partition).copied();
        let known = known.filter(|known| known.replica == assignment.replica);
        let dir = self.data_dir.partition(partition);
        self.around.neighbours.learn_replicas(&assignment);
        let started = Replica::start(assignment, dir, known, &self.around).await?;
        self.replicas.write().insert(partition, Arc::new(started));
        Ok(())
    }

    /// A replica that runs here.
    pub fn get(&self, partition: PartitionId) -> Result<Arc<Replica>> {
        self.replicas.read().get(&partition).cloned().ok_or_else(|| {
            Error::new(
                ErrorCode::PartitionNotFound,
                format!("partition {partition} has no replica on this node"),
            )
        })
    }

    /// All replicas, by partition.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Reports of some replicas, or of all.
    #[must_use]
    pub fn reports(&self, wanted: &[PartitionId]) -> Vec<ReplicaReport> {
        let replicas = self.all();
        let chosen = replicas.iter().filter(|one| wanted.is_empty() || wanted.contains(&one.partition()));
        chosen.map(|replica| replica.report()).collect()
    }

    /// Version of the assignments that are run; 0 until a coordinator has given some.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The cluster that the node belongs to, once a coordinator has told it.
    #[must_use]
    pub fn cluster(&self) -> Option<String> {
        self.cluster.lock().clone()
    }

    /// Makes the node a member of a cluster, or fails if it is a member of another one. Partitions of two
    /// clusters have the same numbers, and each cluster's coordinators would have the other's replicas removed.
    pub fn belong_to(&self, cluster: &str) -> Result<()> {
        if cluster.is_empty() {
            return Err(Error::new(ErrorCode::Unavailable, "the coordinator does not know its cluster yet"));
        }
        let mut known = self.cluster.lock();
        match known.as_deref() {
            Some(known) if known == cluster => Ok(()),
            Some(known) => {
                let message = format!("this storage node belongs to cluster {known}, not to {cluster}");
                Err(Error::new(ErrorCode::Forbidden, message)
                    .with_hint("give the node an empty data directory to have it join another cluster"))
            }
            None => {
                self.data_dir.set_cluster(cluster).map_err(|error| Error::internal(error.to_string()))?;
                *known = Some(cluster.to_owned());
                Ok(())
            }
        }
    }

    /// Runs what is assigned and nothing else. Older assignments than those obeyed already are ignored: they
    /// come from a coordinator that lags behind, and would remove what is new.
    pub async fn obey(&self, assignments: Assignments) -> Result<()> {
        let mut obeyed = self.obeyed.lock().await;
        if *obeyed == u64::MAX {
            return Err(Error::new(ErrorCode::Unavailable, "the node is stopping"));
        }
        self.belong_to(&assignments.cluster)?;
        if assignments.version < *obeyed {
            return Ok(());
        }
        let mut failed = None;
        let assigned: BTreeSet<PartitionId> = assignments.replicas.iter().map(|one| one.partition).collect();
        let superfluous: Vec<PartitionId> =
            self.replicas.read().keys().filter(|partition| !assigned.contains(partition)).copied().collect();
        for partition in superfluous {
            self.remove(partition).await;
        }
        for assignment in assignments.replicas {
            let partition = assignment.partition;
            if let Err(error) = self.bring_about(assignment).await {
                tracing::error!(%partition, %error, "an assigned replica could not be started");
                failed = Some(error);
            }
        }
        if let Some(error) = failed {
            return Err(Error::internal(error.to_string()));
        }
        if *obeyed != assignments.version {
            write_durably(&self.data_dir.obeyed(), assignments.version.to_string().as_bytes())
                .map_err(|error| Error::internal(error.to_string()))?;
        }
        *obeyed = assignments.version;
        self.version.store(assignments.version, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    async fn bring_about(&self, assignment: Assignment) -> Result<(), ReplicaError> {
        let partition = assignment.partition;
        let running = self.replicas.read().get(&partition).cloned();
        if let Some(running) = running {
            if running.replica() == assignment.replica {
                self.around.neighbours.learn_replicas(&assignment);
                return running.reassign(&assignment);
            }
            // Another replica id: what was here counts as lost.
            self.remove(partition).await;
        }
        self.start(assignment).await
    }

    async fn remove(&self, partition: PartitionId) {
        let removed = self.replicas.write().remove(&partition);
        self.known.lock().remove(&partition);
        self.around.neighbours.forget_replicas(partition);
        if let Some(replica) = removed {
            tracing::info!(%partition, replica = %replica.replica(), "a replica is removed");
            if let Err(error) = replica.remove().await {
                tracing::error!(%partition, %error, "a replica's files could not be removed");
            }
        }
    }

    /// Stops all replicas; their files and logs stay. Nothing can be started afterwards, and another process
    /// may use the data directory once the log is closed too.
    pub async fn stop(&self) {
        let mut obeyed = self.obeyed.lock().await;
        *obeyed = u64::MAX;
        let replicas = std::mem::take(&mut *self.replicas.write());
        for replica in replicas.into_values() {
            replica.stop().await;
        }
    }

    /// Has other nodes lead what is led here, so that nobody waits for an election when this node ends. What nobody
    /// has taken over in time stays, and so does what comes back, because then the others end as well.
    pub async fn hand_over(&self, within: Duration) {
        let led = self.all().into_iter().filter_map(|replica| Some((replica.leads_in()?, replica)));
        let mut led: Vec<(u64, Arc<Replica>)> = led.collect();
        let handing = async {
            while !led.is_empty() {
                led.iter().for_each(|(_, replica)| replica.hand_over());
                tokio::time::sleep(HAND_OVER_LOOK).await;
                led.retain(|(term, replica)| replica.leads_in() == Some(*term));
            }
        };
        if tokio::time::timeout(within, handing).await.is_err() {
            tracing::info!("some partitions have not found another leader in time");
        }
    }

    /// Lets another process use the data directory, whoever still holds on to this registry.
    pub fn release(&self) -> io::Result<()> {
        self.data_dir.release()
    }
}
