//! Many seeds on all cores at once.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
