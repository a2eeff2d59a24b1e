//! The disks of a simulated node: what they promise, what they lose, and what they say about it.

#[path = "common.rs"]
mod common;
mod interface;
