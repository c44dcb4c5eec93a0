//! Arguments that several subcommands have.

use std::error::Error;
use std::io::{self, IsTerminal};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::algorithm::Options;
use crate::analysis::{self, MessageLog, PlanError, ProtocolDefinition, ProtocolPlan};
use crate::capture::{CaptureFile, Part};
use crate::energy::{self, EnergyError, Library};
use crate::node::MAX_PAYLOAD;
use crate::report::chart::{self, ChartError};
use crate::report::{self, Models, Report, Style, json, text};
use crate::units::Mtu;
pub(super) use crate::units::duration;

/// Which protocols to sort packets into.
#[derive(Debug, Args)]
pub(super) struct ProtocolOptions {
    /// Read protocols from a TOML file of [[protocol]] tables
    #[arg(long, value_name = "FILE")]
    protocols: Option<PathBuf>,

    /// Define a protocol by its listening ports; repeatable. FRAMING is wirewatt, line,
    /// length-prefixed[/WIDTH/big|little/body|all], resp, turn or segment (the default)
    #[arg(long = "protocol", value_name = "NAME=PORTS[:FRAMING]")]
    definitions: Vec<String>,
}

impl ProtocolOptions {
    /// The built-in plan with the user's protocols before it.
    pub fn plan(&self) -> Result<Arc<ProtocolPlan>, PlanError> {
        ProtocolPlan::new(&self.definitions()?).map(Arc::new)
    }

    /// The user's protocols.
    pub fn definitions(&self) -> Result<Vec<ProtocolDefinition>, PlanError> {
        let mut definitions = match &self.protocols {
            Some(file) => analysis::read_protocols_file(file)?,
            None => Vec::new(),
        };
        for text in &self.definitions {
            definitions.push(text.parse::<ProtocolDefinition>()?);
        }
        Ok(definitions)
    }
}

/// How to convert counts to energy and emissions.
#[derive(Debug, Args)]
pub(super) struct EnergyOptions {
    /// Energy model whose figures come first; the table beside it shows all. `wirewatt list models`
    /// names them [default: datacenter-3-hops]
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// Grid that supplies the energy: a name (`wirewatt list grids`), or grams per kWh as a number
    /// [default: us-2018]
    #[arg(long, value_name = "NAME|G_PER_KWH", allow_negative_numbers = true)]
    pub grid: Option<String>,

    /// Devices or radio links on the way, for every model that counts them
    #[arg(long, value_name = "N", value_parser = hops, allow_negative_numbers = true)]
    hops: Option<u32>,

    /// What the building takes for each joule of its devices (power usage effectiveness), for models
    /// of devices alone
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pue: Option<f64>,

    /// Read models and grids of your own from a TOML file; repeatable (docs/energy.md)
    #[arg(long = "models", value_name = "FILE")]
    model_files: Vec<PathBuf>,
}

impl EnergyOptions {
    /// What is built in and what the user's files add.
    pub fn library(&self) -> Result<Library, EnergyError> {
        let mut library = Library::built_in();
        for file in &self.model_files {
            library.add_file(file)?;
        }
        Ok(library)
    }

    /// Whether anything was said.
    fn is_given(&self) -> bool {
        let Self {
            model,
            grid,
            hops,
            pue,
            model_files,
        } = self;
        let named = model.is_some() || grid.is_some() || !model_files.is_empty();
        named || hops.is_some() || pue.is_some()
    }

    /// The models to apply.
    pub fn models(&self) -> Result<Models, EnergyError> {
        let (model, grid) = (energy::HEADLINE_MODEL, energy::DEFAULT_GRID);
        self.models_or(self.library()?, model, grid)
    }

    /// The models to apply, with these where the command line names none.
    pub fn models_or(
        &self,
        mut library: Library,
        model: &str,
        grid: &str,
    ) -> Result<Models, EnergyError> {
        let grid = library.grid(self.grid.as_deref().unwrap_or(grid))?;
        let given = self.model.as_deref();
        let names = library.models().iter().map(|model| model.name.clone());
        let names: Vec<String> = names.collect();
        let mut place = names.iter().position(|name| given.unwrap_or(model) == name);
        if let (Some(given), Some(place), Some(_)) = (given, place, self.hops)
            && library.models()[place].hops.is_none()
        {
            return Err(EnergyError::NoHops {
                model: given.to_owned(),
            });
        }
        if let Some(hops) = self.hops {
            library.set_hops(hops);
        }
        if let Some(pue) = self.pue {
            library.set_pue(pue)?;
        }
        // A name may be of the number of hops that was asked for.
        let renamed = || {
            library
                .models()
                .iter()
                .position(|m| Some(&*m.name) == given)
        };
        place = place.or_else(renamed);
        let headline = match place {
            Some(place) => &library.models()[place],
            None => library.model(given.unwrap_or(model))?,
        };
        Models::with_headline(&library, headline, grid)
    }
}

/// How many hops.
fn hops(text: &str) -> Result<u32, String> {
    let hops = text.parse().ok().filter(|hops| (1..=255).contains(hops));
    hops.ok_or_else(|| "expected how many devices are on the way, from 1 to 255".to_owned())
}

/// What packets are projected onto.
#[derive(Debug, Args)]
pub(super) struct ProjectionOptions {
    /// Project packets onto Ethernet of this MTU, in bytes of an IP packet (68 to 65535, 9000 with jumbo
    /// frames): such frames are what models of devices count [default: 1500]
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    pub mtu: Option<Mtu>,
}

impl ProjectionOptions {
    /// The MTU, or that of Ethernet.
    pub fn mtu(&self) -> Mtu {
        self.mtu.unwrap_or_default()
    }
}

/// How to convert counts and how to print the report.
#[derive(Debug, Args)]
pub(super) struct ReportOptions {
    #[command(flatten)]
    energy: EnergyOptions,

    #[command(flatten)]
    pub projection: ProjectionOptions,

    /// Print the report as JSON and nothing else on standard output
    #[arg(long)]
    pub json: bool,
}

impl ReportOptions {
    /// The models to apply.
    pub fn models(&self) -> Result<Models, EnergyError> {
        self.energy.models()
    }

    /// Those of the command line, or where it says nothing of energy, those of `begun`.
    pub fn models_or_as(&self, begun: &Self) -> Result<Models, EnergyError> {
        match self.energy.is_given() {
            true => self.models(),
            false => begun.models(),
        }
    }

    /// Prints the report on standard output.
    pub fn print(&self, report: &Report) -> Result<(), Box<dyn Error>> {
        print_report(report, self.json)
    }
}

/// Where to leave charts.
#[derive(Debug, Args)]
pub(super) struct ChartOptions {
    /// Draw the report's charts into this folder, each as SVG and PNG
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
}

impl ChartOptions {
    /// Whether the messages of the capture have to be kept, which the space-time diagram draws.
    pub fn need_messages(&self) -> bool {
        self.charts.is_some()
    }

    /// Makes the folder, which is to be known to be possible before the work that is to be drawn.
    pub fn make_folder(&self) -> Result<(), String> {
        let Some(folder) = &self.charts else {
            return Ok(());
        };
        report::make_folder(folder)
            .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))
    }

    /// Draws what was asked for.
    pub fn write(&self, report: &Report, log: Option<&MessageLog>) -> Result<(), ChartError> {
        let Some(folder) = &self.charts else {
            return Ok(());
        };
        let charts = chart::of_report(report, log);
        chart::write_all(&charts, folder)?;
        match charts.len() {
            0 => super::warn(&"there is nothing to draw a chart of"),
            n => super::tell(&format_args!("{n} charts: {}", folder.display())),
        }
        Ok(())
    }
}

/// Prints a report on standard output.
pub(super) fn print_report(report: &Report, as_json: bool) -> Result<(), Box<dyn Error>> {
    if as_json {
        let mut json = Vec::new();
        json::write(report, &mut json)?;
        super::print(&String::from_utf8_lossy(&json))?;
    } else {
        super::print(&text::render(report, style()))?;
    }
    Ok(())
}

/// How many processes: each listens on a port of its own.
pub(super) fn processes(text: &str) -> Result<u32, String> {
    let n = text.parse().ok();
    n.filter(|n| (1..=u32::from(u16::MAX)).contains(n))
        .ok_or_else(|| format!("expected how many processes, from 1 to {}", u16::MAX))
}

/// How many bytes of payload.
pub(super) fn payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    bytes
        .filter(|bytes| *bytes <= MAX_PAYLOAD)
        .ok_or_else(|| format!("expected bytes, from 0 to {MAX_PAYLOAD}"))
}

/// An algorithm's own options from `NAME=VALUE`s.
pub(super) fn algorithm_options(given: &[String]) -> Result<Options, String> {
    let parse = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!(
            "--option '{text}': expected NAME=VALUE, as in vote-no=2"
        )),
    };
    given
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()
        .map(Options)
}

/// As wide as the terminal, within reason, and coloured only on one.
pub(super) fn style() -> Style {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return Style::default();
    }
    let columns = rustix::termios::tcgetwinsize(stdout).map_or(0, |size| size.ws_col);
    let width = match columns {
        0 => Style::default().width,
        columns => usize::from(columns).clamp(80, 120),
    };
    Style {
        width,
        color: std::env::var_os("NO_COLOR").is_none(),
    }
}

/// A number from 1 to `most`.
pub(super) fn at_most(most: u16, text: &str) -> Result<NonZeroU16, String> {
    let number = text.parse().ok().filter(|n: &NonZeroU16| n.get() <= most);
    number.ok_or_else(|| format!("expected a number from 1 to {most}"))
}

/// The first parts of divided captures among these files.
pub(super) fn first_parts(files: &[CaptureFile]) -> Vec<Part> {
    let parts = files.iter().filter_map(|file| file.facts().part.as_ref());
    parts.filter(|part| part.number == 1).cloned().collect()
}
