//! Tests of the store from outside, in one binary.

// Helpers of tests are not inside a test function, which is where clippy.toml allows it.
#![allow(clippy::unwrap_used)]

mod conformance;
mod damage;
mod log_store;
mod model;
mod opening;
mod process;
mod support;
