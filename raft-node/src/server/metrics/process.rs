//! What the operating system says about this process. Read when somebody asks, never on the path of a request.

use std::fs;

/// CPU time, memory and files of the process. What the system does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessUsage {
    /// User and system time since the start, in seconds.
    pub(super) cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub(super) resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub(super) open_files: Option<u64>,
}

impl ProcessUsage {
    /// Reads `/proc/self`; everything is absent on systems that have none.
    pub(super) fn read() -> ProcessUsage {
        ProcessUsage {
            cpu_seconds: fs::read_to_string("/proc/self/stat")
                .ok()
                .and_then(|stat| cpu_seconds(&stat)),
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| resident_bytes(&status)),
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| entries.count() as u64),
        }
    }
}

/// Fields 14 and 15 of `stat`, in clock ticks. The second field is the program's name in parentheses and may itself
/// hold spaces and parentheses, so the fields are counted from the last one that closes.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The line `VmRSS:  123 kB` of `status`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_program_names_do_not_confuse_the_fields() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 {ticks} {ticks} 0 0");
        assert_eq!(cpu_seconds(&stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    8 kB\n"), Some(8192));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        let usage = ProcessUsage::read();
        assert!(usage.resident_bytes > Some(0));
        assert!(usage.cpu_seconds.is_some());
        assert!(usage.open_files > Some(0));
    }
}
