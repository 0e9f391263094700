use super::*;

const NOBODY: [u64; 0] = [];

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn holder(process: u64) -> LeaseHolder {
    LeaseHolder { process, address: format!("coordinator-{process}:5000") }
}

/// A leader that has waited out its predecessor's leases, with nothing under way.
fn leader() -> Grants {
    let mut grants = Grants::default();
    grants.begin_leading(ms(0));
    grants.update(true, false);
    grants
}

fn called(gate: Gate) -> Vec<u64> {
    match gate {
        Gate::Open => panic!("the gate is open"),
        Gate::Shut(recalls) => recalls.into_iter().map(|recall| recall.holder.process).collect(),
    }
}

#[test]
fn a_write_waits_until_every_holder_has_given_back() {
    let mut grants = leader();
    let first = grants.grant(&holder(1), 5, ms(1_000)).unwrap();
    let second = grants.grant(&holder(2), 5, ms(1_000)).unwrap();
    assert!(grants.stands(1, first));
    assert_eq!(called(grants.begin_write(5, ms(1_001))), [1, 2]);
    assert!(!grants.stands(1, first), "it may not be told any more");
    assert_eq!(called(grants.begin_write(5, ms(1_002))), NOBODY, "nobody is asked twice");
    grants.given_back(1, first);
    assert_ne!(grants.begin_write(5, ms(1_003)), Gate::Open);
    grants.given_back(2, second);
    assert_eq!(grants.begin_write(5, ms(1_004)), Gate::Open);
    assert_eq!(grants.grant(&holder(1), 5, ms(9_000)), None, "the batch is under way");
    grants.update(true, false);
    assert!(grants.grant(&holder(1), 6, ms(9_000)).is_some());
}

#[test]
fn a_holder_that_does_not_answer_is_waited_for_and_shunned() {
    let mut grants = leader();
    grants.grant(&holder(1), 5, ms(1_000)).unwrap();
    assert_eq!(called(grants.begin_write(5, ms(1_100))), [1]);
    assert_eq!(called(grants.begin_write(5, ms(1_000) + LEASE_KEPT - ms(1))), NOBODY);
    assert_eq!(grants.begin_write(5, ms(1_000) + LEASE_KEPT), Gate::Open);
    grants.update(true, false);
    assert_eq!(grants.grant(&holder(1), 6, ms(8_000)), None);
    assert!(grants.grant(&holder(2), 6, ms(8_000)).is_some());
    // Only the next write looks at who is still shunned, and a grant looks at the time.
    assert!(grants.grant(&holder(1), 6, ms(13_000)).is_some());
}

#[test]
fn a_word_about_an_earlier_lease_does_not_end_a_later_one() {
    let mut grants = leader();
    let first = grants.grant(&holder(1), 5, ms(1_000)).unwrap();
    let second = grants.grant(&holder(1), 5, ms(1_200)).unwrap();
    assert!(!grants.stands(1, first) && grants.stands(1, second));
    assert_eq!(called(grants.begin_write(5, ms(1_300))), [1]);
    grants.given_back(1, first);
    assert_ne!(grants.begin_write(5, ms(1_301)), Gate::Open);
    assert_eq!(grants.begin_write(5, ms(1_200) + LEASE_KEPT), Gate::Open, "the later one is over");
}

#[test]
fn a_new_leader_waits_unless_the_partition_never_had_any_state() {
    let mut grants = leader();
    grants.begin_leading(ms(1_000));
    assert_eq!(called(grants.begin_write(5, ms(1_001))), NOBODY);
    assert_ne!(grants.begin_write(5, ms(1_000) + LEASE_KEPT - ms(1)), Gate::Open);
    assert_eq!(grants.begin_write(5, ms(1_000) + LEASE_KEPT), Gate::Open);

    grants.begin_leading(ms(3_000));
    assert_eq!(grants.begin_write(0, ms(3_001)), Gate::Open);
    grants.update(true, false);
    assert_eq!(grants.begin_write(1, ms(3_002)), Gate::Open, "nor does what follows");
}

#[test]
fn nothing_is_granted_without_settled_leadership_or_state() {
    let mut grants = Grants::default();
    grants.update(true, false);
    assert_eq!(grants.grant(&holder(1), 5, ms(1_000)), None, "it does not lead");
    grants.begin_leading(ms(1_000));
    assert_eq!(grants.grant(&holder(1), 0, ms(1_000)), None, "there is no state");
    grants.update(false, false);
    assert_eq!(grants.grant(&holder(1), 5, ms(1_000)), None, "something is prepared");
    grants.update(true, false);
    let number = grants.grant(&holder(1), 5, ms(1_000)).unwrap();
    grants.end_leading();
    assert_eq!(grants.grant(&holder(2), 5, ms(1_000)), None, "it leads no more");
    assert!(grants.stands(1, number), "what was granted still binds it");
}

#[test]
fn a_partition_that_is_written_often_is_not_leased() {
    let mut grants = leader();
    let mut now = ms(1_000);
    for _ in 0..10 {
        assert_eq!(grants.begin_write(5, now), Gate::Open);
        grants.update(true, false);
        now += QUIET / 2;
        assert_eq!(grants.grant(&holder(1), 5, now), None);
    }
    assert!(grants.grant(&holder(1), 5, now + QUIET / 2).is_some());
}
