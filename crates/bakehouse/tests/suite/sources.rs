//! What comes into an image: files of contexts, archives, addresses, agents.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use bakehouse_model::Digest;
use bakehouse_testkit::image;
use bakehouse_testkit::registry::{Effect, Fault, TestRegistry};

use crate::place::{Place, started};

#[test]
fn a_local_archive_is_unpacked_and_a_copied_one_is_not() {
    let Some(place) = Place::that_builds() else { return };
    let tar = image::tar(&[("inner/a.txt", b"a".to_vec()), ("b.txt", b"b".to_vec())]);
    place.write("plain.tar", &tar);
    place.write("packed.tgz", image::gzip(&tar));
    let tree = place.tree(
        "FROM machine-base\nADD plain.tar /plain/\nADD packed.tgz /packed/\nCOPY plain.tar /copied/\n\
         ADD --unpack=false packed.tgz /kept/\n",
        &[],
    );
    for folder in ["plain", "packed"] {
        assert_eq!(tree.text(&format!("{folder}/inner/a.txt")), "a");
        assert_eq!(tree.text(&format!("{folder}/b.txt")), "b");
    }
    assert_eq!(tree.at("copied/plain.tar").content, tar);
    assert!(tree.has("kept/packed.tgz") && !tree.has("kept/b.txt"));
}

#[test]
fn an_address_is_fetched_once_and_its_checksum_is_kept_to() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let content = b"from afar\n";
    registry.put_file("/files/far.txt", content, &[("etag", "\"1\"")]);
    let address = registry.url("/files/far.txt");
    let right = Digest::of(content);
    let tree = place.tree(
        &format!(
            "FROM machine-base\nADD {address} /far/\nADD --checksum={right} --chmod=0600 \
             {address} /named\nRUN cat /far/far.txt >/seen\n"
        ),
        &[],
    );
    assert_eq!(tree.text("seen"), "from afar\n");
    assert_eq!(tree.at("named").mode, 0o600);
    let wrong = Digest::of(b"something else");
    place.write(
        "Dockerfile",
        format!("FROM machine-base\nRUN true\nADD --checksum={wrong} {address} /x\n"),
    );
    let told = place.build(&[]);
    assert!(matches!(told.code, Some(1 | 3 | 4)), "{told:?}");
    told.says(&["Dockerfile:3", right.hex()]);
    registry.inject(Fault::on("GET", "/files/", Effect::status(404)));
    registry.inject(Fault::on("HEAD", "/files/", Effect::status(404)));
    place.write("Dockerfile", format!("FROM machine-base\nADD {address}?gone /x\n"));
    let told = place.build(&[]);
    assert!(matches!(told.code, Some(1 | 3 | 4)), "{told:?}");
    told.says(&["Dockerfile:2", "404"]);
}

#[test]
fn one_dockerfile_alone_may_have_a_context_elsewhere_and_an_ignore_file_of_its_own() {
    let Some(place) = Place::that_builds() else { return };
    place.write("build/Special", "FROM machine-base\nCOPY . /c/\n");
    place.write("build/Special.dockerignore", "*\n!kept\n!deep/kept\ndeep/kept.not\n");
    for file in ["kept", "dropped", "deep/kept", "deep/kept.not", "deep/other"] {
        place.write(&format!("files/{file}"), file);
    }
    place.write("files/.dockerignore", "kept\n");
    let output = format!("type=local,dest={}", place.path("out").display());
    place.build(&["-f", "build/Special", "--context", "files", "-o", &output]).ok();
    let found = |file: &str| place.path("out/c").join(file).exists();
    assert!(found("kept") && found("deep/kept"));
    assert!(!found("dropped") && !found("deep/kept.not") && !found("deep/other"));
}

#[test]
fn copies_choose_link_and_leave_out() {
    let Some(place) = Place::that_builds() else { return };
    for file in ["app/main.txt", "app/test.tmp", "app/deep/x.txt", "other/y.txt"] {
        place.write(file, file);
    }
    let tree = place.tree(
        "# syntax=docker/dockerfile:1\nFROM machine-base AS one\nRUN mkdir -p /o/p && echo o >/o/p/q\n\
         FROM machine-base\nCOPY --exclude=**/*.tmp app /excluded/\n\
         COPY --parents app/deep/x.txt other/y.txt /parents/\n\
         COPY --link app/main.txt /linked/\nCOPY --from=one --chown=3 /o /o\n\
         COPY --link --from=one /o/p/q /linked/\nCOPY app/main.txt other/y.txt /several/\n\
         COPY app/main.txt /renamed\n",
        &[],
    );
    assert!(tree.has("excluded/main.txt") && !tree.has("excluded/test.tmp"));
    assert!(tree.has("parents/app/deep/x.txt") && tree.has("parents/other/y.txt"));
    assert!(tree.has("linked/main.txt") && tree.has("linked/q"));
    assert_eq!(tree.at("o/p/q").owner, (3, 3));
    assert!(tree.has("several/y.txt") && tree.text("renamed") == "app/main.txt");
}

#[test]
fn arguments_choose_bases_and_stages() {
    let Some(place) = Place::that_builds() else { return };
    let dockerfile = "ARG FLAVOUR=plain\nFROM machine-base AS base-plain\nRUN echo plain >/flavour\n\
                      FROM machine-base AS base-rich\nRUN echo rich >/flavour\n\
                      FROM base-${FLAVOUR}\nARG FLAVOUR\nARG TARGETARCH\n\
                      RUN echo $FLAVOUR ${TARGETARCH:+arch} ${NOBODY:-nobody} >/seen\n";
    let tree = place.tree(dockerfile, &[]);
    assert_eq!(
        (tree.text("flavour"), tree.text("seen")),
        ("plain\n".into(), "plain arch nobody\n".into())
    );
    let tree = place.tree(dockerfile, &["--build-arg", "FLAVOUR=rich"]);
    assert_eq!(
        (tree.text("flavour"), tree.text("seen")),
        ("rich\n".into(), "rich arch nobody\n".into())
    );
    let names = started(&place.events(&["--no-cache"]));
    assert!(!names.iter().any(|(name, _)| name.contains("echo rich")), "{names:?}");
}

#[test]
fn an_agents_socket_is_there_for_the_one_step_that_asks() {
    let Some(place) = Place::that_builds() else { return };
    let path = place.path("agent");
    let listener = UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).ok();
        stream.write_all(b"answer").ok();
    });
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\"\n\
         RUN test -z \"$SSH_AUTH_SOCK\"\n",
    );
    let spec = format!("default={}", path.display());
    place.build(&["--ssh", &spec]).ok();
    // Nobody may still wait when the test ends.
    drop(std::os::unix::net::UnixStream::connect(&path));
    agent.join().unwrap();
    assert!(fs::symlink_metadata(&path).is_ok());
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=ssh test -z \"$SSH_AUTH_SOCK\"\n",
    );
    place.build(&[]).ok();
}

#[test]
fn layers_are_packed_as_asked_for() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN seq 1 10000 >/numbers\n");
    let types = [
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ("zstd", "application/vnd.oci.image.layer.v1.tar+zstd"),
        ("uncompressed", "application/vnd.oci.image.layer.v1.tar"),
    ];
    for (compression, media_type) in types {
        let layout = place.path(compression);
        let output = format!(
            "type=oci,tar=false,dest={},compression={compression},force-compression=true",
            layout.display()
        );
        place.build(&["-o", &output]).ok();
        let manifest = crate::outputs::manifest(&layout);
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], media_type, "{manifest}");
        }
    }
    let docker = place.path("docker-types");
    let output = format!("type=oci,tar=false,dest={},oci-mediatypes=false", docker.display());
    place.build(&["-o", &output]).ok();
    let manifest = crate::outputs::manifest(&docker);
    assert_eq!(manifest["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
}
