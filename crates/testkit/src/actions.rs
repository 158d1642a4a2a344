//! GitHub's cache service as its clients know it, in both versions.
//!
//! Entries can be written once. A look-up finds the newest whole one whose key begins with what
//! is asked for. The service wants its token; the storage behind it wants a signature in the
//! address, and refuses whoever shows it the token.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::registry::LoggedRequest;
use crate::registry::wire::{Request, Response};
use crate::service::Service;

const FIRST: &str = "/_apis/artifactcache/";
const SECOND: &str = "/twirp/github.actions.results.api.v1.CacheService/";
/// What signed addresses have in them.
pub const SIGNATURE: &str = "sig=signed-and-secret";

/// A cache service that lives as long as this value.
#[derive(Debug)]
pub struct TestActions(Service<State>);

#[derive(Debug)]
struct State {
    address: SocketAddr,
    token: String,
    entries: Vec<Entry>,
    /// Requests that are still answered with 503.
    busy: u32,
}

#[derive(Debug, Default)]
struct Entry {
    key: String,
    version: String,
    bytes: Vec<u8>,
    blocks: BTreeMap<String, Vec<u8>>,
    whole: bool,
}

impl TestActions {
    /// A service for a workflow on `branch`, which may read `main` too.
    pub fn start(branch: &str) -> Self {
        let token = token(branch);
        let state = |address| State { address, token, entries: Vec::new(), busy: 0 };
        Self(Service::start(state, answer))
    }

    /// The service's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.0.address)
    }

    /// The token of the workflow.
    pub fn token(&self) -> String {
        self.0.state().token.clone()
    }

    /// The keys of all whole entries, in the order in which they came.
    pub fn keys(&self) -> Vec<String> {
        let state = self.0.state();
        state.entries.iter().filter(|it| it.whole).map(|it| it.key.clone()).collect()
    }

    /// The bytes of an entry.
    pub fn entry(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.0.state();
        state.entries.iter().find(|it| it.whole && it.key == key).map(|it| it.bytes.clone())
    }

    /// Changes the bytes of every entry whose key begins with `prefix`.
    pub fn change(&self, prefix: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.0.state();
        let all = state.entries.iter_mut().filter(|it| it.key.starts_with(prefix));
        all.for_each(|entry| change(&mut entry.bytes));
    }

    /// Answers the next requests with 503.
    pub fn is_busy(&self, times: u32) {
        self.0.state().busy = times;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.0.requests()
    }
}

fn token(branch: &str) -> String {
    let access =
        json!([{"Scope": branch, "Permission": 3}, {"Scope": "refs/heads/main", "Permission": 1}]);
    let claims = json!({"ac": access.to_string(), "nbf": 0, "exp": 4_000_000_000_u32});
    format!("e30.{}.signature", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

fn answer(state: &mut State, request: &Request) -> Response {
    if state.busy > 0 {
        state.busy -= 1;
        return Response::new(503).header("retry-after", "0");
    }
    let path = request.path().to_owned();
    if let Some(number) = path.strip_prefix("/storage/") {
        let signed =
            request.target.contains(SIGNATURE) && request.header("authorization").is_none();
        let at = number.parse::<usize>().ok().filter(|_| signed);
        return at.map_or(Response::new(403), |at| storage(state, request, at));
    }
    if request.header("authorization") != Some(&format!("Bearer {}", state.token)) {
        return Response::new(401).body(r#"{"message":"who are you?"}"#);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if let Some(name) = path.strip_prefix(SECOND) {
        return second(state, name, &body);
    }
    match path.strip_prefix(FIRST) {
        Some(name) => first(state, request, name, &body),
        None => Response::new(404),
    }
}

fn first(state: &mut State, request: &Request, name: &str, body: &Value) -> Response {
    let number = name.strip_prefix("caches/").and_then(|it| it.parse::<usize>().ok());
    let entry = number.and_then(|it| state.entries.get_mut(it.checked_sub(1)?));
    match (request.method.as_str(), name, entry) {
        ("GET", "cache", _) => {
            let ask = |name| request.query(name).unwrap_or_default();
            match state.find(&ask("keys"), &ask("version")) {
                Some((key, at)) => ok(&json!({"cacheKey": key, "archiveLocation": state.at(at)})),
                None => Response::new(204),
            }
        }
        ("POST", "caches", _) => match state.reserve(body) {
            Some(at) => ok(&json!({"cacheId": at + 1})),
            None => taken("typeKey", "ArtifactCacheItemAlreadyExistsException"),
        },
        ("PATCH", _, Some(entry)) => {
            let range = request.header("content-range").unwrap_or_default();
            let start = range.trim_start_matches("bytes ").split('-').next();
            let start = start.and_then(|it| it.parse::<usize>().ok()).unwrap_or(0);
            let end = start + request.body.len();
            if entry.bytes.len() < end {
                entry.bytes.resize(end, 0);
            }
            entry.bytes[start..end].copy_from_slice(&request.body);
            Response::new(204)
        }
        ("POST", _, Some(entry)) if body["size"] == entry.bytes.len() => {
            entry.whole = true;
            Response::new(204)
        }
        _ => Response::new(400),
    }
}

fn second(state: &mut State, name: &str, body: &Value) -> Response {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    match name {
        "GetCacheEntryDownloadURL" => match state.find(&text("key"), &text("version")) {
            Some((key, at)) => {
                ok(&json!({"ok": true, "signed_download_url": state.at(at), "matched_key": key}))
            }
            None => ok(&json!({"ok": false, "signed_download_url": "", "matched_key": ""})),
        },
        "CreateCacheEntry" => match state.reserve(body) {
            Some(at) => ok(&json!({"ok": true, "signed_upload_url": state.at(at)})),
            None => taken("code", "already_exists"),
        },
        "FinalizeCacheEntryUpload" => {
            let (key, size) = (text("key"), &body["size_bytes"]);
            let entry = state.entries.iter_mut().find(|it| it.key == key);
            let entry = entry.filter(|it| *size == it.bytes.len());
            let done = entry.map(|entry| entry.whole = true).is_some();
            ok(&json!({"ok": done, "entry_id": "1"}))
        }
        _ => Response::new(404),
    }
}

/// Azure's, as far as it is used.
fn storage(state: &mut State, request: &Request, at: usize) -> Response {
    let Some(entry) = state.entries.get_mut(at) else { return Response::new(404) };
    let comp = request.query("comp");
    match (request.method.as_str(), comp.as_deref()) {
        ("GET", None) => Response::new(200).body(entry.bytes.clone()),
        ("PUT", Some("block")) => {
            let id = request.query("blockid").unwrap_or_default();
            entry.blocks.insert(id, request.body.clone());
            Response::new(201)
        }
        ("PUT", Some("blocklist")) => {
            let list = String::from_utf8_lossy(&request.body).into_owned();
            let ids = list.split("<Latest>").skip(1).filter_map(|it| it.split('<').next());
            entry.bytes = ids.flat_map(|id| entry.blocks[id].clone()).collect();
            Response::new(201)
        }
        ("PUT", None) if request.header("x-ms-blob-type") == Some("BlockBlob") => {
            entry.bytes.clone_from(&request.body);
            Response::new(201)
        }
        _ => Response::new(400),
    }
}

impl State {
    fn find(&self, prefix: &str, version: &str) -> Option<(String, usize)> {
        let fits = |it: &Entry| it.whole && it.version == version && it.key.starts_with(prefix);
        let at = self.entries.iter().rposition(fits)?;
        Some((self.entries[at].key.clone(), at))
    }

    fn reserve(&mut self, body: &Value) -> Option<usize> {
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        if self.entries.iter().any(|it| it.key == key && it.version == version) {
            return None;
        }
        self.entries.push(Entry { key, version, ..Entry::default() });
        Some(self.entries.len() - 1)
    }

    fn at(&self, at: usize) -> String {
        format!("http://{}/storage/{at}?{SIGNATURE}", self.address)
    }
}

fn ok(body: &Value) -> Response {
    Response::new(200).body(body.to_string())
}

fn taken(field: &str, kind: &str) -> Response {
    let body = json!({field: kind, "message": "Cache already exists."});
    Response::new(409).body(body.to_string())
}
