//! Copies files of an input into the root, as BuildKit's file op does.
//!
//! The outer half works out what is copied where: wildcards, `dest` with or without a
//! final slash, missing parents. The inner half, [`Copier`], copies one path and all
//! below it. A directory that was there before keeps its owner and mode if it is the
//! destination itself, and gets those of the source if it is below.

mod leaf;

use std::collections::HashMap;

use bakehouse_model::op;
use rustix::io::Errno;

use super::entry::{Entry, Meta, Stamp, clean, join, shown, split};
use super::make::{Made, make_all};
use super::mode::Change;
use super::select::{compile, split_wildcards};
use super::tree::{Tree, TreeError, proc_path};
use super::unpack::unpack;
use super::{FilesError, Session, xattr};
use crate::context::{Matcher, Verdict};

/// Mode of directories that are made on the way to the destination.
const PARENT_MODE: u32 = 0o755;

/// What becomes of the copies' owner, mode and time; kept where none.
#[derive(Debug, Clone)]
pub(super) struct Attributes {
    pub(super) owner: Option<(u32, u32)>,
    pub(super) change: Option<Change>,
    pub(super) time: Option<Stamp>,
}

/// Carries out one copy.
pub(super) fn copy(session: &mut Session<'_>, copy: &op::Copy) -> Result<(), FilesError> {
    let source = session.input(Some(copy.input)).map_err(|source| FilesError::Input { source })?;
    let attributes = Attributes {
        owner: session.owner(copy.owner.as_ref())?,
        change: copy.mode.as_ref().map(Change::of).transpose()?,
        time: copy.timestamp.map(|secs| Stamp { secs, nanos: 0 }),
    };
    check_paths(session, &source, copy)?;
    let src = clean(copy.src.as_bytes());
    let sources = if copy.allow_wildcard {
        resolve_wildcards(session, &source, &src, copy.follow_symlink)?
    } else {
        vec![src.clone()]
    };
    if sources.is_empty() && !copy.allow_empty_wildcard {
        return Err(TreeError::NotFound { path: shown(&src) }.into());
    }
    for src in sources {
        if copy.attempt_unpack && unpack(session, (&source, &src), copy, attributes.owner)? {
            continue;
        }
        copy_one(session, &source, &src, copy, &attributes)?;
    }
    Ok(())
}

/// What must exist before anything is copied.
fn check_paths(session: &Session<'_>, source: &Tree, copy: &op::Copy) -> Result<(), FilesError> {
    for required in &copy.required_paths {
        if source.resolve(required.as_bytes(), true)?.entry.is_none() {
            return Err(TreeError::NotFound { path: required.clone() }.into());
        }
    }
    if !copy.create_dest_path {
        let dest = session.target.resolve(&clean(copy.dest.as_bytes()), true)?.path;
        let parent = split(&dest).map_or(&[][..], |(parent, _)| parent);
        if session.target.lookup(parent)?.is_none() {
            return Err(TreeError::NotFound { path: shown(parent) }.into());
        }
    }
    Ok(())
}

/// The paths that `src` means, sorted. Nothing below a match is looked at.
fn resolve_wildcards(
    session: &Session<'_>,
    source: &Tree,
    src: &[u8],
    follow: bool,
) -> Result<Vec<Vec<u8>>, FilesError> {
    let (prefix, pattern) = split_wildcards(src);
    if pattern.is_empty() {
        return Ok(vec![prefix]);
    }
    let base = source.resolve(&prefix, follow)?;
    let Some(entry) = base.entry else {
        return Err(TreeError::NotFound { path: shown(&prefix) }.into());
    };
    let mut level = if entry.meta.is_dir() { vec![base.path] } else { Vec::new() };
    let names: Vec<&[u8]> = pattern.split(|&b| b == b'/').collect();
    for (depth, name) in names.iter().enumerate() {
        let is_last = depth + 1 == names.len();
        let name = String::from_utf8_lossy(name);
        let mut next = Vec::new();
        for dir in level {
            for child in source.list(&dir)? {
                let text = String::from_utf8_lossy(&child.name);
                let fits = is_last || child.meta.is_dir();
                if fits && session.options.patterns.glob(&name, &text)? {
                    next.push(join(&dir, &child.name));
                }
            }
        }
        level = next;
    }
    Ok(level)
}

/// Copies one path to where `dest` means, and makes what is missing on the way.
fn copy_one(
    session: &mut Session<'_>,
    source: &Tree,
    src: &[u8],
    copy: &op::Copy,
    attributes: &Attributes,
) -> Result<(), FilesError> {
    let mode = attributes.change.as_ref().and_then(Change::fixed).unwrap_or(PARENT_MODE) & 0o777;
    let made = Made { mode, owner: attributes.owner, time: session.time(copy.timestamp) };
    let cleaned = clean(copy.dest.as_bytes());
    let into = copy.dest.ends_with('/') || copy.dest.ends_with("/.");
    let ensured = match split(&cleaned) {
        Some((parent, _)) if !into => parent,
        _ => &cleaned,
    };
    let ensured = session.target.resolve(ensured, true)?.path;
    let mut created = make_all(session, &ensured, made)?;
    let mut dest = session.target.resolve(&cleaned, true)?.path;

    let resolved = source.resolve(src, copy.follow_symlink)?;
    let Some(entry) = resolved.entry else {
        return Err(TreeError::NotFound { path: shown(src) }.into());
    };
    let existing = session.target.lookup(&dest)?;
    let is_dir = entry.meta.is_dir();
    let goes_into = if is_dir {
        !copy.dir_copy_contents && existing.is_some()
    } else {
        existing.is_some_and(|meta| meta.is_dir())
    };
    if let Some((_, name)) = split(src).filter(|_| goes_into) {
        dest = join(&dest, name);
    }
    let holds = if copy.dir_copy_contents && is_dir && existing.is_none() {
        dest.clone()
    } else {
        split(&dest).map_or(Vec::new(), |(parent, _)| parent.to_vec())
    };
    created.extend(make_all(session, &holds, made)?);

    let patterns = session.options.patterns;
    let mut copier = Copier {
        source,
        attributes,
        include: compile(patterns, &copy.include_patterns)?,
        exclude: compile(patterns, &copy.exclude_patterns)?,
        replace: copy.always_replace_existing,
        first_names: HashMap::new(),
        parents: Vec::new(),
        can_clone: true,
        buffer: Vec::new(),
        session,
    };
    let one = Visit { src: resolved.path, entry, within: Vec::new(), dest, overwrite: false };
    copier.visit(one, &Verdicts::default())?;
    if let Some(time) = made.time {
        for path in created.iter().rev() {
            session.target.set_time(path, time)?;
        }
    }
    Ok(())
}

/// Copies a path and what is below it.
struct Copier<'c, 's> {
    session: &'c mut Session<'s>,
    source: &'c Tree,
    attributes: &'c Attributes,
    include: Option<Box<dyn Matcher>>,
    exclude: Option<Box<dyn Matcher>>,
    replace: bool,
    /// Where a file with several names was first copied to, by device and inode.
    first_names: HashMap<((u32, u32), u64), Vec<u8>>,
    /// The directories on the way to the current path.
    parents: Vec<Parent>,
    can_clone: bool,
    buffer: Vec<u8>,
}

/// A directory that is made when the first thing in it is copied, if not before.
struct Parent {
    src: Vec<u8>,
    dest: Vec<u8>,
    meta: Meta,
    done: bool,
    made_late: bool,
}

/// What is copied where.
struct Visit {
    src: Vec<u8>,
    entry: Entry,
    /// The path that patterns see.
    within: Vec<u8>,
    dest: Vec<u8>,
    /// A directory that exists gets the source's owner, mode and times.
    overwrite: bool,
}

/// What include and exclude patterns said of a directory.
#[derive(Debug, Default)]
struct Verdicts {
    include: Option<Verdict>,
    exclude: Option<Verdict>,
}

impl Verdicts {
    fn is_excluded(&self) -> bool {
        self.exclude.as_ref().is_some_and(|verdict| verdict.matched)
    }

    fn is_chosen(&self) -> bool {
        !self.is_excluded() && self.include.as_ref().is_none_or(|verdict| verdict.matched)
    }
}

impl Copier<'_, '_> {
    fn visit(&mut self, at: Visit, parent: &Verdicts) -> Result<(), FilesError> {
        let verdicts = self.judge(&at.within, parent);
        let (chosen, is_dir) = (verdicts.is_chosen(), at.entry.meta.is_dir());
        if !chosen && (!is_dir || self.is_hopeless(&at.within, &verdicts)) {
            return Ok(());
        }
        let mut existing = self.session.target.lookup(&at.dest)?;
        if chosen {
            if let Some(old) = existing.filter(|old| self.replace && !(is_dir && old.is_dir())) {
                self.session.target.remove_all(&at.dest, &old)?;
                existing = None;
            }
            self.make_parents(at.overwrite)?;
        }
        if is_dir {
            return self.directory(at, chosen, existing, &verdicts);
        }
        match existing {
            Some(old) if old.is_dir() => {
                return Err(FilesError::FileOverDirectory { path: shown(&at.dest) });
            }
            Some(_) => self.session.target.remove_file(&at.dest)?,
            None => {}
        }
        self.leaf(&at)
    }

    fn directory(
        &mut self,
        at: Visit,
        chosen: bool,
        existing: Option<Meta>,
        verdicts: &Verdicts,
    ) -> Result<(), FilesError> {
        let created = chosen && self.make_dir(&at.dest, existing.as_ref())?;
        let meta = at.entry.meta;
        let (src, dest) = (at.src.clone(), at.dest.clone());
        self.parents.push(Parent { src, dest, meta, done: chosen, made_late: false });
        for child in self.source.list(&at.src)? {
            let one = Visit {
                src: join(&at.src, &child.name),
                within: join(&at.within, &child.name),
                dest: join(&at.dest, &child.name),
                entry: child,
                overwrite: true,
            };
            self.visit(one, verdicts)?;
        }
        let parent = self.parents.pop().expect("pushed above");
        if parent.made_late {
            self.set_time(&at.dest, &meta)?;
        } else if chosen && (at.overwrite || created) {
            self.set_attributes(&at.src, &at.dest, &meta)?;
        } else if chosen && existing.is_some() {
            self.set_time(&at.dest, &meta)?;
        }
        Ok(())
    }

    /// Makes the directory unless it exists. Its mode comes last, for what is in it has
    /// to be written first.
    fn make_dir(&mut self, dest: &[u8], existing: Option<&Meta>) -> Result<bool, FilesError> {
        match existing {
            Some(meta) if meta.is_dir() => Ok(false),
            Some(_) => Err(FilesError::DirectoryOverFile { path: shown(dest) }),
            None => {
                self.session.target.make_dir(dest, 0o700)?;
                self.session.stats.directories += 1;
                Ok(true)
            }
        }
    }

    /// Makes the directories on the way that no pattern chose, but something in them.
    fn make_parents(&mut self, overwrite: bool) -> Result<(), FilesError> {
        for index in 0..self.parents.len() {
            let parent = &mut self.parents[index];
            if std::mem::replace(&mut parent.done, true) {
                continue;
            }
            let (src, dest, meta) = (parent.src.clone(), parent.dest.clone(), parent.meta);
            let existing = self.session.target.lookup(&dest)?;
            if self.make_dir(&dest, existing.as_ref())? {
                self.parents[index].made_late = true;
                self.set_attributes(&src, &dest, &meta)?;
            } else if overwrite {
                self.session.target.set_mode(&dest, meta.mode)?;
            }
        }
        Ok(())
    }

    fn judge(&self, within: &[u8], parent: &Verdicts) -> Verdicts {
        // What was asked for by name is chosen.
        if within.is_empty() {
            return Verdicts::default();
        }
        let path = String::from_utf8_lossy(within);
        let include = self.include.as_ref();
        let exclude = self.exclude.as_ref();
        Verdicts {
            include: include.map(|matcher| matcher.check(&path, parent.include.as_ref())),
            exclude: exclude.map(|matcher| matcher.check(&path, parent.exclude.as_ref())),
        }
    }

    /// Whether nothing below an excluded directory can be chosen.
    fn is_hopeless(&self, within: &[u8], verdicts: &Verdicts) -> bool {
        let path = String::from_utf8_lossy(within);
        verdicts.is_excluded()
            && self.exclude.as_ref().is_some_and(|matcher| !matcher.may_except_below(&path))
    }

    /// Gives a copy what its source has, or what is wanted instead.
    fn set_attributes(&self, src: &[u8], dest: &[u8], meta: &Meta) -> Result<(), FilesError> {
        let target = self.session.target;
        target.set_owner(dest, self.attributes.owner.unwrap_or((meta.uid, meta.gid)))?;
        if !meta.is_link() {
            let change = self.attributes.change.as_ref();
            let mode = change.map_or(meta.mode, |change| change.apply(meta.mode, meta.is_dir()));
            target.set_mode(dest, mode)?;
        }
        if let Some(fd) = self.source.fd() {
            let xattrs = xattr::read_all(&proc_path(fd, src)).map_err(|errno| match errno {
                Errno::NOENT => TreeError::NotFound { path: shown(src) },
                _ => TreeError::io("read attributes of", src, errno),
            })?;
            target.set_xattrs(dest, &xattrs)?;
        }
        self.set_time(dest, meta)
    }

    fn set_time(&self, dest: &[u8], meta: &Meta) -> Result<(), FilesError> {
        let time = self.attributes.time.unwrap_or(meta.mtime);
        Ok(self.session.target.set_time(dest, time)?)
    }
}
