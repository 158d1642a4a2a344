//! Several processes and one store.
//!
//! Each test runs this binary again as its other processes: `BAKEHOUSE_STORE_TEST_HOME`
//! says that a process is one of those.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod full;
mod race;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const HOME: &str = "BAKEHOUSE_STORE_TEST_HOME";

/// The home to work in, if this process was started by a test.
fn given_home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}

/// Runs the test `name` of this binary in another process, on the store at `home`.
fn start(name: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
