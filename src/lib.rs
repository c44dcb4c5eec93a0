//! WireWatt: a packet-level network traffic analyzer for distributed algorithms.

pub mod algorithm;
pub mod capture;
pub mod cli;
pub mod experiment;
pub mod ledger;
pub mod node;
pub mod protocols;
pub mod units;
