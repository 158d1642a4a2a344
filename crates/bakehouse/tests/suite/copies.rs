//! The rarer flags of `COPY` and `ADD`, seen in the files of a built image.

use std::fs;

use crate::place::{Place, Tree, started};

/// The layers of the image in an OCI layout, lowest first: their digests and what is in them.
fn layers(place: &Place, args: &[&str]) -> Vec<(String, Tree)> {
    let dest =
        format!("type=oci,tar=false,compression=uncompressed,dest={}", place.path("oci").display());
    let mut all = vec!["-o", &dest];
    all.extend(args);
    place.build(&all).ok();
    let blob = |digest: &str| {
        fs::read(place.path("oci/blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap()
    };
    let json = |bytes: &[u8]| -> serde_json::Value { serde_json::from_slice(bytes).unwrap() };
    let index = json(&fs::read(place.path("oci/index.json")).unwrap());
    let manifest = json(&blob(index["manifests"][0]["digest"].as_str().unwrap()));
    let layers = manifest["layers"].as_array().unwrap().iter();
    let digests = layers.map(|layer| layer["digest"].as_str().unwrap().to_owned());
    digests.map(|digest| (digest.clone(), Tree::read(blob(&digest).as_slice()))).collect()
}

#[test]
fn a_linked_copy_is_put_on_another_base_without_being_made_again() {
    let Some(place) = Place::that_builds() else { return };
    place.write("f", "linked\n");
    place.write(
        "Dockerfile",
        "FROM machine-base\nARG V\nRUN mkdir -m 700 /srv/x && echo $V >/srv/x/v\n\
         COPY --link --chown=7 f /srv/x/\nRUN cat /srv/x/v /srv/x/f >/both\n",
    );
    let first = layers(&place, &["--build-arg", "V=1"]);
    let events = place.events(&["--build-arg", "V=2"]);
    let names: Vec<String> = started(&events).into_iter().map(|(name, _)| name).collect();
    assert!(names.iter().any(|name| name.starts_with("LINK COPY")), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("COPY")), "{names:?}");
    let second = layers(&place, &["--build-arg", "V=2"]);
    let linked = |layers: &[(String, Tree)]| {
        let found = layers.iter().find(|(_, tree)| tree.has("srv/x/f"));
        let (digest, tree) = found.unwrap();
        // The folders on the way are in it too: it does not know what it will lie on.
        assert!(tree.has("srv") && tree.has("srv/x"), "{tree:?}");
        assert_eq!(tree.at("srv/x/f").owner, (7, 7));
        digest.clone()
    };
    assert_eq!(linked(&first), linked(&second));
    let (_, last) = second.last().unwrap();
    assert_eq!(last.text("both"), "2\nlinked\n");
}

#[test]
fn a_linked_copy_replaces_a_link_that_is_in_its_way() {
    let Some(place) = Place::that_builds() else { return };
    place.write("f", "f\n");
    let tree = place.tree(
        "FROM machine-base\nRUN mkdir /real && ln -s real /a && ln -s real /b\n\
         COPY f /a/\nCOPY --link f /b/\n",
        &[],
    );
    assert_eq!(tree.text("real/f"), "f\n");
    assert_eq!(tree.text("b/f"), "f\n");
    assert!(tree.at("a").link.is_some() && tree.at("b").link.is_none(), "{tree:?}");
}

#[test]
fn a_linked_copy_with_a_name_or_a_mode_looks_at_what_is_below() {
    let Some(place) = Place::that_has_users() else { return };
    place.write("f", "f\n");
    let tree = place.tree(
        "FROM machine-base\nRUN echo app:x:77:78::/:/bin/sh >>/etc/passwd\n\
         COPY --link --chown=app f /x/\nCOPY --link --chmod=0600 f /y/\n",
        &[],
    );
    assert_eq!(tree.at("x/f").owner, (77, 78));
    assert_eq!(tree.at("y/f").mode, 0o600);
}

#[test]
fn a_last_copy_becomes_files_when_somebody_needs_them_and_not_before() {
    const TEXT: &str = "straight into the layer";
    let Some(mut place) = Place::that_builds() else { return };
    place.write("d/a", TEXT);
    place.write("d/sub/b", "b\n");
    let dockerfile = "FROM machine-base\nCOPY d /srv/\n";
    place.write("Dockerfile", dockerfile);
    let kept = |place: &Place, home: &str| {
        !place.files_with(&place.path(home).join("layers-v1"), TEXT).is_empty()
    };
    place.set("BAKEHOUSE_HOME", place.path("straight").to_str().unwrap());
    let straight = layers(&place, &[]).pop().unwrap();
    assert_eq!(
        (straight.1.text("srv/a").as_str(), straight.1.text("srv/sub/b").as_str()),
        (TEXT, "b\n")
    );
    assert!(!kept(&place, "straight"));
    assert_eq!(started(&place.events(&[])), [], "it is found again");

    // Another build stands on it; it did not change.
    place.write("Dockerfile", format!("{dockerfile}RUN cat /srv/a /srv/sub/b >/both\n"));
    let names: Vec<String> = started(&place.events(&[])).into_iter().map(|it| it.0).collect();
    assert!(names.len() == 1 && names[0].starts_with("RUN cat"), "{names:?}");
    let last = layers(&place, &[]).pop().unwrap().1;
    assert_eq!(last.text("both"), format!("{TEXT}b\n"));
    assert!(kept(&place, "straight"));

    // Where files are wanted, they are made, and give the same layer.
    place.set("BAKEHOUSE_HOME", place.path("files").to_str().unwrap());
    let tree = place.tree(dockerfile, &[]);
    assert!(kept(&place, "files") && tree.text("srv/a") == TEXT);
    assert_eq!(layers(&place, &[]).pop().unwrap().0, straight.0);

    // So is the tree of what went straight.
    place.set("BAKEHOUSE_HOME", place.path("again").to_str().unwrap());
    layers(&place, &[]);
    assert!(!kept(&place, "again"));
    let again = place.tree(dockerfile, &[]);
    assert_eq!(format!("{again:?}"), format!("{tree:?}"));
}
