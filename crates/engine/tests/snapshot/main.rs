//! Layers as directories, tars and mounts, held against each other.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod hostile;
mod layers;
mod mounted;
mod random;
mod stored;
mod tree;

use std::process::Command;

/// Layers hold files of many owners, so whoever is not root is root of a namespace for them.
#[test]
fn an_ordinary_user_tests_in_a_user_namespace() {
    if tree::may_own() {
        return;
    }
    let inside = |program: &std::path::Path, arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]).arg(program).args(arguments);
        command.output().is_ok_and(|output| output.status.success())
    };
    if !inside("true".as_ref(), &[]) {
        skip("this user may make no user namespace");
        return;
    }
    assert!(inside(&std::env::current_exe().unwrap(), &[]), "run this test in `unshare -Urm`");
}

#[expect(clippy::print_stderr, reason = "a test that does not run says why")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
