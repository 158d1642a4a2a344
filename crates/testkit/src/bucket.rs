//! As much of S3 as caches need: objects of one bucket, by path, whole, in ranges and in parts.
//! Every request must be signed with the one key that there is; the signature is not computed.

use std::collections::BTreeMap;

use crate::registry::LoggedRequest;
use crate::registry::wire::{Request, Response};
use crate::service::Service;

/// The bucket's name.
pub const BUCKET: &str = "caches";
/// The id of the key.
pub const KEY_ID: &str = "AKIATEST";
/// When objects say that they were written.
const RECENT: &str = "Fri, 01 Jan 2100 00:00:00 GMT";
const OLD: &str = "Mon, 01 Jan 2024 00:00:00 GMT";

/// A bucket that lives as long as this value.
#[derive(Debug)]
pub struct TestBucket(Service<State>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    is_old: bool,
}

impl TestBucket {
    /// An empty one.
    pub fn start() -> Self {
        Self(Service::start(|_| State::default(), answer))
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.0.address)
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.0.state().objects.keys().cloned().collect()
    }

    /// An object.
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.0.state().objects.get(name).cloned()
    }

    /// Writes an object.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.0.state().objects.insert(name.to_owned(), bytes.to_vec());
    }

    /// Says of every object that it is old.
    pub fn grow_old(&self) {
        self.0.state().is_old = true;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.0.requests()
    }
}

fn answer(state: &mut State, request: &Request) -> Response {
    let signed = format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/");
    if !request.header("authorization").is_some_and(|it| it.starts_with(&signed)) {
        return Response::new(403).body("<Error><Code>AccessDenied</Code></Error>");
    }
    let path = request.path().replace("%3A", ":");
    let Some(name) = path.strip_prefix(&format!("/{BUCKET}/")) else { return Response::new(404) };
    let name = name.to_owned();
    let upload = request.query("uploadId");
    match (request.method.as_str(), upload) {
        ("GET" | "HEAD", _) => read(state, request, &name),
        ("PUT", None) => {
            state.objects.insert(name, request.body.clone());
            Response::new(200).header("etag", "\"e\"")
        }
        ("POST", None) => {
            state.uploads.insert(name.clone(), BTreeMap::new());
            Response::new(200).body(format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{name}</Key>\
                 <UploadId>u</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        ("PUT", Some(_)) => {
            let part = request.query("partNumber").and_then(|it| it.parse().ok()).unwrap_or(0);
            state.uploads.entry(name).or_default().insert(part, request.body.clone());
            Response::new(200).header("etag", "\"p\"")
        }
        ("POST", Some(_)) => {
            let parts = state.uploads.remove(&name).unwrap_or_default();
            state.objects.insert(name.clone(), parts.into_values().flatten().collect());
            Response::new(200).body(format!(
                "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{name}</Key>\
                 <ETag>\"e\"</ETag></CompleteMultipartUploadResult>"
            ))
        }
        _ => Response::new(400),
    }
}

fn read(state: &State, request: &Request, name: &str) -> Response {
    let Some(bytes) = state.objects.get(name) else {
        return Response::new(404).body("<Error><Code>NoSuchKey</Code></Error>");
    };
    let modified = if state.is_old { OLD } else { RECENT };
    let response =
        |status| Response::new(status).header("last-modified", modified).header("etag", "\"e\"");
    let range = request.header("range").and_then(|it| it.strip_prefix("bytes="));
    let Some((start, end)) = range.and_then(|range| range.split_once('-')) else {
        return response(200).body(bytes.clone());
    };
    let start = start.parse::<usize>().unwrap_or(0);
    let end = end.parse::<usize>().map_or(bytes.len(), |end| (end + 1).min(bytes.len()));
    if start >= end {
        return Response::new(416);
    }
    let said = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    response(206).header("content-range", said).body(&bytes[start..end])
}
