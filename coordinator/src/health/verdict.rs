//! From silence to an opinion, without a clock: times are given.

use std::collections::BTreeMap;
use std::time::Duration;

use common::NodeId;
use common::catalog::{Node, NodeStatus};

/// A node that is silent for so long is avoided …
pub const SUSPECTED_AFTER: Duration = Duration::from_secs(3);
/// … and for so long counts as gone.
pub const INACTIVE_AFTER: Duration = Duration::from_secs(10);
/// At most one node is declared gone in so long: when many fall silent at once, the fault is likely to be on
/// the listener's side.
pub(super) const DEATH_INTERVAL: Duration = Duration::from_secs(5);

/// What a leader knows of the nodes' silence. Times count from any one moment.
pub(super) struct Silence {
    /// Now.
    pub(super) now: Duration,
    /// When this coordinator began to lead: before, others heard the reports.
    pub(super) leading_since: Duration,
    /// When each node was last heard, as the instance that the catalog knows.
    pub(super) heard: BTreeMap<NodeId, Duration>,
    /// Since when each node is in use: it has registered then, and its first report is still to come.
    pub(super) in_use_since: BTreeMap<NodeId, Duration>,
    /// When a node was last declared gone.
    pub(super) last_death: Option<Duration>,
}

/// Since when nodes are in use, whoever saw to it: themselves by registering, perhaps with another coordinator.
#[derive(Debug, Default)]
pub(super) struct InUse {
    since: BTreeMap<NodeId, Duration>,
}

impl InUse {
    /// Looks at the nodes as they are now; answers since when each that is in use was found so.
    pub(super) fn look<'a>(
        &mut self,
        now: Duration,
        nodes: impl Iterator<Item = &'a Node>,
    ) -> BTreeMap<NodeId, Duration> {
        let is_used = |node: &&Node| node.status != NodeStatus::Inactive;
        let before = std::mem::take(&mut self.since);
        let since = |id: &NodeId| before.get(id).copied().unwrap_or(now);
        self.since = nodes.filter(is_used).map(|node| (node.id.clone(), since(&node.id))).collect();
        self.since.clone()
    }
}

/// A changed opinion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) node: NodeId,
    pub(super) status: NodeStatus,
}

/// The opinions that have to change.
pub(super) fn verdicts<'a>(nodes: impl Iterator<Item = &'a Node>, silence: &Silence) -> Vec<Verdict> {
    let recently = |death: Duration| silence.now.saturating_sub(death) < DEATH_INTERVAL;
    let mut may_die = !silence.last_death.is_some_and(recently);
    let mut verdicts = Vec::new();
    for node in nodes {
        let heard = silence.heard.get(&node.id).copied();
        let in_use = silence.in_use_since.get(&node.id).copied().unwrap_or_default();
        let since = heard.unwrap_or_default().max(in_use).max(silence.leading_since);
        let silent = silence.now.saturating_sub(since);
        let status = match node.status {
            NodeStatus::Active | NodeStatus::Suspected | NodeStatus::Syncing
                if silent >= INACTIVE_AFTER && may_die =>
            {
                may_die = false;
                NodeStatus::Inactive
            }
            NodeStatus::Active | NodeStatus::Syncing if silent >= SUSPECTED_AFTER => NodeStatus::Suspected,
            NodeStatus::Suspected | NodeStatus::Inactive
                if heard.is_some_and(|heard| silence.now.saturating_sub(heard) < SUSPECTED_AFTER) =>
            {
                NodeStatus::Active
            }
            unchanged => unchanged,
        };
        if status != node.status {
            verdicts.push(Verdict { node: node.id.clone(), status });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, status: NodeStatus) -> Node {
        Node {
            id: id.into(),
            host: "h".into(),
            port: 1,
            instance: Some(id.into()),
            status,
            inactive_since: None,
        }
    }

    fn judge(
        nodes: &[Node],
        now: u64,
        leading: u64,
        heard: &[(&str, u64)],
        death: Option<u64>,
    ) -> Vec<String> {
        let seconds = Duration::from_secs;
        let silence = Silence {
            now: seconds(now),
            leading_since: seconds(leading),
            heard: heard.iter().map(|(id, at)| (NodeId::from(*id), seconds(*at))).collect(),
            in_use_since: BTreeMap::new(),
            last_death: death.map(seconds),
        };
        let told = |verdict: Verdict| format!("{} {}", verdict.node, verdict.status.as_str());
        verdicts(nodes.iter(), &silence).into_iter().map(told).collect()
    }

    #[test]
    fn a_silent_node_is_suspected_then_inactive_then_active_again() {
        let active = [node("a", NodeStatus::Active)];
        assert_eq!(judge(&active, 102, 0, &[("a", 100)], None), [""; 0]);
        assert_eq!(judge(&active, 103, 0, &[("a", 100)], None), ["a suspected"]);
        let suspected = [node("a", NodeStatus::Suspected)];
        assert_eq!(judge(&suspected, 109, 0, &[("a", 100)], None), [""; 0]);
        assert_eq!(judge(&suspected, 110, 0, &[("a", 100)], None), ["a inactive"]);
        let inactive = [node("a", NodeStatus::Inactive)];
        assert_eq!(judge(&inactive, 120, 0, &[("a", 100)], None), [""; 0]);
        assert_eq!(judge(&inactive, 120, 0, &[("a", 119)], None), ["a active"]);
    }

    #[test]
    fn silence_counts_from_the_leaders_own_election() {
        let nodes = [node("a", NodeStatus::Active)];
        assert_eq!(judge(&nodes, 102, 100, &[], None), [""; 0]);
        assert_eq!(judge(&nodes, 104, 100, &[], None), ["a suspected"]);
    }

    #[test]
    fn a_node_that_registers_again_is_used_before_its_first_report() {
        let seconds = Duration::from_secs;
        let mut in_use = InUse::default();
        let mut judge = |now: u64, status| {
            let nodes = [node("a", status)];
            let silence = Silence {
                now: seconds(now),
                leading_since: seconds(0),
                heard: BTreeMap::from([(NodeId::from("a"), seconds(100))]),
                in_use_since: in_use.look(seconds(now), nodes.iter()),
                last_death: None,
            };
            verdicts(nodes.iter(), &silence)
        };
        assert_eq!(judge(100, NodeStatus::Active), []);
        assert_eq!(judge(150, NodeStatus::Inactive), []);
        // What it said last was long ago, and yet it has just said who it is.
        assert_eq!(judge(200, NodeStatus::Active), []);
        let gone = Verdict { node: "a".into(), status: NodeStatus::Suspected };
        assert_eq!(judge(204, NodeStatus::Active), [gone]);
    }

    #[test]
    fn one_node_is_declared_gone_at_a_time() {
        let nodes = [node("a", NodeStatus::Suspected), node("b", NodeStatus::Active)];
        assert_eq!(judge(&nodes, 200, 0, &[], None), ["a inactive", "b suspected"]);
        let second = [node("a", NodeStatus::Inactive), node("b", NodeStatus::Suspected)];
        assert_eq!(judge(&second, 201, 0, &[], Some(200)), [""; 0]);
        assert_eq!(judge(&second, 205, 0, &[], Some(200)), ["b inactive"]);
    }

    #[test]
    fn a_draining_node_stays_so() {
        let nodes = [node("a", NodeStatus::Draining)];
        assert_eq!(judge(&nodes, 200, 0, &[("a", 199)], None), [""; 0]);
        assert_eq!(judge(&nodes, 200, 0, &[], None), [""; 0]);
    }
}
