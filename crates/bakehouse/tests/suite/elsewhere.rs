//! Contexts that are not on this machine, or come through standard input.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::place::{Place, Told, Tree};
use crate::repository::{Repository, repository, serve};

/// Runs `build` with that on its standard input, and gives the tree of the result.
fn fed(place: &Place, input: &[u8], args: &[&str]) -> Tree {
    let dest = format!("type=tar,dest={}", place.path("tree.tar").display());
    let mut all = vec!["-o", &dest];
    all.extend(args);
    let mut command = place.with_base("build", &all);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    Told::from(child.wait_with_output().unwrap()).ok();
    Tree::read(fs::File::open(place.path("tree.tar")).unwrap())
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn a_context_may_come_through_standard_input() {
    let Some(place) = Place::that_builds() else { return };
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY f /\n"),
        ("f", "f\n"),
        ("B", "FROM scratch\nCOPY f /b\n"),
    ];
    assert_eq!(fed(&place, &archive(&files), &["-"]).text("f"), "f\n");
    assert_eq!(fed(&place, &archive(&files), &["-", "-f", "B"]).text("b"), "f\n");
}

#[test]
fn a_dockerfile_may_come_through_standard_input() {
    let Some(place) = Place::that_builds() else { return };
    place.write("f", "here\n");
    assert_eq!(fed(&place, b"FROM scratch\nCOPY <<f /\nalone\nf\n", &["-"]).text("f"), "alone\n");
    assert_eq!(fed(&place, b"FROM scratch\nCOPY f /\n", &["-f", "-"]).text("f"), "here\n");
    place.write("sub/f", "there\n");
    let tree = fed(&place, b"FROM scratch\nCOPY f /\n", &["-f", "-", "--context", "sub"]);
    assert_eq!(tree.text("f"), "there\n");
    place.build(&["-", "-f", "-"]).exits(2);
}

#[test]
fn a_context_may_be_a_repository_or_behind_a_url() {
    let Some(mut place) = Place::that_builds() else { return };
    let Some(Repository { url, .. }) = repository(&mut place) else { return };
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY . /all/\nCOPY --from=repo /f /named/f\nCOPY --from=file / /\n",
    );
    let tar = archive(&[("g", "g\n"), ("Dockerfile", "FROM scratch\nCOPY g /got\n")]);
    fs::create_dir_all(place.path("more")).unwrap();
    fs::write(place.path("more/c.tar"), tar).unwrap();
    fs::write(place.path("more/Dockerfile"), "FROM scratch\nCOPY <<f /\ng\nf\n").unwrap();
    let more = serve(place.path("more"));
    let dest = format!("type=tar,dest={}", place.path("tree.tar").display());
    let build = |args: &[&str]| {
        let mut all = vec!["-o", &dest];
        all.extend(args);
        place.build(&all).ok();
        Tree::read(fs::File::open(place.path("tree.tar")).unwrap())
    };
    let file = place.path("repo/Dockerfile");
    let (repo, named) = (format!("repo={url}/r.git#v1"), format!("file={more}/c.tar"));
    let context = place.path("repo");
    let tree = build(&[
        "-f",
        file.to_str().unwrap(),
        "--context",
        context.to_str().unwrap(),
        "--build-context",
        &repo,
        "--build-context",
        &named,
    ]);
    assert_eq!(tree.text("named/f"), "1\n");
    assert_eq!(tree.at("context").content, fs::read(place.path("more/c.tar")).unwrap());
    assert_eq!(build(&[&format!("{more}/c.tar")]).text("got"), "g\n");
    assert_eq!(build(&[&format!("{more}/Dockerfile")]).text("f"), "g\n");
    assert_eq!(build(&[&format!("{url}/r.git#with-file:made")]).text("f"), "made\n");
    let told = place.build(&[&format!("{url}/r.git#nowhere")]);
    told.exits(3).says(&["does not contain ref `nowhere`"]);
}

#[test]
fn bake_targets_and_compose_services_may_have_contexts_elsewhere() {
    let Some(mut place) = Place::that_builds() else { return };
    let Some(Repository { url, .. }) = repository(&mut place) else { return };
    let r = format!("{url}/r.git");
    place.write(
        "docker-bake.hcl",
        format!(
            "target \"far\" {{ context = \"{r}#with-file:made\" }}\n\
             target \"on\" {{\n  context = \"on\"\n  contexts = {{ repo = \"{r}#v1\", far = \"target:far\" }}\n}}\n\
             target \"other\" {{\n  context = \"{r}#main\"\n  dockerfile-inline = \"FROM scratch\\nCOPY part/p /\\n\"\n}}\n"
        ),
    );
    place.write("on/Dockerfile", "FROM scratch\nCOPY --from=repo f /one\nCOPY --from=far f /two\n");
    place.write("compose.yaml", format!("services:\n  served:\n    build: {r}#with-file:made\n"));
    let trees = |args: &[&str], name: &str| {
        let dest = format!("type=local,dest={}", place.path("out").display());
        place.build(&[args, &["-o", &dest]].concat()).ok();
        let direct = place.path("out");
        let below = direct.join(name);
        let tree = if below.is_dir() { below } else { direct };
        let read = move |file: &str| fs::read_to_string(tree.join(file)).unwrap();
        let texts: Vec<String> = match name {
            "on" => vec![read("one"), read("two")],
            "other" => vec![read("p")],
            _ => vec![read("f")],
        };
        fs::remove_dir_all(place.path("out")).unwrap();
        texts
    };
    let cases: [(&[&str], &str, &[&str]); 4] = [
        (&["far"], "far", &["made\n"]),
        (&["on"], "on", &["1\n", "made\n"]),
        (&["-f", "docker-bake.hcl", "other"], "other", &["part\n"]),
        (&["-f", "compose.yaml"], "served", &["made\n"]),
    ];
    for (args, name, expected) in cases {
        assert_eq!(trees(args, name), expected, "{args:?}");
    }
    fs::remove_file(place.path("repo/docker-bake.hcl")).unwrap();
    fs::remove_dir_all(place.path("repo/on")).unwrap();
    let told = place.ask("plan", &[]);
    told.exits(3).says(&["compose.yaml:", "is elsewhere", "bakehouse build served"]);
}
