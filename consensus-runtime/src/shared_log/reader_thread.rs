//! A thread for everything that reads entries back from the engine's files.
//!
//! The engine keeps the block that it read last in a thread-local variable, under a key that names a place in a
//! file but not the engine. Two engines read from one thread would be handed each other's entries, and so
//! would one that was opened again. So each open log reads on a thread of its own; entries in memory do not
//! come here.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped and its last job is done.
pub(super) struct ReaderThread {
    jobs: Sender<Job>,
}

impl ReaderThread {
    pub(super) fn start() -> std::io::Result<ReaderThread> {
        let (jobs, inbox) = channel::<Job>();
        thread::Builder::new().name("log-reader".into()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                job();
            }
        })?;
        Ok(ReaderThread { jobs })
    }

    /// Runs a job there and waits for it; its panic is the caller's.
    pub(super) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = sync_channel(1);
        let job = move || {
            // Nobody but the waiting caller sees what the job leaves behind.
            let outcome = catch_unwind(AssertUnwindSafe(job));
            answer.send(outcome).expect("the caller waits");
        };
        self.jobs.send(Box::new(job)).expect("the thread lives as long as its handle");
        match answered.recv().expect("every job answers") {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }
}
