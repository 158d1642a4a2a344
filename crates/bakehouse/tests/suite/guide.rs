//! What the guide says of Dockerfiles is what is built here: its tables are made of these cases.
//!
//! Each case that is supported is a Dockerfile which looks itself at what it made; each that is
//! refused is one that must fail with the words that are told of it. A page that is out of date
//! is a failure; with `BAKEHOUSE_WRITE_GUIDE=1` it is written anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::place::Place;

/// Something that a Dockerfile may say, and a build in which it holds.
struct Case {
    /// The heading of the guide that it is under.
    about: &'static str,
    /// What holds, as the guide has it.
    what: &'static str,
    /// The Dockerfile, without the `FROM` of its last stage's base.
    text: &'static str,
}

const fn case(about: &'static str, what: &'static str, text: &'static str) -> Case {
    Case { about, what, text }
}

const TEXT: &str = "The text";
const VALUES: &str = "Variables";
const STAGES: &str = "Stages";
const COPIES: &str = "Copies";
const RUNS: &str = "Processes";

const CASES: &[Case] = &[
    case(
        TEXT,
        "directives, in any case, before everything else",
        "# ESCAPE=`\nFROM machine-base\nRUN test 1 = `\n 1\n",
    ),
    case(
        TEXT,
        "Windows line ends and a byte order mark",
        "\u{feff}FROM machine-base\r\nRUN true\r\n",
    ),
    case(
        TEXT,
        "comments and empty lines within an instruction",
        "FROM machine-base\nRUN test a = a && \\\n# between\n\n test b = b\n",
    ),
    case(TEXT, "an escape character at the very end", "FROM machine-base\nRUN true \\"),
    case(
        TEXT,
        "JSON form only where it is an array of strings",
        "FROM machine-base\nRUN [\"test\", \"$HOME\", \"=\", \"$HOME\"]\nRUN [ 'a' = 'a' ]\n",
    ),
    case(
        TEXT,
        "several here-documents of one instruction, with `<<-` and quotes",
        "FROM machine-base\nARG A=1\nCOPY <<one <<-\"two\" /d/\n$A\none\n\t$A\ntwo\nRUN test \"$(cat /d/one)$(cat /d/two)\" = '1$A'\n",
    ),
    case(
        TEXT,
        "a script as a here-document, with the program that it names",
        "FROM machine-base\nRUN <<EOF\n#!/bin/sh -e\necho $0 >/name\nEOF\nRUN <<EOF\ntest \"$(cat /name)\" = /dev/pipes/EOF\nEOF\nRUN cat <<EOF >/f && test -s /f\nx\nEOF\n",
    ),
    case(
        VALUES,
        "`ARG` before `FROM` is seen in a stage that says it again",
        "ARG A=1\nFROM machine-base\nRUN test -z \"$A\"\nARG A\nRUN test $A = 1\nARG A=2\nRUN test $A = 2\n",
    ),
    case(
        VALUES,
        "`ENV` goes before `ARG`, and is expanded before it is set",
        "FROM machine-base\nARG A=2\nENV A=1\nENV A=3 B=$A\nRUN test $A$B = 31\n",
    ),
    case(
        VALUES,
        "platform arguments, where they are declared",
        "FROM machine-base\nRUN test -z \"$TARGETOS\"\nARG TARGETOS BUILDPLATFORM\nRUN test $TARGETOS = linux && test -n \"$BUILDPLATFORM\"\n",
    ),
    case(
        VALUES,
        "every form of expansion",
        "FROM machine-base\nENV A=a.b.c N=\nENV R=\"${A#*.} ${A##*.} ${A%.*} ${A%%.*} ${A/./-} ${A//./-} ${N:-d} ${N-d} ${A:+y} \\$A\"\nRUN test \"$R\" = 'b.c c a.b a a-b.c a-b-c d  y $A'\n",
    ),
    case(
        VALUES,
        "`ENV name value`, the old form",
        "FROM machine-base\nENV A b c\nRUN test \"$A\" = 'b c'\n",
    ),
    case(
        STAGES,
        "names in any case, numbers, stages upon stages",
        "FROM machine-base AS One\nRUN echo 1 >/one\nFROM one\nCOPY --from=ONE /one /two\nCOPY --from=0 /one /three\nRUN cat /one /two /three\n",
    ),
    case(
        STAGES,
        "what is not needed is not built",
        "FROM not.there/at/all AS unused\nRUN exit 1\nFROM machine-base\nRUN true\n",
    ),
    case(
        STAGES,
        "triggers of a stage (`ONBUILD`)",
        "FROM machine-base AS one\nONBUILD RUN echo 1 >/one\nFROM one\nRUN test -f /one\n",
    ),
    case(STAGES, "`FROM scratch`", "FROM scratch\nCOPY a.txt /\n"),
    case(
        COPIES,
        "files of the context are root's, and keep their mode and time",
        "FROM machine-base\nCOPY a.txt x.sh /d/\nRUN test \"$(stat -c %u:%g:%a /d/a.txt /d/x.sh)\" = \"$(printf '0:0:644\\n0:0:755')\"\n",
    ),
    case(
        COPIES,
        "`COPY --from` keeps owners",
        "FROM machine-base AS one\nRUN echo >/f && chown 7:8 /f\nFROM machine-base\nCOPY --from=one /f /f\nRUN test $(stat -c %u:%g /f) = 7:8\n",
    ),
    case(
        COPIES,
        "`--chown=N` is user N and group N",
        "FROM machine-base\nCOPY --chown=7 a.txt /new/a\nRUN test \"$(stat -c %u:%g /new /new/a)\" = \"$(printf '7:7\\n7:7')\"\n",
    ),
    case(
        COPIES,
        "`--chmod`, in numbers and in letters",
        "FROM machine-base\nCOPY --chmod=0600 a.txt /a\nCOPY --chmod=u=rwX,go=rX folder /f\nRUN test \"$(stat -c %a /a /f /f/b.txt)\" = \"$(printf '600\\n755\\n644')\"\n",
    ),
    case(
        COPIES,
        "a folder's contents go where they are told",
        "FROM machine-base\nCOPY folder /x\nCOPY folder/b.txt a.txt /y/\nCOPY a.txt z\nRUN cat /x/b.txt /x/deep/c.md /y/b.txt /y/a.txt /z\n",
    ),
    case(
        COPIES,
        "wildcards, which may match nothing",
        "FROM machine-base\nCOPY folder/*.txt a.tx? none* [a].txt /x/\nRUN test \"$(ls /x | tr '\\n' ' ')\" = 'a.txt b.txt '\n",
    ),
    case(
        COPIES,
        "links at the source are followed, links within a folder are copied",
        "FROM machine-base\nCOPY link /x/one\nCOPY links /x/\nRUN test ! -L /x/one && test -L /x/inner && ln -s /x /y\nCOPY a.txt /y/\nRUN test -f /x/a.txt\n",
    ),
    case(
        COPIES,
        "`--parents`, and `/./` for where they begin",
        "FROM machine-base\nCOPY --parents folder/deep/c.md /x/\nCOPY --parents folder/./deep/*.md /y/\nRUN cat /x/folder/deep/c.md /y/deep/c.md\n",
    ),
    case(
        COPIES,
        "`--exclude`",
        "FROM machine-base\nCOPY --exclude=*.md --exclude=**/*.md folder /x\nRUN test -f /x/b.txt && test ! -e /x/deep/c.md\n",
    ),
    case(
        COPIES,
        "`--link`: a layer that does not depend on what is below",
        "FROM machine-base\nRUN ln -s /srv /l\nCOPY --link a.txt /l/\nRUN test ! -L /l && test -f /l/a.txt && test ! -e /srv/a.txt\n",
    ),
    case(
        COPIES,
        "`.dockerignore`, with `!`",
        "FROM machine-base\nCOPY . /x\nRUN test ! -e /x/ignored/a && test -f /x/ignored/kept\n",
    ),
    case(
        COPIES,
        "`ADD` unpacks archives by what is in them; `--unpack=false` does not",
        "FROM machine-base\nADD packed /x/\nADD --unpack=false packed /y/\nRUN test -f /x/in-tar && test -f /y/packed\n",
    ),
    case(
        RUNS,
        "`HOME` of the user, a default `PATH`, a directory that is made",
        "FROM machine-base\nUSER 0\nWORKDIR /made/deep\nRUN test $(pwd) = /made/deep && test -n \"$HOME\" && test -n \"$PATH\"\n",
    ),
    case(
        RUNS,
        "host name and `/etc/hosts` as BuildKit has them",
        "FROM machine-base\nRUN test $(uname -n) = buildkitsandbox && grep -q 'localhost.*buildkitsandbox' /etc/hosts\n",
    ),
    case(
        RUNS,
        "what was made to mount on is gone",
        "FROM machine-base\nRUN --mount=type=tmpfs,target=/not/there true\nRUN test ! -e /not\n",
    ),
    case(
        RUNS,
        "`/dev`, `/proc` and `/sys` as Docker has them",
        "FROM machine-base\nRUN test -c /dev/null && test -d /dev/shm && test ! -w /proc/sysrq-trigger || test ! -s /proc/kcore\n",
    ),
    case(
        RUNS,
        "`--network=none`",
        "FROM machine-base\nRUN --network=none test \"$(ls /sys/class/net)\" = lo\n",
    ),
    case(
        RUNS,
        "`--mount=type=bind`, of the context and of stages; what is written is gone",
        "FROM machine-base AS one\nRUN echo 1 >/one\nFROM machine-base\nRUN --mount=target=/c --mount=from=one,source=/one,target=/one cat /c/a.txt /one\nRUN --mount=target=/c,rw echo x >/c/new\nRUN --mount=target=/c test ! -e /c/new\n",
    ),
    case(
        RUNS,
        "`--mount=type=cache`, with owner and mode",
        "FROM machine-base\nRUN --mount=type=cache,id=guide,target=/c,uid=7,mode=0700 test $(stat -c %u:%a /c) = 7:700 && echo 1 >/c/f\nRUN --mount=type=cache,id=guide,target=/d,uid=7,mode=0700 test -f /d/f\nRUN test ! -e /c\n",
    ),
    case(
        RUNS,
        "`--mount=type=secret`: absent unless given",
        "FROM machine-base\nRUN --mount=type=secret,id=no test ! -e /run/secrets/no\n",
    ),
    case(
        RUNS,
        "`--mount=type=tmpfs`",
        "FROM machine-base\nRUN --mount=type=tmpfs,target=/t,size=1m grep -q ' /t tmpfs ' /proc/mounts\n",
    ),
    case(
        RUNS,
        "`VOLUME` is noted, and what is written there stays",
        "FROM machine-base\nVOLUME /v\nRUN mkdir /v && echo 1 >/v/f\nRUN test -f /v/f\n",
    ),
    case(
        RUNS,
        "`SHELL` for the lines that follow",
        "FROM machine-base\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN case $- in *e*) ;; *) exit 1 ;; esac\n",
    ),
    case(
        RUNS,
        "what a step leaves running ends with it",
        "FROM machine-base\nRUN sleep 1000 & echo $! >/pid\nRUN test ! -d /proc/$(cat /pid)/fd/1\n",
    ),
];

/// What must fail, with the code and the sentence that say why.
const REFUSED: &[(&str, &str, &str)] = &[
    ("another front end", "# syntax=docker.io/other/frontend\nFROM scratch\n", "BuildKit"),
    (
        "`RUN --device` of a device that must be there",
        "FROM machine-base\nRUN --device=vendor.com/gpu=all,required true\n",
        "BuildKit",
    ),
    ("`RUN` and `WORKDIR` for other systems than Linux", "FROM scratch\nRUN true\n", "BuildKit"),
    (
        "`RUN --security=insecure` without `--allow security.insecure`",
        "FROM machine-base\nRUN --security=insecure true\n",
        "--allow security.insecure",
    ),
    (
        "`RUN --network=host` without `--allow network.host`",
        "FROM machine-base\nRUN --network=host true\n",
        "--allow network.host",
    ),
    ("`COPY` of a URL or a repository", "FROM scratch\nCOPY https://host/file /\n", "use ADD"),
    ("a base without a name", "ARG A\nFROM $A\nENV a=b\n", "should not be blank"),
    ("a variable in `--from`", "FROM scratch\nARG A\nCOPY --from=$A / /\n", "begin a stage"),
    ("a source that is not there", "FROM scratch\nCOPY not-there /\n", "not found"),
    (
        "stages that stand on each other",
        "FROM scratch AS a\nCOPY --from=b / /\nFROM scratch AS b\nCOPY --from=a / /\n",
        "circular",
    ),
    ("an instruction or a flag that is not known", "FROM scratch\nRNU true\n", "did you mean"),
];

const BEGIN: &str = "<!-- What follows is made by a test, `guide.rs`. -->";
const END: &str = "<!-- What precedes is made by a test, `guide.rs`. -->";

fn page() -> String {
    let mut text = String::new();
    let mut about = "";
    for case in CASES {
        if case.about != about {
            about = case.about;
            write!(text, "\n| {about} |\n|---|\n").unwrap();
        }
        writeln!(text, "| {} |", case.what).unwrap();
    }
    text.push_str("\n| Refused |\n|---|\n");
    for (what, _, _) in REFUSED {
        writeln!(text, "| {what} |").unwrap();
    }
    text
}

#[test]
fn the_guide_says_what_is_built_and_what_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/dockerfile.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}\n{}\n{END}{after}", page());
    if std::env::var_os("BAKEHOUSE_WRITE_GUIDE").is_some() {
        fs::write(&path, expected).unwrap();
    } else {
        assert!(text == expected, "run this with BAKEHOUSE_WRITE_GUIDE=1, and look at the changes");
    }
}

fn write_context(place: &Place, folder: &str) {
    let write = |name: &str, content: &str| place.write(&format!("{folder}/{name}"), content);
    write("a.txt", "a\n");
    write("x.sh", "#!/bin/sh\n");
    write("folder/b.txt", "b\n");
    write("folder/deep/c.md", "c\n");
    write("links/file", "l\n");
    write("ignored/a", "i\n");
    write("ignored/kept", "k\n");
    write(".dockerignore", "ignored\n!ignored/kept\n");
    let root = place.path("repo").join(folder);
    std::os::unix::fs::symlink("a.txt", root.join("link")).unwrap();
    std::os::unix::fs::symlink("file", root.join("links/inner")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(root.join("x.sh"), mode).unwrap();
    let mut builder = tar::Builder::new(fs::File::create(root.join("packed")).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "in-tar", &b"t"[..]).unwrap();
    builder.finish().unwrap();
}

#[test]
fn what_the_guide_says_is_supported_is_built() {
    let Some(place) = Place::that_has_users() else { return };
    for (number, case) in CASES.iter().enumerate() {
        let folder = format!("case-{number}");
        write_context(&place, &folder);
        place.write(&format!("{folder}/Dockerfile"), case.text);
    }
    let told = place.build(&[]);
    let failed: Vec<String> = CASES
        .iter()
        .enumerate()
        .filter(|(number, _)| {
            let name = format!("case-{number}");
            let line = told.out.lines().find(|line| line.split(' ').next() == Some(name.as_str()));
            !line.is_some_and(|line| line.contains("built"))
        })
        .map(|(number, case)| format!("case-{number}: {}", case.what))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}\n{}\n{}", told.out, told.err);
}

#[test]
fn what_the_guide_says_is_refused_is_refused_in_these_words() {
    let place = Place::new();
    for (what, text, words) in REFUSED {
        place.write("Dockerfile", text);
        let windows: &[&str] =
            if what.contains("Linux") { &["--platform=windows/amd64"] } else { &[] };
        let told = place.build(&[&["-f", "Dockerfile"], windows].concat());
        assert!(matches!(told.code, Some(3)), "{what}: {told:?}");
        assert!(told.all().contains(words), "{what}: no `{words}` in {}", told.all());
    }
}
