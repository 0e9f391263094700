//! Typed requests: encoding, and what callers learn of a write and of a read that failed on the way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::protocol::{
    PartitionTarget, ReadRequest, RowsHeader, Statement, StatementResult, StorageReply, StorageRequest,
    StorageStream, Verdict, WriteReply, WriteRequest, decode, encode,
};
use common::row::RowBlock;
use common::{Error, ErrorCode, Hlc, Outcome, PartitionId, TransactionId};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use polylite_client::node::StorageClient;
use polylite_client::peer::{Caller, PeerService, StreamSink};

use super::desk::{Listener, patiently, pool};

/// A storage node of one partition: it takes writes to partition 1, dies of those to partition 2, and does
/// not lead the others.
struct Node;

impl PeerService for Node {
    fn call(self: Arc<Self>, _from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(async move {
            let reply = match decode::<StorageRequest>(&payload).expect("a request") {
                StorageRequest::Write(write) => match write.target.partition {
                    PartitionId(1) => {
                        Ok(StorageReply::Write(WriteReply { results: Vec::new(), index: 9, hlc: Hlc(0) }))
                    }
                    PartitionId(2) => panic!("as the test wants it"),
                    _ => Err(Error::new(ErrorCode::NotLeader, "another leads")),
                },
                StorageRequest::Read(_) => {
                    Ok(StorageReply::Rows { result: StatementResult::default(), index: 9 })
                }
                _ => Ok(StorageReply::Done),
            };
            encode::<Result<StorageReply, Error>>(&reply)
        })
    }

    fn stream(self: Arc<Self>, payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let StorageStream::Read(read) = decode(&payload).expect("a request") else { return };
            let header = RowsHeader { columns: vec!["n".to_owned()], types: Vec::new(), index: 9 };
            sink.send(encode(&header)).await.expect("the test reads");
            sink.send(encode(&RowBlock::default())).await.expect("the test reads");
            match read.target.partition {
                PartitionId(1) => sink.finish(),
                _ => sink.fail(encode(&Error::new(ErrorCode::StatementTimeout, "too long"))).await,
            }
        })
    }

    fn one_way(&self, _payload: Bytes) {}
}

fn target(partition: u64) -> PartitionTarget {
    PartitionTarget { partition: PartitionId(partition), epoch: 1, schema_version: 1, timeout_ms: 5_000 }
}

fn write(partition: u64) -> WriteRequest {
    WriteRequest { target: target(partition), work: Vec::new(), max_rows: 1 }
}

fn read(partition: u64) -> ReadRequest {
    let statement = Statement { sql: "SELECT n FROM t".to_owned(), ..Statement::default() };
    let level = common::protocol::ReadLevel::Linearizable;
    ReadRequest { target: target(partition), level, at_least: 0, statement, max_rows: None, pin: None }
}

#[tokio::test]
async fn replies_and_errors_of_the_node_arrive_as_they_are() {
    let listener = Listener::start(Arc::new(Node)).await;
    let client = StorageClient::new(pool());
    assert_eq!(client.write(&listener.address, write(1)).await.expect("written").index, 9);
    assert_eq!(client.read(&listener.address, read(1)).await.expect("read").1, 9);
    let refused = client.write(&listener.address, write(3)).await.expect_err("not the leader");
    assert_eq!((refused.code, refused.outcome), (ErrorCode::NotLeader, Outcome::NotApplied));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_unknown_and_one_that_was_not_sent_is_not_applied() {
    let listener = Listener::start(Arc::new(Node)).await;
    let client = StorageClient::new(pool());
    let lost = client.write(&listener.address, write(2)).await.expect_err("lost");
    assert_eq!(lost.outcome, Outcome::Unknown);
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let unsent = client.write(&free.to_string(), write(1)).await.expect_err("nobody listens");
    assert_eq!((unsent.code, unsent.outcome), (ErrorCode::Unavailable, Outcome::NotApplied));
    let unread = client.read(&free.to_string(), read(1)).await.expect_err("nobody listens");
    assert!(unread.code.retryable() && unread.outcome == Outcome::NotApplied);
}

#[tokio::test]
async fn an_answer_to_another_question_leaves_a_write_unknown() {
    let listener = Listener::start(Arc::new(Node)).await;
    let client = StorageClient::new(pool());
    let transaction = TransactionId { deadline: Hlc::MAX, unique: 1 };
    // The node only says that it is done, not what it decided.
    let timeout = Duration::from_secs(5);
    let verdict = Verdict { commit: true, at: Hlc(1) };
    let decision =
        client.decide(&listener.address, PartitionId(1), transaction, verdict, true, timeout).await;
    assert_eq!(decision.expect_err("no decision").outcome, Outcome::Unknown);
}

#[tokio::test]
async fn rows_stream_after_their_header_and_errors_keep_their_code() {
    let listener = Listener::start(Arc::new(Node)).await;
    let client = StorageClient::new(pool());
    let rows = client.stream(&listener.address, read(1)).await.expect("a stream");
    assert_eq!((rows.header.columns.as_slice(), rows.header.index), (["n".to_owned()].as_slice(), 9));
    assert_eq!(patiently(rows.collect::<Vec<_>>()).await, [Ok(RowBlock::default())]);
    let rows = client.stream(&listener.address, read(2)).await.expect("a stream");
    let rows = patiently(rows.collect::<Vec<_>>()).await;
    assert_eq!(rows[1].as_ref().expect_err("too long").code, ErrorCode::StatementTimeout);
}
