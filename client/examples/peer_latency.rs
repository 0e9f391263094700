//! How long a call between nodes takes, and how many there are a second, against the same call over HTTP:
//! `cargo run --release -p polylite-client --example peer_latency`.
//!
//! Both ends run in one process, over a loopback socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use polylite_client::peer::{self, Caller, PeerOptions, PeerPool, PeerService, StreamSink};
use tokio::net::TcpListener;

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(2);

struct Echo;

impl PeerService for Echo {
    fn call(self: Arc<Self>, _from: Caller, payload: Bytes) -> BoxFuture<'static, Bytes> {
        Box::pin(std::future::ready(payload))
    }

    fn stream(self: Arc<Self>, _payload: Bytes, sink: StreamSink) -> BoxFuture<'static, ()> {
        Box::pin(async move { sink.finish() })
    }

    fn one_way(&self, _payload: Bytes) {}
}

async fn listen(listener: TcpListener) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        socket.set_nodelay(true).expect("a TCP socket");
        let answer = service_fn(|mut request: http::Request<Incoming>| async move {
            if request.uri().path() == peer::PATH {
                return Ok::<_, Infallible>(peer::accept(&mut request, Arc::new(Echo)).map(Either::Left));
            }
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            Ok(http::Response::new(Either::Right(Full::from(body))))
        });
        let http = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer);
        tokio::spawn(http.with_upgrades());
    }
}

/// Keeps `width` calls under way; prints calls a second and the middle and the 99th percentile of latency.
async fn measure<F, C>(what: &str, width: usize, call: C)
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    call().await;
    let started = Instant::now();
    let lanes = (0..width).map(|_| {
        let call = call.clone();
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while started.elapsed() < MEASURED {
                let sent = Instant::now();
                call().await;
                latencies.push(sent.elapsed());
            }
            latencies
        })
    });
    let mut latencies: Vec<Duration> =
        join_all(lanes).await.into_iter().flat_map(|lane| lane.expect("no panic")).collect();
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    #[allow(clippy::cast_precision_loss)]
    let rate = latencies.len() as f64 / seconds;
    let at = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    println!("{what:<24} {width:>3} under way: {rate:>9.0} calls/s, median {:?}, 99 % {:?}", at(50), at(99));
}

async fn compare(size: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    tokio::spawn(listen(listener));
    let payload = Bytes::from(vec![7; size]);
    let pool = PeerPool::new(PeerOptions::default());
    let http = reqwest::Client::new();
    for width in [1, 64] {
        let (pool, address_of_peer, body) = (pool.clone(), address.clone(), payload.clone());
        let call = move || {
            let (pool, address, body) = (pool.clone(), address_of_peer.clone(), body.clone());
            async move {
                pool.call(&address, body, Duration::from_secs(5)).await.expect("a reply");
            }
        };
        measure(&format!("connection, {size} bytes"), width, call).await;
        let (http, url, body) = (http.clone(), format!("http://{address}/"), payload.clone());
        let call = move || {
            let request = http.post(&url).body(body.clone());
            async move {
                request.send().await.expect("an answer").bytes().await.expect("a body");
            }
        };
        measure(&format!("HTTP, {size} bytes"), width, call).await;
    }
}

fn main() {
    let ring = rustls::crypto::ring::default_provider().install_default();
    ring.expect("nobody chose a provider before");
    let mut single = tokio::runtime::Builder::new_current_thread();
    let mut multi = tokio::runtime::Builder::new_multi_thread();
    for (name, builder) in [("one thread", &mut single), ("two threads", multi.worker_threads(2))] {
        println!("{name}");
        let runtime = builder.enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for size in [100, 16 << 10] {
                // In a task of its own, else the multi-threaded runtime is entered from outside each time.
                tokio::spawn(compare(size)).await.expect("no panic");
            }
        });
    }
}
