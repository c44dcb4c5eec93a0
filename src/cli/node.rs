//! `wirewatt node`: one process of an algorithm.

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::node;

/// Run one node of an algorithm.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The algorithm, as `wirewatt list algorithms` names it.
    pub algorithm: String,

    /// Take commands on standard input and answer on standard output, as
    /// docs/control-protocol.md says. `wirewatt run` starts its nodes so.
    #[arg(long, required = true)]
    pub controlled: bool,
}

/// Runs the node to its end.
pub(super) fn run(args: &NodeArgs) -> Outcome {
    node::run_controlled(&args.algorithm)?;
    Ok(ExitCode::SUCCESS)
}
