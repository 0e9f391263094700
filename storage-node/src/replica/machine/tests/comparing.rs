//! Digests at equal index.

use super::super::Job;
use super::group::{TestGroup, request, schema, write};

#[test]
fn all_replicas_have_the_leaders_digest_at_the_same_index() {
    let mut group = TestGroup::new(3);
    group.submit(0, write("INSERT INTO t VALUES (1, 1), (2, NULL), (3, 3)"));
    group.run(0);
    group.submit(0, schema(2, &["ALTER TABLE t ADD COLUMN x DEFAULT 7"]));
    group.run(0);
    let mut update = request(&["UPDATE t SET n = n + 10 WHERE id > 1", "DELETE FROM t WHERE id = 1"]);
    update.target.schema_version = 2;
    group.submit(0, Job::Write(update));
    group.run(0);
    // A replica that starts anew takes its sums from its file.
    group.restart(2);
    let base = group.replicas[0].state().position.base;
    group.submit(0, Job::Compare);
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.tell_all();
    let index = group.log.len() as u64;
    for replica in &mut group.replicas {
        let compared = replica.drain().compared;
        assert_eq!(compared.len(), 1);
        assert_eq!((compared[0].index, compared[0].own), (index, compared[0].leaders));
        assert_eq!(replica.state().position.base, base, "nothing is computed on a comparison");
    }
    group.assert_equal();
}

#[test]
fn the_file_says_how_far_it_goes_also_after_what_changes_no_rows() {
    let mut group = TestGroup::new(3);
    group.submit(0, write("INSERT INTO t VALUES (1, 1)"));
    group.run(0);
    group.submit(0, Job::Compare);
    let outbox = group.execute(0);
    group.accept(0, &outbox);
    group.tell_all();
    group.elect(1);
    let index = group.log.len() as u64;
    for replica in &group.replicas {
        assert_eq!(replica.written(), index, "whoever fetches a copy now need not wait for the next write");
    }
}
