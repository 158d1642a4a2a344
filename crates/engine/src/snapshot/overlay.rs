//! Mounting stacks of layers.
//!
//! Every mount made here is *detached*: it is a descriptor, not a place in the host's tree.
//! Nobody else sees it, and it is gone when the descriptor and everything opened through
//! it are closed, so a crash leaves no mounts behind. Files in it are reached through
//! [`crate::Root`]; a sandbox attaches it where it wants with `move_mount`.
//!
//! | layers below | writable layer | what is mounted |
//! |---|---|---|
//! | none | none | an empty, read-only tmpfs |
//! | none | one | the writable layer itself |
//! | one  | none | that layer itself, read-only |
//! | else | | overlayfs |
//!
//! The lowest layer can be mounted as it is because nothing is below it: it has no
//! whiteouts. (`apply` makes none there, and overlayfs is not involved when a step
//! writes to it.)
//!
//! Errors carry the kernel's own words, which it leaves in the descriptor of the file
//! system context.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, UnmountFlags,
};
use thiserror::Error;

use super::attributes;

/// Overlayfs's own limit.
const MAX_LAYERS: usize = 500;

/// Makes detached mounts of layers.
#[derive(Debug)]
pub struct Overlay;

/// How to mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountOptions {
    /// Leave out the sync of the disk when the mount goes away. A machine that crashes
    /// meanwhile leaves rubbish in the writable layer, so it must not be trusted then.
    pub volatile: bool,
    /// Device nodes in the layers cannot be opened.
    pub nodev: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { volatile: true, nodev: false }
    }
}

/// A file system could not be mounted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MountError {
    /// More layers than overlayfs takes.
    #[error("{layers} layers are more than the {MAX_LAYERS} that overlayfs can stack")]
    TooManyLayers {
        /// How many.
        layers: usize,
    },
    /// The kernel refused, and said why.
    #[error("cannot {doing}: {said}")]
    Said {
        /// A verb phrase.
        doing: String,
        /// The kernel's words.
        said: String,
        /// The error number that came with them.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("cannot {doing}")]
    Kernel {
        /// A verb phrase.
        doing: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl MountError {
    fn new(doing: impl Into<String>, source: Errno) -> Self {
        Self::Kernel { doing: doing.into(), source: source.into() }
    }
}

impl Overlay {
    /// Mounts `lowers`, lowest first, and on top of them the writable layer `upper` with its
    /// work directory; read-only without one.
    ///
    /// The work directory must be on the file system of the upper one and never used
    /// before: a volatile mount marks it, and the kernel refuses marked ones.
    pub fn mount(
        lowers: &[PathBuf],
        upper: Option<(&Path, &Path)>,
        options: MountOptions,
    ) -> Result<OwnedFd, MountError> {
        if lowers.len() > MAX_LAYERS {
            return Err(MountError::TooManyLayers { layers: lowers.len() });
        }
        let attributes = attributes_of(upper.is_none(), options);
        match (lowers, upper) {
            ([], None) => empty(),
            ([], Some((upper, _))) => clone_tree(upper, attributes),
            ([only], None) => clone_tree(only, attributes),
            _ => overlay(lowers, upper, options),
        }
    }

    /// A detached clone of the tree at `path`, mounts below it included.
    pub fn bind(path: &Path) -> Result<OwnedFd, MountError> {
        clone_tree(path, MountAttrFlags::empty())
    }

    /// Whether overlayfs works for layers in `dir`, which must be writable: mounts,
    /// writes and removes a file there.
    pub fn probe(dir: &Path) -> Result<(), MountError> {
        let place = Place::make(dir, "probe")?;
        let folder = |name: &str| {
            let path = place.path.join(name);
            std::fs::create_dir(&path).map(|()| path.clone()).map_err(|source| MountError::Kernel {
                doing: format!("create `{}`", path.display()),
                source,
            })
        };
        let (lower, upper, work) = (folder("lower")?, folder("upper")?, folder("work")?);
        let file = lower.join("file");
        std::fs::write(&file, "x").map_err(|source| MountError::Kernel {
            doing: format!("write `{}`", file.display()),
            source,
        })?;
        let mount = Self::mount(&[lower], Some((&upper, &work)), MountOptions::default())?;
        let trial = |doing: &str, result: Result<(), Errno>| {
            result.map_err(|e| MountError::new(format!("{doing} a file in an overlay mount"), e))
        };
        let made = rustix::fs::openat(
            &mount,
            "new",
            OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o644),
        );
        trial("create", made.map(drop))?;
        trial("remove", rustix::fs::unlinkat(&mount, "file", rustix::fs::AtFlags::empty()))
    }
}

fn attributes_of(readonly: bool, options: MountOptions) -> MountAttrFlags {
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, readonly);
    attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, options.nodev);
    attributes
}

/// The file system of the empty stack.
fn empty() -> Result<OwnedFd, MountError> {
    let doing = || "mount an empty tmpfs".to_owned();
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| MountError::new(doing(), e))?;
    let step = |result: Result<(), Errno>| result.map_err(|e| explain(&context, doing(), e));
    step(rustix::mount::fsconfig_set_string(&context, "mode", "755"))?;
    step(rustix::mount::fsconfig_create(&context))?;
    attach(&context, MountAttrFlags::MOUNT_ATTR_RDONLY, doing())
}

fn overlay(
    lowers: &[PathBuf],
    upper: Option<(&Path, &Path)>,
    options: MountOptions,
) -> Result<OwnedFd, MountError> {
    let doing = || match upper {
        Some((upper, _)) => format!("mount `{}` on {} layers", upper.display(), lowers.len()),
        None => format!("mount {} layers", lowers.len()),
    };
    let top_first: Vec<&Path> = lowers.iter().rev().map(PathBuf::as_path).collect();
    if !takes_layers_one_by_one() {
        return overlay_by_mount(&top_first, upper, options);
    }
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .map_err(|e| MountError::new("open an overlay file system", e))?;
    add_lowers(&context, &top_first)
        .and_then(|()| configure(&context, upper, options))
        .map_err(|e| explain(&context, doing(), e))?;
    attach(&context, attributes_of(upper.is_none(), options), doing())
}

/// Whether the kernel has `lowerdir+`: since 6.8. Older ones cannot be asked, because they
/// take any parameter and fail only when the mount is made.
fn takes_layers_one_by_one() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (6, 8),
        _ => true,
    }
}

fn add_lowers(context: &OwnedFd, top_first: &[&Path]) -> Result<(), Errno> {
    for lower in top_first {
        // A string parameter has at most 255 bytes; a longer path goes by descriptor.
        if lower.as_os_str().len() < 256 {
            rustix::mount::fsconfig_set_string(context, "lowerdir+", *lower)?;
        } else {
            let fd = open_dir(lower)?;
            rustix::mount::fsconfig_set_string(context, "lowerdir+", proc_path(&fd))?;
        }
    }
    Ok(())
}

fn configure(
    context: &OwnedFd,
    upper: Option<(&Path, &Path)>,
    options: MountOptions,
) -> Result<(), Errno> {
    for (key, value) in settings() {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, key, value)?,
            None => rustix::mount::fsconfig_set_flag(context, key)?,
        }
    }
    if let Some((upper, work)) = upper {
        let (upper, work) = (open_dir(upper)?, open_dir(work)?);
        rustix::mount::fsconfig_set_string(context, "upperdir", proc_path(&upper))?;
        rustix::mount::fsconfig_set_string(context, "workdir", proc_path(&work))?;
        if options.volatile {
            rustix::mount::fsconfig_set_flag(context, "volatile")?;
        }
        return rustix::mount::fsconfig_create(context);
    }
    rustix::mount::fsconfig_create(context)
}

/// What every overlay mount has: nothing in a layer may depend on the layers it was made on.
fn settings() -> Vec<(&'static str, Option<&'static str>)> {
    let mut settings = vec![
        ("source", Some("overlay")),
        ("index", Some("off")),
        ("redirect_dir", Some("off")),
        ("metacopy", Some("off")),
    ];
    if attributes::in_user_namespace() {
        // Overlayfs refuses these two by name together with `userxattr`; it implies them.
        settings.retain(|(key, _)| !matches!(*key, "redirect_dir" | "metacopy"));
        settings.push(("userxattr", None));
    }
    settings
}

/// For kernels before 6.8: one `lowerdir` of at most a page, mounted somewhere and taken
/// off again. Paths are descriptors' names, so that neither length nor a colon matters.
fn overlay_by_mount(
    top_first: &[&Path],
    upper: Option<(&Path, &Path)>,
    options: MountOptions,
) -> Result<OwnedFd, MountError> {
    let doing = || format!("mount {} layers", top_first.len());
    let failed = |e| MountError::new(doing(), e);
    let open = |path: &Path| open_dir(path).map_err(failed);
    let fds = top_first.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let lowers: Vec<String> = fds.iter().map(proc_path).collect();
    let mut data = format!("lowerdir={}", lowers.join(":"));
    for (key, value) in settings().into_iter().filter(|(key, _)| *key != "source") {
        data.push(',');
        data.push_str(key);
        if let Some(value) = value {
            data.push('=');
            data.push_str(value);
        }
    }
    let upper = upper.map(|(upper, work)| Ok((open(upper)?, open(work)?))).transpose()?;
    if let Some((upper, work)) = &upper {
        data.push_str(&format!(",upperdir={},workdir={}", proc_path(upper), proc_path(work)));
        if options.volatile {
            data.push_str(",volatile");
        }
    }
    let place = Place::make(&std::env::temp_dir(), "mount")?;
    let data = CString::new(data).expect("descriptor names have no NUL");
    rustix::mount::mount("overlay", &place.path, "overlay", MountFlags::empty(), data.as_c_str())
        .map_err(failed)?;
    let clone = clone_tree(&place.path, attributes_of(upper.is_none(), options));
    rustix::mount::unmount(&place.path, UnmountFlags::DETACH).map_err(failed)?;
    clone
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn attach(
    context: &OwnedFd,
    attributes: MountAttrFlags,
    doing: String,
) -> Result<OwnedFd, MountError> {
    rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| explain(context, doing, e))
}

/// The error with what the kernel wrote about it.
fn explain(context: &OwnedFd, doing: String, error: Errno) -> MountError {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    // Each read gives one message, `e overlay: …`; the last one fails with ENODATA.
    while let Ok(length @ 1..) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        let line = line.trim_end();
        said.push(line.strip_prefix("e ").unwrap_or(line).to_owned());
    }
    if said.is_empty() {
        return MountError::new(doing, error);
    }
    MountError::Said { doing, said: said.join("; "), source: error.into() }
}

fn clone_tree(path: &Path, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    let failed = |e| MountError::new(format!("clone the tree `{}`", path.display()), e);
    let recursive = OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::OPEN_TREE_CLONE;
    let tree = rustix::mount::open_tree(CWD, path, recursive | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(failed)?;
    set_attributes(tree.as_fd(), attributes).map_err(failed)?;
    Ok(tree)
}

/// Sets attributes of a detached tree and cuts it off from propagation.
pub(crate) fn set_attributes(tree: BorrowedFd<'_>, set: MountAttrFlags) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: u64::from(set.bits()),
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    #[expect(unsafe_code, reason = "rustix has no mount_setattr")]
    // SAFETY: the descriptor is open, the path is an empty C string, and the structure is
    // initialised, lives across the call and is passed with its own size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// A directory of our own that goes away again.
#[derive(Debug)]
struct Place {
    path: PathBuf,
}

impl Place {
    fn make(parent: &Path, what: &str) -> Result<Self, MountError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = parent.join(format!(".bakehouse-{what}-{process}-{number}"));
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))
            .map_err(|e| MountError::new(format!("create `{}`", path.display()), e))?;
        Ok(Self { path })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody can be told, and an empty directory harms nobody.
        drop(std::fs::remove_dir_all(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Root;

    fn works(dir: &Path) -> bool {
        match Overlay::probe(dir) {
            Ok(()) => true,
            #[expect(clippy::print_stderr, reason = "a test that cannot run says why")]
            Err(error) => {
                eprintln!("skipped: {error}");
                false
            }
        }
    }

    fn layer(dir: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let path = dir.join(name);
        fs::create_dir_all(&path).unwrap();
        for (name, text) in files {
            fs::write(path.join(name), text).unwrap();
        }
        path
    }

    fn names(fd: OwnedFd) -> Vec<String> {
        let root = Root::from_fd(fd);
        let entries = root.read_dir("/").unwrap();
        entries.into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
    }

    #[test]
    fn many_layers_are_one_tree_however_long_their_names() {
        let dir = tempfile::tempdir().unwrap();
        if !works(dir.path()) {
            return;
        }
        let long = dir.path().join("l".repeat(200)).join(format!("{}:{}", "m".repeat(90), 1));
        let mut lowers = vec![layer(&long, "x", &[("long", "1")])];
        for number in 0..140 {
            let name = number.to_string();
            lowers.push(layer(dir.path(), &name, &[("last", &name), (&format!("f{name}"), "")]));
        }
        let mount = Overlay::mount(&lowers, None, MountOptions::default()).unwrap();
        let root = Root::from_fd(mount.try_clone().unwrap());
        let last = io::read_to_string(root.open_read("last").unwrap()).unwrap();
        assert_eq!(last, "139");
        assert_eq!(names(mount).len(), 142);
        assert!(root.create("new", 0o644).is_err());
        let refs: Vec<&Path> = lowers.iter().rev().map(PathBuf::as_path).collect();
        let old = overlay_by_mount(&refs, None, MountOptions::default()).unwrap();
        assert_eq!(names(old).len(), 142);
    }

    #[test]
    fn writes_go_to_the_upper_layer_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        if !works(dir.path()) {
            return;
        }
        let lower = layer(dir.path(), "lower", &[("a", "1"), ("b", "2")]);
        for (name, lowers) in [("none", vec![]), ("one", vec![lower.clone()])] {
            let upper = layer(dir.path(), &format!("{name}-upper"), &[]);
            let work = layer(dir.path(), &format!("{name}-work"), &[]);
            let mount = Overlay::mount(&lowers, Some((&upper, &work)), MountOptions::default());
            let root = Root::from_fd(mount.unwrap());
            drop(root.create("new", 0o644).unwrap());
            assert!(upper.join("new").exists(), "{name}");
        }
        assert_eq!(fs::read_dir(&lower).unwrap().count(), 2);
    }

    #[test]
    fn few_layers_need_no_overlay_and_cannot_be_written_to() {
        let dir = tempfile::tempdir().unwrap();
        if !works(dir.path()) {
            return;
        }
        let only = layer(dir.path(), "only", &[("a", "1")]);
        for (lowers, expected) in [(vec![], vec![]), (vec![only], vec!["a"])] {
            let mount = Overlay::mount(&lowers, None, MountOptions::default()).unwrap();
            let root = Root::from_fd(mount.try_clone().unwrap());
            assert_eq!(names(mount), expected);
            assert!(root.create("new", 0o644).is_err());
        }
    }

    #[test]
    fn an_error_has_the_words_of_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        if !works(dir.path()) {
            return;
        }
        let lower = layer(dir.path(), "lower", &[("file", "")]);
        let bad = [lower.join("file"), lower];
        let error = Overlay::mount(&bad, None, MountOptions::default()).unwrap_err();
        assert!(
            matches!(&error, MountError::Said { said, .. } if said.contains("file")),
            "{error}"
        );
        let many = vec![PathBuf::from("x"); 501];
        let error = Overlay::mount(&many, None, MountOptions::default()).unwrap_err();
        assert!(matches!(error, MountError::TooManyLayers { layers: 501 }));
    }
}
