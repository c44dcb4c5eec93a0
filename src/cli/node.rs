//! `wirewatt node`: one process of an algorithm.

use clap::Args;

use crate::node::{self, RunError};

/// Run one node of an algorithm.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The algorithm, as `wirewatt list algorithms` names it.
    pub algorithm: String,

    /// Take commands on standard input and answer on standard output, as
    /// docs/control-protocol.md says. `wirewatt run` starts its nodes so.
    #[arg(long, required = true)]
    pub controlled: bool,
}

/// Runs the node to its end.
pub fn run(args: &NodeArgs) -> Result<(), RunError> {
    node::run_controlled(&args.algorithm)
}
