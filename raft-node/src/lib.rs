//! A replicated key-value server with the etcd v3 API, and its command line.

pub mod proto;
