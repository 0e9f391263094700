//! Reads of several partitions at one moment.
//!
//! Each partition's newest snapshot is pinned, and tells of which moments it shows the state: since its last commit,
//! until what its leader promises. If one moment lies in all these intervals, the snapshots together are the
//! database as it was then. It is the start of the interval that starts last. Partitions whose promises end before
//! it are pinned again, to show that moment: they wait for what has begun before it, and for nothing else. Where
//! commits keep coming in between, a moment that lies ahead of all clocks is agreed on: each partition's leader lets
//! its clock leap to it, and holds the next commit until the snapshot is open.
//!
//! Where each partition answers at once, nothing is pinned: each reads its newest state, and tells with its rows of
//! which moments they are. Those that were read before the moment that is common to the others read again, as it was
//! then. Only if that does not end soon is the read done of pinned snapshots.
//!
//! That every acknowledged write is seen follows from each snapshot by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use common::moment::{Agreement, agree};
use common::protocol::{
    PinId, PinRequest, Pinned, ReadRequest, Reply, RowsHeader, Statement, StatementResult, StorageReply,
    StorageRequest, StorageStream, decode, encode,
};
use common::row::RowBlock;
use common::{Error, ErrorCode, Hlc, Result};
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use polylite_client::peer::{PeerError, PeerStream};
use query::access::RowStream;
use tokio::time::Instant;

use super::access::RequestAccess;
use super::partition_call::{From, GRACE, millis};
use super::partition_stream::{Opened, blocks_within, first_message};

/// How often partitions that answer at once are asked for a common moment before snapshots are pinned.
const BRIEF_ROUNDS: u32 = 6;

/// Snapshots of some partitions at one moment, kept until dropped.
pub(super) struct Moment {
    pins: BTreeMap<usize, Pin>,
}

/// A pinned snapshot.
struct Pin {
    id: PinId,
    address: String,
    shows: Pinned,
    /// Ends the snapshot when dropped.
    _kept: Mutex<PeerStream>,
}

impl Moment {
    /// Whether a partition belongs to it.
    pub(super) fn shows(&self, index: usize) -> bool {
        self.pins.contains_key(&index)
    }
}

impl RequestAccess {
    /// Pins snapshots of the partitions at one moment, each for so many reads at once.
    pub(super) async fn agree_on_moment(&self, partitions: &[usize], reads: usize) -> Result<Moment> {
        let readers = u32::try_from(reads).unwrap_or(u32::MAX);
        let newest = partitions.iter().map(|&index| self.pin(index, None, readers));
        let mut pins = try_join_all(newest).await?;
        for round in 0.. {
            let shows: Vec<Pinned> = pins.iter().map(|pin| pin.shows).collect();
            let Agreement::Again { at, snapshots } = agree(&shows, round) else { break };
            let opened = snapshots.iter().map(|&place| self.pin(partitions[place], Some(at), readers));
            for (&place, pin) in snapshots.iter().zip(try_join_all(opened).await?) {
                pins[place] = pin;
            }
        }
        Ok(Moment { pins: partitions.iter().copied().zip(pins).collect() })
    }

    /// Reads partitions that answer at once. `None` if one does not, or if they do not come to a common moment.
    pub(super) async fn read_at_once(
        &self,
        partitions: &[usize],
        statement: &Statement,
    ) -> Result<Option<Vec<RowBlock>>> {
        let mut answers = self.ask_briefly(partitions, statement, None).await?;
        for round in 0.. {
            if answers.iter().any(|(_, answer)| answer.rows.is_none()) {
                return Ok(None);
            }
            let shows: Vec<Pinned> = answers.iter().map(|(_, answer)| answer.shows).collect();
            let Agreement::Again { at, snapshots } = agree(&shows, round) else { break };
            if round == BRIEF_ROUNDS {
                return Ok(None);
            }
            let early: Vec<usize> = snapshots.iter().map(|&place| partitions[place]).collect();
            let again = self.ask_briefly(&early, statement, Some(at)).await?;
            for (place, answer) in snapshots.into_iter().zip(again) {
                answers[place] = answer;
            }
        }
        for (partition, answer) in &answers {
            self.see(*partition, answer.shows.index);
        }
        Ok(answers.into_iter().map(|(_, answer)| answer.rows).collect())
    }

    async fn pin(&self, index: usize, at: Option<Hlc>, readers: u32) -> Result<Pin> {
        let id = PinId(self.gateway.shared.surroundings.drawn_name());
        let target = self.target(index)?;
        let partition = target.partition;
        let mut request = PinRequest { target, pin: id, at, at_least: self.seen(partition), readers };
        let opened: Opened<Pinned> = self
            .open(partition, From::Leader, |timeout_ms| {
                request.target.timeout_ms = timeout_ms;
                StorageStream::Pin(request.clone())
            })
            .await?;
        self.see(partition, opened.first.index);
        Ok(Pin { id, address: opened.address, shows: opened.first, _kept: Mutex::new(opened.rest) })
    }

    /// The request for a partition's snapshot in the moment, and where to send it.
    fn at<'a>(&self, moment: &'a Moment, index: usize, request: &mut ReadRequest) -> Result<&'a str> {
        let pin = moment.pins.get(&index);
        let pin = pin.ok_or_else(|| Error::internal("a partition does not belong to the moment"))?;
        request.pin = Some(pin.id);
        request.target.timeout_ms = millis(self.deadline.saturating_duration_since(Instant::now()));
        Ok(&pin.address)
    }

    /// Reads a partition as it was at the moment.
    pub(super) async fn read_at(
        &self,
        moment: &Moment,
        index: usize,
        mut request: ReadRequest,
    ) -> Result<StatementResult> {
        let address = self.at(moment, index, &mut request)?;
        let limit = Duration::from_millis(request.target.timeout_ms) + GRACE;
        let payload = encode(&StorageRequest::Read(request));
        let reply = self.gateway.shared.peers.call(address, payload, limit).await;
        match reply.map(|reply| decode::<Reply<StorageReply>>(&reply)) {
            Ok(Ok(Ok(StorageReply::Rows { result, .. }))) => Ok(result),
            Ok(Ok(Err(error))) => Err(self.unless_gone(error)),
            Ok(Ok(Ok(_))) => Err(Error::internal("a storage node sent a reply of another kind")),
            Ok(Err(_)) | Err(PeerError::Unreachable(_) | PeerError::Lost) => {
                Err(self.lost("its node is gone"))
            }
            Err(other) => Err(other.of_read()),
        }
    }

    /// Streams the rows of a partition as it was at the moment.
    pub(super) async fn stream_at(
        &self,
        moment: &Moment,
        index: usize,
        mut request: ReadRequest,
    ) -> Result<RowStream> {
        let address = self.at(moment, index, &mut request)?;
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let payload = encode(&StorageStream::Read(request));
        match first_message::<RowsHeader>(&self.gateway, address, payload, self.deadline).await {
            Ok((header, rest)) => Ok(RowStream { header, blocks: blocks_within(rest, limit) }),
            Err(PeerError::Failed(error)) => {
                Err(self.unless_gone(decode(&error).unwrap_or_else(|error| error)))
            }
            Err(PeerError::Unreachable(_) | PeerError::Lost) => Err(self.lost("its node is gone")),
            Err(other) => Err(other.of_read()),
        }
    }

    fn unless_gone(&self, error: Error) -> Error {
        if matches!(error.code, ErrorCode::SerializationFailure | ErrorCode::PartitionNotFound) {
            return self.lost(&error.message);
        }
        error
    }

    fn lost(&self, why: &str) -> Error {
        self.lose_moment();
        let text = format!("the moment that the request reads at cannot be read any more: {why}");
        Error::new(ErrorCode::SerializationFailure, text).with_hint("send the request again")
    }
}
