//! Against a registry that others wrote, if `BAKEHOUSE_TEST_REGISTRY` names one
//! (`127.0.0.1:5000`): the CNCF registry in the first place.

use std::time::{SystemTime, UNIX_EPOCH};

use bakehouse_testkit::image::random_image;

use crate::bench::{amd64, bench};

#[test]
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was left out")]
fn an_image_goes_there_and_comes_back() {
    let Ok(host) = std::env::var("BAKEHOUSE_TEST_REGISTRY") else {
        eprintln!("skipped: BAKEHOUSE_TEST_REGISTRY names no registry");
        return;
    };
    // Another image every time: the registry keeps what it has seen.
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
    let made = random_image(u64::try_from(seed).unwrap(), 3, 2_000_000);
    let here = bench();
    for bytes in made.blobs().chain([made.manifest.as_slice()]) {
        here.store.put_blob(bytes).unwrap();
    }
    let first = format!("{host}/bakehouse-test/first:1").parse().unwrap();
    let second = format!("{host}/bakehouse-test/second:1").parse().unwrap();
    let pushed = here.client.push(&made.descriptor(), &first, &[], &|_, _| ()).unwrap();
    assert!(pushed.uploaded_bytes > 6_000_000);
    let from = ["bakehouse-test/first".to_owned()];
    let mounted = bench();
    for bytes in made.blobs().chain([made.manifest.as_slice()]) {
        mounted.store.put_blob(bytes).unwrap();
    }
    let pushed = mounted.client.push(&made.descriptor(), &second, &from, &|_, _| ()).unwrap();
    assert_eq!((pushed.mounted + pushed.existed, pushed.uploaded_bytes), (4, 0));
    let there = bench();
    for reference in [&first, &second] {
        assert_eq!(there.client.head_tag(reference).unwrap(), Some(made.digest()));
        let resolved = there.client.resolve(reference, &amd64()).unwrap();
        there.client.fetch_layers(reference, &resolved.manifest_doc, &|_, _| ()).unwrap();
        assert_eq!(resolved.manifest.digest, made.digest());
    }
    let none = format!("{host}/bakehouse-test/none:1").parse().unwrap();
    assert_eq!(there.client.head_tag(&none).unwrap(), None);
    assert!(there.client.resolve(&none, &amd64()).unwrap_err().is_not_found());
}
