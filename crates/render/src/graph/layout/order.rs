//! The order of cells within columns.
//!
//! Cells are first put in the order in which a walk along the lines meets them, which is
//! without crossings for a forest. Then columns are swept to the right and to the left, and
//! every cell moves to the mean place of its neighbours; the sweep that leaves the fewest
//! crossings is kept.

use super::mesh::Mesh;

/// Cells and wires that are looked at in all sweeps together, as far as it can be chosen.
const WORK: usize = 400_000;
/// Sweeps that may pass without a better order.
const PATIENCE: usize = 6;

/// Sorts the columns.
pub(super) fn sort(mesh: &mut Mesh) {
    walk(mesh);
    let work = mesh.cells.len() + mesh.wires.len();
    let sweeps = (WORK / work.max(1)).clamp(1, 30);
    let mut place = places(mesh);
    let mut fewest = crossings(mesh, &place);
    let mut best = mesh.columns.clone();
    let mut patience = PATIENCE;
    for sweep in 0..sweeps {
        if fewest == 0 || patience == 0 {
            break;
        }
        pass(mesh, &mut place, sweep % 2 == 0);
        let crossings = crossings(mesh, &place);
        patience -= 1;
        if crossings < fewest {
            fewest = crossings;
            best.clone_from(&mesh.columns);
            patience = PATIENCE;
        }
    }
    mesh.columns = best;
}

/// Sorts the columns by when a walk from the first cells meets theirs.
fn walk(mesh: &mut Mesh) {
    let mut met: Vec<Option<usize>> = vec![None; mesh.cells.len()];
    let mut count = 0;
    let starts: Vec<usize> = mesh.columns.iter().flatten().copied().collect();
    for start in starts {
        let mut open = vec![start];
        while let Some(cell) = open.pop() {
            if met[cell].is_none() {
                met[cell] = Some(count);
                count += 1;
                open.extend(mesh.next[cell].iter().rev());
            }
        }
    }
    for column in &mut mesh.columns {
        column.sort_by_key(|&cell| met[cell]);
    }
}

fn places(mesh: &Mesh) -> Vec<usize> {
    let mut place = vec![0; mesh.cells.len()];
    for column in &mesh.columns {
        for (nth, &cell) in column.iter().enumerate() {
            place[cell] = nth;
        }
    }
    place
}

/// One sweep over all columns.
fn pass(mesh: &mut Mesh, place: &mut [usize], to_the_right: bool) {
    let count = mesh.columns.len();
    for nth in 0..count {
        let column = if to_the_right { nth } else { count - 1 - nth };
        let neighbours = if to_the_right { &mesh.prev } else { &mesh.next };
        let mean = |cell: usize| {
            let near = &neighbours[cell];
            let sum: usize = near.iter().map(|&near| place[near]).sum();
            // Without neighbours, a cell keeps its place.
            (sum * 1024).checked_div(near.len()).unwrap_or(place[cell] * 1024)
        };
        let cells = &mut mesh.columns[column];
        cells.sort_by_cached_key(|&cell| (mean(cell), place[cell]));
        for (nth, &cell) in cells.iter().enumerate() {
            place[cell] = nth;
        }
    }
}

/// How many pairs of wires cross between neighbouring columns.
fn crossings(mesh: &Mesh, place: &[usize]) -> u64 {
    let mut between: Vec<Vec<(usize, usize)>> = vec![Vec::new(); mesh.columns.len()];
    for wire in &mesh.wires {
        let column = mesh.cells[wire.from].column;
        if mesh.cells[wire.to].column == column + 1 {
            between[column].push((place[wire.from], place[wire.to]));
        }
    }
    between.into_iter().map(inversions).sum()
}

/// How many pairs are in one order on the left and in the other on the right.
fn inversions(mut pairs: Vec<(usize, usize)>) -> u64 {
    pairs.sort_unstable();
    let highest = pairs.iter().map(|pair| pair.1).max().unwrap_or(0);
    // A Fenwick tree of how many ended at each place so far.
    let mut ended = vec![0_u64; highest + 2];
    let mut crossings = 0;
    for (nth, (_, right)) in pairs.iter().enumerate() {
        let mut not_above = 0;
        let mut at = right + 1;
        while at > 0 {
            not_above += ended[at];
            at &= at - 1;
        }
        crossings += nth as u64 - not_above;
        at = right + 1;
        while at < ended.len() {
            ended[at] += 1;
            at += at & at.wrapping_neg();
        }
    }
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::layout::units::Units;
    use crate::graph::layout::{Link, Size, Tie, Vertex};

    #[test]
    fn a_forest_has_no_crossings_and_other_graphs_lose_some() {
        let size = Size { width: 100, height: 26 };
        let vertex = |rank| Vertex { size, rank };
        // A tree whose leaves are listed in the wrong order, and a tangle.
        let tree = [(0, 1), (0, 2), (0, 3), (3, 4), (1, 5), (2, 6), (3, 7), (1, 8), (2, 9)];
        let tangle = [(0, 4), (0, 6), (1, 5), (1, 6), (2, 4), (2, 6), (3, 4), (3, 5), (3, 6)];
        let by_rank = |ranks: &[usize]| ranks.iter().map(|&rank| vertex(rank)).collect::<Vec<_>>();
        for (vertices, links, most) in [
            (by_rank(&[0, 1, 1, 1, 2, 2, 2, 2, 2, 2]), &tree, 0),
            (by_rank(&[0, 0, 0, 0, 1, 1, 1]), &tangle, 5),
        ] {
            let links: Vec<Link> =
                links.iter().map(|&(from, to)| Link { from, to, tie: Tie::Firm }).collect();
            let units = Units::new(&vertices, &links);
            let mut mesh = Mesh::new(&units, &units.parts()[0], &mut 100);
            mesh.columns[1].reverse();
            let before = crossings(&mesh, &places(&mesh));
            sort(&mut mesh);
            let after = crossings(&mesh, &places(&mesh));
            assert!(after < before && after <= most, "{before} {after}");
        }
    }

    #[test]
    fn crossings_are_counted_as_by_hand() {
        let table: [(&[(usize, usize)], u64); 5] = [
            (&[], 0),
            (&[(0, 0), (1, 1), (2, 2)], 0),
            (&[(0, 1), (1, 0)], 1),
            (&[(0, 2), (1, 1), (2, 0)], 3),
            (&[(0, 0), (0, 1), (1, 0), (1, 1)], 1),
        ];
        for (pairs, expected) in table {
            assert_eq!(inversions(pairs.to_vec()), expected, "{pairs:?}");
        }
    }
}
