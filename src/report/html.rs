//! The report as one self-contained page: no script, no external resource, charts inline.

use std::fmt::Write;

use super::chart::{self, Chart, ChartError};
use super::sweep::SweepReport;
use super::table::{Align, Style, Table};
use super::text;
use super::{Compared, ProtocolReport, Report, tables};
use crate::audit::Row;

const CSS: &str = include_str!("report.css");

/// The whole page.
pub fn render(report: &Report) -> Result<String, ChartError> {
    let mut page = head("WireWatt report");
    page.push_str("<h1>WireWatt report</h1>\n");
    if let Some(audit) = &report.audit {
        let verdict = audit.verdict;
        let meaning = text::verdict_meaning(verdict);
        let (at_best, caveat) = text::caveat(report);
        let colour = verdict.max(at_best);
        line(
            &mut page,
            "p",
            &format!("verdict {colour}"),
            &format!("{verdict}: {meaning}{caveat}"),
        );
        for remark in &audit.remarks {
            line(&mut page, "p", "note", remark);
        }
        preformatted(&mut page, &text::message_lines(audit, PLAIN));
        preformatted(&mut page, &text::identity_lines(audit, PLAIN));
    }
    preformatted(&mut page, &text::source_lines(report, PLAIN));
    preformatted(&mut page, &text::run_lines(report, PLAIN));
    if let Some(cost) = &report.fault_cost {
        write_table(&mut page, &cost.table());
    }
    for chart in chart::of_report(report, None) {
        figure(&mut page, &chart)?;
    }
    for protocol in report.protocols.iter().filter(|p| !super::is_marker(p)) {
        let accounts: Vec<&Row> = text::accounts_of(report, protocol);
        if protocol.was_seen() || !accounts.is_empty() {
            section(&mut page, protocol, &accounts);
        }
    }
    if let Some(audit) = &report.audit {
        preformatted(&mut page, &text::lines_of_unseen(report, audit, PLAIN));
    }
    let notes = text::cost_notes(report);
    if !notes.is_empty() {
        page.push_str("<h2>What the models include</h2>\n");
        for note in notes {
            line(&mut page, "p", "note", &note);
        }
    }
    preformatted(&mut page, &text::rest_lines(report, PLAIN));
    foot(&mut page, report);
    Ok(page)
}

/// A page that compares several runs.
pub fn comparison(runs: &[Compared<'_>]) -> Result<String, ChartError> {
    let mut page = head("WireWatt comparison");
    page.push_str("<h1>Runs compared</h1>\n");
    for table in tables::comparison(runs) {
        write_table(&mut page, &table);
    }
    if let Some(note) = text::comparison_note(runs) {
        line(&mut page, "p", "note", &note);
    }
    let protocols: Vec<&ProtocolReport> =
        runs.iter().filter_map(Compared::protocol_report).collect();
    figure(&mut page, &chart::layers(&protocols))?;
    if let Some(run) = runs.first() {
        for note in text::cost_notes(run.report) {
            line(&mut page, "p", "note", &note);
        }
        foot(&mut page, run.report);
    }
    Ok(page)
}

/// The page of a sweep.
pub fn sweep(report: &SweepReport, charts: &[Chart]) -> Result<String, ChartError> {
    let mut page = head("WireWatt sweep");
    page.push_str("<h1>Cost against the number of processes</h1>\n");
    line(&mut page, "p", "", &report.summary());
    for table in report.tables() {
        write_table(&mut page, &table);
    }
    for chart in charts {
        figure(&mut page, chart)?;
    }
    for note in report.notes().iter().chain(&report.remarks()) {
        line(&mut page, "p", "note", note);
    }
    let tool = format!(
        "{} {}, {}",
        report.tool.name, report.tool.version, report.schema
    );
    line(&mut page, "footer", "note", &tool);
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

/// As many characters as a line of `pre` has room for at the page's full width.
const PLAIN: Style = Style {
    width: 124,
    color: false,
};

fn head(title: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n"
    )
}

fn foot(page: &mut String, report: &Report) {
    let tool = format!(
        "{} {}, {}",
        report.tool.name, report.tool.version, report.schema
    );
    line(page, "footer", "note", &tool);
    page.push_str("</body>\n</html>\n");
}

fn section(page: &mut String, protocol: &ProtocolReport, accounts: &[&Row]) {
    let tally = &protocol.tally;
    line(page, "h2", "", &protocol.label());
    let ports = format!(
        "Ports {}, framing {}. {}.",
        tally.ports,
        tally.framing,
        text::summary(protocol)
    );
    line(page, "p", "", &ports);
    for remark in text::remarks(protocol) {
        line(page, "p", "note", &remark);
    }
    if !accounts.is_empty() {
        write_table(page, &tables::accounts(accounts));
        for reason in text::reasons(accounts) {
            line(page, "p", "note", &reason);
        }
    }
    if protocol.was_seen() {
        page.push_str("<div class=\"beside\">\n");
        write_table(page, &tables::packets(protocol));
        write_table(page, &tables::layers(protocol));
        page.push_str("</div>\n<h3>Energy and emissions, as if on the wire</h3>\n");
        write_table(page, &tables::energy(protocol));
    }
    if let Some(cost) = &protocol.per_operation {
        line(page, "p", "", &tables::per_operation(protocol, cost));
    }
}

fn figure(page: &mut String, chart: &Chart) -> Result<(), ChartError> {
    page.push_str("<figure>\n");
    page.push_str(&chart.svg()?.svg);
    page.push_str("</figure>\n");
    Ok(())
}

fn write_table(page: &mut String, table: &Table) {
    page.push_str("<table>\n<tr>");
    let class = |align| match align {
        Align::Left => "",
        Align::Right => " class=\"number\"",
    };
    for (heading, align) in table.columns() {
        put(
            page,
            format_args!("<th{}>{}</th>", class(*align), escaped(heading)),
        );
    }
    page.push_str("</tr>\n");
    for row in table.rows() {
        page.push_str("<tr>");
        for (cell, (heading, align)) in row.iter().zip(table.columns()) {
            let class = match heading.as_str() {
                "verdict" => format!(" class=\"{}\"", escaped(cell)),
                _ => class(*align).to_owned(),
            };
            put(page, format_args!("<td{class}>{}</td>", escaped(cell)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn line(page: &mut String, tag: &str, class: &str, words: &str) {
    let class = match class {
        "" => String::new(),
        class => format!(" class=\"{class}\""),
    };
    put(
        page,
        format_args!("<{tag}{class}>{}</{tag}>\n", escaped(words)),
    );
}

fn preformatted(page: &mut String, lines: &[String]) {
    if lines.iter().any(|line| !line.is_empty()) {
        line(page, "pre", "", lines.join("\n").trim_start_matches('\n'));
    }
}

fn put(page: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing into a string does not fail.
    let _ = page.write_fmt(words);
}

/// Text that cannot be read as markup. Leading spaces, by which tables show parts of a sum, stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}
