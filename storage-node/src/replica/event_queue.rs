//! The queue between everybody and a replica's worker. Who sends never waits; the worker is woken only for
//! what it can act on.
//!
//! While a batch is under way, further jobs can only be put aside until its entry is committed. To wake the
//! worker for each of them would cost a change of threads per request, more than the request's own work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::inbox::Event;

/// What the worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitFor {
    /// Any event.
    Anything,
    /// Any but those that change nothing for a batch under way; these stay in the queue, in their order.
    News,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    /// Set while the worker sleeps.
    sleeping: Option<WaitFor>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    arrived: Condvar,
}

/// The side that sends. Clones share the queue.
#[derive(Clone)]
pub(super) struct EventSender {
    shared: Arc<Shared>,
}

/// The worker's side. Dropping it refuses further events and lets go of those that wait.
pub(super) struct EventReceiver {
    shared: Arc<Shared>,
}

/// The worker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerEnded;

/// An empty queue.
pub(super) fn event_queue() -> (EventSender, EventReceiver) {
    let shared = Arc::new(Shared::default());
    (EventSender { shared: shared.clone() }, EventReceiver { shared })
}

impl EventSender {
    /// Appends an event.
    pub(super) fn send(&self, event: Event) -> Result<(), WorkerEnded> {
        let mut state = self.shared.state.lock();
        if state.closed {
            return Err(WorkerEnded);
        }
        let wakes = match state.sleeping {
            None => false,
            Some(WaitFor::Anything) => true,
            Some(WaitFor::News) => is_news(&event),
        };
        state.events.push_back(event);
        if wakes {
            state.sleeping = None;
            drop(state);
            self.shared.arrived.notify_one();
        }
        Ok(())
    }
}

/// Whether an event may let a batch under way go on, or end it.
fn is_news(event: &Event) -> bool {
    !matches!(event, Event::Job { .. } | Event::Proposed(_, Ok(_)))
}

impl EventReceiver {
    /// Takes all events, in their order. Sleeps until there is one of those waited for, at most for a time.
    pub(super) fn take_all(&self, into: &mut VecDeque<Event>, wait_for: WaitFor, time: Duration) {
        let mut state = self.shared.state.lock();
        let waits = |state: &State| match wait_for {
            WaitFor::Anything => state.events.is_empty(),
            WaitFor::News => !state.events.iter().any(is_news),
        };
        if waits(&state) {
            let until = Instant::now() + time;
            state.sleeping = Some(wait_for);
            // Whoever sends what is waited for takes the mark away.
            while state.sleeping.is_some() && !self.shared.arrived.wait_until(&mut state, until).timed_out() {
            }
            state.sleeping = None;
        }
        into.append(&mut state.events);
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        let events = {
            let mut state = self.shared.state.lock();
            state.closed = true;
            std::mem::take(&mut state.events)
        };
        // Outside the lock: this answers whoever waits.
        drop(events);
    }
}

#[cfg(test)]
mod tests {
    use polylite_client::peer::Caller;

    use super::*;
    use crate::replica::machine::Job;

    const LONG: Duration = Duration::from_secs(60);

    fn job() -> Event {
        let (answer, _) = tokio::sync::oneshot::channel();
        let job = Job::Forget { transactions: Vec::new() };
        Event::Job { job, deadline_ms: 0, caller: Caller::local(), answer }
    }

    #[test]
    fn jobs_do_not_wake_a_worker_that_waits_for_news_and_keep_their_place() {
        let (sender, receiver) = event_queue();
        let worker = std::thread::spawn(move || {
            let mut events = VecDeque::new();
            receiver.take_all(&mut events, WaitFor::News, LONG);
            events
        });
        while sender.shared.state.lock().sleeping.is_none() {
            std::thread::yield_now();
        }
        sender.send(job()).unwrap();
        assert_eq!(sender.shared.state.lock().sleeping, Some(WaitFor::News), "it sleeps on");
        sender.send(Event::Truncate).unwrap();
        let events = worker.join().unwrap();
        assert!(matches!(events[0], Event::Job { .. }) && matches!(events[1], Event::Truncate));
    }

    #[test]
    fn what_waits_already_is_taken_without_sleeping() {
        let (sender, receiver) = event_queue();
        let mut events = VecDeque::new();
        sender.send(job()).unwrap();
        receiver.take_all(&mut events, WaitFor::Anything, LONG);
        assert_eq!(events.len(), 1);
        sender.send(job()).unwrap();
        receiver.take_all(&mut events, WaitFor::News, Duration::ZERO);
        assert_eq!(events.len(), 2, "after the time, all is taken");
    }

    #[test]
    fn a_worker_that_has_ended_answers_by_dropping() {
        let (sender, receiver) = event_queue();
        let (answer, mut reply) = tokio::sync::oneshot::channel();
        let job = Job::Forget { transactions: Vec::new() };
        sender.send(Event::Job { job, deadline_ms: 0, caller: Caller::local(), answer }).unwrap();
        drop(receiver);
        assert!(reply.try_recv().is_err());
        assert_eq!(sender.send(Event::Stop), Err(WorkerEnded));
    }
}
