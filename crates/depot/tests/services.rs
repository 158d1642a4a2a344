//! Blobs and documents that go to services and come back.

use std::time::Duration;

use bakehouse_depot::{ActionsConfig, BucketConfig, Config, Depot, DepotError};
use bakehouse_model::oci::{Descriptor, media_type};
use bakehouse_model::{Digest, Secret};
use bakehouse_store::Store;
use bakehouse_testkit::actions::{SIGNATURE, TestActions};
use bakehouse_testkit::bucket::{BUCKET, KEY_ID, TestBucket};
use bakehouse_testkit::image::random_bytes;
use tempfile::TempDir;

const BRANCH: &str = "refs/heads/x";
/// More than is in memory at once.
const LARGE: usize = (32 << 20) + 7;

struct Here {
    _dir: TempDir,
    store: Store,
}

fn here() -> Here {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a store");
    Here { _dir: dir, store }
}

impl Here {
    fn blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = self.store.put_blob(bytes).expect("the store takes it");
        Descriptor::new(media_type::LAYER, digest, bytes.len() as u64)
    }

    fn open(&self, config: Config) -> Depot {
        Depot::open(config, self.store.clone()).expect("it is described well")
    }
}

fn actions(service: &TestActions, second: bool) -> Config {
    Config::Actions(ActionsConfig {
        url: service.url(),
        second,
        token: Secret::new(service.token()),
        scope: "app".to_owned(),
        timeout: Duration::from_secs(30),
        user_agent: "test".to_owned(),
    })
}

fn bucket(service: &TestBucket) -> Config {
    Config::Bucket(BucketConfig {
        bucket: BUCKET.to_owned(),
        region: "here".to_owned(),
        prefix: "team/".to_owned(),
        blobs_prefix: "blobs/".to_owned(),
        manifests_prefix: "manifests/".to_owned(),
        names: vec!["app".to_owned(), "main".to_owned()],
        endpoint: Some(service.url()),
        path_style: true,
        key: Some((KEY_ID.to_owned(), Secret::new("hunter2"))),
        touch_refresh: Duration::from_secs(60),
        parallel: 2,
        ..BucketConfig::default()
    })
}

fn keep(
    here: &Here,
    config: Config,
    blobs: &[Descriptor],
    document: &[u8],
) -> Result<(), DepotError> {
    here.open(config).keep(blobs, document, &|_, _| {})
}

#[test]
fn what_is_kept_comes_back_under_buildkits_keys() {
    for second in [false, true] {
        let service = TestActions::start(BRANCH);
        let one = here();
        let blobs = [one.blob(b"small"), one.blob(&random_bytes(1, LARGE))];
        assert!(one.open(actions(&service, second)).documents(99).unwrap().is_empty());
        service.is_busy(2);
        keep(&one, actions(&service, second), &blobs, b"first").unwrap();
        keep(&one, actions(&service, second), &blobs, b"second").unwrap();
        let hash = Digest::of(BRANCH).hex()[..8].to_owned();
        let mut expected: Vec<String> =
            blobs.iter().map(|blob| format!("buildkit-blob-1-{}", blob.digest)).collect();
        expected.extend([1, 2].map(|number| format!("index-app-1-{hash}#{number}")));
        let mut keys = service.keys();
        keys.sort();
        expected.sort();
        assert_eq!(keys, expected, "each blob once, and each document");

        let two = here();
        let depot = two.open(actions(&service, second));
        assert_eq!(depot.documents(99).unwrap(), [b"second".to_vec()]);
        depot.fetch(&blobs, &|_, _| {}).unwrap();
        assert!(blobs.iter().all(|it| two.store.blob_size(&it.digest) == Some(it.size)));
        let too_long = depot.documents(5).unwrap_err();
        assert!(too_long.to_string().ends_with("it has more than 5 bytes"), "{too_long}");
    }
}

#[test]
fn what_is_gone_or_another_blob_is_told_and_not_kept() {
    for second in [false, true] {
        let service = TestActions::start(BRANCH);
        let (one, two) = (here(), here());
        let blob = one.blob(b"blob");
        let depot = two.open(actions(&service, second));
        let fetch = || depot.fetch(std::slice::from_ref(&blob), &|_, _| {});
        assert!(matches!(fetch(), Err(DepotError::Gone { .. })));
        let lacking = keep(&two, actions(&service, second), std::slice::from_ref(&blob), b"");
        assert!(lacking.unwrap_err().is_lacking());
        keep(&one, actions(&service, second), std::slice::from_ref(&blob), b"").unwrap();
        for change in [b"blub".as_slice(), b"blobs", b"b"] {
            service.change("buildkit-blob", |bytes| *bytes = change.to_vec());
            assert!(matches!(fetch(), Err(DepotError::Store(_))), "{change:?}");
        }
        assert_eq!(two.store.blob_size(&blob.digest), None);
    }
}

#[test]
fn no_error_has_a_token_or_a_signature_in_it() {
    let service = TestActions::start(BRANCH);
    let one = here();
    let blob = one.blob(b"blob");
    let secrets = [service.token(), SIGNATURE.to_owned()];
    for second in [false, true] {
        let config = actions(&service, second);
        assert!(!format!("{config:?}").contains(&service.token()));
        let depot = one.open(config);
        service.is_busy(99);
        let error = depot.keep(std::slice::from_ref(&blob), b"", &|_, _| {}).unwrap_err();
        assert!(matches!(error, DepotError::Refused { status: 503, .. }), "{error}");
        let shown = format!("{error} {error:?} {depot:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{shown}");
        service.is_busy(0);
    }
    let another = TestActions::start("refs/heads/another");
    let Config::Actions(config) = actions(&service, true) else { unreachable!() };
    let config = Config::Actions(ActionsConfig { token: Secret::new(another.token()), ..config });
    let error = one.open(config).documents(99).unwrap_err();
    assert!(error.to_string().ends_with("answers 401: who are you?"), "{error}");
}

#[test]
fn a_bucket_has_blobs_and_documents_where_buildkit_has_them() {
    let service = TestBucket::start();
    let one = here();
    let blobs = [one.blob(b"small"), one.blob(&random_bytes(1, LARGE))];
    assert!(one.open(bucket(&service)).documents(99).unwrap().is_empty());
    keep(&one, bucket(&service), &blobs, b"first").unwrap();
    let puts = |service: &TestBucket| {
        service
            .requests()
            .iter()
            .filter(|it| it.method == "PUT" && it.target.contains("blobs"))
            .count()
    };
    let before = puts(&service);
    keep(&one, bucket(&service), &blobs, b"second").unwrap();
    assert_eq!(puts(&service), before, "what is there is not sent again");
    let mut expected: Vec<String> =
        blobs.iter().map(|blob| format!("team/blobs/{}", blob.digest)).collect();
    expected.extend(["app", "main"].map(|name| format!("team/manifests/{name}")));
    expected.sort();
    assert_eq!(service.names(), expected);

    let two = here();
    let depot = two.open(bucket(&service));
    assert_eq!(depot.documents(99).unwrap(), [b"second".to_vec()]);
    depot.documents(5).unwrap_err();
    depot.fetch(&blobs, &|_, _| {}).unwrap();
    assert!(blobs.iter().all(|it| two.store.blob_size(&it.digest) == Some(it.size)));

    service.grow_old();
    keep(&one, bucket(&service), &blobs[..1], b"third").unwrap();
    assert_eq!(puts(&service), before + 1, "what a rule may remove soon is written again");
    service.put(&format!("team/blobs/{}", blobs[0].digest), b"smell");
    let third = here();
    let error = third.open(bucket(&service)).fetch(&blobs[..1], &|_, _| {}).unwrap_err();
    assert!(matches!(error, DepotError::Store(_)), "{error}");
    let gone = Descriptor::new(media_type::LAYER, Digest::of("gone"), 4);
    let error = third.open(bucket(&service)).fetch(&[gone], &|_, _| {}).unwrap_err();
    assert!(matches!(error, DepotError::Gone { .. }), "{error}");
}

#[test]
fn what_a_bucket_refuses_is_told_without_the_key() {
    let service = TestBucket::start();
    let Config::Bucket(config) = bucket(&service) else { unreachable!() };
    let key = Some(("AKIAOTHER".to_owned(), Secret::new("hunter2")));
    let config = Config::Bucket(BucketConfig { key, ..config });
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = here().open(config).documents(99).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("AccessDenied") && !shown.contains("hunter2"), "{shown}");
}
