//! The list of disagreements, `tests/differential/disagreements.toml`: by reason, each with file,
//! quantity, what tshark counts and what WireWatt counts. It holds exactly.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// One quantity of one file on which the programs differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "(String, String, u64, u64)")]
pub struct Disagreement {
    pub file: String,
    pub quantity: String,
    pub tshark: u64,
    pub wirewatt: u64,
}

impl From<(String, String, u64, u64)> for Disagreement {
    fn from((file, quantity, tshark, wirewatt): (String, String, u64, u64)) -> Self {
        Self {
            file,
            quantity,
            tshark,
            wirewatt,
        }
    }
}

/// As a line of the list.
impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            quantity,
            tshark,
            wirewatt,
        } = self;
        write!(f, "[{file:?}, {quantity:?}, {tshark}, {wirewatt}],")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    disagreements: BTreeMap<String, Reason>,
    refused: BTreeMap<String, (String, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    why: String,
    files: Vec<Disagreement>,
}

/// The list.
pub struct Disagreements {
    all: Vec<Disagreement>,
    /// What WireWatt says of files that tshark reads.
    refused: BTreeMap<String, (String, String)>,
}

impl Disagreements {
    pub fn read() -> Self {
        let list = include_str!("disagreements.toml");
        let list: List = toml::from_str(list).expect("the list is TOML");
        let mut all = Vec::new();
        for (name, reason) in list.disagreements {
            assert!(!reason.why.is_empty(), "{name} says nothing");
            assert!(!reason.files.is_empty(), "{name} explains nothing");
            all.extend(reason.files);
        }
        all.sort();
        let same = |two: &&[Disagreement]| {
            (&two[0].file, &two[0].quantity) == (&two[1].file, &two[1].quantity)
        };
        assert_eq!(all.windows(2).find(same), None, "listed twice");
        Self {
            all,
            refused: list.refused,
        }
    }

    /// Whether a file is to be refused with this message.
    pub fn is_refused(&self, file: &str, message: &str) -> bool {
        let listed = self.refused.get(file);
        listed.is_some_and(|(expected, _)| message.contains(expected))
    }

    /// The files that are to be refused.
    pub fn refused(&self) -> impl Iterator<Item = &String> {
        self.refused.keys()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Those found that are not listed.
    pub fn unexpected<'a>(&self, found: &[&'a Disagreement]) -> Vec<&'a Disagreement> {
        let unlisted = |found: &&&Disagreement| self.all.binary_search(found).is_err();
        found.iter().filter(unlisted).copied().collect()
    }

    /// Those listed that were not found.
    pub fn missing(&self, found: &[&Disagreement]) -> Vec<&Disagreement> {
        self.all
            .iter()
            .filter(|listed| !found.contains(listed))
            .collect()
    }
}
