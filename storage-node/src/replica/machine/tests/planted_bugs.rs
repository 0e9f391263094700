//! Each planted fault shows itself where its rule's own test looks. The fault of an applied index outside the
//! transaction needs a power cut to show, which the simulation over a simulated disk has.

use common::Value;
use consensus_runtime::{CommittedKind, Role, RoleChange};

use super::super::PlantedBug;
use super::group::{TestGroup, error, id, write};

#[test]
fn effects_on_another_base_lose_an_update() {
    let mut group = TestGroup::new(2);
    group.submit(0, write("INSERT INTO t VALUES (1, 0)"));
    group.run(0);
    for replica in &mut group.replicas {
        replica.plant(PlantedBug::EffectsOnAnotherBase);
    }
    group.submit(0, write("UPDATE t SET n = n + 1"));
    let first = group.execute(0);
    let rival = RoleChange { term: group.term, role: Role::Leader, leader: Some(id(1)) };
    group.replicas[1].role_changed(rival).unwrap();
    group.submit(1, write("UPDATE t SET n = n + 10"));
    let second = group.execute(1);
    group.replicas[1].role_changed(RoleChange { role: Role::Follower, ..rival }).unwrap();
    group.accept(0, &first);
    group.append(CommittedKind::Normal, second.proposals[0].1.clone());
    group.tell_all();
    assert_eq!(group.read(0, "SELECT n FROM t"), [[Value::Integer(10)]], "the first increment is lost");
}

#[test]
fn an_error_told_at_once_tells_of_a_row_that_may_be_lost() {
    let mut group = TestGroup::new(2);
    group.replicas[0].plant(PlantedBug::ErrorToldFromUncommittedNeighbour);
    group.submit(0, write("INSERT INTO t VALUES (1, 10)"));
    group.submit(0, write("INSERT INTO t VALUES (2, 10)"));
    let answers = group.execute(0).answers;
    assert_eq!(error(&answers[0]).code, common::ErrorCode::UniqueViolation);
    assert_eq!(group.count(0), 0);
}
