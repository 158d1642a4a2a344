//! A bucket of S3, laid out as BuildKit does.
//!
//! A blob is the object `PREFIX` `blobs/` DIGEST, the document `PREFIX` `manifests/` NAME, under
//! every name that is given; the first one is read. A blob that is there is left alone, unless it
//! is so old that a rule of the bucket may remove it soon: then it is written again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bakehouse_model::Secret;
use bakehouse_model::oci::Descriptor;
use bakehouse_store::{Meter, Store};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientOptions, MultipartUpload as _, ObjectStoreExt as _, PutPayload};

use crate::DepotError;
use crate::crew::{CHUNK, Pieces};

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const IDLE: Duration = Duration::from_secs(60);

/// How to reach a bucket.
#[derive(Debug, Clone, Default)]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// Its region.
    pub region: String,
    /// What every object's name begins with.
    pub prefix: String,
    /// What the names of blobs begin with after that.
    pub blobs_prefix: String,
    /// What the names of documents begin with after that.
    pub manifests_prefix: String,
    /// The names of the document; at least one.
    pub names: Vec<String>,
    /// Where it is, if not at Amazon.
    pub endpoint: Option<String>,
    /// Whether the bucket is in the path of addresses and not in their host.
    pub path_style: bool,
    /// The id and the secret of a key, if they are not to be found in the environment.
    pub key: Option<(String, Secret)>,
    /// The token of a session with that key.
    pub session_token: Option<Secret>,
    /// `AWS_…`: what the environment says.
    pub environment: BTreeMap<String, Secret>,
    /// How old a blob may be before it is written again.
    pub touch_refresh: Duration,
    /// Transfers at once.
    pub parallel: usize,
}

#[derive(Debug)]
pub(crate) struct Bucket {
    s3: AmazonS3,
    config: BucketConfig,
}

impl Bucket {
    pub(crate) fn new(config: BucketConfig) -> Result<Self, DepotError> {
        let why = |error: object_store::Error| DepotError::Settings { why: error.to_string() };
        let s3 = builder(&config).build().map_err(why)?;
        Ok(Self { s3, config })
    }

    pub(crate) async fn documents(&self, limit: u64) -> Result<Vec<Vec<u8>>, DepotError> {
        let name = self.config.names.first().map_or("", String::as_str);
        let path = self.document(name)?;
        let doing = || self.reading(&path);
        let got = match self.s3.get(&path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(failed(doing(), error)),
        };
        if got.meta.size > limit {
            let why = format!("it has {} bytes, more than {limit}", got.meta.size);
            return Err(DepotError::Protocol { doing: doing(), why });
        }
        let bytes = got.bytes().await.map_err(|error| failed(doing(), error))?;
        Ok(vec![bytes.to_vec()])
    }

    pub(crate) async fn put_document(&self, document: &[u8]) -> Result<(), DepotError> {
        for name in &self.config.names {
            let path = self.document(name)?;
            let put = self.s3.put(&path, document.to_vec().into()).await;
            put.map_err(|error| failed(self.writing(&path), error))?;
        }
        Ok(())
    }

    pub(crate) async fn get(
        &self,
        blob: &Descriptor,
        store: &Store,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let path = self.blob(blob)?;
        let mut ingest = store.ingest()?;
        let mut at = 0;
        while at < blob.size {
            let range = at..blob.size.min(at + CHUNK);
            let piece = match self.s3.get_range(&path, range).await {
                Ok(piece) => piece,
                Err(object_store::Error::NotFound { .. }) => {
                    return Err(DepotError::Gone { digest: blob.digest.clone() });
                }
                Err(error) => return Err(failed(self.reading(&path), error)),
            };
            let write = |source| DepotError::Io { digest: blob.digest.clone(), source };
            std::io::Write::write_all(&mut ingest, &piece).map_err(write)?;
            at += piece.len() as u64;
            meter.add(piece.len() as u64);
            if piece.is_empty() {
                break;
            }
        }
        ingest.commit(Some((&blob.digest, blob.size)))?;
        Ok(())
    }

    pub(crate) async fn put(
        &self,
        blob: &Descriptor,
        store: &Store,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let path = self.blob(blob)?;
        match self.s3.head(&path).await {
            Ok(there) => {
                let old = self.is_old(there.last_modified.timestamp());
                if there.size == blob.size && !old {
                    meter.add(blob.size);
                    return Ok(());
                }
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(failed(self.writing(&path), error)),
        }
        let mut pieces = Pieces::of(blob, store)?;
        let first = pieces.read()?;
        if first.len() as u64 == blob.size {
            let put = self.s3.put(&path, first.into()).await;
            put.map_err(|error| failed(self.writing(&path), error))?;
            meter.add(blob.size);
            return Ok(());
        }
        self.in_parts(&path, first, pieces, meter).await
    }

    async fn in_parts(
        &self,
        path: &Path,
        first: Vec<u8>,
        mut pieces: Pieces,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let writing = |error| failed(self.writing(path), error);
        let mut upload = self.s3.put_multipart(path).await.map_err(writing)?;
        let mut piece = first;
        let written = async {
            while !piece.is_empty() {
                let length = piece.len() as u64;
                upload.put_part(PutPayload::from(piece)).await.map_err(writing)?;
                meter.add(length);
                piece = pieces.read()?;
            }
            upload.complete().await.map(drop).map_err(writing)
        };
        let written = written.await;
        if written.is_err() {
            // What nobody ends costs money for ever.
            drop(upload.abort().await);
        }
        written
    }

    fn is_old(&self, modified: i64) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let age = now.saturating_sub(u64::try_from(modified).unwrap_or(0));
        age > self.config.touch_refresh.as_secs()
    }

    fn blob(&self, blob: &Descriptor) -> Result<Path, DepotError> {
        let BucketConfig { prefix, blobs_prefix, .. } = &self.config;
        path(format!("{prefix}{blobs_prefix}{}", blob.digest))
    }

    fn document(&self, name: &str) -> Result<Path, DepotError> {
        let BucketConfig { prefix, manifests_prefix, .. } = &self.config;
        path(format!("{prefix}{manifests_prefix}{name}"))
    }

    fn reading(&self, path: &Path) -> String {
        format!("read `{path}` of the bucket `{}`", self.config.bucket)
    }

    fn writing(&self, path: &Path) -> String {
        format!("write `{path}` of the bucket `{}`", self.config.bucket)
    }
}

fn builder(config: &BucketConfig) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    for (name, value) in &config.environment {
        use AmazonS3ConfigKey::{AccessKeyId, Endpoint, S3Endpoint, SecretAccessKey, Token};
        let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() else { continue };
        // A key that is given has no part of another one, and where it is was decided before.
        let is_key = matches!(key, AccessKeyId | SecretAccessKey | Token);
        let is_decided = matches!(key, Endpoint | S3Endpoint) || (is_key && config.key.is_some());
        if !is_decided {
            builder = builder.with_config(key, value.reveal());
        }
    }
    let mut options = ClientOptions::new()
        .with_connect_timeout(CONNECT)
        .with_timeout_disabled()
        .with_read_timeout(IDLE);
    if let Some(endpoint) = &config.endpoint {
        options = options.with_allow_http(endpoint.starts_with("http://"));
        let at = match endpoint.split_once("://") {
            Some((scheme, host)) if !config.path_style => {
                format!("{scheme}://{}.{host}", config.bucket)
            }
            _ => endpoint.clone(),
        };
        builder = builder.with_endpoint(at);
    }
    if let Some((id, secret)) = &config.key {
        builder = builder.with_access_key_id(id).with_secret_access_key(secret.reveal());
        if let Some(token) = &config.session_token {
            builder = builder.with_token(token.reveal());
        }
    }
    builder
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_virtual_hosted_style_request(!config.path_style)
        .with_client_options(options)
}

/// The name of an object, which must be one that both sides write in the same way.
fn path(name: String) -> Result<Path, DepotError> {
    let parsed = Path::parse(&name).ok().filter(|path| path.as_ref() == name);
    parsed.ok_or_else(|| DepotError::Settings { why: format!("`{name}` is no name of an object") })
}

/// Of an answer only its code is told: some have parts of the request, and secrets, in them.
fn failed(doing: String, error: object_store::Error) -> DepotError {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    let said = code.map_or_else(|| text.split('<').next().unwrap_or_default(), |(code, _)| code);
    let why = said.chars().filter(|c| !c.is_control()).take(200).collect();
    DepotError::Bucket { doing, why }
}
