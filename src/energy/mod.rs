//! Energy and emissions that models ascribe to counted traffic.
//!
//! In: a protocol's tally, a model and a grid by name. Out: an [`Estimate`] in joules and grams
//! with everything needed to read it: the model's class and boundary, the grid's gas. Figures live
//! in `data/energy-models.toml` and `data/grids.toml` with their sources; nothing but `host` measures.
//! Loopback traffic used no network equipment at all: figures read "as if on the wire".

mod data;
mod grid;
mod host;
mod model;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Spanned;

pub use data::{DataError, Verified};
pub use grid::{Gas, Grid};
pub use host::{AboveIdle, HostEnergy, HostMeter, HostSensors, Idle, Measured, POWERCAP};
pub use model::{Basis, Device, Figure, FrameCost, Model, ModelClass};

use crate::tally::ProtocolTally;
use crate::units::{Grams, Joules};
use data::Named;

/// The model whose figures a report shows first.
pub const HEADLINE_MODEL: &str = "datacenter-3-hops";
/// The grid that is used where none was chosen.
pub const DEFAULT_GRID: &str = "us-2018";

/// No building takes so much for each joule of its devices; usual are 1.1 to 2.
const MOST_PUE: f64 = 100.0;

/// One kilowatt-hour in joules, exactly.
pub const JOULES_PER_KWH: f64 = 3.6e6;

/// What a model ascribes to some traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Central figure.
    pub joules: Joules,
    /// Lowest figure in the model's range; null where its source gives no ground for a range.
    pub low: Option<Joules>,
    /// Highest figure in the model's range.
    pub high: Option<Joules>,
    /// The model's name.
    pub model: String,
    /// What kind of model it is: figures of different classes are not comparable.
    pub class: ModelClass,
    /// What the figure includes.
    pub boundary: String,
    /// How many devices on the way it adds up, where the model has hops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hops: Option<u32>,
    /// The year of the model's figures, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// Where the model's figures are from.
    #[serde(default)]
    pub source: String,
    /// What the figure is of, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// What the model multiplies, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub counted: String,
    /// How the model's figures are known; absent in reports that were made before this was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What the building takes for each joule of the devices, where that is in the figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pue: Option<f64>,
    /// Energy of making the equipment, in none of the figures above, where the model tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embodied: Option<Joules>,
    /// A checksum of the figures of a model of the user's own: another one may have its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<String>,
}

impl Energy {
    /// Whether it is of the projection's frames, and so depends on the MTU.
    pub fn is_of_frames(&self) -> bool {
        self.counted == model::FRAMES
    }
}

/// What a grid emits to supply that energy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Carbon {
    /// Central figure.
    pub grams: Grams,
    /// Which gas is weighed.
    pub gas: Gas,
    /// The IPCC report whose 100-year warming potentials were used; null where there are none.
    pub gwp_basis: Option<String>,
    /// At the lowest energy.
    pub low: Option<Grams>,
    /// At the highest energy.
    pub high: Option<Grams>,
    /// The grid's name.
    pub grid: String,
    /// The grid's rate.
    pub grams_per_kwh: f64,
    /// The year of the grid's data, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
    /// Where the rate is from.
    #[serde(default)]
    pub source: String,
}

/// Energy by one model and the emissions of supplying it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Energy by the model.
    pub energy: Energy,
    /// Emissions by the grid.
    pub carbon: Carbon,
}

/// What `model` ascribes to the traffic of `tally`, supplied by `grid`.
pub fn estimate(tally: &ProtocolTally, model: &Model, grid: &Grid) -> Estimate {
    let figure = model.joules(tally);
    let joules = Joules(figure.central);
    let range = figure.range.map(|(low, high)| (Joules(low), Joules(high)));
    Estimate {
        energy: Energy {
            joules,
            low: range.map(|(low, _)| low),
            high: range.map(|(_, high)| high),
            model: model.name.clone(),
            class: model.class,
            boundary: model.boundary.clone(),
            hops: model.hops,
            year: model.year,
            source: model.source.clone(),
            scope: model.scope.clone(),
            counted: model.basis.counted().to_owned(),
            verified: Some(model.verified),
            pue: (model.pue != 1.0).then_some(model.pue),
            embodied: model.embodied(tally),
            figures: model.figures.clone(),
        },
        carbon: Carbon {
            grams: grid.emissions(joules),
            gas: grid.gas,
            gwp_basis: grid.gwp_basis.clone(),
            low: range.map(|(low, _)| grid.emissions(low)),
            high: range.map(|(_, high)| grid.emissions(high)),
            grid: grid.name.clone(),
            grams_per_kwh: grid.grams_per_kwh,
            year: grid.year,
            source: grid.source.clone(),
        },
    }
}

/// The models and grids that are known: those that are built in, and the user's.
#[derive(Debug, Clone)]
pub struct Library {
    devices: Vec<Device>,
    models: Vec<Model>,
    grids: Vec<Grid>,
}

/// Why a model or grid cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnergyError {
    /// No model has this name.
    #[error(
        "no energy model is called `{name}`{nearest}; `wirewatt list models` tells all: {known}"
    )]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// What may have been meant, in words.
        nearest: String,
        /// The names that exist.
        known: String,
    },
    /// Neither a grid's name nor a rate.
    #[error(
        "`{given}` is neither a grid nor a rate in g/kWh (0 to 1,000,000){nearest}; `wirewatt list grids` tells \
         all, such as {known}"
    )]
    UnknownGrid {
        /// What was asked for.
        given: String,
        /// What may have been meant, in words.
        nearest: String,
        /// Names that exist.
        known: String,
    },
    /// The user's file cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The user's file has a mistake.
    #[error(transparent)]
    Data(#[from] DataError),
    /// `--hops` for a model that has none.
    #[error("the model {model} counts no devices on the way: there is nothing to set with --hops")]
    NoHops {
        /// The model.
        model: String,
    },
    /// A power usage effectiveness that none is.
    #[error(
        "a PUE of {0}: what a building takes for each joule of its devices is from 1 to {MOST_PUE}"
    )]
    Pue(f64),
}

/// A file of devices, models and grids.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    device: Vec<Spanned<Device>>,
    #[serde(default)]
    model: Vec<Spanned<model::Row>>,
    #[serde(default)]
    grid: Vec<Spanned<grid::Row>>,
}

impl Library {
    /// What ships with the program, the headline model and the default grid first.
    pub fn built_in() -> Self {
        let mut library = Self {
            devices: Vec::new(),
            models: Vec::new(),
            grids: grid::built_in(),
        };
        let text = include_str!("../../data/energy-models.toml");
        let file = Named {
            file: "data/energy-models.toml",
            text,
        };
        library
            .add(&file)
            .expect("data/energy-models.toml is part of the program and tested");
        library
    }

    /// Adds the devices, models and grids of a user's file, which has the form of the shipped ones.
    ///
    /// # Errors
    ///
    /// [`EnergyError::Unreadable`], and [`EnergyError::Data`] with the line of a mistake.
    pub fn add_file(&mut self, path: &Path) -> Result<(), EnergyError> {
        let text = fs::read_to_string(path).map_err(|error| EnergyError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        let file = path.display().to_string();
        let before = self.models.len();
        self.add(&Named {
            file: &file,
            text: &text,
        })?;
        for model in &mut self.models[before..] {
            model.sign();
        }
        Ok(())
    }

    fn add(&mut self, file: &Named<'_>) -> Result<(), DataError> {
        let read: File = toml::from_str(file.text).map_err(|error| file.syntax(&error))?;
        let taken = |at: usize, what: &str, name: &str| {
            let problem = format!("the {what} `{name}` is there already: give it another name");
            Err(file.error(at, problem))
        };
        for row in read.device {
            let at = row.span().start;
            let device = model::device(row, file)?;
            if self.devices.iter().any(|other| other.name == device.name) {
                return taken(at, "device", &device.name);
            }
            self.devices.push(device);
        }
        for row in read.model {
            let at = row.span().start;
            let model = model::Row::model(row, &self.devices, file)?;
            if self.models.iter().any(|other| other.name == model.name) {
                return taken(at, "model", &model.name);
            }
            self.models.push(model);
        }
        for row in read.grid {
            let at = row.span().start;
            let grid = grid::Row::grid(row, file)?;
            if self.grids.iter().any(|other| other.name == grid.name) {
                return taken(at, "grid", &grid.name);
            }
            self.grids.push(grid);
        }
        Ok(())
    }

    /// All models, the headline first.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// All grids, the default first.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// All devices that models are chains of.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Result<&Model, EnergyError> {
        self.models
            .iter()
            .find(|model| model.name == name)
            .ok_or_else(|| EnergyError::UnknownModel {
                name: name.to_owned(),
                nearest: nearest(name, self.models.iter().map(|model| &*model.name)),
                known: names(self.models.iter().map(|model| &model.name)),
            })
    }

    /// The grid of this name, or one made from a rate in g/kWh (`385`), whose gas is unspecified.
    pub fn grid(&self, name_or_rate: &str) -> Result<Grid, EnergyError> {
        self.grids
            .iter()
            .find(|grid| grid.name == name_or_rate)
            .cloned()
            .or_else(|| Grid::from_rate(name_or_rate))
            .ok_or_else(|| {
                let national = |grid: &&Grid| grid.name.matches('-').count() == 1;
                EnergyError::UnknownGrid {
                    given: name_or_rate.to_owned(),
                    nearest: nearest(name_or_rate, self.grids.iter().map(|grid| &*grid.name)),
                    known: names(self.grids.iter().filter(national).map(|grid| &grid.name)),
                }
            })
    }

    /// Sets the devices on the way in every model that counts them.
    pub fn set_hops(&mut self, hops: u32) {
        for model in &mut self.models {
            *model = model.clone().with_hops(hops);
        }
    }

    /// Sets what the building takes for each joule, in every model whose figures are of devices alone.
    ///
    /// # Errors
    ///
    /// [`EnergyError::Pue`] where it is no number, or below 1.
    pub fn set_pue(&mut self, pue: f64) -> Result<(), EnergyError> {
        if !(1.0..=MOST_PUE).contains(&pue) {
            return Err(EnergyError::Pue(pue));
        }
        for model in &mut self.models {
            *model = model.clone().with_pue(pue);
        }
        Ok(())
    }
}

impl Default for Library {
    fn default() -> Self {
        Self::built_in()
    }
}

/// `: perhaps A or B?`, the names that are nearly this one; nothing where none is.
fn nearest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 3;
    // No name is so long; and time grows with the length.
    let given: String = given.chars().take(80).collect();
    let most = given.chars().count() / 4;
    let mut near: Vec<(usize, &str)> = names
        .filter_map(|name| {
            let distance = match !given.is_empty() && name.starts_with(&given) {
                true => 0,
                false => edits(&given, name),
            };
            (distance <= most).then_some((distance, name))
        })
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    let near: Vec<&str> = near.iter().take(MOST).map(|(_, name)| *name).collect();
    match near.is_empty() {
        true => String::new(),
        false => format!(": perhaps {}?", near.join(" or ")),
    }
}

/// The least number of characters to add, take away or replace (Levenshtein 1966).
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, from) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{IpBytes, L2Bytes, Messages, Packets, WattHours};
    use proptest::prelude::*;

    fn tally(messages: u64, frames: u64, l2_bytes: u64) -> ProtocolTally {
        let mut tally = ProtocolTally {
            messages: Messages::new(messages),
            ..ProtocolTally::default()
        };
        tally.projection.frames = Packets::new(frames);
        tally.projection.l2_bytes = L2Bytes::new(l2_bytes);
        tally.bytes.ip = IpBytes::new(l2_bytes.saturating_sub(14 * frames));
        tally
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() <= right.abs() * 1e-12
    }

    #[test]
    fn headline_is_three_hops_of_two_interfaces() {
        let library = Library::built_in();
        let model = library.model(HEADLINE_MODEL).unwrap();
        let grid = library.grid(DEFAULT_GRID).unwrap();
        for (frames, l2_bytes) in [(0, 0), (1, 60), (41, 3200), (1_000_000, 1_514_000_000)] {
            let energy = estimate(&tally(0, frames, l2_bytes), model, &grid).energy;
            let at = |packet: f64, byte: f64| {
                6.0 * (packet * 1e-9 * frames as f64 + byte * 1e-9 * l2_bytes as f64)
            };
            assert!(close(energy.joules.0, at(26.3, 0.0688)), "{energy:?}");
            let others = [at(58.3, 0.172), at(13.4, 0.0256), at(9.34, 0.0972)];
            let low = others.into_iter().fold(energy.joules.0, f64::min);
            let high = others.into_iter().fold(energy.joules.0, f64::max);
            assert!(close(energy.low.unwrap().0, low));
            assert!(close(energy.high.unwrap().0, high));
            assert_eq!(energy.class, ModelClass::MarginalDevice);
        }
    }

    /// origin.md's graph: grams = messages × 0.02 µWh × 0.000000429 g/µWh.
    #[test]
    fn the_graph_of_2021_can_be_drawn_again() {
        let library = Library::built_in();
        let model = library.model("per-message-2021").unwrap();
        let grid = library.grid("us-2018-rounded").unwrap();
        // Its bars were 2, 99, 1000, 4000 and 5441 messages.
        for messages in [0, 1, 2, 99, 1000, 4000, 5441] {
            let estimate = estimate(&tally(messages, 9, 999), model, &grid);
            let grams = messages as f64 * 0.02 * 0.000_000_429;
            assert!(close(estimate.carbon.grams.0, grams), "{estimate:?}");
            assert!(close(estimate.energy.joules.0, messages as f64 * 72e-6));
            assert_eq!(estimate.energy.low, None);
            assert_eq!(estimate.carbon.high, None);
        }
    }

    #[test]
    fn us_2018_is_co2_alone_at_429_64_g_per_kwh() {
        let grid = Library::built_in().grid(DEFAULT_GRID).unwrap();
        assert_eq!((grid.gas, grid.gwp_basis.as_deref()), (Gas::Co2, None));
        // 947.2 lb/MWh × 453.59237 g/lb / 1000 kWh/MWh
        assert!(close(grid.grams_per_kwh, 429.642_692_864));
        assert!(close(grid.emissions(Joules(3.6e6)).0, 429.642_692_864));
        assert_eq!(grid.emissions(Joules(0.0)).0, 0.0);
    }

    #[test]
    fn a_rate_of_the_users_own_has_an_unspecified_gas() {
        let library = Library::built_in();
        let grid = library.grid("385").unwrap();
        assert_eq!((grid.gas, grid.grams_per_kwh), (Gas::Unspecified, 385.0));
        assert_eq!(grid.name, "385 g/kWh");
        assert_eq!(library.grid("0.5").unwrap().grams_per_kwh, 0.5);
        for wrong in ["", "-1", "nan", "inf", "us", "385g", "1e308"] {
            let error = library.grid(wrong).unwrap_err().to_string();
            assert!(error.contains("us-2018"), "{error}");
        }
        let error = library.model("nothing").unwrap_err().to_string();
        assert!(
            error.contains("datacenter-3-hops, cisco-ncs-55a1-24h, "),
            "{error}"
        );
    }

    /// The grams of the original's second graph, to the digit.
    #[test]
    fn the_bars_of_2021_have_their_grams() {
        let library = Library::built_in();
        let model = library.model("per-message-2021").unwrap();
        let grid = library.grid("us-2018-rounded").unwrap();
        for (messages, grams) in [
            (2, 1.716e-8),
            (99, 8.494_2e-7),
            (1000, 8.58e-6),
            (4000, 3.432e-5),
            (5441, 4.668_378e-5),
        ] {
            let carbon = estimate(&tally(messages, 0, 0), model, &grid).carbon;
            assert!(close(carbon.grams.0, grams), "{messages}: {carbon:?}");
        }
    }

    #[test]
    fn hops_multiply_and_are_named() {
        let mut library = Library::built_in();
        let grid = library.grid(DEFAULT_GRID).unwrap();
        let traffic = tally(10, 41, 3200);
        let of = |library: &Library, name: &str| {
            estimate(&traffic, library.model(name).unwrap(), &grid).energy
        };
        let (three, one) = (of(&library, HEADLINE_MODEL), of(&library, "wifi-2-mbps"));
        let average = of(&library, "aslan-2015");
        library.set_hops(6);
        let six = of(&library, "datacenter-6-hops");
        assert!(library.model(HEADLINE_MODEL).is_err());
        assert!(close(six.joules.0, 2.0 * three.joules.0));
        assert!(close(six.high.unwrap().0, 2.0 * three.high.unwrap().0));
        assert_eq!((six.hops, three.hops), (Some(6), Some(3)));
        assert!(
            six.boundary.starts_with("switches in a row, 6 of them"),
            "{}",
            six.boundary
        );
        let links = of(&library, "wifi-2-mbps");
        assert!(close(links.joules.0, 6.0 * one.joules.0));
        assert_eq!(of(&library, "aslan-2015"), average);
    }

    #[test]
    fn a_buildings_share_is_of_devices_alone() {
        let mut library = Library::built_in();
        let grid = library.grid(DEFAULT_GRID).unwrap();
        let traffic = tally(10, 41, 3200);
        let all = |library: &Library| -> Vec<Energy> {
            let models = library.models().iter();
            models
                .map(|m| estimate(&traffic, m, &grid).energy)
                .collect()
        };
        let without = all(&library);
        library.set_pue(1.5).unwrap();
        for (with, without) in all(&library).into_iter().zip(without) {
            let (factor, pue) = match with.class {
                ModelClass::MarginalDevice => (1.5, Some(1.5)),
                _ => (1.0, None),
            };
            assert!(close(with.joules.0, factor * without.joules.0), "{with:?}");
            assert_eq!(with.pue, pue);
        }
        for wrong in [0.99, -1.0, 100.1, 1e308, f64::NAN, f64::INFINITY] {
            assert!(library.set_pue(wrong).is_err(), "{wrong}");
        }
    }

    /// Two frames of 60 and 1000 bytes, by hand: 2 × (454 + 356) µJ + 1060 × (1.9 + 0.5) µJ.
    #[test]
    fn a_radio_sends_and_receives_each_frame() {
        let library = Library::built_in();
        let grid = library.grid(DEFAULT_GRID).unwrap();
        let model = library.model("wifi-2-mbps").unwrap();
        let energy = estimate(&tally(1, 2, 1060), model, &grid).energy;
        assert!(close(energy.joules.0, 1620e-6 + 2544e-6), "{energy:?}");
        assert_eq!(energy.class, ModelClass::Radio);
    }

    /// 1 GB of IP packets by Sustainable Web Design: 0.059 kWh, and 0.013 kWh for the equipment.
    #[test]
    fn averages_take_ip_bytes_and_keep_the_equipment_apart() {
        let library = Library::built_in();
        let grid = library.grid("us-2022").unwrap();
        let model = library.model("sustainable-web-design-4").unwrap();
        let mut traffic = tally(1, 0, 0);
        traffic.bytes.ip = IpBytes::new(1_000_000_000);
        let Estimate { energy, carbon } = estimate(&traffic, model, &grid);
        assert!(close(WattHours::from(energy.joules).0, 59.0));
        assert!(close(WattHours::from(energy.embodied.unwrap()).0, 13.0));
        assert!(close(carbon.grams.0, 0.059 * grid.grams_per_kwh));
        assert_eq!(carbon.gas, Gas::Co2e);
    }

    fn read(text: &str) -> Result<Library, DataError> {
        let mut library = Library::built_in();
        let file = "mine.toml";
        library.add(&Named { file, text }).map(|()| library)
    }

    #[test]
    fn a_users_models_and_grids_stand_beside_the_built_in() {
        let library = read(
            r#"
            [[device]]
            name = "my-switch"
            title = "A switch of mine"
            joules_per_packet = 1e-6
            joules_per_byte = 2e-9
            source = "a meter"

            [[model]]
            name = "my-{hops}-switches"
            class = "marginal-device"
            boundary = "{hops} switches"
            basis = "projection"
            device = "my-switch"
            range = ["my-switch", "cisco-8201-32fh"]
            hops = 2
            interfaces_per_hop = 1
            source = "a meter"

            [[model]]
            name = "my-average"
            class = "average-allocation"
            boundary = "everything"
            basis = "ip-bytes"
            joules_per_byte = 1e-6
            low = 5e-7
            high = 4e-6
            source = "a bill"

            [[grid]]
            name = "home"
            title = "At home"
            grams_per_kwh = 300.0
            gas = "CO2e"
            gwp_basis = "AR5"
            source = "a bill"
            "#,
        )
        .unwrap();
        let grid = library.grid("home").unwrap();
        let traffic = tally(1, 10, 1140);
        let switches = estimate(&traffic, library.model("my-2-switches").unwrap(), &grid);
        assert!(close(
            switches.energy.joules.0,
            2.0 * (10e-6 + 1140.0 * 2e-9)
        ));
        assert!(switches.energy.low.unwrap() < switches.energy.joules);
        assert_eq!(switches.energy.verified, Some(Verified::Own));
        assert_eq!(switches.carbon.gwp_basis.as_deref(), Some("AR5"));
        let average = estimate(&traffic, library.model("my-average").unwrap(), &grid).energy;
        let figures = [
            average.low.unwrap().0,
            average.joules.0,
            average.high.unwrap().0,
        ];
        for (figure, expected) in figures.into_iter().zip([0.5e-3, 1e-3, 4e-3]) {
            assert!(close(figure, expected), "{average:?}");
        }
    }

    /// Three devices on the way were made, and not one.
    #[test]
    fn hops_multiply_what_making_the_equipment_took_and_a_building_does_not() {
        let mut library = read(
            r#"
            [[model]]
            name = "my-{hops}-boxes"
            class = "marginal-device"
            boundary = "{hops} boxes"
            basis = "ip-bytes"
            joules_per_byte = 2e-9
            embodied_joules_per_byte = 1e-9
            hops = 3
            source = "a meter"
            "#,
        )
        .unwrap();
        library.set_pue(1.5).unwrap();
        let grid = library.grid(DEFAULT_GRID).unwrap();
        let mut traffic = tally(0, 0, 0);
        traffic.bytes.ip = IpBytes::new(1000);
        let energy = estimate(&traffic, library.model("my-3-boxes").unwrap(), &grid).energy;
        assert!(close(energy.joules.0, 3.0 * 1.5 * 2e-6), "{energy:?}");
        assert!(close(energy.embodied.unwrap().0, 3.0 * 1e-6), "{energy:?}");
    }

    #[test]
    fn mistakes_in_a_users_file_are_named_with_their_line() {
        let model = |figures: &str| {
            format!(
                "# mine\n\n[[model]]\nname = \"m\"\nclass = \"per-message\"\nboundary = \"b\"\n\
                 source = \"s\"\n{figures}\n"
            )
        };
        let grid =
            |rest: &str| format!("[[grid]]\nname = \"g\"\ntitle = \"t\"\nsource = \"s\"\n{rest}\n");
        let average = "[[model]]\nname = \"aslan-2015\"\nclass = \"average-allocation\"\n\
                       boundary = \"b\"\nsource = \"s\"\nbasis = \"ip-bytes\"\njoules_per_byte = 1\n";
        for (text, start) in [
            ("name = ", "mine.toml:1: "),
            (
                "\n\n[[modell]]\nname = \"x\"",
                "mine.toml:3: unknown field `modell`",
            ),
            (
                &model("basis = \"bytes\""),
                "mine.toml:8: unknown variant `bytes`",
            ),
            (
                &model("basis = \"messages\""),
                "mine.toml:3: model \"m\": joules_per_message is missing",
            ),
            (
                &model("basis = \"messages\"\njoules_per_message = -1"),
                "mine.toml:9: model \"m\": joules_per_message is to be a number, from 0",
            ),
            (
                &model("basis = \"messages\"\njoules_per_message = 1\ndevice = \"d\""),
                "mine.toml:10: model \"m\": device is no figure of its basis",
            ),
            (
                &model("basis = \"messages\"\njoules_per_message = 1\nlow = 2\nhigh = 3"),
                "mine.toml:10: model \"m\": low and high go together, with the figure between them",
            ),
            (
                &model("basis = \"projection\"\ndevice = \"d\""),
                "mine.toml:3: model \"m\": there is no [[device]] `d`",
            ),
            (
                &model(
                    "basis = \"radio\"\nsend = { joules_per_packet = 1, joules_per_byte = nan }",
                ),
                "mine.toml:9: model \"m\": send and receive are to be numbers",
            ),
            (
                average,
                "mine.toml:1: the model `aslan-2015` is there already",
            ),
            (
                &grid("gas = \"CO2\""),
                "mine.toml:1: grid \"g\": needs one rate",
            ),
            (
                &grid("gas = \"CO2e\"\ngrams_per_kwh = 1"),
                "mine.toml:1: grid \"g\": CO2e has a gwp_basis",
            ),
            (
                &grid("gas = \"CO3\"\ngrams_per_kwh = 1"),
                "mine.toml:5: unknown variant `CO3`",
            ),
            (
                "[[grid]]\ntitle = \"t\"\nname = \"385\"\nsource = \"s\"\ngas = \"CO2\"\ngrams_per_kwh = 1\n",
                "mine.toml:3: grid \"385\": name reads as a rate",
            ),
            (
                "[[grid]]\nname = \"g\\u001b[31m\"\ntitle = \"t\"\nsource = \"s\"\ngas = \"CO2\"\ngrams_per_kwh = 1\n",
                "mine.toml:1: grid \"g\\u{1b}[31m\": a control character",
            ),
            (
                &model("basis = \"messages\"\njoules_per_message = 1\nscope = \"\\u0007\""),
                "mine.toml:3: model \"m\": a control character",
            ),
            (
                &grid("gas = \"CO2\"\ngrams_per_kwh = inf"),
                "mine.toml:6: grid \"g\": grams_per_kwh",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(start), "{text}\n{error}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_one_has_the_nearest_beside_it() {
        for (from, to, wanted) in [("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ab", 0)] {
            assert_eq!(edits(from, to), wanted, "{from} {to}");
        }
        let library = Library::built_in();
        let told = |name: &str| library.grid(name).unwrap_err().to_string();
        assert!(
            told("us-2022-camz")
                .contains(": perhaps us-2022-camx or us-2020-camx or us-2021-camx?;"),
            "{}",
            told("us-2022-camz")
        );
        assert!(!told("nowhere").contains("perhaps"));
        assert!(!told("").contains("perhaps"));
        let error = library.model("cisco-8201").unwrap_err().to_string();
        assert!(
            error.contains("`cisco-8201`: perhaps cisco-8201-32fh?;"),
            "{error}"
        );
    }

    /// Infinite figures are null in JSON, and such a report cannot be read again.
    #[test]
    fn the_greatest_figures_of_the_most_traffic_are_finite() {
        let model = |joules: &str| {
            let text = format!(
                "[[model]]\nname = \"m\"\nclass = \"marginal-device\"\nboundary = \"b\"\nsource = \"s\"\n\
                 basis = \"ip-bytes\"\njoules_per_byte = {joules}\nembodied_joules_per_byte = {joules}\n\
                 hops = 255\n"
            );
            read(&text)
        };
        let error = model("1e10").unwrap_err().to_string();
        assert!(
            error.contains("joules_per_byte is to be a number, from 0 to a billion"),
            "{error}"
        );
        let mut library = model("1e9").unwrap();
        library.set_pue(MOST_PUE).unwrap();
        let grid = library.grid("1000000").unwrap();
        let mut traffic = tally(0, 0, 0);
        traffic.bytes.ip = IpBytes::new(u64::MAX);
        let Estimate { energy, carbon } = estimate(&traffic, library.model("m").unwrap(), &grid);
        assert!(energy.joules.0.is_finite() && carbon.grams.0.is_finite());
        assert!(energy.embodied.unwrap().0.is_finite());
    }

    proptest! {
        /// Nobody saves energy by sending more, whatever the model.
        #[test]
        fn more_traffic_never_takes_less_energy(
            (messages, frames, payload) in (0_u64..1_000_000, 0_u64..1_000_000, 0_u64..1 << 40),
            (more_messages, more_frames, more_payload) in (0_u64..1000, 0_u64..1000, 0_u64..1 << 30),
            hops in 1_u32..30,
            pue in 1.0..3.0,
        ) {
            let mut library = Library::built_in();
            library.set_hops(hops);
            library.set_pue(pue).unwrap();
            let grid = library.grid("us-2022").unwrap();
            let little = tally(messages, frames, 60 * frames + payload);
            let (frames, payload) = (frames + more_frames, payload + more_payload);
            let much = tally(messages + more_messages, frames, 60 * frames + payload);
            for model in library.models() {
                let (little, much) = (estimate(&little, model, &grid), estimate(&much, model, &grid));
                prop_assert!(little.energy.joules <= much.energy.joules, "{}", model.name);
                prop_assert!(little.energy.low <= much.energy.low);
                prop_assert!(little.energy.high <= much.energy.high);
                prop_assert!(little.energy.embodied <= much.energy.embodied);
                prop_assert!(little.carbon.grams <= much.carbon.grams);
            }
        }

        /// Each figure lies in its range, and CO2e is no less than the CO2 in it.
        #[test]
        fn figures_lie_in_their_ranges(
            (messages, frames, payload) in (0_u64..1_000_000, 0_u64..1_000_000, 0_u64..1 << 40),
            year in 2021..=2023,
        ) {
            let library = Library::built_in();
            let co2e = library.grid(&format!("us-{year}")).unwrap();
            let co2 = library.grid(&format!("us-{year}-co2")).unwrap();
            let traffic = tally(messages, frames, 60 * frames + payload);
            for model in library.models() {
                let of = |grid| estimate(&traffic, model, grid);
                let Estimate { energy, carbon } = of(&co2e);
                prop_assert!(energy.joules.0 >= 0.0 && energy.joules.0.is_finite());
                prop_assert!(energy.low.is_none_or(|low| low <= energy.joules));
                prop_assert!(energy.high.is_none_or(|high| high >= energy.joules));
                prop_assert!(carbon.low.is_none_or(|low| low <= carbon.grams));
                prop_assert!(carbon.high.is_none_or(|high| high >= carbon.grams));
                prop_assert!(carbon.grams >= of(&co2).carbon.grams);
            }
        }

        /// A kilowatt-hour is 3.6 MJ, there and back.
        #[test]
        fn watt_hours_are_3600_joules(joules in 0.0..1e12_f64) {
            let hours = WattHours::from(Joules(joules));
            prop_assert!(close(hours.0 * 3600.0, joules) || joules == 0.0);
            prop_assert!(close(Joules::from(hours).0, joules) || joules == 0.0);
        }
    }
}
