//! Where boxes and lines go.
//!
//! 1. [`units`]: leaves that stand on exactly the same become one frame, a grid of boxes
//!    with one line to it, where a list of lines would say the same thing thirty times.
//! 2. Each connected part is laid out by itself: [`mesh`] puts its units into columns by
//!    rank, a rank that is too tall into several, and gives every line that passes a
//!    column a place of its own in it; lines from one source share it, as a trunk.
//! 3. [`order`] sorts the columns so that few lines cross.
//! 4. [`place`] moves units up and down towards what they are tied to.
//! 5. [`pack`] puts the parts side by side and below each other.
//!
//! Lines are level within columns and bend between them only; since a column gives every
//! box and every trunk a height of its own, no line runs through a box. There is a bound
//! on trunks ([`TRUNKS`]): the long lines of a graph that would need more run behind the
//! boxes. The larger the graph, the fewer attempts are made at a better order.
//!
//! All lengths are whole pixels and all ties are broken by place in the list, so that a
//! layout is the same everywhere.

mod mesh;
mod order;
mod pack;
mod place;
mod units;

use mesh::Mesh;
use units::Units;

/// Places in columns that lines may have altogether.
const TRUNKS: usize = 40_000;

/// How wide and how high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Size {
    pub(super) width: i64,
    pub(super) height: i64,
}

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Point {
    pub(super) x: i64,
    pub(super) y: i64,
}

impl Point {
    fn moved(self, by: Self) -> Self {
        Self { x: self.x + by.x, y: self.y + by.y }
    }
}

/// A box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rect {
    pub(super) at: Point,
    pub(super) size: Size,
}

/// What becomes a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vertex {
    pub(super) size: Size,
    /// Further to the right than everything of a lower rank that it is linked to.
    pub(super) rank: usize,
}

/// What kind of line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tie {
    /// It continues the other image.
    Firm,
    /// It takes something out of the other image.
    Loose,
    /// The other image is from outside.
    Outside,
}

/// What becomes a line, from a lower rank to a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) tie: Tie,
}

/// A piece of a line: level from `start` to `bend.0`, curved to `bend.1`, level to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strand {
    /// The vertex that the line comes from.
    pub(super) source: usize,
    pub(super) tie: Tie,
    pub(super) start: Point,
    pub(super) bend: (i64, i64),
    pub(super) end: Point,
    /// Whether it ends at a box or a frame, rather than going on.
    pub(super) arrives: bool,
}

/// A frame around boxes that stand on the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) rect: Rect,
    pub(super) members: Vec<usize>,
}

/// The rank of a column, to be written above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heading {
    pub(super) at: Point,
    pub(super) rank: usize,
}

/// A layout.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub(super) size: Size,
    /// One for each vertex.
    pub(super) boxes: Vec<Rect>,
    pub(super) frames: Vec<Frame>,
    pub(super) strands: Vec<Strand>,
    pub(super) headings: Vec<Heading>,
}

/// Lays out boxes and lines. Links go from a lower rank to a higher one.
pub(super) fn layout(vertices: &[Vertex], links: &[Link]) -> Layout {
    let units = Units::new(vertices, links);
    let mut trunks = TRUNKS;
    let mut tiles: Vec<Tile> = Vec::new();
    for part in units.parts() {
        let mut mesh = Mesh::new(&units, &part, &mut trunks);
        order::sort(&mut mesh);
        tiles.push(place::tile(&mesh, &units));
    }
    let (size, corners) = pack::pack(&tiles.iter().map(|tile| tile.size).collect::<Vec<_>>());
    let mut whole =
        Layout { size, boxes: vec![Rect::default(); vertices.len()], ..Layout::default() };
    for (tile, corner) in tiles.into_iter().zip(corners) {
        whole.take(tile, corner, &units);
    }
    whole
}

/// A part of the graph, laid out from its own upper left corner.
#[derive(Debug, Default)]
struct Tile {
    size: Size,
    /// Units and where they are.
    units: Vec<(usize, Rect)>,
    strands: Vec<Strand>,
    headings: Vec<Heading>,
}

impl Layout {
    /// Puts a part where it belongs.
    fn take(&mut self, tile: Tile, corner: Point, units: &Units) {
        for (unit, rect) in tile.units {
            let rect = Rect { at: rect.at.moved(corner), ..rect };
            let unit = &units.all[unit];
            for (nth, &member) in unit.members.iter().enumerate() {
                self.boxes[member] = unit.inner(rect, nth);
            }
            if unit.is_frame() {
                self.frames.push(Frame { rect, members: unit.members.clone() });
            }
        }
        self.strands.extend(tile.strands.into_iter().map(|strand| Strand {
            start: strand.start.moved(corner),
            bend: (strand.bend.0 + corner.x, strand.bend.1 + corner.x),
            end: strand.end.moved(corner),
            ..strand
        }));
        let headings = tile.headings.into_iter();
        self.headings.extend(headings.map(|it| Heading { at: it.at.moved(corner), ..it }));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::graph::Graph;
    use crate::graph::net::Net;
    use crate::graph::samples::{audio, chain, cyclic, diamond, families, random};

    /// Boxes of different sizes, and every line that the graph has.
    fn input(graph: &Graph) -> (Vec<Vertex>, Vec<Link>) {
        let net = Net::new(graph);
        let size = |at: usize| Size {
            width: 100 + net.names[at].len() as i64,
            height: 26 + 14 * (at % 3) as i64,
        };
        let rank = |at: usize| net.level.get(at).map_or(0, |level| level + 1);
        let images = (0..net.len()).map(|at| Vertex { size: size(at), rank: rank(at) });
        let outside = net.outside.iter().map(|_| Vertex { size: size(0), rank: 0 });
        let mut links = Vec::new();
        for (to, needs) in net.needs.iter().enumerate() {
            let tie = |nth: usize| if nth == 0 { Tie::Firm } else { Tie::Loose };
            let needs = needs.iter().enumerate();
            links.extend(needs.map(|(nth, need)| Link { from: need.at, to, tie: tie(nth) }));
        }
        for (nth, base) in net.outside.iter().enumerate() {
            let from = net.len() + nth;
            let users = base.users.iter().map(|user| user.at);
            links.extend(users.map(|to| Link { from, to, tie: Tie::Outside }));
        }
        (images.chain(outside).collect(), links)
    }

    fn graphs() -> Vec<Graph> {
        let mut graphs =
            vec![Graph::default(), diamond(), audio(), cyclic(), families(), chain(30)];
        let sizes = [(2, 1), (10, 2), (40, 3), (80, 1), (120, 2), (60, 8)];
        for (nth, (images, density)) in sizes.into_iter().cycle().take(48).enumerate() {
            graphs.push(random(nth as u64, images, density));
        }
        graphs
    }

    /// Whether two boxes share more than a border.
    fn overlap(a: &Rect, b: &Rect) -> bool {
        let apart = |a: i64, length: i64, b: i64, other: i64| a + length <= b || b + other <= a;
        !apart(a.at.x, a.size.width, b.at.x, b.size.width)
            && !apart(a.at.y, a.size.height, b.at.y, b.size.height)
    }

    fn contains(outer: &Rect, inner: &Rect) -> bool {
        let reaches =
            |at: i64, length: i64, from: i64, most: i64| at >= from && at + length <= from + most;
        reaches(inner.at.x, inner.size.width, outer.at.x, outer.size.width)
            && reaches(inner.at.y, inner.size.height, outer.at.y, outer.size.height)
    }

    /// The frame of each vertex that has one, else its box.
    fn outlines(layout: &Layout) -> Vec<Rect> {
        let mut outlines = layout.boxes.clone();
        for frame in &layout.frames {
            for &member in &frame.members {
                outlines[member] = frame.rect;
            }
        }
        outlines
    }

    #[test]
    fn boxes_and_frames_do_not_overlap() {
        for graph in graphs() {
            let (vertices, links) = input(&graph);
            let layout = layout(&vertices, &links);
            let all = Rect { at: Point::default(), size: layout.size };
            let outlines = outlines(&layout);
            for (at, rect) in layout.boxes.iter().enumerate() {
                assert!(contains(&all, rect) && contains(&outlines[at], rect), "{rect:?}");
                assert!(rect.size.width >= vertices[at].size.width);
                assert!(rect.size.height >= vertices[at].size.height);
                for other in 0..at {
                    assert!(!overlap(rect, &layout.boxes[other]), "{at} {other}");
                    let same = outlines[at] == outlines[other];
                    assert!(same || !overlap(&outlines[at], &outlines[other]), "{at} {other}");
                }
            }
        }
    }

    #[test]
    fn every_line_leads_from_border_to_border_and_to_the_right() {
        for graph in graphs() {
            let (vertices, links) = input(&graph);
            let layout = layout(&vertices, &links);
            let outlines = outlines(&layout);
            let mut from: BTreeMap<(usize, Point), Vec<&Strand>> = BTreeMap::new();
            for strand in &layout.strands {
                let (first, last) = strand.bend;
                assert!(strand.start.x <= first && first < last && last <= strand.end.x);
                from.entry((strand.source, strand.start)).or_default().push(strand);
            }
            for link in links {
                let source = layout.boxes[link.from];
                let right = source.at.x + source.size.width;
                let (top, bottom) = (source.at.y, source.at.y + source.size.height);
                let starts = from.keys().filter(|(of, at)| {
                    *of == link.from && at.x == right && (top..=bottom).contains(&at.y)
                });
                let mut open: Vec<(usize, Point)> = starts.copied().collect();
                let mut arrived = false;
                while let Some(at) = open.pop() {
                    for strand in from.get(&at).into_iter().flatten() {
                        open.extend((!strand.arrives).then_some((link.from, strand.end)));
                        let (rect, end) = (outlines[link.to], strand.end);
                        let within = (rect.at.y..=rect.at.y + rect.size.height).contains(&end.y);
                        arrived |= strand.arrives && end.x == rect.at.x && within;
                    }
                }
                assert!(arrived, "{link:?}");
            }
        }
    }

    #[test]
    fn no_line_runs_through_a_box() {
        let rect = |x: i64, y: i64, width: i64, height: i64| Rect {
            at: Point { x, y },
            size: Size { width, height },
        };
        for graph in graphs() {
            let (vertices, links) = input(&graph);
            let layout = layout(&vertices, &links);
            let outlines: BTreeSet<Rect> = outlines(&layout).into_iter().collect();
            for strand in &layout.strands {
                let Strand { start, bend, end, .. } = *strand;
                let (top, height) = (start.y.min(end.y), (start.y - end.y).abs());
                let run = rect(start.x, start.y, bend.0 - start.x, 1);
                let curve = rect(bend.0, top, end.x - bend.0, height + 1);
                for outline in &outlines {
                    assert!(!overlap(&run, outline), "{strand:?} {outline:?}");
                    assert!(!overlap(&curve, outline), "{strand:?} {outline:?}");
                }
            }
        }
    }

    #[test]
    fn many_leaves_of_one_base_are_a_frame_with_one_line() {
        let (vertices, links) = input(&families());
        let layout = layout(&vertices, &links);
        let largest = layout.frames.iter().max_by_key(|frame| frame.members.len()).unwrap();
        assert!(largest.members.len() >= 20 && largest.rect.size.height < 700, "{largest:?}");
        assert!(layout.size.width < 3_600 && layout.size.height < 2_400, "{:?}", layout.size);
        assert!(layout.strands.len() < links.len(), "{}", layout.strands.len());
    }

    #[test]
    fn a_tall_rank_becomes_several_columns() {
        let mut links = Vec::new();
        let size = Size { width: 120, height: 26 };
        let mut vertices = vec![Vertex { size, rank: 0 }; 3];
        for nth in 0..200 {
            vertices.push(Vertex { size, rank: 1 });
            let from = nth % 3;
            links.push(Link { from, to: 3 + nth, tie: Tie::Firm });
            links.push(Link { from: (from + 1 + nth % 2) % 3, to: 3 + nth, tie: Tie::Loose });
            // No two stand on the same, so that none can share a frame.
            vertices.push(Vertex { size, rank: 0 });
            links.push(Link { from: vertices.len() - 1, to: 3 + nth, tie: Tie::Outside });
        }
        links.retain(|link| vertices[link.from].rank < vertices[link.to].rank);
        let layout = layout(&vertices, &links);
        assert!(layout.size.height < 3 * layout.size.width, "{:?}", layout.size);
    }

    #[test]
    fn lines_beyond_the_bound_on_trunks_still_arrive() {
        let vertex = |rank| Vertex { size: Size { width: 40, height: 26 }, rank };
        let vertices: Vec<Vertex> = (0..600).map(vertex).collect();
        let link = |from, to| Link { from, to, tie: Tie::Firm };
        let mut links: Vec<Link> = (1..600).map(|to| link(to - 1, to)).collect();
        links.extend((0..500).map(|from| link(from, 599)));
        let layout = layout(&vertices, &links);
        let last = layout.boxes[599];
        let arrivals = layout.strands.iter().filter(|it| it.arrives && it.end.x == last.at.x);
        assert_eq!(arrivals.count(), 501);
        assert!(layout.strands.len() <= TRUNKS + links.len());
    }

    #[test]
    fn ten_thousand_images_are_laid_out_however_they_hang_together() {
        let deep = random(1, 10_000, 3);
        let mut wide = chain(1);
        let leaf = |nth: usize| {
            chain(2)
                .nodes
                .pop()
                .map(|node| crate::graph::Node { name: format!("leaf-{nth}"), ..node })
        };
        wide.nodes.extend((0..10_000).filter_map(leaf));
        for graph in [deep, wide, chain(10_000)] {
            let (vertices, links) = input(&graph);
            assert_eq!(layout(&vertices, &links).boxes.len(), vertices.len());
        }
    }
}
