//! Real processes on bad networks: parts of them cut off, noise, addresses that change. What is acknowledged stays, and nobody
//! is elected who need not be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod moved_address;
mod narrow_link;
mod noise;
mod partition;
mod scene;
mod why;
