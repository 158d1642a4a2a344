//! Files that change while they are built: a result is of what its key says, or there is none.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::interrupted::wait_until;
use crate::place::{Place, Told, started};

/// The first step waits until the test has changed the context.
const WAIT: &str = "FROM machine-base\nRUN --mount=type=cache,target=/gate touch /gate/here; \
                    until test -e /gate/go; do sleep 0.02; done\n";

/// Builds; between the first step and the others `a` becomes something else.
fn build_while_it_changes(place: &Place, rest: &str) -> Told {
    place.write("a", "AAAA");
    place.write("Dockerfile", format!("{WAIT}{rest}"));
    let mut command = place.with_base("build", &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let gate = || -> Option<PathBuf> {
        let found = place.store().exists().then(|| named(&place.store(), "here"))?;
        Some(found?.with_file_name("go"))
    };
    wait_until("the first step runs", || gate().is_some());
    place.write("a", "BBBB");
    fs::write(gate().unwrap(), "").unwrap();
    Told::from(child.wait_with_output().unwrap())
}

/// A file with that name in the folder. What vanishes meanwhile is not it.
fn named(folder: &std::path::Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.filter_map(Result::ok).find_map(|entry| {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if entry.file_name() == name {
            return Some(entry.path());
        }
        is_folder.then(|| named(&entry.path(), name)).flatten()
    })
}

#[test]
fn a_file_that_changes_under_the_build_is_never_remembered_as_what_it_was() {
    let steps = [
        "COPY a /copied\n",
        "RUN --mount=type=bind,source=a,target=/a cat /a >/copied\n",
        "RUN --mount=type=bind,target=/context cat /context/a >/copied\n",
        "ADD a /copied\n",
    ];
    for step in steps {
        let Some(place) = Place::that_builds() else { return };
        let told = build_while_it_changes(&place, step);
        told.exits(3).says(&["Dockerfile:3", "changed"]);
        place.write("a", "AAAA");
        let text = format!("{WAIT}{step}");
        assert_eq!(place.tree(&text, &[]).text("copied"), "AAAA", "{step}");
        place.write("a", "BBBB");
        assert_eq!(place.tree(&text, &[]).text("copied"), "BBBB", "{step}");
    }
}

#[test]
fn the_same_contents_at_other_places_are_another_input() {
    let Some(place) = Place::that_builds() else { return };
    let steps = [
        "COPY x y z /d/\nRUN cat /d/x /d/y /d/z >/seen\n",
        "RUN --mount=type=bind,source=x,target=/x --mount=type=bind,source=y,target=/y \
         --mount=type=bind,source=z,target=/z cat /x /y /z >/seen\n",
        "FROM scratch AS all\nCOPY x y z /\nFROM machine-base\n\
         COPY --from=all /x /y /z /d/\nRUN cat /d/x /d/y /d/z >/seen\n",
        "COPY [xyz] /d/\nRUN cat /d/x /d/y /d/z >/seen\n",
        "COPY . /d/\nRUN cat /d/x /d/y /d/z >/seen\n",
    ];
    for step in steps {
        for contents in ["112", "122", "121", "211", "111", "222", "112"] {
            for (name, content) in ["x", "y", "z"].iter().zip(contents.chars()) {
                place.write(name, content.to_string());
            }
            let tree = place.tree(&format!("FROM machine-base\n{step}"), &[]);
            assert_eq!(tree.text("seen"), contents, "{step}");
        }
        assert_eq!(started(&place.events(&[])), []);
    }
}

#[test]
fn a_change_of_the_same_length_in_the_same_instant_is_seen() {
    let Some(place) = Place::that_builds() else { return };
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    for content in ["one", "two", "six", "one"] {
        place.write("a", content);
        let file = fs::File::options().write(true).open(place.path("repo/a")).unwrap();
        file.set_modified(when).unwrap();
        assert_eq!(place.tree("FROM machine-base\nCOPY a /a\n", &[]).text("a"), content);
    }
}

#[test]
fn a_renamed_a_linked_and_a_retyped_file_are_changes() {
    let Some(place) = Place::that_builds() else { return };
    let dockerfile = "FROM machine-base\nCOPY dir /dir\nRUN cd /dir && find . | sort >/seen\n";
    let repo = place.path("repo");
    place.write("dir/a", "same");
    assert_eq!(place.tree(dockerfile, &[]).text("seen"), ".\n./a\n");
    fs::rename(repo.join("dir/a"), repo.join("dir/b")).unwrap();
    assert_eq!(place.tree(dockerfile, &[]).text("seen"), ".\n./b\n");
    std::os::unix::fs::symlink("b", repo.join("dir/a")).unwrap();
    assert!(place.tree(dockerfile, &[]).at("dir/a").link.is_some());
    fs::remove_file(repo.join("dir/a")).unwrap();
    std::os::unix::fs::symlink("c", repo.join("dir/a")).unwrap();
    let link = place.tree(dockerfile, &[]).at("dir/a").link.clone();
    assert_eq!(link, Some(PathBuf::from("c")));
    fs::remove_file(repo.join("dir/a")).unwrap();
    fs::create_dir(repo.join("dir/a")).unwrap();
    let tree = place.tree(dockerfile, &[]);
    assert_eq!(tree.at("dir/a").kind, tar::EntryType::Directory);
    fs::create_dir(repo.join("dir/empty")).unwrap();
    assert!(place.tree(dockerfile, &[]).has("dir/empty"));
}
