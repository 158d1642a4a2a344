//! The fleet as a drawing: what stands on what.
//!
//! A [`Graph`] is plain data: the images, each with what it needs and with what is known
//! of it. Four functions draw it, and none of them trusts a word of it:
//!
//! - [`text`], a tree for terminals: every image once in full, below its deepest need, and
//!   as a reference below each other need;
//! - [`dot`], for Graphviz;
//! - [`mermaid`], for the places that draw Markdown;
//! - [`svg`], a picture that needs nobody else: no scripts, no fonts, no addresses.
//!
//! All of them are functions of the graph alone and keep the order of its images, so the
//! same fleet gives the same bytes. An image's level is the longest chain of images of the
//! fleet below it; it is counted here, as is how many images stand on each.
//!
//! A fleet that cannot be built is drawn too: a need that closes a cycle is left out of the
//! drawing and said in words beside the image that has it, and a need that is no image of
//! the fleet is a base from outside. Time and memory grow with images and edges, not with
//! the depth or the density of what they form.

mod dot;
mod layout;
mod mermaid;
mod net;
mod svg;
mod tree;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;
pub use tree::text;

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    /// What it is called: the repository, as a rule.
    pub title: String,
    /// The images. Of two with one name, the first is meant by the needs of others.
    pub nodes: Vec<Node>,
}

/// An image of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// Name in the fleet.
    pub name: String,
    /// Its Dockerfile.
    pub file: String,
    /// Its build context; empty if it goes without saying.
    pub context: String,
    /// Images of the fleet that it stands on.
    pub needs: Vec<Edge>,
    /// Images from outside that it stands on.
    pub external: Vec<Edge>,
    /// What kind of image it is: a tier, a family.
    pub class: Option<String>,
    /// How long a build of it is expected to take.
    pub cost_ms: Option<u64>,
    /// How large it is.
    pub size_bytes: Option<u64>,
    /// The references under which it is published.
    pub tags: Vec<String>,
    /// Anything else worth a word.
    pub notes: Vec<String>,
}

/// That an image stands on another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The other one, by its name in the fleet or by its reference.
    pub to: String,
    /// How.
    pub via: Via,
}

impl Edge {
    /// An edge to `to`.
    pub fn new(to: impl Into<String>, via: Via) -> Self {
        Self { to: to.into(), via }
    }
}

/// How an image stands on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// It continues it: `FROM`.
    From,
    /// It takes files out of it: `COPY --from`.
    Copy,
    /// It looks into it while it builds: `RUN --mount=from=`.
    Mount,
    /// A build definition gives it as a named context.
    Context,
    /// It is another name for it.
    Tag,
}

impl Via {
    /// As a Dockerfile or a build definition says it.
    pub fn word(self) -> &'static str {
        match self {
            Self::From => "FROM",
            Self::Copy => "COPY --from",
            Self::Mount => "RUN --mount",
            Self::Context => "context",
            Self::Tag => "tag",
        }
    }
}

#[cfg(test)]
mod samples;
