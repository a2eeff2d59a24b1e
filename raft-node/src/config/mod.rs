//! The configuration of one node: where it comes from, in which order, and when it is refused.
//!
//! Every setting of `start` may stand in a flag, in an environment variable or in a TOML file, under the same name.
//! The first of them that names it wins, in that order; after them comes the default. Nothing is started before the
//! whole configuration has been checked, and every refusal names the input, what is wrong with it and the remedy.
//!
//! This module reads files and parses text. It never opens a socket and never touches the data directory.

pub mod addresses;
pub mod cluster_name;
pub mod error;
pub mod file;
pub mod log_output;
pub mod log_store;
pub mod node_config;
mod own_urls;
pub mod recording;
pub mod retention_time;
pub mod settings;
pub mod transport;
