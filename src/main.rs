//! The `wirewatt` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    wirewatt::cli::main()
}
