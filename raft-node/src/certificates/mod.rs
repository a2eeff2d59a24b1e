//! The certificates by which the nodes of one cluster know each other, and by which they and their clients do.
//!
//! A cluster has its own authority. It signs one certificate per node, whose only name is
//! `n<ID>.<CLUSTER>.raft.internal`: that name is the node's identity towards its peers, and nothing else is. It also signs
//! certificates for the ports that clients connect to, and for clients; they have no such name, and so are nobody to a peer.
//! Private keys are written with mode 0600 from their first byte on, and never printed.
//!
//! This module makes, shows and renews certificates, and notices that files changed. Checking a peer's certificate is the transport's business alone.

pub mod authority;
pub mod description;
pub mod error;
pub mod expiry;
pub mod figures;
pub mod fingerprint;
pub mod holder;
pub mod leaf;
pub mod renewal;
pub mod rotation;
pub mod watched;
