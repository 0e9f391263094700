//! Many seeds on all cores at once, and seeds that find a planted bug.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::simulated_cluster::Violation;

/// Runs every seed and adds up what was reached. Panics with the seed of a violation.
pub fn run_all<R: Default + Send>(
    seeds: &[u64],
    run: impl Fn(u64) -> Result<R, Violation> + Sync,
    add: impl Fn(&mut R, &R) + Sync,
) -> R {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut total = R::default();
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run(seed) {
                Ok(report) => add(&mut total, &report),
                Err(violation) => panic!("seed {seed}: {violation}"),
            }
        }
        total
    };
    let mut total = R::default();
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(report) => add(&mut total, &report),
                Err(panic) => resume_unwind(panic),
            }
        }
    });
    total
}

/// Tries seeds until one of them finds a planted bug, says which and how long it took (`cargo xtask planted` gathers that),
/// and answers how it was noticed. Panics if none does.
pub fn find_planted(what: &str, seeds: u64, mut violation: impl FnMut(u64) -> Option<String>) -> String {
    let begun = Instant::now();
    let found = (0..seeds).find_map(|seed| Some((seed, violation(seed)?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{what} was not found in {seeds} seeds"));
    let first_line = violation.lines().next().unwrap_or_default();
    println!("planted: {what}: seed {seed}, after {:.1} s: {first_line}", begun.elapsed().as_secs_f64());
    violation
}
