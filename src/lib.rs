//! WireWatt: a packet-level network traffic analyzer for distributed algorithms.

pub mod analysis;
pub mod capture;
pub mod flow;
pub mod message;
pub mod packet;
pub mod protocols;
pub mod tally;
pub mod units;
