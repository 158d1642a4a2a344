//! What is laid out as one: a box by itself, or a frame around leaves that are tied alike.

use std::collections::BTreeMap;

use super::{Link, Point, Rect, Size, Tie, Vertex};

/// Vertices up to which a drawing counts as small; each of its boxes gets its own line
/// unless very many are tied alike.
const SMALL: usize = 40;
const PADDING: i64 = 10;
/// Height of the words above the boxes of a frame.
const CAPTION: i64 = 20;
const GAP: i64 = 8;

/// Other ends of lines.
type Ties = Vec<(usize, Tie)>;

/// Vertices that are laid out as one.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) members: Vec<usize>,
    pub(super) size: Size,
    pub(super) rank: usize,
    rows: usize,
    /// The size of each member.
    cell: Size,
}

impl Unit {
    fn single(at: usize, vertex: Vertex) -> Self {
        let (size, rank) = (vertex.size, vertex.rank);
        Self { members: vec![at], size, rank, rows: 1, cell: size }
    }

    fn frame(members: Vec<usize>, vertices: &[Vertex]) -> Self {
        let width = members.iter().map(|&at| vertices[at].size.width).max().unwrap_or(0);
        let height = members.iter().map(|&at| vertices[at].size.height).max().unwrap_or(0);
        let cell = Size { width, height };
        let (columns, rows) = grid(members.len(), cell);
        let along = |count: usize, length: i64| count as i64 * (length + GAP) - GAP;
        let size = Size {
            width: along(columns, width) + 2 * PADDING,
            height: along(rows, height) + 2 * PADDING + CAPTION,
        };
        let rank = vertices[members[0]].rank;
        Self { members, size, rank, rows, cell }
    }

    pub(super) fn is_frame(&self) -> bool {
        self.members.len() > 1
    }

    /// The box of a member, if the unit is `outer`. A grid is read from top to bottom.
    pub(super) fn inner(&self, outer: Rect, nth: usize) -> Rect {
        if !self.is_frame() {
            return outer;
        }
        let (column, row) = ((nth / self.rows) as i64, (nth % self.rows) as i64);
        let x = outer.at.x + PADDING + column * (self.cell.width + GAP);
        let y = outer.at.y + PADDING + CAPTION + row * (self.cell.height + GAP);
        Rect { at: Point { x, y }, size: self.cell }
    }
}

/// Columns and rows for `count` boxes, about half again as wide as high.
fn grid(count: usize, cell: Size) -> (usize, usize) {
    let mut columns = 1;
    let mut rows = count;
    while 2 * columns as i64 * (cell.width + GAP) < 3 * rows as i64 * (cell.height + GAP) {
        columns += 1;
        rows = count.div_ceil(columns);
    }
    (count.div_ceil(rows.max(1)), rows)
}

/// All units and the lines between them.
#[derive(Debug)]
pub(super) struct Units {
    pub(super) all: Vec<Unit>,
    /// For each unit those that lines lead to, each once.
    pub(super) next: Vec<Ties>,
    /// For each unit those that lines come from.
    pub(super) prev: Vec<Vec<usize>>,
}

impl Units {
    pub(super) fn new(vertices: &[Vertex], links: &[Link]) -> Self {
        let mut ties: Vec<Ties> = vec![Ties::new(); vertices.len()];
        let mut is_leaf = vec![true; vertices.len()];
        for link in links {
            ties[link.to].push((link.from, link.tie));
            is_leaf[link.from] = false;
        }
        let least = if vertices.len() <= SMALL { 10 } else { 4 };
        let mut alike: BTreeMap<(usize, Ties), Vec<usize>> = BTreeMap::new();
        for (at, vertex) in vertices.iter().enumerate().filter(|(at, _)| is_leaf[*at]) {
            ties[at].sort_unstable();
            alike.entry((vertex.rank, ties[at].clone())).or_default().push(at);
        }
        let mut all: Vec<Unit> = Vec::new();
        let (frames, rest): (Vec<_>, Vec<_>) =
            alike.into_values().partition(|members| members.len() >= least);
        let inner = (0..vertices.len()).filter(|&at| !is_leaf[at]);
        let singles = inner.chain(rest.into_iter().flatten());
        all.extend(singles.map(|at| Unit::single(at, vertices[at])));
        all.extend(frames.into_iter().map(|members| Unit::frame(members, vertices)));
        all.sort_by_key(|unit| unit.members[0]);
        Self::linked(all, links, vertices.len())
    }

    fn linked(all: Vec<Unit>, links: &[Link], vertices: usize) -> Self {
        let mut unit_of = vec![0; vertices];
        for (nth, unit) in all.iter().enumerate() {
            for &member in &unit.members {
                unit_of[member] = nth;
            }
        }
        let mut between: BTreeMap<(usize, usize), Tie> = BTreeMap::new();
        for link in links {
            let tie = between.entry((unit_of[link.from], unit_of[link.to])).or_insert(link.tie);
            *tie = link.tie.min(*tie);
        }
        let (mut next, mut prev) = (vec![Vec::new(); all.len()], vec![Vec::new(); all.len()]);
        for ((from, to), tie) in between {
            next[from].push((to, tie));
            prev[to].push(from);
        }
        Self { all, next, prev }
    }

    /// The units, those that are connected together.
    pub(super) fn parts(&self) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.all.len()];
        let mut parts = Vec::new();
        for first in 0..self.all.len() {
            let mut open = vec![first];
            let mut part = Vec::new();
            while let Some(unit) = open.pop() {
                if std::mem::replace(&mut seen[unit], true) {
                    continue;
                }
                part.push(unit);
                open.extend(
                    self.next[unit]
                        .iter()
                        .map(|&(to, _)| to)
                        .chain(self.prev[unit].iter().copied()),
                );
            }
            if !part.is_empty() {
                part.sort_unstable();
                parts.push(part);
            }
        }
        parts
    }
}
