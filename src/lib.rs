//! WireWatt: a packet-level network traffic analyzer for distributed algorithms.

pub mod algorithm;
pub mod analysis;
pub mod audit;
pub mod capture;
pub mod cli;
pub mod energy;
pub mod experiment;
pub mod flow;
pub mod ledger;
pub mod message;
pub mod node;
pub mod packet;
pub mod protocols;
pub mod report;
pub mod simulation;
pub mod tally;
pub mod units;
