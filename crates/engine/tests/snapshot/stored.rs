//! Images that go into the store and come out of it.

use std::fs;
use std::path::Path;

use bakehouse_engine::snapshot::{
    ExportOptions, PackedLayer, UnpackError, base_layer, digest_layer, export_layer, unpack_image,
    unpack_layers, unpack_rootfs_tar,
};
use bakehouse_model::oci::{Descriptor, ImageConfig, Manifest, media_type};
use bakehouse_model::{Compression, DiffId, Digest, LayerId, Snapshot};
use bakehouse_store::{LayerMeta, Store};

use crate::tree::{describe, dir, file, mount, overlay_works, tar};

/// Two layers: a base and a step's, made in the store.
fn build(store: &Store) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (name, files) in [("one", vec!["d/a", "d/b"]), ("two", vec!["d/a", "new"])] {
        let stage = store.stage_layer().unwrap();
        for file in files {
            let path = stage.fs().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let id: LayerId = format!("step-{name}").parse().unwrap();
        snapshot.layers.push(stage.commit(&id, LayerMeta::default()).unwrap());
    }
    snapshot
}

fn export(store: &Store, snapshot: &Snapshot, compression: Compression) -> (Manifest, ImageConfig) {
    let mut config = ImageConfig::default();
    let empty = Descriptor::new(media_type::CONFIG, Digest::of("{}"), 2);
    let mut manifest = Manifest {
        schema_version: 2,
        media_type: None,
        config: empty,
        layers: vec![],
        annotations: Default::default(),
        extra: Default::default(),
    };
    for (at, layer) in snapshot.layers.iter().enumerate() {
        let lowers = &snapshot.layers[..at];
        let options = ExportOptions::default();
        let (diff_id, blob) = export_layer(store, layer, lowers, compression, options).unwrap();
        config.rootfs.diff_ids.push(diff_id);
        manifest.layers.push(blob);
    }
    (manifest, config)
}

fn tree_of(store: &Store, snapshot: &Snapshot) -> Vec<String> {
    let paths: Vec<_> = snapshot.layers.iter().map(|id| store.layer_path(id)).collect();
    describe(&mount(&paths))
}

#[test]
fn an_image_that_was_exported_unpacks_to_the_same_files() {
    let folder = tempfile::tempdir().unwrap();
    if !overlay_works(folder.path()) {
        return;
    }
    let store = Store::open(&folder.path().join("store")).unwrap();
    let snapshot = build(&store);
    let mut diff_ids = vec![];
    for compression in [Compression::Zstd, Compression::Gzip, Compression::Uncompressed] {
        let (manifest, config) = export(&store, &snapshot, compression);
        assert_eq!(manifest.layers[0].compression(), Some(compression));
        diff_ids.push(config.rootfs.diff_ids.clone());
        let other = Store::open(&folder.path().join(format!("{compression:?}"))).unwrap();
        for blob in &manifest.layers {
            other.put_blob(&store.read_blob(&blob.digest, 1 << 30).unwrap()).unwrap();
        }
        let mut heard = vec![];
        let mut progress = |done, of| heard.push((done, of));
        let unpacked = unpack_image(&other, &manifest, &config, &mut progress).unwrap();
        assert_eq!(heard, [(1, 2), (2, 2)]);
        assert_eq!(unpacked.layers.last(), base_layer(&config.rootfs.diff_ids).as_ref());
        assert_eq!(tree_of(&other, &unpacked), tree_of(&store, &snapshot));
        // Again, from what is there: the blobs too are those that came.
        let again = unpack_image(&other, &manifest, &config, &mut |_, _| {}).unwrap();
        assert_eq!(again, unpacked);
        assert_eq!(export(&other, &unpacked, compression).0.layers, manifest.layers);
        // Another packing of a base has the same tar.
        let repacked = export(&other, &unpacked, Compression::Gzip);
        assert_eq!(repacked.1.rootfs.diff_ids, config.rootfs.diff_ids);
    }
    assert!(diff_ids.windows(2).all(|pair| pair[0] == pair[1]));
    let top = &snapshot.layers[1];
    let options = ExportOptions::default();
    let digest = digest_layer(&store, top, &snapshot.layers[..1], options).unwrap();
    assert_eq!(digest, diff_ids[0][1]);
}

#[test]
fn a_layer_that_is_not_what_the_configuration_says_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let mut snapshot = build(&store);
    snapshot.layers.truncate(1);
    let (manifest, mut config) = export(&store, &snapshot, Compression::Gzip);
    config.rootfs.diff_ids[0] = DiffId(Digest::of("another"));
    let error = unpack_image(&store, &manifest, &config, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, UnpackError::Mismatch { .. }), "{error}");
    assert!(!store.has_layer(&base_layer(&config.rootfs.diff_ids).unwrap()));
    config.rootfs.diff_ids.clear();
    let error = unpack_image(&store, &manifest, &config, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "the manifest has 1 layers, the configuration 0");
}

/// Every blob of a store's layer, packed in each way.
fn packed(store: &Store, layer: &LayerId) -> (DiffId, Vec<Descriptor>) {
    let all = [Compression::Gzip, Compression::Zstd, Compression::Uncompressed];
    let export = |compression| {
        export_layer(store, layer, &[], compression, ExportOptions::default()).unwrap()
    };
    let made = all.map(export);
    (made[0].0.clone(), made.into_iter().map(|(_, blob)| blob).collect())
}

#[test]
fn a_blob_is_not_taken_for_a_layer_that_is_there_before_it_was_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let snapshot = build(&store);
    let (diff_id, honest) = packed(&store, &snapshot.layers[0]);
    let (_, other) = packed(&store, &snapshot.layers[1]);
    let here = Store::open(&folder.path().join("here")).unwrap();
    let given = |blob: &Descriptor, as_: &Descriptor| {
        here.put_blob(&store.read_blob(&blob.digest, 1 << 30).unwrap()).unwrap();
        let blob = Descriptor { media_type: as_.media_type.clone(), ..blob.clone() };
        let layer = PackedLayer { blob, diff_id: diff_id.clone(), created_ms: 0 };
        unpack_layers(&here, &[layer], &mut |_, _| {})
    };
    let base = given(&honest[0], &honest[0]).unwrap();
    for hostile in &other[1..] {
        let error = given(hostile, hostile).unwrap_err();
        assert!(matches!(error, UnpackError::Mismatch { .. }), "{error}");
    }
    // One that is packed in another way than it says is what it is.
    given(&honest[0], &honest[1]).unwrap();
    assert_eq!(here.layer_blob(&diff_id, Compression::Zstd).unwrap(), None);
    given(&honest[2], &honest[2]).unwrap();
    let plain = here.layer_blob(&diff_id, Compression::Uncompressed).unwrap();
    assert_eq!(plain.as_ref(), Some(&honest[2]), "what was looked at is remembered");
    assert_eq!(
        packed(&here, &base.layers[0]),
        (diff_id.clone(), honest),
        "nothing hostile is sent"
    );
}

#[test]
fn a_file_system_in_a_tar_is_a_base_of_one_layer() {
    if !crate::tree::may_own() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let path = folder.path().join("root.tar");
    let bytes =
        tar(&[dir("./"), dir("./etc/"), file("./etc/passwd", "root:x:0:0::/root:/bin/sh\n")]);
    fs::write(&path, &bytes).unwrap();
    for _ in 0..2 {
        let (snapshot, diff_id) = unpack_rootfs_tar(&store, &path).unwrap();
        assert_eq!(diff_id.0, Digest::of(&bytes));
        let layer = &snapshot.layers[0];
        assert!(store.layer_path(layer).join("etc/passwd").exists());
        let options = ExportOptions::default();
        let blob = export_layer(&store, layer, &[], Compression::Zstd, options).unwrap();
        assert_eq!(blob.0, diff_id);
    }
    unpack_rootfs_tar(&store, Path::new("/nonexistent/tar")).unwrap_err();
}

#[test]
fn a_clamped_layer_is_another_one_and_does_not_become_the_layers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let layer = &build(&store).layers[0];
    let make = |clamp| {
        let options = ExportOptions { clamp, ..ExportOptions::default() };
        export_layer(&store, layer, &[], Compression::Gzip, options).unwrap()
    };
    let (early, plain) = (make(Some(1)), make(None));
    assert_ne!(early, plain);
    assert_eq!((make(Some(1)), make(None)), (early, plain));
}
