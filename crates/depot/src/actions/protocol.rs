//! The two languages of GitHub's cache service.
//!
//! | | first | second |
//! |---|---|---|
//! | look up | `GET cache?keys=…` | `GetCacheEntryDownloadURL` |
//! | reserve | `POST caches` | `CreateCacheEntry` |
//! | upload | `PATCH caches/ID`, with ranges | `PUT` to a signed address of Azure's storage |
//! | finish | `POST caches/ID` | `FinalizeCacheEntryUpload` |

use bakehouse_model::{Digest, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::DepotError;
use crate::web::{Web, body};

const FIRST: &str = "_apis/artifactcache/";
const SECOND: &str = "twirp/github.actions.results.api.v1.CacheService/";
/// The version of Azure's protocol.
const AZURE: &str = "2023-11-03";

/// A connection to the service.
#[derive(Debug)]
pub(super) struct Wire {
    web: Web,
    base: Url,
    second: bool,
    token: Secret,
    /// What tells the entries of one program from those of others.
    version: String,
}

/// An entry that is there.
pub(super) struct Entry {
    pub(super) key: String,
    /// Where it is; whoever knows it may read.
    pub(super) url: Url,
}

/// What came of asking for a key.
pub(super) enum Reserved {
    /// It may be written.
    Mine(Upload),
    /// Somebody has it, and may not be ready with it.
    Taken,
}

/// An entry that is being written.
pub(super) struct Upload {
    key: String,
    /// Where to.
    to: Url,
}

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "cacheKey", alias = "matched_key", default)]
    key: String,
    #[serde(rename = "archiveLocation", alias = "signed_download_url", default)]
    url: String,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "cacheId", alias = "cacheID", default)]
    id: u64,
    #[serde(default)]
    signed_upload_url: String,
}

/// What either version says when it refuses.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Refusal {
    #[serde(rename = "typeKey")]
    kind: String,
    code: String,
    message: String,
    msg: String,
}

impl Wire {
    pub(super) fn new(
        web: Web,
        url: &str,
        second: bool,
        token: Secret,
    ) -> Result<Self, DepotError> {
        let path = if second { SECOND } else { FIRST };
        let base = format!("{}/{path}", url.trim_end_matches('/'));
        let base = Url::parse(&base).ok().filter(|it| matches!(it.scheme(), "http" | "https"));
        let base = base.ok_or_else(|| DepotError::Settings {
            why: "the address of the cache service is none".to_owned(),
        })?;
        let version = Digest::of("|go-actionscache-1.0").hex().to_owned();
        Ok(Self { web, base, second, token, version })
    }

    /// The newest entry whose key begins with `key`.
    pub(super) async fn find(&self, key: &str) -> Result<Option<Entry>, DepotError> {
        let doing = "look into the cache service";
        let response = if self.second {
            let asked = json!({"key": key, "restore_keys": [key], "version": self.version});
            self.ask(doing, "GetCacheEntryDownloadURL", &asked).await?
        } else {
            let mut url = self.place("cache")?;
            url.query_pairs_mut().append_pair("keys", key).append_pair("version", &self.version);
            self.web.send(doing, || self.first(self.web.client(&url).get(url.clone()))).await?
        };
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let bytes = self.good(doing, response).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let found: Found = read(doing, &bytes)?;
        // Where there is nothing, both are empty. Other keys are of other entries.
        match address(&found.url) {
            Some(url) if found.key.starts_with(key) => Ok(Some(Entry { key: found.key, url })),
            _ => Ok(None),
        }
    }

    /// Takes a key.
    pub(super) async fn reserve(&self, key: &str) -> Result<Reserved, DepotError> {
        let doing = "write to the cache service";
        let asked = json!({"key": key, "version": self.version});
        let name = if self.second { "CreateCacheEntry" } else { "caches" };
        let response = self.ask(doing, name, &asked).await?;
        let status = response.status();
        let bytes = body(doing, response).await?;
        if !status.is_success() {
            let refusal: Refusal = serde_json::from_slice(&bytes).unwrap_or_default();
            if status == StatusCode::CONFLICT || refusal.is_taken() {
                return Ok(Reserved::Taken);
            }
            return Err(refused(doing, status, &bytes));
        }
        let made: Made = read(doing, &bytes)?;
        let to = if self.second {
            address(&made.signed_upload_url)
        } else {
            Some(self.place(&format!("caches/{}", made.id))?).filter(|_| made.id != 0)
        };
        let to = to.ok_or_else(|| protocol(doing, "it does not say where to write to"))?;
        Ok(Reserved::Mine(Upload { key: key.to_owned(), to }))
    }

    /// Sends all of an entry at once.
    pub(super) async fn upload(&self, upload: &Upload, bytes: Vec<u8>) -> Result<(), DepotError> {
        if !self.second {
            return self.upload_piece(upload, bytes, (0, 0)).await;
        }
        self.azure(upload.to.clone(), bytes, true).await
    }

    /// Sends a piece of an entry: where it begins, and how many came before.
    pub(super) async fn upload_piece(
        &self,
        upload: &Upload,
        bytes: Vec<u8>,
        (start, number): (u64, u32),
    ) -> Result<(), DepotError> {
        if self.second {
            let mut to = upload.to.clone();
            let block = block(number);
            to.query_pairs_mut().append_pair("comp", "block").append_pair("blockid", &block);
            return self.azure(to, bytes, false).await;
        }
        let doing = "write to the cache service";
        let bytes = bytes::Bytes::from(bytes);
        let end = (start + bytes.len() as u64).saturating_sub(1);
        let request = || {
            self.first(self.web.client(&upload.to).patch(upload.to.clone()))
                .header("content-type", "application/octet-stream")
                .header("content-range", format!("bytes {start}-{end}/*"))
                .body(bytes.clone())
        };
        let response = self.web.send(doing, request).await?;
        self.good(doing, response).await.map(drop)
    }

    /// Ends an entry of `size` bytes that came in `count` pieces.
    pub(super) async fn commit(
        &self,
        upload: &Upload,
        size: u64,
        count: u32,
    ) -> Result<(), DepotError> {
        let doing = "write to the cache service";
        if !self.second {
            let asked = json!({"size": size}).to_string();
            let request = || {
                self.first(self.web.client(&upload.to).post(upload.to.clone()))
                    .header("content-type", "application/json")
                    .body(asked.clone())
            };
            let response = self.web.send(doing, request).await?;
            return self.good(doing, response).await.map(drop);
        }
        if count > 1 {
            let blocks: String =
                (0..count).map(|at| format!("<Latest>{}</Latest>", block(at))).collect();
            let list = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>"
            );
            let mut to = upload.to.clone();
            to.query_pairs_mut().append_pair("comp", "blocklist");
            self.azure(to, list.into_bytes(), false).await?;
        }
        let asked = json!({"key": upload.key, "size_bytes": size, "version": self.version});
        let response = self.ask(doing, "FinalizeCacheEntryUpload", &asked).await?;
        let done: Value = read(doing, &self.good(doing, response).await?)?;
        match done["ok"].as_bool() {
            Some(true) => Ok(()),
            _ => Err(protocol(doing, "it does not take what was written")),
        }
    }

    /// Fetches from an address that somebody signed.
    pub(super) async fn get(&self, doing: &str, url: &Url) -> Result<Response, DepotError> {
        self.web.send(doing, || self.web.client(url).get(url.clone())).await
    }

    async fn azure(&self, to: Url, bytes: Vec<u8>, whole: bool) -> Result<(), DepotError> {
        let doing = "write to the storage of the cache service";
        let bytes = bytes::Bytes::from(bytes);
        let request = || {
            let request = self.web.client(&to).put(to.clone()).header("x-ms-version", AZURE);
            let request =
                if whole { request.header("x-ms-blob-type", "BlockBlob") } else { request };
            request.body(bytes.clone())
        };
        let response = self.web.send(doing, request).await?;
        self.good(doing, response).await.map(drop)
    }

    async fn ask(&self, doing: &str, name: &str, asked: &Value) -> Result<Response, DepotError> {
        let url = self.place(name)?;
        let asked = asked.to_string();
        let request = || {
            let request = self.web.client(&url).post(url.clone());
            let request = if self.second { self.signed(request) } else { self.first(request) };
            request.header("content-type", "application/json").body(asked.clone())
        };
        self.web.send(doing, request).await
    }

    fn place(&self, name: &str) -> Result<Url, DepotError> {
        let joined = self.base.join(name);
        joined.map_err(|_| protocol("look into the cache service", "its address is none"))
    }

    fn first(&self, request: RequestBuilder) -> RequestBuilder {
        self.signed(request).header("accept", "application/json;api-version=6.0-preview.1")
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.token.reveal())
    }

    async fn good(&self, doing: &str, response: Response) -> Result<Vec<u8>, DepotError> {
        let status = response.status();
        let bytes = body(doing, response).await?;
        if status.is_success() { Ok(bytes) } else { Err(refused(doing, status, &bytes)) }
    }
}

impl Refusal {
    fn is_taken(&self) -> bool {
        let said = format!("{} {}", self.message, self.msg).to_ascii_lowercase();
        self.kind.contains("AlreadyExists")
            || self.code == "already_exists"
            || said.contains("already exists")
    }
}

/// The name of a block, as Azure wants it: all of one length.
fn block(number: u32) -> String {
    STANDARD.encode(format!("{number:08}"))
}

fn address(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))
}

fn read<T: DeserializeOwned>(doing: &str, bytes: &[u8]) -> Result<T, DepotError> {
    serde_json::from_slice(bytes).map_err(|_| protocol(doing, "its answer is no JSON of the kind"))
}

fn protocol(doing: &str, why: &str) -> DepotError {
    DepotError::Protocol { doing: doing.to_owned(), why: why.to_owned() }
}

/// Of what the service says, only its own message is told: the rest may be anything.
fn refused(doing: &str, status: StatusCode, bytes: &[u8]) -> DepotError {
    let refusal: Refusal = serde_json::from_slice(bytes).unwrap_or_default();
    let said = [refusal.message, refusal.msg].into_iter().find(|said| !said.is_empty());
    let said = said.map(|said| {
        let clean = said.chars().filter(|c| !c.is_control()).take(200);
        format!(": {}", clean.collect::<String>())
    });
    let said = said.unwrap_or_default();
    DepotError::Refused { doing: doing.to_owned(), status: status.as_u16(), said }
}
