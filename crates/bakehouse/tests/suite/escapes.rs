//! Builds that try to get out: at the machine's files, its settings, its devices, and at
//! what whoever runs the build has and did not give.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::place::{Place, Told, Tree, finished, has, is_root, skipped};

/// In a file outside of everything that a build is given.
const CANARY: &str = "canary-that-nobody-gave-away-1729";

/// A place, and beside it a folder of the machine that no build may touch or read.
struct Outside {
    place: Place,
    folder: PathBuf,
    before: BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>,
}

impl Outside {
    fn new() -> Option<Self> {
        let place = Place::that_builds()?;
        let folder = place.path("outside");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::write(folder.join("canary"), CANARY).unwrap();
        let before = snapshot(&folder);
        Some(Self { place, folder, before })
    }

    /// Builds a Dockerfile in which `OUT` stands for the folder, which must end as it is known
    /// to, and looks that nothing of it leaked or changed. Who wants it has the secret `s`.
    #[track_caller]
    fn attack(&self, exit: i32, dockerfile: &str, args: &[&str]) -> Told {
        let dockerfile = dockerfile.replace("OUT", self.folder.to_str().unwrap());
        self.place.write("Dockerfile", &dockerfile);
        let tree = format!("type=tar,dest={}", self.place.path("tree.tar").display());
        fs::remove_file(self.place.path("tree.tar")).ok();
        let secret = self.secret();
        let own = ["-o", &tree, "--progress", "plain", "--secret", &secret];
        let told = self.place.build(&[&own, args].concat());
        assert_eq!(told.code, Some(exit), "{dockerfile}\n{}", told.all());
        assert!(!told.all().contains("panicked"), "{dockerfile}\n{}", told.all());
        assert_eq!(snapshot(&self.folder), self.before, "{dockerfile}\n{}", told.all());
        self.assert_untold(&told);
        told
    }

    /// The tree of the last attack, which came to one.
    fn tree(&self) -> Tree {
        Tree::read(fs::File::open(self.place.path("tree.tar")).unwrap())
    }

    /// A secret that builds are given.
    fn secret(&self) -> String {
        let key = self.place.path("home/key");
        fs::write(&key, "given").unwrap();
        format!("id=s,src={}", key.display())
    }

    /// Neither what was said nor what was written has the canary in it.
    #[track_caller]
    fn assert_untold(&self, told: &Told) {
        assert!(!told.all().contains(CANARY), "{}", told.all());
        let tree = fs::read(self.place.path("tree.tar")).unwrap_or_default();
        assert!(!has(&tree, CANARY), "it is in the tree: {}", told.all());
    }

    /// Nothing that is kept has it: no layer, record, log or event.
    #[track_caller]
    fn assert_nothing_kept(&self) {
        assert_eq!(self.place.files_with(&self.place.store(), CANARY), Vec::<PathBuf>::new());
    }
}

/// Everything below a folder: mode, times and contents.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        found.insert(path, (stat.mode(), stat.mtime(), stat.mtime_nsec(), content));
    }
    found
}

/// Whether this machine has not all of these tools, of which the tests' base is made.
fn lacks(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let is_here = |tool: &&&str| folders.iter().any(|folder| folder.join(tool).is_file());
    match tools.iter().find(|tool| !is_here(tool)) {
        None => false,
        Some(tool) => {
            skipped(&format!("there is no `{tool}`"));
            true
        }
    }
}

/// Ways to write the folder outside, as a link in the image.
const LINKS: [&str; 5] = [
    "OUT",
    "../../../../../../../../../..OUT",
    "/proc/self/rootOUT",
    "/proc/1/rootOUT",
    "/proc/self/cwdOUT",
];

#[test]
fn no_instruction_writes_through_a_link_of_the_image() {
    let Some(outside) = Outside::new() else { return };
    outside.place.write("a", "written");
    outside.place.write("tree/canary", "written");
    outside.place.write("tree/sub/b", "written");
    outside.place.write(
        "layer.tar",
        tar(&[("canary", b'0', "", "written"), ("sub/c", b'0', "", "written")]),
    );
    let instructions = [
        "COPY a /l",
        "COPY a /l/",
        "COPY a /l/canary",
        "COPY tree /l/",
        "COPY --chown=1:1 --chmod=777 tree /l",
        "COPY --link tree /l/",
        "COPY <<EOF /l/canary\nwritten\nEOF",
        "ADD layer.tar /l/",
        "ADD a /l/sub/",
        "WORKDIR /l/made\nRUN pwd",
        "WORKDIR /l/made\nCOPY a .",
        "RUN --mount=type=cache,target=/l/cache touch /l/cache/x",
        "RUN --mount=type=cache,target=/l touch /l/x",
        "RUN --mount=type=tmpfs,target=/l/tmpfs touch /l/tmpfs/x",
        "RUN --mount=type=bind,target=/l/bind,rw touch /l/bind/x",
        "RUN --mount=type=secret,id=s,target=/l/secret grep given /l/secret",
        "RUN --mount=type=secret,id=s,target=/l/canary grep given /l/canary",
        "RUN <<EOF\necho written >/l/canary\nEOF",
    ];
    let secret = outside.secret();
    for link in LINKS {
        // All in one fleet: each is an image of its own, and one that fails stops no other.
        for (number, instruction) in instructions.iter().enumerate() {
            let text = format!("FROM machine-base\nRUN ln -s {link} /l\n{instruction}\n");
            let text = text.replace("OUT", outside.folder.to_str().unwrap());
            for file in ["a", "tree/canary", "tree/sub/b"] {
                outside.place.write(&format!("i{number}/{file}"), "written");
            }
            let archive = fs::read(outside.place.path("repo/layer.tar")).unwrap();
            outside.place.write(&format!("i{number}/layer.tar"), archive);
            outside.place.write(&format!("i{number}/Dockerfile"), text);
        }
        let told = outside.place.build(&["--secret", &secret, "--progress", "json"]);
        assert!(!told.all().contains("panicked"), "{link}: {}", told.all());
        let whole = finished(&told.events());
        for (number, instruction) in instructions.iter().enumerate() {
            // In the image there is no such folder, so a step that writes to it fails; and what
            // is in `/proc` is no place for a mount.
            let mounts = instruction.starts_with("RUN --mount") && link.starts_with("/proc");
            let fails = mounts || instruction.starts_with("RUN <<EOF");
            let is_whole = whole.contains_key(&format!("i{number}"));
            assert_eq!(is_whole, !fails, "{link}: {instruction}\n{}", told.all());
        }
        assert_eq!(snapshot(&outside.folder), outside.before, "{link}: {}", told.all());
        outside.assert_untold(&told);
    }
    outside.assert_nothing_kept();
}

#[test]
fn no_instruction_reads_through_a_link() {
    let Some(outside) = Outside::new() else { return };
    let up = "../../../../../../../../../..";
    symlink(outside.folder.join("canary"), outside.place.path("repo/link")).unwrap();
    symlink(&outside.folder, outside.place.path("repo/folder")).unwrap();
    let relative = format!("{up}{}", outside.folder.join("canary").display());
    symlink(relative, outside.place.path("repo/relative")).unwrap();
    let missing = (3, "not found");
    for (instruction, (exit, says)) in [
        ("COPY link /x", missing),
        ("COPY relative /x", missing),
        ("COPY folder/canary /x", missing),
        ("COPY folder /x", missing),
        ("COPY folder/ /x/", missing),
        ("COPY ../outside/canary /x", missing),
        ("COPY ../outside /x", missing),
        // The context itself, and nothing that there is.
        ("COPY .. /x", (0, "1 built")),
        ("COPY fold*/canary /x", (0, "1 built")),
        ("ADD link /x", missing),
        ("ADD OUT/canary /x", missing),
        ("RUN --mount=type=bind,source=folder,target=/m cat /m/canary", missing),
        ("RUN --mount=type=bind,source=link,target=/m cat /m", missing),
        ("RUN --mount=type=bind,source=../outside,target=/m cat /m/canary", missing),
        (
            "RUN --mount=type=bind,target=/m cat /m/link /m/folder/canary /m/relative",
            (1, "cat: /m/folder/canary: No such file"),
        ),
    ] {
        outside.attack(exit, &format!("FROM machine-base\n{instruction}\n"), &[]).says(&[says]);
    }
    for link in LINKS {
        for (instruction, (exit, says)) in [
            ("COPY --from=s /l/canary /x", missing),
            ("COPY --from=s /l /x", missing),
            ("COPY --from=s /l* /x/", missing),
            ("RUN --mount=from=s,source=/l,target=/m cat /m/canary", missing),
            ("RUN --mount=from=s,source=/l/canary,target=/m cat /m", missing),
            ("RUN --mount=from=s,target=/m cat /m/l/canary", (1, "cat: /m/l/canary: No such file")),
            ("RUN --mount=type=cache,from=s,source=/l,target=/m cat /m/canary", missing),
        ] {
            let stage = format!("FROM machine-base AS s\nRUN ln -s {link} /l\n");
            let dockerfile = format!("{stage}FROM machine-base\n{instruction}\n");
            outside.attack(exit, &dockerfile, &[]).says(&[says]);
        }
    }
    outside.assert_nothing_kept();
}

#[test]
fn the_image_cannot_send_this_program_outside_for_its_users_and_its_stubs() {
    let Some(outside) = Outside::new() else { return };
    fs::write(outside.folder.join("sub/passwd"), "spy:x:77:77::/:\n").unwrap();
    let outside = Outside { before: snapshot(&outside.folder), ..outside };
    outside.place.write("a", "x");
    // No step can replace these: they are mounted where a step runs.
    let folder = outside.folder.to_str().unwrap().to_owned();
    let (hosts, resolver) = (format!("{folder}/hosts"), format!("{folder}/r"));
    outside.place.write("etc.tar", tar(&[("etc", b'2', &folder, "")]));
    let files = [("etc/hosts", b'2', &*hosts, ""), ("etc/resolv.conf", b'2', &resolver, "")];
    outside.place.write("files.tar", tar(&files));
    let passwd = "FROM machine-base\nRUN rm -f /etc/passwd && ln -s OUT/sub/passwd /etc/passwd\n";
    for (exit, dockerfile) in [
        (0, format!("{passwd}COPY --chown=spy a /x\n")),
        (3, format!("{passwd}USER spy\nRUN true\n")),
        (
            0,
            "FROM scratch\nCOPY --from=machine-base --exclude=etc / /\nADD etc.tar /\n\
             RUN test -L /etc && cat /etc/hosts && ! echo x >>/etc/hosts\n"
                .to_owned(),
        ),
        (
            0,
            "FROM machine-base\nADD files.tar /\n\
             RUN test -L /etc/hosts && cat /etc/hosts && ! echo x >>/etc/hosts\n"
                .to_owned(),
        ),
        (
            0,
            "FROM machine-base\nRUN rm -rf /run && ln -s OUT /run\n\
             RUN --mount=type=secret,id=s test -L /run && grep given /run/secrets/s\n"
                .to_owned(),
        ),
        (
            0,
            "FROM machine-base\nRUN mkdir /x && ln -s OUT /x/dev\n\
             RUN --mount=type=tmpfs,target=/x/dev/shm touch /x/dev/shm/y\n"
                .to_owned(),
        ),
    ] {
        outside.attack(exit, &dockerfile, &[]);
        if exit == 0 {
            let tree = outside.tree();
            let spied = tree.0.values().filter(|entry| entry.owner.0 == 77).count();
            assert_eq!(spied, 0, "{dockerfile}");
        }
    }
    // Where `/proc`, `/dev` and `/sys` are mounted no link may stand.
    outside.place.write("link.tar", tar(&[("proc", b'2', &folder, "")]));
    outside.attack(0, "FROM scratch\nADD link.tar /\nCOPY a /proc/x\n", &[]);
    outside.assert_nothing_kept();
}

#[test]
fn archives_do_not_lead_out() {
    let Some(outside) = Outside::new() else { return };
    let folder = outside.folder.to_str().unwrap().to_owned();
    let up = format!("../../../../../../../../..{folder}");
    let out = |name: &str| format!("{folder}/{name}");
    let file = |name: &str| (name.to_owned(), b'0', String::new());
    let link = |name: &str, to: &str| (name.to_owned(), b'2', to.to_owned());
    let hard = |name: &str, to: &str| (name.to_owned(), b'1', to.to_owned());
    // How it ends when it is added to a folder, to the root, and when it is the root.
    type Case = ([i32; 3], Vec<(String, u8, String)>);
    let many: Vec<Case> = vec![
        ([0, 0, 3], vec![file(&format!("{up}/canary"))]),
        ([0; 3], vec![file(&out("canary"))]),
        ([0; 3], vec![link("l", &folder), file("l/canary")]),
        ([0; 3], vec![link("l", &up), file("l/canary")]),
        ([3; 3], vec![hard("h", &out("canary"))]),
        ([3; 3], vec![hard("h", &format!("{up}/canary"))]),
        ([3; 3], vec![hard("h", &out("canary")), file("h")]),
        ([3; 3], vec![link("l", &folder), hard("h", "l/canary")]),
        ([0; 3], vec![link("l", &folder), hard("h", "l"), file("h/new")]),
        ([0; 3], vec![("d/".into(), b'5', String::new()), link("d", &folder), file("d/n")]),
        ([0; 3], vec![link("l", &folder), ("l/".into(), b'5', String::new())]),
        ([3, 3, 0], vec![link("l", &folder), file("l/.wh.canary")]),
        ([3, 3, 0], vec![link("l", &folder), file("l/.wh..wh..opq")]),
        ([0; 3], vec![link("l", "/proc/self/root"), file("l/x")]),
    ];
    for ([folder, top, root], entries) in many {
        let entries: Vec<(&str, u8, &str, &str)> =
            entries.iter().map(|(name, kind, link)| (&**name, *kind, &**link, "written")).collect();
        let bytes = tar(&entries);
        outside.place.write("a.tar", &bytes);
        outside.attack(folder, "FROM machine-base\nADD a.tar /x/\n", &[]);
        outside.attack(top, "FROM machine-base\nADD a.tar /\n", &[]);
        // As an image's root file system it goes the other way, through the layer's reader.
        let archive = outside.place.path("home/root.tar");
        fs::write(&archive, &bytes).unwrap();
        let context = format!("evil=rootfs-tar://{}", archive.display());
        outside.attack(root, "FROM evil\nCOPY a.tar /copied\n", &["--build-context", &context]);
    }
    outside.assert_nothing_kept();
}

#[test]
fn the_machine_cannot_be_set_or_seen_from_a_step() {
    let Some(outside) = Outside::new() else { return };
    let settings = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/fs/cgroup/release_agent",
        "/sys/fs/cgroup/memory/release_agent",
        "/sys/power/state",
        "/dev/kmsg",
        "/dev/mem",
    ];
    let core = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    for setting in settings {
        // The shell tells a redirection that failed; what was written is told by `wrote`.
        let script = format!(
            "FROM machine-base\nRUN if (echo b >{setting}) 2>/dev/null && test ! -f {setting}.mine; then stat -fc %T {setting} >/wrote; fi; true\n"
        );
        outside.attack(0, &script, &[]);
        let tree = outside.tree();
        // `/dev` is memory of the step's own, so a file can be made there.
        let wrote = if tree.has("wrote") { tree.text("wrote") } else { String::new() };
        assert!(["", "tmpfs\n"].contains(&wrote.as_str()), "{setting}: {wrote}");
    }
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), core);
    for script in [
        "! cat /proc/1/rootOUT/canary && ! cat /proc/self/rootOUT/canary && ! cat /proc/self/cwd/..OUT/canary",
        "for p in /proc/[0-9]*; do ! cat $p/rootOUT/canary && ! cat $p/cwd/canary || exit 7; done",
        "! head -c 1 /proc/kcore && ! grep -v '^0000000000000000' /proc/kallsyms",
        "cd / && for i in 1 2 3 4 5 6 7 8 9; do cd ..; done; ! cat .OUT/canary",
    ] {
        outside.attack(0, &format!("FROM machine-base\nRUN {script}\n"), &[]);
    }
    outside.assert_nothing_kept();
}

#[test]
fn the_tools_of_those_who_break_out_are_of_no_use() {
    let Some(outside) = Outside::new() else { return };
    if lacks(&["chroot", "mount", "unshare", "nsenter"]) {
        return;
    }
    // With `command -v`, a tool that is not in the image is no success.
    for script in [
        "command -v chroot && chroot / true && ! chroot /proc/1/root cat OUT/canary",
        "command -v mount && ! mount --bind / /mnt && ! mount -t proc p /mnt && ! mount -t tmpfs t /mnt",
        "command -v unshare && ! unshare -m true && ! unshare -r true",
        "command -v nsenter && nsenter --version && ! nsenter -t 1 -m cat OUT/canary",
    ] {
        outside.attack(0, &format!("FROM machine-base\nRUN {script}\n"), &[]);
    }
    outside.assert_nothing_kept();
}

#[test]
fn devices_that_are_made_are_of_no_use() {
    let Some(outside) = Outside::new() else { return };
    if !is_root() {
        return skipped("only root makes device nodes");
    }
    if lacks(&["mknod"]) {
        return;
    }
    // The disk that the canary is on, by its number.
    let disk = fs::metadata(&outside.folder).unwrap().dev();
    let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
    for place in ["/", "/dev", "/dev/shm", "/tmp", "/cache"] {
        let script = format!(
            "cd {place} && mknod disk b {major} {minor} && mknod own c 1 1 && \
             ! head -c 1 disk && ! head -c 1 own && ! echo x >own && rm disk own"
        );
        let run = format!("RUN --mount=type=cache,target=/cache {script}");
        outside.attack(0, &format!("FROM machine-base\n{run}\n"), &[]);
    }
    // A node of an image or of an archive is as useless.
    let node = tar(&[("disk", b'4', "", ""), ("null", b'3', "", "")]);
    outside.place.write("nodes.tar", node);
    outside.attack(
        0,
        "FROM machine-base\nADD nodes.tar /x/\n\
         RUN test -b /x/disk && test -c /x/null && ! head -c 1 /x/disk && ! head -c 1 /x/null\n",
        &[],
    );
}

#[test]
fn caches_stay_in_their_folder_whatever_they_are_called() {
    let Some(outside) = Outside::new() else { return };
    let long = "x".repeat(5000);
    for id in [
        "..",
        "../../../outside",
        "OUT",
        "/",
        ".",
        "a/../../b",
        "%2e%2e",
        "a%00b",
        "\u{1f956}",
        &long,
    ] {
        let id = id.replace("OUT", outside.folder.to_str().unwrap());
        let run = format!("RUN --mount=type=cache,id={id},target=/c touch /c/found-me");
        outside.attack(0, &format!("FROM machine-base\n{run}\n"), &[]);
    }
    let caches = outside.place.store().join("cache-mounts-v1");
    let all = outside.place.files_with(&outside.place.path(""), "found-me");
    for found in all.iter().filter(|path| path.ends_with("found-me")) {
        assert!(found.starts_with(&caches), "{found:?}");
    }
    let plain = |name: &str| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
    for entry in fs::read_dir(&caches).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(plain(&name), "{name}");
    }
    outside.assert_nothing_kept();
}

#[test]
fn what_a_cache_holds_leads_nobody_out() {
    let Some(outside) = Outside::new() else { return };
    // A step leaves links in a cache; a later one mounts, works and copies through them.
    let run =
        |rest: &str| format!("FROM machine-base\nRUN --mount=type=cache,id=c,target=/c {rest}\n");
    outside.attack(0, &run("ln -s OUT /c/l; ln -s / /c/r; ln -s /proc /c/p"), &[]);
    for (exit, rest) in [
        (0, "--mount=type=tmpfs,target=/c/l/t touch /c/l/t/x"),
        (0, "--mount=type=secret,id=s,target=/c/l/canary grep given /c/l/canary"),
        (3, "--mount=type=cache,id=d,target=/c/r/proc/sys true"),
        (3, "--mount=type=cache,id=d,target=/c/p/sys true"),
        (0, "test -L /c/l && ! cat /c/l/canary && ! cp /c/l/canary /x"),
    ] {
        let told = outside.attack(exit, &run(rest), &[]);
        told.says(&[if exit == 3 { "nothing can be mounted on" } else { "1 built" }]);
    }
    outside.assert_nothing_kept();
}

#[test]
fn what_every_step_needs_is_not_mounted_over() {
    let Some(outside) = Outside::new() else { return };
    for (target, named) in [
        ("/dev", "/dev"),
        ("/dev/null", "/dev/null"),
        ("/proc", "/proc"),
        ("/proc/sys", "/proc/sys"),
        ("/proc/self/attr", "/proc/self/attr"),
        ("/link/../l/sys", "/proc/sys"),
    ] {
        let run = format!("RUN --mount=type=cache,target={target} true");
        let dockerfile = format!("FROM machine-base\nRUN ln -s /proc /l\n{run}\n");
        outside
            .attack(3, &dockerfile, &[])
            .says(&[&format!("nothing can be mounted on `{named}`")]);
    }
    let run = "RUN --mount=type=cache,target=/dev/own touch /dev/own/x";
    outside.attack(0, &format!("FROM machine-base\n{run}\n"), &[]);
    outside.assert_nothing_kept();
}

#[test]
fn what_the_build_was_not_given_no_step_finds() {
    let Some(mut outside) = Outside::new() else { return };
    outside.place.set("BUILD_PASSWORD", CANARY);
    outside.place.set("HTTP_TOKEN", CANARY);
    outside.place.write(
        "Dockerfile",
        "FROM machine-base\nRUN cat /proc/self/environ /proc/1/environ /proc/[0-9]*/environ; env; \
         ls -l /proc/1/fd /proc/self/fd; for f in /proc/1/fd/[3-9] /proc/self/fd/[3-9]; do cat $f; done; \
         cat /dev/fd/9 <&9; true\n",
    );
    // An open file that a careless caller leaves behind; the program under test inherits it.
    let file = fs::File::open(outside.folder.join("canary")).unwrap();
    let mut command = outside.place.with_base("build", &["--progress", "plain"]);
    let shell = {
        let mut shell = std::process::Command::new("/bin/sh");
        let line = format!("exec \"$@\" 9</proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        shell.args(["-c", &line, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.current_dir(command.get_current_dir().unwrap());
        shell
    };
    command = shell;
    let told = Told::from(command.output().unwrap());
    outside.assert_untold(told.ok());
    outside.assert_nothing_kept();
}

/// A tar of entries: name, type, link and content.
pub(crate) fn tar(entries: &[(&str, u8, &str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, kind, link, data) in entries {
        let data = if *kind == b'0' { data.as_bytes() } else { b"" };
        let mut block = [0; 512];
        // Long names go before their entry, as GNU tar writes them.
        for (long, letter) in [(name, b'L'), (link, b'K')] {
            if long.len() > 100 {
                bytes.extend(header("././@LongLink", letter, "", long.len()));
                bytes.extend(long.as_bytes());
                bytes.resize(bytes.len().next_multiple_of(512), 0);
            }
        }
        block.copy_from_slice(&header(&cut(name), *kind, &cut(link), data.len()));
        bytes.extend(block);
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn cut(text: &str) -> String {
    text.chars().take(99).collect()
}

fn header(name: &str, kind: u8, link: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000777\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"00000001750\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000001\0");
    block[337..345].copy_from_slice(b"0000003\0");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
