//! A run: the one place where the two wings meet.
//!
//! In: an algorithm and how to run it, or the folder of an earlier run. Out: a report with its
//! audit, and a folder from which every figure can be made again. The capture is opened and proven
//! live before any node starts, and read until it has shown the closing markers. Nothing here
//! prints.

pub mod counterexample;
pub mod fault;
pub mod fleet;
pub mod folder;
mod limits;
pub mod loss;
mod marker;
mod run;
mod saved;
pub mod scenario;
mod simulation;
pub mod sniffer;
pub mod sweep;

pub use run::{
    Finished, RunError, RunOptions, audit_folder, logs_of_folder, messages_of_folder, run,
};
pub use saved::{SavedRun, audit_capture};
pub use simulation::{simulate, simulated_faults, tally};
