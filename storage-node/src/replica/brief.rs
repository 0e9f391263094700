//! Reads that take a moment only, several of them from one snapshot of the newest state.
//!
//! With the rows comes of what moments they are: who reads several partitions finds out whether they were all read
//! at one, and names the moment to those that were read too early.

use std::sync::Arc;

use common::protocol::{BriefAnswer, BriefRead, BriefTarget, Pinned, ReadLevel};
use common::row::RowBlock;
use common::{Error, ErrorCode, Hlc, Result};
use sqlite::{Budget, PooledReader, Snapshot};

use super::Replica;
use super::machine::{not_leader, stale_partition_map};
use super::pins::unpromised;
use super::published::Published;
use super::reading::{BRIEF_INSTRUCTIONS, Deadline, check_snapshot};

/// Reads that may turn out long before the others that were asked with them are left to those who take longer.
const LONG_READS_MAX: usize = 4;

/// Some of the reads that came with one message, of one partition and with the same demands on its state.
pub struct BriefReads {
    /// All that came.
    pub reads: Arc<[BriefRead]>,
    /// Which of them.
    pub numbers: Vec<usize>,
    /// The partition, and what its state must be.
    pub target: BriefTarget,
    /// Most bytes of all answers.
    pub bytes: usize,
}

/// What became of one read.
enum Found {
    Rows(RowBlock),
    /// It takes longer than a moment.
    Long,
    /// More rows or bytes than there is room for.
    TooMany,
}

impl Replica {
    /// Answers reads of the newest state that take a moment only.
    pub async fn read_briefly(&self, reads: BriefReads) -> Result<Vec<Result<BriefAnswer>>> {
        let BriefTarget { target, at_least, at } = &reads.target;
        let deadline = Deadline::after(target.timeout_ms);
        if let Some(at) = at {
            self.clock.observe(*at);
        }
        // Before the round of messages that confirms leadership: it spreads the promise.
        let promised = self.clock.now();
        self.reach(target, ReadLevel::Linearizable, *at_least, deadline).await?;
        let (published, leader) = (Arc::clone(&self.published), self.group.status().leader);
        let answered = if at.is_some() {
            let readers = self.readers()?;
            // A connection is taken when there is nothing more to wait for: others need it meanwhile.
            let take = move || Ok(readers.acquire()?);
            let answer = move || reads.answer(&published, take, promised, deadline);
            let answered = tokio::task::spawn_blocking(answer).await;
            answered.unwrap_or_else(|panic| Err(Error::internal(panic.to_string())))
        } else {
            let reader = self.reader(deadline).await?;
            reads.answer(&published, || Ok(reader), promised, deadline)
        };
        answered.map_err(|error| if error.code == ErrorCode::NotLeader { not_leader(leader) } else { error })
    }
}

impl BriefReads {
    /// Opens a snapshot and reads. Where a moment is named, what has begun before it is waited for.
    fn answer(
        &self,
        published: &Published,
        take: impl FnOnce() -> Result<PooledReader>,
        promised: Hlc,
        deadline: Deadline,
    ) -> Result<Vec<Result<BriefAnswer>>> {
        let BriefTarget { target, at, .. } = &self.target;
        let opening = published.promises().open(*at, promised, deadline.instant.into_std());
        let opening = opening.map_err(unpromised)?;
        let mut reader = take()?;
        let snapshot = reader.snapshot()?;
        let position = snapshot.system().position()?;
        let shows = Pinned { index: position.index, since: position.committed, until: opening.until() };
        drop(opening);
        // Promised after others had taken the partition's place, it would not bind them.
        let epoch = published.epoch();
        if epoch > target.epoch {
            return Err(stale_partition_map(epoch));
        }
        check_snapshot(&snapshot, target)?;
        let (mut room, mut long_reads) = (self.bytes, 0);
        let answer = |&number: &usize| {
            let rows = if long_reads < LONG_READS_MAX {
                self.rows(&snapshot, number, room, deadline)?
            } else {
                Found::Long
            };
            match rows {
                Found::Rows(rows) => {
                    room -= rows.data.len();
                    Ok(BriefAnswer { rows: Some(rows), shows })
                }
                Found::Long => {
                    long_reads += 1;
                    Ok(BriefAnswer { rows: None, shows })
                }
                Found::TooMany if room == self.bytes => Ok(BriefAnswer { rows: None, shows }),
                // By itself it may find room.
                Found::TooMany => Err(Error::new(ErrorCode::Unavailable, "the answers are large together")),
            }
        };
        Ok(self.numbers.iter().map(answer).collect())
    }

    /// The rows of one read, in so many bytes.
    fn rows(
        &self,
        snapshot: &Snapshot<'_>,
        number: usize,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<Found> {
        let BriefRead { statement, max_rows, .. } = &self.reads[number];
        let interrupted = || deadline.is_over();
        let budget = Budget {
            interrupted: Some(&interrupted),
            instructions: Some(BRIEF_INSTRUCTIONS),
            rows: u64::from(*max_rows),
            bytes,
        };
        match snapshot.rows(statement, &budget).map_err(Error::from) {
            Ok(rows) => Ok(rows.filter(|rows| rows.data.len() <= bytes).map_or(Found::TooMany, Found::Rows)),
            Err(error) if error.code == ErrorCode::StatementTimeout => Ok(Found::Long),
            Err(error) => Err(error),
        }
    }
}
