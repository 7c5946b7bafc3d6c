//! What the system counts for a process: memory and processor time.

use std::fs;

use anyhow::Context;

/// Resident memory of a process in bytes; none if it is gone.
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    resident_of(&status)
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Seconds of processor time that a process has used, all its threads, in both modes. The system counts
/// in hundredths.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    ticks_of(&stat).map(|ticks| ticks as f64 / 100.0).with_context(|| format!("{path} is not as expected"))
}

/// The program's name stands in brackets and may hold spaces and brackets itself; what follows the last
/// one is numbers.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_lines_are_read() {
        assert_eq!(resident_of("VmHWM:\t  9 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 31 11 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks_of(stat), Some(42));
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let this = std::process::id();
        assert!(resident(this).expect("a running process") > 1 << 20);
        assert!(cpu_seconds(this).expect("a running process") >= 0.0);
        assert_eq!(resident(u32::MAX), None);
    }
}
