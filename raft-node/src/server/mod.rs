//! The client API of a node: etcd v3 over gRPC, and the pages for probes and Prometheus, on one port.
//!
//! Owns what clients see: services, limits, error texts, headers. It never decides what is consistent: a write is what
//! the node applied, a linearizable read is what the node's barrier allows.
//!
//! From the outside in: `listener` accepts connections, `dispatch` finds the method, `grpc` decodes the message,
//! `kv`, `cluster` and `maintenance` are etcd's services, `membership` is ours, `api` and `changes` wait for the node,
//! `backend` is the node.

mod api;
mod backend;
mod body;
mod changes;
mod cluster;
mod convert;
mod dispatch;
mod error;
mod grpc;
mod identity;
mod kv;
mod lenient;
mod listener;
mod maintenance;
mod members;
mod membership;
mod metrics;
mod node_backend;
mod pages;
mod refusal;
mod serve;
#[cfg(test)]
mod tests;
mod why;

pub use self::api::REQUEST_BYTES_MAX;
pub use self::identity::{MemberUrls, cluster_id, member_id, member_name};
pub use self::listener::ServeError;
pub use self::serve::{ServerOptions, serve};
