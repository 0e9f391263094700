//! What the state machine publishes and requests wait for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::catalog::{Catalog, Coordinator};
use common::{ReplicaId, RequestId, Result};
use consensus_runtime::{PeerAddress, Role, RoleChange};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use crate::catalog::Answer;

/// A command's answer and its place in the log.
pub(super) type Applied = (u64, Result<Answer>);

/// The published state of the catalog in this process.
pub(super) struct Shared {
    view: RwLock<Arc<Catalog>>,
    /// Index of the last entry that the view holds.
    pub(super) applied: watch::Sender<u64>,
    pub(super) role: watch::Sender<RoleChange>,
    /// Which snapshot file is in use.
    generation: AtomicU64,
    waiters: Mutex<HashMap<RequestId, Vec<oneshot::Sender<Applied>>>>,
    /// Where the coordinators were when this one joined, until the catalog says where they are.
    founding_addresses: BTreeMap<ReplicaId, String>,
}

impl Shared {
    pub(super) fn new(
        catalog: Catalog,
        applied: u64,
        generation: u64,
        founding_addresses: BTreeMap<ReplicaId, String>,
    ) -> Shared {
        let role = RoleChange { term: 0, role: Role::Follower, leader: None };
        Shared {
            view: RwLock::new(Arc::new(catalog)),
            applied: watch::Sender::new(applied),
            role: watch::Sender::new(role),
            generation: AtomicU64::new(generation),
            waiters: Mutex::default(),
            founding_addresses,
        }
    }

    pub(super) fn view(&self) -> Arc<Catalog> {
        self.view.read().clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Release);
    }

    pub(super) fn publish(&self, catalog: Catalog) {
        *self.view.write() = Arc::new(catalog);
    }

    /// Whoever waits for the view to reach an index goes on.
    pub(super) fn reached(&self, index: u64) {
        self.applied.send_if_modified(|applied| {
            let moved = index > *applied;
            *applied = index.max(*applied);
            moved
        });
    }

    /// Waits for the answer of a proposal of this name.
    pub(super) fn await_answer(&self, request: RequestId) -> oneshot::Receiver<Applied> {
        let (sender, receiver) = oneshot::channel();
        self.waiters.lock().entry(request).or_default().push(sender);
        receiver
    }

    pub(super) fn answer(&self, request: RequestId, applied: &Applied) {
        for waiter in self.waiters.lock().remove(&request).unwrap_or_default() {
            // It may have run out of time.
            drop(waiter.send(applied.clone()));
        }
    }

    /// The proposals that somebody still waits for.
    pub(super) fn awaited(&self) -> Vec<RequestId> {
        let mut waiters = self.waiters.lock();
        waiters.retain(|_, waiting| {
            waiting.retain(|waiter| !waiter.is_closed());
            !waiting.is_empty()
        });
        waiters.keys().copied().collect()
    }

    /// Where the coordinators are reached.
    pub(super) fn addresses(&self) -> BTreeMap<ReplicaId, String> {
        let view = self.view();
        if view.coordinators.is_empty() {
            return self.founding_addresses.clone();
        }
        view.coordinators.values().map(|coordinator| (coordinator.replica, coordinator.address())).collect()
    }

    /// The same, as the group wants it.
    pub(super) fn peers(&self) -> BTreeMap<ReplicaId, PeerAddress> {
        let peer = |(replica, address): (ReplicaId, String)| {
            (replica, PeerAddress { node: common::NodeId(format!("coordinator-{replica}")), address })
        };
        self.addresses().into_iter().map(peer).collect()
    }

    /// Where the leader is reached, as far as is known.
    pub(super) fn leader_address(&self) -> Option<String> {
        let leader = self.role.borrow().leader?;
        self.view()
            .coordinators
            .get(&leader)
            .map(Coordinator::address)
            .or_else(|| self.founding_addresses.get(&leader).cloned())
    }

    pub(super) fn is_leader(&self) -> bool {
        self.role.borrow().role == Role::Leader
    }
}
