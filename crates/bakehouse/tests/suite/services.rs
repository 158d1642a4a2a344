//! Caches in services: GitHub's in both versions, and a bucket of S3.

use bakehouse_testkit::actions::{SIGNATURE, TestActions};
use bakehouse_testkit::bucket::{BUCKET, KEY_ID, TestBucket};

use crate::place::{Place, Told};

const BRANCH: &str = "refs/heads/x";
const SECRET: &str = "hunter2-hunter2";

/// A repository of one image, or of two.
fn repository(place: &Place, names: &[&str]) {
    for name in names {
        let folder = if names.len() == 1 { String::new() } else { format!("{name}/") };
        place.write(&format!("{folder}src"), name);
        let text = "FROM machine-base AS a\nRUN echo a >/a\nFROM machine-base\nCOPY src /\n\
             COPY --from=a /a /\n";
        place.write(&format!("{folder}Dockerfile"), text);
    }
}

/// A machine with the repository, on which a workflow runs.
fn workflow(service: &TestActions, second: bool, names: &[&str]) -> Place {
    let mut place = Place::new();
    repository(&place, names);
    place.set("ACTIONS_RUNTIME_TOKEN", service.token());
    if second {
        place.set("ACTIONS_CACHE_SERVICE_V2", "true");
        place.set("ACTIONS_RESULTS_URL", service.url());
    } else {
        place.set("ACTIONS_CACHE_URL", service.url());
    }
    place
}

fn with_key(service: &TestBucket, names: &[&str]) -> (Place, String) {
    let mut place = Place::new();
    repository(&place, names);
    place.set("AWS_ACCESS_KEY_ID", KEY_ID);
    place.set("AWS_SECRET_ACCESS_KEY", SECRET);
    place.set("AWS_REGION", "here");
    place.set("NO_PROXY", "127.0.0.1");
    let spec =
        format!("type=s3,bucket={BUCKET},endpoint_url={},use_path_style=true", service.url());
    (place, spec)
}

/// Whoever reads what was told, and the store, finds no secret.
fn keeps(place: &Place, told: &Told, secrets: &[&str]) {
    for secret in secrets {
        assert!(!told.all().contains(secret), "{}", told.all());
        assert_eq!(place.files_with(&place.store(), secret), Vec::<std::path::PathBuf>::new());
    }
}

fn built_nothing(told: &Told) {
    assert!(!told.ok().all().contains("step-started"), "{}", told.all());
}

#[test]
fn what_one_workflow_wrote_another_need_not_build() {
    if Place::that_builds().is_none() {
        return;
    }
    for second in [false, true] {
        let service = TestActions::start(BRANCH);
        let secrets = [service.token(), SIGNATURE.to_owned()];
        let secrets = [secrets[0].as_str(), secrets[1].as_str()];
        let place = workflow(&service, second, &["a"]);
        let told = place.build(&["--cache-from", "type=gha", "--progress", "plain"]);
        told.ok().says(&["there is no cache at `gha:buildkit`"]);
        let told = place.build(&["--cache-to", "type=gha,mode=max", "--progress", "json"]);
        keeps(&place, told.ok(), &secrets);
        let indexes: Vec<String> =
            service.keys().into_iter().filter(|key| key.starts_with("index-")).collect();
        assert!(matches!(indexes.as_slice(), [one] if one.starts_with("index-buildkit-1-")));

        let other = workflow(&service, second, &["a"]);
        let from = ["--cache-from", "type=gha", "--progress", "json"];
        let told = other.build(&from);
        built_nothing(&told);
        keeps(&other, &told, &secrets);
        // What was found and never fetched is written again by its name.
        let third = workflow(&service, second, &["a"]);
        let sent = service.keys().len();
        built_nothing(&third.build(&[&from[..], &["--cache-to", "type=gha,mode=max"]].concat()));
        assert_eq!(service.keys().len(), sent + 1, "another document, and nothing else");
        // A service that has other blobs by now is a warning.
        service.change("buildkit-blob", |bytes| bytes.reverse());
        let fourth = workflow(&service, second, &["a"]);
        let told = fourth.build(&["--cache-from", "type=gha", "--progress", "plain"]);
        told.ok().says(&["is not taken from a cache"]);
        keeps(&fourth, &told, &secrets);
    }
}

#[test]
fn what_one_machine_wrote_to_a_bucket_another_need_not_build() {
    if Place::that_builds().is_none() {
        return;
    }
    let service = TestBucket::start();
    let (place, spec) = with_key(&service, &["a"]);
    let told = place.build(&["--cache-to", &format!("{spec},mode=max"), "--progress", "json"]);
    keeps(&place, told.ok(), &[SECRET]);
    assert!(service.names().contains(&"manifests/buildkit".to_owned()), "{:?}", service.names());
    assert!(service.names().iter().any(|name| name.starts_with("blobs/sha256:")));
    let (other, _) = with_key(&service, &["a"]);
    let told = other.build(&["--cache-from", &spec, "--progress", "json"]);
    built_nothing(&told);
    keeps(&other, &told, &[SECRET]);
    // Who has another key is refused, and builds.
    let (third, _) = with_key(&service, &["a"]);
    let own = format!("{spec},access_key_id=other,secret_access_key={SECRET}");
    let told = third.build(&["--cache-from", &own, "--progress", "plain"]);
    told.ok().says(&["cannot be used", "AccessDenied"]);
    keeps(&third, &told, &[SECRET]);
    let told = third.build(&["--cache-to", &own, "--progress", "plain"]);
    told.exits(4).says(&["cannot write the cache"]);
    keeps(&third, &told, &[SECRET]);
    third.build(&["--cache-to", &format!("{own},ignore-error=true")]).ok();
}

#[test]
fn each_image_and_platform_has_a_scope_of_its_own_unless_one_is_said() {
    if Place::that_builds().is_none() {
        return;
    }
    let service = TestActions::start(BRANCH);
    let place = workflow(&service, true, &["a", "b"]);
    let refused = place.build(&["--dry-run", "--cache-to", "type=gha,scope=x"]);
    refused.exits(3).says(&["`a` and `b` write their caches to `gha:x`"]);
    place.build(&["--cache-to", "type=gha,mode=max"]).ok();
    let scopes: Vec<String> = service
        .keys()
        .iter()
        .filter_map(|key| key.strip_prefix("index-")?.split("-1-").next().map(str::to_owned))
        .collect();
    assert_eq!(scopes, ["buildkit-a", "buildkit-b"]);
    let other = workflow(&service, true, &["a", "b"]);
    built_nothing(&other.build(&["--cache-from", "type=gha", "--progress", "json"]));

    let bucket = TestBucket::start();
    let (place, spec) = with_key(&bucket, &["a", "b"]);
    let named = format!("{spec},name=x");
    let refused = place.build(&["--dry-run", "--cache-to", &named]);
    refused.exits(3).says(&["`a` and `b` write their caches to", "manifests/x"]);
    place.build(&["--cache-to", &spec]).ok();
    let manifests = ["manifests/buildkit-a", "manifests/buildkit-b"].map(str::to_owned);
    assert!(manifests.iter().all(|name| bucket.names().contains(name)), "{:?}", bucket.names());
}

#[test]
fn a_workflows_cache_is_left_out_elsewhere_with_a_word_about_it() {
    let place = Place::new();
    place.write("a/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let file = "target \"a\" {\n  context = \"a\"\n  cache-to = [\"type=gha\"]\n}\n";
    place.write("docker-bake.hcl", file);
    let Some(_) = Place::that_builds() else { return };
    let told = place.build(&["--cache-from", "type=gha", "--progress", "plain"]);
    told.ok().says(&["docker-bake.hcl:1", "not used outside of a workflow"]);
}
