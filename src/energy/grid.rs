//! Emission rates of electricity grids, from `data/grids.toml`.

use serde::{Deserialize, Serialize};

use super::{JOULES_PER_KWH, Verified};
use crate::units::{Grams, Joules};

/// One avoirdupois pound in grams, exactly.
const GRAMS_PER_POUND: f64 = 453.592_37;

/// Which gas a rate weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gas {
    /// Carbon dioxide alone.
    #[serde(rename = "CO2")]
    Co2,
    /// With other greenhouse gases by their warming potentials.
    #[serde(rename = "CO2e")]
    Co2e,
    /// Not told by whoever gave the rate.
    #[serde(rename = "unspecified")]
    Unspecified,
}

impl Gas {
    /// The word that heads a column of this gas.
    pub fn label(self) -> &'static str {
        match self {
            Self::Co2 => "CO2",
            Self::Co2e => "CO2e",
            Self::Unspecified => "gas",
        }
    }
}

/// A grid's emission rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    /// Its name on the command line and in reports.
    pub name: String,
    /// What it is, in words.
    pub title: String,
    /// Grams emitted for one kilowatt-hour generated.
    pub grams_per_kwh: f64,
    /// Which gas those grams are.
    pub gas: Gas,
    /// The IPCC report whose 100-year warming potentials were used, where the gas is CO2e.
    pub gwp_basis: Option<String>,
    /// The year of the data.
    pub year: Option<u16>,
    /// Where the rate is from.
    pub source: String,
    /// How the rate is known.
    pub verified: Verified,
}

impl Grid {
    /// A grid of the user's own rate in g/kWh, or nothing where the text is no such rate.
    pub(super) fn from_rate(text: &str) -> Option<Self> {
        let rate: f64 = text.parse().ok()?;
        (rate.is_finite() && rate >= 0.0).then(|| Self {
            name: format!("{rate} g/kWh"),
            title: "given by the user".to_owned(),
            grams_per_kwh: rate,
            gas: Gas::Unspecified,
            gwp_basis: None,
            year: None,
            source: "the command line".to_owned(),
            verified: Verified::None,
        })
    }

    /// What the grid emits to generate this energy.
    pub fn emissions(&self, energy: Joules) -> Grams {
        Grams(energy.0 / JOULES_PER_KWH * self.grams_per_kwh)
    }
}

#[derive(Deserialize)]
struct File {
    grid: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    title: String,
    lb_per_mwh: Option<f64>,
    grams_per_kwh: Option<f64>,
    gas: Gas,
    gwp_basis: Option<String>,
    year: u16,
    source: String,
    verified: Verified,
}

/// The grids that ship with the program.
pub(super) fn built_in() -> Vec<Grid> {
    let file: File = toml::from_str(include_str!("../../data/grids.toml"))
        .expect("data/grids.toml is part of the program and tested");
    file.grid
        .into_iter()
        .map(|row| Grid {
            grams_per_kwh: match (row.grams_per_kwh, row.lb_per_mwh) {
                (Some(grams), None) => grams,
                (None, Some(pounds)) => pounds * GRAMS_PER_POUND / 1000.0,
                _ => panic!("data/grids.toml: `{}` needs one rate", row.name),
            },
            name: row.name,
            title: row.title,
            gas: row.gas,
            gwp_basis: row.gwp_basis,
            year: Some(row.year),
            source: row.source,
            verified: row.verified,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grid_names_its_gas_and_source() {
        let grids = built_in();
        assert_eq!(grids[0].name, super::super::DEFAULT_GRID);
        for (i, grid) in grids.iter().enumerate() {
            assert!(grid.grams_per_kwh > 0.0 && grid.grams_per_kwh < 2000.0);
            assert!(!grid.source.is_empty() && !grid.title.is_empty());
            assert_ne!(grid.gas, Gas::Unspecified, "{}", grid.name);
            assert_eq!(grid.gwp_basis.is_some(), grid.gas == Gas::Co2e);
            assert!(Grid::from_rate(&grid.name).is_none());
            assert!(grids[..i].iter().all(|other| other.name != grid.name));
        }
    }

    /// The original's 0.947 lb/kWh and 0.429 kg/kWh are roundings of the default's rate.
    #[test]
    fn the_rounded_rate_is_within_a_gram_of_the_exact_one() {
        let grids = built_in();
        let rounded = grids.iter().find(|g| g.name == "us-2018-rounded").unwrap();
        assert!((rounded.grams_per_kwh - grids[0].grams_per_kwh).abs() < 1.0);
    }
}
