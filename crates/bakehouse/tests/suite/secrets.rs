//! A secret is seen by the one process that asks for it, and by nobody else ever.

use std::fs;
use std::path::PathBuf;

use bakehouse_testkit::registry::TestRegistry;

use crate::place::{Place, has};

const FROM_FILE: &str = "tell-nobody-of-the-file-4711";
const FROM_VARIABLE: &str = "tell-nobody-of-the-variable-0815";

#[test]
fn a_secret_is_in_no_layer_no_event_no_history_and_nowhere_in_the_store() {
    let Some(mut place) = Place::that_has_users() else { return };
    let registry = TestRegistry::start();
    let file = place.path("home/key");
    fs::write(&file, FROM_FILE).unwrap();
    place.set("TOKEN", FROM_VARIABLE);
    place.write(
        "Dockerfile",
        "FROM machine-base\n\
         RUN --mount=type=secret,id=key,target=/etc/key wc -c </etc/key >/size \
         && sha256sum </etc/key >/sum\n\
         RUN --mount=type=secret,id=token,env=TOKEN,mode=0440 \
         test -n \"$TOKEN\" && printf %s \"$TOKEN\" | wc -c >/token-size\n\
         RUN --mount=type=secret,id=token,required,uid=7,gid=8,mode=0440 \
         stat -c '%u:%g %a' /run/secrets/token >/stat\n\
         RUN test ! -e /etc/key && test ! -e /run/secrets/token && test -z \"$TOKEN\"\n",
    );
    let spec = format!("id=key,src={}", file.display());
    let archive = place.path("image.tar");
    let dest = format!("type=oci,dest={}", archive.display());
    let tree = format!("type=tar,dest={}", place.path("tree.tar").display());
    let to = format!("{}/secret:1", registry.host());
    let secrets = ["--secret", &spec, "--secret", "id=token,env=TOKEN"];
    let outputs = ["-o", &dest, "-o", &tree, "-t", &to, "--push"];
    let rest = ["--progress", "json", "--provenance=mode=max", "--sbom"];
    let told = place.build(&[&secrets[..], &outputs, &rest].concat());
    told.ok();
    for secret in [FROM_FILE, FROM_VARIABLE] {
        assert!(!told.all().contains(secret), "{}", told.all());
        assert_eq!(place.files_with(&place.store(), secret), Vec::<PathBuf>::new());
        for file in ["image.tar", "tree.tar"] {
            assert!(!has(&fs::read(place.path(file)).unwrap(), secret), "{file}");
        }
    }
    let tree = crate::place::Tree::read(fs::File::open(place.path("tree.tar")).unwrap());
    assert_eq!(tree.text("size").trim(), FROM_FILE.len().to_string());
    assert_eq!(tree.text("token-size").trim(), FROM_VARIABLE.len().to_string());
    assert_eq!(tree.text("stat").trim(), "7:8 440");
}

#[test]
fn another_secret_is_no_reason_to_build_again() {
    let Some(mut place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN --mount=type=secret,id=t,env=T echo $T\n");
    place.set("T", "one");
    place.build(&["--secret", "id=t,env=T"]).ok();
    place.set("T", "two");
    place.build(&["--secret", "id=t,env=T"]).ok().says(&["1 image up to date"]);
}

#[test]
fn a_secret_that_is_not_given_is_just_not_there_unless_it_is_required() {
    let Some(place) = Place::that_builds() else { return };
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=secret,id=t test ! -e /run/secrets/t\n",
    );
    place.build(&[]).ok();
}

#[test]
fn a_failing_step_does_not_tell_its_secret() {
    let Some(mut place) = Place::that_builds() else { return };
    place.set("TOKEN", FROM_VARIABLE);
    place.write(
        "Dockerfile",
        "FROM machine-base\nRUN --mount=type=secret,id=token,env=TOKEN test \"$TOKEN\" = no\n",
    );
    let told = place.build(&["--secret", "id=token,env=TOKEN"]);
    assert!(!told.exits(1).all().contains(FROM_VARIABLE), "{}", told.all());
    assert_eq!(place.files_with(&place.store(), FROM_VARIABLE), Vec::<PathBuf>::new());
}
