//! Files from URLs.

use bakehouse_model::Digest;
use bakehouse_registry::{ClientConfig, ClientError};
use bakehouse_testkit::image::random_bytes;
use bakehouse_testkit::registry::{Effect, Fault, TestRegistry};

use crate::bench::{bench, bench_with, config, whole};

#[test]
fn a_file_arrives_with_its_name_and_time() {
    let (server, bench) = (TestRegistry::start(), bench());
    let bytes = random_bytes(1, 50_000);
    let date = ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT");
    server.put_file("/x/file.tar", &bytes, &[date]);
    server.inject(Fault::on("GET", "/old", Effect::redirect("/x/file.tar?signature=s")));
    let told = std::sync::Mutex::new((0, 0));
    let progress = |done, total| *told.lock().unwrap() = (done, total);
    let got = bench.client.download(&server.url("/old/name.tgz"), &progress).unwrap();
    assert_eq!((&got.digest, got.size), (&Digest::of(&bytes), 50_000));
    assert_eq!(got.last_modified, Some(784_111_777));
    assert_eq!(got.file_name.as_deref(), Some("name.tgz"));
    assert_eq!(*told.lock().unwrap(), (50_000, 50_000));
    assert_eq!(bench.store.read_blob(&got.digest, 1 << 20).unwrap(), bytes);

    let disposition = ("content-disposition", "attachment; filename=\"../other.txt\"");
    server.put_file("/named", b"x", &[disposition]);
    let got = bench.client.download(&server.url("/named"), &|_, _| ()).unwrap();
    assert_eq!(got.file_name.as_deref(), Some("other.txt"));
    server.put_file("/empty", b"", &[]);
    assert_eq!(bench.client.download(&server.url("/empty"), &|_, _| ()).unwrap().size, 0);
}

#[test]
fn a_broken_download_goes_on_only_if_the_file_is_the_same() {
    let bytes = random_bytes(1, 200_000);
    for headers in [&[("etag", "\"v1\"")][..], &[("etag", "W/\"v1\"")], &[]] {
        let (server, bench) = (TestRegistry::start(), bench());
        server.put_file("/f", &bytes, headers);
        server.inject(Fault::on("GET", "/f", Effect::CutAt(100_000)).times(1));
        server.inject(Fault::on("GET", "/f", Effect::status(503)).times(1));
        let got = bench.client.download(&server.url("/f"), &|_, _| ()).unwrap();
        assert_eq!(got.digest, Digest::of(&bytes));
        let ranged = server.requests().iter().filter(|r| r.headers.contains_key("range")).count();
        assert_eq!(ranged > 0, headers.first().is_some_and(|(_, tag)| !tag.starts_with('W')));
    }
    let (server, bench) = (TestRegistry::start(), bench());
    server.put_file("/f", &bytes, &[("etag", "\"v2\"")]);
    let old = Effect::Header("etag", "\"v1\"".to_owned());
    let old = Fault::on("GET", "/f", old).and(Effect::WrongBytes).and(Effect::CutAt(100_000));
    server.inject(old.times(1));
    let got = bench.client.download(&server.url("/f"), &|_, _| ()).unwrap();
    assert_eq!(got.digest, Digest::of(&bytes));
}

#[test]
fn what_cannot_be_downloaded_says_why_without_secrets() {
    let server = TestRegistry::start();
    let bench = bench_with(ClientConfig { download_limit: 1000, ..config() });
    server.put_file("/big", &[0; 1001], &[]);
    server.inject(Fault::on("GET", "/loop", Effect::redirect("/loop")));
    server.inject(Fault::on("GET", "/away", Effect::redirect("file:///etc/passwd")));
    let with_user = server.url("/none?token=hunter2").replace("//", "//user:hunter2@");
    let urls = [
        server.url("/big"),
        server.url("/loop?x=hunter2"),
        server.url("/away"),
        with_user,
        "ftp://user:hunter2@host/x".to_owned(),
        "no url at all hunter2".to_owned(),
        "http://".to_owned(),
    ];
    for url in urls {
        let error = bench.client.download(&url, &|_, _| ()).unwrap_err();
        let shown = format!("{} {error:?}", whole(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let error = bench.client.download(&server.url("/big"), &|_, _| ()).unwrap_err();
    assert!(matches!(error, ClientError::OverLimit { limit: 1000, .. }), "{error}");
    let error = bench.client.download(&server.url("/none"), &|_, _| ()).unwrap_err();
    assert!(error.is_not_found());
}

#[test]
fn the_user_of_a_url_is_shown_to_its_host_only() {
    let (server, elsewhere) = (TestRegistry::start(), TestRegistry::start());
    elsewhere.put_file("/f", b"x", &[]);
    server.inject(Fault::on("GET", "/f", Effect::redirect(&elsewhere.url("/f"))));
    let url = server.url("/f").replace("//", "//user:secret@");
    bench().client.download(&url, &|_, _| ()).unwrap();
    let shown = |r: &TestRegistry| r.requests()[0].headers.get("authorization").cloned();
    assert_eq!(shown(&server).as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(shown(&elsewhere), None);
}
