//! A source folder, a root to write to, and ops as a `COPY` makes them.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bakehouse_engine::Root;
use bakehouse_engine::context::Contexts;
use bakehouse_engine::files::{
    self, FilesError, InputError, Listing, ListingError, Options, Stats, Tree,
};
use bakehouse_engine::snapshot::tar::{Entry, TarReader};
use bakehouse_engine::snapshot::{DiffOptions, write_layer};
use bakehouse_model::op::{self, ContextSource, FileAction};
use tempfile::TempDir;

use crate::patterns::Simple;

pub(crate) struct Stage {
    dir: TempDir,
    pub(crate) epoch: Option<i64>,
    pub(crate) ignore: Vec<String>,
}

impl Stage {
    /// Two empty folders.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        Self { dir, epoch: None, ignore: Vec::new() }
    }

    /// Files to copy, each `path`, `path/` or `path -> target`; a file holds its path.
    pub(crate) fn with(files: &[&str]) -> Self {
        let stage = Self::new();
        fill(&stage.src(""), files);
        stage
    }

    pub(crate) fn src(&self, path: &str) -> PathBuf {
        self.dir.path().join("src").join(path)
    }

    pub(crate) fn root(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    pub(crate) fn source(&self) -> ContextSource {
        ContextSource {
            name: "context".into(),
            root: self.src("").to_str().unwrap().trim_end_matches('/').into(),
            ignore: self.ignore.clone(),
        }
    }

    /// The source as a build context.
    pub(crate) fn context(&self) -> Tree {
        Tree::Context(Contexts::new(|_| None).open(&self.source(), &Simple).unwrap())
    }

    /// The source as the file system of another stage.
    pub(crate) fn image(&self) -> Tree {
        Tree::mounted(Root::open_dir(self.src("")).unwrap())
    }

    /// Carries it out; if it can be listed, that must give the same layer, or the same error.
    pub(crate) fn run(&self, actions: Vec<FileAction>, input: &Tree) -> Result<Stats, FilesError> {
        let op = op::File { base: Some(0), actions };
        let base = Root::open_dir(self.root("")).unwrap();
        let inputs = |_: usize| -> Result<Tree, InputError> { Ok(input.clone()) };
        let options = Options { patterns: &Simple, source_date_epoch: self.epoch };
        let before = tempfile::tempdir().unwrap();
        let copied = Command::new("cp").arg("-aT").arg(self.root("")).arg(before.path()).status();
        assert!(copied.unwrap().success());
        let listed = self.list(&op, input);
        let listed = listed.map(|listed| listed.map(|it| (layer_of(it), SystemTime::now())));
        let ran = files::run(&op, &base, &inputs, options);
        match (&ran, listed) {
            (Ok(stats), Ok(Some((Ok(layer), until)))) if stats.changed.is_empty() => {
                let mut tar = Vec::new();
                let below = Root::open_dir(before.path()).unwrap();
                let options = DiffOptions::default();
                write_layer(&self.root(""), Some(&below), &mut tar, options).unwrap();
                assert_eq!(entries(&layer, until), entries(&tar, until), "{op:?}");
            }
            (Err(error), Err(listed)) => assert_eq!(error.to_string(), listed.to_string()),
            (Ok(_), Err(error)) => panic!("it can be done, but not listed: {error}"),
            (Err(error), Ok(Some((Ok(_), _)))) => panic!("it fails, but can be listed: {error}"),
            (Ok(stats), Ok(Some((Err(error), _)))) if stats.changed.is_empty() => {
                panic!("it can be done, but its list not written: {error}")
            }
            _ => {}
        }
        ran
    }

    /// What carrying it out would make.
    pub(crate) fn list(&self, op: &op::File, input: &Tree) -> Result<Option<Listing>, FilesError> {
        let base = Tree::mounted(Root::open_dir(self.root("")).unwrap());
        let inputs = |_: usize| -> Result<Tree, InputError> { Ok(input.clone()) };
        files::list(
            op,
            &base,
            &inputs,
            Options { patterns: &Simple, source_date_epoch: self.epoch },
        )
    }

    /// Copies from the context and lists what the root then holds.
    pub(crate) fn copy(&self, copy: op::Copy) -> Result<Vec<String>, String> {
        let input = self.context();
        match self.run(vec![FileAction::Copy(copy)], &input) {
            Ok(_) => Ok(listing(&self.root(""))),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The archive of what was listed.
pub(crate) fn layer_of(listing: Listing) -> Result<Vec<u8>, ListingError> {
    let mut tar = Vec::new();
    listing.write(&mut tar).map(|_| tar)
}

/// All of an archive but the times of what was just made, which is never twice the same.
fn entries(tar: &[u8], now: SystemTime) -> Vec<(Entry, Vec<u8>)> {
    let recent = now.duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed() - 60;
    let mut reader = TarReader::new(tar);
    let mut found = Vec::new();
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        entry.mtime = entry.mtime.min(recent);
        found.push((entry, content));
    }
    found
}

/// A copy as the `COPY` instruction makes it.
pub(crate) fn copying(src: &str, dest: &str) -> op::Copy {
    op::Copy {
        input: 1,
        src: src.into(),
        dest: dest.into(),
        owner: None,
        mode: None,
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack: false,
        create_dest_path: true,
        allow_wildcard: true,
        allow_empty_wildcard: true,
        include_patterns: Vec::new(),
        exclude_patterns: Vec::new(),
        always_replace_existing: false,
        required_paths: Vec::new(),
        timestamp: None,
    }
}

pub(crate) fn fill(dir: &Path, files: &[&str]) {
    for file in files {
        let (path, target) = file.split_once(" -> ").unwrap_or((file, ""));
        let full = dir.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(full).unwrap();
            continue;
        }
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        if target.is_empty() {
            fs::write(full, path).unwrap();
        } else {
            symlink(target, full).unwrap();
        }
    }
}

/// Every path below `dir`, sorted: `path=content`, `path/`, `path -> target`.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    list(dir, "", &mut found);
    found.sort();
    found
}

fn list(dir: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.push(format!("{path}/"));
            list(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            found.push(format!("{path} -> {}", target.display()));
        } else if kind.is_file() {
            found.push(format!("{path}={}", fs::read_to_string(entry.path()).unwrap()));
        } else {
            found.push(format!("{path}: special"));
        }
    }
}

/// Permission bits, owner and group.
pub(crate) fn attributes(path: &Path) -> (u32, u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.gid())
}

pub(crate) fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Whether owners can be changed; says so if not.
pub(crate) fn may_chown() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let can = std::os::unix::fs::chown(dir.path(), Some(1000), Some(1001)).is_ok();
    if !can {
        skip("only root may change owners");
    }
    can
}

pub(crate) fn owner(user: op::Principal, group: Option<op::Principal>) -> Option<op::Owner> {
    Some(op::Owner { user: Some(user), group })
}

pub(crate) fn by_name(name: &str) -> op::Principal {
    op::Principal::Name { name: name.into(), input: None }
}

pub(crate) fn shared(tree: &Tree) -> Arc<bakehouse_engine::context::Context> {
    match tree {
        Tree::Context(context) => Arc::clone(context),
        _ => panic!("not a context"),
    }
}

#[expect(clippy::print_stderr, reason = "a skipped test says why")]
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
