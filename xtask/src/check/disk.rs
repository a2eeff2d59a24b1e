//! How long the disk itself takes, measured beside the cluster.
//!
//! A write is acknowledged after it is on the disk. When something else on the machine (a build that has just ended)
//! keeps the disk busy for seconds, no cluster can be faster; this tells the two apart.

use crate::failure::{Doing, Failure, Outcome};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The pause between two writes: short against what matters, and no load to speak of.
const PAUSE: Duration = Duration::from_millis(100);

/// Writes and syncs a little, again and again, until it is finished.
pub(super) struct DiskProbe {
    /// Closing it ends the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Outcome<Duration>>,
}

impl DiskProbe {
    /// Begins to measure the disk under `folder`.
    pub(super) fn start(folder: &Path) -> Outcome<DiskProbe> {
        let path = folder.join("disk-probe");
        let mut file = File::create(&path).doing(format_args!("make {}", path.display()))?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            loop {
                let started = Instant::now();
                file.write_all(&[1; 4096])
                    .and_then(|()| file.sync_data())
                    .doing("measure the disk")?;
                longest = longest.max(started.elapsed());
                if stopped.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
                    return Ok(longest);
                }
            }
        });
        Ok(DiskProbe { stop, thread })
    }

    /// Ends it; the longest time one write took.
    pub(super) fn finish(self) -> Outcome<Duration> {
        drop(self.stop);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Failure::work("the thread that measures the disk panicked")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_takes_some_time() {
        let folder = std::env::temp_dir().join(format!("xtask-disk-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let longest = DiskProbe::start(&folder).unwrap().finish().unwrap();
        assert!(longest > Duration::ZERO);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(DiskProbe::start(&folder).is_err());
    }
}
