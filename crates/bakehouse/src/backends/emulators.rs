//! Emulators: who runs a step's programs that are for another machine than this one.
//!
//! In this order: the one that `--emulator` gives; this machine itself; one that its kernel
//! knows; QEMU's own, by its name on the `PATH`. Where there is none the step is tried all the
//! same, because an image may say that it is for one machine and have programs for another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bakehouse_engine::emulate::{self, EMULATOR, Machine};
use bakehouse_engine::sandbox::{MountSource, ResolvedMount, Spec};
use bakehouse_model::oci::Platform;

use crate::context::Context;
use crate::failure::{Failure, Kind};
use crate::hostbase::elf;

/// Where an emulator is looked for besides the `PATH`.
const USUAL: [&str; 2] = ["/usr/local/bin", "/usr/bin"];

/// Who runs what.
#[derive(Debug)]
pub struct Emulators {
    host: Platform,
    /// By architecture.
    given: BTreeMap<String, PathBuf>,
    folders: Vec<PathBuf>,
    /// What was found, by architecture.
    found: Mutex<BTreeMap<String, Option<PathBuf>>>,
}

impl Emulators {
    /// What `--emulator` says, as `linux/arm64=/usr/bin/qemu-aarch64-static`.
    pub fn parse(specs: &[String], cx: &Context) -> Result<Self, Failure> {
        let mut given = BTreeMap::new();
        for text in specs {
            let (platform, path) = spec(text, &cx.cwd)?;
            given.insert(platform.architecture, path);
        }
        let mut folders: Vec<PathBuf> =
            std::env::split_paths(cx.var("PATH").unwrap_or_default()).collect();
        folders.extend(USUAL.map(PathBuf::from));
        Ok(Self { host: Platform::host(), given, folders, found: Mutex::default() })
    }

    /// Gives a step what it needs to run programs of `platform`, if it needs anything.
    pub(super) fn equip(
        &self,
        platform: &Platform,
        spec: &mut Spec,
        mounts: &mut Vec<ResolvedMount>,
    ) {
        let Some((machine, path)) = self.of(platform) else { return };
        spec.foreign = Some(machine);
        let source = MountSource::BindPath { path, readonly: true };
        mounts.push(ResolvedMount { dest: EMULATOR.to_owned(), source });
    }

    fn of(&self, platform: &Platform) -> Option<(Machine, PathBuf)> {
        let machine = Machine::of(platform)?;
        if let Some(given) = self.given.get(&platform.architecture) {
            return Some((machine, given.clone()));
        }
        if emulate::runs_natively(&self.host, platform) || emulate::registered(machine) {
            return None;
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let path =
            found.entry(platform.architecture.clone()).or_insert_with(|| self.find(platform));
        path.clone().map(|path| (machine, path))
    }

    fn find(&self, platform: &Platform) -> Option<PathBuf> {
        let name = emulate::emulator_name(platform)?;
        let names = [format!("{name}-static"), format!("buildkit-{name}"), name];
        let all = names.iter().flat_map(|name| self.folders.iter().map(move |dir| dir.join(name)));
        all.into_iter().find(|path| is_static(path))
    }

    /// What to do about a program that does not start, if it may be for another machine.
    pub(super) fn advice(&self, platform: &Platform) -> String {
        let name = emulate::emulator_name(platform);
        match name {
            Some(name) if !emulate::runs_natively(&self.host, platform) => format!(
                "programs for {platform} need an emulator here: install `{name}-static` (Debian's \
                 package qemu-user-static), or give one with `--emulator {platform}=PATH`"
            ),
            _ => "the program is for another kind of machine, or a script without `#!`".to_owned(),
        }
    }
}

fn spec(text: &str, cwd: &Path) -> Result<(Platform, PathBuf), Failure> {
    let wrong = |what: &str| Failure::new(Kind::Usage, format!("--emulator `{text}` {what}"));
    let parts = text.split_once('=').filter(|(_, path)| !path.is_empty());
    let (platform, path) = parts.ok_or_else(|| {
        wrong("is not PLATFORM=PATH").hint("such as `linux/arm64=/usr/bin/qemu-aarch64-static`")
    })?;
    let platform: Platform =
        platform.parse().map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    if Machine::of(&platform).is_none() {
        return Err(wrong("is for a machine whose programs are not known"));
    }
    let path = cwd.join(path);
    if !path.is_file() {
        return Err(wrong("names no file"));
    }
    if !is_static(&path) {
        return Err(wrong("is not a static program").hint(
            "the step has none of this machine's libraries: take a static build, such as \
             Debian's package qemu-user-static has",
        ));
    }
    Ok((platform, path))
}

/// Whether it is a program that needs nothing beside it.
fn is_static(path: &Path) -> bool {
    let bytes = std::fs::read(path).unwrap_or_default();
    elf::parse(&bytes).is_ok_and(|program| program.interpreter.is_none())
}
