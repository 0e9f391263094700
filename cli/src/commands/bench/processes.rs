//! What processes use of the machine, as Linux tells under `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// What the kernel counts processor time in. Linux shows it to programs in hundredths of a second everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that some processes use together over a while, in percent of one core.
pub async fn processor_percent(pids: &[u32], time: Duration) -> Result<f64, Failure> {
    let (before, started) = (total_ticks(pids)?, Instant::now());
    tokio::time::sleep(time).await;
    let ticks = total_ticks(pids)? - before;
    Ok(100.0 * ticks / TICKS_PER_SECOND / started.elapsed().as_secs_f64())
}

/// Memory of the largest of some processes (its resident set), in MiB.
pub fn largest_memory(pids: &[u32]) -> Result<f64, Failure> {
    let sizes = pids.iter().map(|pid| memory(*pid)).collect::<Result<Vec<_>, _>>()?;
    Ok(sizes.into_iter().fold(0.0, f64::max))
}

fn total_ticks(pids: &[u32]) -> Result<f64, Failure> {
    let ticks = pids.iter().map(|pid| ticks(*pid)).collect::<Result<Vec<_>, _>>()?;
    Ok(ticks.into_iter().sum())
}

fn ticks(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks_in(&text).ok_or_else(|| Failure::refused(format!("/proc/{pid}/stat cannot be read")))
}

/// Fields 14 and 15: time in user mode and in the kernel. Field 2, the name in parentheses, may hold spaces.
fn ticks_in(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn memory(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<f64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.map(|kib| kib / 1024.0).ok_or_else(|| Failure::refused(format!("/proc/{pid}/status cannot be read")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 9 0 100 1 1";
        assert_eq!(ticks_in(stat), Some(12.0));
        assert_eq!(ticks_in("12 (a) S 1"), None);
    }

    #[tokio::test]
    async fn this_process_uses_memory_and_time() {
        let own = [std::process::id()];
        assert!(largest_memory(&own).unwrap() > 0.1);
        assert!(processor_percent(&own, Duration::from_millis(1)).await.unwrap() >= 0.0);
    }
}
