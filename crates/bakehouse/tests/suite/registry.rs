//! Bases from a registry and images to a registry, when it behaves and when it does not.

use std::fs;

use bakehouse_model::oci::Platform;
use bakehouse_testkit::image::{self, TestImage};
use bakehouse_testkit::registry::{Access, Effect, Fault, TestRegistry};
use serde_json::{Value, json};

use crate::place::{Place, base};

/// An image of this machine's own base and a layer with a marker.
fn machine_image() -> TestImage {
    let marker = image::tar(&[("marker", b"from the registry".to_vec())]);
    image::image(&Platform::host(), &[fs::read(base()).unwrap(), marker])
}

/// An image without a shell, which is enough to copy into.
fn small_image() -> TestImage {
    // What does not compress comes in more than one piece.
    let files = [("big", image::random_bytes(7, 600_000)), ("marker", b"small".to_vec())];
    image::image(&Platform::host(), &[image::tar(&files)])
}

fn write_copy(place: &Place, registry: &TestRegistry) {
    place.write("a.txt", "a\n");
    place.write("Dockerfile", format!("FROM {}/base:1\nCOPY a.txt /\n", registry.host()));
}

#[test]
fn a_base_is_pulled_once_and_built_on() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    registry.put_image("team/base", "1", &machine_image());
    let reference = format!("{}/team/base:1", registry.host());
    let tree = place.tree(&format!("FROM {reference}\nRUN cat /marker >/seen\n"), &[]);
    assert_eq!(tree.text("seen"), "from the registry");
    registry.clear_requests();
    place.build(&[]).ok().says(&["1 image up to date"]);
    assert_eq!(registry.requests().len(), 0, "{:?}", registry.requests());
    // Who asks for it gets the tag looked at, and nothing is fetched twice.
    place.build(&["--pull"]).ok().says(&["1 image up to date"]);
    assert!(!registry.requests().is_empty());
    assert_eq!(registry.count("GET", "/blobs/"), 0);
}

#[test]
fn a_tag_that_moved_rebuilds_and_is_named() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    registry.put_image("base", "1", &small_image());
    write_copy(&place, &registry);
    place.build(&[]).ok();
    registry.put_image("base", "1", &image::random_image(3, 2, 1000));
    place.build(&[]).ok().says(&["1 image up to date"]);
    let told = place.build(&["--pull", "--progress", "json"]);
    told.ok().says(&["base-moved"]);
}

#[test]
fn the_platform_of_an_index_is_chosen() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let (own, other) = (small_image(), image::random_image(9, 1, 100));
    let foreign = Platform { architecture: "s390x".to_owned(), ..Platform::host() };
    for one in [&own, &other] {
        registry.put_image("base", one.digest().as_str(), one);
    }
    let index = image::index(&[(&other, &foreign), (&own, &Platform::host())]);
    registry.put_manifest("base", "1", "application/vnd.oci.image.index.v1+json", &index);
    write_copy(&place, &registry);
    let dockerfile = fs::read_to_string(place.path("repo/Dockerfile")).unwrap();
    assert_eq!(place.tree(&dockerfile, &[]).text("marker"), "small");
}

#[test]
fn credentials_come_from_dockers_configuration() {
    let Some(place) = Place::that_builds() else { return };
    for access in [Access::basic(), Access::bearer()] {
        let registry = TestRegistry::with_access(access.clone());
        registry.put_image("base", "1", &small_image());
        write_copy(&place, &registry);
        let docker = place.path("home/.docker");
        fs::create_dir_all(&docker).unwrap();
        fs::write(docker.join("config.json"), "{}").unwrap();
        let push = ["--push", "--registry", &format!("{}/team", registry.host())];
        if access == Access::basic() {
            let says = ["Dockerfile:1", &registry.host(), "docker login"];
            place.build(&[]).exits(4).says(&says);
        } else {
            place.build(&push).exits(4).says(&[&registry.host(), "docker login"]);
        }
        // `user:secret`
        let auths = json!({ "auths": { registry.host(): { "auth": "dXNlcjpzZWNyZXQ=" } } });
        fs::write(docker.join("config.json"), auths.to_string()).unwrap();
        place.build(&push).ok();
        assert!(registry.manifest("team/repo", "latest").is_some());
        assert!(!place.files_with(&place.store(), "dXNlcjpzZWNyZXQ=").iter().any(|_| true));
    }
}

#[test]
fn a_registry_that_is_busy_is_asked_again_when_it_says() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    registry.put_image("base", "1", &small_image());
    registry.inject(Fault::on("GET", "/manifests/", Effect::rate_limit("1")).times(1));
    registry.inject(Fault::on("GET", "/blobs/", Effect::rate_limit("0")).times(2));
    registry.inject(Fault::on("GET", "/blobs/", Effect::status(503)).times(1));
    write_copy(&place, &registry);
    place.build(&[]).ok();
    let busy = registry.requests().iter().filter(|request| request.status == 429).count();
    assert!(busy >= 2, "{busy}");
}

#[test]
fn half_a_blob_is_resumed_where_it_broke_off() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let image = small_image();
    registry.put_image("base", "1", &image);
    let layer = bakehouse_model::Digest::of(&image.layers[0]);
    registry.inject(Fault::on("GET", layer.as_str(), Effect::CutAt(200_000)).times(1));
    write_copy(&place, &registry);
    place.build(&[]).ok();
    let requests = registry.requests();
    let mut gets = requests.iter().filter(|r| r.method == "GET" && r.target.contains(layer.hex()));
    assert!(gets.any(|request| request.headers.contains_key("range")), "{requests:?}");
}

#[test]
fn wrong_bytes_are_refused_with_the_reference_and_the_place() {
    let place = Place::new();
    let registry = TestRegistry::start();
    let image = small_image();
    registry.put_image("base", "1", &image);
    let layer = bakehouse_model::Digest::of(&image.layers[0]);
    registry.inject(Fault::on("GET", layer.as_str(), Effect::WrongBytes));
    write_copy(&place, &registry);
    let host = registry.host();
    let told = place.build(&[]);
    told.exits(4).says(&[&format!("{host}/base"), layer.as_str(), "Dockerfile:1"]);
    // Nothing of it is kept as if it were right.
    let kept = place.store().join("blobs/sha256").join(layer.hex());
    assert!(!kept.exists());
}

#[test]
fn a_wrong_manifest_or_configuration_is_refused_before_anything_runs() {
    let image = small_image();
    let config = bakehouse_model::Digest::of(&image.config);
    let cases = [
        Fault::on("GET", config.as_str(), Effect::WrongBytes),
        Fault::on("GET", "/manifests/", Effect::WrongBytes),
        Fault::on("GET", "/manifests/", Effect::WrongLength(1000)),
        Fault::on("GET", "/manifests/", Effect::error(403, "DENIED", "not for you")),
        Fault::on("GET", "/manifests/", Effect::Hangup),
    ];
    for fault in cases {
        let place = Place::new();
        let what = format!("{fault:?}");
        let registry = TestRegistry::start();
        registry.put_image("base", "1", &image);
        registry.inject(fault);
        write_copy(&place, &registry);
        let told = place.build(&[]);
        assert_eq!(told.code, Some(4), "{what}");
        told.says(&["Dockerfile:1", &format!("{}/base:1", registry.host())]);
    }
}

#[test]
fn a_base_that_does_not_exist_and_a_registry_that_is_down_are_told_with_their_place() {
    let place = Place::new();
    let registry = TestRegistry::start();
    let stand_on = |host: &str| {
        let text = format!("FROM scratch AS a\nFROM {host}/no/such:1\nCOPY a /\n");
        place.write("Dockerfile", text);
    };
    let host = registry.host();
    stand_on(&host);
    place.build(&[]).exits(4).says(&["Dockerfile:2", &format!("{host}/no/such:1"), "help:"]);
    // Nobody gets this port by chance, as somebody might get that of a registry that is gone.
    stand_on("127.0.0.1:1");
    place.build(&[]).exits(4).says(&["Dockerfile:2", "127.0.0.1:1", "help:"]);
    place.ask("plan", &[]).exits(4).says(&["Dockerfile:2"]);
    place.ask("plan", &["--offline"]).exits(4).says(&["Dockerfile:2", "was never looked up"]);
    // Another image of the same repository does not need it.
    place.write("ok/Dockerfile", "FROM scratch\nCOPY a.txt /\n");
    place.write("ok/a.txt", "a");
    let Some(_) = Place::that_builds() else { return };
    place.build(&["ok"]).ok();
}

#[test]
fn a_mirror_is_asked_before_the_registry() {
    let Some(place) = Place::that_builds() else { return };
    let mirror = TestRegistry::start();
    mirror.put_image("library/machine", "12", &machine_image());
    place.write("Dockerfile", "FROM machine:12\nRUN cat /marker\n");
    let to = format!("docker.io={}", mirror.url(""));
    place.run(&["build", "--registry-mirror", &to]).ok().says(&["from the registry"]);
}

#[test]
fn an_image_is_pushed_once() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    for name in ["one", "two"] {
        let text = format!("FROM machine-base\nRUN echo shared >/shared\nRUN echo {name} >/n\n");
        place.write(&format!("{name}/Dockerfile"), text);
    }
    let to = format!("{}/team", registry.host());
    place.build(&["--push", "--registry", &to]).ok();
    let document = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    for name in ["one", "two"] {
        let repository = format!("team/{name}");
        let manifest = document(&registry.manifest(&repository, "latest").unwrap());
        let blobs = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
        for blob in blobs {
            let digest = blob["digest"].as_str().unwrap().parse().unwrap();
            assert!(registry.shows(&repository, &digest), "{repository} lacks {digest}");
        }
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 3);
    }
    registry.clear_requests();
    place.build(&["--push", "--registry", &to]).ok();
    let uploads = registry.count("PATCH", "") + registry.count("PUT", "/blobs/");
    assert_eq!(uploads + registry.count("POST", "/blobs/"), 0, "{:?}", registry.requests());
    // Under another name in the same registry, nothing is sent a second time either.
    let tag = format!("{}/other/name:v2", registry.host());
    place.build(&["one", "--push", "--registry", &to, "-t", &tag]).ok();
    assert!(registry.manifest("other/name", "v2").is_some());
    assert_eq!(registry.requests().iter().filter(|r| r.body_bytes > 100_000).count(), 0);
}

#[test]
fn what_was_pushed_can_be_built_on_elsewhere() {
    let (Some(place), Some(other)) = (Place::that_builds(), Place::that_builds()) else { return };
    let registry = TestRegistry::start();
    place.write("Dockerfile", "FROM machine-base\nRUN echo pushed >/pushed\nENV WORD=kept\n");
    let tag = format!("{}/base:1", registry.host());
    place.build(&["--push", "-t", &tag]).ok();
    let tree = other.tree(&format!("FROM {tag}\nRUN echo $WORD >>/pushed\n"), &[]);
    assert_eq!(tree.text("pushed"), "pushed\nkept\n");
}

#[test]
fn a_push_that_is_refused_fails_the_run_and_keeps_the_image() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let denied = Effect::error(403, "DENIED", "requested access to the resource is denied");
    registry.inject(Fault::on("POST", "/blobs/uploads/", denied));
    place.write("Dockerfile", "FROM machine-base\nRUN echo x >/x\n");
    let tag = format!("{}/base:1", registry.host());
    let told = place.build(&["--push", "-t", &tag]);
    assert!(matches!(told.code, Some(1 | 4)), "{told:?}");
    told.says(&[&tag, "requested access to the resource is denied"]);
    place.build(&[]).ok().says(&["1 image up to date"]);
}

#[test]
fn a_layout_that_was_written_is_a_base() {
    let Some(place) = Place::that_builds() else { return };
    place.write("Dockerfile", "FROM machine-base\nRUN echo laid out >/layout\n");
    let layout = place.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    place.build(&["-o", &output, "-t", "example.test/base:1"]).ok();
    let context = format!("from-layout=oci-layout://{}", layout.display());
    let tree =
        place.tree("FROM from-layout\nRUN cat /layout >/seen\n", &["--build-context", &context]);
    assert_eq!(tree.text("seen"), "laid out\n");
}
