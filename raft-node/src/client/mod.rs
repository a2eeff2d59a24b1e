//! The client side of the command line: status, explanations, members, put, get, load and verify.
//!
//! Everything here speaks the same API as any other client of the server, over the network only, so that what it
//! reports is what a stranger's program would see. It never opens a data directory and prints nothing: it returns
//! values, and `cli` prints them.

pub mod acked_file;
pub mod endpoints;
pub mod error;
pub mod key_value;
pub mod load;
pub mod membership;
pub mod peers;
pub mod status;
pub mod verify;
pub mod why;
