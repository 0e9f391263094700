//! Proposals per second through three runtimes in one process, with logs on disk, every batch synced.
//!
//! `cargo run --release -p consensus-runtime --example throughput -- [seconds] [in flight] [bytes] [groups] [directory]`

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{NodeId, PartitionId, ReplicaId};
use consensus_runtime::{
    Committed, CommittedKind, Configuration, Envelope, GroupHandle, GroupHost, GroupSpec, LogOptions,
    PeerAddress, RoleChange, Runtime, RuntimeOptions, SharedLog, SnapshotOffer, SnapshotRequest,
    StagedOutcome, Transport,
};

type Runtimes = Arc<OnceLock<BTreeMap<NodeId, Runtime>>>;

struct Wire(Runtimes);

impl Transport for Wire {
    fn send(&self, to: &PeerAddress, batch: Vec<Envelope>) {
        if let Some(runtime) = self.0.get().and_then(|runtimes| runtimes.get(&to.node)) {
            runtime.deliver(batch);
        }
    }
}

/// Counts what is committed.
struct Host {
    handle: Arc<OnceLock<GroupHandle>>,
    committed: mpsc::Sender<usize>,
}

impl GroupHost for Host {
    fn committed(&mut self, entries: Vec<Committed>) {
        if let (Some(handle), Some(last)) = (self.handle.get(), entries.last()) {
            handle.applied(last.index);
            handle.truncate(last.index.saturating_sub(1_000));
        }
        let count = entries.iter().filter(|entry| entry.kind == CommittedKind::Normal).count();
        // Whoever counts may have stopped.
        let _ = self.committed.send(count);
    }

    fn role_changed(&mut self, change: RoleChange) {
        println!("{change:?}");
    }

    fn make_snapshot(&mut self, _request: SnapshotRequest) {}

    fn install_snapshot(&mut self, _offer: SnapshotOffer) {}

    fn snapshot_staged(&mut self, _outcome: StagedOutcome) {}

    fn failed(&mut self, reason: String) {
        panic!("{reason}");
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number =
        |default: usize| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let (seconds, in_flight, bytes, groups) = (number(5), number(64), number(100), number(1));
    let directory = match arguments.next() {
        Some(path) => tempfile::tempdir_in(path),
        None => tempfile::tempdir(),
    };
    let directory = directory.expect("directory");
    let runtimes = Runtimes::default();
    let started: BTreeMap<NodeId, Runtime> =
        (1..=3).map(|id| (node(id), start(&directory.path().join(id.to_string()), id, &runtimes))).collect();
    runtimes.set(started.clone()).unwrap_or_else(|_| panic!("set once"));
    let mut leaders = Vec::new();
    for group in 1..=groups as u64 {
        for id in (1..=3).rev() {
            let (committed, seen) = mpsc::channel();
            let handle = start_group(&started[&node(id)], group, id, committed);
            if id == 1 {
                leaders.push((handle, seen));
            }
        }
    }
    for (handle, seen) in &leaders {
        handle.campaign();
        seen.recv().expect("the leader's first entry");
    }
    if in_flight == 0 {
        println!("idle for {seconds} s in process {}", std::process::id());
        std::thread::sleep(Duration::from_secs(seconds as u64));
    } else {
        measure(&mut leaders, seconds, in_flight, bytes);
    }
    for (node, runtime) in &started {
        println!("{node}: {:?}", runtime.metrics().snapshot());
    }
}

fn measure(
    leaders: &mut [(GroupHandle, mpsc::Receiver<usize>)],
    seconds: usize,
    in_flight: usize,
    bytes: usize,
) {
    let begin = Instant::now();
    let payload = Bytes::from(vec![7; bytes]);
    let total: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = leaders
            .iter_mut()
            .map(|(handle, seen)| scope.spawn(|| drive(handle, seen, seconds, in_flight, &payload)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a driver")).sum()
    });
    println!("{:.0} proposals/s", total as f64 / begin.elapsed().as_secs_f64());
}

/// Keeps so many proposals in flight.
fn drive(
    handle: &GroupHandle,
    seen: &mut mpsc::Receiver<usize>,
    seconds: usize,
    in_flight: usize,
    payload: &Bytes,
) -> usize {
    let deadline = Instant::now() + Duration::from_secs(seconds as u64);
    let (mut proposed, mut done) = (0, 0);
    while Instant::now() < deadline {
        while proposed - done < in_flight {
            handle.propose_with(payload.clone(), |answer| assert!(answer.is_ok(), "{answer:?}"));
            proposed += 1;
        }
        done += seen.recv().expect("the host counts");
    }
    done
}

fn start(directory: &Path, id: u64, runtimes: &Runtimes) -> Runtime {
    let log = SharedLog::open(directory, &LogOptions::default()).expect("log");
    Runtime::start(log, Arc::new(Wire(runtimes.clone())), RuntimeOptions::new(id)).expect("runtime")
}

fn start_group(runtime: &Runtime, group: u64, id: u64, committed: mpsc::Sender<usize>) -> GroupHandle {
    let own = Arc::new(OnceLock::new());
    let spec = GroupSpec {
        group: PartitionId(group),
        replica: ReplicaId(group * 10 + id),
        peers: (1..=3).map(|id| (ReplicaId(group * 10 + id), address(id))).collect(),
        initial: Some(Configuration::of_voters((1..=3).map(|id| ReplicaId(group * 10 + id)))),
        applied: 0,
        campaign_now: false,
    };
    let handle = runtime.start_group(spec, Box::new(Host { handle: own.clone(), committed }));
    let handle = handle.wait().expect("group");
    own.set(handle.clone()).unwrap_or_else(|_| panic!("set once"));
    handle
}

fn node(id: u64) -> NodeId {
    NodeId(format!("node-{id}"))
}

fn address(id: u64) -> PeerAddress {
    PeerAddress { node: node(id), address: String::new() }
}
