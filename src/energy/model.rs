//! Energy models, from `data/energy-models.toml` and the user's files of the same form.

use std::fmt;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Verified;
use super::data::{DataError, NOT_PLAIN, Named, is_plain};
use crate::tally::{Projection, ProtocolTally};
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

/// A measured device: what one frame costs one of its interfaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    #[serde(default)]
    pub verified: Verified,
}

impl Device {
    fn cost(&self) -> FrameCost {
        FrameCost {
            joules_per_packet: self.joules_per_packet,
            joules_per_byte: self.joules_per_byte,
        }
    }
}

/// What a frame costs: something for the frame, and something for each of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameCost {
    /// Joules for each frame.
    pub joules_per_packet: f64,
    /// Joules for each byte of a frame without frame check sequence.
    pub joules_per_byte: f64,
}

impl FrameCost {
    fn of(&self, frames: &Projection) -> f64 {
        self.joules_per_packet * frames.frames.get() as f64
            + self.joules_per_byte * frames.l2_bytes.get() as f64
    }
}

/// A figure, with the ends of its range where there is ground for one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figure {
    /// The central figure.
    pub central: f64,
    /// The lowest and the highest.
    pub range: Option<(f64, f64)>,
}

impl Figure {
    fn times(self, factor: f64) -> Self {
        Self {
            central: self.central * factor,
            range: self.range.map(|(low, high)| (low * factor, high * factor)),
        }
    }
}

/// What a model multiplies.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "basis", rename_all = "kebab-case")]
pub enum Basis {
    /// Complete messages.
    Messages {
        /// Joules for each.
        joules_per_message: Figure,
    },
    /// Lengths of IP packets, headers included.
    IpBytes {
        /// Joules for each byte.
        joules_per_byte: Figure,
        /// Of making the equipment, for each byte, where the model tells it.
        embodied_joules_per_byte: Option<f64>,
    },
    /// Frames and bytes of the projection onto Ethernet, through a chain of devices.
    Projection {
        /// The device of the central figure.
        device: Device,
        /// Comparable devices, between whose results the range lies.
        range: Vec<Device>,
        /// Interfaces that each frame passes at each device.
        interfaces_per_hop: u32,
    },
    /// The same frames, sent and received by radio once a hop.
    Radio {
        /// What sending costs.
        send: FrameCost,
        /// What receiving costs.
        receive: FrameCost,
    },
}

/// What models of devices and radios multiply, in words.
pub(super) const FRAMES: &str = "projected Ethernet frames";

impl Basis {
    /// What is multiplied, in words.
    pub fn counted(&self) -> &'static str {
        match self {
            Self::Messages { .. } => "messages",
            Self::IpBytes { .. } => "IP bytes",
            Self::Projection { .. } | Self::Radio { .. } => FRAMES,
        }
    }
}

/// An energy model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Model {
    /// Its name on the command line and in reports, with `{hops}` where it names their number.
    #[serde(skip)]
    template: String,
    /// Its name on the command line and in reports.
    pub name: String,
    /// What kind of figure it gives.
    pub class: ModelClass,
    /// What its figures are of, in a few words.
    pub scope: String,
    /// What its figures include and leave out.
    pub boundary: String,
    #[serde(skip)]
    boundary_template: String,
    /// What it multiplies.
    #[serde(flatten)]
    pub basis: Basis,
    /// Devices or links on the way whose energy it adds up, where it counts them.
    pub hops: Option<u32>,
    /// Energy that a building takes for each joule of the device (power usage effectiveness); 1 where
    /// the boundary ends at the device.
    pub pue: f64,
    /// The year of its figures, where known.
    pub year: Option<u16>,
    /// Where its figures are from.
    pub source: String,
    /// How they are known.
    pub verified: Verified,
    /// A checksum of the figures of a model of the user's own.
    #[serde(skip)]
    pub figures: Option<String>,
}

impl Model {
    /// Gives it the checksum of its figures, those of its devices among them.
    pub(super) fn sign(&mut self) {
        let all = format!("{:?} {:?}", self.class, self.basis);
        self.figures = Some(format!("{:08x}", crc32fast::hash(all.as_bytes())));
    }

    /// The same model over so many devices on the way; as it is where it does not count them.
    pub fn with_hops(mut self, hops: u32) -> Self {
        if self.hops.is_some() {
            self.hops = Some(hops);
            self.name = named(&self.template, self.hops);
            self.boundary = named(&self.boundary_template, self.hops);
        }
        self
    }

    /// The same model with what the building takes; as it is where its figures are not of devices
    /// alone: averages may hold it already, and a radio has no cooling.
    pub fn with_pue(mut self, pue: f64) -> Self {
        let device = [ModelClass::MarginalDevice, ModelClass::PowerTime];
        if device.contains(&self.class) {
            self.pue = pue;
        }
        self
    }

    /// The figures for this traffic.
    pub(super) fn joules(&self, tally: &ProtocolTally) -> Figure {
        let figure = match &self.basis {
            Basis::Messages { joules_per_message } => {
                joules_per_message.times(tally.messages.get() as f64)
            }
            Basis::IpBytes {
                joules_per_byte, ..
            } => joules_per_byte.times(tally.bytes.ip.get() as f64),
            Basis::Projection {
                device,
                range,
                interfaces_per_hop,
            } => {
                let of = |device: &Device| device.cost().of(&tally.projection);
                let central = of(device);
                let ends = range
                    .iter()
                    .map(of)
                    .fold((central, central), |(low, high), joules| {
                        (low.min(joules), high.max(joules))
                    });
                Figure {
                    central,
                    range: (!range.is_empty()).then_some(ends),
                }
                .times(f64::from(*interfaces_per_hop))
            }
            Basis::Radio { send, receive } => Figure {
                central: send.of(&tally.projection) + receive.of(&tally.projection),
                range: None,
            },
        };
        figure.times(f64::from(self.hops.unwrap_or(1)) * self.pue)
    }

    /// Energy of making the equipment that is ascribed to this traffic, where the model tells it.
    pub(super) fn embodied(&self, tally: &ProtocolTally) -> Option<Joules> {
        let Basis::IpBytes {
            embodied_joules_per_byte,
            ..
        } = self.basis
        else {
            return None;
        };
        // As often as the energy of use. What a building takes is no part of making the equipment.
        let hops = f64::from(self.hops.unwrap_or(1));
        embodied_joules_per_byte.map(|joules| Joules(joules * tally.bytes.ip.get() as f64 * hops))
    }
}

fn named(template: &str, hops: Option<u32>) -> String {
    match hops {
        Some(hops) => template.replace("{hops}", &hops.to_string()),
        None => template.to_owned(),
    }
}

/// A `[[model]]` table. Which figures it is to have depends on its basis.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    name: String,
    class: ModelClass,
    #[serde(default)]
    scope: String,
    boundary: String,
    basis: BasisName,
    joules_per_message: Option<f64>,
    joules_per_byte: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    embodied_joules_per_byte: Option<f64>,
    device: Option<String>,
    range: Option<Vec<String>>,
    interfaces_per_hop: Option<u32>,
    send: Option<FrameCost>,
    receive: Option<FrameCost>,
    hops: Option<u32>,
    year: Option<u16>,
    source: String,
    #[serde(default)]
    verified: Verified,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum BasisName {
    Messages,
    IpBytes,
    Projection,
    Radio,
}

impl Row {
    /// The model, of devices that are known.
    pub(super) fn model(
        row: Spanned<Self>,
        devices: &[Device],
        file: &Named<'_>,
    ) -> Result<Model, DataError> {
        let at = row.span().start;
        let row = row.into_inner();
        let name = row.name.clone();
        row.build(devices)
            .map_err(|problem| file.error_in_table(at, &format!("model {name:?}"), &problem))
    }

    fn build(self, devices: &[Device]) -> Result<Model, String> {
        self.check_figures()?;
        let basis = match self.basis {
            BasisName::Messages => Basis::Messages {
                joules_per_message: self.figure(self.joules_per_message)?,
            },
            BasisName::IpBytes => Basis::IpBytes {
                joules_per_byte: self.figure(self.joules_per_byte)?,
                embodied_joules_per_byte: self.embodied_joules_per_byte,
            },
            BasisName::Projection => {
                let device = |name: &String| {
                    let found = devices.iter().find(|device| device.name == *name);
                    found
                        .cloned()
                        .ok_or_else(|| format!("there is no [[device]] `{name}`"))
                };
                let range = self.range.as_deref().unwrap_or_default();
                Basis::Projection {
                    device: device(self.device.as_ref().ok_or("device is missing")?)?,
                    range: range.iter().map(device).collect::<Result<_, _>>()?,
                    interfaces_per_hop: self.interfaces_per_hop.unwrap_or(2),
                }
            }
            BasisName::Radio => Basis::Radio {
                send: self.send.ok_or("send is missing")?,
                receive: self.receive.ok_or("receive is missing")?,
            },
        };
        let counts_frames = matches!(self.basis, BasisName::Projection | BasisName::Radio);
        let hops = self.hops.or(counts_frames.then_some(1));
        if hops == Some(0) || self.interfaces_per_hop == Some(0) {
            return Err("hops and interfaces_per_hop are 1 or more".to_owned());
        }
        if self.name.is_empty() {
            return Err("name is empty".to_owned());
        }
        if !is_plain(
            &format!("{}{}", self.name, self.scope),
            &[&self.boundary, &self.source],
        ) {
            return Err(NOT_PLAIN.to_owned());
        }
        Ok(Model {
            name: named(&self.name, hops),
            template: self.name,
            class: self.class,
            scope: self.scope,
            boundary: named(&self.boundary, hops),
            boundary_template: self.boundary,
            basis,
            hops,
            pue: 1.0,
            year: self.year,
            source: self.source,
            verified: self.verified,
            figures: None,
        })
    }

    /// The basis' figure with the ends of its range.
    fn figure(&self, central: Option<f64>) -> Result<Figure, String> {
        let central = central.ok_or_else(|| format!("{} is missing", self.basis.figures()[0]))?;
        let range = match (self.low, self.high) {
            (None, None) => None,
            (Some(low), Some(high)) if low <= central && central <= high => Some((low, high)),
            _ => return Err("low and high go together, with the figure between them".to_owned()),
        };
        Ok(Figure { central, range })
    }

    /// Whether the figures are the basis' own, and could be energies.
    fn check_figures(&self) -> Result<(), String> {
        let costs = self.send.iter().chain(&self.receive);
        let costs: Vec<f64> = costs
            .flat_map(|cost| [cost.joules_per_packet, cost.joules_per_byte])
            .collect();
        let given = [
            ("joules_per_message", self.joules_per_message),
            ("joules_per_byte", self.joules_per_byte),
            ("embodied_joules_per_byte", self.embodied_joules_per_byte),
            ("low", self.low),
            ("high", self.high),
            ("device", self.device.as_ref().map(|_| 0.0)),
            ("range", self.range.as_ref().map(|_| 0.0)),
            ("interfaces_per_hop", self.interfaces_per_hop.map(f64::from)),
            ("send", self.send.map(|_| 0.0)),
            ("receive", self.receive.map(|_| 0.0)),
        ];
        let own = self.basis.figures();
        for (name, figure) in given {
            let Some(figure) = figure else { continue };
            if !own.contains(&name) {
                return Err(format!("{name} is no figure of its basis"));
            }
            if !is_energy(figure) {
                return Err(format!("{name} is to be a number, from 0 to a billion"));
            }
        }
        match costs.into_iter().all(is_energy) {
            true => Ok(()),
            false => Err("send and receive are to be numbers, from 0 to a billion".to_owned()),
        }
    }
}

impl BasisName {
    /// What a table of this basis may have.
    fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Messages => &["joules_per_message", "low", "high"],
            Self::IpBytes => &["joules_per_byte", "low", "high", "embodied_joules_per_byte"],
            Self::Projection => &["device", "range", "interfaces_per_hop"],
            Self::Radio => &["send", "receive"],
        }
    }
}

/// Whether a figure can be the joules of a message, frame or byte: a gigajoule is none's.
fn is_energy(figure: f64) -> bool {
    (0.0..=1e9).contains(&figure)
}

/// A `[[device]]` table.
pub(super) fn device(row: Spanned<Device>, file: &Named<'_>) -> Result<Device, DataError> {
    let at = row.span().start;
    let device = row.into_inner();
    let wrong = |problem: &str| {
        let device = format!("device {:?}", device.name);
        Err(file.error_in_table(at, &device, problem))
    };
    if !is_energy(device.joules_per_packet) {
        return wrong("joules_per_packet is to be a number, from 0 to a billion");
    }
    if !is_energy(device.joules_per_byte) {
        return wrong("joules_per_byte is to be a number, from 0 to a billion");
    }
    if !is_plain(
        &format!("{}{}", device.name, device.title),
        &[&device.source],
    ) {
        return wrong(NOT_PLAIN);
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::super::Library;
    use super::*;

    #[test]
    fn every_model_says_what_it_includes_and_where_it_is_from() {
        let library = Library::built_in();
        let models = library.models();
        assert_eq!(models[0].name, super::super::HEADLINE_MODEL);
        assert_eq!(models.len(), 18);
        for (i, model) in models.iter().enumerate() {
            assert!(!model.boundary.is_empty() && !model.source.is_empty());
            assert!(!model.scope.is_empty() && !model.boundary.contains('{'));
            assert!(models[..i].iter().all(|other| other.name != model.name));
            let figures = match &model.basis {
                Basis::Messages { joules_per_message } => vec![joules_per_message.central],
                Basis::IpBytes {
                    joules_per_byte, ..
                } => vec![joules_per_byte.central],
                Basis::Projection {
                    device,
                    range,
                    interfaces_per_hop,
                } => {
                    assert!(*interfaces_per_hop > 0);
                    assert!(range.is_empty() || range.contains(device));
                    assert_eq!(
                        (&model.source, model.verified),
                        (&device.source, device.verified)
                    );
                    vec![device.joules_per_packet, device.joules_per_byte]
                }
                Basis::Radio { send, receive } => vec![
                    send.joules_per_packet,
                    send.joules_per_byte,
                    receive.joules_per_packet,
                    receive.joules_per_byte,
                ],
            };
            assert!(figures.iter().all(|figure| *figure > 0.0 && *figure < 1.0));
        }
    }

    /// Of what is shipped unverified, nothing is shown first.
    #[test]
    fn no_recalled_figure_is_a_default() {
        let library = Library::built_in();
        let recalled = library
            .models()
            .iter()
            .filter(|m| m.verified == Verified::Recalled);
        assert_eq!(
            recalled.map(|m| &*m.name).collect::<Vec<_>>(),
            ["enterprise-switch"]
        );
        let headline = library.model(super::super::HEADLINE_MODEL).unwrap();
        let Basis::Projection { range, .. } = &headline.basis else {
            panic!("{headline:?}")
        };
        assert_eq!(range.len(), 4);
        assert!(range.iter().all(|device| device.verified == Verified::Read));
    }

    /// A nanojoule taken for a microjoule would stand out: routers need 1 to 100 nJ a packet and
    /// hundredths to tenths of a nanojoule a byte.
    #[test]
    fn devices_lie_in_the_range_that_routers_have() {
        let library = Library::built_in();
        assert_eq!(library.devices.len(), 5);
        for device in &library.devices {
            assert!(
                (1e-9..1e-7).contains(&device.joules_per_packet),
                "{device:?}"
            );
            assert!(
                (1e-11..1e-9).contains(&device.joules_per_byte),
                "{device:?}"
            );
        }
    }

    /// 1 kWh/GB = 3.6 mJ/B: the averages stand in the file as joules, and their sources in kWh/GB.
    #[test]
    fn averages_are_their_sources_kilowatt_hours_for_a_gigabyte() {
        for (name, kwh_per_gb) in [
            ("cloud-carbon-footprint", 0.001),
            ("aslan-2020", 0.0065),
            ("greenframe", 0.011),
            ("malmodin-2015", 0.023),
            ("sustainable-web-design-4", 0.059),
            ("aslan-2015", 0.06),
        ] {
            let library = Library::built_in();
            let model = library.model(name).unwrap();
            let Basis::IpBytes {
                joules_per_byte, ..
            } = model.basis
            else {
                panic!("{model:?}")
            };
            let joules = kwh_per_gb * 3.6e6 / 1e9;
            assert!(
                (joules_per_byte.central / joules - 1.0).abs() < 1e-12,
                "{name}"
            );
            assert!(model.source.contains(&format!("{kwh_per_gb} ")), "{name}");
        }
    }
}
