//! A fleet to try things on: 18 images in the shape of a real speech assistant's repository.
//!
//! Nine bases stand on each other, nine services stand on them, four levels in all. The
//! Dockerfiles are ordinary ones that any builder takes; they use what real fleets use (two
//! ways of naming a file, `ARG` before `FROM`, stages, cache, bind and tmpfs mounts, here
//! documents, health checks, users by number), and their `RUN` lines do small real work with
//! nothing but a shell and the everyday tools. Six services share one builder stage word for
//! word, so that it is seen to run once.
//!
//! The first base is `FROM` whatever the caller says. Everything else is fixed: the same
//! bytes every time, on every machine. The build context of every image is the folder itself.

mod bases;
mod services;
mod shared;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Says that a folder is ours to write over.
const MARKER: &str = ".bakehouse-demo";

/// The image that prints the most when it is run.
pub const SHOWPIECE: &str = "stt";

/// A fleet that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Names of its images, bases first.
    pub images: Vec<&'static str>,
    /// How many files it has.
    pub files: usize,
    /// Bytes of their contents.
    pub bytes: u64,
}

/// One file that was edited, as a person at work would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file, relative to the fleet's folder.
    pub path: &'static str,
    /// What was done to it.
    pub what: String,
    /// The images that must be built anew; every other one stays as it is. Sorted.
    pub affects: &'static [&'static str],
}

/// The fleet could not be written or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The folder holds something that is not ours.
    #[error("`{dir}` is not empty and holds no demo fleet")]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
    /// A file or folder could not be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder could not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("`{path}` has no line that begins with `{line}`")]
    Edited {
        /// The file.
        path: PathBuf,
        /// What one of its lines began with.
        line: &'static str,
    },
}

/// Writes the fleet into `dir`, with `base_ref` in the first base's `FROM`.
///
/// A folder that holds the fleet already is written over and is then as new.
///
/// # Errors
///
/// When `dir` holds anything else, or cannot be written.
pub fn write_fleet(dir: &Path, base_ref: &str) -> Result<Fleet, DemoError> {
    claim(dir)?;
    let files = files(base_ref);
    let mut bytes = 0;
    for (path, text) in &files {
        bytes += text.len() as u64;
        write(&dir.join(path), text)?;
    }
    let images =
        bases::BASES.iter().map(|b| b.name).chain(services::SERVICES.iter().map(|s| s.name));
    Ok(Fleet { images: images.collect(), files: files.len(), bytes })
}

/// Edits one line of one service's source.
///
/// # Errors
///
/// When `dir` does not hold the fleet, or cannot be written.
pub fn change_one(dir: &Path) -> Result<Change, DemoError> {
    let path = "services/stt/app/main.sh";
    let revision = bump(&dir.join(path), "REVISION=")?;
    Ok(Change { path, what: format!("a service's source says {revision}"), affects: &["stt"] })
}

/// Edits the package list of a base that a service and nothing else of the fleet stands on
/// directly, and the whole line of images above it.
///
/// # Errors
///
/// When `dir` does not hold the fleet, or cannot be written.
pub fn change_base(dir: &Path) -> Result<Change, DemoError> {
    let path = "bases/packages/python-ml-audio.txt";
    let revision = bump(&dir.join(path), "# revision=")?;
    let what = format!("a base's package list says {revision}");
    Ok(Change { path, what, affects: &["audio", "python-ml-audio", "stt"] })
}

/// Every file of the fleet, in the order of their paths.
fn files(base_ref: &str) -> Vec<(String, String)> {
    let mut files = shared::files();
    files.push((MARKER.to_owned(), "A fleet that `bakehouse demo` wrote.\n".to_owned()));
    for base in bases::BASES {
        files.extend(base.files(base_ref));
    }
    for service in services::SERVICES {
        files.extend(service.files());
    }
    files.sort();
    files
}

/// Makes `dir`, and makes sure that it is empty or ours.
fn claim(dir: &Path) -> Result<(), DemoError> {
    let write = |source| DemoError::Write { path: dir.to_owned(), source };
    let read = |source| DemoError::Read { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(write)?;
    let empty = fs::read_dir(dir).map_err(read)?.next().is_none();
    if empty || dir.join(MARKER).is_file() {
        return Ok(());
    }
    Err(DemoError::Occupied { dir: dir.to_owned() })
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    let failed = |source| DemoError::Write { path: path.to_owned(), source };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}

/// Counts up the number in the line that begins with `prefix`; what the line says now.
fn bump(path: &Path, prefix: &'static str) -> Result<String, DemoError> {
    let text = fs::read_to_string(path)
        .map_err(|source| DemoError::Read { path: path.to_owned(), source })?;
    let number = text.lines().find_map(|line| line.strip_prefix(prefix)?.parse::<u32>().ok());
    let edited = || DemoError::Edited { path: path.to_owned(), line: prefix };
    let number = number.ok_or_else(edited)?;
    let (before, after) =
        (format!("{prefix}{number}"), format!("{prefix}{}", number.wrapping_add(1)));
    write(path, &text.replacen(&before, &after, 1))?;
    Ok(after.trim_start_matches("# ").to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Dockerfiles by image.
    fn dockerfiles() -> BTreeMap<String, String> {
        let name = |path: &str| {
            let (folder, file) = path.rsplit_once('/')?;
            match file.strip_prefix("Dockerfile")? {
                "" => folder.rsplit('/').next().map(str::to_owned),
                suffix => suffix.strip_prefix('.').map(str::to_owned),
            }
        };
        let files = files("machine-base").into_iter();
        files.filter_map(|(path, text)| Some((name(&path)?, text))).collect()
    }

    /// Images that each image is built from, by the words of its Dockerfile.
    fn parents() -> BTreeMap<String, BTreeSet<String>> {
        let files = dockerfiles();
        let of = |text: &str| {
            let words = text.split(|c: char| c.is_whitespace() || c == '=');
            let mut parents: BTreeSet<_> = BTreeSet::new();
            let mut before = "";
            for word in words {
                if ["FROM", "BASE_IMAGE"].contains(&before) && files.contains_key(word) {
                    parents.insert(word.to_owned());
                }
                before = word;
            }
            parents
        };
        files.iter().map(|(name, text)| (name.clone(), of(text))).collect()
    }

    /// Paths of the build context that a Dockerfile copies or mounts.
    fn sources(text: &str) -> Vec<String> {
        let copies = text.lines().filter(|l| l.starts_with("COPY ") && !l.contains("--from="));
        let copied = copies.flat_map(|l| l.split_whitespace().skip(1)).map(str::to_owned);
        let mounted = text.split("source=").skip(1).filter_map(|rest| rest.split(',').next());
        copied.chain(mounted.map(str::to_owned)).filter(|path| path.contains('/')).collect()
    }

    fn level(name: &str, parents: &BTreeMap<String, BTreeSet<String>>) -> usize {
        parents[name].iter().map(|parent| 1 + level(parent, parents)).max().unwrap_or(0)
    }

    #[test]
    fn eighteen_images_stand_on_four_levels() {
        let parents = parents();
        assert_eq!(parents.len(), 18, "{:?}", parents.keys());
        let mut levels = [0; 4];
        for name in parents.keys() {
            levels[level(name, &parents)] += 1;
        }
        assert_eq!(levels, [1, 5, 8, 4]);
        let used: BTreeSet<_> = parents.values().flatten().cloned().collect();
        for base in bases::BASES {
            assert!(used.contains(base.name), "nothing stands on `{}`", base.name);
        }
    }

    #[test]
    fn the_same_bytes_every_time_and_nothing_of_them_but_the_first_base_depends_on_the_caller() {
        let (here, there) = (files("machine-base"), files("registry.example/other:1"));
        assert_eq!(here, files("machine-base"));
        let differing: Vec<_> =
            here.iter().zip(&there).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str()).collect();
        assert_eq!(differing, ["bases/python-base/Dockerfile"]);
    }

    #[test]
    fn six_services_share_their_builder_word_for_word() {
        let builder = |text: &String| {
            let start = text.find("FROM tools AS builder")?;
            text[start..].split("\n\n").next().map(str::to_owned)
        };
        let builders: Vec<_> = dockerfiles().values().filter_map(builder).collect();
        assert_eq!(builders.len(), 6);
        assert!(builders.iter().all(|b| *b == builders[0]));
    }

    #[test]
    fn a_change_affects_what_reads_the_file_and_what_stands_on_that() {
        let dir = tempfile::tempdir().unwrap();
        write_fleet(dir.path(), "machine-base").unwrap();
        let parents = parents();
        for change in [change_one(dir.path()).unwrap(), change_base(dir.path()).unwrap()] {
            let reads = |text: &String| {
                sources(text).iter().any(|source| Path::new(change.path).starts_with(source))
            };
            let mut affected: BTreeSet<String> =
                dockerfiles().into_iter().filter(|(_, text)| reads(text)).map(|(n, _)| n).collect();
            for _ in 0..4 {
                let more = parents
                    .iter()
                    .filter(|(_, p)| !p.is_disjoint(&affected))
                    .map(|(n, _)| n.clone());
                let more: Vec<_> = more.collect();
                affected.extend(more);
            }
            let expected: BTreeSet<String> = change.affects.iter().map(|&n| n.to_owned()).collect();
            assert_eq!(affected, expected, "{}", change.path);
        }
    }

    #[test]
    fn writing_over_the_fleet_makes_it_new_and_other_folders_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = write_fleet(dir.path(), "machine-base").unwrap();
        assert_eq!(fleet.images.len(), 18);
        let path = dir.path().join("services/stt/app/main.sh");
        let before = fs::read_to_string(&path).unwrap();
        let changes = [change_one(dir.path()).unwrap(), change_one(dir.path()).unwrap()];
        assert!(changes[1].what.ends_with("REVISION=3"), "{}", changes[1].what);
        assert_ne!(fs::read_to_string(&path).unwrap(), before);
        assert_eq!(write_fleet(dir.path(), "machine-base").unwrap(), fleet);
        assert_eq!(fs::read_to_string(&path).unwrap(), before);

        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("thesis.txt"), "years of work").unwrap();
        let error = write_fleet(other.path(), "machine-base").unwrap_err();
        assert!(matches!(error, DemoError::Occupied { .. }));
        assert!(matches!(change_one(other.path()), Err(DemoError::Read { .. })));
    }
}
