//! The cluster that scripts command.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use common::{PartitionId, ReplicaId};

use super::memory_log::MemoryLog;
use crate::{
    AppliedConfiguration, Committed, CommittedKind, Configuration, Group, GroupOptions, InstallOutcome,
    LogView, Message, MessageKind, Released, Role, SnapshotDescription, SnapshotOffer,
};

/// Replicas, their disks, and the messages between them.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) replicas: BTreeMap<u64, Replica>,
    pub(super) network: VecDeque<Message>,
    /// Replicas whose messages are lost in both directions.
    pub(super) cut: BTreeSet<u64>,
    pub(super) contexts: u64,
    pub(super) output: String,
    pub(super) seed: u64,
    pub(super) lag: u64,
}

/// One replica: a group, while its process runs, and what survives the process.
pub(super) struct Replica {
    pub(super) group: Option<Group<MemoryLog>>,
    pub(super) log: MemoryLog,
    pub(super) state: State,
}

/// A state machine: the values in the order in which they were applied.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) applied: u64,
    pub(super) values: Vec<String>,
    configuration: AppliedConfiguration,
}

impl Cluster {
    pub(super) fn say(&mut self, line: impl AsRef<str>) {
        writeln!(self.output, "{}", line.as_ref()).expect("string");
    }

    pub(super) fn add(&mut self, id: u64, log: MemoryLog) {
        self.replicas.insert(id, Replica { group: None, log, state: State::default() });
        self.start(id);
    }

    pub(super) fn start(&mut self, id: u64) {
        let options = GroupOptions {
            election_ticks_min: 10,
            election_ticks_max: 20,
            heartbeat_ticks: 2,
            snapshot_ticks_max: 20,
            truncation_lag_max: self.lag,
            ..GroupOptions::new(PartitionId(1), ReplicaId(id), self.seed.wrapping_mul(1_000) + id)
        };
        let replica = self.replicas.get_mut(&id).expect("replica");
        match Group::new(options, replica.log.clone(), replica.state.applied) {
            Ok(group) => replica.group = Some(group),
            Err(error) => self.say(format!("{id} does not start: {error}")),
        }
        if self.replicas[&id].group.is_some() {
            self.work(id);
        }
    }

    /// The process ends, and the disk forgets what was not synced.
    pub(super) fn crash(&mut self, id: u64) {
        let replica = self.replicas.get_mut(&id).expect("replica");
        replica.group = None;
        replica.log.crash();
    }

    /// Does something with a running group, and then its work.
    pub(super) fn act<T>(&mut self, id: u64, act: impl FnOnce(&mut Group<MemoryLog>) -> T) -> Option<T> {
        let result = self.replicas.get_mut(&id)?.group.as_mut().map(act);
        if result.is_some() {
            self.work(id);
        }
        result
    }

    /// Like [`Cluster::act`], for events that answer nothing.
    pub(super) fn touch(&mut self, id: u64, act: impl FnOnce(&mut Group<MemoryLog>)) {
        let _was_running = self.act(id, act);
    }

    pub(super) fn leader(&self) -> Option<u64> {
        let leads =
            |replica: &Replica| replica.group.as_ref().map(Group::status).filter(|s| s.role == Role::Leader);
        let leaders = self.replicas.iter().filter_map(|(id, replica)| Some((leads(replica)?.term, *id)));
        leaders.max().map(|(_, id)| id)
    }

    /// Delivers messages until none is left, or so many.
    pub(super) fn deliver(&mut self, mut count: usize, trace: bool) {
        while count > 0
            && let Some(message) = self.network.pop_front()
        {
            count -= 1;
            let (from, to) = (message.from().0, message.to().0);
            let lost = self.cut.contains(&from) || self.cut.contains(&to);
            if trace {
                self.say(format!("{message:?}{}", if lost { " lost" } else { "" }));
            }
            if !lost {
                self.step(to, message);
            }
        }
    }

    fn step(&mut self, to: u64, message: Message) {
        match self.act(to, |group| group.step(message)) {
            Some(Ok(Some(offer))) => self.install(to, &offer),
            Some(Err(error)) => self.say(format!("{to} drops a message: {error}")),
            Some(Ok(None)) | None => {}
        }
    }

    fn work(&mut self, id: u64) {
        loop {
            let replica = self.replicas.get_mut(&id).expect("replica");
            let Some(group) = &mut replica.group else { return };
            let Some(work) = group.take_work() else { return };
            replica.log.persist(&work.persist);
            let released = group.persisted(work.token);
            self.network.extend(work.messages);
            self.finish(id, released);
        }
    }

    fn finish(&mut self, id: u64, released: Released) {
        self.network.extend(released.messages);
        if let Some(index) = released.snapshot_adopted {
            self.say(format!("{id} adopts the snapshot at {index}"));
        }
        for entry in released.committed {
            self.apply(id, entry);
        }
        for read in released.reads {
            self.say(format!("{id} may serve read {} at {}", read.context, read.index));
        }
        if let Some(change) = released.role {
            let role = format!("{:?}", change.role).to_lowercase();
            let leader = change.leader.map_or(String::new(), |leader| format!(" of {leader}"));
            self.say(format!("{id} is {role}{leader} in term {}", change.term));
        }
        if let Some(request) = released.snapshot_needed {
            self.say(format!("{id} makes a snapshot for {} of at least {}", request.to, request.index_min));
            let replica = self.replicas.get_mut(&id).expect("replica");
            let snapshot = describe(replica);
            replica.group.as_mut().expect("running").snapshot_ready(snapshot);
        }
    }

    fn apply(&mut self, id: u64, entry: Committed) {
        let replica = self.replicas.get_mut(&id).expect("replica");
        let what = match entry.kind {
            CommittedKind::Empty => "empty".to_owned(),
            CommittedKind::Normal => {
                let value = String::from_utf8(entry.data.to_vec()).expect("text");
                replica.state.values.push(value.clone());
                value
            }
            CommittedKind::Configuration(configuration) => {
                replica.state.configuration = configuration.clone();
                members(&configuration.configuration)
            }
        };
        assert_eq!(
            entry.index,
            replica.state.applied.max(1) + 1,
            "entries are handed out in order, without gaps"
        );
        replica.state.applied = entry.index;
        replica.group.as_mut().expect("running").applied(entry.index);
        self.say(format!("{id} applies {}@{} {what}", entry.index, entry.term));
    }

    /// Stages an offered snapshot at once, and gives it to the group.
    fn install(&mut self, id: u64, offer: &SnapshotOffer) {
        let SnapshotDescription { index, configuration, bytes, .. } = offer.description.clone();
        self.say(format!("{id} is offered the snapshot at {index} by {}", offer.from));
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let values = text.split_whitespace().map(str::to_owned).collect();
        // Staged before the log switches, and used only afterwards; here the switch cannot fail.
        let replica = self.replicas.get_mut(&id).expect("replica");
        let before = std::mem::replace(&mut replica.state, State { applied: index, values, configuration });
        let outcome = self.act(id, |group| group.install_snapshot(&offer.description));
        if outcome != Some(InstallOutcome::Adopted) {
            self.say(format!("{id} does not install it: {outcome:?}"));
            self.replicas.get_mut(&id).expect("replica").state = before;
        }
    }

    /// Messages of some kind that wait.
    pub(super) fn count(&self, kind: MessageKind) -> usize {
        self.network.iter().filter(|message| message.kind() == kind).count()
    }
}

/// A snapshot of a replica's state as it is now.
fn describe(replica: &Replica) -> SnapshotDescription {
    let State { applied, values, .. } = &replica.state;
    let group = replica.group.as_ref().expect("running");
    SnapshotDescription {
        index: *applied,
        term: replica.log.term(*applied).expect("it was applied"),
        configuration: group.configuration().clone(),
        bytes: Bytes::from(values.join(" ")),
    }
}

/// The members, for people.
pub(super) fn members(configuration: &Configuration) -> String {
    let list = |ids: &BTreeSet<ReplicaId>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut text = format!("voters={}", list(&configuration.voters));
    for (name, ids) in [
        ("outgoing", &configuration.voters_outgoing),
        ("learners", &configuration.learners),
        ("learners_next", &configuration.learners_next),
    ] {
        if !ids.is_empty() {
            write!(text, " {name}={}", list(ids)).expect("string");
        }
    }
    text
}
