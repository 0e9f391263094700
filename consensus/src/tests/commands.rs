//! The commands of scripts.

use bytes::Bytes;
use common::ReplicaId;
use raft::eraftpb::{self, MessageType};

use super::cluster::{Cluster, members};
use super::memory_log::MemoryLog;
use crate::{Group, LogView, MembershipChange, MembershipStep, Message, MessageKind};

/// Runs one command: a word, then values, then `name=value` pairs.
pub(super) fn run(cluster: &mut Cluster, line: &str) {
    let command = Command::parse(line);
    let id = command.number(0);
    match command.name {
        // cluster nodes=3 seed=1 lag=0
        "cluster" => {
            cluster.seed = command.option("seed").unwrap_or(1);
            cluster.lag = command.option("lag").unwrap_or(0);
            let voters = 1..=command.option("nodes").expect("nodes");
            for id in voters.clone() {
                cluster.add(id, MemoryLog::bootstrap(voters.clone().map(ReplicaId)));
            }
        }
        // start 4: a replica that waits for a snapshot
        "start" => cluster.add(id, MemoryLog::default()),
        "campaign" => cluster.touch(id, Group::campaign),
        // unreachable 2 1: replica 2 learns that the process of 1 is gone
        "unreachable" => cluster.touch(id, |group| group.unreachable(ReplicaId(command.number(1)))),
        // deliver, deliver 3: with every message shown; settle: without
        "deliver" => cluster.deliver(command.values.first().map_or(usize::MAX, |_| id as usize), true),
        "settle" => cluster.deliver(usize::MAX, false),
        "drop" => cluster.network.clear(),
        // tick 1 n=5: time passes for one replica, and no message moves
        "tick" => (0..command.option("n").unwrap_or(1)).for_each(|_| cluster.touch(id, Group::tick)),
        // pass n=20: time passes for all, and messages move
        "pass" => (0..command.option("n").expect("n")).for_each(|_| pass(cluster)),
        "propose" => propose(cluster, id, command.values[1]),
        "forward" => forward(cluster, id, command.option("to").expect("to"), command.values[1]),
        "read" => read(cluster, id),
        "partition" => cluster.cut.extend(command.values.iter().map(|id| parse(id))),
        "heal" => cluster.cut.clear(),
        "crash" => cluster.crash(id),
        // lose 1 index=3: the disk forgets synced entries
        "lose" => cluster.replicas[&id].log.lose_after(command.option("index").expect("index")),
        "restart" => cluster.start(id),
        "transfer" => transfer(cluster, id, command.option("to").expect("to")),
        "truncate" => truncate(cluster, id, command.option("index").expect("index")),
        // change add-learner=4 expected=1; several steps make a joint change
        "change" => change(cluster, &command),
        "status" => status(cluster),
        "state" => state(cluster),
        "log" => log(cluster, id),
        "messages" => messages(cluster),
        "random" => {
            random(cluster, command.option("seed").expect("seed"), command.option("steps").expect("steps"))
        }
        name => panic!("unknown command {name}"),
    }
}

struct Command<'a> {
    name: &'a str,
    values: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Command<'a> {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a command");
        let (options, values): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let options = options.iter().filter_map(|word| word.split_once('=')).collect();
        Command { name, values, options }
    }

    fn number(&self, position: usize) -> u64 {
        self.values.get(position).map_or(0, |value| parse(value))
    }

    fn option(&self, name: &str) -> Option<u64> {
        self.options.iter().find(|(found, _)| *found == name).map(|(_, value)| parse(value))
    }
}

fn parse(number: &str) -> u64 {
    number.parse().expect("a number")
}

fn pass(cluster: &mut Cluster) {
    let ids: Vec<u64> = cluster.replicas.keys().copied().collect();
    for id in ids {
        cluster.touch(id, Group::tick);
    }
    cluster.deliver(usize::MAX, false);
}

fn propose(cluster: &mut Cluster, id: u64, value: &str) {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let group = cluster.replicas.get_mut(&id).and_then(|replica| replica.group.as_mut()).expect("running");
    match group.propose(value) {
        Ok(proposed) => cluster.say(format!("{id} proposes at {}@{}", proposed.index, proposed.term)),
        Err(error) => cluster.say(format!("{id} refuses: {error:?}")),
    }
    cluster.touch(id, |_| ());
}

/// A follower sends a proposal on to its leader, as the library would.
fn forward(cluster: &mut Cluster, from: u64, to: u64, value: &str) {
    let mut message = eraftpb::Message { from, to, ..Default::default() };
    message.set_msg_type(MessageType::MsgPropose);
    let data = Bytes::copy_from_slice(value.as_bytes());
    message.mut_entries().push(eraftpb::Entry { data, ..Default::default() });
    cluster.network.push_back(Message(message));
}

fn read(cluster: &mut Cluster, id: u64) {
    cluster.contexts += 1;
    let context = cluster.contexts;
    cluster.say(format!("{id} asks for read {context}"));
    if let Some(Err(error)) = cluster.act(id, |group| group.read(context)) {
        cluster.say(format!("{id} refuses: {error:?}"));
    }
}

fn transfer(cluster: &mut Cluster, id: u64, to: u64) {
    if let Some(Err(error)) = cluster.act(id, |group| group.transfer_leader(ReplicaId(to))) {
        cluster.say(format!("{id} refuses: {error:?}"));
    }
}

fn truncate(cluster: &mut Cluster, id: u64, index: u64) {
    let replica = cluster.replicas.get_mut(&id).expect("replica");
    let group = replica.group.as_mut().expect("running");
    let start = group.truncation(index);
    if let Some(start) = &start {
        replica.log.truncate(start.clone());
        group.compacted(start);
    }
    cluster.say(
        start.map_or(format!("{id} keeps its log"), |start| format!("{id} truncates up to {}", start.index)),
    );
}

fn change(cluster: &mut Cluster, command: &Command<'_>) {
    let Some(leader) = cluster.leader() else { return cluster.say("there is no leader") };
    let step = |(name, id): &(&str, &str)| {
        let id = ReplicaId(parse(id));
        match *name {
            "add-learner" => Some(MembershipStep::AddLearner(id)),
            "promote" => Some(MembershipStep::Promote(id)),
            "demote" => Some(MembershipStep::Demote(id)),
            "remove" => Some(MembershipStep::Remove(id)),
            _ => None,
        }
    };
    let change = MembershipChange(command.options.iter().filter_map(step).collect());
    let expected = command.option("expected");
    let group =
        cluster.replicas.get_mut(&leader).and_then(|replica| replica.group.as_mut()).expect("running");
    let expected = expected.unwrap_or(group.configuration().index);
    match group.propose_membership(&change, expected) {
        Ok(proposed) => cluster.say(format!("{leader} proposes at {}@{}", proposed.index, proposed.term)),
        Err(error) => cluster.say(format!("{leader} refuses: {error}")),
    }
    cluster.touch(leader, |_| ());
}

fn status(cluster: &mut Cluster) {
    let ids: Vec<u64> = cluster.replicas.keys().copied().collect();
    for id in ids {
        let Some(group) = &cluster.replicas[&id].group else {
            cluster.say(format!("{id} is down"));
            continue;
        };
        let status = group.status();
        let line = format!(
            "{id} {} term={} commit={} applied={} log={}..={} {} since {}",
            format!("{:?}", status.role).to_lowercase(),
            status.term,
            status.commit,
            status.applied,
            status.first_index,
            status.last_index,
            members(&status.configuration),
            status.configuration_index,
        );
        let fresh = if group.has_applied_in_term() { " may serve" } else { "" };
        let peers: Vec<String> = status
            .peers
            .iter()
            .map(|peer| format!("\n    {} {:?} matched={}", peer.replica, peer.state, peer.matched))
            .collect();
        cluster.say(format!("{line}{fresh}{}", peers.concat()));
    }
}

fn state(cluster: &mut Cluster) {
    let lines: Vec<String> = cluster
        .replicas
        .iter()
        .map(|(id, replica)| format!("{id} at {}: {}", replica.state.applied, replica.state.values.join(" ")))
        .collect();
    lines.into_iter().for_each(|line| cluster.say(line));
}

fn log(cluster: &mut Cluster, id: u64) {
    let log = cluster.replicas[&id].log.clone();
    cluster.say(format!("{id} after {}@{}", log.start().index, log.start().term));
    for entry in log.all() {
        let text = String::from_utf8_lossy(&entry.data);
        let text = if entry.kind == crate::EntryKind::Configuration { "membership".into() } else { text };
        cluster.say(format!("    {}@{} {text}", entry.index, entry.term).trim_end());
    }
}

fn messages(cluster: &mut Cluster) {
    let kinds = [MessageKind::Append, MessageKind::Heartbeat, MessageKind::Vote, MessageKind::Snapshot];
    let counts = kinds.map(|kind| format!("{kind:?}={}", cluster.count(kind)));
    cluster.say(counts.join(" "));
}

/// A random life of a cluster of three, in which messages are also lost, doubled and reordered. Prints a hash of
/// everything that happened in it, and whether all replicas agreed in the end.
fn random(cluster: &mut Cluster, seed: u64, steps: u64) {
    let mut life = Cluster { seed, ..Cluster::default() };
    run(&mut life, &format!("cluster nodes=3 seed={seed}"));
    let mut number = seed;
    for step in 0..steps {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (choice, id) = ((number >> 33) % 24, (number >> 50) % 3 + 1);
        random_step(&mut life, choice, id, step);
    }
    run(&mut life, "heal");
    for id in 1..=3 {
        run(&mut life, &format!("crash {id}"));
        run(&mut life, &format!("restart {id}"));
    }
    run(&mut life, "pass n=60");
    let hash = life.output.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let states: Vec<&Vec<String>> = life.replicas.values().map(|replica| &replica.state.values).collect();
    let equal = states.windows(2).all(|pair| pair[0] == pair[1]);
    let (lines, values) = (life.output.lines().count(), states[0].len());
    cluster.say(format!("hash={hash:016x} lines={lines} values={values} equal={equal}"));
}

fn random_step(life: &mut Cluster, choice: u64, id: u64, step: u64) {
    let running = life.replicas[&id].group.is_some();
    match choice {
        0 => run(life, &format!("partition {id}")),
        1 | 2 => run(life, "heal"),
        3 if running => run(life, &format!("crash {id}")),
        4 | 5 if !running => run(life, &format!("restart {id}")),
        6 => drop(life.network.pop_back()),
        7 => life.network.extend(life.network.front().cloned()),
        8 => life.network.rotate_left(life.network.len() / 2),
        9 if running => run(life, &format!("read {id}")),
        10 => life.leader().into_iter().for_each(|id| run(life, &format!("truncate {id} index={step}"))),
        11..=17 => life.leader().into_iter().for_each(|id| run(life, &format!("propose {id} v{step}"))),
        18 => run(life, "deliver 2"),
        _ => run(life, "pass n=3"),
    }
}
