//! A NAT that forgets: packets of a node come from another address in the middle of a connection.

use std::time::Duration;

use super::scene::{Scene, View};

/// The leader's packets come from another address and port, again and again, and what is sent to the one before is lost. The
/// connections go on from there: nobody is elected, and every write is acknowledged.
#[test]
fn a_leader_whose_address_changes_goes_on_leading() {
    let mut scene = Scene::start(6);
    // Who has the lowest id made its connections itself, so that they come from where the NAT says.
    let term = scene.have_lead(1);
    scene.write();
    for last_byte in 2..=6 {
        let (network, hosts) = scene.proxy();
        network.rebind(hosts[0], [127, 0, 0, last_byte].into()).unwrap();
        scene.wait_for_writes("the address changed", 20);
        scene.watch(Duration::from_secs(1), |views| {
            let same = View { term, leader: 1 };
            assert!(views.iter().all(|view| *view == same), "{term}: {views:?}");
        });
    }
    scene.end();
}
