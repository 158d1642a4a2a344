//! A disk that is full.

use std::fs;
use std::path::Path;
use std::process::Command;

use bakehouse_model::{Digest, LayerId};
use bakehouse_store::{LayerMeta, Store, StoreError};

use crate::{HOME, given_home};

const NAME: &str = "full::a_full_disk_is_an_error_and_the_store_stays_whole";

/// Runs `command` with a small file system of its own on `home`.
fn on_small_disk(home: &Path, command: &str) -> Command {
    let mut unshare = Command::new("unshare");
    let script = format!("mount -t tmpfs -o size=1m none {} && {command}", home.display());
    unshare.args(["-rm", "sh", "-c", &script]).env(HOME, home);
    unshare
}

fn bytes(number: usize) -> Vec<u8> {
    format!("{number:05}").repeat(8000).into_bytes()
}

/// What does not fit is an error that says so, and everything before it stays.
fn fill(store: &Store) {
    let layer: LayerId = "before".parse().unwrap();
    store.stage_layer().unwrap().commit(&layer, LayerMeta::default()).unwrap();
    let mut kept = Vec::new();
    let error = loop {
        match store.put_blob(&bytes(kept.len())) {
            Ok(digest) => kept.push(digest),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(kept.len() > 5);
    assert_eq!(store.blob_size(&Digest::of(bytes(kept.len()))), None);

    let error = (0_usize..)
        .find_map(|n| store.put_slots(&[(n.to_string(), "x".repeat(4000))]).err())
        .expect("the disk is small");
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(store.has_layer(&layer), "the index still answers");
    for (number, digest) in kept.iter().enumerate() {
        assert_eq!(store.read_blob(digest, 1 << 20).unwrap(), bytes(number));
    }

    fs::remove_file(store.blob_path(&kept[0])).unwrap();
    fs::remove_file(store.blob_path(&kept[1])).unwrap();
    let store = Store::open(store.home()).unwrap();
    store.put_blob(&bytes(0)).unwrap();
    store.put_slots(&[("after".to_owned(), "x".to_owned())]).unwrap();
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn a_full_disk_is_an_error_and_the_store_stays_whole() {
    if let Some(home) = given_home() {
        return fill(&Store::open(&home).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    if !on_small_disk(folder.path(), "true").output().is_ok_and(|it| it.status.success()) {
        eprintln!("skipped: `unshare -rm` and a tmpfs are not allowed here");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let command = format!("exec {} --exact {NAME} --nocapture", this.display());
    let output = on_small_disk(folder.path(), &command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it really ran");
}
