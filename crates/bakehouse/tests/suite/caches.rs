//! Caches that others can read: written, read on another machine, damaged, and in each other's
//! way.

use std::fs;

use bakehouse_model::oci::Platform;
use bakehouse_testkit::image;
use bakehouse_testkit::registry::{Effect, Fault, TestRegistry};
use serde_json::Value;

use crate::place::{Place, base};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

const STAGES: &str = "ARG BASE\nFROM $BASE AS builder\nWORKDIR /made\nCOPY src ./src\n\
    RUN --mount=type=cache,target=/c cat src/* >out && cp out /c/\n\
    FROM $BASE\nCOPY --from=builder /made/out /srv/\nRUN cat /srv/out >/copy\n";

/// A repository with two stages on a base of this registry.
fn stages(place: &Place, registry: &TestRegistry) {
    let tar = fs::read(base()).unwrap();
    registry.put_image("base", "1", &image::image(&Platform::host(), &[tar]));
    place.write("src/a", "a\n");
    place.write("Dockerfile", STAGES.replace("$BASE", &format!("{}/base:1", registry.host())));
}

/// Another machine with the same repository.
fn elsewhere(registry: &TestRegistry) -> Place {
    let other = Place::new();
    stages(&other, registry);
    other
}

fn config(registry: &TestRegistry, tag: &str) -> Value {
    let manifest: Value =
        serde_json::from_slice(&registry.manifest("cache", tag).unwrap()).unwrap();
    let digest = manifest["config"]["digest"].as_str().unwrap().parse().unwrap();
    serde_json::from_slice(&registry.blob(&digest).unwrap()).unwrap()
}

#[test]
fn what_one_machine_wrote_another_need_not_build() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let name = format!("{}/cache:app", registry.host());
    place.build(&["--cache-to", &format!("type=registry,ref={name},mode=max")]).ok();
    let document = config(&registry, "app");
    assert_eq!(document["records"].as_array().unwrap().len(), 8, "{document:#}");

    let other = elsewhere(&registry);
    registry.clear_requests();
    other.ask("why", &["repo", "--cache-from", &name]).ok().says(&["from the cache", &name]);
    assert_eq!(
        registry.count("GET", "/blobs/"),
        2,
        "the documents alone: {:?}",
        registry.requests()
    );
    let told = other.build(&["--cache-from", &name, "--progress", "json"]);
    told.ok().says(&[&format!("\"from\":\"{name}\"")]);
    assert!(!told.all().contains("step-started"), "{}", told.all());

    // One file of the context is another: what stands on it runs, on what the cache has.
    let third = elsewhere(&registry);
    third.write("src/a", "b\n");
    let told = third.build(&["--cache-from", &name, "--progress", "json"]);
    let started = told.ok().all().matches("step-started").count();
    assert_eq!(started, 5, "a base, and COPY, RUN, COPY, RUN: {}", told.all());
}

#[test]
fn the_smaller_mode_has_the_images_own_layers_and_finds_the_image() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let name = format!("{}/cache:min", registry.host());
    place.build(&["--cache-to", &name]).ok();
    let document = config(&registry, "min");
    assert_eq!(document["layers"].as_array().unwrap().len(), 3, "{document:#}");
    let other = elsewhere(&registry);
    let told = other.build(&["--cache-from", &name, "--progress", "json"]);
    assert!(!told.ok().all().contains("step-started"), "{}", told.all());
}

#[test]
fn a_cache_in_a_folder_or_in_the_old_form_is_one_too() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display().to_string();
    let old = format!("type=local,dest={folder},mode=max,tag=old,image-manifest=false");
    let local = format!("type=local,dest={folder},mode=max,tag=x");
    place.build(&["--cache-to", &local, "--cache-to", &old]).ok();
    let froms = ["x", "old"].map(|tag| format!("type=local,src={folder},tag={tag}"));
    for from in froms {
        let other = elsewhere(&registry);
        let told = other.build(&["--cache-from", &from, "--progress", "json"]);
        assert!(!told.ok().all().contains("step-started"), "{from}: {}", told.all());
    }
}

#[test]
fn a_cache_within_the_image_finds_its_own_steps() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let team = format!("{}/team", registry.host());
    place.build(&["--push", "--registry", &team, "--cache-to", "type=inline"]).ok();
    let name = format!("{team}/repo");
    let other = elsewhere(&registry);
    let told = other.build(&["--cache-from", &name, "--progress", "json"]);
    assert!(!told.ok().all().contains("step-started"), "{}", told.all());
    // It is in the configuration of this image, and of no other that is built on it.
    other.write("Dockerfile", format!("FROM {name}\nCOPY src /more\n"));
    let told =
        other.build(&["-o", &format!("type=oci,tar=false,dest={}", other.path("o").display())]);
    told.ok();
    assert!(other.files_with(&other.path("o"), "moby.buildkit.cache.v0").is_empty());
}

#[test]
fn a_cache_that_is_not_there_or_damaged_is_a_warning_and_never_a_wrong_layer() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let name = format!("{}/cache:app", registry.host());
    let from = ["--cache-from", name.as_str(), "--progress", "plain"];
    place.build(&from).ok().says(&["there is no cache at", "1 built"]);
    place.build(&["--cache-to", &format!("type=registry,ref={name},mode=max")]).ok();

    // One layer says that it is another one.
    let text = String::from_utf8(registry.manifest("cache", "app").unwrap()).unwrap();
    let honest: Value = serde_json::from_str(&text).unwrap();
    let count = honest["layers"].as_array().unwrap().len();
    for at in [0, count - 1] {
        let mut manifest = honest.clone();
        let lie = format!("sha256:{}", "0".repeat(64));
        manifest["layers"][at]["annotations"]["containerd.io/uncompressed"] = lie.into();
        let lying = serde_json::to_vec(&manifest).unwrap();
        registry.put_manifest("cache", "app", MANIFEST, &lying);
        let other = elsewhere(&registry);
        other.build(&from).ok().says(&["is not taken from a cache", "the configuration says"]);
        let out = other.path("out");
        other.build(&["-o", &format!("type=local,dest={}", out.display())]).ok();
        assert_eq!(fs::read_to_string(out.join("copy")).unwrap(), "a\n", "layer {at}");
    }

    // Documents that are none.
    for document in ["{}", "[]", "{\"schemaVersion\":2,\"config\":{}}", "no"] {
        registry.put_manifest("cache", "app", MANIFEST, document.as_bytes());
        elsewhere(&registry).build(&from).ok().says(&["cannot be used", "1 built"]);
    }
}

#[test]
fn a_cache_cannot_put_another_blob_in_the_place_of_a_bases_layer() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let name = format!("{}/cache:app", registry.host());
    place
        .build(&["--cache-to", &format!("type=registry,ref={name},mode=max,compression=zstd")])
        .ok();
    let mut manifest: Value =
        serde_json::from_slice(&registry.manifest("cache", "app").unwrap()).unwrap();
    let document = config(&registry, "app");
    let lowest = document["layers"].as_array().unwrap().iter().find(|it| it["parent"] == -1);
    let lowest = lowest.unwrap()["blob"].as_str().unwrap().to_owned();
    let hostile = registry.put_blob("cache", &image::tar(&[("hostile", b"hostile".to_vec())]));
    let size = registry.blob(&hostile).unwrap().len();
    let document = document.to_string().replace(&lowest, hostile.as_str());
    let document = (registry.put_blob("cache", document.as_bytes()), document.len());
    manifest["config"]["digest"] = document.0.as_str().into();
    manifest["config"]["size"] = document.1.into();
    for layer in manifest["layers"].as_array_mut().unwrap() {
        if layer["digest"] == lowest.as_str() {
            layer["digest"] = hostile.as_str().into();
            layer["size"] = size.into();
        }
    }
    registry.put_manifest("cache", "app", MANIFEST, manifest.to_string().as_bytes());

    // The base's own blob is in the store, and then the cache is read.
    let other = elsewhere(&registry);
    other.build(&["--target", "builder"]).ok();
    other.build(&["--cache-from", &name]).ok();
    let out = other.path("out");
    let output = format!("type=oci,tar=false,compression=zstd,dest={}", out.display());
    other.build(&["--cache-from", &name, "-o", &output]).ok();
    assert!(!out.join("blobs/sha256").join(hostile.hex()).exists(), "the hostile blob is exported");
}

#[test]
fn a_cache_of_another_repository_is_fetched_where_the_registry_gives_nothing_away() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    stages(&place, &registry);
    let [one, two] = ["cache", "other"].map(|name| format!("{}/{name}:app", registry.host()));
    place.build(&["--cache-to", &format!("type=registry,ref={one},mode=max")]).ok();
    let to = format!("type=registry,ref={two},mode=max");
    registry.inject(Fault::on("POST", "mount=", Effect::error(403, "DENIED", "not yours")));
    let told = elsewhere(&registry).build(&["--cache-from", &one, "--cache-to", &to]);
    assert!(!told.ok().all().contains("step-started"), "{}", told.all());
    let blobs = |name| {
        let manifest: Value =
            serde_json::from_slice(&registry.manifest(name, "app").unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap().clone();
        layers.iter().map(|layer| layer["digest"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(blobs("cache"), blobs("other"));
}

#[test]
fn images_do_not_write_over_each_others_caches_or_over_images() {
    let registry = "registry.example";
    let place = Place::new();
    place.write("a/Dockerfile", "FROM scratch\nCOPY x /\n");
    place.write("b/Dockerfile", "FROM scratch\nCOPY x /\n");
    let bake = |a: &str, b: &str| {
        let target = |name: &str, to: &str| {
            format!(
                "target \"{name}\" {{\n  context = \"{name}\"\n  tags = [\"{registry}/{name}:1\"]\n  cache-to = [\"{to}\"]\n}}\n"
            )
        };
        place.write("docker-bake.hcl", target("a", a) + &target("b", b));
    };
    let same = format!("type=registry,ref={registry}/cache:x");
    bake(&same, &same);
    let told = place.run(&["build", "--dry-run"]);
    told.exits(3).says(&["docker-bake.hcl:6", "`a` and `b`", "only one of them"]);
    bake(&format!("type=registry,ref={registry}/b:1"), "type=inline");
    let told = place.run(&["build", "--dry-run"]);
    told.exits(3).says(&["docker-bake.hcl:1", "the tag of `b`"]);
    bake("type=local,dest=./c", "type=local,dest=x/../c/");
    place.run(&["build", "--dry-run"]).exits(3).says(&["`a` and `b`", "only one of them"]);
    let pinned = format!("type=registry,ref={registry}/c@sha256:{}", "0".repeat(64));
    bake(&pinned, "type=inline");
    place.run(&["build", "--dry-run"]).exits(3).says(&["nothing can be written to it"]);
    bake("type=registry,ref=A B", "type=inline");
    place.run(&["build", "--dry-run"]).exits(3).says(&["docker-bake.hcl:1", "no reference"]);
}
