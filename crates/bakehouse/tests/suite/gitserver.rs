//! Git repositories behind a server as others run them: `git http-backend`, with or without a
//! password, and one that never answers.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Told, skipped};
use crate::repository::{Repository, git, repository};

/// The user and the password of a server that wants one.
const USER: &str = "somebody:s3cr3t@word";

/// What a server does besides answering.
struct Server {
    folder: PathBuf,
    has_password: bool,
    /// Is called with each request, before it is answered.
    notice: Box<dyn Fn(&str) + Send + Sync>,
}

impl Server {
    fn new(place: &Place) -> Self {
        Self { folder: place.path("served"), has_password: false, notice: Box::new(|_| {}) }
    }

    /// Its host and port. It lasts as long as the process.
    fn start(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Arc::clone(&server);
                thread::spawn(move || server.answer(stream));
            }
        });
        address.to_string()
    }

    fn answer(&self, mut stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
                None => break,
            }
        }
        (self.notice)(&request);
        let header = |name: &str| headers.iter().find(|(it, _)| it == name).map(|(_, v)| &**v);
        let length = header("content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let code = base64::engine::general_purpose::STANDARD.encode(USER);
        let wanted = format!("Basic {code}");
        let answer = if self.has_password && header("authorization") != Some(wanted.as_str()) {
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n"
                .to_vec()
        } else {
            self.backend(&request, &header, &body)
        };
        // Whoever asked may have gone already.
        drop(stream.write_all(&answer));
    }

    fn backend<'h>(
        &self,
        request: &str,
        header: &dyn Fn(&str) -> Option<&'h str>,
        body: &[u8],
    ) -> Vec<u8> {
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut command = Command::new("git");
        command.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("GIT_PROJECT_ROOT", &self.folder).env("GIT_HTTP_EXPORT_ALL", "1");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
        for (variable, name) in [
            ("CONTENT_TYPE", "content-type"),
            ("CONTENT_LENGTH", "content-length"),
            ("HTTP_CONTENT_ENCODING", "content-encoding"),
            ("GIT_PROTOCOL", "git-protocol"),
        ] {
            command.envs(header(name).map(|value| (variable, value)));
        }
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(body).unwrap();
        let told = child.wait_with_output().unwrap().stdout;
        let end = told.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(told[..end].to_vec()).unwrap();
        let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
        let status = status.unwrap_or("200 OK");
        let first = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        [first.as_bytes(), &told].concat()
    }
}

fn has_backend() -> bool {
    let folder = Command::new("git").arg("--exec-path").output();
    let there = folder.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Path::new(&folder).join("git-http-backend").exists()
    });
    if !there {
        skipped("there is no `git http-backend`");
    }
    there
}

/// A place with repositories to serve.
fn with_repository() -> Option<(Place, Repository)> {
    let mut place = Place::that_builds()?;
    let repository = repository(&mut place)?;
    has_backend().then_some((place, repository))
}

#[test]
fn a_repository_is_fetched_without_its_history_where_the_server_can_do_that() {
    let Some((place, Repository { first, .. })) = with_repository() else { return };
    for name in ["r.git", "part.git"] {
        git(&place.path("served").join(name), &["config", "uploadpack.allowAnySHA1InWant", "true"]);
    }
    let url = format!("http://{}", Server::new(&place).start());
    let tree = place.tree(
        &format!(
            "FROM scratch\n\
             ADD --keep-git-dir {url}/r.git#main /branch/\n\
             ADD --keep-git-dir {url}/r.git#v1 /tag/\n\
             ADD --keep-git-dir {url}/r.git#{first} /commit/\n"
        ),
        &[],
    );
    for (folder, content) in [("branch", "2\n"), ("tag", "1\n"), ("commit", "1\n")] {
        assert_eq!(tree.text(&format!("{folder}/f")), content, "{folder}");
        assert!(tree.has(&format!("{folder}/.git/shallow")), "{folder}: {tree:?}");
    }
    assert_eq!(tree.text("branch/part/p"), "part\n");
    for gone in ["FETCH_HEAD", "logs", "hooks"] {
        for of in ["branch/.git", "branch/.git/modules/part"] {
            assert!(tree.has(&format!("{of}/HEAD")), "{of}: {tree:?}");
            assert!(!tree.has(&format!("{of}/{gone}")), "{of}/{gone}: {tree:?}");
        }
    }
}

#[test]
fn a_password_in_an_address_opens_the_repository_and_is_nowhere_afterwards() {
    let Some((place, _)) = with_repository() else { return };
    let host = Server { has_password: true, ..Server::new(&place) }.start();
    let add = |user: &str| format!("ADD --keep-git-dir http://{user}@{host}/r.git#main /r/\n");
    place.write("Dockerfile", format!("FROM scratch\n{}", add("somebody:s3cr3t%40word")));
    let dest = format!("type=local,dest={}", place.path("out").display());
    let told = place.build(&["--progress", "json", "-o", &dest]);
    told.ok();
    assert_eq!(fs::read_to_string(place.path("out/r/part/p")).unwrap(), "part\n");
    let config = fs::read_to_string(place.path("out/r/.git/config")).unwrap();
    assert!(config.contains(&format!("url = http://{host}/r.git\n")), "{config}");
    assert!(!told.all().contains("s3cr3t"), "{}", told.all());
    for folder in ["out", "store"] {
        assert_eq!(place.files_with(&place.path(folder), "s3cr3t"), Vec::<PathBuf>::new());
    }
    // What a mistake shows of the Dockerfile is as it is written there.
    let text = format!("FROM scratch\nARG PASSWORD\n{}", add("somebody:$PASSWORD"));
    place.write("Dockerfile", text);
    let told = place.build(&["--build-arg", "PASSWORD=oth3r"]);
    told.exits(4).says(&["Authentication failed"]);
    assert!(!told.all().contains("oth3r"), "{told:?}");
}

#[test]
fn another_shape_of_the_same_commit_is_fetched_anew() {
    let Some((place, _)) = with_repository() else { return };
    let url = format!("http://{}", Server::new(&place).start());
    for (submodules, there) in [("true", true), ("false", false), ("true", true)] {
        let tree = place.tree(
            &format!("FROM scratch\nADD {url}/r.git?ref=main&submodules={submodules} /r/\n"),
            &[],
        );
        assert_eq!(tree.has("r/part/p"), there, "submodules={submodules}");
    }
}

#[test]
fn a_branch_that_moves_while_it_is_fetched_gives_the_commit_that_it_was_at() {
    for change in ["forward", "elsewhere"] {
        let Some((place, Repository { second, .. })) = with_repository() else { return };
        let bare = place.path("served/r.git");
        let to = match change {
            "forward" => "with-file".to_owned(),
            // A commit that has nothing to do with what was there; a tag still leads there.
            _ => {
                git(&bare, &["tag", "kept", &second]);
                let tree = git(&bare, &["rev-parse", "v1^{tree}"]);
                git(&bare, &["commit-tree", "-m", "other", &tree])
            }
        };
        let answered = std::sync::atomic::AtomicUsize::new(0);
        let notice = move |request: &str| {
            // The first time it is only asked where the branch is.
            if request.starts_with("GET /r.git/info/refs")
                && answered.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1
            {
                git(&bare, &["update-ref", "refs/heads/main", &to]);
            }
        };
        let url = format!(
            "http://{}",
            Server { notice: Box::new(notice), ..Server::new(&place) }.start()
        );
        let tree =
            place.tree(&format!("FROM scratch\nADD --keep-git-dir {url}/r.git#main /r/\n"), &[]);
        assert_eq!(tree.text("r/.git/HEAD"), format!("{second}\n"), "{change}");
        assert!(tree.text("r/f") == "2\n" && !tree.has("r/made/f"), "{change}: {tree:?}");
    }
}

#[test]
fn what_the_user_has_configured_changes_no_file_and_runs_no_hook() {
    let Some((mut place, _)) = with_repository() else { return };
    let url = format!("http://{}", Server::new(&place).start());
    let hooks = place.path("template/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for name in ["post-checkout", "reference-transaction"] {
        let hook = hooks.join(name);
        let marker = place.path("hooked");
        fs::write(&hook, format!("#!/bin/sh\ntouch '{}'\n", marker.display())).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(place.path("attributes"), "* text eol=crlf\n").unwrap();
    let config = format!(
        "[core]\nhooksPath = {hooks}\nautocrlf = true\nattributesFile = {attributes}\n\
         [init]\ntemplateDir = {template}\n[log]\nshowSignature = true\n\
         [protocol \"file\"]\nallow = always\n",
        hooks = hooks.display(),
        attributes = place.path("attributes").display(),
        template = place.path("template").display(),
    );
    fs::write(place.path("gitconfig"), config).unwrap();
    place.set("GIT_CONFIG_GLOBAL", place.path("gitconfig").display().to_string());
    let tree =
        place.tree(&format!("FROM scratch\nADD {url}/r.git?ref=main&mtime=commit /r/\n"), &[]);
    assert_eq!((tree.text("r/f"), tree.at("r/f").mtime), ("2\n".to_owned(), 1_700_000_000));
    assert!(!place.path("hooked").exists());
    // A folder of this machine is no submodule.
    let r = place.path("git/r");
    let part = format!("file://{}", place.path("git/part").display());
    git(&r, &["config", "-f", ".gitmodules", "submodule.part.url", &part]);
    git(&r, &["commit", "-q", "-a", "-m", "local"]);
    git(&r, &["push", "-q", place.path("served/r.git").to_str().unwrap(), "main"]);
    place.write("Dockerfile", format!("FROM scratch\nADD {url}/r.git#main /r/\n"));
    let told = place.build(&[]);
    assert!(matches!(told.code, Some(1 | 3)), "{told:?}");
    told.says(&["transport 'file' not allowed"]);
}

#[test]
fn the_users_own_way_to_reach_a_host_is_taken() {
    let Some((mut place, _)) = with_repository() else { return };
    let (ssh, marker) = (place.path("ssh"), place.path("called"));
    fs::write(&ssh, format!("#!/bin/sh\necho \"$@\" >'{}'\nexit 1\n", marker.display())).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.path("gitconfig"), format!("[core]\nsshCommand = {}\n", ssh.display()))
        .unwrap();
    place.set("GIT_CONFIG_GLOBAL", place.path("gitconfig").display().to_string());
    place.write("Dockerfile", "FROM scratch\nADD ssh://git:secret@host.invalid/r.git /r/\n");
    place.build(&[]).exits(4);
    let told = fs::read_to_string(&marker).unwrap();
    assert!(told.contains("git@host.invalid") && !told.contains("secret"), "{told}");
    assert!(!told.contains("BatchMode"), "{told}");
}

#[test]
fn a_server_that_never_answers_does_not_keep_a_build_that_is_cancelled() {
    let Some((place, _)) = with_repository() else { return };
    for in_context in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/r.git", listener.local_addr().unwrap());
        place.write("Dockerfile", format!("FROM scratch\nADD {url} /r/\n"));
        let args: &[&str] = if in_context { &[&url] } else { &[] };
        let mut command = place.with_base("build", args);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        Told::from(child.wait_with_output().unwrap()).exits(130);
        // Nobody has the other end any more: git was killed.
        drop(stream.read_to_end(&mut Vec::new()));
    }
}

#[test]
fn what_is_missing_for_a_checkout_is_said() {
    let Some((mut place, Repository { url, .. })) = with_repository() else { return };
    let folder = place.path("no-git");
    fs::create_dir(&folder).unwrap();
    place.set("PATH", folder.display().to_string());
    place.write("Dockerfile", format!("FROM scratch\nADD {url}/r.git /r/\n"));
    let told = place.build(&[]);
    told.exits(4).says(&["cannot start `git`", "install git"]);
}
