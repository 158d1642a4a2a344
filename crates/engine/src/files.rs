//! Makes and copies files: what `COPY`, `ADD` and `WORKDIR` do to a file system.
//!
//! [`run`] carries out a [`File`](bakehouse_model::op::File) on a mounted root, with the
//! semantics of BuildKit's file op. [`digest`] computes the content key of what such an
//! op would read. Both read [`Tree`]s. Nothing is written or read outside the roots that
//! are given, whatever links the files contain.

pub(crate) mod entry;
pub(crate) mod tree;

mod archive;
mod copy;
mod digest;
mod make;
mod mode;
mod owner;
mod select;
mod tar;
mod target;
mod unpack;
mod xattr;

use std::error::Error;

use bakehouse_model::op::{self, FileAction};
use thiserror::Error;

pub use archive::ArchiveError;
pub use digest::{ContentDigest, DigestError, Selection, digest, digest_alone};
pub use mode::ModeError;
pub use owner::OWNER_XATTR;
pub use target::{Listing, ListingError};
pub use tree::{Mounted, Tree, TreeError};

use crate::Root;
use crate::context::{PatternError, Patterns};
use target::{Disk, Target};

/// Why an input could not be had.
pub type InputError = Box<dyn Error + Send + Sync>;

/// What is the same for all actions of a run.
#[derive(Debug, Clone, Copy)]
pub struct Options<'o> {
    /// What patterns and wildcards mean.
    pub patterns: &'o dyn Patterns,
    /// The time, in seconds, of what is made and has no time of its own; now if none.
    pub source_date_epoch: Option<i64>,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Files made or copied, links and devices too.
    pub files: u64,
    /// Directories made.
    pub directories: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Archives unpacked.
    pub archives: u64,
    /// Extended attributes that the file system did not take.
    pub refused_xattrs: u64,
    /// Source files that were not, when they were copied, what the tree had listed: the
    /// content key computed before does not speak of what was copied.
    pub changed: Vec<String>,
}

/// A file op failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilesError {
    /// A path is missing, or the system refused.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An input could not be had.
    #[error("cannot read an input of the step")]
    Input {
        /// Why.
        source: InputError,
    },
    /// A pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// The new mode is malformed.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{path}`")]
    Archive {
        /// The archive, in its tree.
        path: String,
        /// Why.
        source: ArchiveError,
    },
    /// The user to own the files is nobody there.
    #[error("user `{name}` is not in `/etc/passwd`")]
    NoUser {
        /// As it was written.
        name: String,
    },
    /// The group to own the files is not there.
    #[error("group `{name}` is not in `/etc/group`")]
    NoGroup {
        /// As it was written.
        name: String,
    },
    /// A file would have to replace a directory.
    #[error("cannot replace to directory `{path}` with file")]
    FileOverDirectory {
        /// The directory.
        path: String,
    },
    /// A directory would have to replace something else.
    #[error("cannot copy to non-directory: `{path}`")]
    DirectoryOverFile {
        /// What is there.
        path: String,
    },
    /// Something on the way to a path is no directory.
    #[error("cannot make `{path}`: not a directory")]
    NotADirectory {
        /// What is there.
        path: String,
    },
}

impl From<DigestError> for FilesError {
    fn from(error: DigestError) -> Self {
        match error {
            DigestError::Tree(error) => Self::Tree(error),
            DigestError::Pattern(error) => Self::Pattern(error),
        }
    }
}

/// What the actions of one run share.
pub(crate) struct Session<'s> {
    pub(crate) target: &'s dyn Target,
    pub(crate) options: Options<'s>,
    pub(crate) stats: Stats,
    inputs: &'s dyn Fn(usize) -> Result<Tree, InputError>,
}

/// Carries out the actions of `op`, in order, on `base`.
///
/// `inputs` gives the step's inputs by number. The one that `op.base` names must be given as
/// it was before: a directory may be copied into itself.
pub fn run(
    op: &op::File,
    base: &Root,
    inputs: &dyn Fn(usize) -> Result<Tree, InputError>,
    options: Options<'_>,
) -> Result<Stats, FilesError> {
    let disk = Disk::new(base)?;
    let mut session = Session { target: &disk, options, stats: Stats::default(), inputs };
    session.carry_out(op)?;
    session.stats.refused_xattrs += disk.refused_xattrs.get();
    Ok(session.stats)
}

/// What [`run`] would make on top of `base`, as a list of its files; none if the op does more
/// than add such as need only their data to be read.
///
/// Nothing is written, and no file is read.
pub fn list(
    op: &op::File,
    base: &Tree,
    inputs: &dyn Fn(usize) -> Result<Tree, InputError>,
    options: Options<'_>,
) -> Result<Option<Listing>, FilesError> {
    let listing = Listing::new(base);
    let mut session = Session { target: &listing, options, stats: Stats::default(), inputs };
    match session.carry_out(op) {
        _ if listing.has_refused() => Ok(None),
        result => result.map(|()| Some(listing)),
    }
}

/// Copies what is at `selector` of `tree` into the empty `into`, for a mount of it, and
/// says where in `into` it is and what copying it did.
///
/// Owners are as [`run`] would make them, so root's for a context.
pub fn materialise(
    tree: &Tree,
    selector: &str,
    into: &Root,
    options: Options<'_>,
) -> Result<(&'static str, Stats), FilesError> {
    const PLACE: &str = "/content";
    let is_whole = entry::clean(selector.as_bytes()).is_empty();
    let place = op::MakeDir {
        path: PLACE.to_owned(),
        mode: 0o755,
        make_parents: true,
        owner: None,
        timestamp: None,
    };
    // The whole has no attributes of its own; a part brings its own.
    let copy = op::Copy {
        follow_symlink: true,
        dir_copy_contents: is_whole,
        ..op::Copy::plain(0, selector, PLACE)
    };
    let make = is_whole.then_some(FileAction::MakeDir(place));
    let actions = make.into_iter().chain([FileAction::Copy(copy)]).collect();
    let op = op::File { base: None, actions };
    let stats = run(&op, into, &|_| Ok(tree.clone()), options)?;
    Ok((PLACE, stats))
}

impl Session<'_> {
    fn carry_out(&mut self, op: &op::File) -> Result<(), FilesError> {
        for action in &op.actions {
            match action {
                FileAction::Copy(copy) => copy::copy(self, copy)?,
                FileAction::MakeFile(file) => make::file(self, file)?,
                FileAction::MakeDir(dir) => make::dir(self, dir)?,
            }
        }
        Ok(())
    }

    /// The tree of an input; of what is being written if there is no number.
    pub(crate) fn input(&self, number: Option<usize>) -> Result<Tree, InputError> {
        match number {
            None => Ok(self.target.tree()?),
            Some(number) => (self.inputs)(number),
        }
    }

    /// The numbers behind an owner.
    pub(crate) fn owner(
        &self,
        owner: Option<&op::Owner>,
    ) -> Result<Option<(u32, u32)>, FilesError> {
        owner.map(|owner| owner::look_up(owner, |number| self.input(number))).transpose()
    }

    /// The time to give to what is made, as the action or the run wants it.
    pub(crate) fn time(&self, own: Option<i64>) -> Option<entry::Stamp> {
        let secs = own.or(self.options.source_date_epoch)?;
        Some(entry::Stamp { secs, nanos: 0 })
    }
}
