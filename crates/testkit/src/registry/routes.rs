//! The distribution specification, from the server's side.

use bakehouse_model::Digest;
use bakehouse_model::oci::{Index, Manifest};

use super::wire::{Request, Response};
use super::{File, State, auth};

/// The right answer.
pub(crate) fn answer(state: &mut State, request: &Request) -> Response {
    let path = request.path().to_owned();
    if path == "/token" {
        return auth::give_token(state, request);
    }
    if let Some(file) = state.files.get(&path) {
        return serve_file(file, request);
    }
    let Some(rest) = path.strip_prefix("/v2/") else { return Response::new(404) };
    if rest.is_empty() {
        return auth::refuse(state, request, "").unwrap_or_else(|| Response::new(200).body("{}"));
    }
    let Some((repository, kind, name)) = split(rest) else { return Response::new(404) };
    let action = if matches!(request.method.as_str(), "GET" | "HEAD") { "pull" } else { "push" };
    let scope = format!("repository:{repository}:{action}");
    if let Some(refusal) = auth::refuse(state, request, &scope) {
        return refusal;
    }
    match (kind, request.method.as_str()) {
        ("manifests", "GET" | "HEAD") => get_manifest(state, repository, name),
        ("manifests", "PUT") => put_manifest(state, repository, name, request),
        ("uploads", _) => upload(state, repository, name, request),
        ("blobs", "GET" | "HEAD") => get_blob(state, repository, name, request),
        ("tags", "GET") => tags(state, repository),
        _ => Response::new(405),
    }
}

/// Repository, kind and the rest.
fn split(path: &str) -> Option<(&str, &str, &str)> {
    for (mark, kind) in [
        ("/blobs/uploads/", "uploads"),
        ("/blobs/", "blobs"),
        ("/manifests/", "manifests"),
        ("/tags/", "tags"),
    ] {
        if let Some((repository, name)) = path.rsplit_once(mark) {
            return Some((repository, kind, name));
        }
    }
    None
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{code} here"}}]}}"#);
    Response::new(status).header("content-type", "application/json").body(body)
}

fn get_manifest(state: &State, repository: &str, name: &str) -> Response {
    match state.manifests.get(&(repository.to_owned(), name.to_owned())) {
        None => error(404, "MANIFEST_UNKNOWN"),
        Some((media_type, bytes)) => Response::new(200)
            .header("content-type", media_type.as_str())
            .header("docker-content-digest", Digest::of(bytes).as_str())
            .body(bytes.as_slice()),
    }
}

fn put_manifest(state: &mut State, repository: &str, name: &str, request: &Request) -> Response {
    let digest = Digest::of(&request.body);
    if name.starts_with("sha256:") && name != digest.as_str() {
        return error(400, "DIGEST_INVALID");
    }
    let has_manifest = |child: &Digest| {
        state.manifests.contains_key(&(repository.to_owned(), child.as_str().to_owned()))
    };
    let has_blob = |blob: &Digest| state.links.contains(&(repository.to_owned(), blob.clone()));
    let complete = if let Ok(manifest) = serde_json::from_slice::<Manifest>(&request.body) {
        let blobs = manifest.layers.iter().chain([&manifest.config]);
        blobs.map(|blob| &blob.digest).all(has_blob)
    } else if let Ok(index) = serde_json::from_slice::<Index>(&request.body) {
        index.manifests.iter().map(|child| &child.digest).all(has_manifest)
    } else {
        return error(400, "MANIFEST_INVALID");
    };
    if !complete {
        return error(404, "MANIFEST_BLOB_UNKNOWN");
    }
    let media_type = request.header("content-type").unwrap_or_default().to_owned();
    for key in [name, digest.as_str()] {
        let entry = (media_type.clone(), request.body.clone());
        state.manifests.insert((repository.to_owned(), key.to_owned()), entry);
    }
    Response::new(201).header("docker-content-digest", digest.as_str())
}

fn get_blob(state: &State, repository: &str, name: &str, request: &Request) -> Response {
    let digest: Result<Digest, _> = name.parse();
    let found =
        digest.ok().filter(|digest| state.links.contains(&(repository.to_owned(), digest.clone())));
    match found.and_then(|digest| state.blobs.get(&digest)) {
        None => error(404, "BLOB_UNKNOWN"),
        Some(bytes) => ranged(bytes, request).header("docker-content-digest", name),
    }
}

/// The bytes, or the part of them that is asked for.
fn ranged(bytes: &[u8], request: &Request) -> Response {
    let whole = || Response::new(200).header("accept-ranges", "bytes").body(bytes);
    let range = request.header("range").and_then(|text| text.strip_prefix("bytes="));
    let Some((start, end)) = range.and_then(|range| range.split_once('-')) else { return whole() };
    let Ok(start) = start.parse::<usize>() else { return whole() };
    let end = end.parse::<usize>().map_or(bytes.len(), |last| (last + 1).min(bytes.len()));
    if start >= end {
        let range = format!("bytes */{}", bytes.len());
        return Response::new(416).header("content-range", range);
    }
    let range = format!("bytes {start}-{}/{}", end - 1, bytes.len());
    Response::new(206).header("content-range", range).body(&bytes[start..end])
}

fn serve_file(file: &File, request: &Request) -> Response {
    let get = |wanted: &str| {
        let found = file.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    };
    let condition = request.header("if-range");
    let same = condition.is_none() || condition == get("etag") || condition == get("last-modified");
    let response = if same {
        ranged(&file.bytes, request)
    } else {
        Response::new(200).body(file.bytes.as_slice())
    };
    file.headers.iter().fold(response, |response, (name, value)| response.header(name, value))
}

fn upload(state: &mut State, repository: &str, name: &str, request: &Request) -> Response {
    match request.method.as_str() {
        "POST" => begin_upload(state, repository, request),
        "PATCH" => {
            let Some(upload) = name.parse().ok().and_then(|id| state.uploads.get_mut(&id)) else {
                return error(404, "BLOB_UPLOAD_UNKNOWN");
            };
            upload.extend_from_slice(&request.body);
            let end = upload.len().saturating_sub(1);
            let place = place(state, repository, name);
            Response::new(202).header("location", place).header("range", format!("0-{end}"))
        }
        "PUT" => {
            let Some(mut bytes) = name.parse().ok().and_then(|id| state.uploads.remove(&id)) else {
                return error(404, "BLOB_UPLOAD_UNKNOWN");
            };
            bytes.extend_from_slice(&request.body);
            finish_upload(state, repository, bytes, request)
        }
        "DELETE" => {
            let known = name.parse().ok().and_then(|id| state.uploads.remove(&id));
            Response::new(if known.is_some() { 204 } else { 404 })
        }
        _ => Response::new(405),
    }
}

fn begin_upload(state: &mut State, repository: &str, request: &Request) -> Response {
    let digest: Option<Digest> = request.query("mount").and_then(|text| text.parse().ok());
    if let (Some(digest), Some(from)) = (digest, request.query("from")) {
        let readable = auth::refuse(state, request, &format!("repository:{from}:pull")).is_none();
        if readable && state.links.contains(&(from, digest.clone())) {
            state.links.insert((repository.to_owned(), digest.clone()));
            return Response::new(201).header("docker-content-digest", digest.as_str());
        }
    } else if request.query("digest").is_some() {
        return finish_upload(state, repository, request.body.clone(), request);
    }
    state.upload_count += 1;
    let id = state.upload_count;
    state.uploads.insert(id, Vec::new());
    Response::new(202).header("location", place(state, repository, &id.to_string()))
}

fn finish_upload(
    state: &mut State,
    repository: &str,
    bytes: Vec<u8>,
    request: &Request,
) -> Response {
    let digest = Digest::of(&bytes);
    if request.query("digest").as_deref() != Some(digest.as_str()) {
        return error(400, "DIGEST_INVALID");
    }
    state.links.insert((repository.to_owned(), digest.clone()));
    state.blobs.insert(digest.clone(), bytes);
    Response::new(201).header("docker-content-digest", digest.as_str())
}

fn place(state: &State, repository: &str, name: &str) -> String {
    let path = format!("/v2/{repository}/blobs/uploads/{name}?_state=a%2Fb");
    if state.absolute_locations { format!("http://{}{path}", state.host) } else { path }
}

fn tags(state: &State, repository: &str) -> Response {
    let names = state.manifests.keys().filter(|(of, name)| of == repository && !name.contains(':'));
    let names: Vec<String> = names.map(|(_, name)| format!("\"{name}\"")).collect();
    let body = format!(r#"{{"name":"{repository}","tags":[{}]}}"#, names.join(","));
    Response::new(200).header("content-type", "application/json").body(body)
}
