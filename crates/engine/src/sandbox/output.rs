//! What a step writes, cut into lines.

use bakehouse_model::Stream;

/// Bytes of a line after which it is cut.
const LINE_LIMIT: usize = 64 * 1024;

/// Bytes of a step's output after which the rest is thrown away.
const STEP_LIMIT: usize = 2 * 1024 * 1024;

/// Said once when output is thrown away; BuildKit's words.
const CLIPPED: &[u8] = b"[output clipped, log limit 2MiB reached]";

/// Cuts two streams into lines and clips them together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    taken: usize,
    clipped: bool,
}

impl Lines {
    /// Takes bytes of a stream and gives the lines they complete, without their ends.
    pub(super) fn push(
        &mut self,
        stream: Stream,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Stream, &[u8]),
    ) {
        if self.clipped {
            return;
        }
        let room = STEP_LIMIT - self.taken;
        let clip = bytes.len() > room;
        if clip {
            bytes = &bytes[..room];
        }
        self.taken += bytes.len();
        let pending = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = piece.ends_with(b"\n");
            let mut piece = if whole { &piece[..piece.len() - 1] } else { piece };
            while pending.len() + piece.len() > LINE_LIMIT {
                let (head, tail) = piece.split_at(LINE_LIMIT - pending.len());
                pending.extend_from_slice(head);
                sink(stream, visible(pending));
                pending.clear();
                piece = tail;
            }
            pending.extend_from_slice(piece);
            if whole {
                sink(stream, visible(pending));
                pending.clear();
            }
        }
        if clip {
            self.finish(sink);
            self.clipped = true;
            sink(Stream::Stderr, CLIPPED);
        }
    }

    /// Gives what is left of both streams.
    pub(super) fn finish(&mut self, sink: &mut dyn FnMut(Stream, &[u8])) {
        for (stream, pending) in
            [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)]
        {
            if !pending.is_empty() {
                sink(stream, visible(pending));
                pending.clear();
            }
        }
    }
}

/// What a terminal would show of a line: of parts between carriage returns, the last one
/// that has anything in it.
fn visible(line: &[u8]) -> &[u8] {
    line.rsplit(|byte| *byte == b'\r').find(|part| !part.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(writes: &[(Stream, &[u8])]) -> Vec<(Stream, Vec<u8>)> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        let mut sink = |stream, line: &[u8]| seen.push((stream, line.to_vec()));
        for (stream, bytes) in writes {
            lines.push(*stream, bytes, &mut sink);
        }
        lines.finish(&mut sink);
        seen
    }

    #[test]
    fn lines_are_whole_whatever_the_writes() {
        use Stream::{Stderr, Stdout};
        type Pieces<'a> = &'a [(Stream, &'a [u8])];
        let cases: &[(Pieces<'_>, Pieces<'_>)] = &[
            (&[(Stdout, b"a\nb\n")], &[(Stdout, b"a"), (Stdout, b"b")]),
            (
                &[(Stdout, b"a"), (Stderr, b"x\n"), (Stdout, b"b\n")],
                &[(Stderr, b"x"), (Stdout, b"ab")],
            ),
            (&[(Stdout, b"end")], &[(Stdout, b"end")]),
            (&[(Stdout, b"\n\n")], &[(Stdout, b""), (Stdout, b"")]),
            (&[(Stdout, b"dos\r\n")], &[(Stdout, b"dos")]),
            (&[(Stdout, b"1%\r50%\r100%\n")], &[(Stdout, b"100%")]),
            (&[(Stdout, b"\xff\xfe\n")], &[(Stdout, b"\xff\xfe")]),
        ];
        for (writes, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(s, l)| (*s, l.to_vec())).collect();
            assert_eq!(lines_of(writes), expected);
        }
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let long = vec![b'x'; 150_000];
        let sizes: Vec<usize> =
            lines_of(&[(Stream::Stdout, &long)]).iter().map(|(_, line)| line.len()).collect();
        assert_eq!(sizes, [65_536, 65_536, 18_928]);
    }

    #[test]
    fn output_is_clipped_once() {
        let line = [vec![b'x'; 1023], vec![b'\n']].concat();
        let writes: Vec<(Stream, &[u8])> = (0..3000).map(|_| (Stream::Stdout, &line[..])).collect();
        let seen = lines_of(&writes);
        assert_eq!(seen.len(), 2048 + 1);
        assert_eq!(seen[2048].1, CLIPPED);
    }
}
