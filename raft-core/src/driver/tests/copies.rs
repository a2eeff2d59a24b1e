//! Late copies of requests whose sender has left.

use super::*;

fn remove(node: u64) -> Input {
    Input::ChangeMembership(ChangeRequest {
        ticket: Ticket(100 + node),
        changes: vec![MemberChange::Remove(NodeId(node))],
        dry_run: false,
    })
}

/// R45: what was refused because its sender was removed is not taken later, when the next change is not committed and it is
/// not certain for a moment who has left. A copy of it may come then.
#[test]
fn what_was_refused_for_a_removal_is_not_taken_during_the_next_change() {
    let mut cluster = Cluster::led_by_1(|_| {});
    cluster.step(2, [propose([20])]);
    let request = std::mem::take(&mut cluster.ports[1].sent).remove(0);
    cluster.step(1, [remove(2)]);
    cluster.run();
    cluster.ports[0].sent.clear();
    cluster.step(1, [Input::Receive(request.clone())]);
    let sent = std::mem::take(&mut cluster.ports[0].sent);
    let results: Vec<_> = sent.into_iter().filter_map(forward_result).collect();
    assert_eq!(results, [ForwardResult::Refused(RefusalReason::Removed)]);
    cluster.step(1, [remove(3)]);
    assert!(!cluster.drivers[0].raft().has_left(NodeId(2)));
    let last = cluster.drivers[0].status().appended_index;
    cluster.step(1, [Input::Receive(request)]);
    assert_eq!(cluster.drivers[0].status().appended_index, last);
}
