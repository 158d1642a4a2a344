//! Checking out a Git repository, with the `git` of the user who builds.
//!
//! The user's credentials, agent and proxies count; hooks, prompts, remote helpers that run
//! programs and repositories on this machine do not: whoever writes a Dockerfile says what is
//! fetched, and gets nothing else for it. What a repository is at is asked first and then
//! fetched without its history, where the server can do that.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bakehouse_model::op::GitSource;
use bakehouse_plan::gitaddress::GitAddress;
use thiserror::Error;

/// Settings that no repository and no user changes. Folders of this machine are no remotes, not
/// even of submodules.
const SETTINGS: [&str; 7] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "protocol.file.allow=never",
    "protocol.ext.allow=never",
    "init.defaultBranch=master",
    "advice.detachedHead=false",
];

/// Why there is no checkout.
#[derive(Debug, Error)]
pub(crate) enum CheckoutError {
    /// There is no `git`.
    #[error("cannot start `git`")]
    NoGit(#[source] io::Error),
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
/// `work` is an empty folder on the same file system; `log` is told what git says.
pub(crate) fn checkout(
    source: &GitSource,
    (work, into): (&Path, &Path),
    log: &mut dyn FnMut(&str),
) -> Result<String, CheckoutError> {
    let mut git = Git { source, folder: work.to_path_buf(), log };
    let tip = git.tip()?;
    git.fetch(&tip)?;
    if source.submodules {
        let update = ["submodule", "update", "-q", "--init", "--recursive", "--depth", "1"];
        if git.run(&update).is_err() {
            git.broken(&update[..update.len() - 2])?;
        }
    }
    if source.commit_times {
        let time = git.broken(&["log", "-1", "--format=%ct", "HEAD"])?;
        let time = Duration::from_secs(time.trim().parse().unwrap_or(0));
        set_times(work, SystemTime::UNIX_EPOCH + time).map_err(CheckoutError::Folder)?;
    }
    let dot_git = work.join(".git");
    if source.keep_git_dir {
        for name in ["FETCH_HEAD", "logs", "hooks"] {
            remove(&dot_git.join(name)).map_err(CheckoutError::Folder)?;
        }
    } else {
        remove(&dot_git).map_err(CheckoutError::Folder)?;
    }
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
    folder: PathBuf,
    log: &'a mut dyn FnMut(&str),
}

impl Git<'_> {
    /// Asks the remote what the reference points at, unless it is a commit.
    fn tip(&mut self) -> Result<Tip, CheckoutError> {
        let wanted = self.source.reference.clone();
        if let Some(commit) = wanted.as_deref().filter(|name| GitAddress::is_commit(name)) {
            self.check(&[commit])?;
            return Ok(Tip { name: commit.to_owned(), commit: commit.to_owned() });
        }
        let name = wanted.unwrap_or_else(|| "HEAD".to_owned());
        let remote = self.source.remote.clone();
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
        let Some((name, commit)) = found else {
            let reference = name;
            return Err(CheckoutError::NoReference { remote: self.shown(), reference });
        };
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

    fn fetch(&mut self, tip: &Tip) -> Result<(), CheckoutError> {
        let format = if tip.commit.len() == 64 { "sha256" } else { "sha1" };
        self.broken(&["init", "-q", &format!("--object-format={format}")])?;
        let remote = self.source.remote.clone();
        self.broken(&["remote", "add", "--", "origin", &remote])?;
        // The reference has the name in `.git` that it has there.
        let spec = match tip.name.strip_prefix("refs/") {
            Some(_) => format!("+{0}:{0}", tip.name),
            None => tip.name.clone(),
        };
        let shallow = ["fetch", "-q", "-u", "--no-tags", "--depth", "1", "--", "origin", &spec];
        if self.reach(&shallow).is_err() {
            // Not every server can leave the history out, or give a commit by its name.
            self.reach(&[
                "fetch",
                "-q",
                "-u",
                "--tags",
                "--",
                "origin",
                "+refs/heads/*:refs/heads/*",
            ])?;
        }
        self.run(&["checkout", "-q", "--detach", &tip.commit]).map(drop).map_err(
            |error| match error {
                Failed::Start(error) => CheckoutError::NoGit(error),
                Failed::Said(_) => CheckoutError::NoReference {
                    remote: self.shown(),
                    reference: tip.commit.clone(),
                },
            },
        )
    }

    /// A command that needs the remote.
    fn reach(&mut self, args: &[&str]) -> Result<String, CheckoutError> {
        self.run(args).map_err(|error| match error {
            Failed::Start(error) => CheckoutError::NoGit(error),
            Failed::Said(said) => CheckoutError::Unreachable { remote: self.shown(), said },
        })
    }

    /// A command that needs nothing but what is there.
    fn broken(&mut self, args: &[&str]) -> Result<String, CheckoutError> {
        self.run(args).map_err(|error| match error {
            Failed::Start(error) => CheckoutError::NoGit(error),
            Failed::Said(said) => CheckoutError::Broken { remote: self.shown(), said },
        })
    }

    fn run(&mut self, args: &[&str]) -> Result<String, Failed> {
        let output = command(&self.folder, args).output().map_err(Failed::Start)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<String> = said.lines().map(bakehouse_render::clean).collect();
        said.iter().for_each(|line| (self.log)(line));
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(Failed::Said(said.last().cloned().unwrap_or_else(|| "git failed".to_owned())))
    }

    /// The remote without a password.
    fn shown(&self) -> String {
        let remote = bakehouse_render::clean(&self.source.remote);
        match remote.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.split_once('@').map_or(rest, |(_, host)| host);
                format!("{scheme}://{host}")
            }
            None => remote,
        }
    }
}

enum Failed {
    Start(io::Error),
    Said(String),
}

/// `git`, which asks nobody anything, and makes files as everybody else may read them.
fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "umask 022 && exec git \"$@\"", "git"]);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command.env("GIT_TERMINAL_PROMPT", "0").env("SSH_ASKPASS_REQUIRE", "never").env("LC_ALL", "C");
    command
        .env("GIT_CEILING_DIRECTORIES", folder.parent().map_or(OsStr::new("/"), Path::as_os_str));
    let says_how = |name: &str| std::env::var_os(name).is_some();
    if !says_how("GIT_SSH_COMMAND") && !says_how("GIT_SSH") {
        command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"] {
        command.env_remove(name);
    }
    command
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

/// Gives files and folders of a checkout one time; links keep theirs.
fn set_times(work: &Path, time: SystemTime) -> io::Result<()> {
    let mut folders = vec![work.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && entry.file_name() != ".git" {
                folders.push(entry.path());
            } else if kind.is_file() {
                fs::File::open(entry.path())?.set_modified(time)?;
            }
        }
        fs::File::open(&folder)?.set_modified(time)?;
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
