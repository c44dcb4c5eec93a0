//! The `wirewatt` command.

fn main() {}
