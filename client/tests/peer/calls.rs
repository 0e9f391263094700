//! Calls: concurrency, sizes, identity, clocks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use common::limits::FRAME_MAX;
use futures_util::future::join_all;
use polylite_client::peer::{PeerError, PeerIdentity, PeerOptions, PeerPool};

use super::desk::{Desk, Event, Listener, PATIENCE, StepClock, patiently, pool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_come_back_to_their_own_callers() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let calls = (0..2000_u32).map(|number| {
        let (pool, address) = (pool.clone(), listener.address.clone());
        async move {
            let payload = Bytes::from(number.to_string().repeat(number as usize % 300 + 1));
            let reply = pool.call(&address, payload.clone(), PATIENCE).await;
            assert_eq!(reply, Ok(payload));
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn a_call_that_takes_long_holds_up_no_other() {
    let (desk, mut events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let pool = pool();
    let held = tokio::spawn({
        let (pool, address) = (pool.clone(), listener.address.clone());
        async move { pool.call(&address, Bytes::from_static(b"hold"), PATIENCE).await }
    });
    assert_eq!(events.next().await, Event::CallArrived(PeerIdentity::new("tester", 1)));
    let quick = pool.call(&listener.address, Bytes::from_static(b"quick"), PATIENCE).await;
    assert_eq!(quick, Ok(Bytes::from_static(b"quick")));
    assert!(!held.is_finished());
    desk.gate.add_permits(1);
    assert_eq!(patiently(held).await.expect("no panic"), Ok(Bytes::from_static(b"hold")));
    assert_eq!(pool.identity_of(&listener.address), Some(PeerIdentity::new("desk", 7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_every_size_arrive_whole() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let sizes = [0, 1, 1 << 10, (1 << 10) + 1, 4 << 10, 64 << 10, (64 << 10) + 1, 3 << 20, FRAME_MAX];
    let calls = sizes.map(|size| {
        let (pool, address) = (pool.clone(), listener.address.clone());
        async move {
            #[allow(clippy::cast_possible_truncation)]
            let payload: Bytes = (0..size).map(|index| (index % 251) as u8).collect::<Vec<u8>>().into();
            let reply = pool.call(&address, payload.clone(), PATIENCE).await.expect("a reply");
            assert!(reply == payload, "a message of {size} bytes came back changed");
        }
    });
    join_all(calls).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_on_either_side() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk).await;
    let pool = pool();
    let request = pool.call(&listener.address, Bytes::from(vec![0; FRAME_MAX + 1]), PATIENCE).await;
    assert_eq!(request, Err(PeerError::TooLarge(FRAME_MAX + 1)));
    let reply = pool.call(&listener.address, Bytes::from_static(b"too large"), PATIENCE).await;
    assert_eq!(reply, Err(PeerError::ReplyTooLarge));
}

#[tokio::test]
async fn clocks_are_heard_in_both_directions() {
    let (desk, _events) = Desk::new();
    let listener = Listener::start(desk.clone()).await;
    let clock = Arc::new(StepClock::default());
    let pool = PeerPool::new(PeerOptions { clock: clock.clone(), ..PeerOptions::default() });
    clock.0.store(100, Ordering::SeqCst);
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    assert_eq!(desk.clock.0.load(Ordering::SeqCst), 100);
    desk.clock.0.store(500, Ordering::SeqCst);
    pool.call(&listener.address, Bytes::new(), PATIENCE).await.expect("a reply");
    assert_eq!(clock.0.load(Ordering::SeqCst), 500);
}
