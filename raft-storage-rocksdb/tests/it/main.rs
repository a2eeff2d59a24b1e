//! Tests of the store from outside, in one binary: RocksDB is linked once.

// Helpers of tests are not inside a test function, which is where clippy.toml allows it.
#![allow(clippy::unwrap_used)]

mod conformance;
mod damage;
mod inspect;
mod log_store;
mod opening;
mod process;
mod snapshot_store;
mod support;
