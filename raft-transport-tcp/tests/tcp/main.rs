//! The transport against itself, against bad certificates and against hostile peers, over loopback.
//!
//! What does not depend on TCP is shared with the other carriers: raft-transport/tests/peers. [`carrier`] is all that those
//! tests know of TCP.
#![allow(missing_docs, clippy::unwrap_used)]

mod carrier;
mod forgotten;
mod sockets;

#[path = "../../../raft-transport/tests/peers/bind.rs"]
mod bind;
#[path = "../../../raft-transport/tests/peers/certificates.rs"]
mod certificates;
#[path = "../../../raft-transport/tests/peers/conformance.rs"]
mod conformance;
#[path = "../../../raft-transport/tests/peers/hostile.rs"]
mod hostile;
#[path = "../../../raft-transport/tests/peers/intruder.rs"]
mod intruder;
#[path = "../../../raft-transport/tests/peers/lanes.rs"]
mod lanes;
#[path = "../../../raft-transport/tests/peers/members.rs"]
mod members;
#[path = "../../../raft-transport/tests/peers/messages.rs"]
mod messages;
#[path = "../../../raft-transport/tests/peers/nodes.rs"]
mod nodes;
#[path = "../../../raft-transport/tests/peers/reconnect.rs"]
mod reconnect;
#[path = "../../../raft-transport/tests/peers/snapshots.rs"]
mod snapshots;
#[path = "../../../raft-transport/tests/peers/support.rs"]
mod support;
