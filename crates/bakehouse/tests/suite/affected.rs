//! `affected`, replayed over histories: every commit of a fixture repository says what it
//! affects and because of what, and an oracle that walks checkouts has to agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::oracle;
use crate::place::{Place, Told, skipped};

/// A repository that is made in a place's folder `repo`.
struct Repo {
    place: Place,
}

/// One change of the files.
enum Edit {
    Write(&'static str, &'static str),
    Remove(&'static str),
    Move(&'static str, &'static str),
    Link(&'static str, &'static str),
    Program(&'static str),
    /// A submodule and the first digit of its commit.
    Submodule(&'static str, char),
    /// Git itself, in words.
    Git(&'static str),
}
use Edit::{Git, Link, Move, Program, Remove, Submodule, Write};

/// A commit: what it is about, its changes, and each image that it affects with the reasons.
type Commit = (&'static str, &'static [Edit], &'static [(&'static str, &'static [&'static str])]);

impl Repo {
    /// An empty repository; none, and a line that says why, where there is no git.
    fn new() -> Option<Self> {
        let repo = Self { place: Place::new() };
        if Command::new("git").arg("--version").output().is_err() {
            skipped("there is no git");
            return None;
        }
        repo.git("init -q -b main .");
        Some(repo)
    }

    fn git(&self, words: &str) -> String {
        git(&self.folder(), &words.split(' ').collect::<Vec<_>>())
    }

    fn folder(&self) -> PathBuf {
        self.place.path("repo")
    }

    fn edit(&self, edit: &Edit) {
        let at = |path: &str| {
            let path = self.folder().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        match edit {
            Write(path, text) => self.place.write(path, text),
            Remove(path) => fs::remove_file(at(path)).unwrap(),
            Move(from, to) => fs::rename(at(from), at(to)).unwrap(),
            Link(path, target) => {
                drop(fs::remove_file(at(path)));
                std::os::unix::fs::symlink(target, at(path)).unwrap();
            }
            Program(path) => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(0o755)).unwrap();
            }
            Submodule(path, digit) => {
                fs::create_dir_all(at(path)).unwrap();
                let id = digit.to_string().repeat(40);
                self.git(&format!("update-index --add --cacheinfo 160000,{id},{path}"));
            }
            Git(words) => drop(self.git(words)),
        }
    }

    fn commit(&self, name: &str, edits: &[Edit]) {
        let (later, now): (Vec<_>, Vec<_>) =
            edits.iter().partition(|edit| matches!(edit, Submodule(..)));
        now.into_iter().for_each(|edit| self.edit(edit));
        self.git("add -A");
        later.into_iter().for_each(|edit| self.edit(edit));
        git(&self.folder(), &["commit", "-q", "--allow-empty", "-m", name]);
    }

    fn affected(&self, args: &[&str]) -> Told {
        let mut all = vec!["affected"];
        all.extend(args);
        self.place.run(&all)
    }

    fn last(&self) -> Told {
        self.affected(&["--since", "HEAD~1", "--until", "HEAD", "--format", "json"])
    }
}

/// Runs git, whatever this machine's settings are.
fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "protocol.file.allow=always"]).args(args);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "t").env(format!("GIT_{who}_EMAIL"), "t@t");
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    // A hook that runs these tests has its own repository in these.
    for own in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(own);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A commit's files in a new folder, where a submodule has a file that tells its commit.
fn checkout(repository: &Path, commit: &str, below: &str, into: &Path) {
    fs::create_dir_all(into).unwrap();
    let tar = into.with_extension("tar");
    let tree = format!("{commit}:{below}");
    let to = tar.to_str().unwrap();
    git(repository, &["archive", "--format=tar", "-o", to, &tree]);
    tar::Archive::new(fs::File::open(&tar).unwrap()).unpack(into).unwrap();
    for line in git(repository, &["ls-tree", "-r", &tree]).lines() {
        if let Some((about, path)) = line.split_once('\t')
            && about.starts_with("160000")
        {
            let folder = into.join(path).join("include");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("commit"), about).unwrap();
        }
    }
}

/// The affected images of a result, each with its reasons in few words.
fn reasons(result: &Value) -> BTreeMap<String, Vec<String>> {
    let images = result["images"].as_array().unwrap().iter();
    let of = |image: &Value| {
        let because = image["because"].as_array().unwrap().iter().map(in_words).collect();
        (image["name"].as_str().unwrap().to_owned(), because)
    };
    images.map(of).collect()
}

fn in_words(because: &Value) -> String {
    let text = |name: &str| because[name].as_str().unwrap_or("-").to_owned();
    let line = because["location"]["line"].as_u64().unwrap_or(0);
    match text("kind").as_str() {
        "file" => format!("{} {}", text("path"), text("change")),
        "ignore" => format!("{} seen={}", text("path"), because["seen"]),
        "instruction" => format!("{line}: {} -> {}", text("before"), text("after")),
        "external" | "definition" => format!("{} -> {}", text("before"), text("after")),
        "parent" => format!("parent {}", text("image")),
        kind => kind.to_owned(),
    }
}

/// What the oracle finds between two checkouts: images that come to something else.
fn by_hand(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let other = after.iter().filter(|(name, made)| before.get(*name) != Some(*made));
    other.map(|(name, _)| name.clone()).collect()
}

const FLEET: &[Edit] = &[
    Write(
        "base/Dockerfile",
        "FROM debian:12\nARG VERSION=1\nARG IDLE=1\nENV LANG=C\nRUN setup $VERSION\n\
         COPY base/etc /etc/app\n",
    ),
    Write("base/etc/settings", "a\n"),
    Write("ml/Dockerfile", "FROM base\nCOPY ml/model.bin /m/\nCOPY base/etc/settings /seen\n"),
    Write("ml/model.bin", "1\n"),
    Write(
        "services/stt/Dockerfile",
        "FROM ml\nCOPY services/common /common\nCOPY services/stt /app\nCMD [\"stt\"]\n",
    ),
    Write("services/stt/main.py", "stt\n"),
    Write("services/stt/run.sh", "run\n"),
    Write(
        "services/tts/Dockerfile",
        "FROM ml\nCOPY services/common /common\nCOPY services/tts/*.py /app/\n\
         COPY --exclude=*.txt services/tts/data /data\n",
    ),
    Write("services/tts/main.py", "tts\n"),
    Write("services/tts/notes.txt", "n\n"),
    Write("services/tts/data/a.bin", "a\n"),
    Write("services/tts/data/a.txt", "a\n"),
    Write("services/common/x.py", "x\n"),
    Write(
        "tools/Dockerfile",
        "FROM alpine:3 AS unused\nCOPY docs /docs\nRUN nothing\nFROM alpine:3 AS build\n\
         RUN --mount=type=bind,source=tools/src,target=/src make\nFROM scratch\n\
         COPY --from=build /out /\nCOPY --from=base /etc/app /etc\n",
    ),
    Write("tools/src/a.c", "a\n"),
    Write("web/Dockerfile", "FROM nginx:1\nCOPY . /site\nADD files.tar /files\n"),
    Write("web/Dockerfile.dockerignore", "drafts\n**/*.md\nDockerfile*\nold\ncurrent\n"),
    Write("web/.dockerignore", "*\n"),
    Write("web/index.html", "i\n"),
    Write("web/drafts/d.html", "d\n"),
    Write("web/files.tar", "t\n"),
    Write("pages/Dockerfile", "FROM nginx:1\nCOPY pages/current/ /pages\n"),
    Write("pages/v1/p.html", "1\n"),
    Write("pages/v2/p.html", "2\n"),
    Write("pages/v3/p.html", "2\n"),
    Link("pages/current", "v1"),
    Write(
        "native/Dockerfile",
        "FROM gcc:13\nCOPY vendor/lib/include /inc\nCOPY --parents native/./a/*.c /src/\n",
    ),
    Write("native/a/m.c", "m\n"),
    Write("native/b/m.c", "m\n"),
    Submodule("vendor/lib", 'a'),
    Write("handed/Dockerfile", "ARG BASE\nFROM $BASE\nCOPY handed/f /f\n"),
    Write("handed/f", "f\n"),
    Write("docs/readme.md", "d\n"),
    Write("README.md", "r\n"),
    Write(".dockerignore", "**/*.md\n**/*.log\n"),
];

const COMMITS: &[Commit] = &[
    (
        "a base's file reaches all levels, and what copies from it",
        &[Write("base/etc/settings", "b\n")],
        &[
            ("base", &["base/etc/settings modified"]),
            ("ml", &["parent base", "base/etc/settings modified"]),
            ("stt", &["parent ml"]),
            ("tts", &["parent ml"]),
            ("tools", &["parent base"]),
        ],
    ),
    (
        "what several copy",
        &[Write("services/common/x.py", "y\n")],
        &[("stt", &["services/common/x.py modified"]), ("tts", &["services/common/x.py modified"])],
    ),
    (
        "documents and whatever is called like a service",
        &[
            Write("docs/services/stt/a.md", "x\n"),
            Write("docs/services/stt/b.py", "x\n"),
            Write("README.md", "new\n"),
        ],
        &[],
    ),
    (
        "a comment and blank lines",
        &[Write(
            "base/Dockerfile",
            "# The base.\n\nfrom debian:12\n# Which one.\nARG VERSION=1\nARG IDLE=1\nENV   LANG=C\n\n\nRUN setup $VERSION\nCOPY base/etc \\\n    /etc/app\n",
        )],
        &[],
    ),
    (
        "an ignored file",
        &[Write("services/stt/trace.log", "x\n"), Write("services/common/a.md", "x\n")],
        &[],
    ),
    (
        "an unused argument",
        &[Write(
            "base/Dockerfile",
            "FROM debian:12\nARG VERSION=1\nENV LANG=C\nRUN setup $VERSION\nCOPY base/etc /etc/app\nARG IDLE=2\n",
        )],
        &[
            // Every RUN sees the arguments that are declared above it.
            ("base", &["6: ARG IDLE=1 -> -", "6: - -> ARG IDLE=2"]),
            ("ml", &["parent base"]),
            ("stt", &["parent ml"]),
            ("tts", &["parent ml"]),
            ("tools", &["parent base"]),
        ],
    ),
    (
        "an argument that nothing sees",
        &[Write(
            "base/Dockerfile",
            "FROM debian:12\nARG VERSION=1\nENV LANG=C\nRUN setup $VERSION\nCOPY base/etc /etc/app\nARG IDLE=3\n",
        )],
        &[],
    ),
    (
        "an argument that is used",
        &[Write(
            "base/Dockerfile",
            "FROM debian:12\nARG VERSION=2\nENV LANG=C\nRUN setup $VERSION\nCOPY base/etc /etc/app\n",
        )],
        &[
            ("base", &["2: ARG VERSION=1 -> ARG VERSION=2"]),
            ("ml", &["parent base"]),
            ("stt", &["parent ml"]),
            ("tts", &["parent ml"]),
            ("tools", &["parent base"]),
        ],
    ),
    (
        "a variable at the end reaches what stands on it, not what copies from it",
        &[Write(
            "base/Dockerfile",
            "FROM debian:12\nARG VERSION=2\nENV LANG=C\nRUN setup $VERSION\nCOPY base/etc /etc/app\nENV MORE=1\n",
        )],
        &[
            ("base", &["6: - -> ENV MORE=1"]),
            ("ml", &["parent base"]),
            ("stt", &["parent ml"]),
            ("tts", &["parent ml"]),
        ],
    ),
    (
        "a command",
        &[Write(
            "services/stt/Dockerfile",
            "FROM ml\nCOPY services/common /common\nCOPY services/stt/*.* /app/\nCMD [\"stt\", \"-v\"]\n",
        )],
        &[(
            "stt",
            &[
                "3: COPY services/stt /app -> COPY services/stt/*.* /app/",
                "4: CMD [\"stt\"] -> CMD [\"stt\", \"-v\"]",
            ],
        )],
    ),
    (
        "a base from elsewhere",
        &[Write("pages/Dockerfile", "FROM nginx:2\nCOPY pages/current/ /pages\n")],
        &[("pages", &["nginx:1 -> nginx:2"])],
    ),
    (
        "a stage that nobody needs, and what it copies",
        &[
            Write(
                "tools/Dockerfile",
                "FROM alpine:9 AS unused\nCOPY docs /all\nRUN something\nFROM alpine:3 AS build\n\
             RUN --mount=type=bind,source=tools/src,target=/src make\nFROM scratch\n\
             COPY --from=build /out /\nCOPY --from=base /etc/app /etc\n",
            ),
            Write("docs/readme.md", "other\n"),
            Write("docs/more", "other\n"),
        ],
        &[],
    ),
    ("what is mounted", &[Write("tools/src/b.c", "b\n")], &[("tools", &["tools/src/b.c added"])]),
    (
        "a wildcard that fits",
        &[Write("services/tts/more.py", "m\n")],
        &[("tts", &["services/tts/more.py added"])],
    ),
    (
        "a wildcard that does not fit, and what is excluded",
        &[
            Write("services/tts/notes.txt", "other\n"),
            Write("services/tts/data/a.txt", "other\n"),
            Write("services/tts/deep/x.py", "x\n"),
        ],
        &[],
    ),
    (
        "what is not excluded",
        &[Write("services/tts/data/b.bin", "b\n")],
        &[("tts", &["services/tts/data/b.bin added"])],
    ),
    ("a mode", &[Program("services/stt/run.sh")], &[("stt", &["services/stt/run.sh mode"])]),
    (
        "a file that is gone",
        &[Remove("services/tts/more.py")],
        &[("tts", &["services/tts/more.py removed"])],
    ),
    (
        "another name without another content",
        &[Move("services/stt/main.py", "services/stt/start.py")],
        &[("stt", &["services/stt/main.py removed", "services/stt/start.py added"])],
    ),
    (
        "another name and another content",
        &[Move("services/stt/start.py", "services/stt/go.py"), Write("services/stt/go.py", "go\n")],
        &[("stt", &["services/stt/go.py added", "services/stt/start.py removed"])],
    ),
    (
        "a link to the same content elsewhere",
        &[Link("pages/current", "v2")],
        &[("pages", &["pages/current modified", "pages/v2/p.html modified"])],
    ),
    ("a link to equal content", &[Link("pages/current", "v3")], &[]),
    (
        "what a link leads to",
        &[Write("pages/v3/q.html", "q\n")],
        &[("pages", &["pages/v3/q.html added"])],
    ),
    ("what a link led to", &[Write("pages/v1/p.html", "other\n")], &[]),
    ("a submodule", &[Submodule("vendor/lib", 'b')], &[("native", &["vendor/lib modified"])]),
    (
        "parents of what is copied",
        &[Write("native/a/n.c", "n\n"), Write("native/b/n.c", "n\n"), Write("native/a/n.h", "n\n")],
        &[("native", &["native/a/n.c added"])],
    ),
    (
        "its own ignore file hides a file",
        &[Write("web/drafts/e.html", "e\n"), Write("web/notes.md", "n\n")],
        &[],
    ),
    (
        "its own ignore file lets a file through",
        &[Write("web/Dockerfile.dockerignore", "**/*.md\nDockerfile*\nold\ncurrent\n")],
        &[("web", &["web/drafts/d.html seen=true", "web/drafts/e.html seen=true"])],
    ),
    (
        "its own ignore file hides a file that was seen",
        &[Write("web/Dockerfile.dockerignore", "**/*.md\nDockerfile*\nold\ncurrent\nindex.*\n")],
        &[("web", &["web/index.html seen=false"])],
    ),
    (
        "an ignore file that its own one stands before",
        &[
            Write(
                "web/Dockerfile.dockerignore",
                "**/*.md\nDockerfile*\nold\ncurrent\nindex.*\n# more\n",
            ),
            Write("docs/x", "x"),
        ],
        &[],
    ),
    (
        "an ignore file hides what is in no image",
        &[Write(".dockerignore", "**/*.md\n**/*.log\ndocs\n")],
        &[],
    ),
    (
        "an ignore file hides what is in images",
        &[Write(".dockerignore", "**/*.md\n**/*.log\ndocs\n**/common/x*\n")],
        &[
            ("stt", &["services/common/x.py seen=false"]),
            ("tts", &["services/common/x.py seen=false"]),
        ],
    ),
    (
        "an archive that is unpacked",
        &[Write("web/files.tar", "u\n")],
        &[("web", &["web/files.tar modified", "web/files.tar modified"])],
    ),
    (
        "an image whose base is handed to it",
        &[Write("handed/f", "g\n")],
        &[("handed", &["handed/f modified"])],
    ),
    (
        "a new image",
        &[Write("jobs/Dockerfile", "FROM stt\nCOPY services/stt/go.py /jobs\n")],
        &[("jobs", &["added"])],
    ),
    (
        "a Dockerfile with another name for the same image",
        &[Move("jobs/Dockerfile", "services/Dockerfile.jobs")],
        &[],
    ),
    ("an image that goes", &[Remove("services/Dockerfile.jobs")], &[]),
    (
        "an image moves with all that it reads",
        &[
            Move("handed/f", "apps/handed/handed/f"),
            Move("handed/Dockerfile", "apps/handed/Dockerfile"),
        ],
        &[],
    ),
    (
        "the target's own name",
        &[Write(
            "tools/Dockerfile",
            "FROM alpine:3 AS maker\n\
         RUN --mount=type=bind,source=tools/src,target=/src make\nFROM scratch\n\
         COPY --from=maker /out /\nCOPY --from=base /etc/app /etc\n",
        )],
        &[],
    ),
    (
        "a merge, seen from where it went",
        &[
            Git("checkout -q -b side HEAD~1"),
            Write("services/stt/side.py", "s\n"),
            Git("add -A"),
            Git("commit -q -m side"),
            Git("checkout -q main"),
            Git("merge -q --no-ff --no-commit side"),
        ],
        &[("stt", &["services/stt/side.py added"])],
    ),
    ("nothing", &[], &[]),
];

/// A bake file with two targets: the variable, an argument that nothing reads, and what else
/// the first target says.
macro_rules! bake {
    ($variable:literal, $idle:literal, $more:literal) => {
        Write(
            "docker-bake.hcl",
            concat!(
                "variable \"V\" {\n  default = \"",
                $variable,
                "\"\n}\ntarget \"app\" {\n  context = \"app\"\n  args = {\n    V = V\n    IDLE = \"",
                $idle,
                "\"\n  }\n",
                $more,
                "}\ntarget \"site\" {\n  context = \"site\"\n  contexts = { under = \"target:app\" }\n}\n",
            ),
        )
    };
}

/// A compose file: the base of its inline Dockerfile, and the value of an argument.
macro_rules! compose {
    ($base:literal, $value:literal) => {
        Write(
            "compose.yaml",
            concat!(
                "services:\n  tool:\n    build:\n      context: .\n      args:\n        W: ",
                $value,
                "\n      dockerfile_inline: |\n        FROM ",
                $base,
                "\n        ARG W\n        ENV W=$$W\n        COPY site/y /y\n",
            ),
        )
    };
}

const DEFINED: &[Edit] = &[
    bake!("1", "1", ""),
    compose!("alpine:3", "one"),
    Write("app/Dockerfile", "FROM debian:12 AS one\nCOPY x /x\nFROM one\nARG V\nRUN make $V\n"),
    Write("app/x", "x\n"),
    Write("site/Dockerfile", "FROM under\nCOPY y /y\n"),
    Write("site/y", "y\n"),
    Write(".env", "W=two\n"),
];

const REDEFINED: &[Commit] = &[
    ("an argument that nothing reads", &[bake!("1", "2", "")], &[]),
    (
        "a variable that an argument has",
        &[bake!("2", "2", "")],
        &[("app", &["1 -> 2"]), ("site", &["parent app"])],
    ),
    ("a tag", &[bake!("2", "2", "  tags = [\"registry.example/app:1\"]\n")], &[]),
    (
        "a target",
        &[bake!("2", "2", "  tags = [\"registry.example/app:1\"]\n  target = \"one\"\n")],
        &[("app", &["- -> one"]), ("site", &["parent app"])],
    ),
    ("a base in a service", &[compose!("alpine:4", "one")], &[("tool", &["alpine:3 -> alpine:4"])]),
    ("an argument of a service", &[compose!("alpine:4", "${W}")], &[("tool", &["one -> two"])]),
    ("an env file", &[Write(".env", "W=three\n")], &[("tool", &["two -> three"])]),
    (
        "a file that two of them read",
        &[Write("site/y", "z\n")],
        &[("tool", &["site/y modified"]), ("site", &["site/y modified"])],
    ),
    (
        "a value of bakehouse.toml",
        &[Write("bakehouse.toml", "[images.tool]\nargs = { W = \"four\" }\n")],
        &[("tool", &["three -> four"])],
    ),
];

#[test]
fn every_commit_of_a_history_affects_what_its_files_reach_and_nothing_else() {
    assert!(COMMITS.len() >= 30);
    replay(FLEET, COMMITS);
}

#[test]
fn what_bake_and_compose_files_say_counts_as_far_as_a_build_reads_it() {
    replay(DEFINED, REDEFINED);
}

/// Commits one after the other, each held against its row and against the oracle.
fn replay(fleet: &[Edit], commits: &[Commit]) {
    let Some(repo) = Repo::new() else { return };
    repo.commit("the fleet", fleet);
    let checkouts = repo.place.path("checkouts");
    let oracle = |at: usize| {
        let folder = checkouts.join(at.to_string()).join("repo");
        checkout(&repo.folder(), "HEAD", "", &folder);
        oracle::images(&folder).unwrap()
    };
    let mut before = oracle(0);
    for (at, (name, edits, expected)) in commits.iter().enumerate() {
        repo.commit(name, edits);
        let told = repo.last();
        let result = told.ok().json();
        let found = reasons(&result);
        let expected: BTreeMap<String, Vec<String>> = expected
            .iter()
            .map(|(name, because)| {
                ((*name).to_owned(), because.iter().map(|one| (*one).to_owned()).collect())
            })
            .collect();
        assert_eq!(found, expected, "{name}: {result:#}");
        let after = oracle(at + 1);
        // The oracle cannot lower an image whose base is handed to it.
        let names = found.keys().filter(|name| *name != "handed").cloned().collect();
        assert_eq!(by_hand(&before, &after), names, "{name}: the oracle");
        let told: BTreeSet<&str> =
            result["unaffected"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let all = after.keys().filter(|name| !found.contains_key(*name));
        assert!(all.into_iter().all(|name| told.contains(name.as_str())), "{name}");
        let gone: Vec<&str> =
            result["removed"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let really = before.keys().filter(|name| !after.contains_key(*name));
        assert_eq!(gone, really.collect::<Vec<_>>(), "{name}");
        before = after;
    }
}

#[test]
fn the_files_as_they_are_count_tracked_or_not_unless_git_ignores_them() {
    let Some(repo) = Repo::new() else { return };
    repo.commit("the fleet", FLEET);
    repo.commit("more", &[Write(".gitignore", "*.tmp\n")]);
    let names = |args: &[&str]| repo.affected(args).ok().out.clone();
    let now = ["--since", "HEAD", "--names"];
    assert_eq!(names(&now), "");
    repo.edit(&Write("services/stt/x.tmp", "x"));
    repo.edit(&Write("docs/untracked", "x"));
    assert_eq!(names(&now), "");
    repo.edit(&Write("services/stt/new.py", "x"));
    repo.edit(&Write("native/a/m.c", "other\n"));
    assert_eq!(names(&now), "native\nstt\n");
    repo.edit(&Write("native/a/m.c", "m\n"));
    assert_eq!(names(&now), "stt\n", "a file that is as it was");
    repo.git("add -A");
    assert_eq!(names(&now), "stt\n", "staged");
    // Moved with all that it reads, in no commit yet.
    repo.edit(&Remove("services/stt/new.py"));
    repo.edit(&Move("pages/v1/p.html", "pages/v9/p.html"));
    repo.edit(&Link("pages/current", "v9"));
    assert_eq!(names(&now), "");
    let told = repo.affected(&["--since", "HEAD", "--exit-code"]);
    told.ok();
    repo.edit(&Write("pages/v9/p.html", "9\n"));
    repo.affected(&["--since", "HEAD", "--exit-code"]).exits(1).says(&["1 of 9 images"]);
    repo.affected(&["--since", "HEAD", "web"]).ok().says(&["0 of 1 images"]);
    repo.affected(&["--since", "HEAD", "webb"]).exits(2).says(&["did you mean `web`?"]);
}

#[test]
fn a_submodule_counts_as_its_commit_and_as_more_if_its_files_are_not_as_there() {
    let Some(repo) = Repo::new() else { return };
    let Some(other) = Repo::new() else { return };
    other.commit("one", &[Write("h", "1\n")]);
    let url = other.folder().display().to_string();
    repo.git(&format!("submodule --quiet add {url} lib"));
    repo.commit("all", &[Write("Dockerfile", "FROM scratch\nCOPY lib/h /h\n")]);
    let names = || repo.affected(&["--since", "HEAD", "--names"]).ok().out.clone();
    assert_eq!(names(), "");
    let within = repo.folder().join("lib");
    fs::write(within.join("h"), "1\n").unwrap();
    assert_eq!(names(), "", "only touched");
    fs::write(within.join("h"), "2\n").unwrap();
    assert_eq!(names(), "repo\n", "not in a commit yet");
    git(&within, &["commit", "-q", "-a", "-m", "two"]);
    assert_eq!(names(), "repo\n", "another commit");
    repo.commit("moved", &[]);
    assert_eq!(names(), "");
    assert_eq!(reasons(&repo.last().ok().json())["repo"], ["lib modified"]);
}

#[test]
fn a_branch_is_compared_with_where_it_left_and_a_subfolder_is_a_repository_too() {
    let Some(repo) = Repo::new() else { return };
    repo.commit("the fleet", FLEET);
    repo.git("checkout -q -b topic");
    repo.commit("topic", &[Write("services/stt/main.py", "topic\n")]);
    repo.git("checkout -q main");
    repo.commit("main", &[Write("services/tts/main.py", "main\n")]);
    repo.git("checkout -q topic");
    let names = |args: &[&str]| repo.affected(args).ok().out.clone();
    assert_eq!(names(&["--since", "main", "--names"]), "stt\n");
    assert_eq!(names(&["--since", "main", "--names", "--direct"]), "stt\ntts\n");
    assert_eq!(names(&["--since", "topic", "--until", "main", "--names"]), "tts\n");
    // From a folder below the top, paths are those of the folder.
    repo.edit(&Write("web/index.html", "j\n"));
    let told = repo.affected(&["-C", "web", "--since", "HEAD", "--format", "json"]).ok().json();
    let expected = BTreeMap::from([("web".to_owned(), vec!["index.html modified".to_owned()])]);
    assert_eq!(reasons(&told), expected);
}

#[test]
fn what_git_cannot_answer_says_what_to_do() {
    let Some(repo) = Repo::new() else { return };
    repo.affected(&["--since", "HEAD"]).exits(2).says(&["no revision `HEAD`"]);
    repo.commit("the fleet", FLEET);
    repo.git("checkout -q -b topic");
    repo.commit("topic", &[Write("services/stt/main.py", "topic\n")]);
    repo.git("checkout -q main");
    repo.commit("main", &[Write("services/tts/main.py", "main\n")]);
    repo.affected(&["--since", "origin/main"])
        .exits(2)
        .says(&["no revision `origin/main`", "git fetch origin main:refs/remotes/origin/main"]);
    repo.affected(&["--since", "--upload-pack=x"]).exits(2);
    let url = format!("file://{}", repo.folder().display());
    let clone = repo.place.path("clone");
    let into = clone.to_str().unwrap().to_owned();
    git(&repo.folder(), &["clone", "-q", "--depth=1", "--no-single-branch", &url, &into]);
    let there = |args: &[&str]| {
        let mut all = vec!["affected", "-C", &into];
        all.extend(args);
        repo.place.run(&all)
    };
    there(&["--since", "HEAD~1"]).exits(2).says(&["shallow", "fetch-depth: 0"]);
    there(&["--since", "origin/topic"]).exits(4).says(&["do not meet", "shallow", "--direct"]);
    there(&["--since", "origin/topic", "--direct", "--names"]).ok().says(&["stt\n", "tts\n"]);
    git(&clone, &["fetch", "-q", "--unshallow"]);
    there(&["--since", "origin/topic", "--names"]).ok().says(&["tts\n"]);
    // A clone without contents: those of the commit before are not there.
    let partial = repo.place.path("partial");
    let into = partial.to_str().unwrap();
    git(&repo.folder(), &["config", "uploadpack.allowFilter", "true"]);
    git(&repo.folder(), &["clone", "-q", "--filter=blob:none", "--no-checkout", &url, into]);
    repo.place
        .run(&["affected", "-C", into, "--since", "HEAD~1", "--until", "HEAD"])
        .exits(4)
        .says(&["not in this clone", "partial"]);
    let nowhere = repo.place.path("home");
    let told = repo.place.run(&["affected", "-C", nowhere.to_str().unwrap(), "--since", "HEAD"]);
    told.exits(4).says(&["in no Git repository"]);
    let mut without = repo.place.command(&["affected", "--since", "HEAD"]);
    without.env("PATH", repo.place.path("home"));
    Told::from(without.output().unwrap()).exits(4).says(&["cannot start `git`", "install git"]);
}

#[test]
fn nothing_is_written_to_the_repository() {
    let Some(repo) = Repo::new() else { return };
    repo.commit("the fleet", FLEET);
    repo.edit(&Remove("services/stt/main.py"));
    repo.edit(&Write("services/stt/main.py", "stt\n"));
    let state = || {
        let mut found = BTreeMap::new();
        let mut folders = vec![repo.folder()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
                let meta = entry.metadata().unwrap();
                if meta.is_dir() {
                    folders.push(entry.path());
                }
                found.insert(entry.path(), (meta.len(), meta.modified().unwrap()));
            }
        }
        found
    };
    let before = state();
    repo.affected(&["--since", "HEAD"]).ok();
    let changed: Vec<_> =
        state().into_iter().filter(|(path, is)| before.get(path) != Some(is)).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// How many commits of this project's own history are replayed.
const OWN: usize = 100;

#[test]
fn this_projects_own_history_is_told_as_the_oracle_finds_it() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().parent().unwrap();
    // There may be no git, no history, or one that belongs to somebody else.
    let mut probe = Command::new("git");
    probe.args(["rev-parse", "HEAD"]).current_dir(top).env("GIT_CONFIG_GLOBAL", "/dev/null");
    if !top.join(".git").exists() || !probe.output().is_ok_and(|told| told.status.success()) {
        return skipped("there is no history here");
    }
    let place = Place::new();
    let list = format!("--max-count={OWN}");
    let commits = git(top, &["rev-list", "--first-parent", &list, "HEAD"]);
    let commits: Vec<&str> = commits.lines().collect();
    let folder = top.join("fixtures");
    let mut made = Made { place: &place, top, known: BTreeMap::new() };
    for pair in commits.windows(2) {
        let [new, old] = pair else { continue };
        let ask = |folder: &Path, format: &[&str]| {
            let folder = folder.to_str().unwrap();
            let mut args = vec!["affected", "-C", folder, "--since", old, "--until", new];
            args.extend(format);
            let told = place.run(&args);
            assert!(matches!(told.code, Some(0 | 3)), "{told:?}");
            told
        };
        // Of the whole tree nothing is a fleet: what is there is input of tests.
        assert_eq!(ask(top, &["--names"]).out, "", "{old} {new}");
        let (Some(before), Some(after)) = (made.images(old), made.images(new)) else { continue };
        let told = ask(&folder, &["--format", "json"]).json();
        let found: BTreeSet<String> = reasons(&told).into_keys().collect();
        assert_eq!(found, by_hand(&before, &after), "{old} {new}");
    }
}

/// What the oracle found, by tree.
struct Made<'p> {
    place: &'p Place,
    top: &'p Path,
    known: BTreeMap<String, Option<BTreeMap<String, String>>>,
}

impl Made<'_> {
    /// The images below `fixtures` in a commit; none if there are none.
    fn images(&mut self, commit: &str) -> Option<BTreeMap<String, String>> {
        let line = git(self.top, &["ls-tree", commit, "fixtures"]);
        let tree = line.split_whitespace().nth(2)?.to_owned();
        let made = || {
            let folder = self.place.path(&format!("{tree}/fixtures"));
            checkout(self.top, &tree, "", &folder);
            oracle::images(&folder)
        };
        self.known.entry(tree.clone()).or_insert_with(made).clone()
    }
}
