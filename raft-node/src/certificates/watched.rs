//! Certificates that are read again when their files change, without a restart.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::expiry::Expiry;
use super::figures::{CertificateFigures, Reload};
use super::fingerprint::Fingerprint;

/// Why new files are not taken.
pub type ReloadError = Box<dyn Error + Send + Sync>;

/// The files that one port authenticates by.
///
/// Certificate and key are two files, and whoever replaces them replaces one first. Files that do not fit are therefore read
/// again until they do, the former ones stay in use meanwhile, and it is a failure only if it is the same the next time.
pub struct WatchedCertificates {
    /// What they are for, in log lines.
    what: &'static str,
    /// The files with certificates, which expire.
    certificates: Vec<PathBuf>,
    /// Their key.
    key: PathBuf,
    taken: Fingerprint,
    trouble: Option<Trouble>,
}

/// Why the files that are there now are not in use.
#[derive(Debug, PartialEq, Eq)]
struct Trouble {
    reason: String,
    is_told: bool,
}

impl WatchedCertificates {
    /// The files as they are now: make this before they are read, so that no change in between is missed.
    #[must_use]
    pub fn new(what: &'static str, certificates: Vec<PathBuf>, key: PathBuf) -> WatchedCertificates {
        let taken = Fingerprint::of(files(&certificates, &key));
        WatchedCertificates {
            what,
            certificates,
            key,
            taken,
            trouble: None,
        }
    }

    /// Tells `figures` when they expire. They were read and are in use.
    pub fn note_expiries(&self, figures: &CertificateFigures) {
        let mut expiries = Vec::new();
        for file in &self.certificates {
            match Expiry::read(file) {
                Ok(expiry) => expiries.push(expiry),
                // TLS takes some certificates that this program cannot describe.
                Err(error) => tracing::warn!("it is not known when certificates expire: {error}"),
            }
        }
        figures.note_expiries(expiries);
    }

    /// Reads the files again, with `reload`, if they changed or did not fit the last time. `asked` by somebody who waits for an
    /// answer: then it says so if nothing changed, and a failure is one at once.
    pub fn check(
        &mut self,
        asked: bool,
        figures: &CertificateFigures,
        reload: &(dyn Fn() -> Result<(), ReloadError> + Send + Sync),
    ) {
        let changed = self.taken.changed(files(&self.certificates, &self.key));
        if changed.is_none() && self.trouble.is_none() {
            if asked {
                tracing::info!("{}: nothing changed in {}", self.what, self.list());
                figures.count(Reload::Unchanged);
            }
            return;
        }
        match reload() {
            Ok(()) => {
                if let Some(changed) = changed {
                    self.taken = changed;
                }
                self.trouble = None;
                self.note_expiries(figures);
                figures.count(Reload::Ok);
                tracing::info!(
                    "{}: {} were read again; new connections use them",
                    self.what,
                    self.list()
                );
            }
            Err(error) => self.fail(error.to_string(), asked, figures),
        }
    }

    fn fail(&mut self, reason: String, asked: bool, figures: &CertificateFigures) {
        let known = self.trouble.take().filter(|trouble| trouble.reason == reason);
        let is_told = known.as_ref().is_some_and(|trouble| trouble.is_told);
        let tell = asked || (known.is_some() && !is_told);
        if tell {
            tracing::warn!(
                "{}: new files are not taken: {reason}. The former ones stay in use, and it is tried again every few seconds",
                self.what
            );
            figures.count(Reload::Failed);
        }
        self.trouble = Some(Trouble {
            reason,
            is_told: is_told || tell,
        });
    }

    fn list(&self) -> String {
        let names: Vec<String> = files(&self.certificates, &self.key)
            .map(|file| file.display().to_string())
            .collect();
        names.join(", ")
    }
}

fn files<'a>(certificates: &'a [PathBuf], key: &'a Path) -> impl Iterator<Item = &'a Path> {
    certificates.iter().map(PathBuf::as_path).chain([key])
}

/// Reads the files of one port again.
pub type ReloadFn = Arc<dyn Fn() -> Result<(), ReloadError> + Send + Sync>;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn counts(figures: &CertificateFigures) -> Vec<u64> {
        figures.reloads().map(|(_, count)| count).collect()
    }

    #[test]
    fn a_change_is_taken_and_a_half_replaced_pair_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("key"), "1").unwrap();
        fs::write(path("cert"), "1").unwrap();
        let figures = CertificateFigures::default();
        let reloads = AtomicUsize::new(0);
        let reload = || -> Result<(), ReloadError> {
            reloads.fetch_add(1, Ordering::Relaxed);
            if fs::read(path("key")).unwrap() == fs::read(path("cert")).unwrap() {
                Ok(())
            } else {
                Err("the pair does not match".into())
            }
        };
        let mut watched = WatchedCertificates::new("peers", vec![path("cert")], path("key"));
        watched.check(false, &figures, &reload);
        assert_eq!(reloads.load(Ordering::Relaxed), 0, "nothing changed");
        watched.check(true, &figures, &reload);
        assert_eq!(counts(&figures), [0, 0, 1]);

        fs::write(path("key"), "2").unwrap();
        watched.check(false, &figures, &reload);
        assert_eq!(counts(&figures), [0, 0, 1], "it may be about to be replaced");
        fs::write(path("cert"), "2").unwrap();
        watched.check(false, &figures, &reload);
        assert_eq!(counts(&figures), [1, 0, 1]);

        fs::write(path("key"), "3").unwrap();
        for _ in 0..3 {
            watched.check(false, &figures, &reload);
        }
        assert_eq!(counts(&figures), [1, 1, 1], "told once");
        watched.check(true, &figures, &reload);
        assert_eq!(counts(&figures), [1, 2, 1], "told whoever asks");
        // Back to what is in use: that is well, too.
        fs::write(path("key"), "2").unwrap();
        watched.check(false, &figures, &reload);
        assert_eq!(counts(&figures), [2, 2, 1]);
        let before = reloads.load(Ordering::Relaxed);
        watched.check(false, &figures, &reload);
        assert_eq!(reloads.load(Ordering::Relaxed), before);
    }
}
