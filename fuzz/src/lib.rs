//! What the fuzz targets do with a fuzzer's bytes. Each panics where the analyzer is wrong.
//!
//! Used by the targets in `fuzz_targets/`, and by `tests/fuzz_replay.rs`, which runs what fuzzing
//! has found through the same functions.

pub mod analysis;
pub mod capture_file;
pub mod conversation;
pub mod framings;
pub mod packet_decode;
pub mod packets;
pub mod protocols_file;
pub mod reassembly;
pub mod report;

/// A target: its name, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 8] = [
    ("analysis", analysis::run),
    ("capture_file", capture_file::run),
    ("conversation", conversation::run),
    ("framings", framings::run),
    ("packet_decode", packet_decode::run),
    ("protocols_file", protocols_file::run),
    ("reassembly", reassembly::run),
    ("report", report::run),
];
