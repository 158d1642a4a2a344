//! The digests of an input's paths, which are made or read only when somebody asks what changed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Short digests by path.
pub type ByPath = BTreeMap<String, String>;

/// The digest of each path of an input; cheap to clone.
#[derive(Clone)]
pub struct Files(Arc<LazyLock<ByPath, Make>>);

type Make = Box<dyn FnOnce() -> ByPath + Send>;

impl Files {
    /// What `make` gives, called at most once and only if it is asked for.
    pub fn later(make: impl FnOnce() -> ByPath + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(make))))
    }

    /// All of them.
    pub fn all(&self) -> &ByPath {
        &self.0
    }
}

impl From<ByPath> for Files {
    fn from(files: ByPath) -> Self {
        Self::later(|| files)
    }
}

impl Default for Files {
    fn default() -> Self {
        Self::from(ByPath::new())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.0).finish()
    }
}
