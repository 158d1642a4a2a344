//! One version of a repository: a commit, or the files as they are now.
//!
//! Dockerfiles and what else describes images are read through one door for both, so that two
//! versions can differ only where their files do. What git knows is taken from git: of the
//! work tree, only files that are not as in the commit are read, and links that are new.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bakehouse_plan::affected::{Entry, EntryKind, Listing};
use bakehouse_plan::fleet::{Fleet, SourceFile, is_dockerfile_name};

use crate::discovery::{self, is_described_name};
use crate::git::{Blob, GitError, Objects, Repository};
use crate::request::{self, Reading};
use crate::sources::{self, Tree};

/// What a version has at which path, and where the contents are.
#[derive(Debug)]
pub struct Version<'r> {
    /// Its paths.
    pub listing: Listing,
    repository: &'r Repository,
    objects: &'r Objects<'r>,
    /// Paths from the top whose content is in no commit.
    on_disk: BTreeSet<String>,
}

impl<'r> Version<'r> {
    /// The commit `since`, and what is there now or is in the commit `until`.
    pub fn pair(
        (repository, objects): (&'r Repository, &'r Objects<'r>),
        since: &str,
        until: Option<&str>,
    ) -> Result<(Self, Self), GitError> {
        let old = repository.tree(since)?;
        let mut new = old.clone();
        let mut on_disk = BTreeSet::new();
        for (path, blob) in repository.changes(since, until)? {
            match blob {
                Some(blob) => {
                    if blob.id.is_none() {
                        on_disk.insert(path.clone());
                    }
                    new.insert(path, blob);
                }
                None => drop(new.remove(&path)),
            }
        }
        if until.is_none() {
            untracked(repository, &mut new, &mut on_disk)?;
            hash(repository, &mut new, &on_disk)?;
        }
        let version = |blobs, on_disk: BTreeSet<String>| Self {
            listing: listing((repository, objects), blobs, &on_disk),
            repository,
            objects,
            on_disk,
        };
        Ok((version(old, BTreeSet::new()), version(new, on_disk)))
    }

    /// The content of a file, by its path from the root; links are followed.
    pub fn load(&self, path: &str) -> Option<Vec<u8>> {
        let (path, entry) = self.listing.file(path)?;
        if self.on_disk.contains(&path) {
            return discovery::read(&self.repository.top.join(path)).ok();
        }
        self.objects.read(&entry.content)
    }

    /// Its images.
    pub(crate) fn fleet(&self, root: &Path, reading: &Reading<'_>) -> Fleet {
        let repository = request::repository(root);
        let exists = |path: &str| self.listing.has(path);
        let load = |path: &str| self.load(path);
        let tree = Tree { load: &load, exists: &exists, env: reading.env, repository: &repository };
        let described: Vec<String> = self.called(is_described_name).map(str::to_owned).collect();
        let sources = sources::read(&described, &tree, reading.bake);
        request::fleet_of(self.dockerfiles().collect(), sources, &tree, reading).fleet
    }

    fn dockerfiles(&self) -> impl Iterator<Item = SourceFile> {
        self.called(is_dockerfile_name).filter_map(|path| {
            let text = self.load(path)?;
            Some(SourceFile { path: path.to_owned(), text, context: None })
        })
    }

    /// The files whose names are such.
    fn called(&self, is: fn(&str) -> bool) -> impl Iterator<Item = &str> {
        let found = self.listing.own().filter(move |(path, entry)| {
            let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
            is(name)
                && matches!(entry.kind, EntryKind::File | EntryKind::Program)
                && !folders.split('/').any(|folder| folder == "node_modules")
        });
        found.map(|(path, _)| path)
    }
}

/// Adds what git neither knows nor ignores.
fn untracked(
    repository: &Repository,
    blobs: &mut BTreeMap<String, Blob>,
    on_disk: &mut BTreeSet<String>,
) -> Result<(), GitError> {
    for path in repository.untracked()? {
        let (path, kind) = match path.strip_suffix('/') {
            Some(folder) => (folder.to_owned(), Some(EntryKind::Submodule)),
            None => {
                let kind = on_disk_kind(&repository.top.join(&path));
                (path, kind)
            }
        };
        if let Some(kind) = kind {
            on_disk.insert(path.clone());
            blobs.insert(path, Blob { kind, id: None });
        }
    }
    Ok(())
}

/// What is at a path; none for what no commit can have.
fn on_disk_kind(path: &Path) -> Option<EntryKind> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = path.symlink_metadata().ok()?;
    if meta.is_symlink() {
        return Some(EntryKind::Link);
    }
    let program = meta.permissions().mode() & 0o100 != 0;
    meta.is_file().then_some(if program { EntryKind::Program } else { EntryKind::File })
}

/// Finds the ids of contents that are in no commit yet.
fn hash(
    repository: &Repository,
    blobs: &mut BTreeMap<String, Blob>,
    on_disk: &BTreeSet<String>,
) -> Result<(), GitError> {
    let mut files = Vec::new();
    for path in on_disk {
        let Some(blob) = blobs.get_mut(path) else { continue };
        match blob.kind {
            EntryKind::Submodule => {
                let commit = repository.submodule(path);
                blob.id =
                    commit.map(|(id, clean)| if clean { id } else { format!("{id} and more") });
            }
            EntryKind::File | EntryKind::Program => {
                let readable = std::fs::File::open(repository.top.join(path)).is_ok();
                if readable && !path.contains(['\n', '\r']) {
                    files.push(path.clone());
                }
            }
            // A link's content is where it leads.
            EntryKind::Link => {}
        }
    }
    let ids = repository.hash(&files)?;
    for (path, id) in files.iter().zip(ids) {
        if let Some(blob) = blobs.get_mut(path) {
            blob.id = Some(id);
        }
    }
    Ok(())
}

fn listing(
    (repository, objects): (&Repository, &Objects<'_>),
    blobs: BTreeMap<String, Blob>,
    on_disk: &BTreeSet<String>,
) -> Listing {
    let entries = blobs.into_iter().map(|(path, Blob { kind, id })| {
        let content = match (kind, id) {
            (EntryKind::Link, Some(id)) if !on_disk.contains(&path) => {
                let target = objects.read(&id).unwrap_or_default();
                String::from_utf8_lossy(&target).into_owned()
            }
            (EntryKind::Link, _) => std::fs::read_link(repository.top.join(&path))
                .map(|target| target.to_string_lossy().into_owned())
                .unwrap_or_default(),
            (_, Some(id)) => id,
            // Nobody knows it, so it is like nothing else.
            (_, None) => format!("unknown {path}"),
        };
        (path, Entry { kind, content })
    });
    Listing::new(&repository.prefix, entries.collect())
}
