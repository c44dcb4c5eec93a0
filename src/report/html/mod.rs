//! The report as one page that opens anywhere.
//!
//! In: a report, or several to compare, and their charts. Out: one HTML document with its style,
//! script and pictures inside, and a policy that forbids it the network. It is whole without its
//! script, which sorts tables and shows what a chart's parts are. What comes from a capture is
//! escaped in `markup`. Nothing here counts.

mod markup;
mod page;

use std::collections::BTreeMap;

use self::markup::shell_quoted;
use self::page::Page;
use super::chart::{self, Chart, ChartError};
use super::number::{counted, grouped, modelled};
use super::sweep::SweepReport;
use super::table::{Align, Table};
use super::text::{self, Fact};
use super::{Compared, ProtocolReport, Report, is_marker, tables, time};
use crate::audit::{Formula, Row, Verdict};

/// The page on one report, with these charts.
///
/// # Errors
///
/// [`ChartError`] if a chart cannot be drawn.
pub fn render(report: &Report, charts: &[Chart]) -> Result<String, ChartError> {
    let subject = subject(report);
    let word = judged(report).map_or_else(String::new, |(word, _)| format!(" {word}:"));
    let mut page = Page::new(&format!("WireWatt:{word} {subject}"));
    page.banner("WireWatt report", &subject, &when(report));
    verdict(&mut page, report);
    page.figures(&key_figures(report));
    accounts(&mut page, report);
    outcome(&mut page, report);
    if !charts.is_empty() {
        page.section("charts", "Charts");
        for chart in charts {
            page.chart(chart)?;
        }
    }
    energy(&mut page, report);
    completeness(&mut page, report);
    traffic(&mut page, report);
    repeat(&mut page, report);
    Ok(page.finish(&made_by(report)))
}

/// A page that compares several runs.
///
/// # Errors
///
/// [`ChartError`] if a chart cannot be drawn.
pub fn comparison(runs: &[Compared<'_>]) -> Result<String, ChartError> {
    let mut page = Page::new("WireWatt: runs compared");
    page.banner("WireWatt comparison", &names(runs), "");
    if let Some((looks, words)) = verdicts(runs) {
        page.verdict(&looks.to_string(), &looks.to_string(), &words);
    }
    let [counts, costs] = tables::comparison(runs);
    page.section("runs", "Runs compared");
    page.table("Messages, packets and bytes of each run", &counts);
    page.section("costs", "What they cost");
    page.table("Energy and emissions of each run", &costs);
    if let Some(note) = text::comparison_note(runs) {
        page.notes(&[note]);
    }
    let charts = chart::of_comparison(runs);
    if !charts.is_empty() {
        page.section("charts", "Charts");
        for chart in &charts {
            page.chart(chart)?;
        }
    }
    let Some(run) = runs.first() else {
        return Ok(page.finish("WireWatt"));
    };
    page.section("models", "What the model includes");
    page.notes(&text::cost_notes(run.report));
    Ok(page.finish(&made_by(run.report)))
}

/// The page of a sweep.
///
/// # Errors
///
/// [`ChartError`] if a chart cannot be drawn.
pub fn sweep(report: &SweepReport, charts: &[Chart]) -> Result<String, ChartError> {
    let mut page = Page::new("WireWatt: cost against the number of processes");
    let names = report.algorithms().join(", ");
    page.banner("WireWatt sweep", &names, &report.summary());
    let (looks, word) = match report.exit_code() {
        0 => (Verdict::Exact, "all runs agree"),
        1 => (Verdict::Mismatch, "runs disagree"),
        _ => (Verdict::Inconclusive, "not all runs could tell"),
    };
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for cell in &report.cells {
        *outcomes.entry(cell.outcome()).or_default() += 1;
    }
    let outcomes: Vec<String> = outcomes
        .iter()
        .map(|(outcome, runs)| format!("{} {outcome}", grouped(*runs)))
        .collect();
    page.verdict(&looks.to_string(), word, &outcomes.join(", "));
    let [counts, bytes, costs] = report.tables();
    page.section("counts", "Messages and packets");
    page.table(
        "Messages and packets against the number of processes",
        &counts,
    );
    if !charts.is_empty() {
        page.section("charts", "Charts");
        for chart in charts {
            page.chart(chart)?;
        }
    }
    page.section("bytes", "Bytes");
    page.table("Bytes against the number of processes", &bytes);
    page.section("costs", "Energy and time");
    page.table("Energy and time against the number of processes", &costs);
    page.section("reading", "How to read this");
    page.notes(&report.notes());
    page.notes(&report.remarks());
    page.section("repeat", "To repeat this");
    command(&mut page, &report.command);
    let made_by = format!(
        "{} {}, {}",
        report.tool.name, report.tool.version, report.schema
    );
    page.facts(&[("program", made_by.clone())]);
    Ok(page.finish(&made_by))
}

/// Of more algorithms a heading names the first.
const MOST_NAMES: usize = 6;

/// The algorithms that were run.
fn names(runs: &[Compared<'_>]) -> String {
    let mut names: Vec<&str> = runs.iter().map(|run| run.protocol).collect();
    names.dedup();
    match names.len() {
        ..=MOST_NAMES => names.join(", "),
        n => format!("{} and {} more", names[..3].join(", "), n - 3),
    }
}

/// The worst verdict of the runs, and how many have which.
fn verdicts(runs: &[Compared<'_>]) -> Option<(Verdict, String)> {
    let judged: Vec<Verdict> = runs
        .iter()
        .filter_map(|run| judged(run.report).map(|(_, looks)| looks))
        .collect();
    let mut counts: BTreeMap<Verdict, u64> = BTreeMap::new();
    for verdict in &judged {
        *counts.entry(*verdict).or_default() += 1;
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(verdict, n)| format!("{n} {verdict}"))
        .collect();
    let runs = counted(judged.len() as u64, "run");
    let words = format!("of {runs}: {}", words.join(", "));
    Some((*judged.iter().max()?, words))
}

/// What the report is on.
fn subject(report: &Report) -> String {
    match &report.run {
        Some(run) => format!(
            "{} on {} processes",
            run.algorithm,
            grouped(run.processes.into())
        ),
        None => text::origin(&report.source),
    }
}

/// When it was captured, and for how long.
fn when(report: &Report) -> String {
    let source = &report.source;
    match (source.first_packet, source.last_packet) {
        (Some(first), Some(last)) => {
            let span = last.as_nanos().saturating_sub(first.as_nanos());
            format!(
                "captured {}, {} long",
                time::second(first),
                time::span(span)
            )
        }
        _ => "no packet".to_owned(),
    }
}

/// The word of the verdict, and the verdict as which it is to be looked at.
fn judged(report: &Report) -> Option<(String, Verdict)> {
    let audit = report.audit.as_ref()?;
    let (at_best, _) = text::caveat(report);
    Some((audit.verdict.to_string(), audit.verdict.max(at_best)))
}

fn verdict(page: &mut Page, report: &Report) {
    match (&report.audit, judged(report)) {
        (Some(audit), Some((word, looks))) => {
            let meaning = text::verdict_meaning(audit.verdict);
            let (_, caveat) = text::caveat(report);
            let failed = failed_operations(report);
            page.verdict(
                &looks.to_string(),
                &word,
                &format!("{meaning}{caveat}{failed}"),
            );
        }
        _ => page.verdict(
            "none",
            "no audit",
            "no formula and no counters were given to hold the wire against",
        ),
    }
}

/// That not every operation succeeded, which a verdict on counts does not say.
fn failed_operations(report: &Report) -> String {
    match &report.run {
        Some(run) if run.succeeded < run.operations => format!(
            "; {} of {} succeeded",
            grouped(run.succeeded),
            counted(run.operations, "operation")
        ),
        _ => String::new(),
    }
}

/// The figures that one looks for first: their names, themselves, and between what they lie.
fn key_figures(report: &Report) -> Vec<[String; 3]> {
    let seen: Vec<&ProtocolReport> = report.seen_protocols().collect();
    let figure = |name: &str, figure: String| [name.to_owned(), figure, String::new()];
    let sum = |of: fn(&ProtocolReport) -> u64| grouped(seen.iter().map(|p| of(p)).sum());
    let mut figures = vec![
        figure("messages", sum(|p| p.tally.messages.get())),
        figure("packets", sum(|p| p.tally.packets.total.get())),
        figure("wire bytes", sum(|p| p.tally.bytes.wire.get())),
    ];
    if let [protocol] = seen[..] {
        let (energy, carbon) = (&protocol.energy, &protocol.carbon);
        let range = |low: Option<f64>, high: Option<f64>, unit| match (low, high) {
            (Some(low), Some(high)) => {
                format!("{} to {}", modelled(low, unit), modelled(high, unit))
            }
            _ => String::new(),
        };
        let by = |range: String, by: String| match range.is_empty() {
            true => by,
            false => format!("{range}, {by}"),
        };
        let energy_range = range(
            energy.low.map(|low| low.0),
            energy.high.map(|high| high.0),
            "J",
        );
        figures.push([
            "energy".to_owned(),
            modelled(energy.joules.0, "J"),
            by(
                energy_range,
                format!("by {} ({})", energy.model, energy.class),
            ),
        ]);
        let carbon_range = range(
            carbon.low.map(|low| low.0),
            carbon.high.map(|high| high.0),
            "g",
        );
        figures.push([
            carbon.gas.label().to_owned(),
            modelled(carbon.grams.0, "g"),
            by(carbon_range, format!("grid {}", carbon.grid)),
        ]);
    } else {
        figures.push(figure("protocols", grouped(seen.len() as u64)));
    }
    let state = text::state_word(report.completeness.state);
    figures.push(figure("capture", state.to_owned()));
    figures
}

/// What bears on the verdict, and how the run went.
fn outcome(page: &mut Page, report: &Report) {
    let mut facts = text::run_facts(report);
    if let Some(audit) = &report.audit {
        facts.extend(text::message_facts(audit));
        facts.extend(text::identity_facts(audit));
        for (place, remark) in audit.remarks.iter().enumerate() {
            facts.push((if place == 0 { "remarks" } else { "" }, remark.clone()));
        }
    }
    if facts.is_empty() && report.fault_cost.is_none() {
        return;
    }
    page.section("outcome", "What happened");
    page.facts(&facts);
    if let Some(cost) = &report.fault_cost {
        page.table_as_written("The run with its fault and without", &cost.table());
    }
}

fn accounts(page: &mut Page, report: &Report) {
    let Some(audit) = &report.audit else {
        return;
    };
    if audit.rows.is_empty() {
        return;
    }
    page.section("accounts", "Accounts");
    page.paragraph(
        "Messages by formula, by the nodes' own counters, and as seen on the wire without asking \
         them.",
    );
    let mut by_protocol: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    let mut names: Vec<&str> = Vec::new();
    for row in &audit.rows {
        if !by_protocol.contains_key(&*row.protocol) {
            names.push(&row.protocol);
        }
        by_protocol.entry(&row.protocol).or_default().push(row);
    }
    for name in names {
        let rows = &by_protocol[name];
        let mut own = report.protocols.iter();
        let is_there = own.any(|p| p.tally.name == name && !p.tally.foreign);
        let absent = if is_there {
            ""
        } else {
            " (nothing of it in the capture)"
        };
        page.table(
            &format!("Messages of {name}{absent}"),
            &tables::accounts(rows),
        );
        page.notes(&text::reasons(rows));
        page.table(&format!("Formulas of {name}"), &formulas(rows));
    }
}

/// The formulas behind the rows; kinds of the same formula together.
fn formulas(rows: &[&Row]) -> Table {
    let mut formulas: Vec<(&Formula, Vec<&str>)> = Vec::new();
    for row in rows {
        let Some(formula) = &row.formula else {
            continue;
        };
        match formulas.iter_mut().find(|(other, _)| *other == formula) {
            Some((_, kinds)) => kinds.push(&row.kind),
            None => formulas.push((formula, vec![&row.kind])),
        }
    }
    let columns = ["kind", "formula for one operation", "source"];
    let mut table = Table::new(columns.map(|heading| (heading, Align::Left)));
    for (formula, kinds) in formulas {
        table.row(vec![
            kinds.join(", "),
            formula.formula.clone(),
            formula.citation.clone(),
        ]);
    }
    table
}

/// What the traffic would cost, first by the headline model, then by all.
fn energy(page: &mut Page, report: &Report) {
    let seen: Vec<&ProtocolReport> = report.seen_protocols().collect();
    let Some(first) = seen.first() else {
        return;
    };
    page.section("energy", "Energy and emissions");
    for protocol in &seen {
        let caption = format!("{}, as if on the wire", protocol.label());
        page.table(&caption, &tables::energy(protocol));
        if let Some(cost) = &protocol.per_operation {
            let words = tables::per_operation(protocol, cost);
            page.paragraph(&words.replacen("per ", "Per ", 1));
        }
        if let Some(sci) = &protocol.sci {
            page.paragraph(&sci.words());
        }
    }
    page.notes(&text::cost_notes(report));
    if !first.estimates.is_empty() {
        page.section("sensitivity", "Sensitivity to the model");
        let of = match seen.len() {
            1 => String::new(),
            n => format!(" of all {n} protocols together"),
        };
        page.sensitivity(
            &format!("Energy{of} by every model, the headline in bold"),
            &tables::sensitivity(&seen, true),
        );
        page.notes(&[text::sensitivity_note(first)]);
    }
}

fn completeness(page: &mut Page, report: &Report) {
    page.section("completeness", "Completeness of the capture");
    page.facts(&text::completeness_facts(report));
}

/// Each protocol's packets and bytes, then what belongs to none.
fn traffic(page: &mut Page, report: &Report) {
    page.section("traffic", "Traffic in detail");
    for protocol in report.protocols.iter().filter(|p| !is_marker(p)) {
        if !protocol.was_seen() {
            continue;
        }
        let tally = &protocol.tally;
        page.heading(&protocol.label());
        page.paragraph(&format!(
            "Ports {}, framing {}. {}.",
            tally.ports,
            tally.framing,
            text::summary(protocol)
        ));
        if let Some(answers) = tables::answers(protocol) {
            page.paragraph(&format!("{answers}."));
        }
        page.notes(&text::remarks(protocol));
        let mut beside = vec![
            ("Packets by class", tables::packets(protocol)),
            ("Bytes by layer", tables::layers(protocol)),
        ];
        // Accounts have a row for each kind.
        if text::accounts_of(report, protocol).is_empty() {
            beside.push(("Messages by kind", tables::kinds(protocol)));
        }
        page.tables(&beside);
    }
    let rest = text::rest_facts(report);
    if !rest.is_empty() {
        page.heading("Everything else in the capture");
        page.facts(&rest);
    }
}

/// The command line, where it is known. Where the program lay does not matter.
fn command(page: &mut Page, words: &[String]) {
    let mut words = words.to_vec();
    if let Some(program) = words.first_mut() {
        if let Some(name) = program.rsplit('/').next() {
            *program = name.to_owned();
        }
        page.command(&shell_quoted(&words));
    }
}

/// What is needed to do it again.
fn repeat(page: &mut Page, report: &Report) {
    page.section("repeat", "To repeat this");
    command(page, &report.command);
    let is_out = |word: &String| word == "--out" || word.starts_with("--out=");
    if report.run.is_some() && report.command.iter().any(is_out) {
        page.paragraph("With another folder behind --out where this one is there still.");
    }
    let mut facts: Vec<Fact> = vec![("program", made_by(report))];
    if let Some(setup) = report.run.as_ref().and_then(|run| run.setup.as_ref()) {
        facts.push(("started", time::rfc3339(setup.started)));
        facts.push(("seed", setup.seed.to_string()));
        facts.push(("rounds", grouped(setup.rounds.into())));
        facts.push(("payload", counted(setup.payload, "byte")));
        let options = setup.options.iter();
        let options: Vec<String> = options
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !options.is_empty() {
            facts.push(("options", options.join(", ")));
        }
        facts.push(("listening", setup.addresses.join(", ")));
    }
    facts.extend(text::source_facts(report));
    let source = &report.source;
    if !source.link_types.is_empty() {
        let types: Vec<String> = source.link_types.iter().map(|t| t.0.to_string()).collect();
        facts.push(("link type", types.join(", ")));
    }
    if let Some(snaplen) = source.snaplen {
        facts.push(("snap length", counted(snaplen.into(), "byte")));
    }
    page.facts(&facts);
    if report.run.is_some() {
        page.paragraph("This report again from the run's own folder, without a network:");
        page.command("wirewatt audit .");
    }
}

fn made_by(report: &Report) -> String {
    format!(
        "{} {}, {}",
        report.tool.name, report.tool.version, report.schema
    )
}
