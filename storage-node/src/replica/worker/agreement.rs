//! Whether the replica is what the others are.
//!
//! The leader of a partition that has changed puts its digest into the log now and then. Every replica compares at
//! that index; the leader, and whoever differs, asks the others, and who is alone against a majority of the voters
//! puts itself into quarantine. Beside that every replica reads its own file again, slowly, and compares it with the
//! sums that it stored with every change: so it also finds what the disk has changed, and in tables that nobody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::PartitionId;
use consensus_runtime::Role;
use polylite_client::node::StorageClient;
use sqlite::Finding;

use super::super::inbox::Event;
use super::super::judgement::{Judgement, judge};
use super::super::machine::{Compared, Job};
use super::Worker;
use crate::upkeep::Upkeep;

/// How often another replica is asked for its digest, which it has as soon as it has applied the index.
const ATTEMPTS: u32 = 5;
/// Between two attempts, and for one of them.
const PATIENCE: Duration = Duration::from_secs(1);
/// Before the others are asked again, because those who answered did not decide it.
const PAUSE: Duration = Duration::from_secs(5);
/// A reading that was ended, because too much was written meanwhile, is twice as fast the next time, at most so many times.
const HASTE_MAX: u32 = 6;

/// What was compared, and when.
pub(super) struct Agreement {
    /// The state that was compared last.
    base: u64,
    compared: Instant,
    scrubbed: Instant,
    scrubbing: bool,
    /// Ends the reading that is under way.
    end: Arc<AtomicBool>,
    haste: u32,
}

impl Agreement {
    pub(super) fn new() -> Agreement {
        Agreement {
            base: 0,
            compared: Instant::now(),
            scrubbed: Instant::now(),
            scrubbing: false,
            end: Arc::default(),
            haste: 0,
        }
    }

    /// Ends the reading that is under way: it keeps the write-ahead log from being tidied, or nobody needs it.
    pub(super) fn end_scrub(&self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// Whether the leader's state was not compared yet.
    pub(super) fn has_to_compare(&self) -> bool {
        let writable = self.machine.as_ref().filter(|machine| machine.is_writable());
        writable.is_some_and(|machine| machine.state().position.base != self.agreement.base)
    }

    /// Called about once a second.
    pub(super) fn compare_and_scrub(&mut self) {
        if self.has_to_compare() && self.agreement.compared.elapsed() >= self.upkeep.options.compare_every {
            self.agreement.compared = Instant::now();
            self.agreement.base = self.machine.as_ref().map_or(0, |machine| machine.state().position.base);
            self.submit_own(Job::Compare);
        }
        self.scrub();
    }

    /// The log has asked for a comparison.
    pub(super) fn compare(&mut self, compared: Compared) {
        self.published.compared(compared.index, compared.own);
        let leads = self.role.role == Role::Leader;
        if !leads && compared.own == compared.leaders {
            return;
        }
        self.ask_others(compared, Duration::ZERO);
    }

    /// Asks the other replicas for their digests at the index, after a while.
    fn ask_others(&self, compared: Compared, after: Duration) {
        let own = self.assignment.replica;
        let others: Vec<String> = self
            .assignment
            .peers
            .iter()
            .filter(|(replica, _)| **replica != own)
            .map(|(_, peer)| peer.address.clone())
            .collect();
        let (client, sender) = (self.neighbours.storage().clone(), self.sender.clone());
        let partition = self.assignment.partition;
        self.tokio.spawn(async move {
            tokio::time::sleep(after).await;
            let asked = others.iter().map(|address| digest_of(&client, address, partition, compared.index));
            let others = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
            let _ = sender.send(Event::Voted { compared, others });
        });
    }

    /// The others have told their digests.
    pub(super) fn voted(&mut self, compared: Compared, others: &[u128]) {
        let leads = self.role.role == Role::Leader;
        let partition = self.assignment.partition;
        match judge(compared, leads, others, self.voters()) {
            Judgement::Divergent => {
                let index = compared.index;
                self.condemn(&format!("its rows at index {index} are not those of the other replicas"));
            }
            // Until a later comparison takes its place.
            Judgement::Open
                if self.machine.is_some()
                    && self.published.digest() == Some((compared.index, compared.own)) =>
            {
                self.ask_others(compared, PAUSE);
            }
            Judgement::Open | Judgement::Sound => {}
        }
        if others.iter().any(|other| *other != compared.own) {
            tracing::warn!(%partition, index = compared.index, "another replica has other rows");
        }
    }

    fn voters(&self) -> usize {
        self.group.as_ref().map_or(0, |group| group.status().configuration.voters.len())
    }

    /// Begins to read the file again, if it is time and no other replica of the node is being read.
    fn scrub(&mut self) {
        let due = self.agreement.scrubbed.elapsed() >= self.upkeep.options.scrub_pause;
        if !due || self.agreement.scrubbing || self.machine.is_none() || self.care.is_grown() {
            return;
        }
        let Ok(permit) = self.upkeep.scrubbing.clone().try_acquire_owned() else { return };
        self.agreement.scrubbing = true;
        self.published.scrubs().count_begun();
        self.agreement.end = Arc::default();
        let (end, haste, upkeep) = (self.agreement.end.clone(), self.agreement.haste, self.upkeep.clone());
        let (location, generation, sender) = (self.location(), self.generation, self.sender.clone());
        let partition = self.assignment.partition;
        self.tokio.spawn_blocking(move || {
            let finding = sqlite::scrub(&location, &|bytes| pace(&upkeep, bytes >> haste, &end));
            drop(permit);
            let finding = finding.unwrap_or_else(|error| {
                tracing::debug!(%partition, %error, "a file could not be read again");
                Finding::Ended
            });
            let _ = sender.send(Event::Scrubbed { generation, finding });
        });
    }

    /// The file of a generation was read again.
    pub(super) fn scrubbed(&mut self, generation: u64, finding: Finding) {
        self.agreement.scrubbing = false;
        self.agreement.scrubbed = Instant::now();
        self.published.scrubs().count(&finding);
        match finding {
            _ if generation != self.generation || self.machine.is_none() => {}
            Finding::Sound => {
                self.agreement.haste = 0;
                self.published.set_quarantined(None);
            }
            Finding::Ended => self.agreement.haste = (self.agreement.haste + 1).min(HASTE_MAX),
            Finding::Damaged(reason) if self.voters() < 2 => {
                // Nothing better could take its place, and whoever exports it may save most of it.
                let partition = self.assignment.partition;
                tracing::error!(%partition, reason, "the only replica of a partition is damaged");
                self.published.set_quarantined(Some(reason));
            }
            Finding::Damaged(reason) => self.condemn(&reason),
        }
    }

    /// The file can be opened, but must never be served again, also not after a restart: it is put aside, and the
    /// replica in quarantine until a copy has taken its place.
    fn condemn(&mut self, reason: &str) {
        let file = self.dir.database(self.generation);
        if let Err(error) = std::fs::rename(&file, file.with_extension("damaged")) {
            tracing::error!(path = %file.display(), %error, "a damaged file could not be put aside");
        }
        self.quarantine(reason);
    }
}

/// Waits as long as the node's rate asks for; `false` once the reading is to end.
fn pace(upkeep: &Upkeep, bytes: usize, end: &AtomicBool) -> bool {
    let until = Instant::now() + upkeep.scrub_rate.take(bytes);
    loop {
        if end.load(Ordering::Relaxed) {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(PATIENCE));
    }
}

/// Another replica's digest at an index, once it has applied that.
async fn digest_of(
    client: &StorageClient,
    address: &str,
    partition: PartitionId,
    index: u64,
) -> Option<u128> {
    for _ in 0..ATTEMPTS {
        if let Ok(reports) = client.replicas(address, vec![partition], PATIENCE).await
            && let Some((at, digest)) = reports.first().and_then(|report| report.digest)
            && at >= index
        {
            return (at == index).then_some(digest);
        }
        tokio::time::sleep(PATIENCE).await;
    }
    None
}
