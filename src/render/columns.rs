//! Tables without borders, laid out by prettytable.

use prettytable::format::{Alignment, FormatBuilder, LinePosition, LineSeparator};
use prettytable::{Cell, Row, Table};

use super::page::ascii;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Titles, a rule, rows; `gap` spaces between columns. No line ends in spaces.
pub fn columns(titles: &[(&str, Align)], rows: &[Vec<String>], gap: usize) -> String {
    let format = FormatBuilder::new()
        .separator(LinePosition::Title, LineSeparator::new('-', '-', '-', '-'))
        .padding(gap, 0)
        .build();
    let mut table = Table::new();
    table.set_format(format);
    let row = |cells: Vec<&str>| {
        let cells = cells.into_iter().zip(titles).map(|(text, (_, align))| {
            let align = match align {
                Align::Left => Alignment::LEFT,
                Align::Right => Alignment::RIGHT,
            };
            Cell::new_align(&ascii(text), align)
        });
        Row::new(cells.collect())
    };
    table.set_titles(row(titles.iter().map(|(title, _)| *title).collect()));
    for cells in rows {
        table.add_row(row(cells.iter().map(String::as_str).collect()));
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        // The padding of the first column.
        text.push_str(line.get(gap..).unwrap_or("").trim_end());
        text.push('\n');
    }
    text
}

pub fn widest(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}
