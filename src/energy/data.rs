//! What the files of models and grids have in common: how a figure is known, and what is wrong with
//! a line.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// How a figure of a data file is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// It was read in its source.
    Read,
    /// It was read in another source that quotes it.
    Quoted,
    /// It was not verified at all: never a default.
    Recalled,
    /// Its source gives no ground for it.
    None,
    /// It is the user's, who has not said how it is known.
    #[default]
    Own,
}

impl Verified {
    /// The word for it in a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Quoted => "quoted",
            Self::Recalled => "recalled, not verified",
            Self::None => "no ground given",
            Self::Own => "your own, not verified here",
        }
    }
}

/// A mistake in a data file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct DataError {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// A text and its name, for errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

impl Named<'_> {
    /// That something is wrong at this byte offset.
    pub fn error(&self, offset: usize, problem: impl Display) -> DataError {
        let before = self.text.as_bytes().iter().take(offset);
        DataError {
            file: self.file.to_owned(),
            line: 1 + before.filter(|byte| **byte == b'\n').count(),
            problem: problem.to_string(),
        }
    }

    /// That the parser has found something wrong.
    pub fn syntax(&self, error: &toml::de::Error) -> DataError {
        let offset = error.span().map_or(0, |span| span.start);
        self.error(offset, error.message())
    }
}
