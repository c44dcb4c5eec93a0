//! The `wirewatt` command.

use std::process::ExitCode;

use clap::Parser;
use wirewatt::cli::node::{self, NodeArgs};

#[derive(Parser)]
enum Command {
    Node(NodeArgs),
}

fn main() -> ExitCode {
    let Command::Node(args) = Command::parse();
    match node::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wirewatt node: {error}");
            ExitCode::from(2)
        }
    }
}
