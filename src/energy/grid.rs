//! Emission rates of electricity grids: `data/grids.toml`, `data/egrid_2018_2023.csv`, and the user's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::Verified;
use super::data::{DataError, NOT_PLAIN, Named, is_plain};
use crate::units::{Grams, Joules, WattHours};

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
    /// The word that heads a column of this gas; `CO2(e)` is one of the two, and it was not told which.
    pub fn label(self) -> &'static str {
        match self {
            Self::Co2 => "CO2",
            Self::Co2e => "CO2e",
            Self::Unspecified => "CO2(e)",
        }
    }
}

/// A grid's emission rate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Grid {
    /// Its name on the command line and in reports.
    pub name: String,
    /// What it is, in words.
    pub title: String,
    /// The region of a table of several, as that table names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Grams emitted for one kilowatt-hour generated.
    pub grams_per_kwh: f64,
    /// Which gas those grams are.
    pub gas: Gas,
    /// The IPCC report whose 100-year warming potentials were used, where the gas is CO2e.
    pub gwp_basis: Option<String>,
    /// The year of the data.
    pub year: Option<u16>,
    /// The share of what is generated that lines lose, where the source tells it. It is in no figure:
    /// what is delivered has emitted rate / (1 − loss).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line_loss: Option<f64>,
    /// Where the rate is from.
    pub source: String,
    /// How the rate is known.
    pub verified: Verified,
}

impl Grid {
    /// A grid of the user's own rate in g/kWh, or nothing where the text is no such rate.
    pub(super) fn from_rate(text: &str) -> Option<Self> {
        let rate: f64 = text.parse().ok()?;
        is_rate(rate).then(|| Self {
            name: format!("{rate} g/kWh"),
            title: "given by the user".to_owned(),
            region: None,
            grams_per_kwh: rate,
            gas: Gas::Unspecified,
            gwp_basis: None,
            year: None,
            line_loss: None,
            source: "the command line".to_owned(),
            verified: Verified::Own,
        })
    }

    /// What the grid emits to generate this energy.
    pub fn emissions(&self, energy: Joules) -> Grams {
        Grams(WattHours::from(energy).0 / 1000.0 * self.grams_per_kwh)
    }
}

/// Whether a kilowatt-hour can have emitted so many grams: no fuel weighs a ton for it.
fn is_rate(grams_per_kwh: f64) -> bool {
    (0.0..=1e6).contains(&grams_per_kwh)
}

fn grams_per_kwh(lb_per_mwh: f64) -> f64 {
    lb_per_mwh * GRAMS_PER_POUND / 1000.0
}

/// A `[[grid]]` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    name: String,
    title: String,
    lb_per_mwh: Option<f64>,
    grams_per_kwh: Option<f64>,
    gas: Gas,
    gwp_basis: Option<String>,
    year: Option<u16>,
    line_loss: Option<f64>,
    source: String,
    #[serde(default)]
    verified: Verified,
}

impl Row {
    pub(super) fn grid(row: Spanned<Self>, file: &Named<'_>) -> Result<Grid, DataError> {
        let at = row.span().start;
        let row = row.into_inner();
        let wrong =
            |problem: &str| file.error_in_table(at, &format!("grid {:?}", row.name), problem);
        let rate = match (row.grams_per_kwh, row.lb_per_mwh) {
            (Some(grams), None) => grams,
            (None, Some(pounds)) => grams_per_kwh(pounds),
            _ => return Err(wrong("needs one rate, grams_per_kwh or lb_per_mwh")),
        };
        if !is_rate(rate) {
            return Err(wrong(
                "grams_per_kwh (or lb_per_mwh) is to be a rate, from 0 to 1,000,000 g/kWh",
            ));
        }
        if row.gwp_basis.is_some() != (row.gas == Gas::Co2e) {
            return Err(wrong("CO2e has a gwp_basis, and another gas has none"));
        }
        if row
            .line_loss
            .is_some_and(|loss| !(0.0..1.0).contains(&loss))
        {
            return Err(wrong("line_loss is a share, from 0 to less than 1"));
        }
        if row.name.is_empty() || row.name.parse::<f64>().is_ok() {
            return Err(wrong("name reads as a rate, or is empty"));
        }
        if !is_plain(&format!("{}{}", row.name, row.title), &[&row.source]) {
            return Err(wrong(NOT_PLAIN));
        }
        Ok(Grid {
            name: row.name,
            title: row.title,
            region: None,
            grams_per_kwh: rate,
            gas: row.gas,
            gwp_basis: row.gwp_basis,
            year: row.year,
            line_loss: row.line_loss,
            source: row.source,
            verified: row.verified,
        })
    }
}

#[derive(Deserialize)]
struct File {
    egrid: Egrid,
    grid: Vec<Spanned<Row>>,
}

/// What `data/egrid_2018_2023.csv` does not say of its rows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Egrid {
    source: String,
    verified: Verified,
    gwp_basis: String,
    titles: BTreeMap<String, String>,
}

/// A row of `data/egrid_2018_2023.csv`: a region in a year.
#[derive(Debug, Deserialize)]
struct EgridRow {
    subregion: String,
    data_year: u16,
    co2_lb_per_mwh: f64,
    co2e_lb_per_mwh: Option<f64>,
    grid_gross_loss: Option<f64>,
    #[serde(rename = "source_commit_USEPA/power-profiler")]
    commit: String,
}

/// The region of the whole country.
const NATIONAL: &str = "National";

impl EgridRow {
    fn name(&self) -> String {
        match self.subregion.as_str() {
            NATIONAL => format!("us-{}", self.data_year),
            region => format!("us-{}-{}", self.data_year, region.to_ascii_lowercase()),
        }
    }

    fn grid(&self, name: String, rate: f64, gas: Gas, egrid: &Egrid) -> Grid {
        let year = self.data_year.to_string();
        let region = &self.subregion;
        let title = egrid.titles.get(region).unwrap_or(region);
        let title = match region.as_str() {
            NATIONAL => format!("{title}, eGRID{year}"),
            region => format!("{title} ({region}), eGRID{year}"),
        };
        let source = egrid.source.replace("{year}", &year);
        Grid {
            name,
            title,
            region: Some(region.clone()),
            grams_per_kwh: grams_per_kwh(rate),
            gas,
            gwp_basis: (gas == Gas::Co2e).then(|| egrid.gwp_basis.clone()),
            year: Some(self.data_year),
            line_loss: self.grid_gross_loss,
            source: source.replace("{commit}", &self.commit),
            verified: egrid.verified,
        }
    }

    /// CO2e where the row has it, and CO2 alone.
    fn grids(&self, egrid: &Egrid) -> Vec<Grid> {
        let (name, co2) = (self.name(), self.co2_lb_per_mwh);
        match self.co2e_lb_per_mwh {
            None => vec![self.grid(name, co2, Gas::Co2, egrid)],
            Some(co2e) => vec![
                self.grid(name.clone(), co2e, Gas::Co2e, egrid),
                self.grid(format!("{name}-co2"), co2, Gas::Co2, egrid),
            ],
        }
    }
}

fn egrid_rows() -> Vec<EgridRow> {
    let text = include_str!("../../data/egrid_2018_2023.csv");
    let mut rows: Vec<EgridRow> = csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<Result<_, _>>()
        .expect("data/egrid_2018_2023.csv is part of the program and tested");
    // By year, the whole country before its regions.
    rows.sort_by_cached_key(|row| {
        let region = row.subregion.clone();
        (row.data_year, region != NATIONAL, region)
    });
    rows
}

/// The grids that ship with the program, the default first.
pub(super) fn built_in() -> Vec<Grid> {
    let text = include_str!("../../data/grids.toml");
    let file = Named {
        file: "data/grids.toml",
        text,
    };
    let File { egrid, grid } =
        toml::from_str(text).expect("data/grids.toml is part of the program and tested");
    let rows = egrid_rows().into_iter();
    let regions = rows.flat_map(|row| row.grids(&egrid));
    let others = grid.into_iter().map(|row| {
        Row::grid(row, &file).expect("data/grids.toml is part of the program and tested")
    });
    regions.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grid_names_its_gas_and_source() {
        let grids = built_in();
        assert_eq!(grids[0].name, super::super::DEFAULT_GRID);
        // 167 rows, of which 84 have CO2e and so are two grids, and the rounded one.
        assert_eq!(grids.len(), 167 + 84 + 1);
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

    /// A first edition of the data of 2023 had 16 rows whose CO2e was below their CO2.
    #[test]
    fn co2e_is_no_less_than_the_co2_within_it() {
        let rows = egrid_rows();
        assert_eq!(rows.len(), 167);
        let both = rows.iter().filter_map(|row| {
            row.co2e_lb_per_mwh
                .map(|co2e| (row.name(), co2e, row.co2_lb_per_mwh))
        });
        let both: Vec<_> = both.collect();
        assert_eq!(both.len(), 84);
        for (name, co2e, co2) in both {
            assert!(co2e >= co2, "{name}: {co2e} < {co2}");
        }
        let grids = built_in();
        for grid in grids.iter().filter(|grid| grid.gas == Gas::Co2e) {
            let co2 = format!("{}-co2", grid.name);
            let co2 = grids.iter().find(|other| other.name == co2).unwrap();
            assert_eq!((co2.gas, &co2.source), (Gas::Co2, &grid.source));
            assert!(grid.grams_per_kwh >= co2.grams_per_kwh);
        }
    }

    /// Rows read off EPA's tables, in lb/MWh and in grams by hand.
    #[test]
    fn rates_are_those_of_their_source() {
        let grids = built_in();
        for (name, lb_per_mwh, gas, commit) in [
            ("us-2018", 947.2, Gas::Co2, "2084836"),
            ("us-2021", 857.019, Gas::Co2e, "1f4530c"),
            ("us-2021-co2", 852.3, Gas::Co2, "1f4530c"),
            ("us-2022", 827.52, Gas::Co2e, "afce916"),
            ("us-2023", 770.884, Gas::Co2e, "9463d66"),
            ("us-2023-camx", 429.983, Gas::Co2e, "9463d66"),
        ] {
            let grid = grids.iter().find(|grid| grid.name == name).unwrap();
            let grams = lb_per_mwh * 453.592_37 / 1000.0;
            assert!((grid.grams_per_kwh - grams).abs() < 1e-9, "{grid:?}");
            assert_eq!(grid.gas, gas, "{name}");
            assert!(grid.source.contains(commit), "{}", grid.source);
        }
    }

    #[test]
    fn every_region_has_its_title() {
        for grid in built_in() {
            let region = grid.region.unwrap_or_default();
            assert!(!grid.title.starts_with(&format!("{region} (")), "{region}");
        }
    }
}
