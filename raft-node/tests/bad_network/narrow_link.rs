//! A link that is too narrow for what is to go through it.

use std::time::{Duration, Instant};

use bad_network::LinkSettings;

use super::common::wait_for;
use super::scene::{Scene, View};

/// Several election timeouts.
const LONG: Duration = Duration::from_secs(8);

/// 64 clients at once, each with a value of a mebibyte: so much is written and not committed.
const LOAD: [&str; 6] = [
    "--clients",
    "64",
    "--value-bytes",
    "1048576",
    "--attempt-timeout",
    "60",
];

/// R17, R18, R36: 64 MiB of entries wait to go through links of 2 MB/s, which takes half a minute, and election timeouts are a
/// second. Heartbeats and their answers do not wait behind the entries: nobody is elected, and entries are committed as they arrive.
/// That nothing is lost is shown elsewhere; here it would take as long as the backlog.
#[test]
fn a_backlog_of_entries_delays_no_heartbeat() {
    // A disk that takes a second for so much would be a reason to step down.
    let mut scene = Scene::start_as(7, &["--log-store", "memory"]);
    let term = scene.have_lead(1);
    let (network, hosts) = scene.proxy();
    for follower in &hosts[1..] {
        let narrow = LinkSettings {
            bytes_per_second: Some(2_000_000),
            ..LinkSettings::default()
        };
        network.set_link(hosts[0], *follower, narrow);
    }
    scene.write_to(&[1], &LOAD);
    let begin = Instant::now();
    wait_for("a few entries to get through", || {
        let views = scene.views();
        let same = View { term, leader: 1 };
        assert!(views.iter().all(|view| *view == same), "{term}: {views:?}");
        (begin.elapsed() >= LONG && scene.acked() >= 4).then_some(())
    });
    // The backlog stood until now: not even what was written at first has got through.
    assert!(scene.acked() < 64, "{} writes", scene.acked());
}
