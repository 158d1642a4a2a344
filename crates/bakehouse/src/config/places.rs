//! From an offset in a text to the line and the column that an editor shows.

use bakehouse_model::Location;

/// Where the lines of a file begin. A look-up costs a binary search, however long a line is.
#[derive(Debug)]
pub(super) struct Places<'a> {
    file: &'a str,
    /// Offsets of the first byte of each line.
    starts: Vec<usize>,
    /// Offsets of the bytes that continue a character and so are no column of their own.
    inner: Vec<usize>,
}

impl<'a> Places<'a> {
    pub(super) fn new(file: &'a str, text: &[u8]) -> Self {
        let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let inner = text.iter().enumerate().filter(|(_, byte)| **byte & 0xc0 == 0x80);
        Self { file, starts, inner: inner.map(|(at, _)| at).collect() }
    }

    /// The place of the byte at `offset`; behind the end, where the next one would be.
    pub(super) fn at(&self, offset: usize) -> Location {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts[line - 1];
        let before = |end: usize| self.inner.partition_point(|at| *at < end);
        let column = offset - start - (before(offset) - before(start)) + 1;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Location::new(self.file, number(line), number(column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_with_a_line_feed() {
        let text = "ab\r\nü€x\n\n";
        let places = Places::new("f", text.as_bytes());
        let cases = [
            (0, (1, 1)),
            (1, (1, 2)),
            (4, (2, 1)),
            (6, (2, 2)),
            (9, (2, 3)),
            (11, (3, 1)),
            (12, (4, 1)),
            (99, (4, 88)),
        ];
        for (offset, (line, column)) in cases {
            assert_eq!(places.at(offset), Location::new("f", line, column), "{offset}");
        }
        assert_eq!(Places::new("f", b"").at(0), Location::new("f", 1, 1));
    }
}
