//! What a build can be written as, and that the same inputs give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bakehouse_model::Digest;
use serde_json::{Value, json};

use crate::place::{Place, Tree, is_root, skipped};

const DOCKERFILE: &str = "FROM machine-base\nCOPY a.txt /data/a.txt\n\
                          RUN echo b >/data/b.txt && rm /etc/passwd && ln -s a.txt /data/link\n\
                          CMD [\"cat\", \"/data/b.txt\"]\n";

fn write_repo(place: &Place) {
    place.write("a.txt", "a\n");
    place.write("Dockerfile", DOCKERFILE);
}

/// A document of an OCI layout, whose bytes are what its digest says.
fn blob(layout: &Path, digest: &str) -> Vec<u8> {
    let (_, hex) = digest.split_once(':').unwrap();
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    bytes
}

fn document(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The manifest of the only image of a layout.
pub(crate) fn manifest(layout: &Path) -> Value {
    assert_eq!(
        document(&fs::read(layout.join("oci-layout")).unwrap())["imageLayoutVersion"],
        "1.0.0"
    );
    let index = document(&fs::read(layout.join("index.json")).unwrap());
    assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
    let manifest = index["manifests"][0].clone();
    let bytes = blob(layout, manifest["digest"].as_str().unwrap());
    assert_eq!(manifest["size"], bytes.len());
    document(&bytes)
}

/// The configuration of the only image of a layout.
pub(crate) fn config(layout: &Path) -> Value {
    document(&blob(layout, manifest(layout)["config"]["digest"].as_str().unwrap()))
}

/// The layers of the only image of a layout, unpacked; they are what the configuration says.
pub(crate) fn layers(layout: &Path) -> Vec<Tree> {
    let manifest = manifest(layout);
    let diff_ids = config(layout)["rootfs"]["diff_ids"].clone();
    let unpack = |(at, layer): (usize, &Value)| {
        let packed = blob(layout, layer["digest"].as_str().unwrap());
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        let mut tar = Vec::new();
        flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut tar).unwrap();
        assert_eq!(diff_ids[at], Digest::of(&tar).to_string());
        Tree::read(tar.as_slice())
    };
    manifest["layers"].as_array().unwrap().iter().enumerate().map(unpack).collect()
}

fn unpack(archive: &Path, to: &Path) {
    tar::Archive::new(fs::File::open(archive).unwrap()).unpack(to).unwrap();
}

#[test]
fn an_oci_layout_has_every_document_in_a_folder_and_in_a_tar_alike() {
    let Some(place) = Place::that_builds() else { return };
    write_repo(&place);
    let (folder, archive) = (place.path("layout"), place.path("image.tar"));
    let outputs = [
        format!("type=oci,tar=false,dest={}", folder.display()),
        format!("type=oci,dest={}", archive.display()),
    ];
    place.build(&["-o", &outputs[0], "-o", &outputs[1]]).ok();
    let unpacked = place.path("unpacked");
    unpack(&archive, &unpacked);
    assert_eq!(manifest(&folder), manifest(&unpacked));
    let layers = layers(&folder);
    assert_eq!(layers.len(), 3);
    assert_eq!(layers[1].text("data/a.txt"), "a\n");
    assert_eq!(layers[2].text("data/b.txt"), "b\n");
    assert!(layers[2].has("etc/.wh.passwd"), "{:?}", layers[2].0.keys());
    assert!(!layers[2].has("data/a.txt"), "a layer holds what changed, and not more");
    let config = config(&folder);
    assert_eq!(config["config"]["Cmd"], json!(["cat", "/data/b.txt"]));
    assert_eq!((&config["os"], config["architecture"].is_string()), (&json!("linux"), true));
}

#[test]
fn docker_finds_in_its_archive_what_it_looks_for() {
    let Some(place) = Place::that_builds() else { return };
    write_repo(&place);
    let archive = place.path("docker.tar");
    let output = format!("type=docker,dest={}", archive.display());
    place.build(&["-o", &output, "-t", "example.test/app:1"]).ok();
    let tree = Tree::read(fs::File::open(&archive).unwrap());
    let manifest = document(&tree.at("manifest.json").content);
    assert_eq!(manifest[0]["RepoTags"], json!(["example.test/app:1"]));
    let config = document(&tree.at(manifest[0]["Config"].as_str().unwrap()).content);
    let layers = manifest[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), config["rootfs"]["diff_ids"].as_array().unwrap().len());
    assert!(layers.iter().all(|layer| tree.has(layer.as_str().unwrap())));
}

#[test]
fn a_tree_is_written_as_a_folder_as_a_tar_and_to_standard_output() {
    let Some(place) = Place::that_builds() else { return };
    write_repo(&place);
    let (folder, archive) = (place.path("tree"), place.path("tree.tar"));
    let output = format!("type=local,dest={}", folder.display());
    let tar = format!("type=tar,dest={}", archive.display());
    place.build(&["-o", &output, "-o", &tar]).ok();
    assert_eq!(fs::read_to_string(folder.join("data/b.txt")).unwrap(), "b\n");
    assert_eq!(fs::read_link(folder.join("data/link")).unwrap(), Path::new("a.txt"));
    assert!(!folder.join("etc/passwd").exists());
    let tree = Tree::read(fs::File::open(&archive).unwrap());
    assert_eq!((tree.text("data/a.txt"), tree.has("etc/passwd")), ("a\n".to_owned(), false));
    let told = place.build(&["-o", "-"]);
    let same = Tree::read(told.ok().bytes.as_slice());
    assert!(same.0.keys().eq(tree.0.keys()));
    let told = place.build(&["-o", "type=oci,dest=-"]);
    assert!(Tree::read(told.ok().bytes.as_slice()).has("index.json"));
}

#[test]
fn a_scratch_image_is_exactly_what_was_copied() {
    let Some(place) = Place::that_builds() else { return };
    place.write("a.txt", "a\n");
    let tree = place.tree("FROM scratch\nCOPY a.txt /\n", &[]);
    assert_eq!(tree.0.keys().filter(|path| !path.is_empty()).collect::<Vec<_>>(), ["a.txt"]);
    let tree = place.tree("FROM scratch\nLABEL a=b\n", &[]);
    assert!(tree.0.keys().all(String::is_empty), "{tree:?}");
}

#[test]
fn the_files_that_say_what_was_built_agree_with_the_image() {
    let Some(place) = Place::that_builds() else { return };
    write_repo(&place);
    let (layout, id, metadata) = (place.path("layout"), place.path("id"), place.path("meta.json"));
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let files = ["--iidfile", id.to_str().unwrap(), "--metadata-file", metadata.to_str().unwrap()];
    place.build(&[&["-o", &output, "-t", "example.test/app:1"][..], &files].concat()).ok();
    let said = document(&fs::read(metadata).unwrap());
    let index = document(&fs::read(layout.join("index.json")).unwrap());
    assert_eq!(said["containerimage.digest"], index["manifests"][0]["digest"]);
    assert_eq!(said["containerimage.config.digest"], manifest(&layout)["config"]["digest"]);
    assert_eq!(said["containerimage.config.digest"], fs::read_to_string(id).unwrap());
    assert_eq!(said["image.name"], "example.test/app:1");
}

/// What makes no difference, or one, to the images of [`digests`].
#[derive(Clone, Copy)]
struct Circumstances {
    jobs: &'static str,
    epoch: &'static str,
    /// An ordinary user, if not whoever tests.
    user: Option<u32>,
}

/// Digests of all images of a fleet, built in a store of its own; none where this user
/// cannot build.
fn digests(how: Circumstances) -> Option<BTreeMap<String, String>> {
    let mut place = Place::that_builds()?;
    place.set("SOURCE_DATE_EPOCH", how.epoch);
    for name in ["one", "two", "three"] {
        place.write(&format!("{name}/x.txt"), name);
        let text = format!(
            "FROM machine-base AS b\nRUN for i in 1 2 3; do echo $i >/f$i; done\nFROM base\n\
             COPY --from=b /f* /f/\nCOPY {name}/x.txt /x/\nRUN mkdir /y && rm /x/x.txt\n\
             COPY --chown=5:6 --chmod=2750 {name} /y/\n"
        );
        place.write(&format!("{name}/Dockerfile"), text);
    }
    place.write("base/Dockerfile", "FROM machine-base\nRUN echo base >/base\nENV A=1\n");
    if let Some(user) = how.user {
        place.become_user(user);
    }
    let metadata = place.path("home/meta.json");
    let told = place.build(&["--jobs", how.jobs, "--metadata-file", metadata.to_str().unwrap()]);
    if how.user.is_some() && told.code == Some(4) && told.all().contains("namespace") {
        skipped("an ordinary user gets no user namespace here");
        return None;
    }
    told.ok();
    let said = document(&fs::read(&metadata).unwrap());
    let digest = |value: &Value| value["containerimage.digest"].as_str().unwrap().to_owned();
    Some(said.as_object().unwrap().iter().map(|(name, v)| (name.clone(), digest(v))).collect())
}

#[test]
fn the_same_inputs_give_the_same_digests_in_any_store_with_any_workers_and_for_any_user() {
    let how = Circumstances { jobs: "1", epoch: "1700000000", user: None };
    let Some(first) = digests(how) else { return };
    assert_eq!(first.keys().collect::<Vec<_>>(), ["base", "one", "three", "two"]);
    // Times of files count seconds: what is made now is of another one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(digests(Circumstances { jobs: "4", ..how }).unwrap(), first);
    assert_ne!(digests(Circumstances { epoch: "1700000001", ..how }).unwrap(), first);
    if is_root()
        && let Some(others) = digests(Circumstances { user: Some(65534), ..how })
    {
        assert_eq!(others, first);
    }
}

#[test]
fn links_stay_links_and_no_file_is_younger_than_the_epoch() {
    let Some(mut place) = Place::that_builds() else { return };
    place.set("SOURCE_DATE_EPOCH", "1600000000");
    place.write("a.txt", "a\n");
    place.write(
        "Dockerfile",
        "FROM machine-base\nCOPY a.txt /\nWORKDIR /w\n\
         RUN echo 1 >one && ln one two && ln -s one three && touch -d @1500000000 old\n",
    );
    let layout = place.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let local = format!("type=local,dest={}", place.path("tree").display());
    place.build(&["-o", &output, "-o", &local]).ok();
    for path in ["a.txt", "w", "w/one", "w/old"] {
        let modified = fs::metadata(place.path("tree").join(path)).unwrap().mtime();
        assert_eq!(modified, 1_600_000_000, "{path}");
    }
    let layers = layers(&layout);
    let last = layers.last().unwrap();
    assert_eq!(last.at("w/two").kind, tar::EntryType::Link);
    assert_eq!(last.at("w/two").link.as_deref(), Some(Path::new("w/one")));
    assert_eq!(last.at("w/three").kind, tar::EntryType::Symlink);
    assert_eq!(last.at("w/old").mtime, 1_500_000_000);
    for (path, entry) in layers.iter().flat_map(|layer| &layer.0) {
        assert!(entry.mtime <= 1_600_000_000, "{path} is of {}", entry.mtime);
    }
    assert_eq!(config(&layout)["created"], "2020-09-13T12:26:40Z");
}

#[test]
fn an_image_for_several_platforms_is_an_index() {
    let place = Place::new();
    place.write("a.txt", "a\n");
    place.write(
        "Dockerfile",
        "FROM scratch\nARG TARGETARCH\nLABEL arch=$TARGETARCH\nCOPY a.txt /\n",
    );
    let Some(_) = Place::that_builds() else { return };
    let (layout, folder) = (place.path("layout"), place.path("tree"));
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let local = format!("type=local,dest={}", folder.display());
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    let metadata = place.path("meta.json");
    let files = ["-o", &output, "-o", &local, "--metadata-file", metadata.to_str().unwrap()];
    place.build(&[&platforms[..], &files].concat()).ok();
    let said = document(&fs::read(metadata).unwrap());
    assert_eq!(said["containerimage.config.digest"], Value::Null, "each has another");
    let top = document(&fs::read(layout.join("index.json")).unwrap());
    assert_eq!(said["containerimage.digest"], top["manifests"][0]["digest"]);
    let index = document(&blob(&layout, top["manifests"][0]["digest"].as_str().unwrap()));
    let manifests = index["manifests"].as_array().unwrap();
    let found = manifests.iter().map(|one| {
        let manifest = document(&blob(&layout, one["digest"].as_str().unwrap()));
        let config = document(&blob(&layout, manifest["config"]["digest"].as_str().unwrap()));
        assert_eq!(config["architecture"], one["platform"]["architecture"]);
        assert_eq!(config["config"]["Labels"]["arch"], config["architecture"]);
        config["architecture"].as_str().unwrap().to_owned()
    });
    assert_eq!(found.collect::<Vec<_>>(), ["amd64", "arm64"]);
    for platform in ["linux_amd64", "linux_arm64"] {
        assert_eq!(fs::read_to_string(folder.join(platform).join("a.txt")).unwrap(), "a\n");
    }
}

#[test]
fn an_export_that_cannot_be_written_is_told_and_nothing_else_is_lost() {
    let Some(place) = Place::that_builds() else { return };
    write_repo(&place);
    place.write("file", "in the way");
    let output = format!("type=local,dest={}/below", place.path("repo/file").display());
    let told = place.build(&["-o", &output]);
    assert!(matches!(told.code, Some(1 | 4)), "{told:?}");
    told.says(&["repo/file"]);
    place.build(&[]).ok().says(&["1 image up to date"]);
}
