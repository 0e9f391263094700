//! Commands about coordinators.

use common::catalog::{Catalog, Coordinator, ReplicaRole};
use common::{Error, ErrorCode, ReplicaId, Result};

use super::placement_changed;
use crate::catalog::{Answer, Command};

/// Most coordinators of a cluster: more voters make every catalog change slower and none of them safer.
const COORDINATORS_MAX: usize = 5;

pub(super) fn found(
    catalog: &mut Catalog,
    cluster: &str,
    replica: ReplicaId,
    host: &str,
    port: u16,
    instance: &str,
) -> Result<Answer> {
    if !catalog.cluster.is_empty() {
        return Err(Error::internal("the cluster has been founded already"));
    }
    cluster.clone_into(&mut catalog.cluster);
    catalog.next_partition = 1;
    catalog.next_number = 1;
    catalog.next_replica = replica.0 + 1;
    catalog.coordinators.insert(replica, coordinator(replica, host, port, instance, ReplicaRole::Voter));
    Ok(Answer::Coordinator(replica))
}

fn coordinator(replica: ReplicaId, host: &str, port: u16, instance: &str, role: ReplicaRole) -> Coordinator {
    Coordinator { replica, host: host.to_owned(), port, instance: instance.to_owned(), role }
}

/// A data directory that asks twice gets the replica that it has: a join whose answer was lost is repeated.
pub(super) fn add(catalog: &mut Catalog, host: &str, port: u16, instance: &str) -> Result<Answer> {
    if let Some(known) = catalog.coordinators.values_mut().find(|known| known.instance == instance) {
        host.clone_into(&mut known.host);
        known.port = port;
        return Ok(Answer::Coordinator(known.replica));
    }
    if let Some(other) = catalog.coordinators.values().find(|other| other.host == host && other.port == port)
    {
        let message = format!("{} is a coordinator of this cluster already", other.address());
        return Err(Error::new(ErrorCode::NodeExists, message)
            .with_hint("remove the coordinator that had this address before"));
    }
    if catalog.coordinators.len() >= COORDINATORS_MAX {
        let message = format!("the cluster has {COORDINATORS_MAX} coordinators already");
        return Err(Error::not_supported(message, "a cluster has one, three or five coordinators"));
    }
    let replica = ReplicaId(catalog.next_replica);
    catalog.next_replica += 1;
    catalog.coordinators.insert(replica, coordinator(replica, host, port, instance, ReplicaRole::Learner));
    Ok(Answer::Coordinator(replica))
}

pub(super) fn set_role(catalog: &mut Catalog, replica: ReplicaId, role: ReplicaRole) -> Result<Answer> {
    if role == ReplicaRole::Lost {
        check_not_the_last(catalog, replica)?;
    }
    known(catalog, replica)?.role = role;
    Ok(Answer::Done)
}

pub(super) fn relocate(catalog: &mut Catalog, replica: ReplicaId, host: &str, port: u16) -> Result<Answer> {
    let coordinator = known(catalog, replica)?;
    host.clone_into(&mut coordinator.host);
    coordinator.port = port;
    placement_changed(catalog);
    Ok(Answer::Done)
}

pub(super) fn remove(catalog: &mut Catalog, replica: ReplicaId) -> Result<Answer> {
    known(catalog, replica)?;
    check_not_the_last(catalog, replica)?;
    catalog.coordinators.remove(&replica);
    Ok(Answer::Done)
}

/// Somebody has to be left who votes.
fn check_not_the_last(catalog: &Catalog, replica: ReplicaId) -> Result<()> {
    let stays = |other: &Coordinator| other.replica != replica && other.role == ReplicaRole::Voter;
    if catalog.coordinators.values().any(stays) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::NodeInUse, "the only coordinator of a cluster cannot leave it")
        .with_hint("have another one join first: polylite coordinator --join URL"))
}

/// What is entered while the cluster is being left would be lost with it.
pub(super) fn check_not_leaving(catalog: &Catalog, command: &Command) -> Result<()> {
    if catalog.leaving && !matches!(command, Command::LeaveCluster | Command::StayInCluster) {
        return Err(Error::new(ErrorCode::Unavailable, "this coordinator is joining another cluster"));
    }
    Ok(())
}

pub(super) fn leave(catalog: &mut Catalog) -> Result<Answer> {
    let held = [
        (!catalog.databases.is_empty(), "databases"),
        (!catalog.nodes.is_empty(), "storage nodes"),
        (catalog.coordinators.len() > 1, "other coordinators"),
    ];
    if let Some((_, what)) = held.into_iter().find(|(holds, _)| *holds) {
        let message = format!("this coordinator belongs to a cluster in use: it has {what}");
        let hint = "only a coordinator that is alone, without databases and storage nodes, can join another \
                    cluster; start a new one with an empty --data-dir and --join";
        return Err(Error::not_supported(message, hint));
    }
    catalog.leaving = true;
    Ok(Answer::Done)
}

pub(super) fn stay(catalog: &mut Catalog) -> Result<Answer> {
    catalog.leaving = false;
    Ok(Answer::Done)
}

fn known(catalog: &mut Catalog, replica: ReplicaId) -> Result<&mut Coordinator> {
    catalog
        .coordinators
        .get_mut(&replica)
        .ok_or_else(|| Error::new(ErrorCode::NodeNotFound, format!("Coordinator {replica} not found")))
}
