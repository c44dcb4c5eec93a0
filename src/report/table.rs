//! Tables, and their plain-text form.

/// How text is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Most columns of a line.
    pub width: usize,
    /// Whether verdicts are coloured by ANSI escapes.
    pub color: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            width: 100,
            color: false,
        }
    }
}

/// On which side cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table of cells. The first column names the row.
#[derive(Debug, Clone, Default)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: impl IntoIterator<Item = (&'static str, Align)>) -> Self {
        let columns = columns.into_iter();
        Self::named(columns.map(|(heading, align)| (heading.to_owned(), align)))
    }

    /// A table whose headings come from what it shows.
    pub fn named(columns: impl IntoIterator<Item = (String, Align)>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// The same with headings that are made as they come.
    pub fn with_headings(columns: Vec<(String, Align)>) -> Self {
        let rows = Vec::new();
        Self { columns, rows }
    }

    /// Adds a row with as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    pub fn columns(&self) -> &[(String, Align)] {
        &self.columns
    }

    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// The table as lines. Where all columns do not fit beside each other, the rest follow below
    /// under the first column's names again.
    pub fn lines(&self, indent: usize, style: Style) -> Vec<String> {
        let widths: Vec<usize> = (0..self.columns.len()).map(|c| self.width_of(c)).collect();
        let room = style.width.saturating_sub(indent);
        let narrow = widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        let spare = room.saturating_sub(narrow);
        let gap = if spare + 1 >= widths.len() { 2 } else { 1 };
        let mut lines = Vec::new();
        let mut next = 1;
        loop {
            let mut block = vec![0];
            let mut used = widths.first().copied().unwrap_or(0);
            while next < widths.len() && (block.len() == 1 || used + gap + widths[next] <= room) {
                used += gap + widths[next];
                block.push(next);
                next += 1;
            }
            if !lines.is_empty() {
                lines.push(String::new());
            }
            self.block(&block, &widths, indent, gap, style, &mut lines);
            if next >= widths.len() {
                return lines;
            }
        }
    }

    fn width_of(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| width(&row[column]));
        cells
            .chain([width(&self.columns[column].0)])
            .max()
            .unwrap_or(0)
    }

    fn block(
        &self,
        block: &[usize],
        widths: &[usize],
        indent: usize,
        gap: usize,
        style: Style,
        lines: &mut Vec<String>,
    ) {
        let headings: Vec<String> = self
            .columns
            .iter()
            .map(|(heading, _)| heading.clone())
            .collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = " ".repeat(indent);
            for (i, column) in block.iter().copied().enumerate() {
                if i > 0 {
                    line.push_str(&" ".repeat(gap));
                }
                let fill = " ".repeat(widths[column] - width(&row[column]));
                let cell = match style.color {
                    true => painted(&row[column]),
                    false => row[column].clone(),
                };
                match self.columns[column].1 {
                    Align::Left => line.extend([cell, fill]),
                    Align::Right => line.extend([fill, cell]),
                }
            }
            lines.push(line.trim_end().to_owned());
        }
    }
}

/// Columns that a text takes on a terminal, where every character takes one.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// A verdict's word in its colour; anything else as it is.
pub fn painted(word: &str) -> String {
    let color = match word {
        "exact" | "within" | "explained" => "32",
        "inconclusive" => "33",
        "mismatch" => "31",
        _ => return word.to_owned(),
    };
    format!("\u{1b}[{color}m{word}\u{1b}[0m")
}

/// Words in lines of at most `columns`, the later lines indented by `hang`.
pub fn wrapped(text: &str, indent: usize, hang: usize, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for word in text.split_whitespace() {
        if !empty && width(&line) + 1 + width(word) > columns {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent + hang)));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// Two blocks of lines beside each other where they fit, else below each other.
pub fn beside(left: &[String], right: &[String], indent: usize, columns: usize) -> Vec<String> {
    let edge = left.iter().map(|line| width(line)).max().unwrap_or(0) + 4;
    let breadth = right.iter().map(|line| width(line)).max().unwrap_or(0);
    if edge + breadth > columns {
        let mut lines = left.to_vec();
        lines.push(String::new());
        lines.extend(
            right
                .iter()
                .map(|line| format!("{}{line}", " ".repeat(indent))),
        );
        return lines;
    }
    (0..left.len().max(right.len()))
        .map(|i| {
            let left = left.get(i).map_or("", String::as_str);
            let right = right.get(i).map_or("", String::as_str);
            let fill = " ".repeat(edge - width(left));
            format!("{left}{fill}{right}").trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            ("kind", Align::Left),
            ("sent", Align::Right),
            ("verdict", Align::Left),
        ]);
        table.row(vec![
            "vote".to_owned(),
            "1,000".to_owned(),
            "exact".to_owned(),
        ]);
        table
    }

    #[test]
    fn a_wide_table_stands_in_one_block() {
        let lines = table().lines(2, Style::default());
        assert_eq!(lines, ["  kind   sent  verdict", "  vote  1,000  exact"]);
    }

    #[test]
    fn a_narrow_table_continues_below() {
        let style = Style {
            width: 12,
            color: false,
        };
        let lines = table().lines(0, style);
        assert_eq!(
            lines,
            ["kind  sent", "vote 1,000", "", "kind verdict", "vote exact"]
        );
    }

    #[test]
    fn colour_takes_no_width() {
        let style = Style {
            width: 80,
            color: true,
        };
        assert!(table().lines(0, style)[1].ends_with("\u{1b}[32mexact\u{1b}[0m"));
    }

    #[test]
    fn words_wrap_with_a_hanging_indent() {
        let lines = wrapped("one two three", 1, 2, 9);
        assert_eq!(lines, [" one two", "   three"]);
    }
}
