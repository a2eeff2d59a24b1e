//! The disks: what they promise, what they lose, and what they say about it.

mod common;
mod hostile;
mod interface;
mod judgement;
mod properties;
