//! A page's frame and what stands in it: sections, tables, facts, pictures.

use sha2::{Digest, Sha256};

use super::markup::{escaped, put, without_invisible};
use crate::audit::Verdict;
use crate::report::chart::{Chart, ChartError, Mark, Shape};
use crate::report::number::shown_value;
use crate::report::table::{Align, Table};
use crate::report::tables::HEADLINE_MARK;
use crate::report::text::Fact;

const CSS: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// Longer tables scroll by themselves, below headings that stay.
const MOST_ROWS: usize = 40;

/// A page in the making.
pub struct Page {
    title: String,
    banner: String,
    main: String,
    /// Id and heading of each section.
    sections: Vec<(String, String)>,
    tables: usize,
}

impl Page {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            banner: String::new(),
            main: String::new(),
            sections: Vec::new(),
            tables: 0,
        }
    }

    /// What the page is on, above everything else.
    pub fn banner(&mut self, kind: &str, subject: &str, when: &str) {
        put(
            &mut self.banner,
            format_args!(
                "<p class=\"kind\">{}</p>\n<h1>{}</h1>\n",
                escaped(kind),
                escaped(subject)
            ),
        );
        if !when.is_empty() {
            put(
                &mut self.banner,
                format_args!("<p class=\"when\">{}</p>\n", escaped(when)),
            );
        }
    }

    /// The verdict's word and its meaning in the colour of `looks`.
    pub fn verdict(&mut self, looks: &str, word: &str, meaning: &str) {
        put(
            &mut self.banner,
            format_args!(
                "<p class=\"verdict {looks}\"><strong>{}</strong> <span>{}</span></p>\n",
                escaped(word),
                escaped(meaning)
            ),
        );
    }

    /// Figures: the name of each, itself, and what is to be said below it.
    pub fn figures(&mut self, figures: &[[String; 3]]) {
        self.banner.push_str("<dl class=\"figures\">\n");
        for [name, figure, below] in figures {
            let (name, figure) = (escaped(name), escaped(figure));
            let below = match below.as_str() {
                "" => String::new(),
                below => format!(" <small>{}</small>", escaped(below)),
            };
            put(
                &mut self.banner,
                format_args!("<div><dt>{name}</dt><dd>{figure}{below}</dd></div>\n"),
            );
        }
        self.banner.push_str("</dl>\n");
    }

    /// Begins a section, which ends where the next one begins.
    pub fn section(&mut self, id: &str, heading: &str) {
        self.end_section();
        let (id, shown) = (escaped(id), escaped(heading));
        put(
            &mut self.main,
            format_args!("<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{shown}</h2>\n"),
        );
        self.sections.push((id, shown));
    }

    fn end_section(&mut self) {
        if !self.sections.is_empty() {
            self.main.push_str("</section>\n");
        }
    }

    pub fn heading(&mut self, words: &str) {
        put(
            &mut self.main,
            format_args!("<h3>{}</h3>\n", escaped(words)),
        );
    }

    pub fn paragraph(&mut self, words: &str) {
        put(&mut self.main, format_args!("<p>{}</p>\n", escaped(words)));
    }

    pub fn notes<S: AsRef<str>>(&mut self, notes: &[S]) {
        for note in notes {
            let words = escaped(note.as_ref());
            put(
                &mut self.main,
                format_args!("<p class=\"note\">{words}</p>\n"),
            );
        }
    }

    /// A chart with what it shows in words, and over the picture its marks: what each part of it
    /// is. Browsers show a mark's title to the pointer, the script to the keyboard too.
    ///
    /// # Errors
    ///
    /// [`ChartError`] if it cannot be drawn.
    pub fn chart(&mut self, chart: &Chart) -> Result<(), ChartError> {
        let drawing = chart.svg()?;
        let (title, about) = (escaped(&chart.title), escaped(&chart.about));
        let picture = without_invisible(drawing.svg.trim());
        let html = &mut self.main;
        put(
            html,
            format_args!(
                "<figure id=\"chart-{}\">\n<div class=\"scroll\"><div class=\"picture\">\n\
                 <div role=\"img\" aria-label=\"{title}. {about}\">{picture}</div>\n",
                escaped(chart.id)
            ),
        );
        if !drawing.marks.is_empty() {
            put(
                html,
                format_args!(
                    "<svg class=\"marks\" viewBox=\"0 0 {} {}\" role=\"group\" \
                     aria-label=\"Parts of the chart: {title}\">\n",
                    drawing.width, drawing.height
                ),
            );
            for mark in &drawing.marks {
                put_mark(html, mark);
            }
            html.push_str("</svg>\n");
        }
        put(
            html,
            format_args!("</div></div>\n<figcaption>{about}</figcaption>\n</figure>\n"),
        );
        Ok(())
    }

    /// What one types.
    pub fn command(&mut self, words: &str) {
        put(
            &mut self.main,
            format_args!(
                "<pre tabindex=\"0\"><code>{}</code></pre>\n",
                escaped(words)
            ),
        );
    }

    /// Words under labels; nothing where there are none.
    pub fn facts(&mut self, facts: &[Fact]) {
        put_facts(&mut self.main, facts);
    }

    /// Tables beside each other where there is room.
    pub fn tables(&mut self, tables: &[(&str, Table)]) {
        self.main.push_str("<div class=\"beside\">\n");
        for (caption, table) in tables {
            self.table(caption, table);
        }
        self.main.push_str("</div>\n");
    }

    /// A table; nothing where it has no row. A last row named `all` is its foot, which stays where
    /// it is when the others are sorted.
    pub fn table(&mut self, caption: &str, table: &Table) {
        self.any_table(caption, table, false, true);
    }

    /// A table whose columns are of several units: it keeps its order.
    pub fn table_as_written(&mut self, caption: &str, table: &Table) {
        self.any_table(caption, table, false, false);
    }

    /// The table of all models, in which one is marked as the headline.
    pub fn sensitivity(&mut self, caption: &str, table: &Table) {
        self.any_table(caption, table, true, true);
    }

    fn any_table(&mut self, caption: &str, table: &Table, is_marked: bool, is_sortable: bool) {
        let Some((last, others)) = table.rows().split_last() else {
            return;
        };
        self.tables += 1;
        let html = &mut self.main;
        // The first heading may say it already.
        let first = table.columns().first();
        let said = match first.is_some_and(|(first, _)| first.eq_ignore_ascii_case(caption)) {
            true => " class=\"unseen\"",
            false => "",
        };
        let long = if others.len() > MOST_ROWS {
            " long"
        } else {
            ""
        };
        put(
            html,
            format_args!(
                "<div class=\"scroll{long}\" role=\"region\" aria-labelledby=\"t{0}\">\n<table{2}>\n\
                 <caption id=\"t{0}\"{said}>{1}</caption>\n<thead><tr>",
                self.tables,
                escaped(caption),
                if is_sortable {
                    ""
                } else {
                    " class=\"as-written\""
                },
            ),
        );
        for (heading, align) in table.columns() {
            let class = number_class(*align);
            let heading = escaped(heading);
            put(
                html,
                format_args!("<th scope=\"col\"{class}>{heading}</th>"),
            );
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        let has_foot = !others.is_empty() && last.first().is_some_and(|name| name == "all");
        for row in others {
            put_row(html, table, row, is_marked);
        }
        if has_foot {
            html.push_str("</tbody>\n<tfoot>\n");
            put_row(html, table, last, is_marked);
            html.push_str("</tfoot>\n</table>\n</div>\n");
        } else {
            put_row(html, table, last, is_marked);
            html.push_str("</tbody>\n</table>\n</div>\n");
        }
    }

    /// The whole document.
    pub fn finish(mut self, made_by: &str) -> String {
        self.end_section();
        let (title, made_by) = (escaped(&self.title), escaped(made_by));
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"generator\" content=\"{made_by}\">\n\
             <title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n\
             <header>\n{}</header>\n",
            policy(),
            self.banner
        );
        html.push_str("<nav aria-label=\"Contents\">\n<ul>\n");
        for (id, heading) in &self.sections {
            put(
                &mut html,
                format_args!("<li><a href=\"#{id}\">{heading}</a></li>\n"),
            );
        }
        html.push_str("</ul>\n</nav>\n<main>\n");
        html.push_str(&self.main);
        put(
            &mut html,
            format_args!(
                "</main>\n<footer>{made_by}</footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
            ),
        );
        html
    }
}

/// Nothing is loaded and nothing is run but what this page holds itself.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; base-uri 'none'; form-action 'none'",
        source_hash(SCRIPT),
        source_hash(CSS)
    )
}

/// How a Content Security Policy (level 3, 2.3.1) names an inline script or style.
fn source_hash(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut hash = "sha256-".to_owned();
    for three in Sha256::digest(text).chunks(3) {
        let mut bits = [0; 4];
        bits[1..=three.len()].copy_from_slice(three);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4 {
            hash.push(match place <= three.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * place)) as usize & 63]),
                false => '=',
            });
        }
    }
    hash
}

/// Words under labels; nothing where there are none.
pub fn put_facts(html: &mut String, facts: &[Fact]) {
    if facts.is_empty() {
        return;
    }
    html.push_str("<dl>\n");
    for (place, (label, words)) in facts.iter().enumerate() {
        if !label.is_empty() || place == 0 {
            let end = if place > 0 { "</div>\n" } else { "" };
            put(html, format_args!("{end}<div><dt>{}</dt>", escaped(label)));
        }
        put(html, format_args!("<dd>{}</dd>", escaped(words)));
    }
    html.push_str("</div>\n</dl>\n");
}

fn put_mark(html: &mut String, mark: &Mark) {
    let words = escaped(&mark.words);
    match mark.shape {
        Shape::Area {
            x,
            y,
            width,
            height,
        } => put(
            html,
            format_args!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\">\
                 <title>{words}</title></rect>\n"
            ),
        ),
        Shape::Line { from, to, width } => put(
            html,
            format_args!(
                "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke-width=\"{width}\">\
                 <title>{words}</title></line>\n",
                from.0, from.1, to.0, to.1
            ),
        ),
    }
}

fn number_class(align: Align) -> &'static str {
    match align {
        Align::Left => "",
        Align::Right => " class=\"number\"",
    }
}

fn put_row(html: &mut String, table: &Table, row: &[String], is_marked: bool) {
    let mark = |name: &String| is_marked && name.starts_with(HEADLINE_MARK);
    html.push_str(match row.first().is_some_and(mark) {
        true => "<tr class=\"headline\">",
        false => "<tr>",
    });
    for (column, (cell, (heading, align))) in row.iter().zip(table.columns()).enumerate() {
        let cell = match column {
            0 if is_marked => cell
                .strip_prefix(HEADLINE_MARK)
                .unwrap_or(cell)
                .trim_start(),
            _ => cell,
        };
        // Leading spaces show the parts of a sum.
        let depth = cell.len() - cell.trim_start_matches(' ').len();
        let shown = escaped(&cell[depth..]);
        let class = number_class(*align);
        match (column, verdict_in(heading, cell)) {
            (0, _) => {
                let depth = match depth {
                    0 => String::new(),
                    depth => format!(" class=\"part-{}\"", depth.div_ceil(2).min(3)),
                };
                put(html, format_args!("<th scope=\"row\"{depth}>{shown}</th>"));
            }
            (_, Some(verdict)) => put(
                html,
                format_args!(
                    "<td data-value=\"{}\"><span class=\"{verdict}\">{shown}</span></td>",
                    verdict as u8
                ),
            ),
            (_, None) => match shown_value(cell).filter(|_| *align == Align::Right) {
                Some(value) => put(
                    html,
                    format_args!("<td{class} data-value=\"{value:e}\">{shown}</td>"),
                ),
                None => put(html, format_args!("<td{class}>{shown}</td>")),
            },
        }
    }
    html.push_str("</tr>\n");
}

/// The verdict that a cell begins with.
fn verdict_in(heading: &str, cell: &str) -> Option<Verdict> {
    let verdicts = [
        Verdict::Exact,
        Verdict::Within,
        Verdict::Explained,
        Verdict::Inconclusive,
        Verdict::Mismatch,
    ];
    let word = cell.split(' ').next()?;
    let mut known = verdicts.into_iter();
    known.find(|verdict| heading == "verdict" && verdict.to_string() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_standard() {
        // The SHA-256 of no bytes, as `openssl dgst -sha256 -binary </dev/null | base64` has it.
        assert_eq!(
            source_hash(""),
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn the_script_and_the_style_end_where_they_should() {
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        assert!(!CSS.contains("</"));
    }
}
