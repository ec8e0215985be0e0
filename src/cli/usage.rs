//! What the process has used: processor time and memory. The operating system is asked here and nowhere else.

use std::time::Duration;

/// What the process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Of all threads, in user and system mode.
    pub(crate) processor: Duration,
    /// The highest resident size.
    pub(crate) peak_memory_bytes: u64,
}

impl Usage {
    /// Now.
    pub(crate) fn now() -> Usage {
        Usage { processor: processor_time(), peak_memory_bytes: peak_memory_bytes() }
    }
}

/// Processor time of all threads of this process so far, in user and system mode.
#[expect(unsafe_code, reason = "getrusage has no safe form in std")]
pub(crate) fn processor_time() -> Duration {
    // SAFETY: the struct is plain numbers, for which zeros are valid; the call writes into it and keeps no pointer.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(t: libc::timeval) -> Duration {
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
}

/// Starts a new measurement of the peak; where the system cannot (other than Linux), the peak is that since the start.
pub(crate) fn reset_peak_memory() {
    // 5 = forget the highest resident size; refused without harm where it is not known.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// The highest resident memory in bytes since the last reset; 0 where the system does not say.
pub(crate) fn peak_memory_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| peak_of(&status))
}

fn peak_of(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|n| n.trim().parse::<u64>().ok());
    kib.map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status() {
        assert_eq!(peak_of("VmPeak:\t  99 kB\nVmHWM:\t  1024 kB\n"), 1 << 20);
        assert_eq!(peak_of("VmHWM: many\n"), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_takes_time_and_memory() {
        let before = processor_time();
        let mut held = vec![1u8; 64 << 20];
        while processor_time() == before {
            held.iter_mut().for_each(|b| *b = b.wrapping_mul(3));
        }
        assert!(peak_memory_bytes() > 64 << 20, "{} bytes", peak_memory_bytes());
    }
}
