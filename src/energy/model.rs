//! Energy models, from `data/energy-models.toml`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tally::ProtocolTally;
use crate::units::Joules;

/// What kind of figure a model gives. Averages and marginal figures differ by about 10⁵: only
/// figures of one class compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelClass {
    /// A flat figure for each message.
    PerMessage,
    /// A network's whole energy divided by its traffic.
    AverageAllocation,
    /// What one more packet costs a device that is on anyway.
    MarginalDevice,
    /// A device's power over the time of use.
    PowerTime,
    /// Sending and receiving by radio.
    Radio,
}

impl fmt::Display for ModelClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::PerMessage => "per message",
            Self::AverageAllocation => "average allocation",
            Self::MarginalDevice => "marginal device",
            Self::PowerTime => "power x time",
            Self::Radio => "radio",
        })
    }
}

/// How a figure of a data file is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// It was read in its source.
    Read,
    /// It was read in another source that quotes it.
    Quoted,
    /// Nothing supports it.
    None,
}

/// A measured device: what one frame costs one of its interfaces.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Its name in the data file.
    pub name: String,
    /// Its name in the world.
    pub title: String,
    /// Joules for each frame at one interface.
    pub joules_per_packet: f64,
    /// Joules for each byte of a frame without frame check sequence, at one interface.
    pub joules_per_byte: f64,
    /// The year of the figure, where known.
    pub year: Option<u16>,
    /// Where the figures are from.
    pub source: String,
    /// How they are known.
    pub verified: Verified,
}

impl Device {
    /// One interface's energy for the frames that the projection of the traffic makes.
    fn joules(&self, tally: &ProtocolTally) -> f64 {
        self.joules_per_packet * tally.projection.frames.get() as f64
            + self.joules_per_byte * tally.projection.l2_bytes.get() as f64
    }
}

/// What a model multiplies.
#[derive(Debug, Clone, PartialEq)]
pub enum Basis {
    /// Complete messages.
    Messages {
        /// Joules for each.
        joules_per_message: f64,
    },
    /// Frames and bytes of the projection onto Ethernet, through a chain of devices.
    Projection {
        /// The device of the central figure.
        device: Device,
        /// Comparable devices, between whose results the range lies.
        range: Vec<Device>,
        /// Devices in the chain.
        hops: u32,
        /// Interfaces that each frame passes at each device.
        interfaces_per_hop: u32,
    },
}

/// An energy model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name on the command line and in reports.
    pub name: String,
    /// What kind of figure it gives.
    pub class: ModelClass,
    /// What its figures include and leave out.
    pub boundary: String,
    /// What it multiplies.
    pub basis: Basis,
    /// The year of its figures, where known.
    pub year: Option<u16>,
    /// Where its figures are from.
    pub source: String,
    /// How they are known.
    pub verified: Verified,
}

impl Model {
    /// How many devices on the way the model adds up, where it has hops.
    pub fn hops(&self) -> Option<u32> {
        match self.basis {
            Basis::Projection { hops, .. } => Some(hops),
            Basis::Messages { .. } => None,
        }
    }

    /// The central figure for this traffic, and the lowest and highest where the model has a range.
    pub(super) fn joules(&self, tally: &ProtocolTally) -> (Joules, Option<(Joules, Joules)>) {
        match &self.basis {
            Basis::Messages { joules_per_message } => (
                Joules(joules_per_message * tally.messages.get() as f64),
                None,
            ),
            Basis::Projection {
                device,
                range,
                hops,
                interfaces_per_hop,
            } => {
                let interfaces = f64::from(hops * interfaces_per_hop);
                let central = interfaces * device.joules(tally);
                let others = range.iter().map(|device| interfaces * device.joules(tally));
                let (low, high) = others.fold((central, central), |(low, high), joules| {
                    (low.min(joules), high.max(joules))
                });
                let range = (!range.is_empty()).then_some((Joules(low), Joules(high)));
                (Joules(central), range)
            }
        }
    }
}

#[derive(Deserialize)]
struct File {
    device: Vec<Device>,
    model: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    class: ModelClass,
    boundary: String,
    #[serde(flatten)]
    basis: BasisRow,
    year: Option<u16>,
    source: String,
    verified: Verified,
}

#[derive(Deserialize)]
#[serde(tag = "basis", rename_all = "lowercase")]
enum BasisRow {
    Messages {
        joules_per_message: f64,
    },
    Projection {
        device: String,
        #[serde(default)]
        range: Vec<String>,
        hops: u32,
        interfaces_per_hop: u32,
    },
}

/// The models that ship with the program.
pub(super) fn built_in() -> Vec<Model> {
    let file: File = toml::from_str(include_str!("../../data/energy-models.toml"))
        .expect("data/energy-models.toml is part of the program and tested");
    let device = |name: &String| {
        let found = file.device.iter().find(|device| device.name == *name);
        found
            .unwrap_or_else(|| panic!("data/energy-models.toml: no device `{name}`"))
            .clone()
    };
    let basis = |row: BasisRow| match row {
        BasisRow::Messages { joules_per_message } => Basis::Messages { joules_per_message },
        BasisRow::Projection {
            device: central,
            range,
            hops,
            interfaces_per_hop,
        } => Basis::Projection {
            device: device(&central),
            range: range.iter().map(device).collect(),
            hops,
            interfaces_per_hop,
        },
    };
    file.model
        .into_iter()
        .map(|row| Model {
            name: row.name,
            class: row.class,
            boundary: row.boundary,
            basis: basis(row.basis),
            year: row.year,
            source: row.source,
            verified: row.verified,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_says_what_it_includes_and_where_it_is_from() {
        let models = built_in();
        assert_eq!(models[0].name, super::super::HEADLINE_MODEL);
        for (i, model) in models.iter().enumerate() {
            assert!(!model.boundary.is_empty() && !model.source.is_empty());
            assert!(models[..i].iter().all(|other| other.name != model.name));
            let figures = match &model.basis {
                Basis::Messages { joules_per_message } => vec![*joules_per_message],
                Basis::Projection {
                    device,
                    range,
                    hops,
                    interfaces_per_hop,
                } => {
                    assert!(*hops > 0 && *interfaces_per_hop > 0);
                    assert!(range.is_empty() || range.contains(device));
                    assert_eq!(model.source, device.source);
                    vec![device.joules_per_packet, device.joules_per_byte]
                }
            };
            assert!(figures.iter().all(|figure| *figure > 0.0 && *figure < 1.0));
        }
    }

    /// A nanojoule taken for a microjoule would stand out: routers need 1 to 100 nJ a packet and
    /// hundredths to tenths of a nanojoule a byte.
    #[test]
    fn devices_lie_in_the_range_that_routers_have() {
        let file: File = toml::from_str(include_str!("../../data/energy-models.toml")).unwrap();
        assert_eq!(file.device.len(), 4);
        for device in file.device {
            assert!(
                (1e-9..1e-7).contains(&device.joules_per_packet),
                "{device:?}"
            );
            assert!(
                (1e-11..1e-9).contains(&device.joules_per_byte),
                "{device:?}"
            );
            assert_eq!(device.verified, Verified::Read);
        }
    }
}
