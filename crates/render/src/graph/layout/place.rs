//! Heights and widths: where in its column a cell is, and where the columns are.
//!
//! A cell wishes to be at the mean height of what it is tied to. Within a column the order
//! is fixed and so is the least distance between neighbours; the places closest to the
//! wishes are then those of a regression that merges neighbours who want to pass each
//! other into blocks. That takes one walk along the column.

use super::mesh::{Mesh, Wire};
use super::units::Units;
use super::{Heading, Point, Rect, Size, Strand, Tie, Tile};

const ROUNDS: usize = 6;
/// How much more a trunk wants to be level than a box wants to be near another one.
const STIFF: i64 = 40;
const HEADING: i64 = 24;
/// Least and most room between columns.
const GUTTER: (i64, i64) = (44, 150);
/// Most distance between the ends of lines at the same box.
const PORT: i64 = 7;
/// How far below the others the lines begin that take something out of a box.
const BELOW: i64 = 5;

/// What a cell looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

/// A part laid out.
pub(super) fn tile(mesh: &Mesh, units: &Units) -> Tile {
    let has_headings = mesh.columns.len() > 1;
    let mut centres = centres(mesh);
    let tops = (0..mesh.cells.len()).map(|cell| centres[cell] - mesh.cells[cell].height / 2);
    let highest = tops.min().unwrap_or(0);
    let head = if has_headings { HEADING } else { 0 };
    for centre in &mut centres {
        *centre += head - highest;
    }
    let ends = (0..mesh.cells.len())
        .map(|cell| centres[cell] + mesh.cells[cell].height - mesh.cells[cell].height / 2);
    let height = ends.max().unwrap_or(0);
    let columns = columns(mesh, units);
    let width = columns.last().map_or(0, |column| column.x + column.width);
    let mut tile = Tile { size: Size { width, height }, ..Tile::default() };
    for (cell, of) in mesh.cells.iter().enumerate() {
        let Some(unit) = of.unit else { continue };
        let column = columns[of.column];
        let size = units.all[unit].size;
        // Boxes of a column are equally wide; a frame is as wide as its grid.
        let width = if units.all[unit].is_frame() { size.width } else { column.box_width };
        let at = Point { x: column.x, y: centres[cell] - of.height / 2 };
        tile.units.push((unit, Rect { at, size: Size { width, ..size } }));
    }
    tile.strands = strands(mesh, units, &centres, &columns);
    if has_headings {
        let ranks = mesh.ranks.iter().zip(&columns);
        let at = |column: &Column| Point { x: column.x, y: 0 };
        tile.headings = ranks
            .filter_map(|(rank, column)| Some(Heading { at: at(column), rank: (*rank)? }))
            .collect();
    }
    tile
}

#[derive(Debug, Clone, Copy)]
struct Column {
    x: i64,
    width: i64,
    box_width: i64,
}

fn columns(mesh: &Mesh, units: &Units) -> Vec<Column> {
    let mut leaving = vec![0_i64; mesh.columns.len()];
    for wire in &mesh.wires {
        leaving[mesh.cells[wire.from].column] += 1;
    }
    let mut x = 0;
    let mut columns = Vec::new();
    for (cells, leaving) in mesh.columns.iter().zip(leaving) {
        let units = cells.iter().filter_map(|&cell| mesh.cells[cell].unit).map(|at| &units.all[at]);
        let width = units.clone().map(|unit| unit.size.width).max().unwrap_or(0);
        let boxes = units.filter(|unit| !unit.is_frame());
        let box_width = boxes.map(|unit| unit.size.width).max().unwrap_or(0);
        columns.push(Column { x, width, box_width });
        x += width + (GUTTER.0 + 3 * leaving).min(GUTTER.1);
    }
    columns
}

/// The least distance between the centres of two neighbours.
fn distance(mesh: &Mesh, above: usize, below: usize) -> i64 {
    let gap = match (mesh.is_trunk(above), mesh.is_trunk(below)) {
        (true, true) => 6,
        (false, false) if mesh.prev[above] == mesh.prev[below] => 10,
        (false, false) => 18,
        _ => 12,
    };
    let (above, below) = (mesh.cells[above].height, mesh.cells[below].height);
    above - above / 2 + below / 2 + gap
}

/// The height of each cell's centre.
fn centres(mesh: &Mesh) -> Vec<i64> {
    let mut centres = vec![0; mesh.cells.len()];
    for column in &mesh.columns {
        for pair in column.windows(2) {
            centres[pair[1]] = centres[pair[0]] + distance(mesh, pair[0], pair[1]);
        }
        let middle = column.last().map_or(0, |&last| centres[last] / 2);
        column.iter().for_each(|&cell| centres[cell] -= middle);
    }
    for round in 0..ROUNDS {
        let last = round + 2 >= ROUNDS;
        let (right, left) = if last { (Side::Both, Side::Both) } else { (Side::Left, Side::Right) };
        for column in &mesh.columns {
            settle(mesh, column, right, &mut centres);
        }
        for column in mesh.columns.iter().rev() {
            settle(mesh, column, left, &mut centres);
        }
    }
    centres
}

/// Neighbours that stay together because each wants to be where another one is.
struct Block {
    weight: i64,
    moment: i64,
    cells: usize,
}

impl Block {
    fn height(&self) -> i64 {
        self.moment.div_euclid(self.weight)
    }
}

/// Moves the cells of a column as close to their wishes as their order allows.
fn settle(mesh: &Mesh, column: &[usize], side: Side, centres: &mut [i64]) {
    let mut offset = 0;
    let mut offsets = Vec::with_capacity(column.len());
    let mut blocks: Vec<Block> = Vec::with_capacity(column.len());
    for (nth, &cell) in column.iter().enumerate() {
        if nth > 0 {
            offset += distance(mesh, column[nth - 1], cell);
        }
        offsets.push(offset);
        let (weight, moment) = wish(mesh, cell, side, centres);
        let mut block = Block { weight, moment: moment - weight * offset, cells: 1 };
        while let Some(above) = blocks.pop_if(|above| above.height() >= block.height()) {
            block.weight += above.weight;
            block.moment += above.moment;
            block.cells += above.cells;
        }
        blocks.push(block);
    }
    let mut nth = 0;
    for block in blocks {
        for _ in 0..block.cells {
            centres[column[nth]] = block.height() + offsets[nth];
            nth += 1;
        }
    }
}

/// How much a cell wishes for a height, and the height times that.
fn wish(mesh: &Mesh, cell: usize, side: Side, centres: &[i64]) -> (i64, i64) {
    let left: &[usize] = if side == Side::Right { &[] } else { &mesh.prev[cell] };
    let right: &[usize] = if side == Side::Left { &[] } else { &mesh.next[cell] };
    let mut wish = (0, 0);
    for &near in left.iter().chain(right) {
        let stiff = mesh.is_trunk(cell) && mesh.is_trunk(near);
        let weight = if stiff { STIFF } else { 1 };
        wish = (wish.0 + weight, wish.1 + weight * centres[near]);
    }
    if wish.0 == 0 { (1, centres[cell]) } else { wish }
}

/// The lines. Those that end at the same box end beside each other.
fn strands(mesh: &Mesh, units: &Units, centres: &[i64], columns: &[Column]) -> Vec<Strand> {
    let mut wires: Vec<&Wire> = mesh.wires.iter().collect();
    wires.sort_by_key(|wire| (wire.to, centres[wire.from], wire.from));
    let mut strands = Vec::with_capacity(wires.len());
    for wires in wires.chunk_by(|a, b| a.to == b.to) {
        let to = &mesh.cells[wires[0].to];
        let ends = wires.len() as i64;
        let step = ((to.height - 14) / ends.max(1)).clamp(0, PORT);
        for (nth, wire) in wires.iter().enumerate() {
            let from = &mesh.cells[wire.from];
            let column = columns[from.column];
            let below = if wire.tie == Tie::Loose { BELOW } else { 0 };
            let (start, below) = match from.unit {
                Some(_) => (column.x + column.box_width, below),
                None => (column.x, 0),
            };
            let x = columns[to.column].x;
            let y = centres[wire.to] + step * (2 * nth as i64 - (ends - 1)) / 2;
            strands.push(Strand {
                source: units.all[wire.source].members[0],
                tie: wire.tie,
                start: Point { x: start, y: centres[wire.from] + below },
                bend: (column.x + column.width, x - 8),
                end: Point { x, y },
                arrives: to.unit.is_some(),
            });
        }
    }
    strands
}
