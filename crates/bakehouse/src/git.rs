//! Asks the `git` program what versions of a repository have at which path.
//!
//! Nothing is ever written to the repository: no locks, no refreshed index, no fetched
//! objects, no daemon that watches files. Paths are told as `-z` tells them. An answer that
//! git cannot give is a typed error that says what to do.

mod objects;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bakehouse_plan::affected::EntryKind;
use thiserror::Error;

use crate::failure::{Failure, Kind};

pub use objects::Objects;

/// The mode of a submodule.
const SUBMODULE: &str = "160000";

/// A repository, found.
#[derive(Debug)]
pub struct Repository {
    env: BTreeMap<String, String>,
    /// The top of its work tree.
    pub top: PathBuf,
    /// The path from there to the folder it was asked for, with slashes.
    pub prefix: String,
    /// Whether its history was cut off when it was cloned.
    pub shallow: bool,
}

/// What git could not tell.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GitError {
    /// There is no `git`.
    #[error("cannot start `git`")]
    NotInstalled {
        /// The system's words.
        source: std::io::Error,
    },
    /// The folder is in no repository.
    #[error("`{}` is in no Git repository", path.display())]
    NotARepository {
        /// The folder.
        path: PathBuf,
    },
    /// The repository has no work tree.
    #[error("`{}` is in a Git repository without a work tree", path.display())]
    Bare {
        /// The folder.
        path: PathBuf,
    },
    /// The repository is somebody else's, and git does not trust it.
    #[error("git does not trust the repository at `{}`: somebody else owns it", path.display())]
    Untrusted {
        /// The folder.
        path: PathBuf,
    },
    /// The revision is not here.
    #[error("there is no revision `{revision}` in this clone")]
    UnknownRevision {
        /// As it was given.
        revision: String,
        /// Whether the clone is shallow.
        shallow: bool,
    },
    /// Two revisions have no history in common, as far as this clone knows.
    #[error(
        "the history of `{since}` and of `{until}` do not meet in this clone{}",
        ends(boundary)
    )]
    NoMergeBase {
        /// The one.
        since: String,
        /// The other.
        until: String,
        /// Commits at which a shallow clone ends.
        boundary: Vec<String>,
    },
    /// An object is not here, for the clone is a partial one.
    #[error("the object `{object}` is not in this clone")]
    MissingObject {
        /// Its id.
        object: String,
    },
    /// Whatever else.
    #[error("git cannot {doing}: {message}")]
    Failed {
        /// What was asked.
        doing: &'static str,
        /// Its words.
        message: String,
    },
}

fn ends(boundary: &[String]) -> String {
    let short = |commit: &String| format!("`{}`", commit.get(..10).unwrap_or(commit));
    match boundary {
        [] => String::new(),
        some => {
            let shown: Vec<String> = some.iter().take(3).map(short).collect();
            format!(", which is shallow and ends at {}", shown.join(", "))
        }
    }
}

impl GitError {
    /// What to do about it.
    pub fn hints(&self) -> Vec<String> {
        let hint = |text: &str| vec![text.to_owned()];
        match self {
            Self::NotInstalled { .. } => hint("install git, or add its folder to PATH"),
            Self::NotARepository { .. } => {
                hint("go to the repository's folder, or name it with `-C DIR`")
            }
            Self::Bare { .. } => hint("run this in a clone that has its files checked out"),
            Self::Untrusted { path } => vec![format!(
                "if you trust it: `git config --global --add safe.directory {}`",
                path.display()
            )],
            Self::UnknownRevision { revision, shallow } => unknown_revision(revision, *shallow),
            Self::NoMergeBase { boundary, .. } if boundary.is_empty() => {
                hint("compare with the revision itself: `--direct`")
            }
            Self::NoMergeBase { .. } => vec![
                "get the history: `git fetch --unshallow`, or `fetch-depth: 0` in the checkout step"
                    .to_owned(),
                "or compare with the revision itself, whatever happened there since: `--direct`"
                    .to_owned(),
            ],
            Self::MissingObject { .. } => {
                hint("this is a partial clone: get the rest with `git fetch --refetch --no-filter`")
            }
            Self::Failed { .. } => Vec::new(),
        }
    }
}

fn unknown_revision(revision: &str, shallow: bool) -> Vec<String> {
    let name: &str = revision.split(['~', '^', '@']).next().unwrap_or(revision);
    let mut hints = Vec::new();
    if shallow {
        hints.push(
            "the clone is shallow: `git fetch --unshallow`, or `fetch-depth: 0` in the checkout step"
                .to_owned(),
        );
    }
    match name.split_once('/') {
        Some((remote, branch)) if !name.starts_with("refs/") => {
            hints.push(format!("get it: `git fetch {remote} {branch}:refs/remotes/{name}`"));
        }
        _ if name == "HEAD" && !shallow => hints.push("the history is not that long".to_owned()),
        _ if name == "HEAD" => {}
        _ => hints.push(format!("get it: `git fetch origin {name}`")),
    }
    hints
}

impl From<GitError> for Failure {
    fn from(error: GitError) -> Self {
        let kind = match error {
            GitError::UnknownRevision { .. } => Kind::Usage,
            _ => Kind::Environment,
        };
        Self { hints: error.hints(), ..Self::from_error(kind, &error) }
    }
}

/// One path of a version, as git has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// What it is.
    pub kind: EntryKind,
    /// The id of its content, of a submodule its commit; none if git has not hashed it yet.
    pub id: Option<String>,
}

/// A path that is not what it was; none if it is no more.
pub type Change = (String, Option<Blob>);

impl Repository {
    /// The repository that `folder` is in; git gets the variables `env`.
    pub fn open(folder: &Path, env: &BTreeMap<String, String>) -> Result<Self, GitError> {
        let mut repository = Self {
            env: env.clone(),
            top: folder.to_owned(),
            prefix: String::new(),
            shallow: false,
        };
        let asked = ["rev-parse", "--show-toplevel", "--show-prefix", "--is-shallow-repository"];
        let told = repository.ask(&asked)?;
        if !told.worked {
            return Err(no_repository(folder, &told.err));
        }
        let out = String::from_utf8_lossy(&told.out).into_owned();
        let mut lines = out.lines();
        let mut next = || lines.next().unwrap_or_default();
        let (top, prefix, shallow) = (next(), next(), next());
        repository.prefix = prefix.trim_end_matches('/').to_owned();
        repository.shallow = shallow == "true";
        repository.top = PathBuf::from(top);
        Ok(repository)
    }

    /// The commit that a revision means.
    pub fn commit(&self, revision: &str) -> Result<String, GitError> {
        let asked = format!("{revision}^{{commit}}");
        let told = self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &asked])?;
        let text = String::from_utf8_lossy(&told.out);
        // Some versions repeat the separator.
        let id = text.lines().rfind(|line| !line.starts_with('-')).unwrap_or_default();
        if told.worked && !id.is_empty() {
            return Ok(id.to_owned());
        }
        let (revision, shallow) = (revision.to_owned(), self.shallow);
        Err(GitError::UnknownRevision { revision, shallow })
    }

    /// The commit at which the histories of two commits part; `names` are theirs for people.
    pub fn merge_base(
        &self,
        (since, until): (&str, &str),
        names: (&str, &str),
    ) -> Result<String, GitError> {
        if since == until {
            return Ok(since.to_owned());
        }
        let told = self.ask(&["merge-base", since, until])?;
        match String::from_utf8_lossy(&told.out).lines().next() {
            Some(base) if told.worked => Ok(base.to_owned()),
            // Without an answer and without a complaint there is none.
            _ if told.err.trim().is_empty() => Err(GitError::NoMergeBase {
                since: names.0.to_owned(),
                until: names.1.to_owned(),
                boundary: self.boundary()?,
            }),
            _ => Err(failed("find where the histories part", &told.err)),
        }
    }

    /// The commits at which a shallow clone ends.
    fn boundary(&self) -> Result<Vec<String>, GitError> {
        if !self.shallow {
            return Ok(Vec::new());
        }
        let told = self.ask(&["rev-parse", "--git-path", "shallow"])?;
        let path = self.top.join(String::from_utf8_lossy(&told.out).trim_end());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Every path of a commit.
    pub fn tree(&self, commit: &str) -> Result<BTreeMap<String, Blob>, GitError> {
        let told = self.ask(&["ls-tree", "-r", "-z", "--full-tree", commit])?;
        if !told.worked {
            return Err(failed("list the files of a commit", &told.err));
        }
        let record = |record: &[u8]| {
            let text = String::from_utf8_lossy(record);
            let (about, path) = text.split_once('\t')?;
            let mut words = about.split(' ');
            let (mode, _, id) = (words.next()?, words.next()?, words.next()?);
            Some((path.to_owned(), Blob { kind: kind(mode)?, id: Some(id.to_owned()) }))
        };
        Ok(told.out.split(|byte| *byte == 0).filter_map(record).collect())
    }

    /// What is not in `until` as it is in `since`: in the work tree, if `until` is none, and there
    /// perhaps also files that were only touched, which are not hashed yet.
    pub fn changes(&self, since: &str, until: Option<&str>) -> Result<Vec<Change>, GitError> {
        let mut asked = vec!["diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--no-ext-diff"];
        asked.extend(["--no-textconv", "--ignore-submodules=none", since]);
        asked.extend(until);
        asked.push("--");
        let told = self.ask(&asked)?;
        if !told.worked {
            return Err(failed("compare the versions", &told.err));
        }
        let mut records = told.out.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut changes = Vec::new();
        while let (Some(about), Some(path)) = (records.next(), records.next()) {
            let words: Vec<&str> = about.split(' ').collect();
            let [_, mode, _, id, _] = words[..] else { continue };
            let id = id.bytes().any(|byte| byte != b'0').then(|| id.to_owned());
            let blob = kind(mode).map(|kind| {
                // A submodule whose files are not as in its commit is told with its commit.
                let open = until.is_none() && kind == EntryKind::Submodule;
                Blob { kind, id: id.filter(|_| !open) }
            });
            changes.push((path.into_owned(), blob));
        }
        Ok(changes)
    }

    /// Files of the work tree that git does not know and does not ignore, folders that are
    /// other repositories with a slash at the end.
    pub fn untracked(&self) -> Result<Vec<String>, GitError> {
        let told = self.ask(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        if !told.worked {
            return Err(failed("list the files that are not tracked", &told.err));
        }
        let paths = told.out.split(|byte| *byte == 0).filter(|path| !path.is_empty());
        Ok(paths.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    /// The ids that the contents of files of the work tree have, or would have. No path may
    /// have a line end in it.
    pub fn hash(&self, paths: &[String]) -> Result<Vec<String>, GitError> {
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let input = paths.join("\n") + "\n";
        let told = self.tell(&["hash-object", "--stdin-paths"], &input)?;
        let ids: Vec<String> =
            String::from_utf8_lossy(&told.out).lines().map(str::to_owned).collect();
        if told.worked && ids.len() == paths.len() {
            return Ok(ids);
        }
        Err(failed("hash the files that have changed", &told.err))
    }

    /// The commit that is checked out in a submodule, and whether its files are as there.
    pub fn submodule(&self, path: &str) -> Option<(String, bool)> {
        let folder = self.top.join(path);
        // Without a repository of its own, git would answer for this one.
        folder.join(".git").symlink_metadata().ok()?;
        let within = Self { top: folder, env: self.env.clone(), prefix: String::new(), ..*self };
        let commit = within.commit("HEAD").ok()?;
        let told = within.ask(&["status", "--porcelain", "-z"]).ok()?;
        Some((commit, told.worked && told.out.is_empty()))
    }

    fn ask(&self, args: &[&str]) -> Result<Answer, GitError> {
        self.tell(args, "")
    }

    fn tell(&self, args: &[&str], input: &str) -> Result<Answer, GitError> {
        let started = self.command(args).spawn();
        let mut child = started.map_err(|source| GitError::NotInstalled { source })?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // It may answer before it has heard all.
            scope.spawn(move || {
                // Whoever does not listen to the end says why.
                stdin.map(|mut stdin| stdin.write_all(input.as_bytes()).ok())
            });
            child.wait_with_output()
        });
        let output = output.map_err(|source| GitError::NotInstalled { source })?;
        Ok(Answer {
            worked: output.status.success(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().envs(&self.env);
        // A hook is told where its own repository is; here the folder says it.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
            command.env_remove(name);
        }
        command.envs([
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_LITERAL_PATHSPECS", "1"),
            ("LC_ALL", "C"),
        ]);
        command.args(["--no-pager", "-c", "core.fsmonitor=false"]);
        // A comparison would write what it learns of files that were only touched.
        command.args(["-c", "diff.autoRefreshIndex=false", "-C"]).arg(&self.top).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// What git said.
struct Answer {
    worked: bool,
    out: Vec<u8>,
    err: String,
}

fn kind(mode: &str) -> Option<EntryKind> {
    match mode {
        "100755" => Some(EntryKind::Program),
        "120000" => Some(EntryKind::Link),
        SUBMODULE => Some(EntryKind::Submodule),
        mode if mode.starts_with("100") => Some(EntryKind::File),
        _ => None,
    }
}

fn no_repository(folder: &Path, err: &str) -> GitError {
    let path = folder.to_owned();
    if err.contains("dubious ownership") {
        return GitError::Untrusted { path };
    }
    if err.contains("must be run in a work tree") {
        return GitError::Bare { path };
    }
    if err.contains("not a git repository") {
        return GitError::NotARepository { path };
    }
    failed("look into the repository", err)
}

fn failed(doing: &'static str, err: &str) -> GitError {
    let object = |line: &str| {
        let missing = line.contains("lazy fetching disabled")
            || line.contains("missing")
            || line.contains("unable to read")
            || line.contains("bad object")
            || line.contains("not a tree object");
        let hex = |word: &&str| word.len() >= 40 && word.bytes().all(|b| b.is_ascii_hexdigit());
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        words.find(hex).filter(|_| missing).map(str::to_owned)
    };
    if let Some(object) = err.lines().find_map(object) {
        return GitError::MissingObject { object };
    }
    let first = err.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why");
    let message = first.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned();
    GitError::Failed { doing, message }
}
