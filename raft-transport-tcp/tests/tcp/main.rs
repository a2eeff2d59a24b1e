//! What is special about TCP. The suites that every transport and every carrier passes run here, too.
#![allow(missing_docs, clippy::unwrap_used)]

mod conformance;
mod sockets;
mod support;
