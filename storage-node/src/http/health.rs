//! Whether the node lives, whether it is ready, and its numbers.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use common::protocol::ReplicaReport;
use common::{Error, ErrorCode, PartitionId};
use serde_json::json;
use std::fmt::Write as _;

use super::AppState;
use super::reply::{Answer, Refusal, success};
use crate::replica::running::StatementCounts;
use crate::replica::scrub_counts::ScrubCounts;

/// The process answers.
pub async fn live() -> Answer {
    success(json!({ "status": "live" }))
}

/// Every replica has a sound file, and the node has a name.
pub async fn ready(State(state): State<AppState>) -> Answer {
    let unready: Vec<String> = state
        .service
        .registry()
        .all()
        .iter()
        .filter(|replica| replica.published().readers().is_none())
        .map(|replica| replica.partition().to_string())
        .collect();
    if state.service.node().is_none() {
        let error = Error::new(ErrorCode::Unavailable, "no coordinator has registered the node yet");
        return Err(Refusal(error));
    }
    if !unready.is_empty() {
        let text = format!("replicas wait for a snapshot: partitions {}", unready.join(", "));
        return Err(Refusal(Error::new(ErrorCode::Unavailable, text)));
    }
    success(json!({ "status": "ready" }))
}

/// Version of the program.
pub async fn version() -> Answer {
    success(json!({ "name": "polylite", "version": env!("CARGO_PKG_VERSION") }))
}

/// A number about a replica: the metric's type, its name, what it means, and its value.
type OfReplica = (&'static str, &'static str, &'static str, fn(&ReplicaReport) -> u64);

/// What is told of each replica.
const OF_REPLICAS: [OfReplica; 10] = [
    ("gauge", "polylite_replica_rows", "Rows of the client's tables.", |report| report.rows),
    ("gauge", "polylite_replica_bytes", "Bytes of the file and its log.", |report| report.bytes),
    ("gauge", "polylite_replica_used_bytes", "Size of the pages in use.", |report| report.used_bytes),
    (
        "counter",
        "polylite_replica_requests_total",
        "Requests of clients, since the replica was started.",
        |report| report.requests,
    ),
    ("gauge", "polylite_replica_applied_index", "Applied log index.", |report| report.applied),
    ("gauge", "polylite_replica_committed_index", "Greatest log index known committed.", |report| {
        report.committed
    }),
    (
        "gauge",
        "polylite_replica_term",
        "Term of the replica's group: leadership moves only to a later one.",
        |report| report.term,
    ),
    ("gauge", "polylite_replica_writable", "1 if the replica takes writes.", |report| {
        u64::from(report.writable)
    }),
    (
        "gauge",
        "polylite_replica_quarantined",
        "1 if the replica is damaged or has diverged; it is rebuilt from another one.",
        |report| u64::from(report.quarantined.is_some()),
    ),
    ("gauge", "polylite_in_doubt_transactions", "Transactions prepared and not decided.", |report| {
        u64::from(report.in_doubt)
    }),
];

/// The node's numbers in the Prometheus text format.
pub async fn metrics(State(state): State<AppState>) -> impl IntoResponse {
    let mut text = String::new();
    let reports = state.service.registry().reports(&[]);
    gauge(&mut text, "polylite_replicas", "Replicas on this node.", &[(String::new(), reports.len() as u64)]);
    for (kind, name, help, value) in OF_REPLICAS {
        let labelled = |report: &ReplicaReport| (of_partition(report.partition), value(report));
        metric(&mut text, kind, name, help, &reports.iter().map(labelled).collect::<Vec<_>>());
    }
    let replicas = state.service.registry().all();
    let of_scrubs = |value: fn(&ScrubCounts) -> u64| -> Vec<(String, u64)> {
        let counted =
            replicas.iter().map(|replica| (replica.partition(), value(replica.published().scrubs())));
        counted.map(|(partition, value)| (of_partition(partition), value)).collect()
    };
    counter(
        &mut text,
        "polylite_replica_scrubs_total",
        "How often the file was read again, to the end or to where it is damaged.",
        &of_scrubs(ScrubCounts::whole),
    );
    counter(
        &mut text,
        "polylite_replica_scrubs_ended_total",
        "How often reading the file again was ended because too much was written meanwhile; it begins anew.",
        &of_scrubs(ScrubCounts::ended),
    );
    let of_statements = |value: fn(&StatementCounts) -> u64| -> Vec<(String, u64)> {
        let counted = replicas.iter().map(|replica| (replica.partition(), value(replica.statements())));
        counted.map(|(partition, value)| (of_partition(partition), value)).collect()
    };
    gauge(
        &mut text,
        "polylite_statements_running",
        "Reading statements that run on threads of their own.",
        &of_statements(StatementCounts::running),
    );
    counter(
        &mut text,
        "polylite_statements_cancelled_total",
        "Reading statements that were ended because nobody waited any more.",
        &of_statements(StatementCounts::cancelled),
    );
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn gauge(text: &mut String, name: &str, help: &str, values: &[(String, u64)]) {
    metric(text, "gauge", name, help, values);
}

fn counter(text: &mut String, name: &str, help: &str, values: &[(String, u64)]) {
    metric(text, "counter", name, help, values);
}

/// The label that names a partition.
fn of_partition(partition: PartitionId) -> String {
    format!("{{partition=\"{partition}\"}}")
}

fn metric(text: &mut String, kind: &str, name: &str, help: &str, values: &[(String, u64)]) {
    // Writing into memory cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value) in values {
        let _ = writeln!(text, "{name}{labels} {value}");
    }
}
