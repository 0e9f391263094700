//! Reads that partitions answer at once, of any number of requests, on their way to the nodes.
//!
//! A message costs more than most of these reads. So what is asked of a node's partitions goes together, and while
//! messages are under way to it, what comes from other requests waits and goes with the next one: the busier a node is, the
//! more reads share a message, the confirmation of leadership and a snapshot. A node that is idle is asked at once.
//!
//! This is an attempt: what is not answered this way, because a leader has changed say, is asked again by itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use common::protocol::{
    BriefAnswer, BriefRead, BriefTarget, Reply, Statement, StorageReply, StorageRequest, decode, encode,
};
use common::{Error, ErrorCode, Hlc, PartitionId, Result};
use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use polylite_client::peer::PeerPool;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::access::{RequestAccess, nothing_written};
use super::partition_call::{From, GRACE, Repeat, millis};

/// Most rows that a partition answers at once.
const BRIEF_ROWS: u32 = 1_000;
/// Messages with reads that are under way to a node at once.
const UNDER_WAY_MAX: usize = 2;
/// Most reads in a message.
const READS_MAX: usize = 32;

/// Reads that wait for their nodes, by the nodes' addresses.
#[derive(Default)]
pub(super) struct BriefReads {
    nodes: Mutex<HashMap<String, Arc<Mutex<Waiting>>>>,
}

/// What waits for one node.
#[derive(Default)]
struct Waiting {
    reads: Vec<Asked>,
    under_way: usize,
}

/// A read, and who waits for what the partitions answer to it.
struct Asked {
    read: BriefRead,
    deadline: Instant,
    answer: oneshot::Sender<Vec<Reply<BriefAnswer>>>,
}

impl BriefReads {
    /// Asks a node. `None` if it gave no answer.
    async fn ask(
        &self,
        peers: &PeerPool,
        address: String,
        read: BriefRead,
        deadline: Instant,
    ) -> Option<Vec<Reply<BriefAnswer>>> {
        let node = self.nodes.lock().entry(address.clone()).or_default().clone();
        let (answer, answered) = oneshot::channel();
        let begins = {
            let mut waiting = node.lock();
            waiting.reads.push(Asked { read, deadline, answer });
            let begins = waiting.under_way < UNDER_WAY_MAX;
            waiting.under_way += usize::from(begins);
            begins
        };
        if begins {
            tokio::spawn(carry(peers.clone(), address, node));
        }
        timeout_at(deadline + GRACE, answered).await.ok()?.ok()
    }

    /// Forgets nodes that nothing is asked of.
    pub(super) fn tidy(&self) {
        self.nodes.lock().retain(|_, node| Arc::strong_count(node) > 1);
    }
}

/// Carries what waits to a node, until nothing does.
async fn carry(peers: PeerPool, address: String, node: Arc<Mutex<Waiting>>) {
    loop {
        let batch: Vec<Asked> = {
            let mut waiting = node.lock();
            let count = waiting.reads.len().min(READS_MAX);
            if count == 0 {
                waiting.under_way -= 1;
                return;
            }
            waiting.reads.drain(..count).collect()
        };
        let last = batch.iter().map(|asked| asked.deadline).max();
        let limit = last.unwrap_or_else(Instant::now).saturating_duration_since(Instant::now()) + GRACE;
        let (mut reads, mut waiting) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for Asked { read, answer, .. } in batch {
            waiting.push((read.partitions.len(), answer));
            reads.push(read);
        }
        let reply = peers.call(&address, encode(&StorageRequest::ReadBriefly(reads)), limit).await;
        let decoded = reply.ok().and_then(|reply| decode::<Reply<StorageReply>>(&reply).ok());
        let Some(Ok(StorageReply::Brief(answers))) = decoded else { continue };
        let mut answers = answers.into_iter();
        for (partitions, answer) in waiting {
            // Who has gone needs no answer.
            let _ = answer.send(answers.by_ref().take(partitions).collect());
        }
    }
}

impl RequestAccess {
    /// What the partitions answer, each of the moment that is named, if one is.
    pub(super) async fn ask_briefly(
        &self,
        partitions: &[usize],
        statement: &Statement,
        at: Option<Hlc>,
    ) -> Result<Vec<(PartitionId, BriefAnswer)>> {
        let targets: Vec<BriefTarget> =
            partitions.iter().map(|&index| self.brief_target(index, at)).collect::<Result<_>>()?;
        let nodes = self.by_node(&targets).into_iter().map(|(address, places)| {
            let partitions = places.iter().map(|&place| targets[place].clone()).collect();
            let read = BriefRead { statement: statement.clone(), max_rows: BRIEF_ROWS, partitions };
            let shared = &self.gateway.shared;
            async move { (places, shared.brief_reads.ask(&shared.peers, address, read, self.deadline).await) }
        });
        let mut answers: Vec<Option<BriefAnswer>> = vec![None; targets.len()];
        for (places, answered) in join_all(nodes).await {
            for (place, answer) in places.into_iter().zip(answered.into_iter().flatten()) {
                answers[place] = unless_another_may(answer)?;
            }
        }
        let complete = targets.into_iter().zip(answers).map(|(target, answer)| async move {
            let partition = target.target.partition;
            match answer {
                Some(answer) => Ok((partition, answer)),
                None => Ok((partition, self.ask_one_briefly(target, statement).await?)),
            }
        });
        try_join_all(complete).await
    }

    fn brief_target(&self, index: usize, at: Option<Hlc>) -> Result<BriefTarget> {
        let mut target = self.target(index)?;
        target.timeout_ms = millis(self.deadline.saturating_duration_since(Instant::now()));
        let at_least = self.seen(target.partition);
        Ok(BriefTarget { target, at_least, at })
    }

    /// Places of the partitions by the addresses of the nodes that are believed to lead them.
    fn by_node(&self, targets: &[BriefTarget]) -> BTreeMap<String, Vec<usize>> {
        let catalog = self.gateway.shared.surroundings.view();
        let mut nodes: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (place, target) in targets.iter().enumerate() {
            let partition = target.target.partition;
            let leader = self.gateway.shared.leaders.get(partition);
            let replicas = catalog.partitions.get(&partition).map(|found| &found.replicas);
            let replica = replicas.and_then(|all| all.iter().find(|replica| Some(replica.id) == leader));
            if let Some(node) = replica.and_then(|replica| catalog.nodes.get(&replica.node)) {
                nodes.entry(node.address()).or_default().push(place);
            }
        }
        nodes
    }

    /// Asks one partition, whoever leads it.
    async fn ask_one_briefly(&self, target: BriefTarget, statement: &Statement) -> Result<BriefAnswer> {
        let partition = target.target.partition;
        let read = BriefRead { statement: statement.clone(), max_rows: BRIEF_ROWS, partitions: vec![target] };
        let mut request = StorageRequest::ReadBriefly(vec![read]);
        let asked =
            self.gateway.ask(partition, From::Leader, Repeat::Freely, self.deadline, &mut request).await;
        let wrong = || Error::internal("a storage node sent a reply of another kind");
        match asked.map_err(nothing_written)? {
            StorageReply::Brief(answers) => answers.into_iter().next().ok_or_else(wrong)?,
            _ => Err(wrong()),
        }
    }
}

/// An answer, or the partition's error; `None` if another replica or a later attempt may answer.
fn unless_another_may(answer: Reply<BriefAnswer>) -> Result<Option<BriefAnswer>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.code {
            ErrorCode::NotLeader
            | ErrorCode::LeadershipLost
            | ErrorCode::NoQuorum
            | ErrorCode::Unavailable
            | ErrorCode::PartitionNotFound
            | ErrorCode::StaleSchema
            | ErrorCode::StalePartitionMap => Ok(None),
            _ => Err(error),
        },
    }
}
