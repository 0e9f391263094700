//! One-way messages: order, lanes, and senders outside the runtime.

use bytes::Bytes;

use super::desk::{Desk, Listener, PATIENCE, pool};

#[tokio::test]
async fn messages_sent_before_the_connection_is_open_arrive_in_order() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    std::thread::scope(|scope| {
        // No thread of the runtime takes part in the sending.
        scope.spawn(|| {
            for number in 0..100 {
                pool.send(&listener.address, Bytes::from(number.to_string()), false);
            }
        });
    });
    let received = events.one_ways(100).await;
    assert_eq!(received, (0..100).map(|number| Bytes::from(number.to_string())).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urgent_messages_overtake_the_bulk() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    let (bulk, urgent) = (Bytes::from(vec![0; 60 << 10]), Bytes::from_static(b"urgent"));
    // The peer's reader stands still, so that all this has to queue up here.
    let standstill = desk.prepare_standstill();
    pool.send(&listener.address, Bytes::from_static(b"block"), false);
    assert_eq!(events.one_ways(1).await, [Bytes::from_static(b"block")]);
    for _ in 0..400 {
        pool.send(&listener.address, bulk.clone(), false);
    }
    pool.send(&listener.address, urgent.clone(), true);
    drop(standstill);
    let mut behind = 0;
    let received = events.one_ways(401).await;
    for payload in received.iter().rev().take_while(|payload| **payload != urgent) {
        assert_eq!(*payload, bulk);
        behind += 1;
    }
    // What the sockets had taken already is ahead of it; the rest is not.
    assert!(behind > 50, "only {behind} messages were overtaken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_drops_messages_and_keeps_the_connection() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    let bulk = Bytes::from(vec![0; 1 << 20]);
    let standstill = desk.prepare_standstill();
    pool.send(&listener.address, Bytes::from_static(b"block"), false);
    assert_eq!(events.one_ways(1).await, [Bytes::from_static(b"block")]);
    for _ in 0..200 {
        pool.send(&listener.address, bulk.clone(), false);
    }
    drop(standstill);
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    // The urgent lane has room whatever the other holds; it arrives after some of the bulk, or before.
    pool.send(&listener.address, Bytes::from_static(b"last"), true);
    let mut arrived = 0;
    while events.one_ways(1).await[0] != b"last"[..] {
        arrived += 1;
    }
    assert!(arrived < 150, "{arrived} messages of a mebibyte were queued");
}
