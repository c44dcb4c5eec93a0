//! What a part of a divided capture says of itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which part of which divided capture: so that no part is forgotten, and none counts twice, where
/// what was found in them is added.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Names the division: all parts of a capture that was divided once have the same.
    pub set: String,
    /// Which part, from 1.
    pub number: u16,
    /// How many parts there are.
    pub of: u16,
}

const BEGIN: &str = "wirewatt split: part ";

/// The comment on the statistics of a part whose source was cut short.
pub(super) const CUT_SHORT: &str = "wirewatt split: the divided capture was cut short";

/// As in the comment on a part's section header: `wirewatt split: part 2 of 4 of 0f1e2d3c4b5a6978`.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{BEGIN}{} of {} of {}", self.number, self.of, self.set)
    }
}

impl Part {
    /// Whether what is known of drops stands in another of these parts, and not in this one: of a
    /// divided capture, the first part has it.
    pub fn leaves_drops_to(&self, firsts: &[Self]) -> bool {
        self.number > 1
            && firsts
                .iter()
                .any(|first| first.number == 1 && first.set == self.set)
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(comment: &str) -> Result<Self, ()> {
        const LONGEST: usize = 64;
        let mut words = comment.strip_prefix(BEGIN).ok_or(())?.split(" of ");
        let mut word = || words.next().ok_or(());
        let number = word()?.parse().map_err(|_| ())?;
        let of = word()?.parse().map_err(|_| ())?;
        let set = word()?.to_owned();
        let is_one = (1..=of).contains(&number) && set.len() <= LONGEST;
        match words.next() {
            None if is_one => Ok(Self { set, number, of }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_read_as_it_is_written() {
        let part = Part {
            set: "0f1e2d3c4b5a6978".to_owned(),
            number: 2,
            of: 4,
        };
        let comment = "wirewatt split: part 2 of 4 of 0f1e2d3c4b5a6978";
        assert_eq!(part.to_string(), comment);
        assert_eq!(comment.parse(), Ok(part));
        for other in [
            "",
            "wirewatt split: part 0 of 4 of a",
            "wirewatt split: part 5 of 4 of a",
            "wirewatt split: part 1 of 4",
            "wirewatt split: part 1 of 4 of a of b",
            "wirewatt split: part x of 4 of a",
        ] {
            assert_eq!(other.parse::<Part>(), Err(()), "{other}");
        }
    }
}
