//! The software carbon intensity of an operation (ISO/IEC 21031:2024).

use serde::{Deserialize, Serialize};

use super::number::{modelled, rate};
use super::text;
use crate::energy::{Estimate, Gas};
use crate::units::{Grams, Joules};

/// The standard by which the score is made up.
const STANDARD: &str = "ISO/IEC 21031:2024";

/// SCI = (E × I + M) per R: energy, the grid's rate, what making the equipment emitted, and the
/// functional unit. R is one operation of the algorithm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sci {
    /// The standard's name.
    pub standard: String,
    /// R: what one operation is called.
    pub functional_unit: String,
    /// How many of them the totals were divided by.
    pub units: u64,
    /// E: energy for one operation by the headline model.
    pub energy: Joules,
    /// I: the grid's rate, by location.
    pub grams_per_kwh: f64,
    /// E × I.
    pub operational: Grams,
    /// M: emissions of making the equipment that are ascribed to one operation; null where the model
    /// tells nothing of them. The standard wants an estimate: the score is of E × I alone then.
    pub embodied: Option<Grams>,
    /// The score: E × I, and M where it is estimated.
    pub grams: Grams,
    /// Which gas is weighed. The standard wants CO2e.
    pub gas: Gas,
    /// Which software and equipment it is of.
    pub boundary: String,
    /// How E, I and M were come by.
    pub methodology: String,
}

/// How the traffic is known that a score is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    /// By a capture.
    Captured,
    /// By the simulation's wire-cost model.
    Predicted,
}

impl Traffic {
    fn come_by(self) -> &'static str {
        match self {
            Self::Captured => "were counted, not measured",
            Self::Predicted => "a simulation predicts, neither counted nor measured",
        }
    }
}

impl Sci {
    /// The score of one of so many operations; none where there were none.
    pub(super) fn of(
        estimate: &Estimate,
        unit: String,
        units: u64,
        traffic: Traffic,
    ) -> Option<Self> {
        let Estimate { energy, carbon } = estimate;
        let each = |total: f64| total / units as f64;
        let operational = Grams(each(carbon.grams.0));
        let embodied = energy.embodied.map(|joules| {
            // By the same grid: the model gives energy, and nobody says where it was used.
            Grams(each(joules.0) / crate::energy::JOULES_PER_KWH * carbon.grams_per_kwh)
        });
        let gas = match carbon.gas {
            Gas::Co2 => "CO2 alone, where the standard wants other gases too",
            Gas::Co2e => "CO2e",
            Gas::Unspecified => "of a gas that its user did not specify",
        };
        let made = match embodied {
            Some(_) => format!("M by {}'s embodied energy at the same rate", energy.model),
            None => format!("M not included: {} tells none", energy.model),
        };
        let pue = text::pue_words(energy.pue);
        (units > 0).then(|| Self {
            standard: STANDARD.to_owned(),
            functional_unit: unit,
            units,
            energy: Joules(each(energy.joules.0)),
            grams_per_kwh: carbon.grams_per_kwh,
            operational,
            embodied,
            grams: operational + embodied.unwrap_or_default(),
            gas: carbon.gas,
            boundary: format!(
                "the protocol's traffic as if on the wire, through {}; without the processes, their \
                 hosts and storage",
                energy.boundary
            ),
            methodology: format!(
                "E modelled by {} ({}) from the {} that {}{pue}; I of the grid {}, by location, {gas}; {made}",
                energy.model,
                energy.class,
                energy.counted,
                traffic.come_by(),
                carbon.grid
            ),
        })
    }

    /// The score in a line.
    pub(super) fn words(&self) -> String {
        let made = match self.embodied {
            Some(grams) => format!("M {}", modelled(grams.0, "g")),
            None => "M not included".to_owned(),
        };
        format!(
            "SCI per {}: {} {} = E {} x I {} + {made}",
            self.functional_unit,
            modelled(self.grams.0, "g"),
            self.gas.label(),
            modelled(self.energy.0, "J"),
            rate(self.grams_per_kwh),
        )
    }

    /// What the score is of and how it was come by.
    pub(super) fn ground(&self) -> String {
        format!(
            "SCI, (E x I + M) per R by {}. Boundary: {}. Methodology: {}",
            self.standard, self.boundary, self.methodology
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::{Library, estimate};
    use crate::tally::ProtocolTally;
    use crate::units::IpBytes;

    fn score(model: &str, grid: &str, units: u64) -> Option<Sci> {
        let library = Library::built_in();
        let mut tally = ProtocolTally::default();
        tally.bytes.ip = IpBytes::new(4_000_000_000);
        let grid = library.grid(grid).unwrap();
        let estimate = estimate(&tally, library.model(model).unwrap(), &grid);
        Sci::of(&estimate, "commit".to_owned(), units, Traffic::Captured)
    }

    /// 4 GB for 8 commits at 500 g/kWh: 0.0295 kWh each, and 0.0065 kWh for the equipment.
    #[test]
    fn the_score_adds_what_making_the_equipment_emitted() {
        let score = score("sustainable-web-design-4", "500", 8).unwrap();
        let close = |left: f64, right: f64| (left / right - 1.0).abs() < 1e-12;
        assert!(close(score.energy.0, 0.0295 * 3.6e6), "{score:?}");
        assert!(close(score.operational.0, 14.75), "{score:?}");
        assert!(close(score.embodied.unwrap().0, 3.25), "{score:?}");
        assert!(close(score.grams.0, 18.0), "{score:?}");
        assert_eq!(
            score.words(),
            "SCI per commit: 18 g CO2(e) = E 110 kJ x I 500.0 g/kWh + M 3.3 g"
        );
        assert!(score.methodology.contains("did not specify"), "{score:?}");
    }

    #[test]
    fn a_score_without_equipment_says_so() {
        let score = score("aslan-2015", "us-2018", 1).unwrap();
        assert_eq!((score.embodied, score.grams), (None, score.operational));
        assert!(score.words().ends_with("+ M not included"));
        assert!(
            score
                .ground()
                .contains("M not included: aslan-2015 tells none")
        );
        assert!(
            score
                .ground()
                .contains("CO2 alone, where the standard wants other gases too")
        );
    }

    /// The boundary of a device says that cooling is not in it, and with a PUE it is.
    #[test]
    fn what_the_building_takes_is_told_where_it_is_in_the_score() {
        let mut library = Library::built_in();
        library.set_pue(1.5).unwrap();
        let grid = library.grid("500").unwrap();
        let model = library.model(crate::energy::HEADLINE_MODEL).unwrap();
        let estimate = estimate(&ProtocolTally::default(), model, &grid);
        let score = Sci::of(&estimate, "commit".to_owned(), 1, Traffic::Captured).unwrap();
        let told = "; times 1.5 for what the building takes (PUE); I of the grid";
        assert!(score.methodology.contains(told), "{score:?}");
    }

    #[test]
    fn there_is_no_score_without_operations() {
        assert_eq!(score("aslan-2015", "us-2018", 0), None);
    }
}
