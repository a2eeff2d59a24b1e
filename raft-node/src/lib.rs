//! A replicated key-value server with the etcd v3 API, and its command line.

pub mod archive;
pub mod certificates;
pub mod cli;
pub mod client;
pub mod config;
pub mod data_directory;
pub mod durable_file;
pub mod member_contact;
pub mod proto;
pub mod server;
pub mod why;
