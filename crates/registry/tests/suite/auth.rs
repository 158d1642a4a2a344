//! Credentials: who sees them, who does not, and what is said when they are wrong.

use std::path::PathBuf;

use bakehouse_registry::{ClientConfig, ClientError};
use bakehouse_testkit::image::random_image;
use bakehouse_testkit::registry::{Access, Effect, Fault, TestRegistry};

use crate::bench::{
    Bench, USER, bench, bench_with, config, docker_config, mirror, reference, whole,
};

fn with_docker_config(host: &str, entry: &str) -> (tempfile::TempDir, Bench) {
    let folder = tempfile::tempdir().unwrap();
    let path = docker_config(folder.path(), host, entry);
    (folder, bench_with(ClientConfig { docker_config: Some(path), ..config() }))
}

fn closed() -> Access {
    Access::Bearer {
        user: "user".to_owned(),
        password: "secret".to_owned(),
        identity: Some("identity-token".to_owned()),
        anonymous_pull: false,
    }
}

#[test]
fn nobody_may_pull_what_is_public() {
    let registry = TestRegistry::with_access(Access::bearer());
    registry.put_image("a", "1", &random_image(1, 3, 1000));
    bench().pull(&reference(&registry, "a:1")).unwrap();
    assert_eq!(registry.count("GET", "/token"), 1);
    assert!(
        registry
            .requests()
            .iter()
            .all(|r| !r.headers.get("authorization").is_some_and(|a| a.starts_with("Basic")))
    );
}

#[test]
fn names_and_identity_tokens_open_what_is_closed() {
    for (access, entry) in [
        (Access::basic(), USER),
        (closed(), USER),
        (closed(), r#"{"username": "user", "password": "secret"}"#),
        (closed(), r#"{"identitytoken": "identity-token"}"#),
    ] {
        let registry = TestRegistry::with_access(access);
        registry.put_image("a", "1", &random_image(1, 3, 1000));
        let (_folder, bench) = with_docker_config(&registry.host(), entry);
        bench.pull(&reference(&registry, "a:1")).unwrap();
        let first = &registry.requests()[0];
        assert_eq!(
            first.headers.get("authorization"),
            None,
            "nothing is shown before it is asked for"
        );
        let refused = registry.requests().iter().filter(|r| r.status == 401).count();
        assert_eq!(refused, 1, "{entry}");
    }
}

#[test]
fn a_helper_is_asked_for_the_host() {
    let registry = TestRegistry::with_access(Access::basic());
    registry.put_image("a", "1", &random_image(1, 1, 10));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let text = format!(r#"{{"credHelpers": {{"{}": "bakehouse-none"}}}}"#, registry.host());
    std::fs::write(&path, text).unwrap();
    let bench = bench_with(ClientConfig { docker_config: Some(path), ..config() });
    let error = bench.pull(&reference(&registry, "a:1")).unwrap_err();
    assert!(matches!(error, ClientError::Credentials { .. }), "{error}");
    assert!(whole(&error).contains("docker-credential-bakehouse-none"), "{}", whole(&error));
}

#[test]
fn wrong_and_missing_credentials_say_what_to_do_and_show_nothing() {
    for access in [Access::basic(), closed()] {
        let registry = TestRegistry::with_access(access);
        registry.put_image("a", "1", &random_image(1, 1, 10));
        let host = registry.host();
        let error = bench().pull(&reference(&registry, "a:1")).unwrap_err();
        assert!(
            matches!(error, ClientError::Unauthorized { with_credentials: false, .. }),
            "{error}"
        );
        assert!(error.hints()[0].contains(&format!("docker login {host}")), "{:?}", error.hints());
        // `user:wrong-password`
        let (_folder, bench) =
            with_docker_config(&host, r#"{"auth": "dXNlcjp3cm9uZy1wYXNzd29yZA=="}"#);
        let error = bench.pull(&reference(&registry, "a:1")).unwrap_err();
        let shown = format!("{} {error:?} {:?} {:?}", whole(&error), error.hints(), bench.client);
        assert!(
            matches!(error, ClientError::Unauthorized { with_credentials: true, .. }),
            "{error}"
        );
        for secret in ["wrong-password", "dXNlcjp3", "token-1"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn a_configuration_that_cannot_be_read_matters_only_where_it_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, "{ not json").unwrap();
    let config = || ClientConfig { docker_config: Some(path.clone()), ..config() };
    let public = TestRegistry::with_access(Access::bearer());
    public.put_image("a", "1", &random_image(1, 1, 10));
    bench_with(config()).pull(&reference(&public, "a:1")).unwrap();
    let private = TestRegistry::with_access(closed());
    private.put_image("a", "1", &random_image(1, 1, 10));
    let error = bench_with(config()).pull(&reference(&private, "a:1")).unwrap_err();
    assert!(matches!(error, ClientError::Credentials { .. }), "{error}");
}

#[test]
fn a_token_that_expired_is_renewed() {
    let registry = TestRegistry::with_access(closed());
    registry.put_image("a", "1", &random_image(1, 1, 10));
    registry.put_image("a", "2", &random_image(2, 1, 10));
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    bench.pull(&reference(&registry, "a:1")).unwrap();
    registry.expire_tokens();
    bench.pull(&reference(&registry, "a:2")).unwrap();
    assert_eq!(registry.count("GET", "/token"), 2);
}

#[test]
fn a_redirect_to_another_host_carries_no_credentials() {
    let (registry, elsewhere) = (TestRegistry::with_access(Access::basic()), TestRegistry::start());
    let made = random_image(1, 1, 1000);
    registry.put_image("a", "1", &made);
    elsewhere.put_file("/blob", &made.layers[0], &[]);
    let layer = bakehouse_model::Digest::of(&made.layers[0]);
    let to = elsewhere.url("/blob?signature=hunter2");
    registry.inject(Fault::on("GET", layer.as_str(), Effect::redirect(&to)));
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    bench.pull(&reference(&registry, "a:1")).unwrap();
    let seen = elsewhere.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers.get("authorization"), None);

    let challenge = r#"Basic realm="give me""#.to_owned();
    let effect = Effect::Status {
        status: 401,
        headers: vec![("www-authenticate", challenge)],
        body: String::new(),
    };
    elsewhere.inject(Fault::on("GET", "/blob", effect));
    elsewhere.clear_requests();
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    let error = bench.pull(&reference(&registry, "a:1")).unwrap_err();
    assert!(!whole(&error).contains("hunter2"), "{}", whole(&error));
    assert!(elsewhere.requests().iter().all(|r| !r.headers.contains_key("authorization")));
}

#[test]
fn a_realm_that_is_not_the_registrys_gets_nothing() {
    let (registry, thief) = (TestRegistry::start(), TestRegistry::start());
    registry.put_image("a", "1", &random_image(1, 1, 10));
    let port = thief.host().rsplit_once(':').unwrap().1.to_owned();
    let challenge = format!(r#"Bearer realm="http://localhost:{port}/token",service="x""#);
    let effect = Effect::Status {
        status: 401,
        headers: vec![("www-authenticate", challenge)],
        body: String::new(),
    };
    registry.inject(Fault::on("HEAD", "manifests", effect.clone()));
    registry.inject(Fault::on("GET", "manifests", effect));
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    let error = bench.pull(&reference(&registry, "a:1")).unwrap_err();
    assert!(matches!(error, ClientError::Realm { .. }), "{error}");
    assert_eq!(thief.requests(), []);
}

#[test]
fn a_mirror_does_not_see_the_registrys_credentials() {
    let upstream = TestRegistry::with_access(Access::basic());
    let nosy = TestRegistry::with_access(Access::basic());
    upstream.put_image("a", "1", &random_image(1, 1, 10));
    nosy.put_image("a", "1", &random_image(1, 1, 10));
    let folder = tempfile::tempdir().unwrap();
    let docker_config: PathBuf = docker_config(folder.path(), &upstream.host(), USER);
    let mirrors = vec![mirror(&upstream.host(), &nosy)];
    let bench =
        bench_with(ClientConfig { mirrors, docker_config: Some(docker_config), ..config() });
    bench.pull(&reference(&upstream, "a:1")).unwrap();
    assert!(nosy.requests().iter().all(|r| !r.headers.contains_key("authorization")));
    assert!(upstream.requests().iter().any(|r| r.headers.contains_key("authorization")));
}

#[test]
fn a_mount_asks_for_both_repositories_in_one_token() {
    let registry = TestRegistry::with_access(closed());
    let made = random_image(1, 2, 1000);
    registry.put_image("base", "1", &made);
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    bench.pull(&reference(&registry, "base:1")).unwrap();
    let to = reference(&registry, "app:1");
    let from = ["base".to_owned()];
    let pushed = bench.client.push(&made.descriptor(), &to, &from, &|_, _| ()).unwrap();
    assert_eq!((pushed.mounted, pushed.uploaded_bytes), (3, 0));
    let both = registry.requests().into_iter().any(|r| {
        r.target.contains("scope=repository%3Aapp%3Apull%2Cpush")
            && r.target.contains("scope=repository%3Abase%3Apull")
    });
    assert!(both);
}

#[test]
fn a_source_that_may_not_be_read_is_no_reason_not_to_push() {
    let registry = TestRegistry::with_access(closed());
    let made = random_image(1, 2, 1000);
    let (_folder, bench) = with_docker_config(&registry.host(), USER);
    for bytes in made.blobs().chain([made.manifest.as_slice()]) {
        bench.store.put_blob(bytes).unwrap();
    }
    registry.inject(Fault::on("GET", "repository%3Abase", Effect::status(403)));
    let to = reference(&registry, "app:1");
    let from = ["base".to_owned()];
    let pushed = bench.client.push(&made.descriptor(), &to, &from, &|_, _| ()).unwrap();
    assert_eq!((pushed.mounted, pushed.existed), (0, 0));
    assert_eq!(registry.manifest("app", "1"), Some(made.manifest));
}
