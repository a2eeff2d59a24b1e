//! What the benchmarks share: the measured things behind one interface each, and comparisons that can be trusted.
//!
//! Everything is generic over the traits of raft-core: a new log is one implementation of [`logs::Log`], a new transport one
//! line in [`links::connect_all`], a new combination one line in [`clusters::clusters`].
//!
//! Every ratio is made of two sides that are measured in the same run, in turns (see [`compare`] and [`turns`]): the machines are
//! shared and noisy, and only what was measured together can be compared.

pub mod certificates;
pub mod clusters;
pub mod compare;
pub mod cores;
pub mod counter;
pub mod links;
pub mod logs;
pub mod place;
pub mod turns;
