//! A run: where the two wings meet.

pub mod fleet;
