//! Files with holes, in the four ways that GNU tar has written them.
//!
//! Holes are expanded: whoever reads an entry sees zeros. Layers do not have holes, and
//! nothing here makes any.

use super::BLOCK;

/// Where the stored bytes of a file belong.
#[derive(Debug)]
pub(super) struct Holes {
    /// Offset and length of what is stored, in order and apart.
    segments: Vec<(u64, u64)>,
    /// The first of them that is not behind `place`.
    at: usize,
    place: u64,
    size: u64,
}

impl Holes {
    /// Checks that the segments fit into `size` bytes and are `stored` bytes long in all.
    pub(super) fn new(segments: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, ()> {
        let mut end = 0;
        let mut total = 0_u64;
        for &(offset, length) in &segments {
            if offset < end {
                return Err(());
            }
            end = offset.checked_add(length).ok_or(())?;
            total = total.checked_add(length).ok_or(())?;
        }
        if end > size || total != stored {
            return Err(());
        }
        Ok(Self { segments, at: 0, place: 0, size })
    }

    /// Length of the whole file.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What comes next, at most `room` bytes of it: so many zeros, else so many bytes that
    /// are stored. Neither at the end.
    pub(super) fn next(&mut self, room: usize) -> (usize, usize) {
        let fit = |length: u64| room.min(usize::try_from(length).unwrap_or(usize::MAX));
        while let Some(&(offset, length)) = self.segments.get(self.at) {
            if self.place < offset {
                return (fit(offset - self.place), 0);
            }
            if self.place < offset + length {
                return (0, fit(offset + length - self.place));
            }
            self.at += 1;
        }
        (fit(self.size - self.place), 0)
    }

    /// `bytes` of what [`Self::next`] said have been taken.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.place += bytes as u64;
    }
}

/// What PAX records say about holes; formats 0.0, 0.1 and 1.0.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    size: Option<u64>,
    offset: Option<u64>,
    segments: Vec<(u64, u64)>,
    /// The map of format 1.0, which is in front of the content.
    text: Vec<u8>,
    /// Where its complete lines end.
    numbers: Vec<u64>,
    scanned: usize,
}

impl Map {
    /// Takes the record `GNU.sparse.<key>`.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), ()> {
        let number = || parse(value);
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"major" => self.major = Some(number()?),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"offset" => self.offset = Some(number()?),
            b"numbytes" => self.segments.push((self.offset.take().ok_or(())?, number()?)),
            b"map" => {
                let numbers = value.split(|&byte| byte == b',').map(parse);
                self.segments = pairs(&numbers.collect::<Result<Vec<_>, _>>()?)?;
            }
            // `minor` and `numblocks` say nothing that is not known otherwise.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.size.is_some()
    }

    /// Whether the map is in front of the content: format 1.0.
    pub(super) fn in_content(&self) -> bool {
        self.major == Some(1)
    }

    /// How many bytes the map in the content has at least, if that is more than it was fed.
    pub(super) fn wants(&mut self) -> Result<Option<u64>, ()> {
        while let Some(end) = self.text[self.scanned..].iter().position(|&byte| byte == b'\n') {
            if self.complete() {
                return Ok(None);
            }
            self.numbers.push(parse(&self.text[self.scanned..self.scanned + end])?);
            self.scanned += end + 1;
        }
        if self.complete() {
            return Ok(None);
        }
        Ok(Some((self.text.len() + BLOCK) as u64))
    }

    fn complete(&self) -> bool {
        self.numbers.first().is_some_and(|&count| {
            count.checked_mul(2).is_some_and(|count| self.numbers.len() as u64 > count)
        })
    }

    pub(super) fn feed(&mut self, block: &[u8; BLOCK]) {
        self.text.extend_from_slice(block);
    }

    /// The holes of a file of which `stored` bytes are in the archive.
    pub(super) fn finish(mut self, stored: u64) -> Result<Holes, ()> {
        if self.in_content() {
            self.segments = pairs(self.numbers.get(1..).ok_or(())?)?;
        }
        Holes::new(self.segments, self.size.ok_or(())?, stored)
    }
}

fn parse(text: &[u8]) -> Result<u64, ()> {
    std::str::from_utf8(text).map_err(drop)?.parse().map_err(drop)
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, ()> {
    let pairs = numbers.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(());
    }
    Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
}
