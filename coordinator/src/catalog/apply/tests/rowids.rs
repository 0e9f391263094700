//! Rowids over partitions.

use super::*;

pub(super) fn allocate(count: u64, greatest: Option<i64>) -> Command {
    Command::AllocateRowids { database: "d".into(), table: "t".into(), count, greatest }
}

fn first(catalog: &mut Catalog, count: u64, greatest: Option<i64>) -> i64 {
    let Answer::Rowids { first } = run(catalog, &allocate(count, greatest)) else { panic!("no rowids") };
    first
}

fn set_by_client() -> Command {
    Command::RowidsSetByClient { database: "d".into(), table: "T".into() }
}

#[test]
fn rowids_follow_each_other() {
    let mut catalog = with_table();
    assert_eq!([first(&mut catalog, 1, None), first(&mut catalog, 3, None)], [1, 2]);
    assert_eq!(first(&mut catalog, 1, None), 5);
}

#[test]
fn unused_ones_go_back_if_nobody_was_served_since() {
    let mut catalog = with_table();
    let release = |first: i64, count: u64| Command::ReleaseRowids {
        database: "d".into(),
        table: "t".into(),
        first,
        count,
    };
    assert_eq!(first(&mut catalog, 10, None), 1);
    run(&mut catalog, &release(4, 7));
    assert_eq!(first(&mut catalog, 1, None), 4);
    run(&mut catalog, &release(2, 2));
    assert_eq!(first(&mut catalog, 1, None), 5, "the gap stays");
}

#[test]
fn rowids_set_by_a_client_are_looked_up_once() {
    let mut catalog = with_table();
    run(&mut catalog, &set_by_client());
    assert_eq!(run(&mut catalog, &allocate(1, None)), Answer::NeedsGreatest);
    assert_eq!(run(&mut catalog, &allocate(1, None)), Answer::NeedsGreatest);
    assert_eq!(first(&mut catalog, 2, Some(100)), 101);
    assert_eq!(first(&mut catalog, 1, None), 103);
    run(&mut catalog, &set_by_client());
    assert_eq!(first(&mut catalog, 1, Some(7)), 104, "what was handed out is never handed out again");
    run(&mut catalog, &set_by_client());
    assert_eq!(first(&mut catalog, 1, Some(i64::MIN)), 105);
}

#[test]
fn negative_rowids_are_followed_until_a_positive_one_was_handed_out() {
    let mut catalog = with_table();
    run(&mut catalog, &set_by_client());
    assert_eq!(first(&mut catalog, 1, Some(-7)), -6);
    assert_eq!(first(&mut catalog, 7, None), -5);
    run(&mut catalog, &set_by_client());
    assert_eq!(first(&mut catalog, 1, Some(-3)), 2);
}

#[test]
fn the_last_rowid_is_the_last() {
    let mut catalog = with_table();
    for command in [allocate(1, Some(i64::MAX)), allocate(u64::MAX, None), allocate(2, Some(i64::MAX - 2))] {
        let error = refused(&mut catalog, &command);
        assert_eq!((error.code, error.sqlite_code), (ErrorCode::SqlError, Some(13)), "{command:?}");
    }
}

#[test]
fn unknown_tables_and_databases_are_named() {
    let mut catalog = with_table();
    let command = |database: &str, table: &str| Command::RowidsSetByClient {
        database: database.into(),
        table: table.into(),
    };
    assert_eq!(refused(&mut catalog, &command("d", "u")).message, "Table 'u' not found");
    assert_eq!(refused(&mut catalog, &command("e", "t")).message, "Database 'e' not found");
}
