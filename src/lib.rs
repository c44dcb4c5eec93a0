//! WireWatt: a packet-level network traffic analyzer for distributed algorithms.

pub mod analysis;
pub mod audit;
pub mod capture;
pub mod energy;
pub mod flow;
pub mod message;
pub mod packet;
pub mod protocols;
pub mod report;
pub mod tally;
pub mod units;
