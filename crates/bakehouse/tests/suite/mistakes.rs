//! Bad input: the exit code that the documentation promises, a message that names the place
//! and the remedy, never a panic, and a store that goes on to work.

use std::fs;
use std::process::Command;

use crate::place::{Place, Told, base, is_root, program, skipped};

/// A Dockerfile that is wrong before anything runs.
struct Wrong {
    dockerfile: &'static [u8],
    args: &'static [&'static str],
    code: i32,
    says: &'static [&'static str],
}

const WRONG: &[Wrong] = &[
    Wrong {
        dockerfile: b"FROM machine-base\nFORM x\nRUN true\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:2", "unknown instruction: `FORM`", "did you mean `FROM`?"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\n\nCOPY nothing.txt /\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:3", "nothing.txt", "not found", ".dockerignore"],
    },
    Wrong {
        dockerfile: b"FROM machine-base AS builder\nFROM scratch\nCOPY --from=9 / /\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:3", "9"],
    },
    Wrong {
        dockerfile: b"FROM machine-base AS builder\nFROM machine-base AS final\n",
        args: &["--target", "finl"],
        code: 3,
        says: &["Dockerfile", "target stage `finl` could not be found", "builder, final"],
    },
    Wrong {
        dockerfile: b"FROM machine-base AS a\nCOPY --from=b / /\nFROM machine-base AS b\nCOPY --from=a / /\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:", "circular dependency", "help:"],
    },
    Wrong { dockerfile: b"", args: &[], code: 3, says: &["Dockerfile", "no instructions"] },
    Wrong { dockerfile: b"# only a comment\n", args: &[], code: 3, says: &["no instructions"] },
    Wrong {
        dockerfile: b"RUN true\nFROM machine-base\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:1"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\nRUN --mount=type=cash,target=/x true\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:2", "cash"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\nRUN <<EOF\necho never ends\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:2", "EOF"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\nENV a=${b\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:2"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\nCOPY --frm=x a b\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:2", "frm"],
    },
    Wrong {
        dockerfile: b"\x7fELF\x02\x01\x01\0\0\0\0\xff\xfe\n\0\0\0\x80\x81\n",
        args: &[],
        code: 3,
        says: &["Dockerfile:1"],
    },
    Wrong {
        dockerfile: b"FROM machine-base\nRUN true\n",
        args: &["repositry"],
        code: 2,
        says: &["no image `repositry`", "bakehouse graph"],
    },
];

#[test]
fn a_wrong_dockerfile_is_told_with_its_place_and_what_to_do() {
    let place = Place::new();
    for wrong in WRONG {
        place.write("Dockerfile", wrong.dockerfile);
        let told = place.build(wrong.args);
        told.exits(wrong.code).says(wrong.says);
        // What cannot be built cannot be planned either, and in the same words.
        place.ask("plan", wrong.args).exits(wrong.code).says(wrong.says);
    }
    // None of it was in the way of what is right.
    let Some(place) = Place::that_builds().map(|_| place) else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    place.build(&[]).ok();
}

#[test]
fn a_stage_that_is_misspelt_is_looked_for_among_images_and_the_near_one_is_named() {
    let place = Place::new();
    place.write(
        "Dockerfile",
        "FROM machine-base AS builder\nRUN true\nFROM scratch\nCOPY --from=buildr /x /\n",
    );
    place.build(&[]).exits(4).says(&["Dockerfile:4", "`buildr", "`builder`"]);
}

#[test]
fn images_that_stand_on_each_other_are_named_with_both_places() {
    let place = Place::new();
    place.write("a/Dockerfile", "FROM b\nRUN true\n");
    place.write("b/Dockerfile", "FROM scratch\nCOPY --from=a / /\n");
    place.build(&[]).exits(3).says(&["a/Dockerfile:1", "b/Dockerfile:2", "help:"]);
    place.run(&["graph"]).exits(3).says(&["a/Dockerfile:1", "b/Dockerfile:2"]);
}

#[test]
fn a_misspelt_image_is_answered_with_the_near_one() {
    let place = Place::new();
    for name in ["gateway", "worker"] {
        place.write(&format!("{name}/Dockerfile"), "FROM machine-base\nRUN true\n");
    }
    for verb in ["build", "plan", "why"] {
        place.ask(verb, &["gatway"]).exits(2).says(&["`gatway`", "did you mean `gateway`?"]);
    }
}

#[test]
fn a_folder_without_a_dockerfile_is_told_how_to_name_one() {
    let place = Place::new();
    place.build(&[]).exits(3).says(&["there is no Dockerfile in", "-f FILE"]);
    place.build(&["-f", "Dockerfile"]).exits(3).says(&["`Dockerfile` cannot be read", "-f names"]);
    fs::create_dir(place.path("repo/Dockerfile")).unwrap();
    place.build(&[]).exits(3).says(&["Dockerfile"]);
    place.build(&["-f", "Dockerfile"]).exits(3).says(&["it is not a regular file", "-f names"]);
    place.build(&["-C", "nowhere"]).exits(2).says(&["nowhere"]);
}

#[test]
fn a_dockerfile_of_absurd_size_is_named_and_refused() {
    let place = Place::new();
    let mut text = b"FROM machine-base\nRUN echo ".to_vec();
    text.resize(20 << 20, b'x');
    place.write("Dockerfile", &text);
    for args in [&[][..], &["-f", "Dockerfile"]] {
        let told = place.build(args);
        told.exits(3).says(&["Dockerfile", "is not read"]);
        assert!(told.err.len() < 10_000, "{} bytes of message", told.err.len());
    }
}

#[test]
fn a_message_about_a_long_line_is_not_long() {
    let place = Place::new();
    // BuildKit refuses lines of more than 65535 bytes, in these words.
    for (length, says) in [(60_000, "`RUM`"), (1 << 20, "max allowed size of 65535")] {
        place.write("Dockerfile", format!("FROM machine-base\nRUM {}\n", "x".repeat(length)));
        let told = place.build(&[]);
        told.exits(3).says(&["Dockerfile:2", says]);
        assert!(told.err.len() < 10_000, "{} bytes of message", told.err.len());
    }
}

#[test]
fn wrong_flags_exit_with_2_and_name_the_flag() {
    let place = Place::new();
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    let cases: &[(&[&str], &str)] = &[
        (&["build", "--frobnicate"], "--frobnicate"),
        (&["build", "-f"], "--file"),
        (&["frob"], "frob"),
        (&[], "Usage"),
        (&["build", "--jobs", "x"], "--jobs"),
        (&["build", "--output", "type=zip,dest=x"], "zip"),
        (&["build", "--output", "type=oci,dest=no/where/x.tar"], "no/where"),
        (&["build", "-t", "BAD REF"], "BAD REF"),
        (&["build", "--secret", "id=x,env=NOT_SET"], "NOT_SET"),
        (&["build", "--secret", "id=x,src=not-there"], "not-there"),
        (&["build", "--ssh", "default"], "SSH_AUTH_SOCK"),
        (&["build", "--push"], "--registry"),
        (&["build", "--context", "."], "--file"),
        (&["build", "--platform", "lala"], "lala"),
        (&["build", "--registry", "a b"], "--registry"),
        (&["build", "--registry-mirror", "x"], "HOST=URL"),
        (&["build", "--add-host", "x"], "--add-host"),
        (&["build", "--network", "x"], "--network"),
        (&["build", "--shm-size", "x"], "size"),
        (&["build", "--ulimit", "x=1"], "--ulimit"),
        (&["build", "--build-context", "x"], "--build-context"),
        (&["build", "--build-context", "x=ftp://y"], "ftp"),
        (&["build", "--progress", "loud"], "--progress"),
        (&["build", "--format", "xml"], "--format"),
        (&["why"], "<IMAGE>"),
        (&["run", "nothing-built"], "nothing-built"),
    ];
    for (args, says) in cases {
        place.run(args).exits(2).says(&[says]);
    }
}

#[test]
fn a_context_that_is_not_there_is_an_input_mistake() {
    let place = Place::new();
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    place.run(&["build", "--build-context", "machine-base=nowhere"]).exits(3).says(&["nowhere"]);
    let gone = "machine-base=rootfs-tar://nowhere.tar";
    place.run(&["build", "--build-context", gone]).exits(3).says(&["nowhere.tar"]);
    place.write("junk.tar", [7_u8; 4096]);
    let junk = "machine-base=rootfs-tar://junk.tar";
    place.run(&["build", "--build-context", junk]).exits(3).says(&["junk.tar"]);
    let layout = "machine-base=oci-layout://nowhere";
    place.run(&["build", "--build-context", layout]).exits(3).says(&["nowhere"]);
    place.build(&["-f", "Dockerfile", "--context", "gone"]).exits(3).says(&["gone", "--context"]);
}

#[test]
fn a_store_that_cannot_be_is_the_environments_fault() {
    let mut place = Place::new();
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    let file = place.path("a-file");
    fs::write(&file, "in the way").unwrap();
    for home in [file.to_str().unwrap(), "/proc/nowhere"] {
        place.set("BAKEHOUSE_HOME", home);
        place.build(&[]).exits(4).says(&[home, "BAKEHOUSE_HOME"]);
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "in the way");
}

#[test]
fn a_store_that_may_not_be_written_is_the_environments_fault() {
    let place = Place::new();
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    fs::create_dir(place.store()).unwrap();
    // Root may write to whatever is mounted writable.
    let script = r#"mount -t tmpfs -o ro none "$BAKEHOUSE_HOME" && exec "$@""#;
    let Some(told) = in_own_mounts(&place, script) else { return };
    told.exits(4).says(&["BAKEHOUSE_HOME", "not writable"]);
}

#[test]
fn a_full_disk_is_told_and_the_store_stays_whole() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN head -c 30000000 /dev/zero >/zeros\n");
    fs::create_dir(place.store()).unwrap();
    // Small: the base does not fit. Larger: it does, and the step's file does not.
    let script = r#"
        mount -t tmpfs -o size=4m none "$BAKEHOUSE_HOME" || exit 99
        "$@"; echo "first: $?"
        mount -o remount,size=24m "$BAKEHOUSE_HOME" || exit 99
        "$@"; echo "second: $?"
        mount -o remount,size=200m "$BAKEHOUSE_HOME" || exit 99
        exec "$@""#;
    let Some(told) = in_own_mounts(&place, script) else { return };
    told.ok().says(&["first: 4", "o space left on device"]);
    // What a step's own process makes of it is the step's failure.
    assert!(told.out.contains("second: 1") || told.out.contains("second: 4"), "{told:?}");
}

/// Runs a shell script as root in mounts of its own; `$@` is the build. None if that is not
/// possible here.
fn in_own_mounts(place: &Place, script: &str) -> Option<Told> {
    let mut probe = Command::new("unshare");
    probe.args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]);
    if !is_root() || !probe.output().is_ok_and(|output| output.status.success()) {
        skipped("only root may mount");
        return None;
    }
    let mut command = Command::new("unshare");
    let base = format!("machine-base=rootfs-tar://{}", base().display());
    command.args(["-m", "sh", "-c", script, "sh", program(), "build", "--build-context", &base]);
    command.current_dir(place.path("repo")).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", place.path("home"));
    command.env("BAKEHOUSE_HOME", place.store()).env("LC_ALL", "C.UTF-8");
    Some(Told::from(command.output().unwrap()))
}

#[test]
fn a_command_that_fails_is_shown_with_its_log_and_its_lines() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "a/Dockerfile",
        "FROM machine-base\nRUN echo so far so good\nRUN echo oh dear >&2; exit 7\nRUN true\n",
    );
    place.write("b/Dockerfile", "FROM machine-base\nRUN echo b >/b\n");
    let told = place.build(&[]);
    told.exits(1).says(&[
        "oh dear",
        "a/Dockerfile:3",
        ">>> 3 | RUN echo oh dear >&2; exit 7",
        "exit code: 7",
        "2 images: 1 built, 1 failed",
    ]);
    // What worked is kept.
    place.build(&["b"]).ok().says(&["1 image up to date"]);
    place.write("a/Dockerfile", "FROM machine-base\nRUN echo so far so good\nRUN true\n");
    place.build(&[]).ok();
}

#[test]
fn a_failure_is_in_the_events_with_its_causes() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN exit 7\nRUN echo never\n");
    let told = place.build(&["--progress", "json", "--format", "json"]);
    let events = told.exits(1).events();
    let text = serde_json::to_string(&events).unwrap();
    assert!(text.contains(r#""is":"failed""#) && text.contains(r#""code":7"#), "{text}");
    assert!(text.contains(r#""is":"skipped""#) && text.contains("image-failed"), "{text}");
    assert!(text.ends_with(r#""kind":{"type":"run-finished","exit":"work-failed"}}]"#), "{text}");
    told.json();
}

#[test]
fn what_an_image_does_not_have_is_told_with_the_place() {
    let Some(place) = Place::that_builds() else { return };
    let cases: &[(&str, i32, &[&str])] = &[
        ("RUN [\"/bin/nothing-like-it\"]", 1, &["Dockerfile:2", "/bin/nothing-like-it", "hint:"]),
        ("RUN nothing-like-it", 1, &["Dockerfile:2", "exit code: 127", "hint:"]),
        ("USER nobody-here\nRUN true", 3, &["Dockerfile:3", "`nobody-here`", "hint:"]),
        ("COPY --from=machine-base /not/there /", 3, &["Dockerfile:2", "/not/there"]),
        (
            "RUN --mount=type=secret,id=key,required true",
            3,
            &["Dockerfile:2", "`key`", "--secret id=key"],
        ),
        (
            "RUN --mount=type=ssh,required true",
            3,
            &["Dockerfile:2", "SSH agent `default`", "--ssh default"],
        ),
        ("WORKDIR /etc/passwd\nRUN true", 3, &["Dockerfile:2", "/etc/passwd"]),
    ];
    for (text, code, says) in cases {
        place.write("Dockerfile", format!("FROM machine-base\n{text}\n"));
        place.build(&[]).exits(*code).says(says);
    }
    place.write("Dockerfile", "FROM machine-base\nRUN true\n");
    place.build(&[]).ok();
}
