//! What callers learn when the peer is away, dies, or falls silent.

use std::time::Duration;

use bytes::Bytes;
use polylite_client::peer::{KeepAlive, PeerError, PeerOptions, PeerPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::desk::{Desk, Event, Listener, PATIENCE, patiently, pool};

fn hold() -> Bytes {
    Bytes::from_static(b"hold")
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let pool = pool();
    // The second one fails while attempts are held back, and at once.
    for _ in 0..2 {
        let error = pool.call(&free.to_string(), Bytes::new(), PATIENCE).await;
        assert!(matches!(error, Err(PeerError::Unreachable(_))), "{error:?}");
    }
}

#[tokio::test]
async fn a_call_under_way_when_the_peer_dies_is_lost_and_later_ones_find_its_successor() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let (pool, address) = (pool(), listener.address.clone());
    let call = tokio::spawn({
        let (pool, address) = (pool.clone(), address.clone());
        async move { pool.call(&address, hold(), PATIENCE).await }
    });
    assert!(matches!(events.next().await, Event::CallArrived(_)));
    drop(listener);
    assert_eq!(patiently(call).await.expect("no panic"), Err(PeerError::Lost));

    let _successor = patiently(restart(&desk, &address)).await;
    let reply = patiently(async {
        loop {
            match pool.call(&address, Bytes::from_static(b"again"), PATIENCE).await {
                Err(PeerError::Unreachable(_)) => tokio::task::yield_now().await,
                other => return other,
            }
        }
    });
    assert_eq!(reply.await, Ok(Bytes::from_static(b"again")));
}

#[tokio::test]
async fn a_peer_that_dies_is_told_as_lost_before_its_silence_is_noticed() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let keep_alive = KeepAlive { interval: 10 * PATIENCE, silent_intervals_max: 3 };
    let pool = PeerPool::new(PeerOptions { keep_alive, ..PeerOptions::default() });
    let (told, mut lost) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(pool.losses().for_each(move |address| {
        // The test may be over.
        let _ = told.send(address);
    }));
    let address = listener.address.clone();
    assert_eq!(pool.call(&address, Bytes::new(), PATIENCE).await, Ok(Bytes::new()));
    assert!(lost.try_recv().is_err());
    drop(listener);
    assert_eq!(patiently(lost.recv()).await, Some(address));
}

/// Listens at the same address as soon as the former listener has let go of it.
async fn restart(desk: &std::sync::Arc<Desk>, address: &str) -> Listener {
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    Listener::start_at(desk.clone(), address.parse().expect("an address")).await
}

#[tokio::test]
async fn a_service_that_panics_loses_its_call_only() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let panicked = pool.call(&listener.address, Bytes::from_static(b"panic"), PATIENCE).await;
    assert_eq!(panicked, Err(PeerError::Lost));
    assert!(pool.call(&listener.address, Bytes::new(), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_reply_that_does_not_come_in_time_leaves_the_outcome_open() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    let late = pool.call(&listener.address, hold(), Duration::from_millis(50)).await;
    assert_eq!(late, Err(PeerError::Timeout));
    assert!(matches!(events.next().await, Event::CallArrived(_)));
    // Its late reply disturbs nobody.
    desk.gate.add_permits(1);
    assert!(pool.call(&listener.address, Bytes::new(), PATIENCE).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_could_not_be_sent_whole_is_withdrawn_and_never_carried_out() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    let standstill = desk.prepare_standstill();
    pool.send(&listener.address, Bytes::from_static(b"block"), true);
    assert_eq!(events.next().await, Event::OneWay(Bytes::from_static(b"block")));
    let large = Bytes::from(vec![0; common::limits::FRAME_MAX]);
    let calls = (0..2).map(|_| pool.call(&listener.address, large.clone(), Duration::from_millis(200)));
    let errors = futures_util::future::join_all(calls).await;
    assert!(matches!(errors[..], [_, Err(PeerError::Unreachable(_))]), "{errors:?}");
    drop(standstill);
    assert!(pool.call(&listener.address, Bytes::new(), PATIENCE).await.is_ok());
    assert!(events.is_empty());
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    // This one sends nothing unless it has something to say.
    let silence = KeepAlive { interval: Duration::from_secs(3600), silent_intervals_max: 3 };
    let (desk, _events) = Desk::with_keep_alive(silence);
    let listener = Listener::start(desk).await;
    let keep_alive = KeepAlive { interval: Duration::from_millis(20), silent_intervals_max: 3 };
    let pool = PeerPool::new(PeerOptions { keep_alive, ..PeerOptions::default() });
    let call = patiently(pool.call(&listener.address, hold(), PATIENCE * 2)).await;
    assert_eq!(call, Err(PeerError::Lost));
}

#[tokio::test]
async fn signs_of_life_keep_an_idle_connection() {
    let keep_alive = KeepAlive { interval: Duration::from_millis(20), silent_intervals_max: 3 };
    let (desk, _events) = Desk::with_keep_alive(keep_alive);
    let listener = Listener::start(desk).await;
    let pool = PeerPool::new(PeerOptions { keep_alive, ..PeerOptions::default() });
    // Far longer than silence would be borne.
    let held = pool.call(&listener.address, hold(), Duration::from_millis(400)).await;
    assert_eq!(held, Err(PeerError::Timeout));
}

#[tokio::test]
async fn a_request_without_the_upgrade_is_told_so() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let mut socket = tokio::net::TcpStream::connect(&listener.address).await.expect("connected");
    let request = "GET /_peer HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    patiently(socket.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
}
