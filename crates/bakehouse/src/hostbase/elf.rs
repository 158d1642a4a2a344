//! What a program says about itself: its loader, its libraries, where it wants them sought.
//!
//! Reads only the parts that the kernel and the loader read (program headers, the dynamic
//! segment), so a program whose section headers were stripped is no obstacle.

use std::ops::ControlFlow;

use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, StringTable};
use thiserror::Error;

/// A program or a library, as far as its loader cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elf {
    /// The loader, for a program that is dynamically linked.
    pub(crate) interpreter: Option<String>,
    /// Libraries by name, in the order of its own list.
    pub(crate) needed: Vec<String>,
    /// Where to look first, for it and for what it loads; void where it has a `runpath`.
    pub(crate) rpath: Vec<String>,
    /// Where to look first, for it alone.
    pub(crate) runpath: Vec<String>,
    /// Width and machine: libraries of another kind are passed over.
    pub(crate) kind: (u8, u16),
}

/// Bytes that are not a program or a library.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ElfError {
    /// They are something else, a script for example.
    #[error("it is not an ELF file")]
    NotElf,
    /// They begin like one and break off, or contradict themselves.
    #[error("its ELF headers are broken")]
    Broken(#[from] object::Error),
}

/// Reads what `data` says about itself.
pub(crate) fn parse(data: &[u8]) -> Result<Elf, ElfError> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => read(elf::FileHeader32::<Endianness>::parse(data)?, data),
        Ok(FileKind::Elf64) => read(elf::FileHeader64::<Endianness>::parse(data)?, data),
        _ => Err(ElfError::NotElf),
    }
}

fn read<H: FileHeader<Endian = Endianness>>(header: &H, data: &[u8]) -> Result<Elf, ElfError> {
    let endian = header.endian()?;
    let mut found =
        Elf { kind: (header.e_ident().class.0, header.e_machine(endian).0), ..Elf::default() };
    let segments = header.program_headers(endian, data)?;
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            found.interpreter = Some(text(path));
        }
        if let Some(table) = segment.dynamic(endian, data)? {
            let strings = string_table::<H>(endian, data, segments, table);
            for entry in table {
                if read_entry::<H>(&mut found, endian, entry, strings)?.is_break() {
                    break;
                }
            }
        }
    }
    if !found.runpath.is_empty() {
        found.rpath.clear();
    }
    Ok(found)
}

/// The strings that the dynamic entries point into; empty where the file has none.
fn string_table<'data, H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    data: &'data [u8],
    segments: &[H::ProgramHeader],
    table: &[H::Dyn],
) -> StringTable<'data> {
    let value = |tag: elf::DynamicTag| {
        let entry = table.iter().find(|entry| entry.tag(endian) == tag)?;
        Some(entry.d_val(endian).into())
    };
    let range = || {
        let (address, size) = (value(elf::DT_STRTAB)?, value(elf::DT_STRSZ)?);
        segments.iter().find_map(|s| s.data_range(endian, data, address, size).ok().flatten())
    };
    range()
        .map_or_else(StringTable::default, |bytes| StringTable::new(bytes, 0, bytes.len() as u64))
}

fn read_entry<H: FileHeader<Endian = Endianness>>(
    found: &mut Elf,
    endian: Endianness,
    entry: &H::Dyn,
    strings: StringTable<'_>,
) -> Result<ControlFlow<()>, ElfError> {
    let string = || entry.string(endian, strings).map(text);
    match entry.tag(endian) {
        elf::DT_NULL => return Ok(ControlFlow::Break(())),
        elf::DT_NEEDED => found.needed.push(string()?),
        elf::DT_RPATH => found.rpath = folders(&string()?),
        elf::DT_RUNPATH => found.runpath = folders(&string()?),
        _ => {}
    }
    Ok(ControlFlow::Continue(()))
}

fn folders(list: &str) -> Vec<String> {
    list.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_very_program_names_its_loader_and_its_libraries() {
        let own = parse(&std::fs::read("/proc/self/exe").unwrap()).unwrap();
        if own.interpreter.is_some() {
            assert!(!own.needed.is_empty());
            assert!(own.needed.iter().all(|name| name.contains("so") || name.contains("libc")));
        }
    }

    #[test]
    fn what_is_no_program_is_refused_and_never_a_panic() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        assert!(matches!(parse(b""), Err(ElfError::NotElf)));
        assert!(matches!(parse(b"#!/bin/sh\n"), Err(ElfError::NotElf)));
        for cut in [16, 40, 63, 64, 100, 600, 4096] {
            match parse(&whole[..cut]) {
                Ok(read) => assert_eq!(read.needed, Vec::<String>::new(), "cut at {cut}"),
                Err(ElfError::Broken(_) | ElfError::NotElf) => {}
            }
        }
    }

    #[test]
    fn empty_folders_in_a_search_path_are_dropped() {
        assert_eq!(folders("$ORIGIN/../lib::/opt/lib:"), ["$ORIGIN/../lib", "/opt/lib"]);
    }
}
