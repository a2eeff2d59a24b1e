//! How full the queues are said to be.

use super::*;

/// R19, R45: what waits is counted where it waits, and no longer when it has ended.
#[test]
fn the_load_counts_what_waits() {
    let mut cluster = Cluster::led_by_1(|_| {});
    let idle = cluster.drivers[0].load();
    assert_eq!(
        (idle.proposals, idle.uncommitted_bytes, idle.applying_bytes),
        (0, 0, 0)
    );
    let propose = |ticket| {
        let command = Bytes::from_static(b"12345").into();
        let ticket = Ticket(ticket);
        Input::Propose(vec![Proposal { ticket, command }])
    };
    cluster.step(1, [propose(1), Input::Read(vec![Ticket(2)])]);
    cluster.step(2, [propose(1), Input::Read(vec![Ticket(2)])]);
    let (leader, follower) = (cluster.drivers[0].load(), cluster.drivers[1].load());
    assert_eq!(
        (
            leader.proposals,
            leader.uncommitted_bytes,
            leader.unconfirmed_reads
        ),
        (1, 5, 1)
    );
    assert_eq!(leader.tail_bytes, idle.tail_bytes + 5);
    assert_eq!(
        (
            follower.forwarded_proposals,
            follower.forwarded_reads,
            follower.forwarded_bytes
        ),
        (1, 1, 5)
    );
    cluster.run();
    for driver in &cluster.drivers {
        let after = driver.load();
        assert_eq!(
            after.proposals + after.forwarded_proposals + after.guest_proposals,
            0
        );
        assert_eq!(
            after.unconfirmed_reads + after.forwarded_reads + after.guest_reads,
            0
        );
        assert_eq!(
            after.uncommitted_bytes + after.forwarded_bytes + after.applying_bytes,
            0
        );
    }
}
