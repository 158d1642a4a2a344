//! Copies what is no directory.

use std::fs::File;
use std::io::{Read as _, Write as _};

use rustix::fs::FileType;

use super::{Copier, Visit};
use crate::files::FilesError;
use crate::files::entry::{Meta, shown};
use crate::files::tree::{Tree, TreeError};

const COPY_BUFFER: usize = 512 * 1024;

impl Copier<'_, '_> {
    /// Copies a file, a link or a device to where nothing is.
    pub(super) fn leaf(&mut self, at: &Visit) -> Result<(), FilesError> {
        let meta = at.entry.meta;
        let target = self.session.target;
        let mut read_as = meta;
        match meta.kind {
            FileType::RegularFile => {
                let key = (meta.dev, meta.ino);
                let first = self.first_names.get(&key).filter(|_| meta.links > 1);
                if let Some(first) = first {
                    target.hard_link(first, &at.dest)?;
                } else {
                    if meta.links > 1 {
                        self.first_names.insert(key, at.dest.clone());
                    }
                    if !target.refer(self.source, &at.src, &meta, &at.dest)? {
                        read_as = self.file(at)?;
                    }
                }
            }
            FileType::Symlink => {
                target.make_link(&at.dest, at.entry.link.as_deref().unwrap_or_default())?;
            }
            FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
                target.make_node(&at.dest, meta.kind, meta.rdev)?;
            }
            // A socket means nothing without whoever listens: an empty file marks it.
            _ => drop(target.create(&at.dest)?),
        }
        self.session.stats.files += 1;
        self.set_attributes(&at.src, &at.dest, &read_as)
    }

    /// Copies the data of a file. The size is that of what was read, whatever happens to
    /// the source meanwhile.
    fn file(&mut self, at: &Visit) -> Result<Meta, FilesError> {
        let (mut from, opened) = self.source.open(&at.src)?;
        let mut to = self.session.target.create(&at.dest)?;
        if !self.clone(&from, &to, &opened) {
            self.session.stats.bytes += self.data(at, &mut from, &mut to)?;
        }
        // Only now: it may have changed between the first byte and the last.
        if matches!(self.source, Tree::Context(_)) {
            let read = Meta::at(&from, b"").map_err(|e| TreeError::io("look at", &at.src, e))?;
            if !read.same_version(&at.entry.meta) {
                self.session.stats.changed.push(shown(&at.src));
            }
        }
        Ok(Meta { uid: at.entry.meta.uid, gid: at.entry.meta.gid, ..opened })
    }

    /// Shares the data of the two files, where the file system can.
    fn clone(&mut self, from: &File, to: &File, opened: &Meta) -> bool {
        if !self.can_clone || opened.size == 0 {
            return false;
        }
        self.can_clone = rustix::fs::ioctl_ficlone(to, from).is_ok();
        if self.can_clone {
            self.session.stats.bytes += opened.size;
        }
        self.can_clone
    }

    fn data(&mut self, at: &Visit, from: &mut File, to: &mut File) -> Result<u64, TreeError> {
        self.buffer.resize(COPY_BUFFER, 0);
        let mut size = 0;
        loop {
            let read = from.read(&mut self.buffer);
            let length = read.map_err(|source| TreeError::io("read", &at.src, source))?;
            if length == 0 {
                return Ok(size);
            }
            let written = to.write_all(&self.buffer[..length]);
            written.map_err(|source| TreeError::io("write", &at.dest, source))?;
            size += length as u64;
        }
    }
}
