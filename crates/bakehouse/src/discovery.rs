//! Finds the files below a folder that say something of its images: Dockerfiles, bake files,
//! compose files.
//!
//! `.gitignore` is respected, `.git` and `node_modules` are not looked into; a
//! folder that cannot be read is reported and left out. Links to folders are not followed;
//! a link to a file is read if that is in the repository.

mod remembered;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::fleet::{Skipped, SourceFile, is_dockerfile_name};
use bakehouse_store::Store;
use ignore::{WalkBuilder, WalkState};
use remembered::Walk;

use crate::request::processors;

/// The largest file that is read.
const MAX_SIZE: u64 = 4 << 20;

/// Fewer files than this are read before a thread has started.
const MIN_PER_THREAD: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The Dockerfiles, by path.
    pub files: Vec<SourceFile>,
    /// The bake and compose files, by path; not read yet.
    pub described: Vec<String>,
    /// What is left out.
    pub skipped: Vec<Skipped>,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a walk saw, from the root.
#[derive(Debug, Default)]
struct Names {
    folders: Vec<String>,
    /// Of files that say something of images.
    names: Vec<PathBuf>,
    /// Whether there is something that text cannot name, or that cannot be read.
    is_partial: bool,
}

/// Finds what is below `root`; `store` remembers what a walk found.
pub fn find(root: &Path, store: Option<&Store>) -> Found {
    let mut found = Found::default();
    let known = store.and_then(|store| Walk::recall(root, store));
    let names = match known {
        Some(walk) => walk.names,
        None => {
            let began = SystemTime::now();
            let seen = walk(root, &mut found.diagnostics);
            if let Some(store) = store.filter(|_| !seen.is_partial) {
                Walk::keep(root, (seen.folders, seen.names.clone()), began, store);
            }
            seen.names
        }
    };
    for seen in look_at_all(root, &names) {
        found.take(seen);
    }
    found.diagnostics.sort();
    found
}

/// Reads what `names` are, in their order, on several threads if they are many.
fn look_at_all(root: &Path, names: &[PathBuf]) -> Vec<Seen> {
    let threads = processors().min(names.len() / MIN_PER_THREAD).max(1);
    let share = names.len().div_ceil(threads).max(1);
    let look = |share: &[PathBuf]| -> Vec<Seen> {
        share.iter().filter_map(|name| look_at(root, name)).collect()
    };
    std::thread::scope(|scope| {
        let mut shares = names.chunks(share);
        let first = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|share| scope.spawn(move || look(share))).collect();
        let mut all = look(first);
        for other in others {
            all.extend(other.join().expect("a thread that reads does not panic"));
        }
        all
    })
}

/// The names below `root`, sorted; what cannot be read goes to `wrong`.
fn walk(root: &Path, wrong: &mut Vec<Diagnostic>) -> Names {
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false).require_git(false).git_global(false).parents(true);
    walk.filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != "node_modules");
    let seen = Mutex::new((Names::default(), wrong));
    walk.build_parallel().run(|| {
        Box::new(|entry| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (names, wrong) = &mut *seen;
            match entry {
                Ok(entry) => {
                    let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
                    names.take(path, entry.file_type().is_some_and(|kind| kind.is_dir()));
                }
                Err(error) => {
                    names.is_partial = true;
                    wrong.push(unreadable(root, &error.to_string()));
                }
            }
            WalkState::Continue
        })
    });
    let (mut names, _) = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    names.folders.sort_unstable();
    names.names.sort_unstable();
    names
}

impl Names {
    fn take(&mut self, path: &Path, is_folder: bool) {
        let name = path.file_name().and_then(|name| name.to_str());
        let describes = name.is_some_and(|n| is_dockerfile_name(n) || is_described_name(n));
        if !is_folder && !describes {
            return;
        }
        self.is_partial |= path.to_str().is_none();
        if is_folder {
            self.folders.push(path.to_string_lossy().into_owned());
        } else {
            self.names.push(path.to_owned());
        }
    }
}

/// What one entry of a folder is.
enum Seen {
    Dockerfile(SourceFile),
    Described(String),
    Skipped(Skipped),
    Wrong(Diagnostic),
}

impl Found {
    fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Dockerfile(file) => self.files.push(file),
            Seen::Described(path) => self.described.push(path),
            Seen::Skipped(skipped) => self.skipped.push(skipped),
            Seen::Wrong(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }
}

fn look_at(root: &Path, name: &Path) -> Option<Seen> {
    let path = root.join(name);
    let relative = name.to_string_lossy().into_owned();
    let is_described = is_described_name(path.file_name()?.to_str()?);
    if path.is_symlink()
        && let Err(reason) = within(root, &path)
    {
        return Some(Seen::Skipped(Skipped { path: relative, reason }));
    }
    Some(if is_described { Seen::Described(relative) } else { read_dockerfile(relative, &path) })
}

fn read_dockerfile(relative: String, path: &Path) -> Seen {
    match read(path) {
        Ok(text) => Seen::Dockerfile(SourceFile { path: relative, text, context: None }),
        Err(why) => Seen::Wrong(Diagnostic {
            location: Some(Location::file(relative)),
            severity: Severity::Error,
            help: Some(
                "repair the file, or name it in .gitignore if it is no Dockerfile".to_owned(),
            ),
            ..unreadable(path, &why)
        }),
    }
}

/// Whether a link leads to a file of the repository that is not found anyway.
fn within(root: &Path, link: &Path) -> Result<(), String> {
    let target = link.canonicalize().map_err(|error| format!("a link to nowhere: {error}"))?;
    let root = root.canonicalize().map_err(|error| error.to_string())?;
    let Ok(inside) = target.strip_prefix(&root) else {
        return Err("a link that leads out of the repository".to_owned());
    };
    let name = inside.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if is_dockerfile_name(name) || is_described_name(name) {
        return Err(format!("a link to `{}`, which is read itself", inside.display()));
    }
    if target.is_file() { Ok(()) } else { Err("a link to a folder".to_owned()) }
}

/// Whether a file of that name describes images: `docker-bake.hcl`, `compose.yaml`,
/// `docker-compose.test.yml` and so on.
pub fn is_described_name(name: &str) -> bool {
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    match ending {
        "hcl" | "json" => stem == "docker-bake" || stem.starts_with("docker-bake."),
        "yaml" | "yml" => ["compose", "docker-compose"].iter().any(|word| {
            stem.strip_prefix(word)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
        }),
        _ => false,
    }
}

/// The bytes of a file, or why they can't be had.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if meta.len() > MAX_SIZE {
        return Err(format!(
            "it has {} bytes; a file of more than {MAX_SIZE} is not read",
            meta.len()
        ));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

fn unreadable(path: &Path, why: &str) -> Diagnostic {
    Diagnostic {
        location: Some(Location::file(".")),
        severity: Severity::Warning,
        code: "unreadable".to_owned(),
        message: format!("`{}` cannot be read: {why}", path.display()),
        help: Some("let this user read it, or name it in .gitignore".to_owned()),
    }
}

/// The folder of a path from the repository's root; empty for the root.
pub fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use super::is_described_name;

    #[test]
    fn files_that_describe_images_are_told_by_their_names() {
        let yes = [
            "docker-bake.hcl",
            "docker-bake.override.json",
            "compose.yaml",
            "docker-compose.yml",
            "docker-compose.test.yml",
            "compose-dev.yaml",
        ];
        let no = ["bake.txt", "docker-bake", "composer.json", "my-compose.yaml", "compose"];
        assert!(yes.iter().all(|name| is_described_name(name)));
        assert!(!no.iter().any(|name| is_described_name(name)));
    }
}
