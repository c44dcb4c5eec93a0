//! `wirewatt list`: what is built in.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Outcome, print};
use crate::algorithm::catalog;
use crate::energy;
use crate::message::FramingChoice;

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
        What::Algorithms => {
            writeln!(text, "algorithms")?;
            for algorithm in catalog::all() {
                let ports = &algorithm.protocol().ports;
                writeln!(
                    text,
                    "  {}  ports {}-{}",
                    algorithm.name,
                    ports.start(),
                    ports.end()
                )?;
                writeln!(text, "    {}", algorithm.about)?;
                writeln!(text, "    messages: {}", algorithm.formula)?;
                writeln!(text, "    source: {}", algorithm.citation)?;
                for option in algorithm.options {
                    let (name, about, default) = (option.name, option.about, option.default);
                    writeln!(text, "    --option {name}=…: {about} (default: {default})")?;
                }
                for point in algorithm.points {
                    writeln!(
                        text,
                        "    point {}@{}: {}",
                        point.role, point.name, point.about
                    )?;
                }
            }
        }
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
