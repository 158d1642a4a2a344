//! GitHub's cache service, as BuildKit uses it.
//!
//! An entry has a key and can be written once; a look-up finds the newest entry whose key begins
//! with what is asked for. A blob is the entry `buildkit-blob-1-DIGEST`. The document is written
//! again and again, so its key has a number behind it, and the highest counts:
//! `index-SCOPE-1-HASH#NUMBER`, where the hash is that of the branch that the token is for.
//!
//! The service is spoken to in either of its two languages ([`protocol`]).

mod protocol;
mod token;

use std::time::Duration;

use bakehouse_model::oci::Descriptor;
use bakehouse_model::{Digest, Secret};
use bakehouse_store::{Meter, Store};
use reqwest::{Response, StatusCode, Url};

use crate::DepotError;
use crate::crew::Pieces;
use crate::web::{Web, unreachable};
use protocol::{Entry, Reserved, Wire};
use token::Scopes;

/// How long to wait for whoever writes the document at the same time, and how often to look.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_secs(2);
/// Numbers of documents that may be taken by writers who never finished.
const TAKEN: u64 = 100;
/// Times that a download is begun.
const DOWNLOADS: u32 = 3;

/// How to reach GitHub's cache service.
#[derive(Debug, Clone)]
pub struct ActionsConfig {
    /// The address, without what follows of the protocol.
    pub url: String,
    /// Whether it speaks the second version of the protocol.
    pub second: bool,
    /// The token of the workflow.
    pub token: Secret,
    /// What tells caches apart.
    pub scope: String,
    /// How long one answer may take with all attempts.
    pub timeout: Duration,
    /// How the client presents itself.
    pub user_agent: String,
}

#[derive(Debug)]
pub(crate) struct Actions {
    wire: Wire,
    scopes: Scopes,
    scope: String,
}

impl Actions {
    pub(crate) fn new(config: ActionsConfig) -> Result<Self, DepotError> {
        let scopes = token::scopes(config.token.reveal())?;
        let web = Web::new(&config.user_agent, config.timeout)?;
        let wire = Wire::new(web, &config.url, config.second, config.token)?;
        Ok(Self { wire, scopes, scope: config.scope })
    }

    fn index_key(&self, branch: &str) -> String {
        let hash = Digest::of(branch);
        format!("index-{}-1-{}#", self.scope, &hash.hex()[..8])
    }

    pub(crate) async fn documents(&self, limit: u64) -> Result<Vec<Vec<u8>>, DepotError> {
        let mut found = Vec::new();
        for branch in &self.scopes.readable {
            let Some(entry) = self.wire.find(&self.index_key(branch)).await? else { continue };
            let doing = "fetch the document of the cache";
            let mut response = self.download(doing, &entry.url).await?;
            let mut document = Vec::new();
            while let Some(chunk) = chunk(doing, &mut response).await? {
                document.extend_from_slice(&chunk);
                if document.len() as u64 > limit {
                    let why = format!("it has more than {limit} bytes");
                    return Err(DepotError::Protocol { doing: doing.to_owned(), why });
                }
            }
            found.push(document);
        }
        Ok(found)
    }

    pub(crate) async fn put_document(&self, document: &[u8]) -> Result<(), DepotError> {
        let branch = self.scopes.writable.as_ref();
        let branch = branch.ok_or(DepotError::Token { why: "may only read" })?;
        let key = self.index_key(branch);
        let (mut waited, mut ahead) = (Duration::ZERO, 1);
        while ahead <= TAKEN {
            let newest = self.wire.find(&key).await?;
            let number = newest.and_then(|entry| entry.key[key.len()..].parse::<u64>().ok());
            let next = format!("{key}{}", number.unwrap_or(0).saturating_add(ahead));
            match self.wire.reserve(&next).await? {
                Reserved::Mine(upload) => {
                    self.wire.upload(&upload, document.to_vec()).await?;
                    return self.wire.commit(&upload, document.len() as u64, 1).await;
                }
                Reserved::Taken if waited < PATIENCE => {
                    tokio::time::sleep(LOOK).await;
                    waited += LOOK;
                }
                // Whoever died while writing holds its number for ever.
                Reserved::Taken => ahead += 1,
            }
        }
        let doing = "write the document of the cache".to_owned();
        Err(DepotError::Protocol { doing, why: "others write it all the time".to_owned() })
    }

    pub(crate) async fn get(
        &self,
        blob: &Descriptor,
        store: &Store,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let mut begun = 0;
        loop {
            // An address is good for some minutes, so it is asked for each time.
            let Entry { url, .. } = self.entry(blob).await?;
            begun += 1;
            match self.download_blob(&url, blob, store, meter).await {
                Err(DepotError::Unreachable { .. }) if begun < DOWNLOADS => {}
                done => return done,
            }
        }
    }

    async fn entry(&self, blob: &Descriptor) -> Result<Entry, DepotError> {
        let key = blob_key(blob);
        let found = self.wire.find(&key).await?.filter(|entry| entry.key == key);
        found.ok_or_else(|| DepotError::Gone { digest: blob.digest.clone() })
    }

    async fn download_blob(
        &self,
        url: &Url,
        blob: &Descriptor,
        store: &Store,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let doing = format!("fetch the blob `{}`", blob.digest);
        let mut response = self.download(&doing, url).await?;
        let mut ingest = store.ingest()?;
        let mut counted = 0;
        let mut all = async || {
            // What is longer than it should be is another one, however it ends.
            while counted <= blob.size
                && let Some(chunk) = chunk(&doing, &mut response).await?
            {
                let failed = |source| DepotError::Io { digest: blob.digest.clone(), source };
                std::io::Write::write_all(&mut ingest, &chunk).map_err(failed)?;
                counted += chunk.len() as u64;
                meter.add(chunk.len() as u64);
            }
            Ok::<(), DepotError>(())
        };
        let read = all().await;
        if read.is_err() {
            meter.take_back(counted);
        }
        read?;
        ingest.commit(Some((&blob.digest, blob.size)))?;
        Ok(())
    }

    async fn download(&self, doing: &str, url: &Url) -> Result<Response, DepotError> {
        let response = self.wire.get(doing, url).await?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => {
                let (doing, said) = (doing.to_owned(), String::new());
                Err(DepotError::Refused { doing, status: status.as_u16(), said })
            }
        }
    }

    pub(crate) async fn put(
        &self,
        blob: &Descriptor,
        store: &Store,
        meter: &Meter,
    ) -> Result<(), DepotError> {
        let key = blob_key(blob);
        let there = self.wire.find(&key).await?.is_some_and(|entry| entry.key == key);
        if there {
            meter.add(blob.size);
            return Ok(());
        }
        let mut pieces = Pieces::of(blob, store)?;
        let Reserved::Mine(upload) = self.wire.reserve(&key).await? else {
            // Somebody else writes it at this moment.
            meter.add(blob.size);
            return Ok(());
        };
        let (mut sent, mut count) = (0, 0);
        loop {
            let piece = pieces.read()?;
            let length = piece.len() as u64;
            if length == 0 {
                return self.wire.commit(&upload, sent, count).await;
            }
            if length == blob.size {
                self.wire.upload(&upload, piece).await?;
            } else {
                self.wire.upload_piece(&upload, piece, (sent, count)).await?;
            }
            count += 1;
            sent += length;
            meter.add(length);
        }
    }
}

fn blob_key(blob: &Descriptor) -> String {
    format!("buildkit-blob-1-{}", blob.digest)
}

async fn chunk(
    doing: &str,
    response: &mut Response,
) -> Result<Option<impl AsRef<[u8]> + std::ops::Deref<Target = [u8]> + use<>>, DepotError> {
    response.chunk().await.map_err(|error| unreachable(doing, error))
}
