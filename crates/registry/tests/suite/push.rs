//! From the store to the registry.

use std::sync::Mutex;

use bakehouse_model::Digest;
use bakehouse_model::oci::{Descriptor, media_type};
use bakehouse_registry::ClientError;
use bakehouse_testkit::image::{TestImage, index, random_image};
use bakehouse_testkit::registry::{Access, Effect, Fault, TestRegistry};

use crate::bench::{Bench, amd64, bench, reference, whole};

fn keep(bench: &Bench, image: &TestImage) {
    for bytes in image.blobs().chain([image.manifest.as_slice()]) {
        bench.store.put_blob(bytes).unwrap();
    }
}

fn assert_whole(registry: &TestRegistry, repository: &str, tag: &str, image: &TestImage) {
    assert_eq!(registry.manifest(repository, tag).as_ref(), Some(&image.manifest));
    for blob in image.blobs() {
        let digest = Digest::of(blob);
        assert!(registry.shows(repository, &digest));
        assert_eq!(registry.blob(&digest).as_deref(), Some(blob));
    }
}

#[test]
fn an_image_is_pushed_and_the_second_time_found() {
    for absolute in [false, true] {
        let (registry, bench) = (TestRegistry::start(), bench());
        if absolute {
            registry.use_absolute_locations();
        }
        let made = random_image(1, 3, 400_000);
        keep(&bench, &made);
        let to = reference(&registry, "a/b:1");
        let told = Mutex::new(Vec::new());
        let progress = |done, total| told.lock().unwrap().push((done, total));
        let pushed = bench.client.push(&made.descriptor(), &to, &[], &progress).unwrap();
        assert_whole(&registry, "a/b", "1", &made);
        let total: u64 = made.blobs().map(|blob| blob.len() as u64).sum();
        assert_eq!((pushed.uploaded_bytes, pushed.unchanged), (total, false));
        assert_eq!(told.lock().unwrap().last(), Some(&(total, total)));
        let digest_first: Vec<String> = registry
            .requests()
            .into_iter()
            .filter(|r| r.method == "PUT" && r.target.contains("/manifests/"))
            .map(|r| r.target)
            .collect();
        assert_eq!(
            digest_first,
            [format!("/v2/a/b/manifests/{}", made.digest()), "/v2/a/b/manifests/1".to_owned()]
        );

        registry.clear_requests();
        let again = bench.client.push(&made.descriptor(), &to, &[], &|_, _| ()).unwrap();
        assert!(again.unchanged);
        assert_eq!(registry.requests().len(), 1);

        registry.clear_requests();
        let second = to.with_tag("2");
        let tagged = bench.client.push(&made.descriptor(), &second, &[], &|_, _| ()).unwrap();
        assert_eq!((tagged.existed, tagged.uploaded_bytes), (4, 0));
        assert_eq!(registry.count("HEAD", "/blobs/") + registry.count("POST", ""), 0);
    }
}

#[test]
fn what_is_there_is_not_sent_and_what_is_next_door_is_mounted() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 3, 10_000);
    keep(&bench, &made);
    registry.put_blob("app", &made.layers[0]);
    registry.put_blob("base", &made.layers[1]);
    let to = reference(&registry, "app:1");
    let from = ["nothing-here".to_owned(), "base".to_owned(), "app".to_owned()];
    let pushed = bench.client.push(&made.descriptor(), &to, &from, &|_, _| ()).unwrap();
    assert_whole(&registry, "app", "1", &made);
    assert_eq!((pushed.existed, pushed.mounted), (1, 1));
    assert_eq!(pushed.uploaded_bytes, (made.layers[2].len() + made.config.len()) as u64);
}

#[test]
fn a_layer_that_only_the_registry_has_need_not_be_in_the_store() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 2, 10_000);
    bench.store.put_blob(&made.manifest).unwrap();
    bench.store.put_blob(&made.config).unwrap();
    registry.put_blob("base", &made.layers[0]);
    registry.put_blob("base", &made.layers[1]);
    let to = reference(&registry, "app:1");
    bench.client.push(&made.descriptor(), &to, &["base".to_owned()], &|_, _| ()).unwrap();
    assert_whole(&registry, "app", "1", &made);
    let error =
        bench.client.push(&made.descriptor(), &to.with_tag("2"), &[], &|_, _| ()).map(|_| ());
    error.unwrap();
    let other = TestRegistry::start();
    let error = bench
        .client
        .push(&made.descriptor(), &reference(&other, "app:1"), &[], &|_, _| ())
        .unwrap_err();
    assert!(matches!(error, ClientError::MissingBlob { .. }), "{error}");
    assert_eq!(other.manifest("app", "1"), None);
}

#[test]
fn images_that_are_pushed_at_once_send_what_they_share_once() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 4, 200_000);
    keep(&bench, &made);
    std::thread::scope(|scope| {
        for at in 0..6 {
            let (registry, client, made) = (&registry, bench.client.clone(), &made);
            scope.spawn(move || {
                let to = reference(registry, &format!("app-{at}:1"));
                client.push(&made.descriptor(), &to, &[], &|_, _| ()).unwrap();
            });
        }
    });
    for at in 0..6 {
        assert_whole(&registry, &format!("app-{at}"), "1", &made);
    }
    assert_eq!(registry.count("PUT", "/blobs/uploads/"), made.blobs().count());
}

#[test]
fn an_index_takes_its_manifests_along() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let images = [random_image(1, 1, 100), random_image(2, 1, 100)];
    images.iter().for_each(|image| keep(&bench, image));
    let platforms = [amd64(), "linux/arm64".parse().unwrap()];
    let bytes = index(&[(&images[0], &platforms[0]), (&images[1], &platforms[1])]);
    let digest = bench.store.put_blob(&bytes).unwrap();
    let top = Descriptor::new(media_type::INDEX, digest, bytes.len() as u64);
    bench.client.push(&top, &reference(&registry, "a:1"), &[], &|_, _| ()).unwrap();
    assert_eq!(registry.manifest("a", "1"), Some(bytes));
    for image in &images {
        assert_eq!(registry.manifest("a", image.digest().as_str()).as_ref(), Some(&image.manifest));
    }
}

#[test]
fn uploads_that_break_begin_again() {
    for effect in [
        Effect::Hangup,
        Effect::status(500),
        Effect::status(503),
        Effect::rate_limit("0"),
        Effect::error(404, "BLOB_UPLOAD_UNKNOWN", "gone"),
    ] {
        let (registry, bench) = (TestRegistry::start(), bench());
        let made = random_image(1, 2, 100_000);
        keep(&bench, &made);
        registry.inject(Fault::on("PUT", "/blobs/uploads/", effect.clone()).times(2));
        registry.inject(Fault::on("POST", "/blobs/uploads/", Effect::status(503)).times(1));
        registry.inject(Fault::on("PUT", "/manifests/", Effect::Hangup).times(1));
        let to = reference(&registry, "a:1");
        let told = Mutex::new(0);
        let progress = |done, total| {
            assert!(done <= total);
            *told.lock().unwrap() = done;
        };
        let pushed = bench.client.push(&made.descriptor(), &to, &[], &progress).unwrap();
        assert_whole(&registry, "a", "1", &made);
        assert_eq!(*told.lock().unwrap(), pushed.uploaded_bytes, "{effect:?}");
    }
}

#[test]
fn a_registry_that_lost_what_it_had_gets_it_again() {
    let (registry, bench) = (TestRegistry::start(), bench());
    let made = random_image(1, 2, 1000);
    keep(&bench, &made);
    let to = reference(&registry, "a:1");
    bench.client.push(&made.descriptor(), &to, &[], &|_, _| ()).unwrap();
    registry.lose_blobs("a");
    bench.client.push(&made.descriptor(), &to.with_tag("2"), &[], &|_, _| ()).unwrap();
    assert_whole(&registry, "a", "2", &made);
}

#[test]
fn refusals_keep_the_registrys_code_and_leave_the_tag_alone() {
    let cases = [
        ("PUT", "/blobs/uploads/", Effect::error(413, "SIZE_INVALID", "too big"), "SIZE_INVALID"),
        ("POST", "/blobs/uploads/", Effect::error(403, "DENIED", "no"), "DENIED"),
        ("PUT", "/blobs/uploads/", Effect::error(400, "DIGEST_INVALID", "x"), "DIGEST_INVALID"),
        ("PUT", "/manifests/", Effect::error(400, "MANIFEST_INVALID", "x"), "MANIFEST_INVALID"),
    ];
    for (method, part, effect, code) in cases {
        let (registry, bench) = (TestRegistry::start(), bench());
        let made = random_image(1, 2, 1000);
        keep(&bench, &made);
        registry.inject(Fault::on(method, part, effect));
        let to = reference(&registry, "a:1");
        let error = bench.client.push(&made.descriptor(), &to, &[], &|_, _| ()).unwrap_err();
        assert_eq!(error.code(), Some(code), "{}", whole(&error));
        assert_eq!(registry.manifest("a", "1"), None);
    }
    let (registry, bench) = (TestRegistry::with_access(Access::bearer()), bench());
    let made = random_image(1, 1, 1000);
    keep(&bench, &made);
    let error = bench
        .client
        .push(&made.descriptor(), &reference(&registry, "a:1"), &[], &|_, _| ())
        .unwrap_err();
    assert!(matches!(error, ClientError::Unauthorized { with_credentials: false, .. }), "{error}");
    assert!(error.hints()[0].contains("docker login"), "{:?}", error.hints());
}
