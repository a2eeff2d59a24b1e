//! The transport against itself, against bad certificates and against hostile peers, over loopback.

// clippy spares `#[test]` functions; their helpers are tests, too.
#![allow(clippy::unwrap_used)]

mod bind;
mod certificates;
mod conformance;
mod flood;
mod hostile;
mod intruder;
mod lanes;
mod members;
mod messages;
mod reconnect;
mod replay;
mod snapshots;
mod support;
