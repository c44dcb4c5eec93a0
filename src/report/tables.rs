//! The report's tables, which text and HTML share.

use super::number::{counted, grouped, mean, modelled, percent};
use super::table::{Align, Style, Table};
use super::{Compared, PerOperation, ProtocolReport, time};
use crate::audit::{Expected, Row, Verdict};
use crate::energy::{Energy, Estimate, Gas, Grid, Model, Verified};
use crate::units::Messages;

/// The accounts of one protocol. Columns that repeat another one are left out.
pub fn accounts(rows: &[&Row]) -> Table {
    type Cell = fn(&Row) -> Messages;
    let any = |differs: fn(&Row) -> bool| rows.iter().any(|row| differs(row));
    let columns: [(&'static str, bool, Cell); 9] = [
        ("attempted", any(|r| r.attempted != r.sent), |r| r.attempted),
        ("refused", any(|r| r.refused.get() > 0), |r| r.refused),
        ("suppressed", any(|r| r.suppressed.get() > 0), |r| {
            r.suppressed
        }),
        ("unknown", any(|r| r.unknown.get() > 0), |r| r.unknown),
        ("sent", true, |r| r.sent),
        ("acked", any(|r| r.acknowledged != r.wire), |r| {
            r.acknowledged
        }),
        ("received", true, |r| r.received),
        ("handled", any(|r| r.handled != r.received), |r| r.handled),
        ("wire", true, |r| r.wire),
    ];
    let columns: Vec<_> = columns.into_iter().filter(|(_, shown, _)| *shown).collect();
    let mut headings = vec![("kind", Align::Left), ("formula", Align::Right)];
    headings.extend(columns.iter().map(|(heading, ..)| (*heading, Align::Right)));
    headings.push(("verdict", Align::Left));
    let mut table = Table::new(headings);
    for row in rows {
        let mut cells = vec![row.kind.clone(), formula(row.expected)];
        cells.extend(columns.iter().map(|(.., count)| grouped(count(row).get())));
        cells.push(row.verdict.to_string());
        table.row(cells);
    }
    if rows.len() > 1 {
        let mut cells = vec!["all".to_owned(), formula(expected_in_all(rows))];
        cells.extend(columns.iter().map(|(.., count)| {
            let total: Messages = rows.iter().map(|row| count(row)).sum();
            grouped(total.get())
        }));
        cells.push(worst(rows).map_or_else(String::new, |verdict| verdict.to_string()));
        table.row(cells);
    }
    table
}

/// The formula's sum over rows, or nothing where a row has none.
pub fn expected_in_all(rows: &[&Row]) -> Option<Expected> {
    let sum = rows.iter().map(|row| row.expected);
    sum.reduce(|sum, next| Some(sum?.plus(next?))).flatten()
}

/// The worst of the rows' verdicts.
pub fn worst(rows: &[&Row]) -> Option<Verdict> {
    rows.iter().map(|row| row.verdict).max()
}

/// What a formula says, in a cell.
pub fn formula(expected: Option<Expected>) -> String {
    match expected {
        None => "-".to_owned(),
        Some(Expected::Number(number)) => grouped(number.get()),
        Some(Expected::Interval { low, high }) => {
            format!("{}..{}", grouped(low.get()), grouped(high.get()))
        }
    }
}

/// Packets and their IP bytes by class. Classes without packets are left out.
pub fn packets(protocol: &ProtocolReport) -> Table {
    let (packets, bytes) = (&protocol.tally.packets, &protocol.tally.bytes_by_class);
    let mut table = Table::new([
        ("packets by class", Align::Left),
        ("packets", Align::Right),
        ("IP bytes", Align::Right),
    ]);
    for (class, packets, bytes) in [
        ("handshake", packets.handshake, bytes.handshake),
        ("data", packets.data, bytes.data),
        ("pure ACK", packets.pure_ack, bytes.pure_ack),
        (
            "retransmission",
            packets.retransmission,
            bytes.retransmission,
        ),
        ("teardown", packets.teardown, bytes.teardown),
        ("other", packets.other, bytes.other),
    ] {
        if packets.get() > 0 {
            table.row(vec![
                class.to_owned(),
                grouped(packets.get()),
                grouped(bytes.get()),
            ]);
        }
    }
    let total = vec![
        "all".to_owned(),
        grouped(packets.total.get()),
        grouped(protocol.tally.bytes.ip.get()),
    ];
    table.row(total);
    table
}

/// Bytes by layer, from message bodies outwards, each sum below its parts. Layers without bytes are
/// left out.
pub fn layers(protocol: &ProtocolReport) -> Table {
    let bytes = &protocol.tally.bytes;
    let wire = bytes.wire.get();
    let mut table = Table::new([
        ("bytes by layer", Align::Left),
        ("bytes", Align::Right),
        ("of wire", Align::Right),
    ]);
    for (layer, bytes, always) in [
        ("    message bodies", bytes.message.get(), true),
        ("    framing", bytes.framing.get(), false),
        ("    incomplete", bytes.incomplete.get(), false),
        ("    unframed", bytes.unframed.get(), false),
        ("  payload", bytes.payload.get(), true),
        ("  retransmitted", bytes.retransmitted.get(), false),
        ("  outside stream", bytes.outside_stream.get(), false),
        ("  transport header", bytes.transport_header.get(), false),
        ("  tunnel header", bytes.tunnel_header.get(), false),
        ("  IP header", bytes.ip_header.get(), false),
        ("IP packets", bytes.ip.get(), true),
        ("link header", bytes.link_header.get(), false),
        ("link trailer", bytes.link_trailer.get(), false),
        ("wire", wire, true),
    ] {
        if always || bytes > 0 {
            let share = match wire {
                0 => "-".to_owned(),
                _ => percent(bytes as f64 / wire as f64),
            };
            table.row(vec![layer.to_owned(), grouped(bytes), share]);
        }
    }
    table
}

/// Messages by kind.
pub fn kinds(protocol: &ProtocolReport) -> Table {
    let mut table = Table::new([("kind", Align::Left), ("messages", Align::Right)]);
    for (kind, messages) in &protocol.tally.messages_by_kind {
        table.row(vec![kind.clone(), grouped(messages.get())]);
    }
    table
}

/// Energy and emissions by the headline model.
pub fn energy(protocol: &ProtocolReport) -> Table {
    let gas = protocol.carbon.gas.label();
    let mut table = Table::new([
        ("model", Align::Left),
        ("class", Align::Left),
        ("energy", Align::Right),
        ("low - high", Align::Right),
        (gas, Align::Right),
        ("low - high", Align::Right),
    ]);
    let (energy, carbon) = (&protocol.energy, &protocol.carbon);
    table.row(vec![
        energy.model.clone(),
        energy.class.to_string(),
        modelled(energy.joules.0, "J"),
        ends(
            energy.low.map(|joules| joules.0),
            energy.high.map(|joules| joules.0),
            "J",
        ),
        modelled(carbon.grams.0, "g"),
        ends(
            carbon.low.map(|grams| grams.0),
            carbon.high.map(|grams| grams.0),
            "g",
        ),
    ]);
    table
}

/// What stands before the headline model's name in the sensitivity table.
pub const HEADLINE_MARK: &str = "> ";

/// The energy of these protocols together by every model that all of them have, from the lowest
/// figure to the highest, and the headline marked. Empty where there is no protocol. Ranges take more
/// room than a terminal has.
pub fn sensitivity(protocols: &[&ProtocolReport], ranges: bool) -> Table {
    let gas = protocols.first().map_or("gas", |p| p.carbon.gas.label());
    let estimates = sums(protocols);
    let headline = protocols.first().map(|p| p.energy.model.as_str());
    let is_headline = |energy: &Energy| headline == Some(&*energy.model);
    let mut columns = vec![
        ("model", Align::Left),
        ("class", Align::Left),
        ("energy", Align::Right),
        (gas, Align::Right),
        ("of", Align::Left),
        ("hops", Align::Right),
        ("year", Align::Right),
        ("figure", Align::Left),
    ];
    if ranges {
        columns.push(("low - high", Align::Right));
    }
    let mut table = Table::new(columns);
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for Estimate { energy, carbon } in &estimates {
        let mark = match is_headline(energy) {
            true => HEADLINE_MARK,
            false => "  ",
        };
        let mut cells = vec![
            format!("{mark}{}", energy.model),
            energy.class.to_string(),
            modelled(energy.joules.0, "J"),
            modelled(carbon.grams.0, "g"),
            energy.scope.clone(),
            number(energy.hops.map(u64::from)),
            number(energy.year.map(u64::from)),
            figure_word(energy.verified).to_owned(),
        ];
        if ranges {
            let (low, high) = (energy.low.map(|e| e.0), energy.high.map(|e| e.0));
            cells.push(ends(low, high, "J"));
        }
        table.row(cells);
    }
    table
}

/// In a cell, how a model's figures are known.
fn figure_word(verified: Option<Verified>) -> &'static str {
    match verified {
        Some(Verified::Read) => "read",
        Some(Verified::Quoted) => "quoted",
        Some(Verified::Recalled) => "not verified",
        Some(Verified::None) => "no ground",
        Some(Verified::Own) => "your own",
        None => "-",
    }
}

/// Estimates of these protocols together, by model, from the lowest to the highest: what is computed
/// from counts adds.
fn sums(protocols: &[&ProtocolReport]) -> Vec<Estimate> {
    let Some((first, rest)) = protocols.split_first() else {
        return Vec::new();
    };
    let rest: Vec<Vec<Estimate>> = rest.iter().map(|protocol| estimates(protocol)).collect();
    let add = |sum: Estimate, other: &Estimate| {
        let (mut energy, mut carbon) = (sum.energy, sum.carbon);
        energy.joules = energy.joules + other.energy.joules;
        energy.low = energy.low.zip(other.energy.low).map(|(a, b)| a + b);
        energy.high = energy.high.zip(other.energy.high).map(|(a, b)| a + b);
        carbon.grams = carbon.grams + other.carbon.grams;
        Estimate { energy, carbon }
    };
    let by_all = |estimate: Estimate| {
        rest.iter().try_fold(estimate, |sum, others| {
            let same = |other: &&Estimate| other.energy.model == sum.energy.model;
            others
                .iter()
                .find(same)
                .map(|other| add(sum.clone(), other))
        })
    };
    let mut sums: Vec<Estimate> = estimates(first).into_iter().filter_map(by_all).collect();
    sums.sort_by(|left, right| left.energy.joules.0.total_cmp(&right.energy.joules.0));
    sums
}

/// Energy models, a line each.
pub fn models(models: &[Model]) -> Vec<String> {
    let mut table = Table::new([
        ("model", Align::Left),
        ("class", Align::Left),
        ("of", Align::Left),
        ("hops", Align::Right),
        ("year", Align::Right),
        ("figure", Align::Left),
    ]);
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for model in models {
        table.row(vec![
            model.name.clone(),
            model.class.to_string(),
            model.scope.clone(),
            number(model.hops),
            number(model.year.map(u32::from)),
            model.verified.word().to_owned(),
        ]);
    }
    table.lines(0, Style::default())
}

/// Rates of grids that are regions of a table, by year: CO2e with a star where it is known, else CO2.
pub fn regions(grids: &[Grid]) -> Vec<String> {
    // The row of both gases is named for its CO2e.
    let rows: Vec<&Grid> = grids
        .iter()
        .filter(|grid| grid.region.is_some() && !grid.name.ends_with("-co2"))
        .collect();
    let mut years: Vec<u16> = rows.iter().filter_map(|grid| grid.year).collect();
    years.sort_unstable();
    years.dedup();
    let mut regions: Vec<(&str, &str)> = Vec::new();
    for grid in &rows {
        let region = grid.region.as_deref().unwrap_or_default();
        let title = grid.title.split(['(', ',']).next().unwrap_or_default();
        if regions.iter().all(|(known, _)| *known != region) {
            regions.push((region, title.trim_end()));
        }
    }
    let headings = years.iter().map(|year| (year.to_string(), Align::Right));
    let mut table = Table::named(
        [
            ("region".to_owned(), Align::Left),
            ("name".to_owned(), Align::Left),
        ]
        .into_iter()
        .chain(headings),
    );
    for (region, title) in regions {
        let cells = years.iter().map(|year| {
            let here =
                |grid: &&&Grid| grid.year == Some(*year) && grid.region.as_deref() == Some(region);
            rows.iter().find(here).map_or_else(
                || "-".to_owned(),
                |grid| {
                    let star = if grid.gas == Gas::Co2e { "*" } else { " " };
                    format!("{:.1}{star}", grid.grams_per_kwh)
                },
            )
        });
        let start = [region.to_owned(), title.to_owned()];
        table.row(start.into_iter().chain(cells).collect());
    }
    table.lines(0, Style::default())
}

/// The headline estimate and the further ones.
pub fn estimates(protocol: &ProtocolReport) -> Vec<Estimate> {
    let headline = Estimate {
        energy: protocol.energy.clone(),
        carbon: protocol.carbon.clone(),
    };
    std::iter::once(headline)
        .chain(protocol.estimates.iter().cloned())
        .collect()
}

fn ends(low: Option<f64>, high: Option<f64>, unit: &str) -> String {
    match (low, high) {
        (Some(low), Some(high)) => {
            format!("{} - {}", modelled(low, unit), modelled(high, unit))
        }
        _ => "no range".to_owned(),
    }
}

/// What one operation costs, in one line.
pub fn per_operation(protocol: &ProtocolReport, cost: &PerOperation) -> String {
    let all = protocol.tally.operations.count;
    let which = if cost.operations != all {
        format!(
            " that succeeded ({}, and {all} on the wire)",
            cost.operations
        )
    } else {
        String::new()
    };
    format!(
        "per {}{which}: {} messages, {} packets, {} IP bytes, {}, {} {}",
        operation_of(protocol),
        mean(cost.messages),
        mean(cost.packets),
        mean(cost.ip),
        modelled(cost.joules.0, "J"),
        modelled(cost.grams.0, "g"),
        protocol.carbon.gas.label()
    )
}

/// What one operation is called.
pub fn operation_of(protocol: &ProtocolReport) -> &str {
    protocol
        .tally
        .operations
        .kind
        .as_deref()
        .unwrap_or("operation")
}

/// How long answers took, in a sentence; nothing where none came.
pub fn answers(protocol: &ProtocolReport) -> Option<String> {
    let (answers, noun) = protocol.tally.latency.answers();
    let within = |thousandths| {
        let (_, end) = answers.quantile(thousandths)?;
        Some(time::bound(end))
    };
    Some(format!(
        "{}: half within {}, 90 % within {}, 99 % within {}",
        counted(answers.count, noun),
        within(500)?,
        within(900)?,
        within(990)?
    ))
}

/// One row a run, to compare algorithms: what was counted, and what it costs.
pub fn comparison(runs: &[Compared<'_>]) -> [Table; 2] {
    let gas = runs
        .iter()
        .find_map(|run| run.report.seen_protocols().next())
        .map_or("gas", |protocol| protocol.carbon.gas.label());
    let mut counts = Table::new([
        ("algorithm", Align::Left),
        ("N", Align::Right),
        ("verdict", Align::Left),
        ("formula", Align::Right),
        ("sent", Align::Right),
        ("received", Align::Right),
        ("wire", Align::Right),
        ("packets", Align::Right),
        ("IP bytes", Align::Right),
        ("goodput", Align::Right),
    ]);
    let mut costs = Table::new([
        ("algorithm", Align::Left),
        ("energy", Align::Right),
        (gas, Align::Right),
        ("operations", Align::Right),
        ("messages/op", Align::Right),
        ("IP bytes/op", Align::Right),
        ("energy/op", Align::Right),
    ]);
    let dash = || "-".to_owned();
    for run in runs {
        let name = run.protocol.to_owned();
        let n = run.processes.map_or_else(dash, |n| grouped(n.into()));
        let rows: Vec<&Row> = run
            .report
            .audit
            .iter()
            .flat_map(|audit| audit.rows_of(run.protocol))
            .collect();
        let mut verdict = worst(&rows).map_or_else(dash, |verdict| verdict.to_string());
        if run.report.is_broken_off() {
            verdict.push_str(" (partial)");
        }
        let summary = run.report.run.iter();
        if summary
            .flat_map(|run| run.broken_properties())
            .next()
            .is_some()
        {
            verdict.push_str(" (broken)");
        }
        let formula = formula(expected_in_all(&rows));
        let sum = |of: fn(&Row) -> Messages| {
            let messages: Messages = rows.iter().map(|row| of(row)).sum();
            match rows.is_empty() {
                true => dash(),
                false => grouped(messages.get()),
            }
        };
        let (sent, received) = (sum(|row| row.sent), sum(|row| row.received));
        let Some(protocol) = run.protocol_report() else {
            let zero = || "0".to_owned();
            counts.row(vec![
                name,
                n,
                verdict,
                formula,
                sent,
                received,
                zero(),
                zero(),
                zero(),
                dash(),
            ]);
            continue;
        };
        let tally = &protocol.tally;
        counts.row(vec![
            name.clone(),
            n,
            verdict,
            formula,
            sent,
            received,
            grouped(tally.messages.get()),
            grouped(tally.packets.total.get()),
            grouped(tally.bytes.ip.get()),
            protocol.goodput_share.map_or_else(dash, percent),
        ]);
        let per = |figure: &dyn Fn(&PerOperation) -> String| {
            protocol.per_operation.as_ref().map_or_else(dash, figure)
        };
        costs.row(vec![
            name,
            modelled(protocol.energy.joules.0, "J"),
            modelled(protocol.carbon.grams.0, "g"),
            per(&|cost| counted(cost.operations, operation_of(protocol))),
            per(&|cost| mean(cost.messages)),
            per(&|cost| mean(cost.ip)),
            per(&|cost| modelled(cost.joules.0, "J")),
        ]);
    }
    [counts, costs]
}
