//! Content keys.

use std::fs;

use bakehouse_engine::files::{ContentDigest, DigestError, Selection, Tree, digest};
use bakehouse_model::Digest;

use crate::patterns::Simple;
use crate::stage::{Stage, chmod, copying};

fn key(tree: &Tree, selection: &Selection) -> Result<ContentDigest, DigestError> {
    digest(tree, selection, &Simple).map(|found| (*found).clone())
}

fn of(path: &str) -> Selection {
    Selection { path: path.into(), follow: true, ..Selection::default() }
}

fn file(mode: u32, data: &str) -> Digest {
    let size = data.len();
    Digest::of(format!(
        "namemode{mode}uid0gid0size{size}typeflag0linknameunamegnamedevmajor0devminor0{data}"
    ))
}

fn dir(mode: u32, children: &[(&str, &Digest)]) -> Digest {
    let header = Digest::of(format!(
        "namemode{mode}uid0gid0size0typeflag5linknameunamegnamedevmajor0devminor0"
    ));
    with_header(&header, children)
}

fn with_header(header: &Digest, children: &[(&str, &Digest)]) -> Digest {
    let mut text = format!("\0{header}");
    for (name, digest) in children {
        text.push_str(&format!("\0{name}{digest}"));
    }
    Digest::of(text)
}

#[test]
fn files_and_directories_are_hashed_with_their_headers() {
    let stage = Stage::with(&["d/b", "d/a", "d/e/f", "d.x"]);
    for path in ["d", "d/e"] {
        chmod(&stage.src(path), 0o755);
    }
    chmod(&stage.src("d/b"), 0o600);
    let tree = stage.context();
    let e = dir(0o755, &[("f", &file(0o644, "d/e/f"))]);
    let d = dir(0o755, &[("a", &file(0o644, "d/a")), ("b", &file(0o600, "d/b")), ("e", &e)]);
    assert_eq!(key(&tree, &of("/d/a")).unwrap().digest, file(0o644, "d/a"));
    assert_eq!(key(&tree, &of("/d")).unwrap().digest, d);
    // The root of a context has no header of its own.
    let root = with_header(&Digest::of(""), &[("d", &d), ("d.x", &file(0o644, "d.x"))]);
    assert_eq!(key(&tree, &of("/")).unwrap().digest, root);
    let paths: Vec<_> = key(&tree, &of("/d")).unwrap().files.into_iter().map(|f| f.0).collect();
    assert_eq!(paths, ["/d/", "/d/a", "/d/b", "/d/e/", "/d/e/f"]);
}

#[test]
fn links_on_the_way_are_followed_and_below_they_are_links() {
    let stage = Stage::with(&["d/f", "l -> d", "m -> l/f", "d/n -> f"]);
    chmod(&stage.src("d"), 0o755);
    let tree = stage.context();
    let link = Digest::of("namemode511uid0gid0size0typeflag2linknamefunamegnamedevmajor0devminor0");
    let whole = dir(0o755, &[("f", &file(0o644, "d/f")), ("n", &link)]);
    for path in ["/d", "/l"] {
        assert_eq!(key(&tree, &of(path)).unwrap().digest, whole, "{path}");
    }
    assert_eq!(key(&tree, &of("/m")).unwrap().digest, file(0o644, "d/f"));
    let kept = Selection { follow: false, ..of("/d/n") };
    assert_eq!(key(&tree, &kept).unwrap().digest, link);
}

#[test]
fn a_wildcard_gives_a_list_and_a_single_match_of_its_own_name_gives_itself() {
    let stage = Stage::with(&["a.c", "b.c", "d/x", "d/y"]);
    chmod(&stage.src("d"), 0o755);
    let tree = stage.context();
    let wild = |path: &str| Selection { wildcard: true, ..of(path) };
    let (a, b) = (file(0o644, "a.c"), file(0o644, "b.c"));
    let list = Digest::of(format!("\0a.c{a}\0b.c{b}"));
    assert_eq!(key(&tree, &wild("/*.c")).unwrap().digest, list);
    let one = Digest::of(format!("\0a.c{a}"));
    assert_eq!(key(&tree, &wild("/a*")).unwrap().digest, one);
    let header =
        Digest::of("namemode493uid0gid0size0typeflag5linknameunamegnamedevmajor0devminor0");
    let (x, y) = (file(0o644, "d/x"), file(0o644, "d/y"));
    let below = Digest::of(format!("\0d{header}\0d\0x{x}\0d\0y{y}"));
    assert_eq!(key(&tree, &wild("/[d]")).unwrap().digest, below);
    assert_eq!(key(&tree, &wild("/d/x*")).unwrap().digest, Digest::of(format!("\0x{x}")));
    assert_eq!(key(&tree, &wild("/n*")).unwrap().digest, Digest::of(""));
    // A copy always allows wildcards; where there is none, the path is looked up.
    assert_eq!(key(&tree, &wild("/a.c")).unwrap().digest, a);
    assert_eq!(Selection::from(&copying("/a.c", "/x")), wild("/a.c"));
}

#[test]
fn patterns_choose_headers_and_files_and_a_sibling_left_out_does_not_count() {
    let stage = Stage::with(&["d/x", "d/y", "f"]);
    chmod(&stage.src("d"), 0o755);
    let header =
        Digest::of("namemode493uid0gid0size0typeflag5linknameunamegnamedevmajor0devminor0");
    let x = file(0o644, "d/x");
    let list = |tree: &Tree, include: &[&str], exclude: &[&str]| {
        let selection = Selection {
            include: include.iter().map(|&p| p.to_owned()).collect(),
            exclude: exclude.iter().map(|&p| p.to_owned()).collect(),
            ..of("/")
        };
        key(tree, &selection).unwrap().digest
    };
    let tree = stage.context();
    let expected = Digest::of(format!("\0d{header}\0d\0x{x}"));
    assert_eq!(list(&tree, &["d/x"], &[]), expected);
    assert_eq!(list(&tree, &["d"], &["d/y"]), expected);
    assert_eq!(list(&tree, &[], &["d/y", "f"]), expected);
    fs::write(stage.src("d/y"), "changed").unwrap();
    assert_eq!(list(&stage.context(), &[], &["d/y", "f"]), expected);
    let dir = Selection { exclude: vec!["y".into()], ..of("/d") };
    let with_own_header = Digest::of(format!("\0{header}\0x{x}"));
    assert_eq!(key(&tree, &dir).unwrap().digest, with_own_header);
}

#[test]
fn what_is_missing_is_named_as_it_was_asked_for() {
    let stage = Stage::with(&["f", "l -> nowhere"]);
    let required = Selection { include: vec!["n".into()], required: vec!["/n".into()], ..of("/") };
    let cases = [
        (of("/x/y"), "\"/x/y\": not found"),
        (of("/f/g"), "\"/f/g\": not found"),
        (of("/l"), "\"/l\": not found"),
        (required, "\"/n\": not found"),
    ];
    for tree in [stage.context(), stage.image()] {
        for (selection, message) in &cases {
            assert_eq!(&key(&tree, selection).unwrap_err().to_string(), message);
        }
    }
}

#[test]
fn names_and_modes_count_but_times_do_not() {
    let stage = Stage::with(&["d/f"]);
    let before = key(&stage.context(), &of("/d")).unwrap().digest;
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    fs::File::open(stage.src("d/f")).unwrap().set_modified(old).unwrap();
    assert_eq!(key(&stage.context(), &of("/d")).unwrap().digest, before);
    chmod(&stage.src("d/f"), 0o600);
    let with_mode = key(&stage.context(), &of("/d")).unwrap().digest;
    assert_ne!(with_mode, before);
    fs::rename(stage.src("d/f"), stage.src("d/g")).unwrap();
    assert_ne!(key(&stage.context(), &of("/d")).unwrap().digest, with_mode);
}

#[test]
fn nothing_has_a_key_only_as_a_whole() {
    assert_eq!(key(&Tree::Empty, &of("/")).unwrap().digest, Digest::of(""));
    assert!(key(&Tree::Empty, &of("/a")).is_err());
}
