//! A real registry in the process, on loopback, that misbehaves when it is told to.
//!
//! It holds manifests and blobs in memory, speaks the distribution specification over
//! HTTP/1.1 (pull with ranges, every way to push, mounts, tags) and can ask for
//! credentials. [`Fault`]s change the answers to chosen requests; a log of all requests
//! lets tests say what went over the wire and what did not.

mod auth;
mod fault;
mod routes;
pub(crate) mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bakehouse_model::Digest;

use crate::image::TestImage;

pub use auth::Access;
pub use fault::{Effect, Fault};
pub use wire::LoggedRequest;

/// A registry that lives as long as this value.
#[derive(Debug)]
pub struct TestRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
}

/// What it holds.
#[derive(Debug, Default)]
struct State {
    host: String,
    access: Access,
    /// Tokens it gave out, and the scopes they are good for.
    tokens: BTreeMap<String, BTreeSet<String>>,
    token_count: u64,
    blobs: BTreeMap<Digest, Vec<u8>>,
    /// Which repository shows which blob.
    links: BTreeSet<(String, Digest)>,
    /// By repository and tag or digest: media type and bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: BTreeMap<u64, Vec<u8>>,
    upload_count: u64,
    /// Other files, by path.
    files: BTreeMap<String, File>,
    absolute_locations: bool,
    faults: Vec<Fault>,
    log: Vec<LoggedRequest>,
    open: Vec<TcpStream>,
}

/// A file outside `/v2/`.
#[derive(Debug, Clone)]
struct File {
    bytes: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl TestRegistry {
    /// A registry that is open to everybody.
    pub fn start() -> Self {
        Self::with_access(Access::Open)
    }

    /// A registry that asks for credentials.
    pub fn with_access(access: Access) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = State { host: address.to_string(), access, ..State::default() };
        let shared = Arc::new(Shared { stopped: AtomicBool::new(false), state: Mutex::new(state) });
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &for_thread));
        Self { address, shared }
    }

    /// `127.0.0.1:PORT`, as references name it.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Keeps a blob and shows it in `repository`.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut state = self.state();
        state.blobs.insert(digest.clone(), bytes.to_vec());
        state.links.insert((repository.to_owned(), digest.clone()));
        digest
    }

    /// Keeps a manifest or index under its digest and `name`, which is a tag.
    pub fn put_manifest(
        &self,
        repository: &str,
        name: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Digest {
        let digest = Digest::of(bytes);
        let mut state = self.state();
        for key in [name, digest.as_str()] {
            let entry = (media_type.to_owned(), bytes.to_vec());
            state.manifests.insert((repository.to_owned(), key.to_owned()), entry);
        }
        digest
    }

    /// Keeps an image with all its blobs.
    pub fn put_image(&self, repository: &str, tag: &str, image: &TestImage) -> Digest {
        for blob in image.blobs() {
            self.put_blob(repository, blob);
        }
        self.put_manifest(repository, tag, image.media_type, &image.manifest)
    }

    /// Serves `bytes` at `path`, outside `/v2/`, with more headers. Knows `Range`, and
    /// `If-Range` with the `ETag` or `Last-Modified` that the headers have.
    pub fn put_file(&self, path: &str, bytes: &[u8], headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let file = File { bytes: bytes.to_vec(), headers: headers.collect() };
        self.state().files.insert(path.to_owned(), file);
    }

    /// The blob, wherever it is shown.
    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.state().blobs.get(digest).cloned()
    }

    /// Whether `repository` shows the blob.
    pub fn shows(&self, repository: &str, digest: &Digest) -> bool {
        self.state().links.contains(&(repository.to_owned(), digest.clone()))
    }

    /// The manifest at a tag or digest.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let found = state.manifests.get(&(repository.to_owned(), name.to_owned()));
        found.map(|(_, bytes)| bytes.clone())
    }

    /// Loses every blob of `repository`, as a sweep does.
    pub fn lose_blobs(&self, repository: &str) {
        self.state().links.retain(|(of, _)| of != repository);
    }

    /// Makes every token that was given out worthless.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// Names upload places with scheme and host instead of a path.
    pub fn use_absolute_locations(&self) {
        self.state().absolute_locations = true;
    }

    /// Misbehaves from now on. Of several faults that match, the first one acts.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Every request so far, in the order of their answers.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.state().log.clone()
    }

    /// How many requests with this method have `part` in their path and query.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let state = self.state();
        let matching = |r: &&LoggedRequest| r.method == method && r.target.contains(part);
        state.log.iter().filter(matching).count()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        drop(TcpStream::connect(self.address));
        for open in &self.state().open {
            // Its client may have gone already.
            drop(open.shutdown(Shutdown::Both));
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        // Head and body are two writes, and the second must not wait for an answer to the first.
        stream.set_nodelay(true).ok();
        if let Ok(again) = stream.try_clone() {
            shared.state().open.push(again);
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || serve(&stream, &shared));
    }
}

/// Answers requests of one connection until it ends.
fn serve(stream: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Ok(Some(mut request)) = wire::read_request(&mut reader) {
        let response = {
            let mut state = shared.state();
            let effects = fault::take(&mut state.faults, &request);
            if effects.contains(&Effect::IgnoreRange) {
                request.headers.remove("range");
            }
            let right = match effects.iter().find(|effect| effect.replaces()) {
                Some(effect) => effect.response(),
                None => routes::answer(&mut state, &request),
            };
            effects.iter().fold(right, fault::changed)
        };
        shared.state().log.push(request.logged(response.status));
        match wire::write_response(&mut writer, &request, &response) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    // The other side may be gone already.
    drop(stream.shutdown(Shutdown::Both));
}
