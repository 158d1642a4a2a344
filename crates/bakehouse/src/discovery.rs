//! Finds the Dockerfiles below a folder.
//!
//! `.gitignore` is respected, `.git` and `node_modules` are not looked into; a
//! folder that cannot be read is reported and left out. Links are not followed.

use std::path::{Path, PathBuf};

use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::fleet::{SourceFile, is_dockerfile_name};
use ignore::WalkBuilder;

/// The largest file that is read as a Dockerfile.
const MAX_SIZE: u64 = 4 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The Dockerfiles, by path.
    pub files: Vec<SourceFile>,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// Finds the Dockerfiles below `root`.
pub fn find(root: &Path) -> Found {
    let mut found = Found::default();
    let mut walk = WalkBuilder::new(root);
    walk.hidden(false).require_git(false).git_global(false).parents(true);
    walk.filter_entry(|entry| entry.file_name() != ".git" && entry.file_name() != "node_modules");
    for entry in walk.build() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                found.diagnostics.push(unreadable(root, &error.to_string()));
                continue;
            }
        };
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_dockerfile_name) {
            take(root, entry.into_path(), &mut found);
        }
    }
    found.files.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn take(root: &Path, path: PathBuf, found: &mut Found) {
    let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
    match read(&path) {
        Ok(text) => found.files.push(SourceFile { path: relative, text, context: None }),
        Err(why) => found.diagnostics.push(Diagnostic {
            location: Some(Location::file(relative)),
            severity: Severity::Error,
            help: Some(
                "repair the file, or name it in .gitignore if it is no Dockerfile".to_owned(),
            ),
            ..unreadable(&path, &why)
        }),
    }
}

/// The bytes of a Dockerfile, or why they can't be had.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if meta.len() > MAX_SIZE {
        return Err(format!(
            "it has {} bytes; a Dockerfile of more than {MAX_SIZE} is not read",
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
        help: Some("make it readable, or name it in .gitignore".to_owned()),
    }
}
