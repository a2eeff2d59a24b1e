//! A disk that fails, and power that goes, at every step of archiving.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use raft_core::types::EntryId;

use super::scene::{GROUP, Scene};
use crate::archive::disk::{Disk, OwnDisk};

/// What is not on the disk yet, and is undone when the power goes.
#[derive(Debug)]
enum Volatile {
    Written(PathBuf),
    Renamed { from: PathBuf, to: PathBuf },
    Removed(PathBuf, Vec<u8>),
}

/// From which step on the disk fails, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Never,
    Once(usize),
    From(usize),
}

/// A disk that fails when it is told to, and knows what a loss of power would undo.
#[derive(Debug)]
struct BadDisk {
    failure: Failure,
    done: Mutex<(usize, Vec<Volatile>)>,
}

impl BadDisk {
    fn new(failure: Failure) -> Arc<BadDisk> {
        Arc::new(BadDisk {
            failure,
            done: Mutex::default(),
        })
    }

    fn step(&self) -> io::Result<()> {
        let mut done = self.done.lock().unwrap();
        let step = done.0;
        done.0 += 1;
        let fails = match self.failure {
            Failure::Never => false,
            Failure::Once(at) => step == at,
            Failure::From(at) => step >= at,
        };
        match fails {
            true => Err(io::Error::other("this disk is bad")),
            false => Ok(()),
        }
    }

    fn steps(&self) -> usize {
        self.done.lock().unwrap().0
    }

    fn note(&self, volatile: Volatile) {
        self.done.lock().unwrap().1.push(volatile);
    }

    fn settle(&self, is_settled: impl Fn(&Volatile) -> bool) {
        self.done
            .lock()
            .unwrap()
            .1
            .retain(|volatile| !is_settled(volatile));
    }

    /// Undoes what was never synced, the newest first; of a file half is left.
    fn lose_power(&self) {
        let volatile = std::mem::take(&mut self.done.lock().unwrap().1);
        for volatile in volatile.into_iter().rev() {
            match volatile {
                Volatile::Written(path) => {
                    let Ok(contents) = fs::read(&path) else { continue };
                    fs::write(path, &contents[..contents.len() / 2]).unwrap();
                }
                Volatile::Renamed { from, to } if to.exists() => fs::rename(to, from).unwrap(),
                Volatile::Renamed { .. } => {}
                Volatile::Removed(path, contents) => fs::write(path, contents).unwrap(),
            }
        }
    }
}

impl Disk for BadDisk {
    fn create(&self, path: &Path, contents: &[u8]) -> io::Result<File> {
        let failed = self.step();
        // What fails leaves half of it.
        let length = if failed.is_ok() {
            contents.len()
        } else {
            contents.len() / 2
        };
        let file = OwnDisk.create(path, &contents[..length]);
        self.note(Volatile::Written(path.to_owned()));
        failed.and(file)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.step()?;
        self.settle(|volatile| matches!(volatile, Volatile::Written(written) if written == path));
        OwnDisk.sync(file, path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let (from, to) = (from.to_owned(), to.to_owned());
        OwnDisk.rename(&from, &to)?;
        self.note(Volatile::Renamed { from, to });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        self.settle(|volatile| match volatile {
            Volatile::Written(_) => false,
            Volatile::Renamed { to: changed, .. } | Volatile::Removed(changed, _) => {
                changed.parent() == Some(path)
            }
        });
        OwnDisk.sync_directory(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let contents = fs::read(path)?;
        OwnDisk.remove(path)?;
        self.note(Volatile::Removed(path.to_owned(), contents));
        Ok(())
    }
}

/// R54, R74: the power may go at every step of archiving. The log has forgotten nothing that is not in the archive, and the next
/// start archives the rest.
#[tokio::test]
async fn the_power_may_go_at_every_step() {
    let mut scene = Scene::new(u64::MAX).await;
    let mut purged = EntryId::ZERO;
    let mut failures = 0;
    for last_step in 0.. {
        scene.put(30).await;
        let disk = BadDisk::new(Failure::From(last_step));
        let compacted = match scene.try_reopen(disk.clone()) {
            Ok(()) => scene.try_compact(0).await.is_ok(),
            Err(_) => false,
        };
        disk.lose_power();
        let recovered = scene.inner.load(GROUP).await.unwrap();
        assert_eq!(
            recovered.purged,
            if compacted { scene.last } else { purged },
            "step {last_step}"
        );
        scene.reopen();
        assert!(
            recovered.purged.index.0 <= scene.log.figures().last_index(),
            "step {last_step}"
        );
        scene.compact(0).await;
        purged = scene.last;
        if disk.steps() <= last_step {
            break;
        }
        failures += 1;
    }
    assert!(
        failures >= 4,
        "written, synced, renamed, directory synced: {failures}"
    );
    scene.restore_from_the_start().await;
}

/// R60: each step of archiving may fail once. The log keeps what is not archived, the next compaction archives it, and what is
/// archived then survives a loss of power.
#[tokio::test]
async fn each_step_may_fail_once() {
    let mut scene = Scene::new(u64::MAX).await;
    let mut purged = EntryId::ZERO;
    let mut failures = 0;
    for step in 0.. {
        scene.put(30).await;
        let disk = BadDisk::new(Failure::Once(step));
        if scene.try_reopen(disk.clone()).is_err() {
            continue;
        }
        let failed = scene.try_compact(0).await.is_err();
        let found = scene.inner.load(GROUP).await.unwrap().purged;
        assert_eq!(found, if failed { purged } else { scene.last }, "step {step}");
        assert_eq!(scene.log.figures().failures(), u64::from(failed), "step {step}");
        scene.compact(0).await;
        purged = scene.last;
        disk.lose_power();
        scene.reopen();
        assert_eq!(scene.log.figures().last_index(), purged.index.0, "step {step}");
        if disk.steps() <= step {
            break;
        }
        failures += usize::from(failed);
    }
    assert!(
        failures >= 4,
        "written, synced, renamed, directory synced: {failures}"
    );
    scene.restore_from_the_start().await;
}

/// R54: what is archived is written, synced, renamed and its name synced, in this order, before the log forgets it.
#[tokio::test]
async fn the_log_forgets_last() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(30).await;
    let disk = BadDisk::new(Failure::Never);
    scene.try_reopen(disk.clone()).unwrap();
    let opened = disk.steps();
    scene.compact(0).await;
    assert_eq!(disk.steps(), opened + 4);
    disk.lose_power();
    scene.reopen();
    assert_eq!(scene.log.figures().last_index(), 30);
}
