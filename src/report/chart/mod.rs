//! Charts of a report, as SVG and PNG.
//!
//! In: a [`Report`], saved ones too, and the messages of its capture where they were kept. Out:
//! [`Chart`]s, each with what it shows in words. A chart is drawn once, by one function, onto a canvas
//! that is either format: nothing is taken from the system that draws it, fonts neither. Nothing here
//! counts.

mod axis;
mod beside;
mod canvas;
mod emissions;
mod growth;
mod latency;
mod layers;
mod messages;
mod pairs;
mod space_time;
mod traffic;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use plotters_bitmap::BitMapBackend;

use super::number::counted;
use super::{Compared, ProtocolReport, Report, make_folder};
use crate::analysis::MessageLog;
use canvas::{Backend, Canvas, DENSITY, Drawn, MARGIN, WIDTH, lines_of, printable, text};

use messages::Accounts;

pub use beside::{MOST_COMPARED, compared, fault_cost};
pub use growth::{ENERGY_BY_N, growth};
pub use latency::latency;
pub use layers::layers;
pub use space_time::space_time;
pub use traffic::traffic;

/// A chart, ready to be drawn.
pub struct Chart {
    /// Names it in files and addresses: lower case and hyphens.
    pub id: &'static str,
    /// What it is of.
    pub title: String,
    /// What it shows in one or two sentences, for those who do not see it.
    pub about: String,
    /// How to read it, where that needs saying; stands below the title.
    note: String,
    picture: Box<dyn Picture>,
}

/// What a chart draws below its heading.
trait Picture: Send + Sync {
    /// In pixels.
    fn height(&self) -> i32;
    /// Draws onto a canvas that is [`WIDTH`] wide and so high.
    fn draw(&self, canvas: &mut Canvas<'_>) -> Drawn;
}

/// A chart as SVG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawing {
    /// The document. Names from captures are escaped in it.
    pub svg: String,
    /// Width in pixels, which are the units of the marks.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What is to be said of parts of the picture, the later ones above the earlier.
    pub marks: Vec<Mark>,
}

/// Part of a picture, and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where.
    pub shape: Shape,
    /// What, as plain text: not escaped, without control characters.
    pub words: String,
}

/// Where a mark is, in pixels from the picture's upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A rectangle.
    Area {
        /// Its left edge.
        x: i32,
        /// Its upper edge.
        y: i32,
        /// Its width, at least 1.
        width: i32,
        /// Its height, at least 1.
        height: i32,
    },
    /// A line segment.
    Line {
        /// Where it begins.
        from: (i32, i32),
        /// Where it ends.
        to: (i32, i32),
        /// How wide it is to the pointer.
        width: i32,
    },
}

/// A chart could not be drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// plotters or the PNG encoder gave up.
    #[error("the chart {chart} could not be drawn: {reason}")]
    Draw {
        /// The chart's [`Chart::id`].
        chart: &'static str,
        /// What was said.
        reason: String,
    },
    /// Its file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file, or its folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ChartError {
    fn of<E: std::fmt::Display>(chart: &'static str) -> impl Fn(E) -> Self + Copy {
        move |error| Self::Draw {
            chart,
            reason: error.to_string(),
        }
    }
}

/// Writes charts into a folder, each as `ID.svg` and `ID.png`; makes the folder where it is not there.
/// A full disk leaves earlier files whole.
///
/// # Errors
///
/// The first chart's that cannot be drawn or written.
pub fn write_all(charts: &[Chart], folder: &Path) -> Result<(), ChartError> {
    let cannot = |path: &Path| {
        let path = path.to_owned();
        move |source| ChartError::Write { path, source }
    };
    if !charts.is_empty() {
        make_folder(folder).map_err(cannot(folder))?;
    }
    for chart in charts {
        for (extension, content) in [
            ("svg", chart.svg_document()?.into_bytes()),
            ("png", chart.png()?),
        ] {
            let path = folder.join(format!("{}.{extension}", chart.id));
            let half_written = folder.join(format!("{}.{extension}.new", chart.id));
            let written =
                fs::write(&half_written, content).and_then(|()| fs::rename(&half_written, &path));
            if written.is_err() {
                let _ = fs::remove_file(&half_written);
            }
            written.map_err(cannot(&path))?;
        }
    }
    Ok(())
}

/// The charts of a report that have something to show, in the order in which a page has them. The
/// messages of the capture are those of the report's analysis, where it kept them.
pub fn of_report(report: &Report, log: Option<&MessageLog>) -> Vec<Chart> {
    let mut seen: Vec<&ProtocolReport> = report.seen_protocols().collect();
    let left_out = seen.len().saturating_sub(MOST_PROTOCOLS);
    if left_out > 0 {
        // Those with most bytes, in the report's order.
        seen.sort_by_key(|one| std::cmp::Reverse(one.tally.bytes.wire));
        seen.truncate(MOST_PROTOCOLS);
        seen.sort_by_key(|one| one.tally.place);
    }
    let named: Vec<_> = seen.iter().map(|one| (one.label(), *one)).collect();
    let mut charts = Vec::new();
    charts.extend(messages::messages(accounts_of(report, &seen)));
    charts.extend(log.and_then(space_time));
    charts.extend(pairs::pairs(&seen));
    if !seen.is_empty() {
        charts.extend([layers(&seen), traffic(&seen)]);
    }
    charts.extend(latency(&seen));
    charts.extend(emissions::emissions(&named));
    if left_out > 0 {
        for chart in charts.iter_mut().filter(|chart| chart.id != "space-time") {
            let others = counted(left_out as u64, "protocol");
            chart
                .note
                .push_str(&format!(" Left out: {others} with fewer bytes."));
        }
    }
    charts.extend(report.fault_cost.as_ref().map(|cost| {
        let mut seen = report.seen_protocols().map(|protocol| &protocol.energy);
        fault_cost(cost, seen.next())
    }));
    charts
}

/// The charts that hold several runs beside each other.
pub fn of_comparison(runs: &[Compared<'_>]) -> Vec<Chart> {
    let name = |run: &Compared<'_>| match run.processes {
        Some(n) => format!("{}, n = {n}", run.protocol),
        None => run.protocol.to_owned(),
    };
    let accounts = runs.iter().map(|run| {
        let audit = run.report.audit.iter();
        let rows: Vec<_> = audit
            .flat_map(|audit| audit.rows_of(run.protocol))
            .collect();
        Accounts::of(name(run), run.protocol_report(), &rows)
    });
    let reports = runs
        .iter()
        .filter_map(|run| Some((name(run), run.protocol_report()?)));
    let reports: Vec<_> = reports.collect();
    let seen: Vec<_> = reports
        .iter()
        .filter(|(_, one)| one.was_seen())
        .cloned()
        .collect();
    let mut charts = Vec::new();
    charts.extend(messages::messages(accounts.collect()));
    if !seen.is_empty() {
        charts.push(layers::layers_of(&seen));
    }
    charts.extend(emissions::emissions(&seen));
    charts
}

/// The accounts of each protocol: of those that an audit names, and of those that were seen.
fn accounts_of(report: &Report, seen: &[&ProtocolReport]) -> Vec<Accounts> {
    let rows = report.audit.iter().flat_map(|audit| &audit.rows);
    let mut names: Vec<&str> = Vec::new();
    for row in rows.clone() {
        if !names.contains(&&*row.protocol) {
            names.push(&row.protocol);
        }
    }
    let audited = names.iter().map(|name| {
        let own = |one: &&&ProtocolReport| one.tally.name == *name && !one.tally.foreign;
        let rows: Vec<_> = rows.clone().filter(|row| row.protocol == *name).collect();
        Accounts::of((*name).to_owned(), seen.iter().find(own).copied(), &rows)
    });
    let others = seen
        .iter()
        .filter(|one| one.tally.foreign || !names.contains(&&*one.tally.name));
    let others = others.map(|one| Accounts::of(one.label(), Some(one), &[]));
    audited.chain(others).collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// Most protocols in charts with a row for each.
const MOST_PROTOCOLS: usize = 40;

const TITLE: u32 = 16;
const NOTE: u32 = 12;

impl Chart {
    fn new(
        id: &'static str,
        title: impl Into<String>,
        about: impl Into<String>,
        picture: impl Picture + 'static,
    ) -> Self {
        Self {
            id,
            title: printable(&title.into()),
            about: printable(&about.into()),
            note: String::new(),
            picture: Box::new(picture),
        }
    }

    /// The same with a line below the title that says how to read it.
    fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Lines of the heading with their sizes, and where each begins; and the height of all.
    fn heading(&self) -> (Vec<(String, u32, i32)>, i32) {
        let mut y = 12;
        let mut heading = Vec::new();
        for (words, size) in [(&self.title, TITLE), (&self.note, NOTE)] {
            for line in lines_of(words, size, WIDTH - 2 * MARGIN) {
                heading.push((line, size, y));
                y += size as i32 + 5;
            }
            y += 4;
        }
        (heading, y)
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let (_, head) = self.heading();
        let height = head + self.picture.height();
        (WIDTH as u32, height.max(1) as u32)
    }

    fn draw(&self, backend: Backend<'_>) -> Result<Vec<Mark>, ChartError> {
        let failed = ChartError::of(self.id);
        let root = backend.into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        let (heading, head) = self.heading();
        for (line, size, y) in heading {
            let line = Text::new(line, (MARGIN, y), text(size));
            root.draw(&line).map_err(failed)?;
        }
        let mut canvas = Canvas::new(&root, head);
        self.picture.draw(&mut canvas).map_err(failed)?;
        root.present().map_err(failed)?;
        Ok(canvas.into_marks())
    }

    /// The chart as SVG, for a page.
    ///
    /// # Errors
    ///
    /// [`ChartError`] when plotters cannot draw it.
    pub fn svg(&self) -> Result<Drawing, ChartError> {
        let (width, height) = self.size();
        let mut svg = String::new();
        let marks = self.draw(Backend::Svg(SVGBackend::with_string(
            &mut svg,
            (width, height),
        )))?;
        Ok(Drawing {
            svg,
            width,
            height,
            marks,
        })
    }

    /// The chart as an SVG file of its own, which says in words what it shows.
    ///
    /// # Errors
    ///
    /// [`ChartError`] when plotters cannot draw it.
    pub fn svg_document(&self) -> Result<String, ChartError> {
        let svg = self.svg()?.svg;
        let (start, rest) = svg.split_once('\n').unwrap_or((&svg, ""));
        let (title, about) = (escaped(&self.title), escaped(&self.about));
        Ok(format!(
            "{start}\n<title>{title}</title>\n<desc>{about}</desc>\n{rest}"
        ))
    }

    /// The chart as a PNG, twice as many pixels wide and high as [`Chart::size`] says.
    ///
    /// # Errors
    ///
    /// [`ChartError`] when plotters cannot draw it, or it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, ChartError> {
        let (width, height) = self.size();
        let (width, height) = (width * DENSITY, height * DENSITY);
        let mut pixels = vec![0; width as usize * height as usize * 3];
        self.draw(Backend::Bitmap(BitMapBackend::with_buffer(
            &mut pixels,
            (width, height),
        )))?;
        let failed = ChartError::of(self.id);
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Flat areas need no filter, and choosing one takes longer than all else.
        encoder.set_filter(png::Filter::NoFilter);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(file)
    }
}
