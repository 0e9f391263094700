//! What a worker tells of its machine, as others see it at any moment.

use common::dependency::Dependency;

use super::super::super::published::Published;
use super::group::{TestGroup, write, written};

const WRITES: u64 = 3_000;

#[test]
fn a_change_is_told_no_later_than_the_index_that_it_has() {
    let published = Published::new();
    let mut group = TestGroup::new(1);
    let mut write_and_publish = |sql: &str| {
        group.submit(0, write(sql));
        let index = written(&group.run(0)[0]).index;
        published.update(&group.replicas[0]);
        index
    };
    let on_table = [Dependency::on_table("t")];
    let first = write_and_publish("INSERT INTO t VALUES (1, 1)");
    std::thread::scope(|scope| {
        let writer =
            scope.spawn(move || (0..WRITES).map(|_| write_and_publish("UPDATE t SET n = n + 1")).last());
        while !writer.is_finished() {
            let last = published.last_change(&on_table);
            // Every entry changes the table.
            assert_eq!((last.at, last.base), (last.index, last.index));
        }
        assert_eq!(writer.join().expect("it writes"), Some(first + WRITES));
    });
}
