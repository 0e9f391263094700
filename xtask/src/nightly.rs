//! `nightly` goes on for hours where `verify` stops after seconds.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::cargo::Call;
use crate::test;

/// What is set for a round. Seeds that a variable does not give are drawn, and
/// printed where something is found.
const ROUND: [(&str, &str); 11] = [
    ("SIMULATION_SECONDS", "900"),
    ("POLYLITE_POWER_CUTS", "200000"),
    ("SIMULATION_PLACEMENT", "400"),
    ("SIMULATION_TRANSACTIONS", "60"),
    ("SIMULATION_LEASES", "1000"),
    ("SIMULATION_MOMENTS", "200"),
    ("POLYLITE_FAULTS_SECONDS", "120"),
    ("POLYLITE_FAULTS_STRIKES", "40"),
    ("POLYLITE_STATEMENTS", "10000"),
    ("POLYLITE_SEED", "fresh"),
    ("POLYLITE_DOCUMENT_OPERATIONS", "50000"),
];

const HOURS: f64 = 8.0;

/// Rounds until the time is over, at least one. The first that finds something ends it.
pub fn run(root: &Path, hours: Option<&str>) -> Result<(), String> {
    let hours =
        hours.map_or(Ok(HOURS), |text| text.parse::<f64>().map_err(|error| format!("{text}: {error}")))?;
    let time = Duration::try_from_secs_f64(hours * 3_600.0).map_err(|error| error.to_string())?;
    let binary = test::build_binary(root)?;
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || begun.elapsed() < time {
        let tests = "nextest run --profile nightly --workspace --all-targets --no-fail-fast --success-output immediate";
        let random = "test(/^simul/)|test(/^faults_/)|test(/^moments/)|test(/random/)|test(/^healing/)";
        let call = Call::new(root, &format!("{tests} -E {random}"));
        let call = call.env("POLYLITE_BINARY", &binary.to_string_lossy());
        ROUND.iter().fold(call, |call, (name, value)| call.env(name, value)).run()?;
        rounds += 1;
        println!("{rounds} rounds in {:.1} hours", begun.elapsed().as_secs_f64() / 3_600.0);
    }
    Ok(())
}
