//! What is wrong with a network is named.

use std::time::{Duration, Instant};

use bad_network::LinkSettings;

use super::scene::Scene;

/// The election timeout of these nodes.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);
/// From when on silence or a wait is called trouble.
const NOTICEABLE: Duration = Duration::from_millis(500);

/// R76: the link between the leader and one follower is cut, in both directions. The leader names the follower and the follower its
/// leader, within an election timeout; the command adds that both run.
#[test]
fn a_cut_link_is_named_from_both_ends() {
    let scene = Scene::start(21);
    scene.have_lead(1);
    scene.set_cut(1, 3, true);
    scene.set_cut(3, 1, true);
    let since = Instant::now();
    let limit = NOTICEABLE + ELECTION_TIMEOUT;
    let text = scene.cluster.named(1, &["peer_silent"], since, limit);
    assert!(text.starts_with("Node 3 does not keep up."), "{text}");
    let early = ["leader_silent", "election", "vote_refused"];
    scene.cluster.named(3, &early, since, limit);
    let printed = scene.ask(&["why"]);
    assert!(
        printed.contains("Node 3 answers at") && printed.contains("what is broken is the link"),
        "{printed}"
    );
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
    let text = super::common::wait_for("node 1 to name a full window", || {
        let (cause, text) = scene.cluster.why(1);
        (cause == "window_full").then_some(text)
    });
    for part in ["Its window has been full for", "16.8 MB", "it answers"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
}
