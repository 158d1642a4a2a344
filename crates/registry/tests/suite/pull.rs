//! Resolving and fetching when nothing goes wrong, and what a registry may not sell us.

use std::sync::Mutex;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Platform, media_type};
use bakehouse_registry::{ClientConfig, ClientError, ManifestFault};
use bakehouse_testkit::image::{image, index, random_image, tar};
use bakehouse_testkit::registry::{Effect, Fault, TestRegistry};

use crate::bench::{amd64, bench, bench_with, config, mirror, reference};

#[test]
fn an_image_is_pulled_whole_and_the_second_time_only_asked_for() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 3, 100_000);
    registry.put_image("a/b", "1", &made);
    let reference = reference(&registry, "a/b:1");
    let told = Mutex::new(Vec::new());
    let resolved = bench.client.resolve(&reference, &amd64()).unwrap();
    let progress = |done, total| told.lock().unwrap().push((done, total));
    bench.client.fetch_layers(&reference, &resolved.manifest_doc, &progress).unwrap();

    assert_eq!((&resolved.manifest.digest, &resolved.index), (&made.digest(), &None));
    for blob in made.blobs().chain([made.manifest.as_slice()]) {
        assert_eq!(bench.store.read_blob(&Digest::of(blob), 1 << 20).unwrap(), blob);
    }
    let total = made.layers.iter().map(|layer| layer.len() as u64).sum();
    assert_eq!(told.lock().unwrap().last(), Some(&(total, total)));
    assert_eq!(bench.partials(), 0);

    registry.clear_requests();
    assert_eq!(bench.pull(&reference).unwrap(), resolved);
    let again = registry.requests();
    let methods: Vec<&str> = again.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["HEAD"]);
    registry.clear_requests();
    let pinned = reference.with_digest(made.digest());
    assert_eq!(bench.pull(&pinned).unwrap(), resolved);
    assert_eq!(registry.requests(), []);
}

#[test]
fn an_index_gives_the_manifest_that_fits_and_both_are_kept() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let platforms: Vec<Platform> =
        ["linux/arm64", "linux/amd64"].map(|text| text.parse().unwrap()).to_vec();
    let images: Vec<_> = platforms.iter().map(|p| image(p, &[tar(&[])])).collect();
    for made in &images {
        registry.put_image("a", "x", made);
    }
    let inner = index(&[(&images[0], &platforms[0]), (&images[1], &platforms[1])]);
    let digest = registry.put_manifest("a", "multi", media_type::INDEX, &inner);
    let reference = reference(&registry, "a:multi");
    let resolved = bench.pull(&reference).unwrap();
    assert_eq!(resolved.manifest.digest, images[1].digest());
    assert_eq!(resolved.manifest.platform, Some(platforms[1].clone()));
    assert_eq!((resolved.index.as_ref(), resolved.digest()), (Some(&digest), &digest));
    assert_eq!(bench.store.blob_size(&digest), Some(inner.len() as u64));
    assert_eq!(bench.client.head_tag(&reference).unwrap(), Some(digest));

    let s390x = "linux/s390x".parse().unwrap();
    let error = bench.client.resolve(&reference, &s390x).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` has no image for `linux/s390x`; it has linux/arm64, linux/amd64",
            reference.familiar()
        )
    );
}

#[test]
fn indexes_in_indexes_and_entries_without_a_platform_are_looked_into() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = image(&amd64(), &[tar(&[])]);
    registry.put_image("a", "x", &made);
    let inner = index(&[(&made, &amd64())]);
    let inner_digest = registry.put_manifest("a", "inner", media_type::INDEX, &inner);
    let outer = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{inner_digest}","size":{}}}]}}"#,
        media_type::INDEX,
        inner.len()
    );
    registry.put_manifest("a", "outer", media_type::INDEX, outer.as_bytes());
    let silent = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        media_type::MANIFEST,
        made.digest(),
        made.manifest.len()
    );
    registry.put_manifest("a", "silent", media_type::INDEX, silent.as_bytes());
    for tag in ["a:outer", "a:silent"] {
        let resolved = bench.pull(&reference(&registry, tag)).unwrap();
        assert_eq!(resolved.manifest.digest, made.digest(), "{tag}");
    }
    let arm = "linux/arm64".parse().unwrap();
    for tag in ["a:outer", "a:silent"] {
        let error = bench.client.resolve(&reference(&registry, tag), &arm).unwrap_err();
        assert!(matches!(error, ClientError::NoPlatform { .. }), "{error}");
    }
}

#[test]
fn an_image_without_an_index_is_taken_for_any_platform() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = image(&"linux/arm64".parse().unwrap(), &[tar(&[])]);
    registry.put_image("a", "1", &made);
    let resolved = bench.pull(&reference(&registry, "a:1")).unwrap();
    assert_eq!(resolved.manifest.digest, made.digest());
}

#[test]
fn what_is_not_there_is_none_and_an_error_that_names_it() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let reference = reference(&registry, "a:nope");
    assert_eq!(bench.client.head_tag(&reference).unwrap(), None);
    let error = bench.pull(&reference).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.code(), Some("MANIFEST_UNKNOWN"));
    let host = registry.host();
    assert_eq!(
        error.to_string(),
        format!(
            "`{host}/a:nope` is not at `{host}`: status 404, MANIFEST_UNKNOWN (MANIFEST_UNKNOWN here)"
        )
    );
}

#[test]
fn manifests_that_lie_or_are_none_are_refused() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 1, 10);
    registry.put_image("a", "good", &made);
    let put = |tag: &str, media_type: &str, bytes: &[u8]| {
        registry.put_manifest("a", tag, media_type, bytes);
        bench.pull(&reference(&registry, &format!("a:{tag}"))).unwrap_err()
    };
    let fault = |error: ClientError| match error {
        ClientError::Manifest { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let schema1 = br#"{"schemaVersion":1,"fsLayers":[]}"#;
    assert_eq!(fault(put("s1", media_type::DOCKER_SCHEMA1, schema1)), ManifestFault::Schema1);
    let big = vec![b' '; (4 << 20) + 1];
    assert_eq!(
        fault(put("big", media_type::MANIFEST, &big)),
        ManifestFault::TooLarge { limit: 4 << 20 }
    );
    let junk = fault(put("junk", media_type::MANIFEST, b"\xff\xfe\0{"));
    assert!(matches!(junk, ManifestFault::Malformed { .. }));
    let chart = br#"{"schemaVersion":2,"mediaType":"application/vnd.x.chart+json"}"#;
    let chart = fault(put("chart", "application/vnd.x.chart+json", chart));
    assert!(matches!(chart, ManifestFault::NotAnImage { .. }));

    let other = Effect::Header("docker-content-digest", Digest::of("other").to_string());
    registry.inject(Fault::on("GET", "manifests/good", other));
    registry.inject(Fault::on("HEAD", "manifests/good", Effect::status(405)));
    let error = bench.pull(&reference(&registry, "a:good")).unwrap_err();
    assert!(matches!(error, ClientError::WrongDigest { .. }), "{error}");
    registry.inject(Fault::on("GET", "manifests/sha256", Effect::WrongBytes));
    let pinned = reference(&registry, "a").with_digest(made.digest());
    let error = bench.pull(&pinned).unwrap_err();
    assert!(matches!(error, ClientError::WrongDigest { .. }), "{error}");
    assert_eq!(bench.store.blob_size(&made.digest()), None);
}

#[test]
fn mirrors_are_asked_first_and_told_for_whom() {
    let (upstream, first, second) =
        (TestRegistry::start(), TestRegistry::start(), TestRegistry::start());
    let made = random_image(1, 2, 1000);
    second.put_image("a", "1", &made);
    upstream.put_image("a", "1", &made);
    let mirrors = vec![mirror(&upstream.host(), &first), mirror(&upstream.host(), &second)];
    let bench = bench_with(ClientConfig { mirrors, ..config() });
    bench.pull(&reference(&upstream, "a:1")).unwrap();
    assert_eq!(upstream.requests(), []);
    assert!(first.requests().iter().all(|request| request.status == 404));
    let namespace = format!("?ns={}", upstream.host().replace(':', "%3A"));
    let asked = second.requests();
    assert!(!asked.is_empty() && asked.iter().all(|r| r.target.ends_with(&namespace)), "{asked:?}");
}

#[test]
fn a_mirror_that_fails_in_any_way_is_passed_over_and_named_when_all_fail() {
    let made = random_image(1, 2, 1000);
    let effects = [
        Effect::status(404),
        Effect::status(401),
        Effect::status(503),
        Effect::rate_limit("3600"),
        Effect::Hangup,
        Effect::WrongBytes,
        Effect::CutAt(3),
    ];
    for effect in effects {
        let (upstream, broken) = (TestRegistry::start(), TestRegistry::start());
        upstream.put_image("a", "1", &made);
        broken.put_image("a", "1", &made);
        broken.inject(Fault::on("GET", "/v2/a/", effect.clone()));
        let dead = TestRegistry::start();
        let mirrors = vec![mirror(&upstream.host(), &dead), mirror(&upstream.host(), &broken)];
        drop(dead);
        let bench = bench_with(ClientConfig { mirrors, ..config() });
        bench.pull(&reference(&upstream, "a:1")).unwrap();
        assert!(!upstream.requests().is_empty(), "{effect:?}");

        let error = bench.pull(&reference(&upstream, "a:2")).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        let text = error.to_string();
        assert!(text.contains(&broken.host()) && text.contains(&upstream.host()), "{text}");
    }
}

#[test]
fn threads_that_want_the_same_image_fetch_it_once() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(7, 4, 200_000);
    registry.put_image("a", "1", &made);
    let reference = reference(&registry, "a:1");
    std::thread::scope(|scope| {
        for _ in 0..6 {
            let client = bench.client.clone();
            let reference = &reference;
            scope.spawn(move || {
                let resolved = client.resolve(reference, &amd64()).unwrap();
                client.fetch_layers(reference, &resolved.manifest_doc, &|_, _| ()).unwrap();
            });
        }
    });
    assert_eq!(registry.count("GET", "/blobs/"), made.blobs().count());
}
