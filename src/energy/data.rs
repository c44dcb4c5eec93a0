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

/// Whether a terminal only shows these words, and is not told to do anything. Prose has lines.
pub(super) fn is_plain(name: &str, prose: &[&str]) -> bool {
    let is_word = |c: char| !c.is_control();
    let is_prose = |c: char| is_word(c) || c == '\n' || c == '\t';
    name.chars().all(is_word) && prose.iter().all(|words| words.chars().all(is_prose))
}

/// What is said of those that are not.
pub(super) const NOT_PLAIN: &str = "a control character is in its name or words";

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

    /// That something is wrong in the table that begins at this byte offset: at the line of the key with
    /// which the words begin, where the table has it.
    pub fn error_in_table(&self, offset: usize, of: &str, problem: &str) -> DataError {
        let key = problem.split(' ').next().unwrap_or_default();
        let mut at = offset;
        let lines = self.text[offset..].split_inclusive('\n').enumerate();
        for (i, line) in lines.take_while(|(i, line)| *i == 0 || !line.starts_with('[')) {
            let name = line.split('=').next().unwrap_or_default();
            if i > 0 && name.trim() == key {
                return self.error(at, format_args!("{of}: {problem}"));
            }
            at += line.len();
        }
        self.error(offset, format_args!("{of}: {problem}"))
    }

    /// That the parser has found something wrong.
    pub fn syntax(&self, error: &toml::de::Error) -> DataError {
        let offset = error.span().map_or(0, |span| span.start);
        self.error(offset, error.message())
    }
}
