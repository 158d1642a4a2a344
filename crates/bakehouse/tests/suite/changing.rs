//! Files that change while they are built: a result is of what its key says, or there is none.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use crate::interrupted::wait_until;
use crate::place::{Place, Told, started};

/// The first step waits until the test has changed the context.
const WAIT: &str = "FROM machine-base\nRUN --mount=type=cache,target=/gate touch /gate/here; \
                    until test -e /gate/go; do sleep 0.02; done\n";

/// Builds; between the first step and the others `change` is made.
fn build_while(place: &Place, rest: &str, change: impl FnOnce()) -> Told {
    place.write("a", "AAAA");
    place.write("Dockerfile", format!("{WAIT}{rest}"));
    let mut command = place.with_base("build", &[]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let gate = || -> Option<PathBuf> {
        let found = place.store().exists().then(|| named(&place.store(), "here"))?;
        Some(found?.with_file_name("go"))
    };
    wait_until("the first step runs", || gate().is_some());
    change();
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
        let told = build_while(&place, step, || place.write("a", "BBBB"));
        told.exits(3).says(&["Dockerfile:3", "changed"]);
        place.write("a", "AAAA");
        let text = format!("{WAIT}{step}");
        assert_eq!(place.tree(&text, &[]).text("copied"), "AAAA", "{step}");
        place.write("a", "BBBB");
        assert_eq!(place.tree(&text, &[]).text("copied"), "BBBB", "{step}");
    }
}

#[test]
fn a_file_that_vanishes_grows_or_becomes_something_else_is_no_result() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 8] = [
        ("vanishes", |a| fs::remove_file(a).unwrap()),
        ("grows", |a| fs::write(a, "AAAAA").unwrap()),
        ("shrinks", |a| fs::write(a, "AAA").unwrap()),
        ("is emptied", |a| fs::write(a, "").unwrap()),
        ("becomes a directory", |a| {
            fs::remove_file(a).unwrap();
            fs::create_dir(a).unwrap();
        }),
        ("becomes a link", |a| {
            fs::remove_file(a).unwrap();
            std::os::unix::fs::symlink("Dockerfile", a).unwrap();
        }),
        ("becomes a pipe", |a| {
            fs::remove_file(a).unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(rustix::fs::CWD, a, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        }),
        ("cannot be executed as before", |a| {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(a, fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ];
    let Some(place) = Place::that_builds() else { return };
    for (number, (what, change)) in changes.into_iter().enumerate() {
        // Another place for each, so that no earlier result is found.
        let step = format!("COPY a /copied-{number}\nRUN cat /copied-{number} >/seen\n");
        fs::remove_dir_all(place.path("store")).ok();
        fs::remove_dir(place.path("repo/a"))
            .or_else(|_| fs::remove_file(place.path("repo/a")))
            .ok();
        let told = build_while(&place, &step, || change(&place.path("repo/a")));
        assert!(matches!(told.code, Some(3 | 4)), "it {what}: {}", told.all());
        told.says(&["Dockerfile:3"]);
        fs::remove_dir(place.path("repo/a"))
            .or_else(|_| fs::remove_file(place.path("repo/a")))
            .ok();
        place.write("a", "AAAA");
        let tree = place.tree(&format!("{WAIT}{step}"), &[]);
        assert_eq!(tree.text("seen"), "AAAA", "after it {what}");
        assert_eq!(tree.at(&format!("copied-{number}")).mode, 0o644, "after it {what}");
    }
}

/// Writes to files of the context for as long as it lives.
struct Writer(std::sync::Arc<std::sync::atomic::AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Writer {
    fn start(mut write: impl FnMut(usize) + Send + 'static) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for turn in 0.. {
                if stopped.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                write(turn);
            }
        });
        Self(stop, Some(thread))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        self.1.take().unwrap().join().unwrap();
    }
}

/// The letter that a file is full of, if it is whole.
fn whole(content: &[u8], size: usize) -> bool {
    content.len() == size && content.iter().all(|byte| *byte == content[0])
}

#[test]
fn files_that_are_written_all_the_time_are_whole_in_every_result() {
    const SIZE: usize = 3 << 20;
    let Some(place) = Place::that_builds() else { return };
    let repo = place.path("repo");
    let turn = |turn: usize| vec![b'a' + u8::try_from(turn % 26).unwrap(); SIZE];
    place.write("big", turn(0));
    place.write("steady", "steady");
    let mut done = 0;
    // How long every third writer rests between two writes: long enough for a build in the end.
    let mut rest = Duration::from_millis(400);
    let step = "FROM machine-base\nCOPY . /all/\nRUN --mount=type=bind,target=/c \
                cat /c/big >/bound\n";
    place.write("Dockerfile", step);
    let dest = format!("type=tar,dest={}", place.path("tree.tar").display());
    for round in 0..24 {
        let rests = round % 3 == 0;
        fs::remove_file(place.path("tree.tar")).ok();
        let told = {
            let folder = repo.clone();
            // In place, as a log or a database is written; and files that come and go.
            let _writer = Writer::start(move |at| {
                use std::os::unix::fs::FileExt as _;
                let file = fs::File::options().write(true).open(folder.join("big")).unwrap();
                for (number, part) in turn(at).chunks(1 << 18).enumerate() {
                    file.write_all_at(part, (number as u64) << 18).unwrap();
                }
                let passing = folder.join(format!("passing-{}", at % 5));
                fs::write(&passing, "passing").unwrap();
                fs::remove_file(&passing).unwrap();
                if rests {
                    std::thread::sleep(rest);
                }
            });
            place.build(&["-o", &dest])
        };
        match told.code {
            Some(0) => {
                done += 1;
                let tree =
                    crate::place::Tree::read(fs::File::open(place.path("tree.tar")).unwrap());
                for file in ["all/big", "bound"] {
                    assert!(whole(&tree.at(file).content, SIZE), "{file} is a mixture");
                }
                assert_eq!(tree.text("all/steady"), "steady");
                for (path, entry) in tree.0.iter().filter(|(path, _)| path.contains("passing")) {
                    assert_eq!(entry.content, b"passing", "{path}");
                }
            }
            _ => {
                assert!(matches!(told.code, Some(3 | 4)), "{}", told.all());
                if rests {
                    rest *= 2;
                }
            }
        }
    }
    assert!(done > 0, "no build went through, so nothing was looked at");
    // When it is quiet again, the result is what is there.
    let last = fs::read(repo.join("big")).unwrap();
    let tree = place.tree(step, &[]);
    assert!(tree.at("all/big").content == last && tree.at("bound").content == last);
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
    let when = UNIX_EPOCH + Duration::from_secs(1_600_000_000);
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
