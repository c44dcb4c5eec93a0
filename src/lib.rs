//! WireWatt: a packet-level network traffic analyzer for distributed algorithms.

pub mod algorithm;
pub mod capture;
pub mod protocols;
pub mod units;
