//! `wirewatt list`: what is built in.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::options::style;
use super::{Outcome, print};
use crate::algorithm::{Algorithm, PropertyKind, catalog};
use crate::energy::{Basis, Figure, Library, Model};
use crate::message::FramingChoice;
use crate::report::{self, counted};

/// Say what is built in, with sources
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wirewatt list
  wirewatt list algorithms
  wirewatt list models --models my-models.toml     with your own among them
  wirewatt list grids --json")]
pub(super) struct ListArgs {
    /// One of the lists; by default all
    #[arg(value_enum)]
    what: Option<What>,

    /// Read models and grids of your own from a TOML file; repeatable (docs/energy.md)
    #[arg(long = "models", value_name = "FILE")]
    model_files: Vec<PathBuf>,

    /// Print the lists as JSON
    #[arg(long)]
    json: bool,
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
    let asked = all
        .into_iter()
        .filter(|what| args.what.is_none_or(|asked| asked == *what));
    let mut library = Library::built_in();
    for file in &args.model_files {
        library.add_file(file)?;
    }
    if args.json {
        let lists: serde_json::Map<String, Value> = asked
            .map(|what| (format!("{what:?}").to_lowercase(), as_json(what, &library)))
            .collect();
        print(&format!("{:#}\n", Value::Object(lists)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for what in asked {
        if !text.is_empty() {
            text.push('\n');
        }
        write_list(what, &library, &mut text)?;
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn write_list(what: What, library: &Library, text: &mut String) -> std::fmt::Result {
    match what {
        What::Algorithms => write_algorithms(text),
        What::Framings => {
            writeln!(text, "framings")?;
            for (name, about) in FramingChoice::LIST {
                writeln!(text, "  {name:16} {about}")?;
            }
            Ok(())
        }
        What::Models => write_models(library, text),
        What::Grids => write_grids(library, text),
    }
}

fn as_json(what: What, library: &Library) -> Value {
    match what {
        What::Algorithms => catalog::all()
            .map(|algorithm| {
                let ports = &algorithm.protocol().ports;
                json!({
                    "name": algorithm.name,
                    "about": algorithm.about,
                    "operation": operation(algorithm),
                    "formula": algorithm.formula,
                    "least_processes": algorithm.least,
                    "ports": format!("{}-{}", ports.start(), ports.end()),
                    "source": algorithm.citation,
                })
            })
            .collect(),
        What::Framings => FramingChoice::LIST
            .iter()
            .map(|(name, about)| json!({ "name": name, "about": about }))
            .collect(),
        What::Models => json!(library.models()),
        What::Grids => json!(library.grids()),
    }
}

/// Models: a line each, then each in full.
fn write_models(library: &Library, text: &mut String) -> std::fmt::Result {
    let columns = style().width;
    writeln!(text, "models")?;
    for line in report::models_table(library.models()) {
        writeln!(text, "  {line}")?;
    }
    for model in library.models() {
        writeln!(text, "\n  {}, {}", model.name, model.class)?;
        let mut labelled = |label: &str, words: &str| {
            let lines = report::wrapped(words, 15, 0, columns).join("\n");
            writeln!(text, "    {label:11}{}", lines.trim_start())
        };
        labelled("includes", &model.boundary)?;
        labelled("figures", &figures(model))?;
        labelled(
            "source",
            &format!("{} ({})", model.source, model.verified.word()),
        )?;
    }
    Ok(())
}

/// What a model multiplies by what.
fn figures(model: &Model) -> String {
    let joules = |figure: f64| report::sourced(figure, "J");
    let ranged = |figure: &Figure, each: &str| {
        let range = figure.range.map_or_else(String::new, |(low, high)| {
            format!(" ({} - {})", joules(low), joules(high))
        });
        format!("{} a {each}{range}", joules(figure.central))
    };
    let cost =
        |packet: f64, byte: f64| format!("{} a frame and {} a byte", joules(packet), joules(byte));
    let figures = match &model.basis {
        Basis::Messages { joules_per_message } => ranged(joules_per_message, "message"),
        Basis::IpBytes {
            joules_per_byte,
            embodied_joules_per_byte,
        } => {
            let made = embodied_joules_per_byte.map_or_else(String::new, |figure| {
                format!("; making the equipment {} a byte", joules(figure))
            });
            format!("{}{made}", ranged(joules_per_byte, "byte of IP packets"))
        }
        Basis::Projection {
            device,
            range,
            interfaces_per_hop,
        } => {
            let among = match range.len() {
                0 => String::new(),
                many => format!("; range over {many} devices"),
            };
            format!(
                "{}: {}, projected on Ethernet, at each interface, {interfaces_per_hop} a hop{among}",
                device.title,
                cost(device.joules_per_packet, device.joules_per_byte)
            )
        }
        Basis::Radio { send, receive } => format!(
            "sending {}, receiving {}, projected on Ethernet",
            cost(send.joules_per_packet, send.joules_per_byte),
            cost(receive.joules_per_packet, receive.joules_per_byte)
        ),
    };
    match model.hops {
        Some(hops) => format!(
            "{figures}; {} unless --hops says otherwise",
            counted(hops.into(), "hop")
        ),
        None => figures,
    }
}

/// Grids: regions by year, then the others, then what holds for all of a source.
fn write_grids(library: &Library, text: &mut String) -> std::fmt::Result {
    let columns = style().width;
    writeln!(text, "grids, in g/kWh")?;
    for line in report::regions_table(library.grids()) {
        writeln!(text, "  {line}")?;
    }
    let note = "With a star: CO2e; without: CO2 alone. A grid's name is \
                us-YEAR-REGION, as in us-2022-camx; us-YEAR is the average of the country. With \
                a star, us-YEAR-REGION-co2 is CO2 alone. Rates are of direct emissions of generation by location: \
                without line losses (delivered = rate / (1 - loss); --json tells the losses), without life \
                cycle.";
    for line in report::wrapped(note, 2, 0, columns) {
        writeln!(text, "{line}")?;
    }
    let mut told: Vec<&str> = Vec::new();
    for grid in library.grids().iter().filter(|grid| grid.region.is_some()) {
        if !told.contains(&&*grid.source) {
            told.push(&grid.source);
            let basis = match library.grids().iter().find_map(|other| {
                (other.source == grid.source)
                    .then_some(other.gwp_basis.as_deref())
                    .flatten()
            }) {
                Some(basis) => format!("; CO2e by {basis}"),
                None => String::new(),
            };
            let words = format!("{}: {}{basis}", grid.year.unwrap_or_default(), grid.source);
            for line in report::wrapped(&words, 2, 2, columns) {
                writeln!(text, "{line}")?;
            }
        }
    }
    for grid in library.grids().iter().filter(|grid| grid.region.is_none()) {
        let basis = grid.gwp_basis.as_deref();
        let basis = basis.map_or_else(String::new, |basis| format!(" by {basis}"));
        writeln!(
            text,
            "\n  {}, {} {}{basis}",
            grid.name,
            report::rate(grid.grams_per_kwh),
            grid.gas.label()
        )?;
        let words = format!("{}: {} ({})", grid.title, grid.source, grid.verified.word());
        for line in report::wrapped(&words, 4, 0, columns) {
            writeln!(text, "{line}")?;
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

    #[test]
    fn every_model_and_grid_is_listed_with_its_source() {
        let library = Library::built_in();
        let mut text = String::new();
        write_models(&library, &mut text).unwrap();
        for model in library.models() {
            let named = format!("\n  {}, {}\n", model.name, model.class);
            assert_eq!(text.matches(&named).count(), 1, "{named}");
        }
        assert!(text.contains("recalled, not verified"));
        let nexus = "Cisco Nexus 9336-FX2: 26.3 nJ a frame and 68.8 pJ a byte";
        assert!(text.contains(nexus), "{text}");
        let mut grids = String::new();
        write_grids(&library, &mut grids).unwrap();
        // 947.2 and 827.52 lb/MWh.
        let average = grids
            .lines()
            .find(|line| line.contains("US average"))
            .unwrap();
        let rates: Vec<&str> = average.split_whitespace().collect();
        assert_eq!(
            rates[3..],
            ["429.6", "401.1", "371.2", "388.7*", "375.4*", "349.7*"]
        );
        assert!(
            grids.contains("us-2018-rounded, 429.0 g/kWh CO2"),
            "{grids}"
        );
        for commit in [
            "2084836", "d2d9133", "57b9b60", "1f4530c", "afce916", "9463d66",
        ] {
            assert_eq!(grids.matches(commit).count(), 1, "{commit}");
        }
        for line in text.lines().chain(grids.lines()) {
            assert!(line.chars().count() <= 120, "{line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn lists_as_json_have_every_figure() {
        let library = Library::built_in();
        let models = as_json(What::Models, &library);
        assert_eq!(models[0]["device"]["joules_per_packet"], 26.3e-9);
        assert_eq!(models[0]["name"], "datacenter-3-hops");
        assert_eq!(models[0]["verified"], "read");
        let grids = as_json(What::Grids, &library);
        assert_eq!(grids.as_array().unwrap().len(), library.grids().len());
        assert_eq!(
            (&grids[0]["gas"], &grids[0]["line_loss"]),
            (&json!("CO2"), &json!(0.0487))
        );
    }
}
