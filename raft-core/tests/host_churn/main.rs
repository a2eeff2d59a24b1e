//! Groups come and go on three hosts in an order drawn from a seed, while messages of any age arrive again, nodes start again
//! and destructions are broken off.

// Helpers of tests may unwrap as tests may.
#![allow(clippy::unwrap_used, unreachable_pub)]

mod course;
#[path = "../node_world/mod.rs"]
mod node_world;
mod watched;

use course::{Course, Done};

const SEEDS: std::ops::Range<u64> = 0..8;
const ACTIONS: usize = 150;

/// R68, R60: a replica that was destroyed never writes or sends again, and what exists is what somebody created, whatever old
/// message comes, across restarts, and if the process ends within the destruction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_destroyed_is_never_heard_of_again() {
    let mut total = Done::default();
    for seed in SEEDS {
        let mut course = Course::begin(seed, false).await;
        for _ in 0..ACTIONS {
            course.act().await;
            let violations = course.violations();
            assert!(violations.is_empty(), "seed {seed}: {violations:?}");
        }
        course.end().await;
        total += course.done;
    }
    let Done {
        created,
        destroyed,
        restarts,
        broken_off_before,
        broken_off_after,
        refused,
        late,
        strange,
    } = total;
    assert!(created >= 100 && destroyed >= 50 && restarts >= 20, "{total:?}");
    assert!(broken_off_before >= 3 && broken_off_after >= 3, "{total:?}");
    assert!(refused >= 50 && late >= 100 && strange >= 20, "{total:?}");
}

/// R68: the course notices a log store that forgets whom it destroyed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_tombstone_is_noticed() {
    for seed in SEEDS {
        let mut course = Course::begin(seed, true).await;
        for _ in 0..ACTIONS {
            course.act().await;
            if !course.violations().is_empty() {
                return course.end().await;
            }
        }
    }
    panic!("nobody noticed");
}
