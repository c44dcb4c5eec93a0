//! The table of protocols: their numbers, names, default ports and message kinds.
//!
//! Data, read from `data/protocols.toml`. It is the one thing that the analysing wing and the
//! traffic-producing wing share, so that neither can copy a mistake of the other's code.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use serde::Deserialize;

/// UDP ports of marker datagrams.
pub const MARKER_PORTS: RangeInclusive<u16> = 8790..=8799;

/// The name under which marker datagrams stand in a report.
pub const MARKER_NAME: &str = "marker";

/// One protocol of the built-in plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// The protocol's number in a frame header.
    pub number: u16,
    /// Its name on the command line and in reports.
    pub name: String,
    /// Its default listening ports.
    pub ports: RangeInclusive<u16>,
    /// What one operation is called, where the protocol has been implemented.
    pub operation: Option<String>,
    /// Its message kinds.
    pub kinds: Vec<Kind>,
}

impl Protocol {
    /// The kind with this number in the frame header.
    pub fn kind(&self, number: u16) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.number == number)
    }
}

/// One message kind of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// The kind's number in a frame header.
    pub number: u16,
    /// Its name in ledgers and reports.
    pub name: String,
}

/// The built-in protocols, in the order of the data file.
pub fn built_in() -> &'static [Protocol] {
    &BUILT_IN
}

/// The built-in protocol of this name.
pub fn by_name(name: &str) -> Option<&'static Protocol> {
    BUILT_IN.iter().find(|protocol| protocol.name == name)
}

/// The built-in protocol with this number in the frame header.
pub fn by_number(number: u16) -> Option<&'static Protocol> {
    BUILT_IN.iter().find(|protocol| protocol.number == number)
}

/// What reports call this kind of this protocol, known or not.
pub fn kind_name(protocol: u16, kind: u16) -> Cow<'static, str> {
    match by_number(protocol).and_then(|protocol| protocol.kind(kind)) {
        Some(kind) => Cow::Borrowed(&kind.name),
        None => Cow::Owned(format!("protocol-{protocol}-kind-{kind}")),
    }
}

static BUILT_IN: LazyLock<Vec<Protocol>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        protocol: Vec<Row>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        number: u16,
        name: String,
        ports: String,
        operation: Option<String>,
        #[serde(default)]
        kinds: Vec<Kind>,
    }
    let file: File = toml::from_str(include_str!("../data/protocols.toml"))
        .expect("data/protocols.toml is part of the program and tested");
    file.protocol
        .into_iter()
        .map(|row| {
            let (low, high) = row.ports.split_once('-').expect("a range of ports");
            let port = |text: &str| text.parse().expect("a port number");
            Protocol {
                number: row.number,
                name: row.name,
                ports: port(low)..=port(high),
                operation: row.operation,
                kinds: row.kinds,
            }
        })
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_disjoint_and_below_the_ephemeral_ports() {
        let mut ranges: Vec<_> = built_in().iter().map(|p| p.ports.clone()).collect();
        ranges.push(MARKER_PORTS);
        ranges.sort_by_key(|range| *range.start());
        for pair in ranges.windows(2) {
            assert!(pair[0].end() < pair[1].start(), "{pair:?} overlap");
        }
        assert!(ranges.iter().all(|range| *range.end() < 32768));
    }

    #[test]
    fn numbers_and_names_are_unique() {
        let protocols = built_in();
        for (i, one) in protocols.iter().enumerate() {
            for other in &protocols[i + 1..] {
                assert_ne!(one.number, other.number);
                assert_ne!(one.name, other.name);
            }
            for (k, kind) in one.kinds.iter().enumerate() {
                for other in &one.kinds[k + 1..] {
                    assert_ne!(kind.number, other.number);
                    assert_ne!(kind.name, other.name);
                }
            }
        }
    }

    #[test]
    fn finds_by_name_and_number() {
        let ring = by_name("ring").unwrap();
        assert_eq!(ring.ports, 7100..=7199);
        assert_eq!(by_number(ring.number), Some(ring));
        assert_eq!(ring.kind(1).unwrap().name, "token");
        assert_eq!(ring.kind(99), None);
        assert_eq!(by_name("nothing"), None);
    }
}
