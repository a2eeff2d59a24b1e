//! The messages of the etcd v3 client API and of our additions to it, and their clients, generated from `proto/`.
//!
//! Nothing is written by hand here; the definitions and their meaning are in the `.proto` files.

// The generated code is judged by its generator's standards, not by ours.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::large_futures
)]

/// Keys, values and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// The services and their messages.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// What etcd's API has no method for.
pub mod raftnode {
    tonic::include_proto!("raftnode.v1");
}
