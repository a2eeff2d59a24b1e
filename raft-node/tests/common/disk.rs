//! A small file system of its own, which can be full, or stand still.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in a file, which is unmounted in the end.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `bytes` at `path`; none, with a message, if this user or machine cannot.
    pub(crate) fn mount(path: &Path, bytes: u64) -> Option<SmallDisk> {
        let image = path.with_extension("img");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        fs::create_dir(path).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image).status();
        let mounted = made.ok().filter(|made| made.success()).and_then(|_| {
            let mut mount = Command::new("mount");
            mount.args(["-o", "loop"]).arg(&image).arg(path);
            mount.stderr(Stdio::null()).status().ok()
        });
        if mounted.is_some_and(|mounted| mounted.success()) {
            return Some(SmallDisk(path.to_owned()));
        }
        fs::remove_dir(path).unwrap();
        eprintln!("skipped: this takes root, mkfs.ext4 and a loop device");
        None
    }

    /// Uses up what is free with a file, which is returned.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        let block = vec![1; 64 << 10];
        while file.write_all(&block).is_ok() {}
        // What is written late must not find less room than it seemed.
        file.sync_all().unwrap();
        path
    }

    /// From now on every write waits.
    pub(crate) fn freeze(&self) {
        self.fsfreeze("--freeze");
    }

    /// What waits goes on.
    pub(crate) fn thaw(&self) {
        self.fsfreeze("--unfreeze");
    }

    fn fsfreeze(&self, what: &str) {
        let done = Command::new("fsfreeze").arg(what).arg(&self.0).status();
        assert!(done.unwrap().success(), "fsfreeze {what}");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that failed may have left it frozen, and what waits for it cannot even be killed.
        let mut thaw = Command::new("fsfreeze");
        thaw.arg("--unfreeze").arg(&self.0).stderr(Stdio::null());
        let _ = thaw.status();
        // Lazily: the node may just be ending.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
