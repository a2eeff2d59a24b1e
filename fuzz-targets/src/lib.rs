//! What the fuzz targets do with an input.
//!
//! Each target takes arbitrary bytes and panics if something that must hold does not. The programs in `fuzz/fuzz_targets`
//! hand them what cargo-fuzz finds; `tests/corpus.rs` hands them the corpus of the repository and mutations of it, so that
//! every run of the tests does a little of the same on a stable compiler. It is one crate of the workspace because both
//! need it, and because nothing in it needs a nightly compiler.
//!
//! Decoders that are private to a crate are compiled here from their files. Those files are pure: they know nothing of
//! RocksDB or QUIC, so a target is built with sanitizers in seconds.
//!
//! A target reads its input in a way that mutation can follow. Where bytes carry a checksum, the target does both: it
//! takes the bytes as they are, and it takes them as what the checksum covers, and adds the right one.

// The files of other crates bring their unit tests along, which run where they belong.
#![cfg(not(test))]

pub mod archive;
pub mod engine;
pub mod http2;
pub mod journal;
pub mod kv;
pub mod mutation;
pub mod recording;
pub mod sessions;
pub mod step;
pub mod storage;
pub mod transport;
pub mod wire;

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its program and of its folder in the corpus.
    pub name: &'static str,
    /// Does with one input whatever can be done with it.
    pub run: fn(&[u8]),
    /// Inputs that mean something, to begin from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target {
        name: "engine_log",
        run: engine::engine_log,
        seeds: engine::seeds,
    },
    Target {
        name: "frames",
        run: wire::frames,
        seeds: wire::frame_seeds,
    },
    Target {
        name: "http2",
        run: http2::http2,
        seeds: http2::seeds,
    },
    Target {
        name: "journal",
        run: journal::journal,
        seeds: journal::seeds,
    },
    Target {
        name: "kv_archive",
        run: kv::archive,
        seeds: kv::archive_seeds,
    },
    Target {
        name: "kv_commands",
        run: kv::commands,
        seeds: kv::command_seeds,
    },
    Target {
        name: "kv_records",
        run: kv::records,
        seeds: kv::record_seeds,
    },
    Target {
        name: "log_records",
        run: storage::log_records,
        seeds: storage::log_record_seeds,
    },
    Target {
        name: "membership",
        run: wire::membership,
        seeds: wire::membership_seeds,
    },
    Target {
        name: "messages",
        run: wire::messages,
        seeds: wire::message_seeds,
    },
    Target {
        name: "node_archive",
        run: archive::node_archive,
        seeds: archive::seeds,
    },
    Target {
        name: "payload",
        run: wire::payload,
        seeds: wire::payload_seeds,
    },
    Target {
        name: "recording",
        run: recording::recording,
        seeds: recording::seeds,
    },
    Target {
        name: "sessions",
        run: sessions::sessions,
        seeds: sessions::seeds,
    },
    Target {
        name: "snapshot_file",
        run: storage::snapshot_file,
        seeds: storage::snapshot_file_seeds,
    },
    Target {
        name: "snapshot_header",
        run: wire::snapshot_header,
        seeds: wire::snapshot_header_seeds,
    },
    Target {
        name: "step",
        run: step::step,
        seeds: step::seeds,
    },
    Target {
        name: "transport",
        run: transport::transport,
        seeds: transport::seeds,
    },
    Target {
        name: "watermark",
        run: storage::watermark,
        seeds: storage::watermark_seeds,
    },
];
