//! Packets that are lost, repeated, damaged and out of order.

use std::time::Duration;

use bad_network::LinkSettings;

use super::scene::Scene;

/// I13, I24: of ten packets one is damaged, one comes twice, one too late and one not at all, on every link, and leadership moves
/// meanwhile. What is acknowledged is on every node, and nothing else happens.
#[test]
fn noise_loses_nothing() {
    let mut scene = Scene::start(5);
    scene.proxy().0.set_all(LinkSettings {
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(2),
        loss: 0.1,
        duplicate: 0.1,
        reorder: 0.1,
        corrupt: 0.1,
        ..LinkSettings::default()
    });
    scene.write();
    for leader in [1, 2, 3] {
        scene.have_lead(leader);
        scene.watch(Duration::from_secs(2), |_| {});
    }
    let total = scene.proxy().0.total();
    for (what, count) in [
        ("lost", total.lost),
        ("repeated", total.duplicated),
        ("held back", total.reordered),
        ("damaged", total.corrupted),
    ] {
        assert!(count > 100, "only {count} packets were {what}: {total:?}");
    }
    scene.proxy().0.set_all(LinkSettings::default());
    scene.end();
}
