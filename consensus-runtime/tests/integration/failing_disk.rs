//! A sync fails: the process must end, and nothing may be acknowledged that depended on it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use common::{PartitionId, ReplicaId};
use consensus_runtime::{
    Committed, Configuration, Envelope, FatalError, GroupHost, GroupSpec, LogOptions, PeerAddress,
    RoleChange, Runtime, RuntimeOptions, SharedLog, SnapshotOffer, SnapshotRequest, StagedOutcome, Transport,
};

use crate::support::disk::WatchedDisk;

struct NoPeers;

impl Transport for NoPeers {
    fn send(&self, to: &PeerAddress, batch: Vec<Envelope>) {
        panic!("{} messages to {to:?} from the only member", batch.len());
    }
}

/// Passes on what is committed.
struct Host(mpsc::Sender<Vec<Committed>>);

impl GroupHost for Host {
    fn committed(&mut self, entries: Vec<Committed>) {
        self.0.send(entries).expect("the test listens");
    }

    fn role_changed(&mut self, _change: RoleChange) {}

    fn make_snapshot(&mut self, request: SnapshotRequest) {
        panic!("nobody needs a snapshot: {request:?}");
    }

    fn install_snapshot(&mut self, offer: SnapshotOffer) {
        panic!("nobody offers a snapshot: {offer:?}");
    }

    fn snapshot_staged(&mut self, outcome: StagedOutcome) {
        panic!("nothing was staged: {outcome:?}");
    }

    fn failed(&mut self, reason: String) {
        panic!("the log has failed, not the group: {reason}");
    }
}

#[test]
fn a_failed_sync_ends_the_process_before_anything_is_acknowledged() {
    let patience = Duration::from_secs(30);
    let directory = tempfile::tempdir().expect("directory");
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let before_sync =
        move || if failing.load(Ordering::SeqCst) { Err(io::Error::other("planted")) } else { Ok(()) };
    let disk = Arc::new(WatchedDisk(Arc::new(before_sync)));
    let log = SharedLog::open_with_file_system(directory.path(), &LogOptions::small(), disk).expect("log");
    let (fatal, fatal_seen) = mpsc::channel();
    let options = RuntimeOptions {
        on_fatal: Arc::new(move |error: &FatalError| {
            fatal.send(error.to_string()).expect("the test listens");
            // In place of the end of the process: the worker does nothing any more.
            loop {
                std::thread::park();
            }
        }),
        ..RuntimeOptions::new(1)
    };
    let runtime = Runtime::start(log, Arc::new(NoPeers), options).expect("runtime");
    let (committed, committed_seen) = mpsc::channel();
    let spec = GroupSpec {
        group: PartitionId(1),
        replica: ReplicaId(1),
        peers: [].into(),
        initial: Some(Configuration::of_voters([ReplicaId(1)])),
        applied: 0,
        campaign_now: true,
    };
    let handle = runtime.start_group(spec, Box::new(Host(committed))).wait().expect("the group starts");
    committed_seen.recv_timeout(patience).expect("the leader's own entry");
    handle.propose("kept".into()).wait().expect("it leads");
    assert_eq!(committed_seen.recv_timeout(patience).expect("committed")[0].data, "kept");

    fails.store(true, Ordering::SeqCst);
    handle.propose("doomed".into()).wait().expect("it is taken into the log before the log is synced");
    let error = fatal_seen.recv_timeout(patience).expect("the process would end here");
    assert!(error.contains("planted"), "{error}");
    runtime.shutdown();
    assert!(committed_seen.try_recv().is_err(), "nothing is committed without its sync");
    assert!(handle.propose("later".into()).wait().is_err(), "the worker has ended");
}
