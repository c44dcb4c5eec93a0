//! The report for people: plain text that stands on 80 columns.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::number::{counted, grouped, modelled, percent, rate};
use super::table::{self, Style, beside, wrapped};
use super::{
    Compared, InjectedFault, Models, PropertyKind, ProtocolReport, Report, RunSummary, Sci, Source,
    SourceKind, is_marker, tables, time,
};
use crate::analysis::{CompletenessState, LiveTotals};
use crate::audit::{Audit, Row, Unmatched, Verdict};
use crate::energy::{Carbon, Gas, HostEnergy, Verified};
use crate::units::{Mtu, Packets};

/// Columns by which what belongs to a protocol is indented.
const INDENT: usize = 2;
/// Columns of the labels of what concerns the whole report.
const MARGIN: usize = 14;

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    let mut lines = fact_lines(&source_facts(report), style);
    lines.extend(fact_lines(&completeness_facts(report), style));
    lines.extend(fact_lines(&run_facts(report), style));
    for protocol in report
        .protocols
        .iter()
        .filter(|protocol| !is_marker(protocol))
    {
        let accounts = accounts_of(report, protocol);
        if protocol.was_seen() || !accounts.is_empty() {
            lines.push(String::new());
            lines.extend(protocol_lines(protocol, &accounts, style));
        }
    }
    if let Some(audit) = &report.audit {
        lines.extend(lines_of_unseen(report, audit, style));
    }
    lines.extend(sensitivity_lines(report, style));
    let notes = cost_notes(report);
    if !notes.is_empty() {
        lines.extend([String::new(), "what the model includes".to_owned()]);
    }
    for note in notes {
        lines.extend(wrapped(&note, INDENT, 2, style.width));
    }
    if let Some(cost) = &report.fault_cost {
        lines.push(String::new());
        lines.extend(cost.table().lines(0, style));
    }
    if let Some(audit) = &report.audit {
        lines.push(String::new());
        lines.extend(audit_lines(audit, &caveat(report).1, style));
    }
    lines.extend(rest_lines(report, style));
    joined(lines)
}

/// Several runs beside each other, one row an algorithm.
pub fn comparison(runs: &[Compared<'_>], style: Style) -> String {
    let [counts, costs] = tables::comparison(runs);
    let mut lines = counts.lines(0, style);
    lines.push(String::new());
    lines.extend(costs.lines(0, style));
    if let Some(note) = comparison_note(runs) {
        lines.push(String::new());
        lines.extend(wrapped(&note, 0, 2, style.width));
    }
    joined(lines)
}

/// By which model a comparison's energy is.
pub(super) fn comparison_note(runs: &[Compared<'_>]) -> Option<String> {
    let mut seen = runs.iter().map(|run| run.report.seen_protocols().next());
    let protocol = seen.find_map(|protocol| protocol)?;
    let frames = frames_note(protocol.tally.projection.mtu);
    let frames = frames.map_or_else(String::new, |frames| format!("; {frames}"));
    Some(format!(
        "energy by {}{} ({}), as if on the wire{}{frames}; {}",
        protocol.energy.model,
        hops_words(&protocol.energy.model, protocol.energy.hops),
        protocol.energy.class,
        pue_words(protocol.energy.pue),
        grid_note(&protocol.carbon)
    ))
}

/// A live capture's totals so far: one line a protocol, and one for what belongs to none.
pub fn live_lines(totals: &[LiveTotals]) -> Vec<String> {
    let mut table = table::Table::new([
        ("protocol", table::Align::Left),
        ("packets", table::Align::Right),
        ("messages", table::Align::Right),
        ("IP bytes", table::Align::Right),
        ("payload", table::Align::Right),
    ]);
    for row in totals {
        table.row(vec![
            row.name.clone(),
            grouped(row.packets.get()),
            grouped(row.messages.get()),
            grouped(row.ip.get()),
            grouped(row.payload.get()),
        ]);
    }
    table.lines(0, Style::default())
}

fn joined(mut lines: Vec<String>) -> String {
    lines.push(String::new());
    lines.join("\n")
}

/// Text under a label in the margin.
pub(super) fn labelled(label: &str, text: &str, style: Style) -> Vec<String> {
    let mut lines = wrapped(text, MARGIN, 0, style.width);
    lines[0].replace_range(..MARGIN, &format!("{label:MARGIN$}"));
    lines
}

/// Words under a label. Without a label they belong to the one before.
pub(super) type Fact = (&'static str, String);

/// Several facts under one label.
fn labelled_once(label: &'static str, words: Vec<String>) -> Vec<Fact> {
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels.zip(words).collect()
}

fn fact_lines(facts: &[Fact], style: Style) -> Vec<String> {
    let lines = facts.iter();
    lines
        .flat_map(|(label, words)| labelled(label, words, style))
        .collect()
}

/// Where the packets came from.
pub(super) fn origin(source: &Source) -> String {
    match source.kind {
        SourceKind::Live => format!(
            "live capture of {}",
            source.interface.as_deref().unwrap_or("an interface")
        ),
        SourceKind::Stdin => "capture from standard input".to_owned(),
        SourceKind::File => source.files.join(", "),
    }
}

pub(super) fn source_facts(report: &Report) -> Vec<Fact> {
    let source = &report.source;
    let mut facts = vec![("source", origin(source))];
    if let (Some(first), Some(last)) = (source.first_packet, source.last_packet) {
        let span = last.as_nanos().saturating_sub(first.as_nanos());
        let span = format!("{} + {}", time::rfc3339(first), time::span(span));
        facts.push(("", span));
    }
    for part in &source.parts {
        let part = format!("part {} of {} of a divided capture", part.number, part.of);
        facts.push(("", part));
    }
    for (i, merged) in source.merged.iter().enumerate() {
        let label = if i == 0 { "merged from" } else { "" };
        let packets = counted(merged.packets_seen.get(), "packet");
        let state = state_word(merged.state);
        facts.push((label, format!("{}: {packets}, {state}", merged.report)));
    }
    if let Some(filter) = &source.filter {
        let filter = format!("{filter} (what it kept out is not counted)");
        facts.push(("filter", filter));
    }
    if source.partial {
        let ended = "ended before what it observes was over";
        facts.push(("partial", ended.to_owned()));
    }
    facts
}

/// Whether the capture showed everything, and why that is said of it.
pub(super) fn completeness_facts(report: &Report) -> Vec<Fact> {
    let completeness = &report.completeness;
    let dropped = |count: Option<crate::units::Packets>, by: &str| match count {
        Some(count) => format!("{} dropped by the {by}", grouped(count.get())),
        None => format!("{by}'s drops unknown"),
    };
    let statement = format!(
        "{}: {} seen, {}, {}",
        state_word(completeness.state),
        counted(completeness.packets_seen.get(), "packet"),
        dropped(completeness.losses.packets_dropped, "capture"),
        dropped(completeness.losses.softnet_dropped, "kernel"),
    );
    let mut facts = vec![("completeness", statement)];
    let reasons = completeness.reasons.iter();
    facts.extend(reasons.map(|reason| ("", reason.clone())));
    if completeness.evidence.truncated_packets.get() > 0 {
        let cut = format!(
            "{} cut by the snap length; original lengths are counted",
            counted(completeness.evidence.truncated_packets.get(), "packet")
        );
        facts.push(("", cut));
    }
    facts
}

/// How the run went that the report is on.
pub(super) fn run_facts(report: &Report) -> Vec<Fact> {
    let Some(run) = &report.run else {
        return Vec::new();
    };
    let ended = match run.ended > run.operations {
        // Processes that contradict each other, or a successor that began again.
        true => format!("{} were told for", counted(run.ended, "end")),
        false => format!("{} of", grouped(run.ended)),
    };
    let went = format!(
        "{} on {} processes, {} connections: {ended} {}{}, {} succeeded",
        run.algorithm,
        grouped(run.processes.into()),
        run.connections,
        counted(run.operations, "operation"),
        if run.ended > run.operations {
            ""
        } else {
            " ended"
        },
        grouped(run.succeeded),
    );
    let mut facts = vec![("run", went)];
    for InjectedFault { fault, happened } in &run.faults {
        facts.push(("", format!("fault: {fault}")));
        for what in happened {
            facts.push(("", format!("  {what}")));
        }
        if happened.is_empty() {
            facts.push(("", "  it never came to it".to_owned()));
        }
    }
    if let Some(stalled) = &run.stalled {
        facts.push(("", format!("after the fault: {stalled}")));
    }
    for problem in &run.problems {
        facts.push(("", format!("problem: {problem}")));
    }
    if let Some(host) = &report.host_energy {
        facts.push(("host energy", host_words(host)));
    }
    facts.extend(property_facts(run));
    facts
}

/// What the machine's processors took, or why nobody knows.
fn host_words(host: &HostEnergy) -> String {
    let measured = match host {
        HostEnergy::Unavailable { reason } => return format!("unavailable: {reason}"),
        HostEnergy::Measured(measured) => measured,
    };
    let all = format!(
        "{} by {} in {:.1} s",
        modelled(measured.joules.0, "J"),
        measured.zones.join(", "),
        measured.seconds
    );
    match (&measured.above_idle, &measured.idle) {
        (Some(above), Some(idle)) => format!(
            "{} ({} to {}) beyond {:.1} W idle; {all}; of the whole machine, nodes and sniffer included",
            modelled(above.joules.0, "J"),
            modelled(above.low.0, "J"),
            modelled(above.high.0, "J"),
            idle.watts
        ),
        _ => {
            format!("{all}, idle power included; of the whole machine, nodes and sniffer included")
        }
    }
}

fn hold_or_holds(number: usize) -> &'static str {
    match number {
        1 => "holds",
        _ => "hold",
    }
}

/// The properties that hold in one line, each other in a line of its own.
pub(super) fn property_facts(run: &RunSummary) -> Vec<Fact> {
    let properties = run.properties.iter();
    let (hold, others): (Vec<_>, Vec<_>) = properties.partition(|p| p.holds == Some(true));
    let mut words = Vec::new();
    if !hold.is_empty() {
        let names: Vec<&str> = hold.iter().map(|property| &*property.name).collect();
        words.push(format!(
            "{}: {}",
            hold_or_holds(names.len()),
            names.join(", ")
        ));
    }
    for property in others {
        let kind = match property.kind {
            PropertyKind::Safety => "safety",
            PropertyKind::Liveness => "liveness",
        };
        let broken = match property.holds {
            Some(_) => "BROKEN, ",
            None => "",
        };
        words.push(format!(
            "{} ({kind}): {broken}{}",
            property.name, property.why
        ));
    }
    labelled_once("properties", words)
}

/// The word for a state of completeness.
pub(super) fn state_word(state: CompletenessState) -> &'static str {
    match state {
        CompletenessState::Proven => "proven",
        CompletenessState::Consistent => "consistent",
        CompletenessState::Incomplete => "incomplete",
        CompletenessState::Unknown => "unknown",
    }
}

/// The audit's rows on a protocol. Foreign streams on its ports have none.
pub(super) fn accounts_of<'a>(report: &'a Report, protocol: &'a ProtocolReport) -> Vec<&'a Row> {
    match &report.audit {
        Some(audit) if !protocol.tally.foreign => audit.rows_of(&protocol.tally.name).collect(),
        _ => Vec::new(),
    }
}

fn protocol_lines(protocol: &ProtocolReport, accounts: &[&Row], style: Style) -> Vec<String> {
    let tally = &protocol.tally;
    let mut lines = vec![format!(
        "{}  (ports {}, framing {})",
        protocol.label(),
        tally.ports,
        tally.framing
    )];
    lines.extend(wrapped(&summary(protocol), INDENT, 0, style.width));
    for remark in remarks(protocol) {
        lines.extend(wrapped(&remark, INDENT, 2, style.width));
    }
    if !accounts.is_empty() {
        lines.push(String::new());
        lines.extend(tables::accounts(accounts).lines(INDENT, style));
        lines.extend(explanations(accounts, style));
    } else if !tally.messages_by_kind.is_empty() {
        let kinds: Vec<_> = tally
            .messages_by_kind
            .iter()
            .map(|(kind, messages)| format!("{kind} {}", grouped(messages.get())))
            .collect();
        lines.push(String::new());
        lines.extend(wrapped(
            &format!("by kind: {}", kinds.join(", ")),
            INDENT,
            2,
            style.width,
        ));
    }
    if !protocol.was_seen() {
        return lines;
    }
    lines.push(String::new());
    let packets = tables::packets(protocol).lines(INDENT, style);
    let layers = tables::layers(protocol).lines(0, style);
    lines.extend(beside(&packets, &layers, INDENT, style.width));
    if let Some(answers) = tables::answers(protocol) {
        lines.push(String::new());
        lines.extend(wrapped(&answers, INDENT, 2, style.width));
    }
    lines.push(String::new());
    lines.extend(cost_lines(protocol, style));
    lines
}

/// Messages, connections, operations and the goodput share in a sentence.
pub(super) fn summary(protocol: &ProtocolReport) -> String {
    let tally = &protocol.tally;
    let mut parts = vec![
        counted(tally.messages.get(), "message"),
        format!("{} on", counted(tally.packets.total.get(), "packet")),
    ];
    let refused = match tally.refused_connections.get() {
        0 => String::new(),
        refused => format!(" ({} refused)", grouped(refused)),
    };
    let connections = counted(tally.connections.get(), "connection");
    parts[1] = format!("{} {connections}{refused}", parts[1]);
    if tally.operations.count > 0 {
        let operations = counted(tally.operations.count, tables::operation_of(protocol));
        parts.push(match tally.operations.left_out {
            true => format!("at least {operations}"),
            false => operations,
        });
    }
    if let Some(share) = protocol.goodput_share {
        parts.push(format!(
            "goodput share {} (message / IP bytes)",
            percent(share)
        ));
    }
    parts.join(", ")
}

/// What keeps the protocol's figures from being taken at face value.
pub(super) fn remarks(protocol: &ProtocolReport) -> Vec<String> {
    let tally = &protocol.tally;
    let mut remarks = Vec::new();
    if tally.foreign {
        remarks.push(format!(
            "foreign: ports of the built-in plan for {}, and not its frames; name a protocol of \
             your own with --protocol NAME=PORTS",
            tally.name
        ));
    }
    match (tally.approximate, tally.framing.as_str()) {
        (true, "segment") => remarks
            .push("`segment` is a fallback: each data segment is counted as a message".to_owned()),
        (true, "turn") => remarks.push(
            "`turn` approximates: each change of direction is counted as the start of a message"
                .to_owned(),
        ),
        (true, framing) => remarks.push(format!("`{framing}` only approximates messages")),
        (false, _) => {}
    }
    if tally.incomplete_messages.get() > 0 {
        remarks.push(format!(
            "{} not seen whole and not counted",
            counted(tally.incomplete_messages.get(), "message")
        ));
    }
    if tally.bytes.gap_bytes.get() > 0 {
        remarks.push(format!(
            "{} of its streams that no packet showed are in no figure",
            counted(tally.bytes.gap_bytes.get(), "byte")
        ));
    }
    if !tally.icmp_errors.is_empty() {
        let errors: Packets = tally.icmp_errors.values().copied().sum();
        remarks.push(format!(
            "{} about its packets{}",
            counted(errors.get(), "ICMP error"),
            most_frequent(&tally.icmp_errors)
        ));
    }
    remarks
}

fn explanations(rows: &[&Row], style: Style) -> Vec<String> {
    let reasons = reasons(rows).into_iter();
    reasons
        .flat_map(|reason| wrapped(&reason, INDENT, 2, style.width))
        .collect()
}

/// Why rows are not exact; rows of the same reason together.
pub(super) fn reasons(rows: &[&Row]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows.iter().filter(|row| !row.explanation.is_empty()) {
        match reasons
            .iter_mut()
            .find(|(reason, _)| *reason == row.explanation)
        {
            Some((_, kinds)) => kinds.push(&row.kind),
            None => reasons.push((&row.explanation, vec![&row.kind])),
        }
    }
    let reasons = reasons.into_iter();
    reasons
        .map(|(reason, kinds)| format!("{}: {reason}", kinds.join(", ")))
        .collect()
}

pub(super) fn cost_lines(protocol: &ProtocolReport, style: Style) -> Vec<String> {
    let mut lines = vec![format!(
        "{}energy and emissions, as if on the wire",
        " ".repeat(INDENT)
    )];
    lines.extend(tables::energy(protocol).lines(INDENT, style));
    if let Some(cost) = &protocol.per_operation {
        let text = tables::per_operation(protocol, cost);
        lines.push(String::new());
        lines.extend(wrapped(&text, INDENT, 2, style.width));
    }
    if let Some(sci) = &protocol.sci {
        lines.extend(wrapped(&sci.words(), INDENT, 2, style.width));
    }
    lines
}

/// What models would have told: the headline among all others.
fn sensitivity_lines(report: &Report, style: Style) -> Vec<String> {
    let seen: Vec<&ProtocolReport> = report.seen_protocols().collect();
    let Some(protocol) = seen.first().filter(|p| !p.estimates.is_empty()) else {
        return Vec::new();
    };
    let of = match seen.as_slice() {
        [_] => String::new(),
        all => format!(" for all {} protocols together", all.len()),
    };
    let title = format!(
        "energy{of} by every model, lowest to highest; `{}` marks the one above",
        tables::HEADLINE_MARK.trim()
    );
    let mut lines = vec![String::new()];
    lines.extend(wrapped(&title, 0, 2, style.width));
    lines.extend(tables::sensitivity(&seen, false).lines(0, style));
    lines.extend(wrapped(&sensitivity_note(protocol), 0, 2, style.width));
    lines
}

/// How the sensitivity table is to be read.
pub(super) fn sensitivity_note(protocol: &ProtocolReport) -> String {
    let recalled: Vec<String> = tables::estimates(protocol)
        .into_iter()
        .filter(|estimate| estimate.energy.verified == Some(Verified::Recalled))
        .map(|estimate| format!(" {}: {}.", estimate.energy.model, Verified::Recalled.word()))
        .collect();
    // It need not be in the headline, whose model may be an average.
    let pue = tables::estimates(protocol)
        .iter()
        .find_map(|estimate| estimate.energy.pue);
    let pue = pue.map_or_else(String::new, |pue| {
        format!(" Those of devices are times {pue} for what the building takes (PUE).")
    });
    format!(
        "Figures of different classes do not compare: an average shares out a network's whole energy, \
         a marginal figure is what one more packet costs.{pue}{} `wirewatt list models` tells boundaries \
         and sources.",
        recalled.concat()
    )
}

/// What the headline model's figures include, and the grid's rate.
pub(super) fn cost_notes(report: &Report) -> Vec<String> {
    let Some(protocol) = report.seen_protocols().next() else {
        return Vec::new();
    };
    let mut notes = model_notes(protocol);
    let scores = report.seen_protocols().filter_map(|p| p.sci.as_ref());
    notes.extend(scores.map(Sci::ground).next());
    notes
}

/// What the headline model of a protocol includes, its grid, and its frames.
pub(super) fn model_notes(protocol: &ProtocolReport) -> Vec<String> {
    let energy = &protocol.energy;
    let mut notes = vec![
        format!(
            "{}: {}{} ({}{})",
            energy.model,
            energy.boundary,
            pue_words(energy.pue),
            dated(&energy.source, energy.year),
            known(energy.verified)
        ),
        grid_note(&protocol.carbon),
    ];
    notes.extend(frames_note(protocol.tally.projection.mtu));
    notes
}

/// Over how many devices or links a figure is added up, where the model's name does not tell.
pub fn hops_words(model: &str, hops: Option<u32>) -> String {
    let told = |hops: u32| model.contains(&format!("{hops}-hop"));
    match hops {
        Some(hops) if hops > 1 && !told(hops) => format!(" over {hops} hops"),
        _ => String::new(),
    }
}

/// What a building adds, where that is in the figure.
pub(super) fn pue_words(pue: Option<f64>) -> String {
    pue.map_or_else(String::new, |pue| {
        format!("; times {pue} for what the building takes (PUE)")
    })
}

/// How a figure is known that was not read in its source.
fn known(verified: Option<Verified>) -> String {
    match verified {
        Some(Verified::Read) | None => String::new(),
        Some(known) => format!("; {}", known.word()),
    }
}

/// By which model energy is, what that includes, and the grid: all that has to be the same where
/// figures are to compare.
pub fn models_in_words(models: &Models) -> String {
    let (model, grid) = (&models.headline, &models.grid);
    format!(
        "energy by {} ({}), as if on the wire: {}{} ({}{}); grid {}, {} {}",
        model.name,
        model.class,
        model.boundary,
        pue_words((model.pue != 1.0).then_some(model.pue)),
        dated(&model.source, model.year),
        known(Some(model.verified)),
        grid.name,
        rate(grid.grams_per_kwh),
        grid.gas.label(),
    )
}

/// On which Ethernet frames are, where it is not the usual one.
pub(super) fn frames_note(mtu: Mtu) -> Option<String> {
    (mtu != Mtu::default()).then(|| {
        format!(
            "packets projected onto Ethernet with an MTU of {}, whose frames models of devices and \
             radios count",
            grouped(mtu.get().into())
        )
    })
}

fn grid_note(carbon: &Carbon) -> String {
    let gas = match carbon.gas {
        Gas::Co2 => "CO2 alone, without CH4 and N2O".to_owned(),
        Gas::Co2e => format!(
            "CO2e by {}",
            carbon.gwp_basis.as_deref().unwrap_or("an unnamed basis")
        ),
        Gas::Unspecified => "gas not specified".to_owned(),
    };
    format!(
        "grid {}: {}, {gas} ({})",
        carbon.grid,
        rate(carbon.grams_per_kwh),
        dated(&carbon.source, carbon.year)
    )
}

/// A source with the year of its figures, where that is known.
fn dated(source: &str, year: Option<u16>) -> String {
    match year {
        Some(year) => format!("{source}; figures of {year}"),
        None => source.to_owned(),
    }
}

/// Accounts of protocols that the capture has no entry for.
pub(super) fn lines_of_unseen(report: &Report, audit: &Audit, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut names: Vec<&str> = audit.rows.iter().map(|row| &*row.protocol).collect();
    names.dedup();
    for name in names {
        if report
            .protocols
            .iter()
            .all(|p| p.tally.name != name || p.tally.foreign)
        {
            let rows: Vec<&Row> = audit.rows_of(name).collect();
            lines.extend([
                String::new(),
                format!("{name}  (nothing of it in the capture)"),
                String::new(),
            ]);
            lines.extend(tables::accounts(&rows).lines(INDENT, style));
            lines.extend(explanations(&rows, style));
        }
    }
    lines
}

/// What a verdict means, in a sentence.
pub(super) fn verdict_meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Exact => "all accounts are equal",
        Verdict::Within => "all accounts are equal and within the formula's interval",
        Verdict::Explained => "every difference has evidence",
        Verdict::Inconclusive => "the wire cannot tell",
        Verdict::Mismatch => "the accounts contradict each other",
    }
}

/// What is added to the verdict on a run that did not go as it should, and as which verdict such a
/// run is to be looked at where the accounts themselves agree better.
pub(super) fn caveat(report: &Report) -> (Verdict, String) {
    let run = report.run.iter();
    let broken = run.flat_map(|run| run.broken_properties());
    let broken: Vec<&str> = broken.map(|property| property.name.as_str()).collect();
    if !broken.is_empty() {
        let what = format!("; the run broke what was promised: {}", broken.join(", "));
        return (Verdict::Mismatch, what);
    }
    if report.is_broken_off() {
        return (Verdict::Inconclusive, ", as far as the run went".to_owned());
    }
    (Verdict::Exact, String::new())
}

fn audit_lines(audit: &Audit, caveat: &str, style: Style) -> Vec<String> {
    let verdict = audit.verdict.to_string();
    let meaning = verdict_meaning(audit.verdict);
    let mut lines = labelled("verdict", &format!("{verdict}: {meaning}{caveat}"), style);
    if style.color {
        lines[0] = lines[0].replacen(&verdict, &table::painted(&verdict), 1);
    }
    for remark in &audit.remarks {
        lines.extend(labelled("", remark, style));
    }
    lines.extend(fact_lines(&message_facts(audit), style));
    lines.extend(fact_lines(&identity_facts(audit), style));
    lines
}

/// More messages that do not match are in the report's file.
const MOST_UNMATCHED: usize = 5;

/// How messages match one to one, and the first that do not.
pub(super) fn message_facts(audit: &Audit) -> Vec<Fact> {
    let Some(messages) = &audit.messages else {
        return Vec::new();
    };
    let matched = counted(messages.matched.get(), "message");
    let again = match messages.retransmitted.get() {
        0 => String::new(),
        again => format!(
            ", {} of them retransmitted and counted once",
            grouped(again)
        ),
    };
    let matched = match messages.others.get() {
        0 => format!("{matched} matched one to one"),
        others => {
            let matched = messages.matched.get();
            let of = counted(matched.saturating_add(others), "message");
            format!("{} of {of} matched one to one", grouped(matched))
        }
    };
    let mut facts = vec![("messages", format!("{matched}{again}"))];
    for found in &messages.findings {
        let told = format!(
            "{} {}",
            grouped(found.messages.get()),
            found.finding.words()
        );
        facts.push(("", told));
    }
    let speaks = |unmatched: &&Unmatched| unmatched.verdict > Verdict::Explained;
    let worse: Vec<&Unmatched> = messages.unmatched.iter().filter(speaks).collect();
    for unmatched in worse.iter().take(MOST_UNMATCHED) {
        facts.push(("", unmatched.to_string()));
    }
    if worse.len() > MOST_UNMATCHED {
        let more = "and more: report.json has the first hundred";
        facts.push(("", more.to_owned()));
    }
    facts
}

/// Identities in a line where they hold, otherwise those that do not.
pub(super) fn identity_facts(audit: &Audit) -> Vec<Fact> {
    if audit.identities.is_empty() {
        return Vec::new();
    }
    let broken = audit.identities.iter().filter(|row| !row.holds);
    let mut words: Vec<String> = broken
        .map(|row| {
            let whose = match (row.attempted, row.wire) {
                (false, false) => "by the nodes and on the wire",
                (false, true) => "by the nodes",
                (true, _) => "on the wire",
            };
            format!("broken {whose}: {}", row.text)
        })
        .collect();
    if words.is_empty() {
        let texts: Vec<&str> = audit.identities.iter().map(|row| &*row.text).collect();
        words.push(format!(
            "{}: {}",
            hold_or_holds(texts.len()),
            texts.join("; ")
        ));
    }
    labelled_once("identities", words)
}

/// Markers, other traffic and packets that could not be decoded.
pub(super) fn rest_facts(report: &Report) -> Vec<Fact> {
    let mut rest = Vec::new();
    for marker in report
        .protocols
        .iter()
        .filter(|p| is_marker(p) && p.was_seen())
    {
        rest.push((
            "markers",
            format!(
                "{} of WireWatt's own, {} IP bytes",
                counted(marker.tally.packets.total.get(), "packet"),
                grouped(marker.tally.bytes.ip.get())
            ),
        ));
    }
    let other = &report.unclassified;
    if other.packets.total.get() > 0 {
        rest.push((
            "other",
            format!(
                "{} on no protocol's ports, {} IP bytes{}",
                counted(other.packets.total.get(), "packet"),
                grouped(other.bytes.ip.get()),
                most_frequent(&other.by_name)
            ),
        ));
    }
    let undecoded = &report.undecoded;
    if undecoded.packets.total.get() > 0 {
        rest.push((
            "not decoded",
            format!(
                "{}, {} wire bytes{}",
                counted(undecoded.packets.total.get(), "packet"),
                grouped(undecoded.bytes.wire.get()),
                most_frequent(&undecoded.reasons)
            ),
        ));
    }
    rest
}

/// In brackets, what most of the packets are, the most frequent first.
fn most_frequent(packets: &BTreeMap<String, Packets>) -> String {
    const MOST: usize = 6;
    let mut sorted: Vec<_> = packets.iter().collect();
    sorted.sort_by_key(|(_, packets)| Reverse(packets.get()));
    let mut words: Vec<_> = sorted
        .iter()
        .take(MOST)
        .map(|(name, packets)| format!("{name} {}", grouped(packets.get())))
        .collect();
    let others: u64 = sorted
        .iter()
        .skip(MOST)
        .map(|(_, packets)| packets.get())
        .sum();
    if others > 0 {
        words.push(format!("others {}", grouped(others)));
    }
    match words.is_empty() {
        true => String::new(),
        false => format!(" ({})", words.join(", ")),
    }
}

fn rest_lines(report: &Report, style: Style) -> Vec<String> {
    let rest = rest_facts(report);
    let mut lines = Vec::new();
    if !rest.is_empty() && report.audit.is_none() {
        lines.push(String::new());
    }
    lines.extend(fact_lines(&rest, style));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hops_are_told_where_the_models_name_does_not() {
        assert_eq!(hops_words("datacenter-3-hops", Some(3)), "");
        assert_eq!(hops_words("wifi-2-mbps", Some(2)), " over 2 hops");
        assert_eq!(hops_words("wifi-2-mbps", Some(1)), "");
        assert_eq!(hops_words("aslan-2015", None), "");
    }
}
