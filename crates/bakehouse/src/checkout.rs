//! Checking out a Git repository, with the `git` of the user who builds.
//!
//! The user's credentials, agent and proxies count; hooks, prompts, remote helpers that run
//! programs and repositories on this machine do not: whoever writes a Dockerfile says what is
//! fetched, and gets nothing else for it. What a repository is at is asked first and then
//! fetched without its history, where the server can do that.

mod credentials;
mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bakehouse_model::op::GitSource;
use bakehouse_plan::address::without_password;
use bakehouse_plan::gitaddress::GitAddress;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use thiserror::Error;

use credentials::Credentials;
use process::{Failed, Runner};

/// Whom a checkout tells what git says, and who may stop it.
pub(crate) struct Watch<'a> {
    /// Is told the lines.
    pub(crate) log: &'a mut dyn FnMut(&str),
    /// Whether it must not go on.
    pub(crate) is_cancelled: &'a dyn Fn() -> bool,
}

/// Why there is no checkout.
#[derive(Debug, Error)]
pub(crate) enum CheckoutError {
    /// There is no `git`.
    #[error("cannot start `git`")]
    NoGit(#[source] io::Error),
    /// It was told to stop.
    #[error("the build was cancelled")]
    Cancelled,
    /// A folder cannot be used.
    #[error("cannot use the folder of a checkout")]
    Folder(#[source] io::Error),
    /// The remote cannot be asked or does not give what it has.
    #[error("cannot fetch `{remote}`: {said}")]
    Unreachable {
        /// The remote, without what is secret in it.
        remote: String,
        /// What git said.
        said: String,
    },
    /// There is no such branch, tag or commit.
    #[error("repository `{remote}` does not contain ref `{reference}`")]
    NoReference {
        /// The remote.
        remote: String,
        /// What was wanted.
        reference: String,
    },
    /// It is not the commit that it must be.
    #[error("expected checksum to match `{wanted}`, got `{found}`")]
    Checksum {
        /// The commit that it must be.
        wanted: String,
        /// The one that it is.
        found: String,
    },
    /// The repository has no such folder.
    #[error("the repository has no folder `{subdir}`")]
    NoFolder {
        /// The folder.
        subdir: String,
    },
    /// Something in the repository cannot be checked out.
    #[error("cannot check `{remote}` out: {said}")]
    Broken {
        /// The remote.
        remote: String,
        /// What git said.
        said: String,
    },
}

/// Checks out what `source` names; its files are then in `into`. Gives the commit.
///
/// `work` is an empty folder on the same file system.
pub(crate) fn checkout<'a>(
    source: &'a GitSource,
    (work, into): (&Path, &Path),
    watch: Watch<'a>,
) -> Result<String, CheckoutError> {
    let mut git = Git::new(source, work, watch)?;
    let tip = git.tip()?;
    git.fetch(&tip)?;
    git.local(&["checkout", "-q", "--detach", &tip.commit])?;
    if source.submodules {
        git.submodules()?;
    }
    if source.commit_times {
        let time = git.commit_time()?;
        set_times(work, time).map_err(CheckoutError::Folder)?;
    }
    let dot_git = work.join(".git");
    let cleaned = if source.keep_git_dir { forget(&dot_git) } else { remove(&dot_git) };
    cleaned.map_err(CheckoutError::Folder)?;
    let from = subdir(work, source.subdir.as_deref())?;
    move_contents(&from, into).map_err(CheckoutError::Folder)?;
    Ok(tip.commit)
}

/// What a reference points at.
struct Tip {
    /// The reference in full, or the commit.
    name: String,
    commit: String,
}

struct Git<'a> {
    source: &'a GitSource,
    /// The address, without what is secret in it.
    remote: String,
    folder: PathBuf,
    runner: Runner<'a>,
}

impl<'a> Git<'a> {
    fn new(source: &'a GitSource, work: &Path, watch: Watch<'a>) -> Result<Self, CheckoutError> {
        let (remote, credentials) = Credentials::split(&source.remote);
        let runner = Runner::new(work, credentials, watch);
        let runner = runner.map_err(|failed| broken(source, failed))?;
        Ok(Self { source, remote, folder: work.to_path_buf(), runner })
    }

    /// Asks the remote what the reference points at, unless it is a commit.
    fn tip(&mut self) -> Result<Tip, CheckoutError> {
        let wanted = self.source.reference.clone();
        if let Some(commit) = wanted.as_deref().filter(|name| GitAddress::is_commit(name)) {
            self.check(&[commit])?;
            return Ok(Tip { name: commit.to_owned(), commit: commit.to_owned() });
        }
        let name = wanted.unwrap_or_else(|| "HEAD".to_owned());
        let remote = self.remote.clone();
        let peeled = format!("{name}^{{}}");
        let lines = self.reach(&["ls-remote", "--", &remote, &name, &peeled])?;
        let known: Vec<(&str, &str)> =
            lines.lines().filter_map(|line| line.split_once('\t')).collect();
        let commit_of = |name: &str| known.iter().find(|(_, n)| *n == name).map(|(c, _)| *c);
        let short = |prefix: &str| format!("{prefix}{}", name.trim_start_matches(prefix));
        // As git does, a branch goes before a tag of the same name.
        let candidates = [short("refs/"), short("refs/heads/"), short("refs/tags/")];
        let found = if name == "HEAD" {
            commit_of("HEAD").map(|commit| ("HEAD".to_owned(), commit))
        } else {
            candidates.into_iter().find_map(|name| commit_of(&name).map(|commit| (name, commit)))
        };
        let Some((name, commit)) = found else { return Err(self.no_reference(name)) };
        let peeled = commit_of(&format!("{name}^{{}}"));
        self.check(&[Some(commit), peeled].into_iter().flatten().collect::<Vec<_>>())?;
        Ok(Tip { commit: peeled.unwrap_or(commit).to_owned(), name })
    }

    fn check(&self, commits: &[&str]) -> Result<(), CheckoutError> {
        match &self.source.checksum {
            Some(wanted) if !commits.iter().any(|commit| commit.starts_with(wanted.as_str())) => {
                let (wanted, found) = (wanted.clone(), commits.join("` or `"));
                Err(CheckoutError::Checksum { wanted, found })
            }
            _ => Ok(()),
        }
    }

    /// Makes a repository that has the commit.
    fn fetch(&mut self, tip: &Tip) -> Result<(), CheckoutError> {
        let format = if tip.commit.len() == 64 { "sha256" } else { "sha1" };
        self.local(&["init", "-q", &format!("--object-format={format}")])?;
        let remote = self.remote.clone();
        self.local(&["remote", "add", "--", "origin", &remote])?;
        // The reference has the name in `.git` that it has there.
        let spec = match tip.name.strip_prefix("refs/") {
            Some(_) => format!("+{0}:{0}", tip.name),
            None => tip.name.clone(),
        };
        let shallow = ["fetch", "-q", "-u", "--no-tags", "--depth", "1", "--", "origin", &spec];
        match self.runner.run(&shallow) {
            Ok(_) if self.has(&tip.commit)? => return Ok(()),
            Ok(_) | Err(Failed::Said(_)) => {}
            Err(failed) => return Err(self.unreachable(failed)),
        }
        // Not every server can leave the history out, or give a commit by its name; and the
        // reference may have moved on in the meantime.
        let is_shallow = self.folder.join(".git/shallow").exists();
        let mut whole = vec!["fetch", "-q", "-u", "--tags"];
        whole.extend(is_shallow.then_some("--unshallow"));
        whole.extend(["--", "origin", "+refs/heads/*:refs/heads/*"]);
        whole.extend((tip.name != tip.commit).then_some(spec.as_str()));
        self.reach(&whole)?;
        if self.has(&tip.commit)? { Ok(()) } else { Err(self.no_reference(tip.commit.clone())) }
    }

    /// Whether the commit is here.
    fn has(&mut self, commit: &str) -> Result<bool, CheckoutError> {
        match self.runner.run(&["rev-parse", "-q", "--verify", &format!("{commit}^{{commit}}")]) {
            Ok(_) => Ok(true),
            Err(Failed::Said(_)) => Ok(false),
            Err(failed) => Err(self.broken(failed)),
        }
    }

    fn submodules(&mut self) -> Result<(), CheckoutError> {
        let update = ["submodule", "update", "-q", "--init", "--recursive"];
        match self.runner.run(&[&update[..], &["--depth", "1"]].concat()) {
            Ok(_) => Ok(()),
            Err(Failed::Said(_)) => self.local(&update).map(drop),
            Err(failed) => Err(self.broken(failed)),
        }
    }

    fn commit_time(&mut self) -> Result<SystemTime, CheckoutError> {
        let said = self.local(&["log", "-1", "--format=%ct", "HEAD"])?;
        match said.trim().parse() {
            Ok(seconds) => Ok(UNIX_EPOCH + Duration::from_secs(seconds)),
            Err(_) => {
                let said = format!("`{}` is no time", bakehouse_render::clean(said.trim()));
                Err(self.broken(Failed::Said(said)))
            }
        }
    }

    /// A command that needs the remote.
    fn reach(&mut self, args: &[&str]) -> Result<String, CheckoutError> {
        self.runner.run(args).map_err(|failed| self.unreachable(failed))
    }

    /// A command that needs nothing but what is there.
    fn local(&mut self, args: &[&str]) -> Result<String, CheckoutError> {
        self.runner.run(args).map_err(|failed| self.broken(failed))
    }

    fn unreachable(&self, failed: Failed) -> CheckoutError {
        match self.broken(failed) {
            CheckoutError::Broken { remote, said } => CheckoutError::Unreachable { remote, said },
            other => other,
        }
    }

    fn broken(&self, failed: Failed) -> CheckoutError {
        broken(self.source, failed)
    }

    fn no_reference(&self, reference: String) -> CheckoutError {
        CheckoutError::NoReference { remote: shown(self.source), reference }
    }
}

fn broken(source: &GitSource, failed: Failed) -> CheckoutError {
    match failed {
        Failed::Start(error) => CheckoutError::NoGit(error),
        Failed::Cancelled => CheckoutError::Cancelled,
        Failed::Said(said) => CheckoutError::Broken { remote: shown(source), said },
    }
}

/// The remote without a password.
fn shown(source: &GitSource) -> String {
    bakehouse_render::clean(&without_password(&source.remote))
}

/// The folder of a checkout that is wanted; never one outside of it, nor one behind a link.
fn subdir(work: &Path, subdir: Option<&str>) -> Result<PathBuf, CheckoutError> {
    let Some(subdir) = subdir else { return Ok(work.to_path_buf()) };
    let mut path = work.to_path_buf();
    for part in subdir.split('/').filter(|part| !part.is_empty()) {
        path.push(part);
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if !is_folder || part == ".." {
            return Err(CheckoutError::NoFolder { subdir: subdir.to_owned() });
        }
    }
    Ok(path)
}

fn move_contents(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Takes out of a `.git`, and those of submodules in it, what is of this checkout only.
fn forget(dot_git: &Path) -> io::Result<()> {
    for name in ["FETCH_HEAD", "logs", "hooks"] {
        remove(&dot_git.join(name))?;
    }
    let mut folders = vec![dot_git.join("modules")];
    while let Some(folder) = folders.pop().filter(|folder| folder.is_dir()) {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            // The name of a submodule may have slashes.
            if entry.path().join("HEAD").exists() {
                forget(&entry.path())?;
            } else {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Gives all that is in a checkout one time, links too.
fn set_times(work: &Path, time: SystemTime) -> io::Result<()> {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let set = |path: &Path| utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    let mut folders = vec![work.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                set(&entry.path())?;
            }
        }
        set(&folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_a_checkout_is_never_outside_of_it() {
        let work = tempfile::tempdir().unwrap();
        fs::create_dir_all(work.path().join("a/b")).unwrap();
        fs::write(work.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("/etc", work.path().join("etc")).unwrap();
        std::os::unix::fs::symlink("a", work.path().join("link")).unwrap();
        let cases =
            [("a/b", true), ("/a/", true), ("file", false), ("etc", false), ("link/b", false)];
        for (path, there) in cases.into_iter().chain([("..", false), ("none", false)]) {
            assert_eq!(subdir(work.path(), Some(path)).is_ok(), there, "{path}");
        }
    }
}
