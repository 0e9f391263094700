//! Signs of life while the worker waits for the disk.
//!
//! A sync may take seconds on a busy disk. If groups fell silent meanwhile, their followers would elect other leaders,
//! who wait for no better disks, and leaders who are not answered would step down. So the worker lends its groups to
//! a second thread while it writes. When that takes longer than a tick, this thread says what is true without the
//! write: that leaders lead, and that followers follow. After some ticks it falls silent, so that a disk that hangs
//! costs its leaders.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use common::PartitionId;
use consensus::MessageKind;
use parking_lot::{Condvar, Mutex};
use raft_engine::env::FileSystem;

use super::running_group::RunningGroup;
use crate::inbox::{Event, Inbox};
use crate::options::RuntimeOptions;
use crate::outbox::{Outbox, Transport};

/// The groups that a worker owns.
pub(super) type Groups<F> = BTreeMap<PartitionId, RunningGroup<F>>;

/// The thread, as the worker sees it.
pub(super) struct SignsOfLife<F: FileSystem + 'static> {
    shared: Arc<Shared<F>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<F: FileSystem + 'static> {
    state: Mutex<State<F>>,
    changed: Condvar,
}

struct State<F: FileSystem + 'static> {
    lent: Option<Lent<F>>,
    /// Whether groups were lent since the thread looked last.
    was_used: bool,
    /// The thread sleeps until it is notified: nothing was written for a while.
    sleeps: bool,
    ended: bool,
}

/// The groups, while the worker writes.
struct Lent<F: FileSystem + 'static> {
    groups: Groups<F>,
    /// Ticks seen to begin since the write began.
    ticks: u32,
    /// Events in the inbox that were looked at.
    looked: usize,
}

/// What the thread speaks through.
struct Speaker {
    inbox: Arc<Inbox>,
    transport: Arc<dyn Transport>,
    options: RuntimeOptions,
}

impl<F: FileSystem + 'static> SignsOfLife<F> {
    pub(super) fn start(
        inbox: Arc<Inbox>,
        transport: Arc<dyn Transport>,
        options: RuntimeOptions,
    ) -> io::Result<SignsOfLife<F>> {
        let state = Mutex::new(State { lent: None, was_used: false, sleeps: false, ended: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let speaker = Speaker { inbox, transport, options };
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("signs-of-life".to_owned())
            .spawn(move || theirs.speak_until_end(&speaker))?;
        Ok(SignsOfLife { shared, thread: Some(thread) })
    }

    /// Does something that may take long, while the groups are spoken for.
    pub(super) fn speak_for<T>(&self, groups: &mut Groups<F>, act: impl FnOnce() -> T) -> T {
        let lent = Lent { groups: std::mem::take(groups), ticks: 0, looked: 0 };
        if self.shared.lend(lent) {
            self.shared.changed.notify_one();
        }
        let result = act();
        let lent = self.shared.state.lock().lent.take();
        *groups = lent.expect("nobody else takes them").groups;
        result
    }
}

impl<F: FileSystem + 'static> Drop for SignsOfLife<F> {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that speaks for stalled groups has panicked");
        }
    }
}

impl<F: FileSystem + 'static> Shared<F> {
    /// Hands over the groups; whether the thread sleeps and must be woken for them.
    fn lend(&self, lent: Lent<F>) -> bool {
        let mut state = self.state.lock();
        state.lent = Some(lent);
        state.was_used = true;
        state.sleeps
    }

    fn speak_until_end(&self, speaker: &Speaker) {
        let mut state = self.state.lock();
        while !state.ended {
            if std::mem::take(&mut state.was_used) || state.lent.is_some() {
                self.changed.wait_for(&mut state, speaker.options.tick);
            } else {
                // A process in which nothing is written is not woken for that.
                state.sleeps = true;
                self.changed.wait(&mut state);
                state.sleeps = false;
                continue;
            }
            if let Some(lent) = &mut state.lent {
                lent.ticks = lent.ticks.saturating_add(1);
                // The first tick was under way when the write began.
                if (2..=speaker.options.stall_ticks_max).contains(&lent.ticks) {
                    speaker.speak(lent);
                }
            }
        }
    }
}

impl Speaker {
    fn speak<F: FileSystem + 'static>(&self, lent: &mut Lent<F>) {
        let mut outbox = Outbox::new(self.options.batch_bytes_max);
        if (lent.ticks - 2).is_multiple_of(self.options.heartbeat_ticks.max(1)) {
            lent.groups.values().for_each(|group| group.say_that_it_leads(&mut outbox));
        }
        let groups = &lent.groups;
        lent.looked = self.inbox.look(lent.looked, |event| {
            if let Event::Message(group, message) = event
                && message.kind() == MessageKind::Heartbeat
                && let Some(group) = groups.get(group)
            {
                group.say_that_it_follows(message, &mut outbox);
            }
        });
        outbox.flush(self.transport.as_ref());
    }
}
