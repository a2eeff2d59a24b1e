//! How far back an archive reaches is what the operator chose.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use raft_core::types::Index;
use raft_kv::StateHash;

use super::damage::{files_below, flip};
use super::scene::{Scene, options};
use crate::archive::disk::OwnDisk;
use crate::archive::files::{ArchiveOptions, Retention};
use crate::archive::restore::Past;
use crate::archive::times::{self, Times};

const STEP: Duration = Duration::from_secs(60);
const STEPS: u32 = 60;

/// An hour of a node that wrote `count` entries and compacted its log each minute, up to now; the state of each minute is recorded.
async fn an_hour(
    archive: impl Fn(Retention) -> ArchiveOptions,
    count: u64,
) -> (Scene, Vec<(SystemTime, u64, StateHash)>) {
    let mut scene = Scene::new(u64::MAX).await;
    let path = scene.directory.path().join("TIMES");
    let retention = Retention {
        time: 20 * STEP,
        times: path.clone(),
    };
    scene.reopen_with(Arc::new(OwnDisk), archive(retention)).unwrap();
    let mut file = Times::open(&path).unwrap();
    let begin = SystemTime::now() - STEPS * STEP;
    let mut minutes = Vec::new();
    for minute in 1..=STEPS {
        scene.commit(count, 20).await;
        let now = begin + minute * STEP;
        file.note(now, scene.last.index).unwrap();
        minutes.push((now, scene.last.index.0, scene.hash()));
        scene.compact(0).await;
    }
    (scene, minutes)
}

/// The minutes that can be restored, from the oldest on; each is right.
async fn restorable(scene: &Scene, past: &Past, minutes: &[(SystemTime, u64, StateHash)]) -> Vec<u64> {
    let moments = times::read(&scene.directory.path().join("TIMES")).unwrap();
    let mut restored = Vec::new();
    for (minute, (time, index, hash)) in (1..).zip(minutes) {
        let found = moments.find(times::unix_ms(*time)).unwrap().unwrap();
        assert_eq!(found.applied, Index(*index));
        if past.plan(found.applied).await.is_ok() {
            assert_eq!(scene.restored_hash(past, *index).await, *hash, "minute {minute}");
            restored.push(minute);
        }
    }
    restored
}

/// Of an hour, twenty minutes are asked for: each of them is restored as it was, and of what is older only what leads to them is kept, a
/// quarter of that time, and nothing before.
#[tokio::test]
async fn what_is_kept_is_what_was_asked_for() {
    let with_time = |retention| ArchiveOptions {
        retention: Some(retention),
        ..options(1 << 30)
    };
    let (scene, minutes) = an_hour(with_time, 30).await;
    let past = scene.past(true).await;
    let restored = restorable(&scene, &past, &minutes).await;
    let first = restored[0];
    assert_eq!(restored, (first..=u64::from(STEPS)).collect::<Vec<u64>>());
    // Minute 40 began the last twenty, or minute 41 if this took a while; a base comes every five or six.
    assert!((33..=41).contains(&first), "{first}");
    let asked = minutes
        .iter()
        .filter(|(time, _, _)| *time >= SystemTime::now() - 20 * STEP);
    assert!(asked.count() <= restored.len());
    assert_eq!(past.windows().await.unwrap().len(), 1);
    // Without a time everything is kept.
    let (scene, minutes) = an_hour(|_| options(1 << 30), 30).await;
    let past = scene.past(true).await;
    assert_eq!(restorable(&scene, &past, &minutes).await.len(), minutes.len());
}

/// The limit in bytes holds also if the time is not reached then.
#[tokio::test]
async fn the_bytes_are_a_limit_all_the_same() {
    const BYTES_MAX: u64 = 400_000;
    let with_both = |retention| ArchiveOptions {
        retention: Some(retention),
        ..options(BYTES_MAX)
    };
    let (scene, minutes) = an_hour(with_both, 200).await;
    let past = scene.past(true).await;
    let archive = past.archive.as_ref().unwrap();
    assert!(
        archive.segment_bytes() <= BYTES_MAX,
        "{}",
        archive.segment_bytes()
    );
    let restored = restorable(&scene, &past, &minutes).await;
    assert!(restored[0] > 41, "{}", restored[0]);
    assert_eq!(restored.last(), Some(&u64::from(STEPS)));
}

/// What was applied when is not known: nothing is forgotten for its age.
#[tokio::test]
async fn what_is_not_known_is_not_forgotten() {
    let elsewhere = |mut retention: Retention| {
        retention.times = retention.times.with_file_name("none");
        ArchiveOptions {
            retention: Some(retention),
            ..options(1 << 30)
        }
    };
    let (scene, minutes) = an_hour(elsewhere, 30).await;
    let past = scene.past(true).await;
    assert_eq!(restorable(&scene, &past, &minutes).await.len(), minutes.len());
}

/// Nothing is forgotten for a base that cannot be read.
#[tokio::test]
async fn nothing_is_forgotten_for_a_damaged_base() {
    let mut scene = Scene::new(u64::MAX).await;
    scene.put(100).await;
    scene.compact(0).await;
    scene.keep_base().await;
    scene.put(100).await;
    scene.compact(0).await;
    let times = scene.directory.path().join("TIMES");
    let long_ago = SystemTime::now() - 120 * STEP;
    Times::open(&times).unwrap().note(long_ago, Index(200)).unwrap();
    let retention = Some(Retention { time: STEP, times });
    let archive = ArchiveOptions {
        retention,
        ..options(1 << 30)
    };
    scene.reopen_with(Arc::new(OwnDisk), archive).unwrap();
    let first = scene.segment_files().remove(0);
    let base = files_below(&scene.archive_directory().join("bases")).remove(0);
    let whole = fs::read(&base).unwrap();
    flip(&base, whole.len() / 2);
    scene.put(10).await;
    scene.compact(0).await;
    assert_eq!(scene.log.figures().failures(), 1);
    assert!(first.exists());
    fs::write(&base, whole).unwrap();
    scene.put(10).await;
    scene.compact(0).await;
    assert_eq!(scene.log.figures().failures(), 1);
    assert!(!first.exists());
}
