//! Algorithms in memory.

pub mod check;

/// In which order messages from one process to another come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// As the algorithm declares.
    #[default]
    Declared,
    /// As they were sent.
    Fifo,
    /// Any.
    Any,
}

/// What a crash does to what was persisted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// Nothing.
    #[default]
    Kept,
    /// It is gone.
    Lost,
}
