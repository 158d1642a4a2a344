//! What every test stands on: a store of its own and a client that does not wait.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bakehouse_model::oci::{Platform, Reference};
use bakehouse_registry::{Client, ClientConfig, ClientError, Mirror, Resolved, RetryPolicy};
use bakehouse_store::Store;
use bakehouse_testkit::registry::TestRegistry;
use tempfile::TempDir;

pub(crate) struct Bench {
    _folder: TempDir,
    pub(crate) store: Store,
    pub(crate) client: Client,
}

/// Settings that try as often as the real ones, at once.
pub(crate) fn config() -> ClientConfig {
    let retry = RetryPolicy {
        attempts: 4,
        base: Duration::ZERO,
        longest: Duration::ZERO,
        longest_retry_after: Duration::from_secs(5),
    };
    ClientConfig { retry, ..ClientConfig::default() }
}

pub(crate) fn bench() -> Bench {
    bench_with(config())
}

pub(crate) fn bench_with(config: ClientConfig) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let client = Client::new(config, store.clone());
    Bench { _folder: folder, store, client }
}

pub(crate) fn reference(registry: &TestRegistry, name: &str) -> Reference {
    format!("{}/{name}", registry.host()).parse().unwrap()
}

pub(crate) fn amd64() -> Platform {
    Platform::linux("amd64")
}

pub(crate) fn mirror(registry: &str, of: &TestRegistry) -> Mirror {
    Mirror { registry: registry.to_owned(), url: of.url("") }
}

/// Docker's configuration with one entry, as base64 of `user:secret` is.
pub(crate) fn docker_config(folder: &Path, host: &str, entry: &str) -> std::path::PathBuf {
    let path = folder.join("config.json");
    fs::write(&path, format!(r#"{{"auths": {{"{host}": {entry}}}}}"#)).unwrap();
    path
}

/// `user:secret`.
pub(crate) const USER: &str = r#"{"auth": "dXNlcjpzZWNyZXQ="}"#;

impl Bench {
    /// Resolves and fetches.
    pub(crate) fn pull(&self, reference: &Reference) -> Result<Resolved, ClientError> {
        let resolved = self.client.resolve(reference, &amd64())?;
        self.client.fetch_layers(reference, &resolved.manifest_doc, &|_, _| ())?;
        Ok(resolved)
    }

    /// Files of unfinished downloads.
    pub(crate) fn partials(&self) -> usize {
        fs::read_dir(self.store.home().join("partial")).unwrap().count()
    }
}

/// An error and its causes, as a person would see them.
pub(crate) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(&format!(": {next}"));
        cause = next.source();
    }
    text
}
