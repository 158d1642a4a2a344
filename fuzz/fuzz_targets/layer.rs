//! Any bytes as a layer's tar: unpacked, and if it is one, written and unpacked again.
//!
//! Run it as an ordinary user in a user namespace (`unshare -r`): nothing outside of the folder
//! may change, and as nobody nothing of the machine could.
#![no_main]

use std::fs;
use std::path::Path;

use bakehouse_engine::Root;
use bakehouse_engine::snapshot::{ApplyError, Limits, apply, decompress};
use bakehouse_fuzz::written;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { entries: 200, bytes: 1 << 20, path: 1000, xattr: 1000 };

fn unpack(tar: &[u8], layer: &Path, below: Option<&Path>) -> Result<(), ApplyError> {
    fs::create_dir(layer).unwrap();
    let root = Root::open_dir(layer).unwrap();
    let below = below.map(|below| Root::open_dir(below).unwrap());
    apply(tar, &root, below.as_ref(), &LIMITS).map(drop)
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut source) = decompress(bytes, None, 4 << 20) else { return };
    let mut tar = Vec::new();
    if std::io::Read::read_to_end(&mut source, &mut tar).is_err() {
        tar = bytes.to_vec();
    }
    let outer = tempfile::tempdir().unwrap();
    let at = |name: &str| outer.path().join(name);
    fs::write(at("canary"), "as it was").unwrap();
    fs::create_dir_all(at("below/dir")).unwrap();
    fs::write(at("below/dir/file"), "below").unwrap();
    std::os::unix::fs::symlink("../..", at("below/up")).unwrap();
    drop(unpack(&tar, &at("above"), Some(&at("below"))));
    let unpacked = unpack(&tar, &at("first"), None);
    let same = |name: &str, text: &str| fs::read_to_string(at(name)).unwrap() == text;
    assert!(same("canary", "as it was") && same("below/dir/file", "below"));
    let mut names: Vec<_> =
        fs::read_dir(outer.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["above", "below", "canary", "first"]);
    if unpacked.is_ok()
        && let Ok(first) = written(&at("first"), None)
    {
        unpack(&first, &at("second"), None).expect("what was written can be read");
        let second = written(&at("second"), None).expect("what was read can be written");
        assert!(first == second, "the same files give the same tar");
    }
});
