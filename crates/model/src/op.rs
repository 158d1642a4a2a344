//! What a step does, fully resolved: the low-level build language.
//!
//! The shape is BuildKit's LLB (`solver/pb/ops.proto`), so that cache keys can be
//! BuildKit's own: sources, exec and file ops over numbered inputs. Nothing here knows
//! that Dockerfiles exist; every name, path, owner and variable is already resolved,
//! except what only the file system of an input can say (a user's name, a wildcard).

use serde::{Deserialize, Serialize};

use crate::oci::{Platform, Reference};
use crate::{Digest, Snapshot};

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Op {
    /// Brings something in.
    Source(Source),
    /// Runs a process.
    Exec(Exec),
    /// Makes and copies files.
    File(File),
    /// Puts the layers of all inputs on top of each other, in their order.
    Merge,
}

/// Where content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Source {
    /// An image whose layers make a file system.
    Image(ImageSource),
    /// The files of a build context.
    Context(ContextSource),
    /// One file from a URL.
    Http(HttpSource),
    /// A checkout of a Git repository.
    Git(GitSource),
}

/// An image, resolved to one platform's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// As written, normalised.
    pub reference: Reference,
    /// The platform's manifest.
    pub manifest: Digest,
    /// Whose file system it is.
    pub platform: Platform,
    /// The chain id of its layers, which is its cache key; none for an empty image.
    pub chain: Option<crate::ChainId>,
}

/// A build context: a folder on this machine, seen through ignore patterns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextSource {
    /// `context`, or the name given to `--build-context`.
    pub name: String,
    /// The folder, absolute.
    pub root: String,
    /// Ignore patterns as `.dockerignore` has them, cleaned, in order.
    pub ignore: Vec<String>,
}

/// A file to download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSource {
    /// The address.
    pub url: String,
    /// What it must hash to.
    pub checksum: Option<Digest>,
    /// The name of the file in the result's root.
    pub file_name: String,
}

/// A commit to check out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// The remote.
    pub remote: String,
    /// Branch, tag or commit; the remote's default if none.
    pub reference: Option<String>,
    /// Folder of the checkout that is the result's root.
    pub subdir: Option<String>,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// Whether submodules are checked out too.
    pub submodules: bool,
    /// Whether files are as old as the commit, and not as old as the checkout.
    pub commit_times: bool,
    /// The commit it must be, whole or a prefix of it.
    pub checksum: Option<String>,
}

/// A process to run on a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `user[:group]`, by name or number; empty for root.
    pub user: String,
    /// Host name; empty for the default.
    pub hostname: String,
    /// Network it sees.
    pub network: Network,
    /// How far it is trusted.
    pub security: Security,
    /// Extra lines of `/etc/hosts`: host and address.
    pub extra_hosts: Vec<(String, String)>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; none for the default.
    pub shm_size: Option<u64>,
    /// Proxy variables, kept out of the key and the history.
    pub proxy_env: Vec<String>,
    /// Secrets given as variables.
    pub secret_env: Vec<SecretEnv>,
    /// What is mounted where; the first is the root.
    pub mounts: Vec<Mount>,
}

/// The network of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The backend's default: the host's.
    #[default]
    Default,
    /// The host's, asked for by name.
    Host,
    /// Loopback only.
    None,
}

/// How far a process is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Default capabilities, seccomp, masked paths.
    #[default]
    Sandbox,
    /// All of that off; needs the `security.insecure` entitlement.
    Insecure,
}

/// A resource limit, as `setrlimit` names it without `RLIMIT_`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Such as `nofile`.
    pub name: String,
    /// Soft limit; −1 for none.
    pub soft: i64,
    /// Hard limit; −1 for none.
    pub hard: i64,
}

/// A secret in a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEnv {
    /// Which secret.
    pub id: String,
    /// The variable.
    pub name: String,
    /// Whether the step may run without it.
    pub optional: bool,
}

/// One mount of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Which of the step's inputs is mounted; none for an empty directory.
    pub input: Option<usize>,
    /// Path within the input.
    pub selector: String,
    /// Where, absolute.
    pub dest: String,
    /// Whether writes are refused.
    pub readonly: bool,
    /// What it is.
    pub kind: MountKind,
}

/// The kinds of mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum MountKind {
    /// The root: what is written to it is the step's result.
    Root,
    /// Files of an input; writes, if allowed, are thrown away.
    Bind,
    /// A directory that outlives the step and is in no result.
    Cache {
        /// Its name, namespace included.
        id: String,
        /// Who may use it at once.
        sharing: Sharing,
        /// Owner of the directory when it is made.
        uid: u32,
        /// Group of the directory when it is made.
        gid: u32,
        /// Mode of the directory when it is made.
        mode: u32,
    },
    /// Memory.
    Tmpfs {
        /// Size limit in bytes; 0 for none.
        size: u64,
    },
    /// A secret in a file that is in no layer.
    Secret {
        /// Which one.
        id: String,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
        /// Mode of the file.
        mode: u32,
        /// Whether the step may run without it.
        optional: bool,
    },
    /// A socket to the user's SSH agent.
    Ssh {
        /// Which one.
        id: String,
        /// Owner of the socket.
        uid: u32,
        /// Group of the socket.
        gid: u32,
        /// Mode of the socket.
        mode: u32,
        /// Whether the step may run without it.
        optional: bool,
    },
}

impl MountKind {
    /// Whether it is handed over by the user and in no key but by its name: a secret or an
    /// agent. LLB has these after all others.
    pub fn is_guarded(&self) -> bool {
        matches!(self, Self::Secret { .. } | Self::Ssh { .. })
    }
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Each its own.
    Private,
    /// One after the other.
    Locked,
}

/// Files to make and to copy, in order, into one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Which of the step's inputs is written to; none for an empty file system.
    pub base: Option<usize>,
    /// What to do, in order.
    pub actions: Vec<FileAction>,
}

/// One change of a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum FileAction {
    /// Copies from an input.
    Copy(Copy),
    /// Makes a file.
    MakeFile(MakeFile),
    /// Makes a directory.
    MakeDir(MakeDir),
}

/// Copies a path, or what a wildcard matches, of an input.
///
/// Fields mean what `pb.FileActionCopy`'s of the same name mean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Which of the step's inputs is read.
    pub input: usize,
    /// Path or wildcard within it, absolute.
    pub src: String,
    /// Where to, absolute; a final slash means «into».
    pub dest: String,
    /// New owner; kept as it is if none (0:0 from a context).
    pub owner: Option<Owner>,
    /// New permission bits; kept if none.
    pub mode: Option<Mode>,
    /// Follow a link that `src` itself names.
    pub follow_symlink: bool,
    /// Copy what is in a directory, not the directory.
    pub dir_copy_contents: bool,
    /// Unpack if it is an archive.
    pub attempt_unpack: bool,
    /// Make missing parents of `dest`.
    pub create_dest_path: bool,
    /// `src` may have wildcards.
    pub allow_wildcard: bool,
    /// A wildcard may match nothing.
    pub allow_empty_wildcard: bool,
    /// Only what these match.
    pub include_patterns: Vec<String>,
    /// Not what these match.
    pub exclude_patterns: Vec<String>,
    /// Replace a file by a directory and the other way round.
    pub always_replace_existing: bool,
    /// Paths that must exist for `include_patterns` to be of use.
    pub required_paths: Vec<String>,
    /// Modification time to give, in seconds; kept if none.
    pub timestamp: Option<i64>,
}

impl Copy {
    /// A copy of `src` of an input to `dest`, parents made, and nothing else special.
    pub fn plain(input: usize, src: &str, dest: &str) -> Self {
        Self {
            input,
            src: src.to_owned(),
            dest: dest.to_owned(),
            owner: None,
            mode: None,
            follow_symlink: false,
            dir_copy_contents: false,
            attempt_unpack: false,
            create_dest_path: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            always_replace_existing: false,
            required_paths: Vec::new(),
            timestamp: None,
        }
    }
}

/// Makes a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeFile {
    /// Path, absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub data: Vec<u8>,
    /// Owner; 0:0 if none.
    pub owner: Option<Owner>,
    /// Modification time in seconds; now if none.
    pub timestamp: Option<i64>,
}

/// Makes a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeDir {
    /// Path, absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Make missing parents too, and accept one that is there.
    pub make_parents: bool,
    /// Owner; 0:0 if none.
    pub owner: Option<Owner>,
    /// Modification time in seconds; now if none.
    pub timestamp: Option<i64>,
}

/// Who owns what is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub user: Option<Principal>,
    /// The group.
    pub group: Option<Principal>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Principal {
    /// By number.
    Id {
        /// The number.
        id: u32,
    },
    /// By name, looked up in `/etc/passwd` or `/etc/group` of an input; in the file
    /// system being written if none.
    Name {
        /// The name.
        name: String,
        /// Which of the step's inputs has the file.
        input: Option<usize>,
    },
}

/// Permission bits to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "kebab-case")]
pub enum Mode {
    /// In octal.
    Bits {
        /// The bits.
        bits: u32,
    },
    /// As `chmod` reads it: `u=rwX,go=rX`.
    Symbolic {
        /// The text.
        text: String,
    },
}

/// What a step made, for the steps that need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Output {
    /// A file system of layers.
    Snapshot {
        /// The stack.
        snapshot: Snapshot,
    },
    /// A folder of this machine, read in place through its ignore patterns.
    Context {
        /// The source.
        context: ContextSource,
    },
}
