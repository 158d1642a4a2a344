//! Reads tar archives of other programs: ustar, GNU long names and numbers, PAX.
//!
//! A reader for untrusted input: headers are checked, extensions are small or refused,
//! and no size in a header decides how much memory is used.

use std::io::{self, Read};

use super::archive::ArchiveError;
use super::entry::{Stamp, shown};
use super::xattr::Xattr;

const BLOCK: usize = 512;
/// Longer names and PAX headers than this are refused.
const MAX_EXTENSION: u64 = 1 << 20;
const XATTR_KEY: &[u8] = b"SCHILY.xattr.";
const SPARSE_KEY: &[u8] = b"GNU.sparse.";

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// An entry, extensions included.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Stamp,
    pub(super) device: (u32, u32),
    pub(super) xattrs: Vec<Xattr>,
}

/// A tar that is read from front to back.
pub(super) struct Archive<R> {
    reader: R,
    /// Data of the current entry that was not read yet.
    data: u64,
    padding: u64,
}

/// What extensions say of the next entry.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Stamp>,
    xattrs: Vec<Xattr>,
    /// The data is a map of holes and what lies between them.
    sparse: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, data: 0, padding: 0 }
    }

    /// The next entry; none at the end. What was not read of the last one is skipped.
    pub(super) fn next(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut extended = Extended::default();
        loop {
            self.skip(self.data.saturating_add(self.padding))?;
            (self.data, self.padding) = (0, 0);
            let Some(block) = self.block()? else { return Ok(None) };
            let size = number(&block[124..136])?;
            self.begin(size);
            match block[156] {
                b'L' => extended.path = Some(text(&self.extension()?).to_vec()),
                b'K' => extended.link = Some(text(&self.extension()?).to_vec()),
                b'x' => extended.read(&self.extension()?)?,
                // Global headers speak of nothing that is kept.
                b'g' => {}
                _ => {
                    if let Some(size) = extended.size {
                        self.begin(size);
                    }
                    return self.header(&block, extended).map(Some);
                }
            }
        }
    }

    /// The data of the current entry.
    pub(super) fn data(&mut self) -> Data<'_, R> {
        Data { archive: self }
    }

    fn begin(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The next header's block; none where the archive ends, with or without a mark.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(ArchiveError::Damaged { what: "it ends in a header" }),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if block.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let stored = number(&block[148..156])?;
        let sum = |signed: bool| -> i64 {
            let bytes = block.iter().enumerate();
            bytes
                .map(|(at, &b)| match at {
                    148..156 => i64::from(b' '),
                    _ if signed => i64::from(b.cast_signed()),
                    _ => i64::from(b),
                })
                .sum()
        };
        if i64::try_from(stored).is_ok_and(|stored| stored == sum(false) || stored == sum(true)) {
            Ok(Some(block))
        } else {
            Err(ArchiveError::Damaged { what: "a header's checksum is wrong" })
        }
    }

    fn extension(&mut self) -> Result<Vec<u8>, ArchiveError> {
        if self.data > MAX_EXTENSION {
            return Err(ArchiveError::Damaged { what: "an extended header is too long" });
        }
        let mut bytes = Vec::new();
        self.data().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), ArchiveError> {
        let skipped = io::copy(&mut (&mut self.reader).take(length), &mut io::sink())?;
        if skipped == length {
            Ok(())
        } else {
            Err(ArchiveError::Damaged { what: "it ends in an entry" })
        }
    }

    fn header(&mut self, block: &[u8; BLOCK], extended: Extended) -> Result<Header, ArchiveError> {
        let path = extended.path.unwrap_or_else(|| long_name(block));
        let kind = match block[156] {
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => {
                return Err(ArchiveError::Kind { path: shown(&path), kind: char::from(other) });
            }
        };
        if extended.sparse {
            return Err(ArchiveError::Kind { path: shown(&path), kind: 'S' });
        }
        // Some programs give a size to what has no data.
        if kind != Kind::File {
            self.begin(0);
        }
        let small = |range| number(range).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        Ok(Header {
            link: extended.link.unwrap_or_else(|| text(&block[157..257]).to_vec()),
            kind,
            mode: small(&block[100..108])? & 0o7777,
            uid: extended.uid.map_or_else(|| small(&block[108..116]), Ok)?,
            gid: extended.gid.map_or_else(|| small(&block[116..124]), Ok)?,
            mtime: extended.mtime.map_or_else(|| time(&block[136..148]), Ok)?,
            device: (small(&block[329..337])?, small(&block[337..345])?),
            xattrs: extended.xattrs,
            path,
        })
    }
}

/// Reads the data of an entry.
pub(super) struct Data<'d, R> {
    archive: &'d mut Archive<R>,
}

impl<R: Read> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (&mut self.archive.reader).take(self.archive.data).read(buffer)?;
        if length == 0 && self.archive.data > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.archive.data -= length as u64;
        Ok(length)
    }
}

impl Extended {
    /// Reads PAX records: `length key=value`, each with a line's end.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), ArchiveError> {
        const BAD: ArchiveError = ArchiveError::Damaged { what: "a PAX record is malformed" };
        while !bytes.is_empty() {
            let space = bytes.iter().position(|&b| b == b' ').ok_or(BAD)?;
            let length: usize = parse(&bytes[..space]).ok_or(BAD)?;
            let (record, rest) = bytes.split_at_checked(length).ok_or(BAD)?;
            let record = record.get(space + 1..).and_then(|r| r.strip_suffix(b"\n")).ok_or(BAD)?;
            let equals = record.iter().position(|&b| b == b'=').ok_or(BAD)?;
            self.set(&record[..equals], &record[equals + 1..]).ok_or(BAD)?;
            bytes = rest;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(parse(value)?),
            b"uid" => self.uid = Some(parse(value)?),
            b"gid" => self.gid = Some(parse(value)?),
            b"mtime" => self.mtime = Some(fraction(value)?),
            _ => {
                self.sparse |= key.starts_with(SPARSE_KEY);
                if let Some(name) = key.strip_prefix(XATTR_KEY) {
                    self.xattrs.push((name.to_vec(), value.to_vec()));
                }
            }
        }
        Some(())
    }
}

/// The bytes up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// The name, with the prefix that POSIX adds to it.
fn long_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    let is_posix = &block[257..263] == b"ustar\0";
    if is_posix && !prefix.is_empty() { [prefix, name].join(&b'/') } else { name.to_vec() }
}

/// A number in octal, or in GNU's binary form.
fn number(field: &[u8]) -> Result<u64, ArchiveError> {
    const BAD: ArchiveError = ArchiveError::Damaged { what: "a number is malformed" };
    if field[0] & 0x80 != 0 {
        let bytes = field.iter().enumerate();
        return bytes
            .map(|(at, &b)| if at == 0 { b & 0x7f } else { b })
            .try_fold(0_u64, |n, b| n.checked_mul(256).map(|n| n + u64::from(b)).ok_or(BAD));
    }
    let digits = text(field).trim_ascii();
    if digits.is_empty() {
        return Ok(0);
    }
    std::str::from_utf8(digits).ok().and_then(|s| u64::from_str_radix(s, 8).ok()).ok_or(BAD)
}

fn time(field: &[u8]) -> Result<Stamp, ArchiveError> {
    // Binary and negative: before 1970.
    if field[0] == 0xff {
        return Ok(Stamp { secs: 0, nanos: 0 });
    }
    Ok(Stamp { secs: i64::try_from(number(field)?).unwrap_or(0), nanos: 0 })
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Seconds with a decimal fraction; what is before 1970 is 1970.
fn fraction(value: &[u8]) -> Option<Stamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (secs, digits) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = secs.parse().ok()?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = nanos.fold(0_u32, |n, digit| n * 10 + u32::from(digit - b'0'));
    Some(if secs < 0 { Stamp { secs: 0, nanos: 0 } } else { Stamp { secs, nanos } })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> Result<usize, ArchiveError> {
        let mut archive = Archive::new(bytes);
        let mut entries = 0;
        while archive.next()?.is_some() {
            io::copy(&mut archive.data().take(1 << 20), &mut io::sink())?;
            entries += 1;
        }
        Ok(entries)
    }

    /// A header with a checksum that holds, whatever else is in it.
    fn sealed(mut block: Vec<u8>) -> Vec<u8> {
        block.resize(BLOCK, 0);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    #[test]
    fn numbers_are_octal_or_binary_and_anything_else_is_damage() {
        let cases: [(&[u8], Option<u64>); 7] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", Some(u64::MAX)),
            (b"\x80\0\x01\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"12x\0", None),
        ];
        for (field, expected) in cases {
            assert_eq!(number(field).ok(), expected, "{field:?}");
        }
    }

    #[test]
    fn times_have_nanoseconds_and_begin_in_1970() {
        let cases = [
            ("12.5", Some((12, 500_000_000))),
            ("12", Some((12, 0))),
            ("12.1234567891", Some((12, 123_456_789))),
            ("-3.5", Some((0, 0))),
            ("x", None),
            ("1.x", None),
        ];
        for (text, expected) in cases {
            let found = fraction(text.as_bytes()).map(|stamp| (stamp.secs, stamp.nanos));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused_without_reading_it() {
        let mut block = vec![0; BLOCK];
        block[0] = b'f';
        block[124..136].copy_from_slice(&[0x80, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
        for kind in [b'0', b'x', b'L'] {
            block[156] = kind;
            assert!(read_all(&sealed(block.clone())).is_err(), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            block in prop::collection::vec(any::<u8>(), 0..600),
            kind in prop::sample::select(b"0125xgLK7S".to_vec()),
            data in prop::collection::vec(any::<u8>(), 0..2000),
        ) {
            // An error is as good as an end: only a panic fails this.
            let _end = read_all(&block);
            let mut header = block;
            header.resize(BLOCK, 0);
            header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
            header[156] = kind;
            let mut bytes = sealed(header);
            bytes.extend_from_slice(&data);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
            let _end = read_all(&bytes);
        }

        #[test]
        fn records_are_read_back_as_they_were_written(
            key in "[a-z]{1,8}", value in "[ -~]{0,40}",
        ) {
            let body = format!(" SCHILY.xattr.{key}={value}\n");
            let length = (body.len()..).find(|n| n.to_string().len() + body.len() == *n);
            let mut extended = Extended::default();
            extended.read(format!("{}{body}", length.unwrap()).as_bytes()).unwrap();
            prop_assert_eq!(extended.xattrs, vec![(key.into_bytes(), value.into_bytes())]);
        }
    }
}
