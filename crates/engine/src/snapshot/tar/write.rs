//! Writing archives, byte for byte the same for the same entries.
//!
//! Headers are POSIX `ustar` ones. A PAX record is added only for what does not fit there:
//! names longer than 100 bytes or not ASCII, large numbers, fractions of seconds, extended
//! attributes. Names are never split into prefix and rest, and names of users are empty, as
//! containerd and BuildKit write layers.

use std::io::{self, Read, Write};

use super::{BLOCK, Entry, EntryKind, padding};

/// Largest number in a field of 8 bytes, and in one of 12.
const MAX_SMALL: u64 = 0o7_777_777;
const MAX_LARGE: u64 = 0o77_777_777_777;

/// Writes an archive.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// An archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, buffer: vec![0; 1 << 17] }
    }

    /// Adds an entry. `content` must have exactly `entry.size` bytes: fewer are an
    /// `UnexpectedEof`, and more are not looked at.
    pub fn append(&mut self, entry: &Entry, content: impl Read) -> io::Result<()> {
        let records = records(entry);
        if !records.is_empty() {
            let header = extended(entry, records.len() as u64);
            self.out.write_all(&header)?;
            self.out.write_all(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.out.write_all(&header(entry))?;
        self.copy(entry.size, content)?;
        self.pad(entry.size)
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn copy(&mut self, size: u64, mut content: impl Read) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match content.read(&mut self.buffer[..want]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.out.write_all(&self.buffer[..read])?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all(&[0; BLOCK][..padding(size)])
    }
}

fn fits(text: &[u8]) -> bool {
    text.len() <= 100 && text.is_ascii()
}

/// The PAX records of an entry, sorted by key.
fn records(entry: &Entry) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &[u8], value: Vec<u8>| records.push((key.to_vec(), value));
    if !fits(&entry.name) {
        add(b"path", entry.name.clone());
    }
    if let EntryKind::Link { target } | EntryKind::Symlink { target } = &entry.kind
        && !fits(target)
    {
        add(b"linkpath", target.clone());
    }
    if entry.size > MAX_LARGE {
        add(b"size", entry.size.to_string().into_bytes());
    }
    for (key, value) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
        if value > MAX_SMALL {
            add(key, value.to_string().into_bytes());
        }
    }
    let fits_header = u64::try_from(entry.mtime).is_ok_and(|mtime| mtime <= MAX_LARGE);
    if !fits_header || entry.mtime_nanos != 0 {
        add(b"mtime", time(entry.mtime, entry.mtime_nanos));
    }
    for (name, value) in &entry.xattrs {
        add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value.clone());
    }
    records.sort();
    let mut bytes = Vec::new();
    for (key, value) in &records {
        record(&mut bytes, key, value);
    }
    bytes
}

/// Seconds with as many digits of a fraction as needed.
fn time(seconds: i64, nanos: u32) -> Vec<u8> {
    if nanos == 0 {
        return seconds.to_string().into_bytes();
    }
    let (sign, whole, nanos) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanos),
        // A fraction always leads away from zero.
        _ => ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    let text = format!("{sign}{whole}.{nanos:09}");
    text.trim_end_matches('0').as_bytes().to_vec()
}

/// `length key=value\n`, where the length counts itself.
fn record(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    bytes.extend_from_slice(format!("{length} ").as_bytes());
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

fn header(entry: &Entry) -> [u8; BLOCK] {
    let (flag, link, device): (u8, &[u8], (u32, u32)) = match &entry.kind {
        EntryKind::File => (b'0', b"", (0, 0)),
        EntryKind::Link { target } => (b'1', target, (0, 0)),
        EntryKind::Symlink { target } => (b'2', target, (0, 0)),
        EntryKind::CharDevice { major, minor } => (b'3', b"", (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b'4', b"", (*major, *minor)),
        EntryKind::Directory => (b'5', b"", (0, 0)),
        EntryKind::Fifo => (b'6', b"", (0, 0)),
    };
    let mut block = [0; BLOCK];
    put_text(&mut block[0..100], &entry.name);
    put_number(&mut block[100..108], u64::from(entry.mode));
    put_number(&mut block[108..116], entry.uid);
    put_number(&mut block[116..124], entry.gid);
    put_number(&mut block[124..136], entry.size);
    put_number(&mut block[136..148], u64::try_from(entry.mtime).unwrap_or(u64::MAX));
    put_text(&mut block[157..257], link);
    put_number(&mut block[329..337], u64::from(device.0));
    put_number(&mut block[337..345], u64::from(device.1));
    seal(&mut block, flag);
    block
}

/// The header of the PAX records that come before an entry.
fn extended(entry: &Entry, size: u64) -> [u8; BLOCK] {
    let plain: Vec<u8> =
        entry.name.iter().copied().filter(|byte| byte.is_ascii_graphic()).collect();
    let trimmed = plain.strip_suffix(b"/").unwrap_or(&plain);
    let last = trimmed.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = [b"PaxHeaders.0/", &last[..last.len().min(80)]].concat();
    let mut block = [0; BLOCK];
    put_text(&mut block[0..100], &name);
    put_number(&mut block[124..136], size);
    for field in [100..108, 108..116, 116..124, 136..148] {
        put_number(&mut block[field], 0);
    }
    seal(&mut block, b'x');
    block
}

fn seal(block: &mut [u8; BLOCK], flag: u8) {
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    put_number(&mut block[148..155], u64::from(sum));
}

/// As much of `text` as fits; if that is not all of it, a PAX record has the rest.
fn put_text(field: &mut [u8], text: &[u8]) {
    if text.is_ascii() {
        let length = text.len().min(field.len());
        field[..length].copy_from_slice(&text[..length]);
        return;
    }
    for (place, byte) in field.iter_mut().zip(text.iter().filter(|byte| byte.is_ascii())) {
        *place = *byte;
    }
}

/// Octal digits and a NUL; zero for what does not fit, which is in a PAX record.
fn put_number(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let fits = number < 1_u64 << (3 * digits);
    let number = if fits { number } else { 0 };
    let text = format!("{number:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

#[cfg(test)]
mod tests {
    use super::super::TarReader;
    use super::*;

    fn entry(name: &str, kind: EntryKind) -> Entry {
        Entry {
            name: name.as_bytes().to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            mtime_nanos: 0,
            size: 0,
            xattrs: vec![],
        }
    }

    #[test]
    fn an_archive_of_nothing_is_two_empty_blocks() {
        assert_eq!(TarWriter::new(vec![]).finish().unwrap(), [0; 1024]);
    }

    #[test]
    fn what_fits_has_no_extended_header() {
        let mut writer = TarWriter::new(vec![]);
        let file = Entry { size: 3, ..entry("dir/file", EntryKind::File) };
        writer.append(&file, &b"abc"[..]).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len(), 4 * BLOCK);
        assert_eq!(&bytes[..8], b"dir/file");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!(&bytes[BLOCK..BLOCK + 4], b"abc\0");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let long = "d/".repeat(120) + "ende";
        let entries = [
            entry("plain", EntryKind::File),
            entry(&long, EntryKind::File),
            entry("grüße/", EntryKind::Directory),
            entry("l", EntryKind::Symlink { target: long.clone().into_bytes() }),
            entry("h", EntryKind::Link { target: b"plain".to_vec() }),
            entry("c", EntryKind::CharDevice { major: 250, minor: 70_000 }),
            entry("b", EntryKind::BlockDevice { major: 8, minor: 1 }),
            entry("p", EntryKind::Fifo),
            Entry { uid: 4_000_000_000, gid: 3_000_000, ..entry("big", EntryKind::File) },
            Entry { mtime: -5, ..entry("old", EntryKind::File) },
            Entry { mtime: -5, mtime_nanos: 900, ..entry("older", EntryKind::File) },
            Entry { mtime_nanos: 120_000_000, ..entry("exact", EntryKind::File) },
            Entry { mode: 0o7777, ..entry("bits", EntryKind::File) },
            Entry {
                xattrs: vec![
                    (b"security.capability".to_vec(), vec![0, 1, 2, b'\n', 0]),
                    (b"user.k".to_vec(), b"a=b".to_vec()),
                ],
                ..entry("attrs", EntryKind::File)
            },
        ];
        let mut writer = TarWriter::new(vec![]);
        for entry in &entries {
            writer.append(entry, io::empty()).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = TarReader::new(bytes.as_slice());
        for entry in entries {
            assert_eq!(reader.next_entry().unwrap(), Some(entry));
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn content_that_is_too_short_is_an_error() {
        let file = Entry { size: 10, ..entry("f", EntryKind::File) };
        let error = TarWriter::new(vec![]).append(&file, &b"abc"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
