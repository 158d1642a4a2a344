//! Bake files: what `docker buildx bake` would build.
//!
//! [`read`] evaluates HCL and JSON bake files, several of them on top of each other, to a
//! [`Bake`]: the targets and groups that they define, and diagnostics with file, line and column
//! for what is wrong. [`Bake::resolve`] then settles what was asked for, with inheritance and
//! `--set`, to the very document that `docker buildx bake --print` prints (Buildx 0.29);
//! [`Bake::resolve_all`] gives every target that can be had although others cannot.
//!
//! Pure: files, environment, time and platform come in as arguments. Total: no input makes it
//! panic, overflow its stack or run for long; what would is a diagnostic.

mod checks;
mod convert;
mod csv;
mod entries;
mod eval;
mod functions;
mod hcl;
mod load;
mod number;
mod paths;
mod print;
mod resolve;
mod sets;
mod source;
mod surroundings;
mod syntax;
mod target;
mod typexpr;
mod value;

pub use entries::{Attest, Cache, Output, Secret, Ssh};
pub use hcl::to_hcl;
pub use load::Group;
pub use resolve::{Bake, Resolved, read};
pub use sets::Set;
pub use source::SourceFile;
pub use surroundings::Surroundings;
pub use target::Target;
