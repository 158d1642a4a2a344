//! What a bake file may learn of the machine that it is read on.

use std::cell::Cell;
use std::fmt;

/// Everything that is not written in the files.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// `BAKE_LOCAL_PLATFORM`.
    pub local_platform: &'a str,
    /// `BAKE_CMD_CONTEXT`.
    pub cmd_context: &'a str,
    /// The time that `timestamp()` gives, in seconds since 1970.
    pub now: i64,
    /// What `homedir()` gives.
    pub home: &'a str,
    /// What `uuidv4()` draws from. The same luck gives the same IDs.
    pub luck: u128,
    pub(crate) draws: Cell<u64>,
}

impl<'a> Surroundings<'a> {
    /// A Linux machine in 1970, with this environment.
    pub fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            local_platform: "linux/amd64",
            cmd_context: "cwd://",
            now: 0,
            home: "/root",
            luck: 0,
            draws: Cell::new(0),
        }
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Surroundings");
        it.field("local_platform", &self.local_platform).field("cmd_context", &self.cmd_context);
        it.field("now", &self.now).field("home", &self.home).finish_non_exhaustive()
    }
}
