//! What the benchmarks share: the measured things behind one interface each, and comparisons that can be trusted.
//!
//! Every ratio is made of two sides that are measured in the same run, in turns (see [`compare`]): the machines are
//! shared and noisy, and only what was measured together can be compared.

pub mod compare;
pub mod cores;
