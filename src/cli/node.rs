//! `wirewatt node`: one process of an algorithm.

use std::error::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;

use clap::Args;

use super::interrupt::interrupted_flag;
use super::options::{algorithm_options, payload};
use super::{Outcome, print};
use crate::algorithm::{Algorithm, ProcessId, catalog};
use crate::ledger::Reader;
use crate::node::control::{Configuration, Connections, Injections};
use crate::node::{self, by_hand};

/// Run one node of an algorithm: by hand in a terminal, or led by a controller
#[derive(Debug, Args)]
#[command(
    override_usage = "wirewatt node ALGORITHM --id ID --peers HOST:PORT,… [OPTIONS]
       wirewatt node ALGORITHM --controlled",
    after_help = "Examples, by hand, a terminal each; `wirewatt sniff` in another counts the same:
  wirewatt node ring --id 0 --peers 127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102
  wirewatt node ring --id 1 --peers 127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102
  wirewatt node ring --id 2 --peers 127.0.0.1:7100,127.0.0.1:7101,127.0.0.1:7102

Each waits until all listen, begins, and prints what happens, a line an event: when, who, what, the
Lamport clock after it, messages sent and received so far. Ctrl-C ends it with its counters. Whether
the others listen is looked up in the kernel's table where they are on this machine, which puts
nothing on the wire; elsewhere they are dialled, which does. A connection that persists is dialled by
whoever sends first."
)]
pub(super) struct NodeArgs {
    /// The algorithm, as `wirewatt list algorithms` names it
    pub algorithm: String,

    /// Take commands on standard input and answer on standard output, as
    /// docs/control-protocol.md says. `wirewatt run` starts its nodes so
    #[arg(long, conflicts_with_all = ["id", "peers"])]
    pub controlled: bool,

    /// This node's id, from 0
    #[arg(long, required_unless_present = "controlled", value_name = "ID")]
    id: Option<u32>,

    /// Where each node listens, by id, this one too
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HOST:PORT,…",
        required_unless_present = "controlled"
    )]
    peers: Vec<String>,

    /// How often each initiator repeats its operation
    #[arg(long, default_value_t = 1, value_name = "R")]
    rounds: u32,

    /// How connections are used: one a pair, one a message, or one a request and its reply
    #[arg(long, value_enum, default_value_t)]
    connections: Connections,

    /// Bytes of payload beside every message's body
    #[arg(long, default_value_t = 0, value_name = "BYTES", value_parser = payload)]
    payload: usize,

    /// An option of the algorithm's own; repeatable, and the same for all nodes
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,

    /// The run's number in every message, the same for all nodes
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    run: u64,

    /// Append a ledger of every message to this file. All nodes may share one; a node that has
    /// records of this run in it already is refused
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

/// Runs the node to its end.
pub(super) fn run(args: &NodeArgs) -> Outcome {
    let Some(id) = args.id else {
        node::run_controlled(&args.algorithm)?;
        return Ok(ExitCode::SUCCESS);
    };
    let algorithm = catalog::by_name(&args.algorithm)?;
    let peers = addresses(&args.peers)?;
    if let Some(ledger) = &args.ledger {
        check_ledger(ledger, id, args.run)?;
    }
    let configuration = Configuration {
        protocol: algorithm.name.to_owned(),
        id: ProcessId(id),
        n: n_of(algorithm, peers.len())?,
        peers,
        run: args.run,
        incarnation: 1,
        ledger: args.ledger.clone().unwrap_or_else(|| "/dev/null".into()),
        state: None,
        connections: args.connections,
        rounds: args.rounds,
        payload: args.payload,
        options: algorithm_options(&args.options)?,
        faults: Injections::default(),
    };
    let line = |line: &str| {
        // Where nobody reads it, the node goes on.
        let _ = print(&format!("{line}\n"));
    };
    by_hand::run(configuration, Rc::new(line), interrupted_flag()?)?;
    Ok(ExitCode::SUCCESS)
}

fn addresses(peers: &[String]) -> Result<Vec<SocketAddr>, Box<dyn Error>> {
    let address = |peer: &String| -> Result<SocketAddr, Box<dyn Error>> {
        let wrong = |why: &dyn std::fmt::Display| {
            format!("--peers '{peer}': expected HOST:PORT, as in 127.0.0.1:7100 ({why})")
        };
        let mut found = peer.to_socket_addrs().map_err(|error| wrong(&error))?;
        found
            .next()
            .ok_or_else(|| Box::<dyn Error>::from(wrong(&"no address")))
    };
    let mut found: Vec<SocketAddr> = Vec::new();
    for peer in peers {
        let address = address(peer)?;
        if let Some(id) = found.iter().position(|other| *other == address) {
            return Err(format!(
                "--peers '{peer}': node {id} listens on {address} already: give each its own"
            )
            .into());
        }
        found.push(address);
    }
    Ok(found)
}

/// A second start would number its messages like the first: nothing could tell them apart.
fn check_ledger(ledger: &Path, id: u32, run: u64) -> Result<(), Box<dyn Error>> {
    if !ledger.is_file() {
        return Ok(());
    }
    for record in Reader::open(ledger)? {
        let record = record?;
        if (record.node, record.run) == (id, run) {
            return Err(format!(
                "--ledger {}: node {id} has records of run {run} in it already; delete it, name \
                 another, or give all nodes another --run",
                ledger.display()
            )
            .into());
        }
    }
    Ok(())
}

/// N of the formula, where there are so many processes, clients included.
fn n_of(algorithm: &Algorithm, processes: usize) -> Result<u32, String> {
    let all = u32::try_from(processes).unwrap_or(u32::MAX);
    let n = (1..=all).rev().find(|n| (algorithm.processes)(*n) == all);
    n.ok_or_else(|| format!("{} cannot be {processes} processes", algorithm.name))
}
