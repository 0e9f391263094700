//! The thread that owns all groups.

mod reads;
mod running_group;
mod signs_of_life;
mod ticks;

use std::any::Any;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use common::PartitionId;
use consensus::{Group, GroupOptions, Message, Token};
use parking_lot::RwLock;
use raft_engine::env::FileSystem;
use tokio::sync::oneshot;

use crate::group_handle::{GroupHandle, Shared};
use crate::host::{GroupHost, GroupSpec};
use crate::inbox::{Event, GroupEvent, Inbox};
use crate::metrics::{Metrics, add};
use crate::options::{FatalError, RuntimeOptions};
use crate::outbox::{Outbox, Transport};
use crate::runtime::{StartError, Stopped};
use crate::shared_log::{LogBatch, LogWriteError, SharedLog};
use running_group::{RunningGroup, Taken};
use signs_of_life::{Groups, SignsOfLife};
use ticks::Ticks;

/// The worker looks at the time at least every so many ticks.
const IDLE_TICKS_MAX: u32 = 100;

/// The worker's state.
pub(crate) struct Worker<F: FileSystem + 'static> {
    log: SharedLog<F>,
    transport: Arc<dyn Transport>,
    options: RuntimeOptions,
    inbox: Arc<Inbox>,
    metrics: Arc<Metrics>,
    groups: Groups<F>,
    signs_of_life: SignsOfLife<F>,
    /// Groups that may have work.
    touched: BTreeSet<PartitionId>,
    outbox: Outbox,
    ticks: Ticks,
    /// Ticks counted since the start.
    tick: u64,
}

/// Whether the worker goes on.
enum Next {
    Continue,
    End,
}

impl<F: FileSystem + 'static> Worker<F> {
    pub(crate) fn new(
        log: SharedLog<F>,
        transport: Arc<dyn Transport>,
        options: RuntimeOptions,
        inbox: Arc<Inbox>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Worker<F>> {
        let signs_of_life = SignsOfLife::start(inbox.clone(), transport.clone(), options.clone())?;
        let outbox = Outbox::new(options.batch_bytes_max);
        let ticks = Ticks::new(options.tick, options.ticks_after_stall_max, Instant::now());
        let (groups, touched) = (Groups::new(), BTreeSet::new());
        Ok(Worker {
            log,
            transport,
            options,
            inbox,
            metrics,
            groups,
            signs_of_life,
            touched,
            outbox,
            ticks,
            tick: 0,
        })
    }

    /// Runs until it is told to end, or the log fails.
    pub(crate) fn run(mut self) {
        let (inbox, on_fatal) = (self.inbox.clone(), self.options.on_fatal.clone());
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| self.run_until_end()));
        let error = match ended {
            // Before the groups are let go, so that nobody puts in what nobody will take out.
            Ok(Ok(())) => return inbox.close(),
            Ok(Err(error)) => FatalError::Log(error),
            Err(panic) => FatalError::Worker(panic_text(panic.as_ref())),
        };
        inbox.fail();
        on_fatal(&error);
        // Going on would close the log, and so sync it once more.
        std::process::abort();
    }

    fn run_until_end(&mut self) -> Result<(), LogWriteError> {
        let mut events = VecDeque::new();
        loop {
            let due = self.groups.values().map(RunningGroup::ticks_until_due).min();
            let due = due.map_or(IDLE_TICKS_MAX, |due| due.min(IDLE_TICKS_MAX));
            self.inbox.drain(&mut events, self.ticks.deadline(due));
            let passed = self.ticks.pass(Instant::now(), due);
            add(&self.metrics.ticks_skipped, passed.skipped);
            self.pass_ticks(passed.before_events);
            for event in events.drain(..) {
                if let Next::End = self.handle(event)? {
                    return Ok(());
                }
            }
            self.pass_ticks(passed.after_events);
            self.work()?;
        }
    }

    /// Lets ticks pass for all groups. Those in which nothing is due give a group no work.
    fn pass_ticks(&mut self, count: u32) {
        for _ in 0..count {
            self.tick += 1;
            let interval = u64::from(self.options.heartbeat_ticks.max(1));
            let begins_beat = self.tick % interval == 1 % interval;
            let groups: Vec<PartitionId> = self.groups.keys().copied().collect();
            for group in groups {
                let Some(running) = self.groups.get_mut(&group) else { continue };
                let is_due = running.ticks_until_due() == 1;
                match caught(|| running.tick(begins_beat)) {
                    Ok(()) if is_due => drop(self.touched.insert(group)),
                    Ok(()) => {}
                    Err(reason) => self.fail(group, reason),
                }
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<Next, LogWriteError> {
        match event {
            Event::Start(spec, host, answer) => self.start(*spec, host, answer)?,
            Event::Message(group, message) => self.message(group, message),
            Event::Unreachable(address) => self.unreachable(&address),
            Event::Group(group, GroupEvent::Stop { remove, done }) => self.stop(group, remove, done)?,
            Event::Group(group, event) => {
                self.with_group(group, |running| running.handle(event));
            }
            Event::Shutdown => return Ok(Next::End),
        }
        Ok(Next::Continue)
    }

    fn start(
        &mut self,
        spec: GroupSpec,
        host: Box<dyn GroupHost>,
        answer: oneshot::Sender<Result<GroupHandle, StartError>>,
    ) -> Result<(), LogWriteError> {
        let group = spec.group;
        let started = if self.groups.contains_key(&group) {
            Err(StartError::Running)
        } else {
            self.create_if_new(&spec)?;
            self.open(spec, host)
        };
        let handle = started.map(|running| {
            let shared = running.shared();
            self.groups.insert(group, running);
            self.touched.insert(group);
            GroupHandle { group, inbox: self.inbox.clone(), shared }
        });
        // Whoever asked may have gone; the group runs all the same.
        let _ = answer.send(handle);
        Ok(())
    }

    fn create_if_new(&mut self, spec: &GroupSpec) -> Result<(), LogWriteError> {
        if self.log.replica(spec.group).is_some() {
            return Ok(());
        }
        let mut batch = LogBatch::default();
        batch.create(spec.group, spec.replica, spec.initial.clone());
        self.write(batch, true)
    }

    fn open(&self, spec: GroupSpec, host: Box<dyn GroupHost>) -> Result<RunningGroup<F>, StartError> {
        let view = self.log.view(spec.group).expect("the group was created");
        let found = self.log.replica(spec.group).expect("the group was created");
        if found != spec.replica {
            return Err(StartError::OtherReplica { found });
        }
        let options = GroupOptions {
            election_ticks_min: self.options.election_ticks_min,
            election_ticks_max: self.options.election_ticks_max,
            heartbeat_ticks: self.options.heartbeat_ticks,
            snapshot_ticks_max: self.options.snapshot_ticks_max,
            truncation_lag_max: self.options.truncation_lag_max,
            backlog_bytes_max: self.options.backlog_bytes_max,
            ..GroupOptions::new(spec.group, spec.replica, group_seed(self.options.seed, &spec))
        };
        let log = view.downgrade();
        let mut group = Group::new(options, view, spec.applied)?;
        // Who votes alone has nobody to wait for.
        if spec.campaign_now || group.configuration().configuration.is_alone(spec.replica) {
            group.campaign();
        }
        let status = RwLock::new(Arc::new(group.status()));
        let shared = Arc::new(Shared {
            applied: AtomicU64::new(spec.applied),
            taken_over: AtomicU64::new(spec.applied),
            waits_for_host: AtomicBool::new(false),
            log: Arc::new(log),
            status,
        });
        Ok(RunningGroup::new(spec.group, group, host, spec.peers, shared, self.metrics.clone()))
    }

    fn message(&mut self, group: PartitionId, message: Message) {
        if !self.groups.contains_key(&group) {
            add(&self.metrics.messages_dropped, 1);
            return;
        }
        self.with_group(group, |running| running.step(message));
    }

    fn unreachable(&mut self, address: &str) {
        let groups: Vec<PartitionId> = self.groups.keys().copied().collect();
        for group in groups {
            self.with_group(group, |running| running.unreachable(address));
        }
    }

    fn stop(
        &mut self,
        group: PartitionId,
        remove: bool,
        done: oneshot::Sender<Result<(), Stopped>>,
    ) -> Result<(), LogWriteError> {
        self.groups.remove(&group);
        if remove && self.log.replica(group).is_some() {
            let mut batch = LogBatch::default();
            batch.remove(group);
            self.write(batch, true)?;
        }
        let _ = done.send(Ok(()));
        Ok(())
    }

    /// Rounds, until no group has anything left to do.
    fn work(&mut self) -> Result<(), LogWriteError> {
        while !self.touched.is_empty() {
            let touched = std::mem::take(&mut self.touched);
            self.round(&touched)?;
        }
        if self.log.is_purge_due() {
            let crowding = self.signs_of_life.speak_for(&mut self.groups, || self.log.purge())?;
            for group in crowding {
                self.with_group(group, RunningGroup::want_truncation);
            }
            self.touched.clear();
        }
        Ok(())
    }

    /// Everything that the groups want done now: messages, one batch for the log, and what follows from it. A group
    /// with nothing to write does not wait for the others' sync, so that reads are confirmed at once.
    fn round(&mut self, touched: &BTreeSet<PartitionId>) -> Result<(), LogWriteError> {
        let mut batch = LogBatch::default();
        let mut sync = false;
        let mut works: Vec<(PartitionId, Token)> = Vec::new();
        for group in touched {
            let (outbox, log_batch) = (&mut self.outbox, &mut batch);
            let Some(running) = self.groups.get_mut(group) else { continue };
            match caught(|| running.take_work(outbox, log_batch)) {
                Ok(Some(Taken { token, nothing_to_write: true, .. })) => self.release(*group, token),
                Ok(Some(taken)) => {
                    works.push((*group, taken.token));
                    sync |= taken.must_sync;
                }
                Ok(None) => running.publish(),
                Err(reason) => self.fail(*group, reason),
            }
        }
        self.flush();
        if !batch.is_empty() {
            self.write(batch, sync)?;
        }
        add(&self.metrics.rounds, 1);
        for (group, token) in works {
            self.release(group, token);
        }
        self.flush();
        Ok(())
    }

    /// Does what a group's work has released, which may give it more to do.
    fn release(&mut self, group: PartitionId, token: Token) {
        let outbox = &mut self.outbox;
        let Some(running) = self.groups.get_mut(&group) else { return };
        match caught(|| running.persisted(token, outbox)) {
            Ok(()) => drop(self.touched.insert(group)),
            Err(reason) => self.fail(group, reason),
        }
    }

    fn write(&mut self, batch: LogBatch, sync: bool) -> Result<(), LogWriteError> {
        let (entries, bytes) = batch.entries();
        add(&self.metrics.entries, entries);
        add(&self.metrics.entry_bytes, bytes);
        add(&self.metrics.writes, 1);
        let before = Instant::now();
        self.signs_of_life.speak_for(&mut self.groups, || self.log.write(batch, sync))?;
        if sync {
            self.metrics.synced(before.elapsed());
        }
        Ok(())
    }

    fn flush(&mut self) {
        let (frames, messages, bytes) = self.outbox.flush(self.transport.as_ref());
        add(&self.metrics.frames_sent, frames);
        add(&self.metrics.messages_sent, messages);
        add(&self.metrics.bytes_sent, bytes);
    }

    /// Does something with a group, after which it may have work.
    fn with_group(&mut self, group: PartitionId, act: impl FnOnce(&mut RunningGroup<F>)) {
        let Some(running) = self.groups.get_mut(&group) else { return };
        match caught(|| act(running)) {
            Ok(()) => drop(self.touched.insert(group)),
            Err(reason) => self.fail(group, reason),
        }
    }

    /// A group whose invariants are broken must not take the others down, nor go on.
    fn fail(&mut self, group: PartitionId, reason: String) {
        tracing::error!(%group, reason, "a group has failed and is no longer run");
        add(&self.metrics.groups_failed, 1);
        if let Some(running) = self.groups.remove(&group) {
            running.fail(reason);
        }
    }
}

/// Runs what belongs to one group, and catches its panic.
fn caught<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(act)).map_err(|panic| panic_text(panic.as_ref()))
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without text".to_owned())
}

/// Different for every group and replica of a process.
fn group_seed(seed: u64, spec: &GroupSpec) -> u64 {
    let mixed = seed ^ spec.group.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.rotate_left(29) ^ spec.replica.0.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
