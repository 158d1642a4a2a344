//! Where the values of variables come from.
//!
//! What is set outside comes first, then what env files say, and of those the outer file's before the
//! inner one's. `COMPOSE_PROJECT_NAME` is what it was settled to be, whatever is set.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// The variable that holds the project's name.
pub(crate) const PROJECT_NAME: &str = "COMPOSE_PROJECT_NAME";

/// Values by name. They are shared, since long ones may be asked for often.
pub(crate) type Values = BTreeMap<String, Rc<str>>;

/// The values that a file sees.
#[derive(Clone)]
pub(crate) struct Environment<'a> {
    outside: &'a dyn Fn(&str) -> Option<String>,
    project: Option<Rc<str>>,
    files: Values,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(outside: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { outside, project: None, files: Values::new() }
    }

    /// The same with the values of a further env file, which come last.
    pub(crate) fn with(&self, values: Values) -> Self {
        let mut inner = self.clone();
        for (name, value) in values {
            inner.files.entry(name).or_insert(value);
        }
        inner
    }

    pub(crate) fn set_project(&mut self, name: &str) {
        self.project = Some(name.into());
    }

    pub(crate) fn get(&self, name: &str) -> Option<Rc<str>> {
        if name == PROJECT_NAME && self.project.is_some() {
            return self.project.clone();
        }
        (self.outside)(name).map(Rc::from).or_else(|| self.files.get(name).cloned())
    }

    /// How many values env files give.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        let names: Vec<&String> = self.files.keys().collect();
        f.debug_struct("Environment").field("files", &names).finish_non_exhaustive()
    }
}
