//! Which protocols a capture is sorted into: the built-in plan and what the user adds to it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use crate::flow::{Overlap, PortPlan, PortSet, ProtocolIndex, TransportKind};
use crate::message::{Coverage, Endian, FramingChoice};
use crate::protocols;

/// A protocol as a user defines it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtocolDefinition {
    /// Its name in reports. A built-in protocol's name takes that one's place.
    pub name: String,
    /// Its listening ports.
    pub ports: PortSet,
    /// Its transport; both where nothing is said.
    pub transport: Option<TransportKind>,
    /// How its messages are found.
    pub framing: FramingChoice,
}

/// Why a protocol's definition cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A `--protocol` that is not written as it should be.
    #[error(
        "--protocol '{text}': {problem}\nexpected NAME=PORTS[:FRAMING], as in redis=6379 or log=5140-5142:line"
    )]
    Argument {
        /// What was written.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A protocols file that cannot be read.
    #[error("cannot read the protocols file {path}: {error}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A protocols file that says something it cannot say.
    #[error("{path}:{line}: {problem}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// Two of the user's protocols want the same port.
    #[error(
        "protocols '{first}' and '{second}' both claim port {port}: give each port to one of them"
    )]
    Overlap {
        /// Who came first.
        first: String,
        /// Who came second.
        second: String,
        /// The port.
        port: u16,
    },
    /// Two of the user's protocols have the same name.
    #[error(
        "protocol '{0}' is defined twice: give all its ports in one definition, as in {0}=6379,16379"
    )]
    Twice(String),
}

impl FromStr for ProtocolDefinition {
    type Err = PlanError;

    /// `NAME=PORTS[:FRAMING]`; without a framing, `segment`.
    fn from_str(text: &str) -> Result<Self, PlanError> {
        let wrong = |problem: String| PlanError::Argument {
            text: text.to_owned(),
            problem,
        };
        let (name, rest) = text
            .split_once('=')
            .ok_or_else(|| wrong("there is no '='".to_owned()))?;
        if name.trim().is_empty() {
            return Err(wrong("the name is empty".to_owned()));
        }
        let (ports, framing) = match rest.split_once(':') {
            Some((ports, framing)) => (
                ports,
                framing.parse().map_err(|error| wrong(format!("{error}")))?,
            ),
            None => (rest, FramingChoice::Segment),
        };
        Ok(Self {
            name: name.trim().to_owned(),
            ports: ports.parse().map_err(|error| wrong(format!("{error}")))?,
            transport: None,
            framing,
        })
    }
}

/// Reads the protocols of a file of `[[protocol]]` tables.
///
/// # Errors
///
/// [`PlanError::Unreadable`] and [`PlanError::File`], the latter with the line.
pub fn read_protocols_file(path: &Path) -> Result<Vec<ProtocolDefinition>, PlanError> {
    let text = std::fs::read_to_string(path).map_err(|error| PlanError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    parse_protocols(&text).map_err(|(offset, problem)| PlanError::File {
        path: path.to_owned(),
        line: 1 + text[..offset.min(text.len())].matches('\n').count(),
        problem,
    })
}

/// Definitions from a file's text, or the byte offset of what is wrong and what it is.
fn parse_protocols(text: &str) -> Result<Vec<ProtocolDefinition>, (usize, String)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        protocol: Vec<Row>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        name: toml::Spanned<String>,
        ports: toml::Spanned<Vec<toml::Spanned<PortsText>>>,
        transport: Option<toml::Spanned<String>>,
        framing: Option<toml::Spanned<FramingText>>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum PortsText {
        Number(u16),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum FramingText {
        Name(String),
        Table(FramingTable),
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    struct FramingTable {
        length_prefixed: LengthPrefixTable,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct LengthPrefixTable {
        width: Option<u8>,
        endian: Option<String>,
        covers: Option<String>,
    }

    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let expected = "expected [[protocol]] tables with name = \"…\", ports = [\"6379\", \
                        \"16379-16389\"] and perhaps transport and framing";
        (
            offset,
            format!("{}; {expected}", error.message().trim_end()),
        )
    })?;
    let mut definitions = Vec::new();
    for row in file.protocol {
        let at = row.ports.span().start;
        if row.name.get_ref().trim().is_empty() {
            return Err((row.name.span().start, "the name is empty".to_owned()));
        }
        let mut sets = Vec::new();
        for ports in row.ports.into_inner() {
            let at = ports.span().start;
            let text = match ports.into_inner() {
                PortsText::Number(port) => port.to_string(),
                PortsText::Text(text) => text,
            };
            sets.push(
                text.parse::<PortSet>()
                    .map_err(|error| (at, error.to_string()))?,
            );
        }
        if sets.is_empty() {
            return Err((
                at,
                "no ports: expected at least one, as in [\"6379\"]".to_owned(),
            ));
        }
        let transport = match row.transport {
            None => None,
            Some(transport) => Some(match transport.get_ref().as_str() {
                "tcp" => TransportKind::Tcp,
                "udp" => TransportKind::Udp,
                other => {
                    let problem = format!("transport '{other}': expected \"tcp\" or \"udp\"");
                    return Err((transport.span().start, problem));
                }
            }),
        };
        let framing = match row.framing {
            None => FramingChoice::Segment,
            Some(framing) => {
                let at = framing.span().start;
                match framing.into_inner() {
                    FramingText::Name(name) => {
                        name.parse().map_err(|error| (at, format!("{error}")))?
                    }
                    FramingText::Table(FramingTable {
                        length_prefixed: table,
                    }) => length_prefixed(&table.width, &table.endian, &table.covers)
                        .map_err(|problem| (at, problem))?,
                }
            }
        };
        definitions.push(ProtocolDefinition {
            name: row.name.into_inner(),
            ports: PortSet::union(sets),
            transport,
            framing,
        });
    }
    Ok(definitions)
}

fn length_prefixed(
    width: &Option<u8>,
    endian: &Option<String>,
    covers: &Option<String>,
) -> Result<FramingChoice, String> {
    Ok(FramingChoice::LengthPrefixed {
        width: match width {
            None => 4,
            Some(width @ (1 | 2 | 4 | 8)) => *width,
            Some(other) => return Err(format!("width {other}: expected 1, 2, 4 or 8 bytes")),
        },
        endian: match endian.as_deref() {
            None | Some("big") => Endian::Big,
            Some("little") => Endian::Little,
            Some(other) => return Err(format!("endian '{other}': expected \"big\" or \"little\"")),
        },
        covers: match covers.as_deref() {
            None | Some("body") => Coverage::Body,
            Some("all") => Coverage::All,
            Some(other) => return Err(format!("covers '{other}': expected \"body\" or \"all\"")),
        },
    })
}

/// All protocols of an analysis and the ports that they listen on.
#[derive(Debug, Clone)]
pub struct ProtocolPlan {
    protocols: Vec<PlannedProtocol>,
    ports: PortPlan,
    marker: ProtocolIndex,
    fingerprint: PlanFingerprint,
}

/// Tells plans apart: reports on parts of a capture can be added only where packets were sorted by the
/// same ports into the same protocols with the same framings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanFingerprint(u64);

impl PlanFingerprint {
    /// FNV-1a (<https://www.rfc-editor.org/rfc/rfc9923>): short, and the same on every machine.
    fn of(text: &str) -> Self {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }
}

impl fmt::Display for PlanFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One protocol of a plan.
#[derive(Debug, Clone)]
pub struct PlannedProtocol {
    /// Its name in reports.
    pub name: String,
    /// Its listening ports, as written.
    pub ports: PortSet,
    /// How its messages are found.
    pub framing: FramingChoice,
    /// What one operation is called, where that is known.
    pub operation: Option<String>,
    /// Whether the user defined it: it is reported even when nothing of it was seen.
    pub by_user: bool,
}

impl ProtocolPlan {
    /// The built-in plan with the user's protocols before it.
    ///
    /// # Errors
    ///
    /// [`PlanError::Overlap`] and [`PlanError::Twice`] among the user's own.
    pub fn new(definitions: &[ProtocolDefinition]) -> Result<Self, PlanError> {
        let mut plan = Self {
            protocols: Vec::new(),
            ports: PortPlan::default(),
            marker: ProtocolIndex(0),
            fingerprint: PlanFingerprint(0),
        };
        for (i, definition) in definitions.iter().enumerate() {
            if definitions[..i]
                .iter()
                .any(|other| other.name == definition.name)
            {
                return Err(PlanError::Twice(definition.name.clone()));
            }
            let protocol = PlannedProtocol {
                name: definition.name.clone(),
                ports: definition.ports.clone(),
                framing: definition.framing,
                operation: protocols::by_name(&definition.name)
                    .and_then(|protocol| protocol.operation.clone()),
                by_user: true,
            };
            plan.add(protocol, definition.transport)?;
        }
        for protocol in protocols::built_in() {
            if definitions
                .iter()
                .any(|definition| definition.name == protocol.name)
            {
                continue;
            }
            let protocol = PlannedProtocol {
                name: protocol.name.clone(),
                ports: PortSet::range(protocol.ports.clone()),
                framing: FramingChoice::WireWatt { run: None },
                operation: protocol.operation.clone(),
                by_user: false,
            };
            plan.add(protocol, None)?;
        }
        let marker = PlannedProtocol {
            name: protocols::MARKER_NAME.to_owned(),
            ports: PortSet::range(protocols::MARKER_PORTS),
            framing: FramingChoice::Segment,
            operation: None,
            by_user: false,
        };
        plan.marker = plan.add(marker, Some(TransportKind::Udp))?;
        // What the user's protocols say of the transport stands in their definitions only.
        let sorted_by = format!("{definitions:?} {:?}", plan.protocols);
        plan.fingerprint = PlanFingerprint::of(&sorted_by);
        Ok(plan)
    }

    /// The built-in plan alone.
    pub fn built_in() -> Self {
        Self::new(&[]).expect("the built-in ranges do not overlap, which a test holds")
    }

    /// The protocols in their order: the user's first.
    pub fn protocols(&self) -> &[PlannedProtocol] {
        &self.protocols
    }

    /// What tells it from other plans.
    pub fn fingerprint(&self) -> PlanFingerprint {
        self.fingerprint
    }

    /// Which protocol listens on which port.
    pub fn ports(&self) -> &PortPlan {
        &self.ports
    }

    /// The place of marker datagrams.
    pub fn marker(&self) -> ProtocolIndex {
        self.marker
    }

    /// The protocol at this place.
    pub fn get(&self, index: ProtocolIndex) -> &PlannedProtocol {
        &self.protocols[usize::from(index.0)]
    }

    fn add(
        &mut self,
        protocol: PlannedProtocol,
        transport: Option<TransportKind>,
    ) -> Result<ProtocolIndex, PlanError> {
        let index = ProtocolIndex(self.protocols.len() as u16);
        for kind in [TransportKind::Tcp, TransportKind::Udp] {
            if transport.is_none_or(|transport| transport == kind) {
                let claim = self
                    .ports
                    .claim(index, &protocol.ports, kind, protocol.by_user);
                claim.map_err(|Overlap { port, holder }| PlanError::Overlap {
                    first: self.get(holder).name.clone(),
                    second: protocol.name.clone(),
                    port,
                })?;
            }
        }
        self.protocols.push(protocol);
        Ok(index)
    }
}

impl fmt::Display for PlannedProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.name, self.ports, self.framing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(text: &str) -> ProtocolDefinition {
        text.parse().unwrap()
    }

    #[test]
    fn a_definition_on_the_command_line() {
        let redis = definition("redis=6379,16379-16389:turn");
        assert_eq!(redis.ports.to_string(), "6379,16379-16389");
        assert_eq!(redis.framing, FramingChoice::Turn);
        assert_eq!(definition("x=1").framing, FramingChoice::Segment);
        for (text, part) in [
            ("redis", "no '='"),
            ("=5", "name is empty"),
            ("a=b", "'b' is no port"),
            ("a=1:resp2", "no framing is called 'resp2'"),
        ] {
            let error = text.parse::<ProtocolDefinition>().unwrap_err().to_string();
            assert!(
                error.contains(part) && error.contains("NAME=PORTS"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_defines_what_the_command_line_does_and_more() {
        let text = r#"
            [[protocol]]
            name = "redis"
            ports = ["6379", "16379-16389"]
            framing = "line"

            [[protocol]]
            name = "custom"
            ports = [5000]
            transport = "tcp"
            framing = { length-prefixed = { width = 2, endian = "little", covers = "all" } }
        "#;
        let definitions = parse_protocols(text).unwrap();
        assert_eq!(definitions[0], definition("redis=6379,16379-16389:line"));
        assert_eq!(
            definitions[1].framing.to_string(),
            "length-prefixed/2/little/all"
        );
        assert_eq!(definitions[1].transport, Some(TransportKind::Tcp));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_line() {
        let line_and_problem = |text: &str| {
            let (offset, problem) = parse_protocols(text).unwrap_err();
            (1 + text[..offset].matches('\n').count(), problem)
        };
        for (text, line, part) in [
            (
                "[[protocol]]\nname = \"a\"\nports = [\"9-1\"]\n",
                3,
                "'9-1' is no port",
            ),
            ("[[protocol]]\nname = \"a\"\nports = []\n", 3, "no ports"),
            (
                "[[protocol]]\nname = \"a\"\nports = [\"1\"]\nframing = \"x\"\n",
                4,
                "no framing",
            ),
            (
                "[[protocol]]\nname = \"a\"\nports = [\"1\"]\ntransport = \"x\"\n",
                4,
                "\"tcp\"",
            ),
            (
                "[[protocol]]\nname = \"a\"\nports = [\"1\"]\ncolour = 1\n",
                4,
                "colour",
            ),
            ("[[protocol]\n", 1, "expected"),
        ] {
            let (at, problem) = line_and_problem(text);
            assert!(
                at == line && problem.contains(part),
                "{text}: line {at}: {problem}"
            );
        }
    }

    #[test]
    fn the_users_own_may_not_overlap_and_may_replace_built_in_ones() {
        let error = ProtocolPlan::new(&[definition("a=5-9"), definition("b=9")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "protocols 'a' and 'b' both claim port 9: give each port to one of them"
        );
        assert!(ProtocolPlan::new(&[definition("a=5"), definition("a=6")]).is_err());

        let plan = ProtocolPlan::new(&[definition("ring=20000:wirewatt")]).unwrap();
        let ring = plan
            .protocols()
            .iter()
            .filter(|protocol| protocol.name == "ring");
        assert_eq!(ring.count(), 1);
        let on = |port| plan.ports().protocol(TransportKind::Tcp, port);
        assert_eq!(on(7100), None);
        assert_eq!(
            plan.get(on(20_000).unwrap()).operation.as_deref(),
            Some("circulation")
        );
    }
}
