use std::path::Path;

use super::SimulatedDisk;

const FILE: &str = "file";

fn disk(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    disk.create(Path::new(FILE)).unwrap();
    disk
}

fn contents(disk: &SimulatedDisk) -> Option<Vec<u8>> {
    let size = disk.size(Path::new(FILE)).ok()?;
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    disk.read_at(Path::new(FILE), 0, &mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    for seed in 0..200 {
        let disk = disk(seed);
        disk.write_at(Path::new(FILE), 0, &[1; 3_000]).unwrap();
        disk.sync(Path::new(FILE)).unwrap();
        disk.write_at(Path::new(FILE), 3_000, &[2; 3_000]).unwrap();
        disk.crash();
        let found = contents(&disk).expect("its name was synced too");
        // The sector that both writes share is written again whole, so it too keeps the synced bytes.
        assert_eq!(found[..3_000], [1; 3_000], "seed {seed}");
    }
}

#[test]
fn what_was_not_synced_is_sometimes_lost_sometimes_kept_and_sometimes_torn() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..200 {
        let disk = disk(seed);
        disk.sync(Path::new(FILE)).unwrap();
        disk.write_at(Path::new(FILE), 0, &[7; 4_096]).unwrap();
        disk.crash();
        match contents(&disk).unwrap() {
            found if found == [7; 4_096] => kept += 1,
            found if found.iter().all(|byte| *byte == 0) => lost += 1,
            _ => torn += 1,
        }
    }
    assert!(lost > 10 && kept > 10 && torn > 10, "{lost} lost, {kept} kept, {torn} torn");
}

#[test]
fn names_are_undone_from_the_last_one_backwards() {
    let mut kept = [0; 3];
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        disk.create(Path::new("a")).unwrap();
        disk.create(Path::new("b")).unwrap();
        disk.crash();
        let names = disk.list();
        assert!(names.len() != 1 || names[0] == Path::new("a"));
        kept[names.len()] += 1;
    }
    assert!(kept.iter().all(|count| *count > 5), "{kept:?}");
}

#[test]
fn the_same_seed_forgets_the_same() {
    let run = || {
        let disk = disk(42);
        disk.sync(Path::new(FILE)).unwrap();
        disk.write_at(Path::new(FILE), 100, &[3; 9_000]).unwrap();
        disk.crash();
        contents(&disk)
    };
    assert_eq!(run(), run());
}

fn open(disk: &SimulatedDisk) -> rusqlite::Connection {
    use rusqlite::OpenFlags;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    disk.location(Path::new("test.db")).open(flags).unwrap()
}

fn count(connection: &rusqlite::Connection) -> i64 {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn fully_synced_commits_survive_power_cuts_and_handles_from_before_are_dead() {
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let connection = open(&disk);
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)")
            .unwrap();
        let other = open(&disk);
        for row in 0..i64::try_from(seed % 20).unwrap() {
            connection.execute("INSERT INTO t VALUES (?)", [row]).unwrap();
            assert_eq!(count(&other), row + 1, "connections share one write-ahead log");
        }
        disk.crash();
        assert!(connection.execute("INSERT INTO t VALUES (0)", []).is_err());
        drop((connection, other));
        let recovered = open(&disk);
        assert_eq!(count(&recovered), i64::try_from(seed % 20).unwrap(), "seed {seed}");
        let sound: String = recovered.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(sound, "ok");
    }
}

#[test]
fn commits_that_are_not_synced_lose_a_suffix_and_nothing_else() {
    let mut lost = 0;
    for seed in 0..60 {
        let disk = SimulatedDisk::new(seed);
        let connection = open(&disk);
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE t (x INTEGER PRIMARY KEY);
                 PRAGMA wal_checkpoint(FULL)",
            )
            .unwrap();
        for row in 1..=20 {
            connection.execute("INSERT INTO t VALUES (?)", [row]).unwrap();
        }
        disk.crash();
        drop(connection);
        let recovered = open(&disk);
        let (rows, last): (i64, i64) = recovered
            .query_row("SELECT count(*), ifnull(max(x), 0) FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(rows, last, "seed {seed}: a hole among the commits");
        lost += 20 - rows;
    }
    assert!(lost > 0, "the disk never forgot anything");
}

#[test]
fn nothing_that_is_done_after_the_power_went_survives() {
    for seed in 0..100 {
        let disk = disk(seed);
        disk.write_at(Path::new(FILE), 0, &[1; 600]).unwrap();
        disk.sync(Path::new(FILE)).unwrap();
        disk.lose_power_after(0);
        disk.write_at(Path::new(FILE), 0, &[2; 600]).unwrap();
        disk.sync(Path::new(FILE)).unwrap();
        disk.delete(Path::new(FILE)).unwrap();
        assert!(disk.has_lost_power());
        disk.crash();
        assert!(!disk.has_lost_power());
        assert_eq!(contents(&disk), Some(vec![1; 600]), "seed {seed}");
    }
}

#[test]
fn reads_and_writes_fail_as_often_as_they_are_told_to() {
    let disk = disk(1);
    disk.fail_writes(1);
    disk.fail_reads(1);
    disk.write_at(Path::new(FILE), 0, &[1]).unwrap_err();
    disk.write_at(Path::new(FILE), 0, &[1]).unwrap();
    disk.read_at(Path::new(FILE), 0, &mut [0]).unwrap_err();
    assert_eq!(contents(&disk), Some(vec![1]));
    assert_eq!(disk.faults_met(), 2);
}
