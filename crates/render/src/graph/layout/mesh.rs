//! One connected part of the graph in columns, with a cell for each unit and each trunk.

use std::collections::BTreeMap;

use super::Tie;
use super::units::Units;

/// What a column is allowed to be high in any case.
const COLUMN: i64 = 900;
/// Room around a box, when the area of a part is estimated.
const AROUND: (i64, i64) = (90, 14);
const TRUNK: i64 = 2;

/// A place in a column.
#[derive(Debug)]
pub(super) struct Cell {
    /// The unit that is there; none if a line passes.
    pub(super) unit: Option<usize>,
    pub(super) column: usize,
    pub(super) height: i64,
}

/// A piece of a line, from a cell to one further right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire {
    pub(super) from: usize,
    pub(super) to: usize,
    /// The unit where the line begins.
    pub(super) source: usize,
    pub(super) tie: Tie,
}

/// The columns of a part, from left to right, each from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Mesh {
    pub(super) cells: Vec<Cell>,
    pub(super) columns: Vec<Vec<usize>>,
    /// The rank of each column, where it is the first of that rank.
    pub(super) ranks: Vec<Option<usize>>,
    pub(super) wires: Vec<Wire>,
    /// For each cell those that wires lead to.
    pub(super) next: Vec<Vec<usize>>,
    /// For each cell those that wires come from.
    pub(super) prev: Vec<Vec<usize>>,
}

impl Mesh {
    /// The mesh of the units of `part`. `trunks` is how many trunks may still be made.
    pub(super) fn new(units: &Units, part: &[usize], trunks: &mut usize) -> Self {
        let mut mesh = Self::default();
        let cell_of = mesh.fill(units, part);
        for &unit in part {
            for tie in [Tie::Firm, Tie::Loose, Tie::Outside] {
                let targets = units.next[unit].iter().filter(|(_, of)| *of == tie);
                let mut targets: Vec<usize> = targets.map(|(to, _)| cell_of[to]).collect();
                targets.sort_by_key(|&cell| (mesh.cells[cell].column, cell));
                let wire = Wire { from: cell_of[&unit], to: 0, source: unit, tie };
                mesh.lead(wire, &targets, trunks);
            }
        }
        mesh.next = vec![Vec::new(); mesh.cells.len()];
        mesh.prev = vec![Vec::new(); mesh.cells.len()];
        for wire in &mesh.wires {
            mesh.next[wire.from].push(wire.to);
            mesh.prev[wire.to].push(wire.from);
        }
        mesh
    }

    /// Puts units into columns; returns their cells.
    fn fill(&mut self, units: &Units, part: &[usize]) -> BTreeMap<usize, usize> {
        let highest = bound(units, part);
        let mut ranks: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for &unit in part {
            ranks.entry(units.all[unit].rank).or_default().push(unit);
        }
        let mut cell_of = BTreeMap::new();
        for (rank, mut members) in ranks {
            // What others stand on comes first, so that few lines pass the other columns.
            members.sort_by_key(|&unit| {
                (
                    units.next[unit].is_empty(),
                    units.all[unit].is_frame(),
                    units.prev[unit].first(),
                    unit,
                )
            });
            let heights = members.iter().map(|&unit| units.all[unit].size.height + AROUND.1);
            let total: i64 = heights.sum();
            let columns = (total + highest - 1) / highest;
            let most = total / columns.max(1) + 1;
            let mut filled = most;
            let mut heading = Some(rank);
            for unit in members {
                if filled >= most {
                    self.ranks.push(heading.take());
                    self.columns.push(Vec::new());
                    filled = 0;
                }
                let height = units.all[unit].size.height;
                filled += height + AROUND.1;
                let column = self.columns.len() - 1;
                cell_of.insert(unit, self.add(Cell { unit: Some(unit), column, height }));
            }
        }
        cell_of
    }

    fn add(&mut self, cell: Cell) -> usize {
        let at = self.cells.len();
        self.columns[cell.column].push(at);
        self.cells.push(cell);
        at
    }

    /// Leads a line to its targets, which are sorted by column: through a trunk in each
    /// column between, as long as there are `trunks`.
    fn lead(&mut self, start: Wire, targets: &[usize], trunks: &mut usize) {
        let mut last = start.from;
        let mut column = self.cells[last].column;
        for &target in targets {
            while column + 1 < self.cells[target].column && *trunks > 0 {
                *trunks -= 1;
                column += 1;
                let trunk = self.add(Cell { unit: None, column, height: TRUNK });
                self.wires.push(Wire { from: last, to: trunk, ..start });
                last = trunk;
            }
            self.wires.push(Wire { from: last, to: target, ..start });
        }
    }

    /// Whether only a line passes here.
    pub(super) fn is_trunk(&self, cell: usize) -> bool {
        self.cells[cell].unit.is_none()
    }
}

/// How high a column may be, so that the part is about as wide as high.
fn bound(units: &Units, part: &[usize]) -> i64 {
    let size = |unit: &usize| units.all[*unit].size;
    let areas = part.iter().map(size).map(|it| (it.width + AROUND.0) * (it.height + AROUND.1));
    COLUMN.max(areas.sum::<i64>().isqrt())
}
