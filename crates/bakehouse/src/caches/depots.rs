//! Caches in services: the client for what a spec says.

use std::time::Duration;

use bakehouse_depot::{ActionsConfig, BucketConfig, Config, Depot, DepotError};
use bakehouse_plan::caches::spec::{Actions, Bucket, Place};
use bakehouse_run::BackendError;
use bakehouse_store::Store;

/// The service that a place is in; none for places of other kinds.
pub fn open(place: &Place, store: &Store) -> Option<Result<Depot, DepotError>> {
    let config = match place {
        Place::Actions(actions) => Config::Actions(of_actions(actions)?),
        Place::Bucket(bucket) => Config::Bucket(of_bucket(bucket)?),
        Place::Registry { .. } | Place::Folder { .. } | Place::Inline => return None,
    };
    Some(Depot::open(config, store.clone()))
}

/// What a depot says, as a failure of the run.
pub fn depot_error(doing: &str, error: DepotError) -> BackendError {
    BackendError::environment(doing.to_owned(), error)
}

fn of_actions(actions: &Actions) -> Option<ActionsConfig> {
    let (url, second) = actions.address()?;
    Some(ActionsConfig {
        url: url.to_owned(),
        second,
        token: actions.token.clone()?,
        scope: actions.name().to_owned(),
        timeout: Duration::from_millis(actions.timeout_ms),
        user_agent: concat!("bakehouse/", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}

fn of_bucket(bucket: &Bucket) -> Option<BucketConfig> {
    Some(BucketConfig {
        bucket: bucket.bucket.clone()?,
        region: bucket.region.clone()?,
        prefix: bucket.prefix.clone(),
        blobs_prefix: bucket.blobs_prefix.clone(),
        manifests_prefix: bucket.manifests_prefix.clone(),
        names: bucket.names(),
        endpoint: bucket.endpoint_url.clone(),
        path_style: bucket.use_path_style,
        key: bucket.access_key_id.clone().zip(bucket.secret_access_key.clone()),
        session_token: bucket.session_token.clone(),
        environment: bucket.environment.clone(),
        touch_refresh: Duration::from_millis(bucket.touch_refresh_ms),
        parallel: bucket.parallel,
    })
}
