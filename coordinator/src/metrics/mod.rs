//! Numbers about this coordinator for Prometheus. The recorder belongs to the coordinator, not to the
//! process, so that several in one process (a development cluster, tests) do not mix their numbers.

mod transactions;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use transactions::{Conflict, InteractiveEnd, Phases, TransactionMetrics, Wait};

/// What requests are counted by: the subject of their route.
const SUBJECTS: [&str; 14] = [
    "sql",
    "query",
    "documents",
    "import",
    "export",
    "tables",
    "databases",
    "nodes",
    "partitions",
    "cache",
    "cluster",
    "health",
    "peer",
    "other",
];

/// Upper bounds of the latency histogram, in seconds.
const LATENCY_BOUNDS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

const REQUESTS: &str = "polylite_http_requests_total";
const SECONDS: &str = "polylite_http_request_seconds";

/// Counts and times of answered requests. Cheap to clone.
#[derive(Clone)]
pub struct RequestMetrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    /// In the order of [`SUBJECTS`].
    subjects: Arc<[SubjectMetrics]>,
}

struct SubjectMetrics {
    succeeded: Counter,
    refused: Counter,
    failed: Counter,
    seconds: Histogram,
}

/// Index into [`SUBJECTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject(usize);

impl Default for RequestMetrics {
    fn default() -> Self {
        RequestMetrics::new()
    }
}

impl RequestMetrics {
    /// Numbers that start at zero.
    ///
    /// # Panics
    /// Never: the histogram's bounds are not empty.
    #[must_use]
    pub fn new() -> RequestMetrics {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&LATENCY_BOUNDS)
            .expect("the histogram has bounds")
            .build_recorder();
        recorder.describe_counter(
            REQUESTS.into(),
            None,
            "Requests answered, by subject and class of status.".into(),
        );
        recorder.describe_histogram(
            SECONDS.into(),
            Some(Unit::Seconds),
            "Time from a request's head to its answer's.".into(),
        );
        let subjects = SUBJECTS.iter().map(|subject| SubjectMetrics::register(&recorder, subject)).collect();
        RequestMetrics { handle: recorder.handle(), recorder: Arc::new(recorder), subjects }
    }

    /// The subject of a path.
    #[must_use]
    pub fn subject(path: &str) -> Subject {
        let mut segments = path.split('/').skip(1);
        let first = segments.next().unwrap_or_default();
        let name = match first {
            "databases" => match segments.nth(1) {
                None => "databases",
                Some("collections") => "documents",
                Some(other) => other,
            },
            "_peer" => "peer",
            other => other,
        };
        let other = SUBJECTS.len() - 1;
        Subject(SUBJECTS.iter().position(|subject| *subject == name).unwrap_or(other))
    }

    /// Counts an answer.
    pub fn answered(&self, subject: Subject, status: StatusCode, took: Duration) {
        let metrics = &self.subjects[subject.0];
        metrics.seconds.record(took.as_secs_f64());
        match status.as_u16() {
            500.. => metrics.failed.increment(1),
            400..500 => metrics.refused.increment(1),
            _ => metrics.succeeded.increment(1),
        }
    }

    /// Sets a number that is looked up when somebody asks.
    pub fn set(&self, name: &'static str, help: &'static str, value: f64) {
        self.recorder.describe_gauge(name.into(), None, help.into());
        self.recorder.register_gauge(&Key::from_static_name(name), &metadata()).set(value);
    }

    fn describe_counter(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_counter(name.into(), None, help.into());
    }

    fn describe_times(&self, name: &'static str, help: &'static str) {
        self.recorder.describe_histogram(name.into(), Some(Unit::Seconds), help.into());
    }

    fn counter(&self, name: &'static str, label: &'static str, value: &'static str) -> Counter {
        let labels = vec![Label::from_static_parts(label, value)];
        let key = Key::from_parts(SharedString::from(name), labels);
        self.recorder.register_counter(&key, &metadata())
    }

    fn times(&self, name: &'static str, label: Option<(&'static str, &'static str)>) -> Histogram {
        let labels = label
            .map(|(label, value)| Label::from_static_parts(label, value))
            .into_iter()
            .collect::<Vec<_>>();
        self.recorder.register_histogram(&Key::from_parts(SharedString::from(name), labels), &metadata())
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds recorded times into the histograms. They pile up in memory until someone does.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }
}

impl SubjectMetrics {
    fn register(recorder: &PrometheusRecorder, subject: &'static str) -> SubjectMetrics {
        let counter = |class: &'static str| {
            let labels =
                vec![Label::from_static_parts("subject", subject), Label::from_static_parts("class", class)];
            recorder.register_counter(&Key::from_parts(SharedString::from(REQUESTS), labels), &metadata())
        };
        let labels = vec![Label::from_static_parts("subject", subject)];
        SubjectMetrics {
            succeeded: counter("2xx"),
            refused: counter("4xx"),
            failed: counter("5xx"),
            seconds: recorder.register_histogram(&Key::from_parts(SECONDS, labels), &metadata()),
        }
    }
}

fn metadata() -> Metadata<'static> {
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_their_subjects() {
        let subject = |path| SUBJECTS[RequestMetrics::subject(path).0];
        assert_eq!(subject("/databases"), "databases");
        assert_eq!(subject("/databases/shop"), "databases");
        assert_eq!(subject("/databases/shop/sql"), "sql");
        assert_eq!(subject("/databases/shop/collections/c/find"), "documents");
        assert_eq!(subject("/query/shop"), "query");
        assert_eq!(subject("/what/ever"), "other");
        assert_eq!(subject("/"), "other");
    }

    #[test]
    fn answers_are_counted_by_subject_and_class() {
        let metrics = RequestMetrics::new();
        metrics.answered(RequestMetrics::subject("/query/x"), StatusCode::OK, Duration::from_millis(2));
        metrics.answered(RequestMetrics::subject("/query/x"), StatusCode::CONFLICT, Duration::from_millis(2));
        metrics.set("polylite_catalog_version", "Version of the catalog.", 7.0);
        let text = metrics.render();
        for line in [
            "polylite_http_requests_total{subject=\"query\",class=\"2xx\"} 1",
            "polylite_http_requests_total{subject=\"query\",class=\"4xx\"} 1",
            "polylite_http_request_seconds_count{subject=\"query\"} 2",
            "polylite_catalog_version 7",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
