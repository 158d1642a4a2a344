//! Networks and registries on a bad day.

use bakehouse_model::Digest;
use bakehouse_registry::ClientError;
use bakehouse_testkit::image::random_image;
use bakehouse_testkit::registry::{Effect, Fault, LoggedRequest, TestRegistry};

use crate::bench::{amd64, bench, reference, whole};

/// A registry with an image of one layer, and that layer's digest and size.
fn one_layer() -> (TestRegistry, Digest, usize) {
    let registry = TestRegistry::start();
    let made = random_image(3, 1, 300_000);
    registry.put_image("a", "1", &made);
    (registry, Digest::of(&made.layers[0]), made.layers[0].len())
}

fn ranges(registry: &TestRegistry, digest: &Digest) -> Vec<Option<String>> {
    let ours = |r: &LoggedRequest| r.method == "GET" && r.target.contains(digest.as_str());
    let asked = registry.requests().into_iter().filter(ours);
    asked.map(|request| request.headers.get("range").cloned()).collect()
}

#[test]
fn a_dropped_connection_goes_on_at_its_last_byte() {
    let (registry, layer, size) = one_layer();
    let bench = bench();
    registry.inject(Fault::on("GET", layer.as_str(), Effect::CutAt(100_000)).times(2));
    bench.pull(&reference(&registry, "a:1")).unwrap();
    let asked = ranges(&registry, &layer);
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0], None);
    assert!(asked[1..].iter().all(Option::is_some), "{asked:?}");
    assert_eq!(bench.store.blob_size(&layer), Some(size as u64));
}

#[test]
fn a_later_process_goes_on_where_the_first_one_died() {
    let (registry, layer, size) = one_layer();
    let bench = bench();
    let reference = reference(&registry, "a:1");
    let resolved = bench.client.resolve(&reference, &amd64()).unwrap();
    let mut partial = bench.store.resume(&layer).unwrap();
    let bytes = registry.blob(&layer).unwrap();
    std::io::Write::write_all(&mut partial, &bytes[..size / 2]).unwrap();
    drop(partial);
    bench.client.fetch_layers(&reference, &resolved.manifest_doc, &|_, _| ()).unwrap();
    assert_eq!(ranges(&registry, &layer), [Some(format!("bytes={}-", size / 2))]);
}

#[test]
fn a_rest_that_does_not_fit_begins_again() {
    for effect in [
        Effect::IgnoreRange,
        Effect::Range("bytes 7-99/100"),
        Effect::Range("junk"),
        Effect::status(416),
    ] {
        let (registry, layer, size) = one_layer();
        let bench = bench();
        let reference = reference(&registry, "a:1");
        let resolved = bench.client.resolve(&reference, &amd64()).unwrap();
        let mut partial = bench.store.resume(&layer).unwrap();
        std::io::Write::write_all(&mut partial, b"something else altogether").unwrap();
        drop(partial);
        registry.inject(Fault::on("GET", layer.as_str(), effect.clone()).times(1));
        bench.client.fetch_layers(&reference, &resolved.manifest_doc, &|_, _| ()).unwrap();
        assert_eq!(bench.store.blob_size(&layer), Some(size as u64), "{effect:?}");
    }
}

#[test]
fn a_wrong_beginning_from_elsewhere_costs_one_more_fetch_and_no_error() {
    let (registry, layer, size) = one_layer();
    for beginning in [size / 2, size, size + 10] {
        let bench = bench();
        let reference = reference(&registry, "a:1");
        let resolved = bench.client.resolve(&reference, &amd64()).unwrap();
        let mut partial = bench.store.resume(&layer).unwrap();
        std::io::Write::write_all(&mut partial, &vec![7; beginning]).unwrap();
        drop(partial);
        bench.client.fetch_layers(&reference, &resolved.manifest_doc, &|_, _| ()).unwrap();
        assert_eq!(bench.store.blob_size(&layer), Some(size as u64), "{beginning}");
    }
}

#[test]
fn half_a_blob_and_wrong_bytes_are_errors_and_nothing_shows() {
    let (registry, layer, size) = one_layer();
    let cases = [
        (Effect::WrongBytes, "sent wrong bytes"),
        (Effect::WrongLength(size - 5), "bytes for"),
        (Effect::WrongLength(size + 5), "bytes for"),
        (Effect::CutAt(0), "cannot reach"),
        (Effect::Hangup, "cannot reach"),
    ];
    for (effect, expected) in cases {
        let bench = bench();
        let reference = reference(&registry, "a:1");
        let faulty = TestRegistry::start();
        faulty.put_image("a", "1", &random_image(3, 1, 300_000));
        faulty.inject(Fault::on("GET", layer.as_str(), effect.clone()));
        let faulty_reference = crate::bench::reference(&faulty, "a:1");
        let error = bench.pull(&faulty_reference).unwrap_err();
        let text = whole(&error);
        assert!(text.contains(expected) && text.contains(&faulty.host()), "{text}");
        assert!(text.contains(layer.as_str()), "{text}");
        assert_eq!(bench.store.blob_size(&layer), None, "{effect:?}");
        // What the bad registry left does not stop a good one.
        bench.pull(&reference).unwrap();
        assert_eq!(bench.store.blob_size(&layer), Some(size as u64));
    }
}

#[test]
fn what_passes_by_itself_is_asked_for_again() {
    for effect in [
        Effect::status(500),
        Effect::status(502),
        Effect::status(503),
        Effect::rate_limit("0"),
        Effect::rate_limit("Thu, 01 Jan 1970 00:00:00 GMT"),
        Effect::Hangup,
    ] {
        let (registry, layer, size) = one_layer();
        let bench = bench();
        registry.inject(Fault::on("HEAD", "manifests", effect.clone()).times(2));
        registry.inject(Fault::on("GET", "manifests", effect.clone()).times(2));
        registry.inject(Fault::on("GET", "blobs", effect.clone()).times(2));
        bench.pull(&reference(&registry, "a:1")).unwrap();
        assert_eq!(bench.store.blob_size(&layer), Some(size as u64), "{effect:?}");
    }
}

#[test]
fn patience_ends_and_the_registrys_words_are_kept() {
    let (registry, layer, _) = one_layer();
    let bench = bench();
    let reference = reference(&registry, "a:1");
    let resolved = bench.client.resolve(&reference, &amd64()).unwrap();
    registry.inject(Fault::on("GET", "blobs", Effect::error(503, "UNAVAILABLE", "try\\nlater")));
    let error =
        bench.client.fetch_layers(&reference, &resolved.manifest_doc, &|_, _| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` failed at reading `{layer}`: status 503, UNAVAILABLE (try later)",
            registry.host()
        )
    );
    assert_eq!(registry.count("GET", layer.as_str()), 4);
}

#[test]
fn a_rate_limit_that_lasts_is_reported_at_once_with_its_end() {
    let (registry, ..) = one_layer();
    let bench = bench();
    registry.inject(Fault::on("HEAD", "manifests", Effect::rate_limit("7200")));
    let error = bench.pull(&reference(&registry, "a:1")).unwrap_err();
    assert!(matches!(error, ClientError::RateLimited { retry_after_s: Some(7200), .. }), "{error}");
    assert_eq!(registry.count("HEAD", "manifests"), 1);
    assert!(error.hints().iter().any(|hint| hint.contains("7200 s")), "{:?}", error.hints());
}

#[test]
fn a_registry_that_is_not_there_is_named_soon() {
    let bench = bench();
    // Nobody gets this port by chance, as somebody might get that of a registry that is gone.
    let error = bench.pull(&"127.0.0.1:1/a:1".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(whole(&error).contains("the connection cannot be made"), "{}", whole(&error));
}

#[test]
fn something_that_is_no_registry_is_an_error_and_no_endless_wait() {
    let bench = bench();
    let registry = TestRegistry::start();
    let cases = [
        Effect::Status { status: 200, headers: vec![], body: "<html>hello</html>".to_owned() },
        Effect::redirect("ftp://x/y"),
        Effect::redirect("http://"),
        Effect::redirect("/v2/a/manifests/1"),
        Effect::status(204),
    ];
    for effect in cases {
        let faulty = TestRegistry::start();
        faulty.inject(Fault::on("HEAD", "manifests", effect.clone()));
        faulty.inject(Fault::on("GET", "manifests", effect.clone()));
        bench.pull(&reference(&faulty, "a:1")).unwrap_err();
    }
    drop(registry);
}
