//! Energy and emissions that models ascribe to counted traffic.
//!
//! In: a protocol's tally, a model and a grid by name. Out: an [`Estimate`] in joules and grams
//! with everything needed to read it: the model's class and boundary, the grid's gas. Figures live
//! in `data/energy-models.toml` and `data/grids.toml` with their sources; nothing here measures.
//! Loopback traffic used no network equipment at all: figures read "as if on the wire".

mod grid;
mod model;

use serde::{Deserialize, Serialize};

pub use grid::{Gas, Grid};
pub use model::{Basis, Device, Model, ModelClass, Verified};

use crate::tally::ProtocolTally;
use crate::units::{Grams, Joules};

/// The model whose figures a report shows first.
pub const HEADLINE_MODEL: &str = "datacenter-3-hops";
/// The grid that is used where none was chosen.
pub const DEFAULT_GRID: &str = "us-2018";

/// One kilowatt-hour in joules, exactly.
const JOULES_PER_KWH: f64 = 3.6e6;

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
    let (joules, range) = model.joules(tally);
    Estimate {
        energy: Energy {
            joules,
            low: range.map(|(low, _)| low),
            high: range.map(|(_, high)| high),
            model: model.name.clone(),
            class: model.class,
            boundary: model.boundary.clone(),
            hops: model.hops(),
            year: model.year,
            source: model.source.clone(),
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

/// The models and grids that are built in.
#[derive(Debug, Clone)]
pub struct Library {
    models: Vec<Model>,
    grids: Vec<Grid>,
}

/// Why a model or grid cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EnergyError {
    /// No model has this name.
    #[error("no energy model is called `{name}`; built in are: {known}")]
    UnknownModel {
        /// The name that was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// Neither a grid's name nor a rate.
    #[error(
        "`{given}` is neither a grid nor a rate in g/kWh (0 or more); built-in grids are: {known}"
    )]
    UnknownGrid {
        /// What was asked for.
        given: String,
        /// The names that exist.
        known: String,
    },
}

impl Library {
    /// What ships with the program.
    pub fn built_in() -> Self {
        Self {
            models: model::built_in(),
            grids: grid::built_in(),
        }
    }

    /// All models, the headline first.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// All grids, the default first.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Result<&Model, EnergyError> {
        self.models
            .iter()
            .find(|model| model.name == name)
            .ok_or_else(|| EnergyError::UnknownModel {
                name: name.to_owned(),
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
            .ok_or_else(|| EnergyError::UnknownGrid {
                given: name_or_rate.to_owned(),
                known: names(self.grids.iter().map(|grid| &grid.name)),
            })
    }
}

impl Default for Library {
    fn default() -> Self {
        Self::built_in()
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{L2Bytes, Messages, Packets};

    fn tally(messages: u64, frames: u64, l2_bytes: u64) -> ProtocolTally {
        let mut tally = ProtocolTally {
            messages: Messages::new(messages),
            ..ProtocolTally::default()
        };
        tally.projection.frames = Packets::new(frames);
        tally.projection.l2_bytes = L2Bytes::new(l2_bytes);
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
        for messages in [0, 1, 12, 1_000_000] {
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
        for wrong in ["", "-1", "nan", "inf", "us", "385g"] {
            let error = library.grid(wrong).unwrap_err().to_string();
            assert!(error.contains("us-2018"), "{error}");
        }
        let error = library.model("nothing").unwrap_err().to_string();
        assert!(
            error.contains("datacenter-3-hops, per-message-2021"),
            "{error}"
        );
    }
}
