//! What a large sort takes of memory. In a binary of its own, because the memory of a process is measured.

use common::protocol::{Params, Statement};
use common::row::{RowBlock, RowBlockBuilder, ValueRef};
use sqlite::{Budget, Flow, Gathered, MergeDatabase, Shadow, Workspace, WorkspaceLimits};

/// Bytes of text in each row.
const TEXT: usize = 500;

/// The greatest memory that this process has had, in bytes.
fn greatest_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn megabytes(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// `POLYLITE_SORT_MB=1024 POLYLITE_SORT_MEMORY_MB=64` sorts a gigabyte.
#[test]
fn a_sort_many_times_the_memory_stays_within_it() {
    let rows = megabytes("POLYLITE_SORT_MB", 100) * (1 << 20) / TEXT as u64;
    let memory = usize::try_from(megabytes("POLYLITE_SORT_MEMORY_MB", 8)).unwrap() << 20;
    let workspace = Workspace::new(WorkspaceLimits { memory, ..WorkspaceLimits::default() });
    let shadow = Shadow::new(["CREATE TABLE t (n INTEGER, filler TEXT)"]).unwrap();
    let table = shadow.schema().table("t").unwrap();
    let mut merge = MergeDatabase::new(&workspace).unwrap();
    merge.create_stream(&Gathered { table, rowid: true, columns: &[0, 1] }, Some(rows)).unwrap();
    let sql = "SELECT n, filler FROM t ORDER BY n";
    assert_eq!(merge.scanned_once(sql, false).unwrap(), ["t"]);
    let filler = "f".repeat(TEXT);
    let mut next = 0;
    let source = move || -> common::Result<Option<RowBlock>> {
        let mut block = RowBlockBuilder::new(3);
        while next < rows && block.len() < 64 << 10 {
            // An order that has nothing to do with the number's.
            let shuffled = i64::try_from(next.wrapping_mul(2_654_435_761) % rows).unwrap();
            let rowid = i64::try_from(next).unwrap();
            block.push([ValueRef::Integer(rowid), ValueRef::Integer(shuffled), ValueRef::Text(&filler)]);
            next += 1;
        }
        Ok((!block.is_empty()).then(|| block.finish()))
    };
    merge.feed("t", Box::new(source)).unwrap();

    let before = greatest_memory();
    let (mut count, mut last) = (0, i64::MIN);
    let statement = Statement { sql: sql.to_owned(), params: Params::None };
    merge
        .stream(
            &statement,
            &Budget::unlimited(),
            |_, _| Flow::Continue,
            |block| {
                block
                    .for_each::<common::row::MalformedRow>(|row| {
                        let ValueRef::Integer(number) = row[0] else { panic!("no number: {row:?}") };
                        assert!(number >= last, "{number} comes after {last}");
                        (count, last) = (count + 1, number);
                        Ok(())
                    })
                    .unwrap();
                Flow::Continue
            },
        )
        .unwrap();
    assert_eq!(count, rows);
    let grown = greatest_memory() - before;
    let written = workspace.used().written;
    println!("{rows} rows: memory grew by {} MiB, {} MiB were spilled", grown >> 20, written >> 20);
    assert!(grown < 2 * memory as u64 + (16 << 20), "memory grew by {grown} bytes");
    assert!(written > rows * TEXT as u64 / 2, "{written} bytes were spilled");
}
