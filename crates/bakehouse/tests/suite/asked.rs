//! What definitions and the command line ask of outputs: which count, and what they come to.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::place::Place;

/// A repository with a bake file of two images that need no process.
fn with_bake(outputs: [&str; 2]) -> Option<Place> {
    let place = Place::that_builds()?;
    place.write("a.txt", "a\n");
    place.write("Dockerfile", "FROM scratch\nCOPY a.txt /\n");
    let target = |name: &str, output: &str| {
        format!(
            "target \"{name}\" {{\n  dockerfile-inline = \"FROM scratch\\nCOPY a.txt /{name}\"\n  \
             output = [{output}]\n}}\n"
        )
    };
    let [one, two] = outputs;
    place.write("docker-bake.hcl", target("one", one) + &target("two", two));
    Some(place)
}

const BAKE: [&str; 2] = ["-f", "docker-bake.hcl"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A document of a layout, by its descriptor.
fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap();
    json(&layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap()))
}

#[test]
fn each_image_goes_where_its_own_definition_says() {
    let outputs = [
        "\"type=local,dest=first\"",
        "\"type=oci,tar=false,dest=second,compression=uncompressed\", \"type=tar,dest=two.tar\"",
    ];
    let Some(place) = with_bake(outputs) else { return };
    place.build(&BAKE).ok().says(&["first", "second", "two.tar"]);
    let at = |path: &str| place.path("repo").join(path);
    assert_eq!(fs::read_to_string(at("first/one")).unwrap(), "a\n");
    let top = json(&at("second/index.json"));
    assert_eq!(top["manifests"].as_array().unwrap().len(), 1);
    let manifest = blob(&at("second"), &top["manifests"][0]);
    let layer = manifest["layers"][0]["mediaType"].as_str().unwrap();
    assert_eq!(layer, "application/vnd.oci.image.layer.v1.tar");
    assert!(at("two.tar").is_file());
}

#[test]
fn the_command_line_overrides_what_definitions_say_of_outputs() {
    let Some(place) = with_bake(["\"type=local,dest=first\"", "\"type=local,dest=second\""]) else {
        return;
    };
    let there = |path: &str| place.path("repo").join(path).exists();
    let all = |args: &[&str]| {
        place.build(&[&BAKE[..], args].concat()).ok();
    };
    all(&["--set", "one.output=type=cacheonly", "one"]);
    assert!(!there("first") && !there("second"));
    all(&["--set", "*.output=type=local,dest=third", "one"]);
    assert!(there("third/one") && !there("first"));
    all(&["-o", "type=local,dest=fourth"]);
    assert!(there("fourth/one/one") && there("fourth/two/two") && !there("second"));
    // Only what was asked for goes anywhere.
    all(&["two"]);
    assert!(there("second/two") && !there("first"));
}

#[test]
fn outputs_that_cannot_be_are_told_at_their_definition() {
    let cases = [
        ("\"type=oci,dest=x.tar,compression=lzma\"", "compression is gzip"),
        ("\"type=oci,dest=../x.tar\"", "is outside of the repository"),
        ("\"type=local,dest=/tmp/../tmp/none/of/this\"", "is outside of the repository"),
        ("\"type=local,dest=missing/../../x\"", "is outside of the repository"),
    ];
    for (output, expected) in cases {
        let Some(place) = with_bake([output, ""]) else { return };
        let told = place.build(&BAKE);
        told.exits(3).says(&[expected, "docker-bake.hcl:1", "bad-output"]);
        place.build(&[&BAKE[..], &["two"]].concat()).ok();
    }
    let Some(place) = with_bake(["\"type=tar,dest=x.tar\"", "\"type=oci,dest=x.tar\""]) else {
        return;
    };
    place.build(&BAKE).exits(2).says(&["`one` and `two` are both to be written to"]);
}

#[test]
fn a_definition_may_write_elsewhere_if_that_is_allowed() {
    let Some(place) = with_bake(["\"type=local,dest=../elsewhere\"", ""]) else { return };
    place.build(&BAKE).exits(3).says(&["--allow fs.write="]);
    place.build(&[&BAKE[..], &["--allow", "fs.write=.."]].concat()).ok();
    assert!(place.path("elsewhere/one").is_file());
}

#[test]
fn annotations_are_where_they_were_put() {
    let Some(place) = with_bake(["", ""]) else { return };
    let layout = place.path("layout");
    let output = format!(
        "type=oci,tar=false,dest={},annotation-index.by=output,annotation.by=output",
        layout.display()
    );
    let args = [
        "-f",
        "Dockerfile",
        "--platform=linux/amd64,linux/arm64",
        "--annotation=index,manifest:title=x",
        "--annotation=manifest-descriptor[linux/arm64]:only=arm",
        "--annotation=index-descriptor:top=1",
        "-o",
        &output,
    ];
    place.build(&args).ok();
    let top = &json(&layout.join("index.json"))["manifests"][0];
    assert_eq!(top["annotations"]["top"], "1");
    let index = blob(&layout, top);
    assert_eq!(index["annotations"], serde_json::json!({"by": "output", "title": "x"}));
    let [amd64, arm64] = [&index["manifests"][0], &index["manifests"][1]];
    assert_eq!(
        (&amd64["annotations"], &arm64["annotations"]["only"]),
        (&Value::Null, &"arm".into())
    );
    let manifest = blob(&layout, amd64);
    assert_eq!(manifest["annotations"], serde_json::json!({"by": "output", "title": "x"}));
    // The same image without them is another one.
    let plain = format!("type=oci,tar=false,dest={}", place.path("plain").display());
    place.build(&["-f", "Dockerfile", "--platform=linux/amd64", "-o", &plain]).ok();
    let top = &json(&place.path("plain/index.json"))["manifests"][0];
    assert_eq!(blob(&place.path("plain"), top)["annotations"], Value::Null);
}

#[test]
fn annotations_that_would_be_lost_are_refused() {
    let Some(place) = with_bake(["", ""]) else { return };
    let cases: &[(&[&str], &str)] = &[
        (&["--annotation", "index:a=b"], "is for an index"),
        (&["--annotation", "manifest[linux/s390x]:a=b"], "is for linux/s390x"),
        (&["--annotation", "layer:a=b"], "manifest-descriptor"),
        (&["--annotation", "a"], "is not KEY=VALUE"),
        (
            &["--annotation=index:a=b", "-o", "type=image,oci-mediatypes=false"],
            "Docker's media types know no such annotations",
        ),
    ];
    for (args, expected) in cases {
        place.build(&[&["-f", "Dockerfile"], *args].concat()).exits(2).says(&[expected]);
    }
}

#[test]
fn a_targets_annotations_count() {
    let Some(place) = with_bake(["", ""]) else { return };
    place.write(
        "docker-bake.hcl",
        "target \"app\" {\n  annotations = [\"manifest:title=App\"]\n  \
         output = [\"type=oci,tar=false,dest=layout\"]\n}\n",
    );
    place.build(&[&BAKE[..], &["--annotation", "more=1"]].concat()).ok();
    let layout = place.path("repo/layout");
    let top = &json(&layout.join("index.json"))["manifests"][0];
    let expected = serde_json::json!({"title": "App", "more": "1"});
    assert_eq!(blob(&layout, top)["annotations"], expected);
}

#[test]
fn what_an_image_leaves_does_not_lead_later_outputs_elsewhere() {
    // A folder, one for a platform, a layout, and a file.
    let cases = [
        ("type=local,dest=first/away", false),
        ("type=local,dest=first,platform-split=true", false),
        ("type=oci,tar=false,dest=first", false),
        ("type=tar,dest=first/away/two.tar", true),
    ];
    for (output, exists) in cases {
        let Some(place) = Place::that_builds() else { return };
        let outside = place.path("outside");
        fs::create_dir_all(outside.join("sha256")).unwrap();
        fs::create_dir_all(place.path("repo/leads")).unwrap();
        for name in ["away", "blobs", "linux_amd64", "linux_arm64"] {
            std::os::unix::fs::symlink(&outside, place.path("repo/leads").join(name)).unwrap();
        }
        if exists {
            fs::create_dir_all(place.path("repo/first/away")).unwrap();
        }
        let target = |name: &str, output: &str| {
            format!(
                "target \"{name}\" {{\n  dockerfile-inline = \"FROM scratch\\nCOPY leads /\"\n  \
                 output = [\"{output}\"]\n}}\n"
            )
        };
        let bake = target("one", "type=local,dest=first") + &target("two", output);
        place.write("docker-bake.hcl", bake);
        let told = place.build(&BAKE);
        let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, [outside.join("sha256")], "{output}: {told:?}");
        assert_eq!(fs::read_dir(outside.join("sha256")).unwrap().count(), 0, "{output}");
        told.exits(3).says(&["leads elsewhere"]);
    }
}

#[test]
fn what_an_image_stands_on_goes_nowhere_and_takes_no_notes() {
    let Some(place) = Place::that_builds() else { return };
    place.write("a.txt", "a\n");
    place.write(
        "docker-bake.hcl",
        "target \"base\" {\n  dockerfile-inline = \"FROM scratch\\nCOPY a.txt /\"\n  \
         annotations = [\"index:a=b\"]\n  output = [\"type=local,dest=../elsewhere\"]\n}\n\
         target \"app\" {\n  dockerfile-inline = \"FROM base\\nCOPY a.txt /b.txt\"\n  \
         contexts = { base = \"target:base\" }\n  output = [\"type=local,dest=app\"]\n}\n",
    );
    place.build(&[&BAKE[..], &["app"]].concat()).ok();
    assert!(place.path("repo/app/b.txt").is_file() && !place.path("elsewhere").exists());
    place.build(&[&BAKE[..], &["base"]].concat()).exits(3).says(&["outside of the repository"]);
}

#[test]
fn what_has_no_name_is_not_pushed_in_silence() {
    let Some(place) =
        with_bake(["\"type=registry\"", "\"type=image,name=127.0.0.1:1/two,push=true\""])
    else {
        return;
    };
    let told = place.build(&[&BAKE[..], &["one", "two"]].concat());
    told.exits(2).says(&["`one` is to be pushed, and nothing says where to"]);
    place.build(&[&BAKE[..], &["--push"]].concat()).exits(2).says(&["`one` is to be pushed"]);
}

#[test]
fn the_name_of_an_output_of_the_command_line_counts_whatever_else_a_target_says() {
    for note in ["", "annotations = [\"title=App\"]"] {
        let Some(place) = Place::that_builds() else { return };
        place.write("a.txt", "a\n");
        place.write(
            "docker-bake.hcl",
            format!(
                "target \"app\" {{\n  dockerfile-inline = \"FROM scratch\\nCOPY a.txt /\"\n  \
                 tags = [\"example.test/app:tag\"]\n  {note}\n}}\n"
            ),
        );
        let metadata = place.path("meta.json");
        let named = ["-o", "type=image,name=example.test/app:name"];
        let args = ["--metadata-file", metadata.to_str().unwrap()];
        place.build(&[&BAKE[..], &named, &args].concat()).ok();
        assert_eq!(json(&metadata)["image.name"], "example.test/app:name", "{note}");
    }
}
