//! Links that are cut while others stand.

use std::time::{Duration, Instant};

use super::scene::{Scene, View};

/// Several election timeouts: who is going to stand for election does it in this time.
const LONG: Duration = Duration::from_secs(5);

/// Nodes 1 and 3 are in `term` and follow node 1, and node 2 is in no later one.
fn nothing_changed(term: u64, views: &[View]) {
    let same = View { term, leader: 1 };
    assert!(views[0] == same && views[2] == same, "{term}: {views:?}");
    assert_eq!(views[1].term, term, "{views:?}");
}

/// I26, R36: the leader and one follower do not hear each other, and both hear the third node. The cluster goes on with the leader
/// that it has, and the follower that hears of no leader raises nobody's term, neither while it is cut off nor when it is back.
#[test]
fn a_cut_between_the_leader_and_one_follower_costs_no_term() {
    let mut scene = Scene::start(1);
    let term = scene.have_lead(1);
    scene.write();
    scene.set_cut(1, 2, true);
    scene.set_cut(2, 1, true);
    for (id, peer) in [(1, 2), (2, 1)] {
        scene.wait_connected(id, peer, false);
    }
    scene.watch(LONG, |views| nothing_changed(term, views));
    scene.set_cut(1, 2, false);
    scene.set_cut(2, 1, false);
    assert_eq!(scene.agreement(), View { term, leader: 1 });
    scene.wait_for_writes("everybody hears everybody", 100);
    scene.end();
}

/// I26, R36: a follower whom the leader's packets do not reach, while its own arrive, disturbs nobody.
#[test]
fn a_follower_that_is_heard_and_hears_no_leader_costs_no_term() {
    let mut scene = Scene::start(2);
    let term = scene.have_lead(1);
    scene.write();
    scene.set_cut(1, 2, true);
    scene.wait_connected(2, 1, false);
    scene.watch(LONG, |views| nothing_changed(term, views));
    scene.set_cut(1, 2, false);
    assert_eq!(scene.agreement(), View { term, leader: 1 });
    scene.end();
}

/// I26, R36: a leader whose heartbeats arrive, and who hears nobody, steps down, and the others elect one of them. Deaf as it is it
/// cannot raise their term, and follows when it hears again.
#[test]
fn a_leader_that_hears_nobody_is_replaced_and_disturbs_nobody() {
    let mut scene = Scene::start(3);
    let term = scene.have_lead(1);
    scene.write();
    scene.set_cut(2, 1, true);
    scene.set_cut(3, 1, true);
    let new = scene.agreement_of(&[2, 3]);
    assert!(new.term > term);
    scene.wait_for_writes("another one leads", 100);
    scene.watch(LONG, |views| {
        assert_eq!(views[1..], [new, new], "{views:?}");
        assert!(views[0].term <= new.term, "{views:?}");
    });
    scene.set_cut(2, 1, false);
    scene.set_cut(3, 1, false);
    assert_eq!(scene.agreement(), new);
    scene.end();
}

/// I26, I27: cables are pulled, the leader's, then a follower's, where possible between hosts with addresses of their own. The
/// others go on, and whoever comes back costs no further term.
#[test]
fn who_was_unplugged_comes_back_without_an_election() {
    let mut scene = Scene::start_on_hosts(4);
    let term = scene.have_lead(1);
    scene.write();
    scene.isolate(1);
    let new = scene.agreement_of(&[2, 3]);
    assert!(new.term > term);
    scene.wait_for_writes("the leader is unplugged", 100);
    scene.reconnect(1);
    assert_eq!(scene.agreement(), new);
    scene.wait_for_writes("it follows", 100);

    let follower = (1..=3).find(|id| *id != new.leader).unwrap();
    scene.isolate(follower);
    let others: Vec<usize> = (1..=3).filter(|id| *id != follower).collect();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        assert_eq!(scene.views_of(&others), [new, new]);
    }
    scene.wait_for_writes("a follower is unplugged", 100);
    scene.reconnect(follower);
    assert_eq!(scene.agreement(), new);
    scene.end();
}
