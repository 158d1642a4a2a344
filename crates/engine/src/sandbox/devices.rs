//! The machine's devices, for steps that are trusted with all of them.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use rustix::fs::{FileType, Mode};

/// Directories of `/dev` that a step has its own of.
const OWN: [&str; 4] = ["pts", "shm", "mqueue", "fd"];

/// How deep `/dev` is searched.
const DEPTH: usize = 3;

/// A device of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Directories below `/dev`.
    pub(super) parents: Vec<String>,
    pub(super) name: String,
    pub(super) kind: FileType,
    pub(super) mode: Mode,
    pub(super) number: u64,
}

/// All of them; what cannot be looked at is left out.
pub(super) fn of_host() -> Vec<Device> {
    let mut devices = Vec::new();
    collect(Path::new("/dev"), &mut Vec::new(), &mut devices);
    devices
}

fn collect(dir: &Path, parents: &mut Vec<String>, devices: &mut Vec<Device>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        let kind = metadata.file_type();
        if kind.is_dir() && parents.len() + 1 < DEPTH && !OWN.contains(&name.as_str()) {
            parents.push(name);
            collect(&entry.path(), parents, devices);
            parents.pop();
        } else if (kind.is_char_device() || kind.is_block_device()) && name != "console" {
            devices.push(Device {
                parents: parents.clone(),
                name,
                kind: FileType::from_raw_mode(metadata.mode()),
                mode: Mode::from_raw_mode(metadata.mode()),
                number: metadata.rdev(),
            });
        }
    }
}
