//! Linearizable reads that wait for their index.
//!
//! All reads that wait share one round of messages. A read that arrives while a round is under way waits for
//! the next: the leader might have been deposed between the two.

use tokio::sync::oneshot;

use crate::group_handle::ReadError;

type Reader = oneshot::Sender<Result<u64, ReadError>>;

/// The reads of one group.
#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Reader>,
    asked: Vec<Reader>,
    /// Contexts of the requests made for `asked`, by any of which it is answered.
    contexts: std::ops::Range<u64>,
}

impl Reads {
    pub(super) fn add(&mut self, reader: Reader) {
        self.waiting.push(reader);
    }

    /// The context to ask with, if reads wait and no round is under way.
    pub(super) fn begin(&mut self) -> Option<u64> {
        if self.waiting.is_empty() || !self.asked.is_empty() {
            return None;
        }
        std::mem::swap(&mut self.waiting, &mut self.asked);
        self.contexts.start = self.contexts.end;
        Some(self.next_context())
    }

    /// Whether a round was asked for and not answered.
    pub(super) fn is_under_way(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The context to ask with once more, if a round has not been answered. Readers who have gone are forgotten.
    pub(super) fn repeat(&mut self) -> Option<u64> {
        self.asked.retain(|reader| !reader.is_closed());
        self.waiting.retain(|reader| !reader.is_closed());
        (!self.asked.is_empty()).then(|| self.next_context())
    }

    /// A request was answered.
    pub(super) fn answer(&mut self, context: u64, index: u64) {
        if self.contexts.contains(&context) {
            self.contexts.start = self.contexts.end;
            finish(&mut self.asked, Ok(index));
        }
    }

    /// The replica does not lead, or no more.
    pub(super) fn refuse(&mut self, error: ReadError) {
        finish(&mut self.asked, Err(error));
        finish(&mut self.waiting, Err(error));
    }

    fn next_context(&mut self) -> u64 {
        let context = self.contexts.end;
        self.contexts.end += 1;
        context
    }
}

fn finish(readers: &mut Vec<Reader>, answer: Result<u64, ReadError>) {
    for reader in readers.drain(..) {
        // Whoever asked may have gone.
        let _ = reader.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_arrives_during_a_round_waits_for_the_next() {
        let mut reads = Reads::default();
        let (early, mut early_answer) = oneshot::channel();
        let (late, mut late_answer) = oneshot::channel();
        reads.add(early);
        let first = reads.begin().expect("a read waits");
        reads.add(late);
        assert_eq!(reads.begin(), None, "a round is under way");
        let again = reads.repeat().expect("it has not been answered");
        reads.answer(first, 7);
        assert_eq!(early_answer.try_recv(), Ok(Ok(7)));
        reads.answer(again, 8);
        assert!(late_answer.try_recv().is_err(), "an answer asked for before it arrived is not its own");
        let second = reads.begin().expect("a read waits");
        reads.answer(second, 9);
        assert_eq!(late_answer.try_recv(), Ok(Ok(9)));
        assert_eq!(reads.begin(), None);
    }

    #[test]
    fn readers_who_have_gone_are_not_asked_for() {
        let mut reads = Reads::default();
        let (reader, answer) = oneshot::channel();
        reads.add(reader);
        assert!(reads.begin().is_some());
        drop(answer);
        assert_eq!(reads.repeat(), None);
    }
}
