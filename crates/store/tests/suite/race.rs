//! Processes that do the same at the same time.

use std::fs;

use bakehouse_model::{Digest, Key, LayerId, Record, Snapshot};
use bakehouse_store::{LayerMeta, Store};

use crate::{given_home, start};

const ROUNDS: usize = 20;

fn layer(round: usize) -> LayerId {
    format!("layer-{round}").parse().unwrap()
}

fn blob(round: usize) -> Vec<u8> {
    format!("blob {round} ").into_bytes().repeat(1000)
}

#[test]
fn processes_that_make_the_same_things_agree() {
    if let Some(home) = given_home() {
        return make(&Store::open(&home).unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "race::processes_that_make_the_same_things_agree";
    let children: Vec<_> = (0..4).map(|_| start(name, folder.path())).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }

    let store = Store::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(store.home().join("tmp")).unwrap().count(), 0);
    for round in 0..ROUNDS {
        let digest = Digest::of(blob(round));
        assert_eq!(store.read_blob(&digest, 1 << 20).unwrap(), blob(round));
        assert!(store.has_layer(&layer(round)));
        let files = fs::read_dir(store.layer_path(&layer(round))).unwrap().count();
        assert_eq!(files, 10, "a layer of one process, and whole");
        assert_eq!(store.result(&Key(digest.clone())).unwrap(), Some(digest));
    }
}

fn make(store: &Store) {
    for round in 0..ROUNDS {
        let digest = store.put_blob(&blob(round)).unwrap();
        let stage = store.stage_layer().unwrap();
        for file in 0..10 {
            fs::write(stage.fs().join(format!("file-{file}")), "x").unwrap();
        }
        let id = stage.commit(&layer(round), LayerMeta::default()).unwrap();
        assert_eq!(fs::read_dir(store.layer_path(&id)).unwrap().count(), 10);
        let (key, snapshot) = (Key(digest.clone()), Snapshot { layers: vec![id] });
        let record = Record { id: key.clone(), snapshot, created_ms: 1, cost_ms: 1 };
        store.put_record(&[&key], &record).unwrap();
        assert_eq!(store.records(std::slice::from_ref(&key)).unwrap(), [Some(record)]);
        store.put_result(&key, &digest).unwrap();
    }
}
