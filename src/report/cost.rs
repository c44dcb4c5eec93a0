//! What a fault costs: a run against the same run without it.

use serde::{Deserialize, Serialize};

use super::compare::Figure;
use super::number::{grouped, modelled};
use super::table::{Align, Table};
use super::{Compared, Report, time};
use crate::units::{IpBytes, Joules, Messages, Packets, WireBytes};

/// A run with faults beside the same run without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultCost {
    /// The run without.
    pub without: RunCost,
    /// The run with.
    pub with: RunCost,
}

/// What a run's protocol cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunCost {
    /// Operations that ended with success.
    pub succeeded: u64,
    /// Complete messages on the wire.
    pub messages: Messages,
    /// Packets, all classes.
    pub packets: Packets,
    /// Of those, with payload that was sent before.
    pub retransmissions: Packets,
    /// IP bytes.
    pub ip: IpBytes,
    /// Frame bytes.
    pub wire: WireBytes,
    /// Energy by the headline model.
    pub joules: Joules,
    /// From the first operation's beginning to the last one's end, in nanoseconds; absent where one
    /// did not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
}

impl RunCost {
    /// The cost of the run that the report is on; none where it is on none.
    pub fn of(report: &Report) -> Option<Self> {
        let run = report.run.as_ref()?;
        let protocol = Compared {
            protocol: &run.algorithm,
            processes: None,
            report,
        }
        .protocol_report();
        let tally = protocol.map(|protocol| &protocol.tally);
        Some(Self {
            succeeded: run.succeeded,
            messages: tally.map(|tally| tally.messages).unwrap_or_default(),
            packets: tally.map(|tally| tally.packets.total).unwrap_or_default(),
            ip: tally.map(|tally| tally.bytes.ip).unwrap_or_default(),
            wire: tally.map(|tally| tally.bytes.wire).unwrap_or_default(),
            retransmissions: tally
                .map(|tally| tally.packets.retransmission)
                .unwrap_or_default(),
            joules: protocol.map_or(Joules(0.0), |protocol| protocol.energy.joules),
            time: run.time,
        })
    }
}

impl FaultCost {
    /// A run against the same one without faults; none where a report is on no run.
    pub fn between(without: &Report, with: &Report) -> Option<Self> {
        Some(Self {
            without: RunCost::of(without)?,
            with: RunCost::of(with)?,
        })
    }

    /// What a chart shows of both, the run without first.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let both = [&self.without, &self.with];
        let figure = |name, words, of: &dyn Fn(&RunCost) -> Option<f64>| Figure {
            name,
            values: both.iter().map(|cost| of(cost)).collect(),
            words,
        };
        let whole = |figure: f64| grouped(figure as u64);
        vec![
            figure("operations with success", whole, &|cost| {
                Some(cost.succeeded as f64)
            }),
            figure("messages", whole, &|cost| Some(cost.messages.get() as f64)),
            figure("packets", whole, &|cost| Some(cost.packets.get() as f64)),
            figure("IP bytes", whole, &|cost| Some(cost.ip.get() as f64)),
            figure("energy", |joules| modelled(joules, "J"), &|cost| {
                Some(cost.joules.0)
            }),
            figure(
                "time of all operations",
                |nanos| time::span(nanos as i64),
                &|cost| cost.time.map(|time| time as f64),
            ),
        ]
    }

    /// Both, and their difference.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new([
            ("cost of the fault", Align::Left),
            ("without", Align::Right),
            ("with", Align::Right),
            ("difference", Align::Right),
        ]);
        type Count = fn(&RunCost) -> u64;
        let counts: [(&str, Count); 6] = [
            ("operations with success", |cost| cost.succeeded),
            ("messages", |cost| cost.messages.get()),
            ("packets", |cost| cost.packets.get()),
            ("  of them sent again", |cost| cost.retransmissions.get()),
            ("IP bytes", |cost| cost.ip.get()),
            ("wire bytes", |cost| cost.wire.get()),
        ];
        for (name, of) in counts {
            let (without, with) = (of(&self.without), of(&self.with));
            table.row(vec![
                name.to_owned(),
                grouped(without),
                grouped(with),
                format!(
                    "{}{}",
                    sign(with >= without),
                    grouped(with.abs_diff(without))
                ),
            ]);
        }
        let (without, with) = (self.without.joules.0, self.with.joules.0);
        table.row(vec![
            "energy".to_owned(),
            modelled(without, "J"),
            modelled(with, "J"),
            format!(
                "{}{}",
                sign(with >= without),
                modelled((with - without).abs(), "J")
            ),
        ]);
        let span = time::duration;
        let told = |time: Option<u64>| time.map_or_else(|| "did not end".to_owned(), span);
        let difference = match (self.without.time, self.with.time) {
            (Some(without), Some(with)) => {
                format!("{}{}", sign(with >= without), span(with.abs_diff(without)))
            }
            _ => String::new(),
        };
        table.row(vec![
            "time of all operations".to_owned(),
            told(self.without.time),
            told(self.with.time),
            difference,
        ]);
        table
    }
}

fn sign(grows: bool) -> char {
    if grows { '+' } else { '-' }
}
