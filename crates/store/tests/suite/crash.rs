//! Processes that are killed in the middle.

use std::fs;
use std::io::Write as _;

use bakehouse_model::{Digest, LayerId};
use bakehouse_store::{LayerMeta, Store};

use crate::{given_home, start};

fn layer(text: &str) -> LayerId {
    text.parse().unwrap()
}

/// Begins one of everything, finishes one of everything, and dies without a word.
fn begin_and_die(store: &Store) -> ! {
    let finished = store.stage_layer().unwrap();
    finished.commit(&layer("finished"), LayerMeta::default()).unwrap();
    store.put_blob(b"finished").unwrap();

    let stage = store.stage_layer().unwrap();
    fs::create_dir_all(stage.fs().join("usr/lib")).unwrap();
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(b"half a b").unwrap();
    let mut partial = store.resume(&Digest::of("a whole download")).unwrap();
    partial.write_all(b"a whole ").unwrap();
    let lease = store.lease().unwrap();
    lease.hold_layers([&layer("finished")]).unwrap();
    let cache = store.cache_mount("apt", bakehouse_model::op::Sharing::Locked).unwrap();
    fs::write(cache.path().unwrap().join("file"), "x").unwrap();
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
        .unwrap();
    unreachable!("nobody survives that signal")
}

#[test]
fn what_a_killed_process_began_is_gone_and_what_it_finished_is_there() {
    if let Some(home) = given_home() {
        begin_and_die(&Store::open(&home).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "crash::what_a_killed_process_began_is_gone_and_what_it_finished_is_there";
    assert!(!start(name, folder.path()).wait().unwrap().success());
    let tmp = folder.path().join("tmp");
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 2, "a folder and its lock");

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    assert!(store.has_layer(&layer("finished")));
    assert_eq!(store.read_blob(&Digest::of("finished"), 100).unwrap(), b"finished");
    assert_eq!(fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(folder.path().join("layers-v1")).unwrap().count(), 1);

    let mut partial = store.resume(&Digest::of("a whole download")).unwrap();
    assert_eq!(partial.offset(), 8);
    partial.write_all(b"download").unwrap();
    partial.commit(Some(16)).unwrap();
    let lease = store.lease().unwrap();
    assert_eq!(fs::read_dir(folder.path().join("leases")).unwrap().count(), 1);
    drop(lease);
    let sharing = bakehouse_model::op::Sharing::Locked;
    let cache = store.try_cache_mount("apt", sharing).unwrap().unwrap();
    assert!(cache.is_new() && cache.path().unwrap().join("file").exists());
}

#[test]
fn a_live_process_keeps_its_unfinished_work() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stage = store.stage_layer().unwrap();
    let mut ingest = store.ingest().unwrap();
    ingest.write_all(b"x").unwrap();
    Store::open(folder.path()).unwrap();
    assert!(stage.fs().is_dir());
    ingest.commit(None).unwrap();
    stage.commit(&layer("a"), LayerMeta::default()).unwrap();
}

#[test]
fn a_store_without_its_index_keeps_its_blobs_and_makes_its_layers_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let digest = store.put_blob(b"blob").unwrap();
    store.stage_layer().unwrap().commit(&layer("a"), LayerMeta::default()).unwrap();
    drop(store);
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("index-v1.sqlite") {
            fs::remove_file(path).unwrap();
        }
    }
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(store.blob_size(&digest), Some(4));
    assert!(!store.has_layer(&layer("a")));
    store.stage_layer().unwrap().commit(&layer("a"), LayerMeta::default()).unwrap();
    assert!(store.has_layer(&layer("a")));
}
