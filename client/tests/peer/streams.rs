//! Streams: order, credit, cancellation, and how they end.

use bytes::Bytes;
use futures_util::StreamExt as _;
use polylite_client::peer::PeerError;

use super::desk::{Desk, Event, Listener, PATIENCE, patiently, pool};

fn item(number: u64) -> Bytes {
    Bytes::from(number.to_string())
}

#[tokio::test]
async fn items_come_in_order_and_the_end_is_seen() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let stream = pool().stream(&listener.address, Bytes::from_static(b"1000")).await.expect("a stream");
    let items: Vec<_> = patiently(stream.collect()).await;
    assert_eq!(items, (0..1000).map(|number| Ok(item(number))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_the_sender_back() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    let mut sent = desk.items_sent.subscribe();
    let mut stream = pool.stream(&listener.address, Bytes::from_static(b"1000")).await.expect("a stream");
    patiently(sent.wait_for(|sent| *sent == 8)).await.expect("the desk is there");
    // Whatever the stream's task could still do, it does before these calls are answered.
    for _ in 0..100 {
        pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    }
    assert_eq!(*sent.borrow(), 8);
    for number in 0..8 {
        assert_eq!(patiently(stream.next()).await, Some(Ok(item(number))));
    }
    patiently(sent.wait_for(|sent| *sent == 16)).await.expect("the desk is there");
    let rest = patiently(stream.count()).await;
    assert_eq!(rest, 992);
}

#[tokio::test]
async fn dropping_a_stream_tells_its_sender() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let mut stream = pool.stream(&listener.address, Bytes::from_static(b"1000000")).await.expect("a stream");
    assert_eq!(patiently(stream.next()).await, Some(Ok(item(0))));
    drop(stream);
    assert_eq!(events.next().await, Event::StreamCancelled);
    // The connection goes on.
    assert_eq!(pool.call(&listener.address, item(1), PATIENCE).await, Ok(item(1)));
}

#[tokio::test]
async fn an_error_and_a_broken_off_stream_are_told_from_its_end() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let failing = pool.stream(&listener.address, Bytes::from_static(b"fail")).await.expect("a stream");
    let items: Vec<_> = patiently(failing.collect()).await;
    assert_eq!(items, [Ok(item(0)), Err(PeerError::Failed(Bytes::from_static(b"why")))]);
    let broken = pool.stream(&listener.address, Bytes::from_static(b"break off")).await.expect("a stream");
    let items: Vec<_> = patiently(broken.collect()).await;
    assert_eq!(items, [Ok(item(0)), Err(PeerError::Lost)]);
}

#[tokio::test]
async fn a_stream_ends_with_an_error_when_the_peer_dies() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk).await;
    let mut stream =
        pool().stream(&listener.address, Bytes::from_static(b"1000000")).await.expect("a stream");
    assert_eq!(patiently(stream.next()).await, Some(Ok(item(0))));
    drop(listener);
    let items: Vec<_> = patiently(stream.collect()).await;
    assert_eq!(items.last(), Some(&Err(PeerError::Lost)));
    // Its sender learns it too, instead of waiting for credit for ever.
    assert_eq!(events.next().await, Event::StreamCancelled);
}
