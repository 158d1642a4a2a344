//! Archives and layers of strangers: nothing of them gets out of the place that it is for.

use std::fs;
use std::path::Path;

use bakehouse_model::oci::Platform;
use bakehouse_testkit::image;
use bakehouse_testkit::registry::TestRegistry;
use tar::EntryType;

use crate::place::Place;

/// What nobody may read or write.
const SAFE: &str = "what-is-outside-of-everything";

/// A tar as nobody should write it: names are taken as they are.
fn hostile(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        let linked = matches!(kind, EntryType::Symlink | EntryType::Link);
        let body = if linked { "" } else { content };
        let fields = header.as_gnu_mut().unwrap();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        if linked {
            fields.linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Archives that try to write to `outside`, by what they try.
fn attacks(outside: &Path) -> Vec<(&'static str, Vec<u8>)> {
    use EntryType::{Directory, Link, Regular, Symlink};
    let (out, victim) = (outside.display().to_string(), outside.join("victim"));
    let victim = victim.display().to_string();
    let up = format!("{}{}", "../".repeat(12), &victim[1..]);
    let through = format!("way{victim}");
    vec![
        ("up", hostile(&[(&up, Regular, "escaped")])),
        ("absolute", hostile(&[(&victim, Regular, "escaped")])),
        ("link", hostile(&[("way", Symlink, &out), ("way/victim", Regular, "escaped")])),
        ("root link", hostile(&[("way", Symlink, "/"), (&through, Regular, "escaped")])),
        (
            "up link",
            hostile(&[("way", Symlink, "../../../../../.."), (&through, Regular, "escaped")]),
        ),
        ("hard link", hostile(&[("copy", Link, &victim), ("copy", Regular, "escaped")])),
        ("hard link up", hostile(&[("copy", Link, &up), ("copy", Regular, "escaped")])),
        (
            "link and directory",
            hostile(&[
                ("way", Symlink, &out),
                ("way", Directory, ""),
                ("way/new", Regular, "escaped"),
            ]),
        ),
        ("link over file", hostile(&[("f", Symlink, &victim), ("f", Regular, "escaped")])),
        ("whiteout", hostile(&[("way", Symlink, &out), ("way/.wh.victim", Regular, "")])),
        ("opaque", hostile(&[("way", Symlink, &out), ("way/.wh..wh..opq", Regular, "")])),
        ("whiteout up", hostile(&[("a/.wh...", Regular, ""), (".wh..", Regular, "")])),
    ]
}

/// Nothing was written, read or removed outside.
#[track_caller]
fn assert_untouched(outside: &Path, what: &str) {
    let names: Vec<_> = fs::read_dir(outside).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["victim"], "{what}");
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), SAFE, "{what}");
}

fn outside(place: &Place) -> std::path::PathBuf {
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), SAFE).unwrap();
    outside
}

#[test]
fn an_archive_that_is_added_stays_in_the_image() {
    let Some(place) = Place::that_builds() else { return };
    let outside = outside(&place);
    place.write("Dockerfile", "FROM machine-base\nADD a.tar /into/\nRUN true\n");
    for (what, tar) in attacks(&outside) {
        place.write("a.tar", &tar);
        let told = place.build(&[]);
        assert!(matches!(told.code, Some(0 | 1 | 3)), "{what}: {told:?}");
        assert!(!told.all().contains("panicked"), "{what}: {told:?}");
        assert_untouched(&outside, what);
        assert_eq!(
            place.files_with(&place.store(), SAFE),
            Vec::<std::path::PathBuf>::new(),
            "{what}"
        );
    }
    place.write("a.tar", hostile(&[("fine", EntryType::Regular, "fine")]));
    place.build(&[]).ok();
}

#[test]
fn a_layer_of_a_base_stays_in_the_store() {
    let Some(place) = Place::that_builds() else { return };
    let outside = outside(&place);
    let registry = TestRegistry::start();
    place.write("a.txt", "a\n");
    for (at, (what, tar)) in attacks(&outside).into_iter().enumerate() {
        // Split over two layers as well: the second goes through what the first made.
        let lower = hostile(&[("way", EntryType::Symlink, &outside.display().to_string())]);
        for (layers, name) in [(vec![tar.clone()], "one"), (vec![lower, tar.clone()], "two")] {
            let tag = format!("{at}-{name}");
            registry.put_image("base", &tag, &image::image(&Platform::host(), &layers));
            let from = format!("FROM {}/base:{tag}\nCOPY a.txt /way/\n", registry.host());
            place.write("Dockerfile", from);
            let told = place.build(&[]);
            assert!(matches!(told.code, Some(0 | 1 | 3 | 4)), "{what}: {told:?}");
            assert!(!told.all().contains("panicked"), "{what}: {told:?}");
            assert_untouched(&outside, what);
        }
    }
}

#[test]
fn a_layer_that_climbs_is_refused_with_its_name() {
    let place = Place::new();
    let registry = TestRegistry::start();
    let tar = hostile(&[("../../evil", EntryType::Regular, "x")]);
    registry.put_image("base", "1", &image::image(&Platform::host(), &[tar]));
    place.write("a.txt", "a\n");
    place.write("Dockerfile", format!("FROM {}/base:1\nCOPY a.txt /\n", registry.host()));
    let told = place.build(&[]);
    // Staying inside would be as good; being silent about a failure would not.
    if told.code != Some(0) {
        told.exits(4).says(&[&format!("{}/base", registry.host()), "../../evil"]);
    }
    // What was told of the run is kept, and names the file.
    let mut found = place.files_with(&place.path(""), "evil");
    found.retain(|path| !path.components().any(|part| part.as_os_str() == "runs-v1"));
    assert_eq!(found, Vec::<std::path::PathBuf>::new());
}

#[test]
fn links_in_a_context_lead_nowhere_outside() {
    let Some(place) = Place::that_builds() else { return };
    let outside = outside(&place);
    let link = |name: &str, to: &str| {
        std::os::unix::fs::symlink(to, place.path("repo").join(name)).unwrap();
    };
    link("absolute", outside.join("victim").to_str().unwrap());
    link("up", "../outside/victim");
    link("folder", outside.to_str().unwrap());
    for (source, code) in [
        ("absolute", 3),
        ("up", 3),
        ("folder/victim", 3),
        ("../outside/victim", 3),
        ("folder/*", 3),
    ] {
        place.write("Dockerfile", format!("FROM machine-base\nCOPY {source} /got/\n"));
        let told = place.build(&[]);
        told.exits(code).says(&["Dockerfile:2"]);
        assert_eq!(place.files_with(&place.store(), SAFE), Vec::<std::path::PathBuf>::new());
    }
    // A link within a folder that is copied is copied as a link.
    place.write("tree/x", "x");
    link("tree/out", outside.join("victim").to_str().unwrap());
    let tree = place.tree("FROM machine-base\nCOPY tree /tree/\n", &[]);
    assert_eq!(tree.at("tree/out").link.as_deref(), Some(outside.join("victim").as_path()));
}

#[test]
fn links_in_an_image_do_not_lead_a_copy_out_of_it() {
    let Some(place) = Place::that_builds() else { return };
    let outside = outside(&place);
    place.write("victim", "escaped");
    let out = outside.display();
    place.write(
        "Dockerfile",
        format!("FROM machine-base\nRUN ln -s {out} /way\nCOPY victim /way/\nWORKDIR /way/new\nRUN true\n"),
    );
    place.build(&[]).ok();
    assert_untouched(&outside, "copy");
}

#[test]
fn a_small_archive_that_becomes_large_is_an_ordinary_failure() {
    let Some(place) = Place::that_builds() else { return };
    // The header says 8 GiB, the bytes are not there.
    let mut tar = hostile(&[("big", EntryType::Regular, "")]);
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..3].copy_from_slice(b"big");
    header.set_size(8 << 30);
    header.set_mode(0o644);
    header.set_cksum();
    tar.splice(0..512, header.as_bytes().iter().copied());
    tar.truncate(1024);
    place.write("a.tar", &tar);
    place.write("Dockerfile", "FROM machine-base\nADD a.tar /into/\n");
    place.build(&[]).exits(3).says(&["Dockerfile:2", "a.tar"]);
    place.write("a.tar", hostile(&[("fine", EntryType::Regular, "fine")]));
    place.build(&[]).ok();
}
