//! What is attached to images: provenance and lists of packages, as BuildKit attaches them.

use std::fs;
use std::path::Path;

use bakehouse_model::Digest;
use bakehouse_testkit::image;
use bakehouse_testkit::registry::TestRegistry;
use serde_json::{Value, json};

use crate::place::Place;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";

/// A repository whose image stands on nothing.
fn write_plain(place: &Place) {
    place.write("a.txt", "a\n");
    place.write("Dockerfile", "FROM scratch\nARG WHO=nobody\nLABEL who=$WHO\nCOPY a.txt /\n");
}

/// Builds into a layout, and gives what its one entry points at.
fn layout(place: &Place, name: &str, args: &[&str]) -> (std::path::PathBuf, Value) {
    let folder = place.path(name);
    let output = format!("type=oci,tar=false,dest={}", folder.display());
    place.build(&[&["-o", &output], args].concat()).ok();
    let top: Value = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let entry = blob(&folder, &top["manifests"][0]);
    (folder, entry)
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(digest.hex())).unwrap();
    assert_eq!(Digest::of(&bytes), digest);
    serde_json::from_slice(&bytes).unwrap()
}

/// The statements about a manifest, by predicate type, found as others find them.
fn statements(layout: &Path, index: &Value, about: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        let notes = &descriptor["annotations"];
        if notes["vnd.docker.reference.type"] != "attestation-manifest"
            || notes["vnd.docker.reference.digest"] != about["digest"]
        {
            continue;
        }
        let unknown = json!({ "os": "unknown", "architecture": "unknown" });
        assert_eq!(descriptor["platform"], unknown);
        let manifest = blob(layout, descriptor);
        let config = blob(layout, &manifest["config"]);
        for (at, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            assert_eq!(config["rootfs"]["diff_ids"][at], layer["digest"]);
            let kind = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap();
            let statement = blob(layout, layer);
            assert_eq!(statement["predicateType"], kind);
            let hex = about["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            assert_eq!(statement["subject"][0]["digest"]["sha256"], hex);
            found.push((kind.to_owned(), statement));
        }
    }
    found
}

#[test]
fn nothing_is_attached_unless_it_is_asked_for() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    for args in [&[][..], &["--provenance=false", "--sbom=false"]] {
        let (_, entry) = layout(&place, "layout", args);
        assert_eq!(entry["mediaType"], "application/vnd.oci.image.manifest.v1+json", "{args:?}");
    }
}

#[test]
fn provenance_says_what_an_image_was_made_of() {
    let Some(place) = Place::that_builds() else { return };
    let registry = TestRegistry::start();
    let base = image::random_image(5, 1, 1000);
    registry.put_image("base", "1", &base);
    registry.put_file("/tool", b"tool", &[]);
    registry.put_file("/other", b"other", &[]);
    let (url, other) = (registry.url("/tool"), registry.url("/other"));
    let sum = Digest::of("tool");
    place.write("a.txt", "a\n");
    place.write(
        "Dockerfile",
        format!(
            "FROM {}/base:1 AS app\nARG WHO\nLABEL who=$WHO\nCOPY a.txt /\n\
             ADD --checksum={sum} {url} /tool\nADD {other} /other\nFROM scratch\n",
            registry.host()
        ),
    );
    let common = ["--target", "app", "-t", "team/app:1", "--build-arg", "WHO=me", "--label", "l=v"];
    for mode in ["min", "max"] {
        let provenance = format!("--provenance=mode={mode},builder-id=https://ci.example/7");
        let args = [&common[..], &[&provenance]].concat();
        let (folder, index) = layout(&place, mode, &args);
        let found = statements(&folder, &index, &index["manifests"][0]);
        let [(kind, statement)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(kind, PROVENANCE);
        let name = statement["subject"][0]["name"].as_str().unwrap();
        assert!(name.starts_with("pkg:docker/team/app@1?platform=linux%2F"), "{name}");
        let definition = &statement["predicate"]["buildDefinition"];
        let materials = definition["resolvedDependencies"].as_array().unwrap();
        let has = |digest: &Digest, part: &str| {
            materials.iter().any(|material| {
                material["digest"]["sha256"] == digest.hex()
                    && material["uri"].as_str().unwrap().contains(part)
            })
        };
        assert!(has(&base.digest(), "/base@1?platform=linux%2F"), "{materials:?}");
        assert!(has(&sum, &url), "{materials:?}");
        // What it is was not known before it was fetched.
        assert!(has(&Digest::of("other"), &other), "{materials:?}");
        let request = &definition["externalParameters"]["request"];
        assert_eq!(request["args"]["target"], "app");
        let details = &statement["predicate"]["runDetails"];
        assert_eq!(details["builder"]["id"], "https://ci.example/7");
        assert!(details["metadata"]["startedOn"].is_string());
        // What may be nobody's business is in one of them only.
        let expected = if mode == "max" { json!("me") } else { Value::Null };
        assert_eq!(request["args"]["build-arg:WHO"], expected);
        let steps = &definition["internalParameters"]["buildConfig"]["llbDefinition"];
        assert_eq!(steps.is_array(), mode == "max");
        let source = &details["metadata"]["buildkit_metadata"]["source"]["infos"][0];
        assert_eq!(source["filename"] == "Dockerfile", mode == "max");
        // Nobody needs to know where on the machine it was.
        assert!(!statement.to_string().contains(place.path("repo").to_str().unwrap()));
    }
}

#[test]
fn provenance_can_be_told_in_the_older_version_too() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    let (folder, index) = layout(&place, "old", &["--provenance=version=v0.2"]);
    let found = statements(&folder, &index, &index["manifests"][0]);
    let [(kind, statement)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(kind, "https://slsa.dev/provenance/v0.2");
    let predicate = &statement["predicate"];
    assert_eq!(predicate["buildType"], "https://mobyproject.org/buildkit@v1");
    assert_eq!(predicate["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    assert_eq!(predicate["invocation"]["parameters"]["frontend"], "dockerfile.v0");
    assert!(predicate["invocation"]["environment"]["platform"].is_string());
    let complete = json!({ "parameters": true, "environment": true, "materials": false });
    assert_eq!(predicate["metadata"]["completeness"], complete);
    assert!(predicate["metadata"]["buildStartedOn"].is_string());
    assert!(predicate["buildConfig"]["llbDefinition"].is_array());
}

#[test]
fn a_list_of_packages_is_attached_for_each_platform() {
    let Some(place) = Place::that_builds() else { return };
    place.write("status", "Package: tool\nStatus: install ok installed\nVersion: 1.2\n");
    place.write(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY status /var/lib/dpkg/status\n",
    );
    let args = ["--platform=linux/amd64,linux/arm64", "--sbom", "--provenance"];
    let (folder, index) = layout(&place, "layout", &args);
    let manifests = index["manifests"].as_array().unwrap();
    assert_eq!(manifests.len(), 4);
    for manifest in &manifests[..2] {
        let found = statements(&folder, &index, manifest);
        let kinds: Vec<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, [SPDX, PROVENANCE]);
        let packages = &found[0].1["predicate"]["packages"];
        assert_eq!(packages.as_array().unwrap().len(), 1);
        assert_eq!(
            (&packages[0]["name"], &packages[0]["versionInfo"]),
            (&json!("tool"), &json!("1.2"))
        );
    }
}

#[test]
fn an_image_that_did_not_change_keeps_what_is_attached() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    let args = ["--sbom", "--provenance"];
    let (_, first) = layout(&place, "first", &args);
    let (_, second) = layout(&place, "second", &args);
    assert_eq!(first, second);
    // With a time to build at, the same comes of it anywhere.
    let build = |name: &str| {
        let Some(mut other) = Place::that_builds() else { panic!("it did before") };
        other.set("SOURCE_DATE_EPOCH", "1600000000");
        write_plain(&other);
        layout(&other, name, &args).1
    };
    assert_eq!(build("third"), build("fourth"));
}

#[test]
fn definitions_ask_for_attestations_too() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    place.write(
        "docker-bake.hcl",
        "target \"app\" {\n  attest = [\"type=provenance,mode=min\", \"type=sbom\"]\n}\n",
    );
    place.write(
        "compose.yaml",
        "services:\n  app:\n    build:\n      context: .\n      provenance: mode=max\n      sbom: true\n",
    );
    let count = |name: &str, args: &[&str]| {
        let (folder, entry) = layout(&place, name, args);
        let index = entry["manifests"].as_array().map(|_| entry.clone());
        index.map_or(0, |index| statements(&folder, &index, &index["manifests"][0]).len())
    };
    assert_eq!(count("bake", &["-f", "docker-bake.hcl"]), 2);
    assert_eq!(count("compose", &["-f", "compose.yaml"]), 2);
    // The command line has the last word.
    assert_eq!(count("less", &["-f", "docker-bake.hcl", "--sbom=false"]), 1);
    let none = ["-f", "compose.yaml", "--attest", "type=provenance,disabled=true", "--sbom=false"];
    assert_eq!(count("none", &none), 0);
}

#[test]
fn what_cannot_be_attached_is_told() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    let cases: &[(&[&str], &str)] = &[
        (&["--provenance=mode=most"], "mode is min or max"),
        (&["--attest", "type=vex"], "it needs a type"),
        (&["--sbom=generator=some/scanner"], "no generator is run"),
        (
            &["--sbom", "-o", "type=image,oci-mediatypes=false"],
            "Docker's media types know no attestations",
        ),
    ];
    for (args, expected) in cases {
        place.build(args).exits(2).says(&[expected]);
    }
}

#[test]
fn provenance_tells_the_dockerfile_wherever_it_is_written_and_nothing_of_the_machine() {
    let Some(place) = Place::that_builds() else { return };
    write_plain(&place);
    let text = fs::read_to_string(place.path("repo/Dockerfile")).unwrap();
    place.write("odd/recipe.txt", &text);
    let inline = text.replace('\n', "\\n");
    place.write(
        "docker-bake.hcl",
        format!(
            "target \"inline\" {{ dockerfile-inline = \"{inline}\" }}\n\
             target \"odd\" {{ dockerfile = \"odd/recipe.txt\" }}\n"
        ),
    );
    // Compose fills in variables, so a dollar is written twice.
    let indented = text.replace('$', "$$").replace('\n', "\n        ");
    place.write(
        "compose.yaml",
        format!("services:\n  app:\n    build:\n      context: .\n      dockerfile_inline: |\n        {indented}\n"),
    );
    let absolute = place.path("repo/Dockerfile");
    let cases: [(&str, &[&str], &str); 5] = [
        ("bake", &["-f", "docker-bake.hcl", "inline"], "docker-bake.hcl#inline"),
        ("odd", &["-f", "docker-bake.hcl", "odd"], "odd/recipe.txt"),
        ("compose", &["-f", "compose.yaml"], "compose.yaml#app"),
        ("absolute", &["-f", absolute.to_str().unwrap()], "Dockerfile"),
        ("upwards", &["-f", "../repo/Dockerfile"], "Dockerfile"),
    ];
    for (name, args, file) in cases {
        let proxies = ["--build-arg=HTTP_PROXY=http://me:pass@proxy", "--build-arg=no_proxy=x"];
        let args = [args, &["--provenance", "--build-arg=WHO=me"], &proxies].concat();
        let (folder, index) = layout(&place, name, &args);
        let found = statements(&folder, &index, &index["manifests"][0]);
        let predicate = &found[0].1["predicate"];
        let parameters = &predicate["buildDefinition"]["externalParameters"];
        assert_eq!(parameters["configSource"]["path"], file);
        assert_eq!(parameters["request"]["args"], json!({ "build-arg:WHO": "me" }), "{name}");
        let info = &predicate["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0];
        assert_eq!(info["filename"], file);
        let told = unbase64(info["data"].as_str().unwrap());
        assert_eq!(told.trim_end(), text.trim_end(), "{name}");
        let all = predicate.to_string();
        assert!(!all.contains(place.path("").to_str().unwrap()) && !all.contains("proxy"), "{all}");
    }
}

fn unbase64(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<usize> =
        text.trim_end_matches('=').chars().map(|c| DIGITS.find(c).unwrap()).collect();
    let bits = digits.iter().flat_map(|digit| (0..6).rev().map(move |at| (digit >> at) & 1));
    let bits: Vec<usize> = bits.collect();
    let bytes = bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |all, bit| all * 2 + bit));
    String::from_utf8(bytes.map(|byte| u8::try_from(byte).unwrap()).collect()).unwrap()
}
