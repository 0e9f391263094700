//! What requests write to several partitions, and what they are told.

use std::sync::Arc;

use common::idempotency::{Keeps, Kept, Keyed, KeyedRequest};
use common::protocol::{JointReply, PartitionTarget, RequestWork, StatementResult, WorkItem};
use common::{Error, Outcome, PartitionId, Result, TransactionId};
use tokio::time::Instant;

use super::super::access::RequestAccess;
use super::super::once::kept_in;
use super::super::transaction::{Place, not_applied};
use super::Order;
use super::answers::Prepared;

/// What a request writes to several partitions.
pub(in crate::gateway) struct JointWrite {
    /// In ascending order of the partitions.
    pub(super) parts: Vec<Part>,
    pub(super) deadline: Instant,
    /// The request's idempotency key. Nothing commits before there is an answer, which is kept with the commit.
    pub(super) key: Option<KeyedRequest>,
    /// By this name partitions let it in that it has locked. It shares its transaction with no other then.
    pub(super) name: Option<u128>,
    /// It changes the schema. It shares its transaction with no other then, and has one attempt.
    pub(super) entered: Option<Entered>,
}

/// The transaction of a write that changes the schema, as it was entered in the catalog.
#[derive(Clone, Copy)]
pub(in crate::gateway) struct Entered {
    /// Its id.
    pub(in crate::gateway) id: TransactionId,
    /// How its parts are prepared.
    pub(in crate::gateway) order: Order,
    /// When it must have been decided.
    pub(in crate::gateway) deadline: Instant,
}

/// What it writes to one of them.
pub(super) struct Part {
    pub(super) target: PartitionTarget,
    request: RequestWork,
    /// Nowhere, if all that it does is to look after the request's key.
    place: Option<Place>,
    /// The partition is the home of the request's key.
    is_home: bool,
}

/// What has become of a request's write.
pub(in crate::gateway) struct Written {
    /// One list for each part, in the request's own order.
    pub(in crate::gateway) results: Vec<Vec<StatementResult>>,
    /// Where its client can see it.
    seen: Vec<(PartitionId, u64)>,
}

/// What those are told who wait for a write.
pub(in crate::gateway) enum Told {
    /// It is applied.
    Written(Written),
    /// It is prepared, and the answer is missing that is to be kept.
    Prepared(Prepared),
    /// It changes nothing, and was not committed.
    Nothing(Written),
    /// It was done before, or it was kept that it is not to be done; now nothing was.
    Known(Kept),
}

/// Why a request's write is not a part of a transaction.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// A partition refuses it.
    Error(Error),
    /// Something is kept under its key.
    Known(Kept),
    /// It changes nothing, which may be due to a neighbour.
    Nothing,
}

impl Refusal {
    pub(super) fn told(self) -> Result<Told> {
        match self {
            Refusal::Error(error) => Err(error),
            Refusal::Known(kept) => Ok(Told::Known(kept)),
            Refusal::Nothing => Err(Error::internal("a write that changes nothing was refused")),
        }
    }
}

impl JointWrite {
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.parts.iter().map(|part| part.target.partition)
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &WorkItem> {
        self.parts.iter().flat_map(|part| &part.request.work)
    }

    /// What a partition is asked to do: its part of the work, and what it keeps under the key.
    pub(super) fn request_of(&self, part: &Part, decider: PartitionId) -> RequestWork {
        let mut request = part.request.clone();
        if let Some(key) = self.key.as_ref().filter(|_| part.is_home) {
            let keeps = match part.target.partition == decider {
                // The answer itself will be kept there, by the commit.
                true => Keeps::Nothing,
                false => Keeps::Decider(decider),
            };
            request.work.insert(0, WorkItem::Key(Keyed { request: key.clone(), keeps }));
        }
        request
    }

    /// Whether its answer is awaited before it commits, and it has changed nothing that could be committed.
    pub(super) fn has_changed_nothing(&self, written: &Written) -> bool {
        self.key.is_some()
            && self.entered.is_none()
            && written.results.iter().flatten().all(|result| result.affected_rows == 0)
    }

    /// Nothing yet.
    pub(super) fn unwritten(&self) -> Written {
        let placed = self.parts.iter().filter(|part| part.place.is_some()).count();
        Written { results: vec![Vec::new(); placed], seen: Vec::with_capacity(self.parts.len()) }
    }
}

impl Part {
    /// Whether what the partition does begins with a key.
    fn has_key(&self) -> bool {
        self.is_home || matches!(self.request.work.first(), Some(WorkItem::Key(_)))
    }

    /// Takes note of what the partition says to the request.
    pub(super) fn take(
        &self,
        written: &mut Written,
        reply: &JointReply,
        result: Result<Vec<StatementResult>>,
    ) -> Result<(), Refusal> {
        let key_items = usize::from(self.has_key());
        let mut results = result.map_err(|mut error| {
            // The key is an item as well.
            let before = u32::try_from(key_items).unwrap_or(0);
            error.statement = error.statement.and_then(|item| item.checked_sub(before));
            Refusal::Error(not_applied(self.place.map_or(error.clone(), |place| place.name_item(error))))
        })?;
        if self.has_key() {
            match kept_in(&results).map_err(Refusal::Error)? {
                // A claim of an attempt that came to nothing.
                None | Some(Kept::Elsewhere(_)) => {}
                Some(kept) => return Err(Refusal::Known(kept)),
            }
        }
        if let Some(place) = self.place {
            written.results[place.position] = results.split_off(key_items.min(results.len()));
        }
        written.seen.push((self.target.partition, reply.index));
        Ok(())
    }
}

impl RequestAccess {
    /// Writes to several partitions, all or nothing.
    pub(in crate::gateway) async fn write_many(
        &self,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        let name = self.contention.lock().name();
        self.write_many_as(name, work, max_rows).await
    }

    /// The same under a name by which partitions may know the transaction.
    pub(in crate::gateway) async fn write_many_as(
        &self,
        name: Option<u128>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Vec<Vec<StatementResult>>> {
        results_of(self.write_jointly(name, None, work, max_rows).await?)
    }

    /// The same of work that may have a key: one of its own, or that of the request, with its home.
    pub(in crate::gateway) async fn write_jointly(
        &self,
        name: Option<u128>,
        key: Option<(usize, KeyedRequest)>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Told> {
        let write = self.joint_write(name, key, work, max_rows)?;
        self.commit_jointly(write).await
    }

    /// Writes to every partition and changes the schema, in a transaction that the catalog knows.
    pub(in crate::gateway) async fn write_entered(
        &self,
        name: Option<u128>,
        entered: Entered,
        key: Option<(usize, KeyedRequest)>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<Told> {
        let write = self.joint_write(name, key, work, max_rows)?;
        let write = JointWrite { entered: Some(entered), deadline: entered.deadline, ..write };
        self.commit_jointly(write).await
    }

    async fn commit_jointly(&self, write: JointWrite) -> Result<Told> {
        let told = self.gateway.write_jointly(Arc::new(write)).await;
        match &told {
            Ok(Told::Written(written)) => {
                self.note_written();
                self.see_all(written);
            }
            Ok(Told::Prepared(prepared)) => self.see_all(&prepared.written),
            Ok(Told::Nothing(written)) => self.see_all(written),
            Ok(Told::Known(_)) => {}
            Err(error) if error.outcome == Outcome::NotApplied => {}
            Err(_) => self.note_written(),
        }
        told
    }

    fn see_all(&self, written: &Written) {
        written.seen.iter().for_each(|(partition, index)| self.see(*partition, *index));
    }

    fn joint_write(
        &self,
        name: Option<u128>,
        key: Option<(usize, KeyedRequest)>,
        work: Vec<(usize, Vec<WorkItem>)>,
        max_rows: u32,
    ) -> Result<JointWrite> {
        let home = key.as_ref().map(|(home, _)| self.target(*home)).transpose()?;
        let mut parts = Vec::with_capacity(work.len() + 1);
        let mut items_before = 0;
        for (position, (bucket, work)) in work.into_iter().enumerate() {
            let place = Some(Place { position, items_before });
            items_before += work.len();
            let target = self.target(bucket)?;
            let is_home = home.as_ref().is_some_and(|home| home.partition == target.partition);
            parts.push(Part { target, request: RequestWork { work, max_rows }, place, is_home });
        }
        if let Some(target) = home.filter(|_| !parts.iter().any(|part| part.is_home)) {
            let request = RequestWork { work: Vec::new(), max_rows };
            parts.push(Part { target, request, place: None, is_home: true });
        }
        parts.sort_by_key(|part| part.target.partition);
        Ok(JointWrite { parts, deadline: self.deadline, key: key.map(|(_, key)| key), name, entered: None })
    }
}

/// What was written without a key.
fn results_of(told: Told) -> Result<Vec<Vec<StatementResult>>> {
    match told {
        Told::Written(written) => Ok(written.results),
        Told::Prepared(_) | Told::Known(_) | Told::Nothing(_) => {
            Err(Error::internal("a write has no key").with_outcome(Outcome::Unknown))
        }
    }
}
