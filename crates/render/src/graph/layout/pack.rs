//! Parts on shelves: side by side until a shelf is full, the highest first.

use super::{Point, Size};

const GAP: i64 = 36;

/// The size of the whole, and the upper left corner of each tile.
pub(super) fn pack(tiles: &[Size]) -> (Size, Vec<Point>) {
    let areas = tiles.iter().map(|tile| (tile.width + GAP) * (tile.height + GAP));
    let about = (areas.sum::<i64>() * 3 / 2).isqrt();
    let widest = tiles.iter().map(|tile| tile.width).max().unwrap_or(0);
    let shelf = widest.max(about);
    let mut order: Vec<usize> = (0..tiles.len()).collect();
    order.sort_by_key(|&tile| std::cmp::Reverse(tiles[tile].height));
    let mut corners = vec![Point::default(); tiles.len()];
    let mut size = Size::default();
    let mut at = Point::default();
    for tile in order {
        let Size { width, height } = tiles[tile];
        if at.x > 0 && at.x + width > shelf {
            at = Point { x: 0, y: size.height + GAP };
        }
        corners[tile] = at;
        size.width = size.width.max(at.x + width);
        size.height = size.height.max(at.y + height);
        at.x += width + GAP;
    }
    (size, corners)
}
