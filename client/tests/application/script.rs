//! An HTTP server that answers one request after the other as a test wrote it down.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use polylite_client::{Client, ClientBuilder, RetryPolicy};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, &'static str)>, String),
    /// The connection is closed without an answer.
    Close,
}

/// A success with a JSON body.
pub fn ok(body: impl ToString) -> Answer {
    Answer::Status(200, vec![("content-type", "application/json")], body.to_string())
}

/// An error with a JSON body of the usual shape.
pub fn error(status: u16, code: &str, retryable: bool, outcome: &str) -> Answer {
    let body = serde_json::json!({
        "success": false, "error": "for people", "code": code, "retryable": retryable, "outcome": outcome,
    });
    Answer::Status(status, vec![("content-type", "application/json")], body.to_string())
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// The server; it stops listening when it is dropped.
pub struct Script {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    _listening: AbortOnDropHandle<()>,
}

impl Script {
    /// Answers the first requests as given. A further one is answered with 418, which no test expects.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(listener, answers, seen.clone()));
        Script { url, seen, _listening: AbortOnDropHandle::new(listening) }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }
}

async fn listen(listener: TcpListener, answers: Arc<Mutex<VecDeque<Answer>>>, seen: Arc<Mutex<Vec<Seen>>>) {
    loop {
        let (socket, _) = listener.accept().await.expect("a connection");
        let (answers, seen) = (answers.clone(), seen.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (answers, seen) = (answers.clone(), seen.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                let path = head.uri.path_and_query().expect("a path").to_string();
                let method = head.method.to_string();
                seen.lock().expect("no panic").push(Seen { method, path, headers: head.headers, body });
                match answers.lock().expect("no panic").pop_front() {
                    Some(Answer::Status(status, headers, body)) => Ok(response(status, &headers, body)),
                    Some(Answer::Close) => Err(io::Error::other("as the script wants it")),
                    None => Ok(response(418, &[], "the script is at its end".to_owned())),
                }
            }
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), answer),
        );
    }
}

fn response(status: u16, headers: &[(&str, &str)], body: String) -> Response<Full<Bytes>> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Full::from(body)).expect("a valid answer")
}

/// A client of these servers whose pauses are short.
pub fn builder(servers: &[&Script]) -> ClientBuilder {
    let pause = Duration::from_millis(1);
    let policy = RetryPolicy { attempts_max: 5, pause_min: pause, pause_max: pause };
    Client::builder(servers.iter().map(|server| server.url.clone())).retry(policy)
}

pub fn client(servers: &[&Script]) -> Client {
    builder(servers).build().expect("valid settings")
}
