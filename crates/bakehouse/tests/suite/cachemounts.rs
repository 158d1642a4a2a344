//! `cache-mounts`: what one machine kept, another one has.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use bakehouse_engine::snapshot::{LayerWriter, Packing};
use bakehouse_model::op::Sharing;
use bakehouse_model::{Compression, Digest};
use bakehouse_store::Store;
use bakehouse_testkit::registry::TestRegistry;
use serde_json::{Value, json};

use crate::escapes::tar;
use crate::interrupted::wait_until;
use crate::place::{Place, Told};

const FILL: &str = "FROM machine-base\n\
    RUN --mount=type=cache,target=/root/.cache/pip echo wheel >/root/.cache/pip/wheel; \
    mkdir -p /root/.cache/pip/deep/er && ln -s wheel /root/.cache/pip/link; \
    ln /root/.cache/pip/wheel /root/.cache/pip/deep/hard; chmod 0604 /root/.cache/pip/wheel; \
    seq 1 30000 >/root/.cache/pip/deep/er/numbers\n\
    RUN --mount=type=cache,id=go,mode=0700,target=/go echo module >/go/mod\n";

/// What a build on another machine finds in its caches.
const LOOK: &str = "FROM machine-base\n\
    RUN --mount=type=cache,target=/root/.cache/pip --mount=type=cache,id=go,mode=0700,target=/go \
    cd /root/.cache/pip && cat wheel link deep/hard /go/mod >/seen; tail -1 deep/er/numbers >>/seen; \
    stat -c %a wheel /go >>/seen; test wheel -ef deep/hard && echo one >>/seen\n";

const SEEN: &str = "wheel\nwheel\nwheel\nmodule\n30000\n604\n700\none\n";

/// The same place with a store of its own, as on another machine.
fn elsewhere(place: &mut Place, name: &str) {
    let home = place.path(name).display().to_string();
    place.set("BAKEHOUSE_HOME", home);
}

fn filled() -> Option<Place> {
    let place = Place::that_builds()?;
    place.write("Dockerfile", FILL);
    place.build(&[]).ok();
    Some(place)
}

fn looks_the_same(place: &Place) {
    assert_eq!(place.tree(LOOK, &[]).text("seen"), SEEN);
}

#[test]
fn caches_go_through_a_file_a_folder_and_a_registry() {
    let Some(mut place) = filled() else { return };
    let registry = TestRegistry::start();
    let reference = format!("registry://{}/caches:main", registry.host());
    let folder = format!("{}/", place.path("home/saved").display());
    let file = place.path("home/saved.tar").display().to_string();
    for (at, to) in [file, folder, reference].iter().enumerate() {
        elsewhere(&mut place, "store");
        for _ in 0..2 {
            // Again to the same place is as good.
            let told = place.run(&["cache-mounts", "save", "--to", to]);
            told.ok().says(&["/root/.cache/pip", "go 0:0 700", "saved 2 caches to"]);
        }
        elsewhere(&mut place, &format!("other-{at}"));
        let told = place.run(&["cache-mounts", "restore", "--from", to]);
        told.ok().says(&["PACKED", "restored 2 caches from"]);
        looks_the_same(&place);
        assert_eq!(fs::read_dir(place.path(&format!("other-{at}/tmp"))).unwrap().count(), 0);
    }
    let blobs = fs::read_dir(place.path("store/blobs/sha256")).unwrap().count();
    elsewhere(&mut place, "store");
    place.run(&["cache-mounts", "save", "--to", "again.tar"]).ok();
    let after = fs::read_dir(place.path("store/blobs/sha256")).unwrap().count();
    assert_eq!(blobs, after, "what was packed does not stay");
}

#[test]
fn caches_are_listed_with_their_sizes_and_chosen_by_patterns() {
    let Some(place) = filled() else { return };
    let listed = |args: &[&str]| {
        let all = [&["cache-mounts", "list", "--format", "json"], args].concat();
        let value = place.run(&all).ok().json();
        assert_eq!(value["version"], 1);
        value["caches"].as_array().unwrap().clone()
    };
    let all = listed(&[]);
    let ids: Vec<&str> = all.iter().map(|cache| cache["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["/root/.cache/pip", "go 0:0 700"]);
    assert!(all[0]["bytes"].as_u64().unwrap() > 100_000 && all[0]["entries"] == 6, "{all:?}");
    assert_eq!(listed(&["*pip*"]).len(), 1);
    assert_eq!(listed(&["go*"])[0]["id"], "go 0:0 700");
    assert_eq!(listed(&["*npm*"]).len(), 0);
    place.run(&["cache-mounts", "list"]).ok().says(&["CACHE", "/root/.cache/pip", "2 caches"]);
    place.run(&["cache-mounts", "list", "[a"]).exits(2).says(&["`[a` is not a pattern"]);
    let file = place.path("home/one.tar").display().to_string();
    let dry = place.run(&["cache-mounts", "save", "--to", &file, "--dry-run"]);
    dry.ok().says(&["2 caches"]);
    assert!(!Path::new(&file).exists());
    let saved = place.run(&["cache-mounts", "save", "go*", "--to", &file, "--format", "json"]);
    let saved = saved.ok().json();
    assert_eq!(saved["caches"].as_array().unwrap().len(), 1, "{saved}");
    assert_eq!(saved["caches"][0]["id"], "go 0:0 700");
}

#[test]
fn a_cache_that_is_there_is_kept_unless_it_is_to_be_replaced() {
    let Some(mut place) = filled() else { return };
    let file = place.path("home/saved.tar").display().to_string();
    place.run(&["cache-mounts", "save", "--to", &file]).ok();
    elsewhere(&mut place, "other");
    let own =
        "FROM machine-base\nRUN --mount=type=cache,id=go,mode=0700,target=/go echo own >/go/mod\n";
    place.tree(own, &[]);
    let restore = |place: &Place, args: &[&str]| {
        let all = ["cache-mounts", "restore", "--from", &file, "--format", "json"];
        let value = place.run(&[&all, args].concat()).ok().json();
        let results = value["caches"].as_array().unwrap().iter();
        let mut results: Vec<String> = results
            .map(|it| format!("{} {}", it["id"].as_str().unwrap(), it["result"].as_str().unwrap()))
            .collect();
        results.sort();
        results
    };
    assert_eq!(restore(&place, &[]), ["/root/.cache/pip restored", "go 0:0 700 kept"]);
    assert_eq!(restore(&place, &[]), ["/root/.cache/pip kept", "go 0:0 700 kept"]);
    assert_eq!(restore(&place, &["--replace", "go*"]), ["go 0:0 700 replaced"]);
    looks_the_same(&place);
    let absent = place.path("home/absent.tar").display().to_string();
    let registry = TestRegistry::start();
    let reference = format!("registry://{}/nothing:1", registry.host());
    for from in [absent, reference] {
        place
            .run(&["cache-mounts", "restore", "--from", &from])
            .exits(4)
            .says(&["there is nothing"]);
        place.run(&["cache-mounts", "restore", "--from", &from, "--optional"]).ok();
    }
}

#[test]
fn a_cache_that_a_step_uses_is_waited_for() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=cache,id=slow,target=/c echo begun >/c/state; \
         while test ! -e /c/go; do sleep 0.01; done; echo done >/c/state\n",
    );
    // It is not new when the slow step comes to it.
    let quick = "FROM machine-base\nRUN --mount=type=cache,id=slow,target=/c true\n";
    place.write("quick/Dockerfile", quick);
    place.build(&["quick"]).ok();
    let data = fs::read_dir(place.store().join("cache-mounts-v1")).unwrap().next().unwrap();
    let data = data.unwrap().path().join("0/data");
    let mut build = place.with_base("build", &["--progress", "quiet", "repo"]);
    let mut build = build.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the step runs", || data.join("state").exists());
    let file = place.path("home/saved.tar").display().to_string();
    let said = place.path("said");
    let mut save = place.command(&["cache-mounts", "save", "--to", &file]);
    let save =
        save.stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    wait_until("it says that it waits", || {
        fs::read_to_string(&said).unwrap().contains("waiting: a build is using the cache `slow`")
    });
    fs::write(data.join("go"), "").unwrap();
    assert!(build.wait().unwrap().success());
    Told::from(save.wait_with_output().unwrap()).ok();
    fs::remove_dir_all(&data).unwrap();
    place.run(&["cache-mounts", "restore", "--from", &file, "--replace"]).ok();
    assert_eq!(fs::read_to_string(data.join("state")).unwrap(), "done\n", "not a moment earlier");
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new(), Packing::new(Compression::Zstd)).unwrap();
    writer.write_all(tar).unwrap();
    writer.finish().unwrap().0
}

/// A cache of an artifact: id, tar, and annotations that are other than they should be.
type Cache<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a str)]);

/// A layout whose only artifact has these caches.
fn artifact(folder: &Path, caches: &[Cache<'_>], kind: &str) {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        digest.to_string()
    };
    let layer = |(id, tar, other): &Cache<'_>| {
        let packed = packed(tar);
        let mut annotations = json!({
            "dev.bakehouse.cache.id": id,
            "dev.bakehouse.cache.owner": "0:0",
            "dev.bakehouse.cache.mode": "0755",
            "dev.bakehouse.cache.bytes": tar.len().to_string(),
        });
        for (name, value) in *other {
            annotations[format!("dev.bakehouse.cache.{name}")] = json!(value);
        }
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
            "digest": put(&packed),
            "size": packed.len(),
            "annotations": annotations,
        })
    };
    let layers: Vec<Value> = caches.iter().map(layer).collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": kind,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": put(b"{}"), "size": 2},
        "layers": layers,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": put(&manifest),
        "size": manifest.len(),
    }]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

/// What a packed tar begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

const KIND: &str = "application/vnd.bakehouse.cache-mounts.v1";

#[test]
fn a_hostile_archive_leads_nowhere_and_changes_nothing() {
    let Some(place) = filled() else { return };
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("canary"), "as it was").unwrap();
    let out = outside.display().to_string();
    let up = format!("../../../../../../../../../..{out}");
    let link = [("l", b'2', out.as_str(), ""), ("l/canary", b'0', "", "written")];
    let cases: Vec<(Cache<'_>, &str)> = vec![
        (("go", tar(&[(&format!("{up}/canary"), b'0', "", "x")]), &[]), "leads out"),
        (("go", tar(&[("h", b'1', &format!("{up}/canary"), "")]), &[]), "leads out"),
        (("go", tar(&[("sub", b'4', "", "")]), &[]), "device"),
        (("go", tar(&[("sub", b'3', "", "")]), &[]), "device"),
        (("go", b"no tar at all, but long enough to be looked at".repeat(20), &[]), "archive"),
        (("go", tar(&[("f", b'0', "", "x")]), &[("bytes", "100")]), "announces"),
        (
            ("go", tar(&[("f", b'0', "", "x")]), &[("bytes", "18446744073709551615")]),
            "the disk has",
        ),
        (("go", tar(&[("f", b'0', "", "x")]), &[("owner", "root")]), "owner"),
        (("go", tar(&[("f", b'0', "", "x")]), &[("mode", "0x777")]), "mode"),
        (("", tar(&[("f", b'0', "", "x")]), &[]), "id"),
    ];
    let before = place.files_with(&place.store().join("cache-mounts-v1"), "module");
    let restore = |name: &str| {
        let from = place.path(name).display().to_string();
        place.run(&["cache-mounts", "restore", "--replace", "--from", &from])
    };
    for (at, ((id, tar, other), why)) in cases.into_iter().enumerate() {
        let id = if id == "go" { "go 0:0 700" } else { id };
        let name = format!("evil-{at}");
        artifact(&place.path(&name), &[(id, tar, other)], KIND);
        let told = restore(&name);
        assert!(matches!(told.code, Some(3 | 4)), "{}", told.all());
        told.says(&[why]);
        assert_eq!(place.files_with(&place.store().join("cache-mounts-v1"), "module"), before);
    }
    // Links may lead wherever they like: they are files of the cache, and nobody follows them.
    artifact(&place.path("links"), &[("../../../evil", tar(&link), &[])], KIND);
    restore("links").ok();
    let untouched = || fs::read_to_string(outside.join("canary")).unwrap() == "as it was";
    assert!(untouched() && fs::read_dir(&outside).unwrap().count() == 1);
    for folder in fs::read_dir(place.store().join("cache-mounts-v1")).unwrap() {
        assert_eq!(folder.unwrap().file_name().len(), 32);
    }
    assert!(!place.path("evil").exists());
    // Bytes that are not what they are called, and things that are something else.
    artifact(&place.path("other"), &[], "application/vnd.example.v1");
    restore("other").exits(3).says(&["something else"]);
    artifact(&place.path("damaged"), &[("go", tar(&[("f", b'0', "", "x")]), &[])], KIND);
    for blob in fs::read_dir(place.path("damaged/blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if bytes.starts_with(&ZSTD) {
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    restore("damaged").exits(3).says(&["hashes to"]);
    symlink("/dev/zero", place.path("endless.tar")).unwrap();
    assert_ne!(restore("endless.tar").code, Some(0));
    assert_eq!(fs::read_dir(place.store().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_folder_with_something_else_in_it_is_not_emptied() {
    let Some(place) = filled() else { return };
    let folder = place.path("home/precious");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("thesis.txt"), "x").unwrap();
    let to = folder.display().to_string();
    place.run(&["cache-mounts", "save", "--to", &to]).exits(2).says(&["`thesis.txt`"]);
    assert!(folder.join("thesis.txt").exists());
    place.run(&["cache-mounts", "save", "--to", "s3://x"]).exits(2).says(&["no place for caches"]);
}

#[test]
fn a_folder_has_saved_caches_at_every_moment_and_no_images_folder_is_taken() {
    let Some(place) = filled() else { return };
    let layout = place.path("home/image");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    place.build(&["-o", &output]).ok();
    let before = place.files_with(&layout, "");
    let to = layout.display().to_string();
    let told = place.run(&["cache-mounts", "save", "--to", &to]);
    told.exits(2).says(&["something else in it than saved caches"]);
    assert_eq!(place.files_with(&layout, ""), before, "nothing is lost");
    // What is not needed any more goes, and what is begun and has no index is no layout.
    let saved = place.path("home/saved");
    fs::create_dir_all(saved.join("blobs/sha256")).unwrap();
    fs::write(saved.join("blobs/sha256/other"), "of somebody").unwrap();
    let to = saved.display().to_string();
    let blobs = || fs::read_dir(saved.join("blobs/sha256")).unwrap().count();
    place.run(&["cache-mounts", "save", "--to", &to]).ok();
    assert_eq!(blobs(), 5, "two layers, a manifest, its configuration and what was there");
    place.run(&["cache-mounts", "save", "go*", "--to", &to]).ok();
    assert_eq!(blobs(), 3);
    let told = place.run(&["cache-mounts", "restore", "--from", &to, "--dry-run"]);
    told.ok().says(&["go 0:0 700", "1 cache"]);
}

#[test]
fn a_dry_run_reads_no_cache() {
    let Some(mut place) = filled() else { return };
    let saved = place.path("home/saved");
    let at = saved.display().to_string();
    place.run(&["cache-mounts", "save", "--to", &format!("{at}/")]).ok();
    for blob in fs::read_dir(saved.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if fs::read(&path).unwrap().starts_with(&ZSTD) {
            fs::remove_file(path).unwrap();
        }
    }
    elsewhere(&mut place, "other");
    place.run(&["cache-mounts", "restore", "--from", &at, "--dry-run"]).ok().says(&["2 caches"]);
    place.run(&["cache-mounts", "restore", "--from", &at]).exits(3);
}

#[test]
fn a_cache_that_is_made_while_it_is_waited_for_is_kept() {
    let place = Place::new();
    artifact(&place.path("saved"), &[("/c", tar(&[("f", b'0', "", "saved")]), &[])], KIND);
    let from = place.path("saved").display().to_string();
    let store = Store::open(&place.store()).unwrap();
    for (args, result, content) in
        [(&[][..], "kept", "made"), (&["--replace"], "replaced", "saved")]
    {
        let made = store.cache_mount("/c", Sharing::Shared).unwrap();
        let said = place.path("said");
        let all = [&["cache-mounts", "restore", "--from", &from, "--format", "json"], args];
        let mut restore = place.command(&all.concat());
        restore.stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
        let restore = restore.spawn().unwrap();
        wait_until("it says that it waits", || {
            fs::read_to_string(&said).unwrap().contains("waiting: a build is using the cache `c`")
        });
        fs::write(made.path().unwrap().join("f"), "made").unwrap();
        made.mark_ready().unwrap();
        drop(made);
        let told = Told::from(restore.wait_with_output().unwrap());
        assert_eq!(told.ok().json()["caches"][0]["result"], result);
        let own = store.try_own_cache("/c").unwrap().unwrap();
        assert_eq!(fs::read_to_string(own.path().unwrap().join("f")).unwrap(), content);
    }
}

#[test]
fn names_times_and_attributes_come_back_whatever_a_layer_would_make_of_them() {
    let Some(mut place) = filled() else { return };
    let data = |place: &Place, home: &str| {
        let caches = fs::read_dir(place.path(home).join("cache-mounts-v1")).unwrap();
        let mut found = caches.map(|cache| cache.unwrap().path().join("0/data"));
        found.find(|data| data.join("mod").exists()).unwrap()
    };
    let from = data(&place, "store");
    for name in [".wh.x", ".wh..wh..opq", ".wh."] {
        fs::write(from.join(name), name).unwrap();
    }
    let time = UNIX_EPOCH + Duration::new(1_600_000_000, 123_456_789);
    let file = fs::File::options().write(true).open(from.join("mod")).unwrap();
    file.set_modified(time).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let noted = rustix::fs::fsetxattr(&file, "user.note", b"kept", flags).is_ok();
    drop(std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap());
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let device = rustix::fs::FileType::CharacterDevice;
    let number = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, from.join("null"), device, mode, number).ok();
    let saved = place.path("home/saved.tar").display().to_string();
    place.run(&["cache-mounts", "save", "--to", &saved]).ok();
    elsewhere(&mut place, "other");
    place.run(&["cache-mounts", "restore", "--from", &saved]).ok();
    let to = data(&place, "other");
    for name in [".wh.x", ".wh..wh..opq", ".wh."] {
        assert_eq!(fs::read_to_string(to.join(name)).unwrap(), name);
    }
    assert_eq!(fs::metadata(to.join("mod")).unwrap().modified().unwrap(), time);
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(to.join("mod"), "user.note", &mut value[..]).unwrap_or(0);
    assert_eq!(&value[..length], if noted { &b"kept"[..] } else { b"" });
    assert!(!to.join("socket").exists() && !to.join("null").exists());
}

#[test]
fn owners_survive_where_there_are_several() {
    let Some(mut place) = Place::that_has_users() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=cache,id=u,uid=7,gid=8,mode=0750,target=/c \
         echo x >/c/f && chown 9:10 /c/f\n",
    );
    place.build(&[]).ok();
    let file: PathBuf = place.path("home/saved.tar");
    let file = file.display().to_string();
    place.run(&["cache-mounts", "save", "--to", &file]).ok();
    elsewhere(&mut place, "other");
    place.run(&["cache-mounts", "restore", "--from", &file]).ok();
    let tree = place.tree(
        "FROM machine-base\nRUN --mount=type=cache,id=u,uid=7,gid=8,mode=0750,target=/c \
         stat -c '%u:%g %a' /c /c/f >/seen\n",
        &[],
    );
    assert_eq!(tree.text("seen"), "7:8 750\n9:10 644\n");
    if crate::place::is_root() {
        let cache = fs::read_dir(place.path("other/cache-mounts-v1")).unwrap().next().unwrap();
        let data = fs::metadata(cache.unwrap().path().join("0/data")).unwrap();
        assert_eq!((data.uid(), data.gid()), (7, 8));
    }
}
