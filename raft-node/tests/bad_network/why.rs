//! What is wrong with a network is named.

use std::time::{Duration, Instant};

use bad_network::LinkSettings;

use super::scene::Scene;

/// The election timeout of these nodes.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// R76: the link between the leader and one follower is cut, in both directions. The leader names the follower and the follower its
/// leader, within an election timeout; the command adds that both run.
#[test]
fn a_cut_link_is_named_from_both_ends() {
    let scene = Scene::start(21);
    scene.have_lead(1);
    scene.set_cut(1, 3, true);
    scene.set_cut(3, 1, true);
    let since = Instant::now();
    let text = scene.cluster.named(1, &["peer_silent"], since, ELECTION_TIMEOUT);
    assert!(text.starts_with("Node 3 does not answer."), "{text}");
    let early = ["leader_silent", "election", "vote_refused"];
    scene.cluster.named(3, &early, since, ELECTION_TIMEOUT);
    // While node 3 has just asked for votes, it is not known yet who owes an answer.
    let told = "Nodes 1 and 3 both run and do not hear each other: the link between them is cut.";
    super::common::wait_for("the command to name the link", || {
        scene.ask(&["why"]).contains(told).then_some(())
    });
    let refused = super::common::wait_for("node 2 to refuse its vote", || {
        let (cause, text) = scene.cluster.why(3);
        (cause == "vote_refused").then_some(text)
    });
    assert!(
        refused.contains("Node 2 refuses its vote: it still hears a leader, node 1."),
        "{refused}"
    );
}

/// R14, R18: more is written than a narrow link takes, until the window of a follower is full. The leader names the window, which of
/// its bounds it is, and that the follower answers.
#[test]
fn a_full_window_is_named() {
    // A disk that takes a second for so much would be another reason.
    let mut scene = Scene::start_as(22, &["--log-store", "memory"]);
    scene.have_lead(1);
    let (network, hosts) = scene.proxy();
    for follower in &hosts[1..] {
        let narrow = LinkSettings {
            bytes_per_second: Some(1_000_000),
            ..LinkSettings::default()
        };
        network.set_link(hosts[0], *follower, narrow);
    }
    let load = [
        "--clients",
        "64",
        "--value-bytes",
        "1048576",
        "--attempt-timeout",
        "60",
    ];
    scene.write_to(&[1], &load);
    let mut asked_before = Instant::now();
    let text = super::common::wait_for("node 1 to name a full window", || {
        let asked = Instant::now();
        let (cause, text) = scene.cluster.why(1);
        if cause != "window_full" {
            asked_before = asked;
            return None;
        }
        Some(text)
    });
    // Only the node knows since when the window is full. What it answered to the last question but this one was something else,
    // and right until an election timeout after that.
    let unnamed = full_for(&text).saturating_sub(asked_before.elapsed());
    assert!(
        unnamed < ELECTION_TIMEOUT,
        "full for {unnamed:?} before it was named: {text}"
    );
    for part in ["Its window has been full for", "16.8 MB", "it answers"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}

/// The longest time for which `text` says that a window has been full.
fn full_for(text: &str) -> Duration {
    let lasts = text.split("window has been full for ").skip(1);
    let lasts = lasts.map(|rest| match rest.split([' ', ':']).collect::<Vec<&str>>()[..] {
        ["less", ..] => Duration::ZERO,
        [number, "ms", ..] => Duration::from_millis(number.parse().unwrap()),
        [number, "s", ..] => Duration::from_secs_f64(number.parse().unwrap()),
        _ => panic!("{text}"),
    });
    lasts.max().unwrap()
}
