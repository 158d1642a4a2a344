//! Outputs that are files: archives and folders.
//!
//! A file is written beside its place and renamed, so that nobody finds half of one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bakehouse_engine::Root;
use bakehouse_engine::files::{self, Options, Tree};
use bakehouse_engine::snapshot::{DiffOptions, write_layer, write_trees};
use bakehouse_model::oci::Platform;
use bakehouse_model::op::{self, FileAction};
use bakehouse_model::{EventKind, Snapshot};
use bakehouse_run::BackendError;
use bakehouse_store::Store;
use bakehouse_store::layout::{self, LayoutImage};

use super::{Made, layout_image};
use crate::memory::mounted;
use crate::outputs::{FileOutput, OutputKind};
use crate::patterns::DockerPatterns;
use crate::request;

/// Writes `output` of these images.
pub fn write_files(
    store: &Store,
    output: &FileOutput,
    named: &BTreeMap<&String, &Made>,
    emit: &dyn Fn(EventKind),
) -> Result<(), BackendError> {
    let images: Vec<LayoutImage> =
        named.iter().map(|(name, made)| layout_image(name, made)).collect();
    let layout_failed = |error| BackendError::environment("write the images", error);
    if let Some(dest) = output.dest.as_deref().filter(|dest| !output.allows(dest)) {
        return Err(led_away(dest));
    }
    match output.kind {
        OutputKind::OciTar => {
            write(output, |out| layout::write_oci_tar(store, &images, out).map_err(layout_failed))?;
        }
        OutputKind::DockerTar => write(output, |out| {
            layout::write_docker_tar(store, &images, out).map_err(layout_failed)
        })?,
        OutputKind::OciFolder => {
            let folder = folder(output)?;
            stays(folder, &folder.join("blobs/sha256"))?;
            layout::write_oci_dir(store, &images, folder).map_err(layout_failed)?;
        }
        OutputKind::Tar => {
            let [(name, made)] = one(named, "tar")?;
            let options = DiffOptions { clamp: made.epoch };
            let parts = match made.roots.as_slice() {
                [(_, root)] if output.split != Some(true) => Parts::One(root),
                roots if output.split != Some(false) => Parts::Folders(roots),
                _ => return Err(no_room(name)),
            };
            write(output, |out| tar(store, name, (parts, options), out))?;
        }
        OutputKind::Local => {
            let folder = folder(output)?;
            for (name, made) in named {
                let own = folder.join(name);
                let to = if named.len() == 1 { folder } else { own.as_path() };
                let several = made.roots.len() > 1;
                if several && output.split == Some(false) {
                    return Err(no_room(name));
                }
                let several = several || output.split == Some(true);
                for (platform, root) in &made.roots {
                    let part = to.join(folder_of(platform));
                    let to = if several { part.as_path() } else { to };
                    stays(folder, to)?;
                    local(store, root, (to, made.epoch))?;
                }
            }
        }
    }
    let dest =
        output.dest.as_ref().map_or_else(|| "-".to_owned(), |dest| dest.display().to_string());
    for name in named.keys() {
        let kind = output.kind.name().to_owned();
        emit(EventKind::Exported { image: (*name).clone(), kind, dest: dest.clone() });
    }
    Ok(())
}

fn folder(output: &FileOutput) -> Result<&Path, BackendError> {
    output.dest.as_deref().ok_or_else(|| BackendError::Input {
        what: format!("an output of type {} needs a folder", output.kind.name()),
        hints: Vec::new(),
    })
}

/// Nothing is written through a link that an image has left in the folder.
fn stays(folder: &Path, path: &Path) -> Result<(), BackendError> {
    match (request::whole(folder), request::whole(path)) {
        (Some(folder), Some(path)) if path.starts_with(&folder) => Ok(()),
        _ => Err(led_away(path)),
    }
}

fn led_away(path: &Path) -> BackendError {
    BackendError::Input {
        what: format!("`{}` leads elsewhere by now, through a symbolic link", path.display()),
        hints: vec!["an image that was written before has put it there: write elsewhere".into()],
    }
}

fn one<'a>(
    named: &BTreeMap<&'a String, &'a Made>,
    kind: &str,
) -> Result<[(&'a String, &'a Made); 1], BackendError> {
    let all: Vec<(&String, &Made)> = named.iter().map(|(name, made)| (*name, *made)).collect();
    <[_; 1]>::try_from(all).map_err(|all: Vec<_>| BackendError::Input {
        what: format!("an output of type {kind} has room for one image, not for {}", all.len()),
        hints: vec!["name the image to build".to_owned()],
    })
}

/// Writes a file, or standard output.
fn write(
    output: &FileOutput,
    content: impl FnOnce(&mut dyn Write) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let Some(dest) = &output.dest else {
        let mut out = BufWriter::new(io::stdout().lock());
        content(&mut out)?;
        return out.flush().map_err(|error| BackendError::environment("write the archive", error));
    };
    write_file(dest, content)
}

/// Writes a file, whole or not at all.
pub fn write_file(
    dest: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<(), BackendError>,
) -> Result<(), BackendError> {
    let failed =
        |error: io::Error| BackendError::environment(format!("write `{}`", dest.display()), error);
    let mut name = dest.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = dest.with_file_name(name);
    let written = (|| {
        // What has the name may be a link that somebody left there to lead elsewhere.
        drop(fs::remove_file(&part));
        let file = File::options().write(true).create_new(true).open(&part).map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        content(&mut out)?;
        out.flush().map_err(failed)?;
        fs::rename(&part, dest).map_err(failed)
    })();
    if written.is_err() {
        // What is there is half a file; the error that is returned says why.
        drop(fs::remove_file(&part));
    }
    written
}

/// What a tar is of.
enum Parts<'a> {
    /// One file system.
    One(&'a Snapshot),
    /// One for each platform, in folders.
    Folders(&'a [(Platform, Snapshot)]),
}

/// The folder of a platform's files, such as `linux_arm_v7`.
fn folder_of(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

fn no_room(name: &str) -> BackendError {
    BackendError::Input {
        what: format!("`{name}` has several platforms, whose files cannot be in one folder"),
        hints: vec!["leave out platform-split=false, or build for one --platform".to_owned()],
    }
}

fn tar(
    store: &Store,
    name: &str,
    (parts, options): (Parts<'_>, DiffOptions),
    out: &mut dyn Write,
) -> Result<(), BackendError> {
    let written = match parts {
        Parts::One(snapshot) => {
            let root = mounted(store, snapshot)?;
            write_layer(&path_of(&root), None, out, options)
        }
        Parts::Folders(all) => {
            let roots = all
                .iter()
                .map(|(platform, snapshot)| Ok((folder_of(platform), mounted(store, snapshot)?)))
                .collect::<Result<Vec<_>, BackendError>>()?;
            let trees: Vec<(String, PathBuf)> =
                roots.iter().map(|(folder, root)| (folder.clone(), path_of(root))).collect();
            write_trees(&trees, out, options)
        }
    };
    written.map(drop).map_err(|error| {
        BackendError::environment(format!("write the file system of `{name}`"), error)
    })
}

/// The path of a mount that is nowhere, as long as it is open.
fn path_of(root: &Root) -> PathBuf {
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(root));
    PathBuf::from(format!("/proc/self/fd/{fd}"))
}

/// Writes files as they are; where the build has a time, all of them have that.
fn local(
    store: &Store,
    snapshot: &Snapshot,
    (to, epoch): (&Path, Option<i64>),
) -> Result<(), BackendError> {
    let failed =
        |error: io::Error| BackendError::environment(format!("write to `{}`", to.display()), error);
    fs::create_dir_all(to).map_err(failed)?;
    let target = Root::open_dir(to)
        .map_err(|error| BackendError::environment(format!("open `{}`", to.display()), error))?;
    let tree = Tree::mounted(mounted(store, snapshot)?);
    let copy = op::Copy {
        dir_copy_contents: true,
        always_replace_existing: true,
        timestamp: epoch,
        ..op::Copy::plain(0, "/", "/")
    };
    let file = op::File { base: None, actions: vec![FileAction::Copy(copy)] };
    let input = |_: usize| -> Result<Tree, files::InputError> { Ok(tree.clone()) };
    let options = Options { patterns: &DockerPatterns, source_date_epoch: epoch };
    files::run(&file, &target, &input, options)
        .map(drop)
        .map_err(|error| BackendError::environment(format!("write to `{}`", to.display()), error))
}
