//! `ADD` of Git repositories, which a server in this process gives.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::place::{Place, skipped};

/// Files behind `http://127.0.0.1`, as long as the process lives.
pub(crate) fn serve(folder: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let folder = folder.clone();
            thread::spawn(move || answer(stream, &folder));
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream, folder: &Path) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(request)) = lines.next() else { return };
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
    let found = fs::read(folder.join(path.trim_start_matches('/')));
    let (status, body) = match found {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let body = if request.starts_with("HEAD") { Vec::new() } else { body };
    // Whoever asked may have gone already.
    drop(stream.write_all(&[head.as_bytes(), &body].concat()));
}

/// Runs git, and gives what it prints.
pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        // A hook that runs these tests has its own repository in these.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("GIT_COMMITTER_DATE", "1700000000 +0000")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A server with `r.git` (a branch, a tag, a folder, a submodule), and its commits.
pub(crate) struct Repository {
    pub(crate) url: String,
    pub(crate) first: String,
    pub(crate) second: String,
}

pub(crate) fn repository(place: &mut Place) -> Option<Repository> {
    if Command::new("git").arg("--version").output().is_err() {
        skipped("there is no git");
        return None;
    }
    place.set("NO_PROXY", "127.0.0.1");
    let (work, served) = (place.path("git"), place.path("served"));
    fs::create_dir_all(work.join("r/sub/deep")).unwrap();
    fs::create_dir_all(work.join("part")).unwrap();
    fs::create_dir_all(&served).unwrap();
    fs::write(work.join("part/p"), "part\n").unwrap();
    git(&work.join("part"), &["init", "-q", "-b", "main"]);
    git(&work.join("part"), &["add", "."]);
    git(&work.join("part"), &["commit", "-q", "-m", "one"]);
    let r = work.join("r");
    fs::write(r.join("f"), "1\n").unwrap();
    fs::write(r.join("sub/deep/g"), "g\n").unwrap();
    git(&r, &["init", "-q", "-b", "main"]);
    git(&r, &["add", "."]);
    git(&r, &["commit", "-q", "-m", "one"]);
    git(&r, &["tag", "-a", "v1", "-m", "v1"]);
    let first = git(&r, &["rev-parse", "HEAD"]);
    fs::write(r.join("f"), "2\n").unwrap();
    git(&r, &["submodule", "-q", "add", "--", work.join("part").to_str().unwrap(), "part"]);
    git(&r, &["config", "-f", ".gitmodules", "submodule.part.url", "../part.git"]);
    git(&r, &["commit", "-q", "-a", "-m", "two"]);
    let second = git(&r, &["rev-parse", "HEAD"]);
    git(&r, &["checkout", "-q", "-b", "with-file"]);
    fs::create_dir(r.join("made")).unwrap();
    fs::write(r.join("made/f"), "made\n").unwrap();
    fs::write(r.join("made/Dockerfile"), "FROM scratch\nCOPY f /\n").unwrap();
    git(&r, &["add", "made"]);
    git(&r, &["commit", "-q", "-m", "three"]);
    git(&r, &["checkout", "-q", "main"]);
    for name in ["r", "part"] {
        let bare = format!("{name}.git");
        git(&served, &["clone", "-q", "--bare", work.join(name).to_str().unwrap(), &bare]);
        git(&served.join(&bare), &["update-server-info"]);
    }
    Some(Repository { url: serve(served), first, second })
}

#[test]
fn a_repository_is_added_as_its_address_says() {
    let Some(mut place) = Place::that_builds() else { return };
    let Some(Repository { url, first, .. }) = repository(&mut place) else { return };
    let tree = place.tree(
        &format!(
            "FROM scratch\n\
             ADD {url}/r.git /head/\n\
             ADD {url}/r.git#v1 /tag/\n\
             ADD {url}/r.git?tag=v1&subdir=sub /query/\n\
             ADD {url}/r.git#{first}:sub/deep /commit/\n\
             ADD --keep-git-dir {url}/r.git?submodules=false /kept/\n\
             ADD --checksum={first} {url}/r.git?ref=v1&mtime=commit /old/\n\
             ADD {url}/r.git?branch=main&subdir=sub&keep-git-dir=true /folder/\n"
        ),
        &[],
    );
    for (path, content) in [
        ("head/f", "2\n"),
        ("head/part/p", "part\n"),
        ("tag/f", "1\n"),
        ("query/deep/g", "g\n"),
        ("commit/g", "g\n"),
        ("kept/f", "2\n"),
        ("old/f", "1\n"),
        ("folder/deep/g", "g\n"),
    ] {
        assert_eq!(tree.text(path), content, "{path}");
    }
    assert!(!tree.has("head/.git") && !tree.has("folder/.git"), "{tree:?}");
    assert!(tree.has("kept/.git/HEAD") && !tree.has("kept/part/p"), "{tree:?}");
    assert_eq!(tree.at("old/f").mtime, 1_700_000_000);
    assert_eq!((tree.at("head/f").mode, tree.at("head/f").owner), (0o644, (0, 0)));
}

#[test]
fn what_a_repository_does_not_have_or_must_not_be_is_refused() {
    let Some(mut place) = Place::that_builds() else { return };
    let Some(Repository { url, first, second }) = repository(&mut place) else { return };
    let cases = [
        (format!("ADD {url}/r.git#v2 /"), "does not contain ref `v2`".to_owned()),
        (format!("ADD {url}/r.git#:none /"), "no folder `none`".to_owned()),
        (format!("ADD --checksum={first} {url}/r.git /"), format!("got `{second}`")),
        (format!("ADD --checksum=x {url}/r.git /"), "`x` is no commit".to_owned()),
        (format!("ADD {url}/r.git?depth=1 /"), "no `depth`".to_owned()),
        (
            format!("ADD --keep-git-dir {url}/r.git?keep-git-dir=0 /"),
            "says `--keep-git-dir=true`".to_owned(),
        ),
        (format!("COPY {url}/r.git /"), "can't be a git ref for COPY".to_owned()),
    ];
    for (instruction, says) in cases {
        place.write("Dockerfile", format!("FROM scratch\n{instruction}\n"));
        let told = place.build(&[]);
        assert!(told.code == Some(3) || told.code == Some(1), "{instruction}: {told:?}");
        told.says(&[&says]);
    }
}

#[test]
fn a_commit_that_is_named_in_full_is_not_fetched_again() {
    let Some(mut place) = Place::that_builds() else { return };
    let Some(Repository { url, first, .. }) = repository(&mut place) else { return };
    place.write("Dockerfile", format!("FROM scratch\nADD {url}/r.git#{first} /\n"));
    place.build(&[]).ok();
    fs::remove_dir_all(place.path("served")).unwrap();
    assert_eq!(crate::place::started(&place.events(&[])), []);
}
