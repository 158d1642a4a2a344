//! Reading archives, whoever wrote them.

use std::io::{self, Read};

use super::sparse::{Holes, Map};
use super::{BLOCK, Entry, EntryKind, MAX_EXTENDED, TarError, padding, text};

/// Reads an archive from front to back. After [`Self::next_entry`], reading from the reader
/// gives that entry's content.
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    /// Bytes of the source so far.
    offset: u64,
    /// Bytes of the present entry in the archive that are not read yet.
    left: u64,
    /// Bytes that fill its last block.
    padding: usize,
    /// Where the present entry's bytes belong, if it has holes.
    holes: Option<Holes>,
    done: bool,
}

/// What extended headers say about the entry that follows.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Map,
    /// Bytes of all extended headers of the entry.
    total: u64,
}

impl<R: Read> TarReader<R> {
    /// An archive that comes from `source`.
    pub fn new(source: R) -> Self {
        Self { source, offset: 0, left: 0, padding: 0, holes: None, done: false }
    }

    /// The source, wherever it is now.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next entry; none at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip()?;
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let size = number(&block[124..136]).ok_or_else(|| field(&block, "size"))?;
            match block[156] {
                b'x' => self.pax(size, &mut extended)?,
                b'L' => extended.path = Some(until_nul(&self.take(size, &mut extended)?)),
                b'K' => extended.link = Some(until_nul(&self.take(size, &mut extended)?)),
                // Global records are for whoever made the archive: pax's comment, git's commit.
                b'g' => drop(self.take(size, &mut extended)?),
                b'S' => {
                    let entry = self.entry(&block, extended, size)?;
                    return self.old_sparse(&block, entry).map(Some);
                }
                _ => return self.entry(&block, extended, size).map(Some),
            }
        }
    }

    /// Skips what is left of the present entry.
    fn skip(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        let mut left = self.left + self.padding as u64;
        while left > 0 {
            let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.fill(&mut buffer[..want])?;
            if read == 0 {
                return Err(TarError::Truncated);
            }
            left -= read as u64;
        }
        (self.left, self.padding, self.holes) = (0, 0, None);
        Ok(())
    }

    /// One read of the source, counted.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.source.read(buffer) {
                Ok(read) => {
                    self.offset += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next block; none if the source ends before it.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.fill(&mut block[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(TarError::Truncated),
                read => filled += read,
            }
        }
        Ok(Some(block))
    }

    /// The next header; none at the end, which is an empty block or the end of the source.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        if self.done {
            return Ok(None);
        }
        let offset = self.offset;
        let Some(block) = self.block()? else {
            self.done = true;
            return Ok(None);
        };
        if block.iter().all(|&byte| byte == 0) {
            self.done = true;
            return Ok(None);
        }
        if !has_checksum(&block) {
            return Err(TarError::Checksum { offset });
        }
        Ok(Some(block))
    }

    /// The content of an extended header, which is small or refused.
    fn take(&mut self, size: u64, extended: &mut Extended) -> Result<Vec<u8>, TarError> {
        extended.total = extended.total.saturating_add(size);
        if extended.total > MAX_EXTENDED {
            return Err(TarError::LongHeader { size: extended.total });
        }
        let mut bytes = vec![0; usize::try_from(size).expect("bounded above")];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.fill(&mut bytes[filled..])? {
                0 => return Err(TarError::Truncated),
                read => filled += read,
            }
        }
        self.padding = padding(size);
        self.skip()?;
        Ok(bytes)
    }

    fn pax(&mut self, size: u64, extended: &mut Extended) -> Result<(), TarError> {
        let bytes = self.take(size, extended)?;
        let bad = |field: &'static str| TarError::Field { name: "PaxHeaders".to_owned(), field };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or_else(|| bad("record"))?;
            rest = after;
            extended.set(key, value).map_err(bad)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        extended: Extended,
        size: u64,
    ) -> Result<Entry, TarError> {
        let bad = |name| field(block, name);
        let name = extended.path.clone().unwrap_or_else(|| name(block));
        let link = extended.link.clone().unwrap_or_else(|| until_nul(&block[157..257]));
        if name.contains(&0) || link.contains(&0) {
            return Err(bad("name"));
        }
        let stored = extended.size.unwrap_or(size);
        let kind = kind(block, &name, link)?;
        let has_content = kind == EntryKind::File;
        let (mtime, mtime_nanos) = match extended.mtime {
            Some(mtime) => mtime,
            None => (signed(&block[136..148]).ok_or_else(|| bad("time"))?, 0),
        };
        let mode = number(&block[100..108]).ok_or_else(|| bad("mode"))?;
        let or_field = |value: Option<u64>, range: std::ops::Range<usize>, name| {
            value.map_or_else(|| number(&block[range]).ok_or_else(|| bad(name)), Ok)
        };
        let mut entry = Entry {
            uid: or_field(extended.uid, 108..116, "owner")?,
            gid: or_field(extended.gid, 116..124, "group")?,
            mode: u32::try_from(mode & 0o7777).expect("12 bits"),
            mtime,
            mtime_nanos,
            size: if has_content { stored } else { 0 },
            xattrs: extended.xattrs,
            name,
            kind,
        };
        self.left = entry.size;
        self.padding = padding(entry.size);
        if has_content && extended.sparse.is_sparse() {
            self.sparse(&mut entry, extended.sparse)?;
        }
        Ok(entry)
    }

    /// A file whose holes PAX records describe.
    fn sparse(&mut self, entry: &mut Entry, mut map: Map) -> Result<(), TarError> {
        if let Some(name) = map.name.take() {
            entry.name = name;
        }
        let bad = |_| TarError::Field { name: text(&entry.name), field: "map of holes" };
        if map.in_content() {
            while let Some(more) = map.wants().map_err(bad)? {
                if more > self.left || more > MAX_EXTENDED {
                    return Err(bad(()));
                }
                let Some(block) = self.block()? else {
                    return Err(TarError::Truncated);
                };
                self.left -= BLOCK as u64;
                map.feed(&block);
            }
        }
        let holes = map.finish(self.left).map_err(bad)?;
        entry.size = holes.size();
        self.holes = Some(holes);
        Ok(())
    }

    /// A file whose holes an old GNU header describes.
    fn old_sparse(&mut self, block: &[u8; BLOCK], mut entry: Entry) -> Result<Entry, TarError> {
        let bad = || field(block, "map of holes");
        let mut segments = Vec::new();
        let real = number(&block[483..495]).ok_or_else(bad)?;
        gnu_segments(&block[386..482], &mut segments).ok_or_else(bad)?;
        let mut more = block[482] != 0;
        let mut blocks = 0;
        while more {
            blocks += 1;
            if blocks > MAX_EXTENDED / BLOCK as u64 {
                return Err(bad());
            }
            let next = self.block()?.ok_or(TarError::Truncated)?;
            gnu_segments(&next[..504], &mut segments).ok_or_else(bad)?;
            more = next[504] != 0;
        }
        let holes = Holes::new(segments, real, self.left).map_err(|()| bad())?;
        entry.size = holes.size();
        self.holes = Some(holes);
        Ok(entry)
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(holes) = &mut self.holes else {
            let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            return self.read_stored(want, buffer);
        };
        let (zeros, stored) = holes.next(buffer.len());
        if zeros > 0 {
            buffer[..zeros].fill(0);
            holes.advance(zeros);
            return Ok(zeros);
        }
        let read = self.read_stored(stored, buffer)?;
        if let Some(holes) = &mut self.holes {
            holes.advance(read);
        }
        Ok(read)
    }
}

impl<R: Read> TarReader<R> {
    fn read_stored(&mut self, want: usize, buffer: &mut [u8]) -> io::Result<usize> {
        if want == 0 {
            return Ok(0);
        }
        let read = self.fill(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, TarError::Truncated));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

impl Extended {
    /// Takes one PAX record; an error is the name of the field that is bad. An empty value
    /// takes back an earlier one.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let parsed = || -> Option<u64> { std::str::from_utf8(value).ok()?.parse().ok() };
        let count = |field: &'static str| match value {
            b"" => Ok(None),
            _ => parsed().map(Some).ok_or(field),
        };
        let string = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = string(),
            b"linkpath" => self.link = string(),
            b"size" => self.size = count("size")?,
            b"uid" => self.uid = count("owner")?,
            b"gid" => self.gid = count("group")?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value).ok_or("time")?),
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.retain(|(known, _)| known != name);
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.set(name, value).map_err(|()| "map of holes")?;
                }
            }
        }
        Ok(())
    }
}

fn field(block: &[u8; BLOCK], field: &'static str) -> TarError {
    TarError::Field { name: text(&name(block)), field }
}

fn kind(block: &[u8; BLOCK], name: &[u8], target: Vec<u8>) -> Result<EntryKind, TarError> {
    let device = |range: std::ops::Range<usize>| {
        number(&block[range])
            .and_then(|number| u32::try_from(number).ok())
            .ok_or_else(|| field(block, "device number"))
    };
    Ok(match block[156] {
        // Before POSIX, a slash at the end was how a directory was told.
        0 if name.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' | b'S' => EntryKind::File,
        b'1' => EntryKind::Link { target },
        b'2' => EntryKind::Symlink { target },
        b'3' => EntryKind::CharDevice { major: device(329..337)?, minor: device(337..345)? },
        b'4' => EntryKind::BlockDevice { major: device(329..337)?, minor: device(337..345)? },
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        flag => return Err(TarError::Kind { name: text(name), flag }),
    })
}

/// The name in the header itself.
fn name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_nul(&block[..100]);
    let posix = &block[257..263] == b"ustar\0";
    let prefix = until_nul(&block[345..500]);
    if !posix || prefix.is_empty() {
        return name;
    }
    [prefix.as_slice(), b"/", &name].concat()
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// A number that is not negative: octal digits between blanks, or base 256.
fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|number| u64::try_from(number).ok())
}

/// A number: octal digits between blanks, or base 256.
fn signed(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = i128::from(field[0] & 0x3f) - if negative { 0x40 } else { 0 };
        let value = field[1..].iter().try_fold(first, |value, &byte| {
            value.checked_mul(256)?.checked_add(i128::from(byte))
        })?;
        return i64::try_from(value).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(blank).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0_i64, |value, &byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Up to four, or 21, pairs of offset and length.
fn gnu_segments(fields: &[u8], segments: &mut Vec<(u64, u64)>) -> Option<()> {
    for pair in fields.chunks_exact(24).take_while(|pair| pair[0] != 0) {
        segments.push((number(&pair[..12])?, number(&pair[12..])?));
    }
    Some(())
}

/// Whether the sum in the header is right, counted as POSIX says or as old Suns did.
fn has_checksum(block: &[u8; BLOCK]) -> bool {
    let Some(stored) = signed(&block[148..156]) else {
        return false;
    };
    let blanked = block.iter().enumerate().map(|(place, &byte)| match place {
        148..156 => b' ',
        _ => byte,
    });
    let (plain, odd) = blanked.fold((0_i64, 0_i64), |(plain, odd), byte| {
        (plain + i64::from(byte), odd + i64::from(byte.cast_signed()))
    });
    stored == plain || stored == odd
}

/// The first of some PAX records: key, value and the rest.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    if length > bytes.len() || length < space + 3 {
        return None;
    }
    let line = bytes[space + 1..length].strip_suffix(b"\n")?;
    let equals = line.iter().position(|&byte| byte == b'=')?;
    Some((&line[..equals], &line[equals + 1..], &bytes[length..]))
}

/// Seconds with an optional fraction, as whole seconds and nanoseconds.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let digits = &fraction[..fraction.len().min(9)];
    let nanos: u32 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    let nanos = nanos * 10_u32.pow(9 - u32::try_from(digits.len()).ok()?);
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::super::TarWriter;
    use super::*;

    /// A header with other fields than ours have.
    fn header(name: &str, flag: u8, size: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
        let entry = Entry {
            name: name.as_bytes().to_vec(),
            kind: EntryKind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 7,
            mtime_nanos: 0,
            size: 0,
            xattrs: vec![],
        };
        let mut writer = TarWriter::new(vec![]);
        writer.append(&entry, io::empty()).unwrap();
        let mut block = writer.finish().unwrap();
        block.truncate(BLOCK);
        block[156] = flag;
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        for (place, bytes) in fields {
            block[*place..*place + bytes.len()].copy_from_slice(bytes);
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn padded(content: &[u8]) -> Vec<u8> {
        [content, &vec![0; padding(content.len() as u64)]].concat()
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let mut content = vec![];
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..).find(|n| *n == rest + n.to_string().len()).unwrap();
            content.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
        }
        [header("PaxHeaders.0/x", b'x', content.len(), &[]), padded(&content)].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
        let mut reader = TarReader::new(bytes);
        let mut entries = vec![];
        while let Some(entry) = reader.next_entry()? {
            let mut content = vec![];
            reader.read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, entry.size);
            entries.push((entry, content));
        }
        Ok(entries)
    }

    #[test]
    fn what_others_write_is_read_too() {
        let long = "long/".repeat(60);
        let gnu_name = [header("././@LongLink", b'L', long.len(), &[]), padded(long.as_bytes())];
        let gnu_link = [header("././@LongLink", b'K', long.len(), &[]), padded(long.as_bytes())];
        let link = EntryKind::Symlink { target: long.clone().into_bytes() };
        let plain = |name: &str, fields: &[(usize, &[u8])]| header(name, b'0', 0, fields);
        type Check = Box<dyn Fn(&Entry) -> bool>;
        let name = |name: &str| -> Check {
            let name = name.as_bytes().to_vec();
            Box::new(move |entry| entry.name == name)
        };
        let cases: Vec<(Vec<u8>, Check)> = vec![
            ([gnu_name.concat(), plain("x", &[])].concat(), name(&long)),
            (
                [gnu_link.concat(), header("x", b'2', 0, &[])].concat(),
                Box::new(move |entry| entry.kind == link),
            ),
            (plain("file", &[(345, b"prefix")]), name("prefix/file")),
            (plain("file", &[(257, b"ustar  \0"), (345, b"7777")]), name("file")),
            (
                header("old/", 0, 0, &[(257, &[0; 8])]),
                Box::new(|entry| entry.kind == EntryKind::Directory),
            ),
            (
                plain("u", &[(108, &[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0])]),
                Box::new(|entry| entry.uid == 4_000_000_000),
            ),
            (
                plain("t", &[(136, &[0xff; 12])]),
                Box::new(|entry| (entry.mtime, entry.mtime_nanos) == (-1, 0)),
            ),
            (plain("m", &[(100, b"   755 \0")]), Box::new(|entry| entry.mode == 0o755)),
            (
                [pax(&[("mtime", "12.25"), ("path", "p"), ("uid", "3")]), plain("x", &[])].concat(),
                Box::new(|entry| {
                    (entry.mtime, entry.mtime_nanos, entry.uid) == (12, 250_000_000, 3)
                        && entry.name == b"p"
                }),
            ),
            (
                [pax(&[("mtime", "-0.5")]), plain("x", &[])].concat(),
                Box::new(|entry| (entry.mtime, entry.mtime_nanos) == (-1, 500_000_000)),
            ),
            (
                [header("g", b'g', 0, &[]), pax(&[("path", "p"), ("path", "")]), plain("x", &[])]
                    .concat(),
                name("x"),
            ),
        ];
        for (number, (bytes, check)) in cases.into_iter().enumerate() {
            let entries = read(&bytes).unwrap();
            assert!(entries.len() == 1 && check(&entries[0].0), "{number}: {entries:?}");
        }
    }

    #[test]
    fn holes_are_zeros_in_every_format() {
        // Two bytes at 3 and three at 10, of 20 in all.
        let stored = b"abcde";
        let mut expected = vec![0; 20];
        expected[3..5].copy_from_slice(b"ab");
        expected[10..13].copy_from_slice(b"cde");
        let number = |number: u64| format!("{number:011o}\0").into_bytes();
        let map = [number(3), number(2), number(10), number(3)].concat();
        let real = number(20);
        let old = header("sparse", b'S', 5, &[(386, &map), (483, &real)]);
        let extended = header("sparse", b'S', 5, &[(386, &map[..24]), (482, &[1]), (483, &real)]);
        let zero = pax(&[
            ("GNU.sparse.size", "20"),
            ("GNU.sparse.offset", "3"),
            ("GNU.sparse.numbytes", "2"),
            ("GNU.sparse.offset", "10"),
            ("GNU.sparse.numbytes", "3"),
        ]);
        let one = pax(&[
            ("GNU.sparse.size", "20"),
            ("GNU.sparse.map", "3,2,10,3"),
            ("GNU.sparse.name", "sparse"),
        ]);
        let latest = pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.realsize", "20"),
            ("GNU.sparse.name", "sparse"),
        ]);
        let file = |size| header("sparse", b'0', size, &[]);
        let in_front = [padded(b"2\n3\n2\n10\n3\n"), padded(stored)].concat();
        let next = header("next", b'0', 0, &[]);
        let cases = [
            [old, padded(stored)].concat(),
            [extended, padded(&map[24..]), padded(stored)].concat(),
            [zero, file(5), padded(stored)].concat(),
            [one, file(5), padded(stored)].concat(),
            [latest, file(BLOCK + 5), in_front].concat(),
        ];
        for (number, bytes) in cases.iter().enumerate() {
            let entries = read(&[bytes.as_slice(), &next].concat()).unwrap();
            assert_eq!(entries.len(), 2, "{number}");
            assert_eq!((&*entries[0].0.name, &entries[0].1), (&b"sparse"[..], &expected));
            assert_eq!(entries[1].0.name, b"next", "{number}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_that_names_it() {
        let file = |fields: &[(usize, &[u8])]| header("f", b'0', 0, fields);
        let with = |records: &[(&str, &str)]| [pax(records), file(&[])].concat();
        let cases = [
            (file(&[(124, b"99999999999\0")]), "the header of `f` has a bad size"),
            (file(&[(124, &[0xff; 12])]), "the header of `f` has a bad size"),
            (header("f", b'V', 0, &[]), "entry `f` has the unknown type `V`"),
            (with(&[("path", "a\0b")]), "the header of `f` has a bad name"),
            (with(&[("size", "-1")]), "the header of `PaxHeaders` has a bad size"),
            (with(&[("mtime", "x")]), "the header of `PaxHeaders` has a bad time"),
            (
                with(&[("GNU.sparse.size", "5"), ("GNU.sparse.map", "9,9")]),
                "the header of `f` has a bad map of holes",
            ),
            (vec![1; BLOCK], "the header at byte 0 has a wrong checksum"),
            (vec![0; 100], "the archive ends in the middle of an entry"),
        ];
        for (bytes, message) in cases {
            assert_eq!(read(&bytes).unwrap_err().to_string(), message);
        }
    }
}
