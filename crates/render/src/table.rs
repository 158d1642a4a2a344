//! Aligned columns that fit the terminal.

use crate::style::{Line, Style, Tone, render_all};
use crate::text;

const GAP: usize = 2;
/// What a column that gives way keeps.
const LEAST: usize = 8;
/// No cell is measured beyond this.
const MOST: usize = 1000;

/// A column of a [`table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    title: String,
    right: bool,
    gives_way: bool,
}

impl Column {
    /// A column of words.
    pub fn left(title: &str) -> Self {
        Self { title: title.to_owned(), right: false, gives_way: false }
    }

    /// A column of numbers.
    pub fn right(title: &str) -> Self {
        Self { title: title.to_owned(), right: true, gives_way: false }
    }

    /// The same column, cut first when the table is too wide.
    #[must_use]
    pub fn flexible(mut self) -> Self {
        self.gives_way = true;
        self
    }
}

/// Rows of text under their columns' titles, in at most `width` columns of the terminal.
pub fn table(columns: &[Column], rows: &[Vec<String>], width: usize, style: Style) -> String {
    let plain = |row: &Vec<String>| row.iter().map(|cell| (Tone::Plain, cell.clone())).collect();
    let rows: Vec<Vec<Cell>> = rows.iter().map(plain).collect();
    render_all(&grid(columns, &rows, width, style), style)
}

/// A text and what it is.
pub(crate) type Cell = (Tone, String);

pub(crate) fn grid(
    columns: &[Column],
    rows: &[Vec<Cell>],
    width: usize,
    style: Style,
) -> Vec<Line> {
    let titles: Vec<Cell> =
        columns.iter().map(|column| (Tone::Dim, column.title.clone())).collect();
    let all: Vec<Vec<Line>> = std::iter::once(&titles)
        .chain(rows)
        .map(|row| row.iter().map(|(tone, cell)| Line::new().add(*tone, cell)).collect())
        .collect();
    let widths = widths(columns, &all, width);
    all.into_iter()
        .map(|row| {
            let mut line = Line::new();
            for ((column, cell), &width) in columns.iter().zip(row).zip(&widths) {
                let cell = cell.cut(width, style);
                let before = if column.right { width - cell.width() } else { 0 };
                let start = line.width();
                let gap = if start > 0 { GAP } else { 0 };
                line = line.pad(start + gap + before).append(cell).pad(start + gap + width);
            }
            line.cut(width, style)
        })
        .collect()
}

fn widths(columns: &[Column], rows: &[Vec<Line>], width: usize) -> Vec<usize> {
    let natural = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.width().min(MOST)).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(natural).collect();
    let gaps = GAP * columns.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let least = |at: usize| LEAST.max(text::width(&columns[at].title));
        let flexible = (0..widths.len())
            .filter(|&at| columns[at].gives_way && widths[at] > least(at))
            .max_by_key(|&at| widths[at]);
        let Some(at) = flexible else { break };
        widths[at] -= 1;
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(width: usize) -> String {
        let columns =
            [Column::left("IMAGE"), Column::right("SIZE"), Column::left("WHY").flexible()];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["stt", "184 MB", "`services/stt/requirements.txt` changed"]),
            row(["日本", "1.2 MB", ""]),
        ];
        table(&columns, &rows, width, Style::PLAIN)
    }

    #[test]
    fn columns_align_and_the_flexible_one_gives_way() {
        insta::assert_snapshot!(sample(80), @r"
        IMAGE    SIZE  WHY
        stt    184 MB  `services/stt/requirements.txt` changed
        日本   1.2 MB
        ");
        insta::assert_snapshot!(sample(40), @r"
        IMAGE    SIZE  WHY
        stt    184 MB  `services/stt/requirem...
        日本   1.2 MB
        ");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..60 {
            for line in sample(width).lines() {
                assert!(text::width(line) <= width, "{width}: {line}");
            }
        }
    }
}
