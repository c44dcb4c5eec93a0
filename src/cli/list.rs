//! `wirewatt list`: what is built in.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::options::style;
use super::{Outcome, print};
use crate::algorithm::{Algorithm, PropertyKind, catalog};
use crate::energy;
use crate::message::FramingChoice;
use crate::report;

/// Say what is built in, with sources
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  wirewatt list\n  wirewatt list algorithms")]
pub(super) struct ListArgs {
    /// One of the lists; by default all
    #[arg(value_enum)]
    what: Option<What>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum What {
    Algorithms,
    Framings,
    Models,
    Grids,
}

pub(super) fn run(args: &ListArgs) -> Outcome {
    let all = [What::Algorithms, What::Framings, What::Models, What::Grids];
    let mut text = String::new();
    for what in all
        .into_iter()
        .filter(|what| args.what.is_none_or(|asked| asked == *what))
    {
        if !text.is_empty() {
            text.push('\n');
        }
        write_list(what, &mut text)?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn write_list(what: What, text: &mut String) -> std::fmt::Result {
    match what {
        What::Algorithms => write_algorithms(text)?,
        What::Framings => {
            writeln!(text, "framings")?;
            for (name, about) in FramingChoice::LIST {
                writeln!(text, "  {name:16} {about}")?;
            }
        }
        What::Models => {
            writeln!(text, "models")?;
            for model in energy::Library::built_in().models() {
                writeln!(text, "  {:22} {}", model.name, model.class)?;
                writeln!(text, "    {}", model.boundary)?;
                writeln!(text, "    source: {}", model.source)?;
            }
        }
        What::Grids => {
            writeln!(text, "grids")?;
            for grid in energy::Library::built_in().grids() {
                writeln!(
                    text,
                    "  {:22} {:.1} g/kWh, {}",
                    grid.name,
                    grid.grams_per_kwh,
                    grid.gas.label()
                )?;
                writeln!(text, "    source: {}", grid.source)?;
            }
        }
    }
    Ok(())
}

/// First what each costs, a line an algorithm; then each in full.
fn write_algorithms(text: &mut String) -> std::fmt::Result {
    let columns = style().width;
    let width = |of: fn(&Algorithm) -> &str| catalog::all().map(|a| of(a).len()).max();
    let name = width(|algorithm| algorithm.name).unwrap_or(0) + 2;
    let operation = width(operation).unwrap_or("operation".len()) + 2;
    writeln!(text, "algorithms")?;
    let mut line = |first: &str, second: &str, third: &str| {
        let hang = 2 + name + operation;
        let start = format!("  {first:name$}{second:operation$}");
        let lines = report::wrapped(third, hang, 0, columns);
        let rest = lines.join("\n");
        writeln!(text, "{start}{}", rest.trim_start())
    };
    line(
        "algorithms",
        "operation",
        "messages of one, without failures",
    )?;
    for algorithm in catalog::all() {
        line(
            algorithm.name,
            self::operation(algorithm),
            algorithm.formula,
        )?;
    }
    for algorithm in catalog::all() {
        text.push('\n');
        write_algorithm(algorithm, columns, text)?;
    }
    Ok(())
}

fn operation(algorithm: &Algorithm) -> &str {
    let operation = &algorithm.protocol().operation;
    operation.as_deref().unwrap_or("operation")
}

fn write_algorithm(algorithm: &Algorithm, columns: usize, text: &mut String) -> std::fmt::Result {
    let ports = &algorithm.protocol().ports;
    let (name, first, last) = (algorithm.name, ports.start(), ports.end());
    writeln!(
        text,
        "  {name}, ports {first}-{last}, N from {}",
        algorithm.least
    )?;
    for line in report::wrapped(algorithm.about, 4, 0, columns) {
        writeln!(text, "{line}")?;
    }
    let mut labelled = |label: &str, words: &str| {
        let lines = report::wrapped(words, 15, 0, columns).join("\n");
        writeln!(text, "    {label:11}{}", lines.trim_start())
    };
    labelled("starts", algorithm.workload)?;
    labelled("source", algorithm.citation)?;
    for property in algorithm.properties {
        let kind = match property.kind {
            PropertyKind::Safety => "safety",
            PropertyKind::Liveness => "liveness",
        };
        labelled(kind, &format!("{}: {}", property.name, property.about))?;
    }
    for option in algorithm.options {
        let (name, about, default) = (option.name, option.about, option.default);
        labelled(
            "--option",
            &format!("{name}=…: {about} (default: {default})"),
        )?;
    }
    for point in algorithm.points {
        let (role, name, about) = (point.role, point.name, point.about);
        labelled("point", &format!("{role}@{name}: {about}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_algorithm_twice_and_fits_a_terminal() {
        let mut text = String::new();
        write_algorithms(&mut text).unwrap();
        for algorithm in catalog::all() {
            let starts = |line: &&str| {
                let rest = line.trim_start().strip_prefix(algorithm.name);
                rest.is_some_and(|rest| rest.starts_with([' ', ',']))
            };
            assert_eq!(text.lines().filter(starts).count(), 2, "{}", algorithm.name);
        }
        for line in text.lines() {
            assert!(line.chars().count() <= 120, "{line}");
            assert_eq!(line, line.trim_end());
        }
        assert!(text.contains("--option   greet=…: who greets everybody"));
        assert!(text.contains("point      leader@elected: "));
        let safety = "safety     acquaintance: when a greeting has ended";
        assert!(text.contains(safety), "{text}");
    }
}
