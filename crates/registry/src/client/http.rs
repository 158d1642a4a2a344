//! One HTTP exchange: connections, redirects, time limits. Knows nothing of registries.
//!
//! Connections to this machine never go through a proxy. Redirects are followed here and
//! not by the library below, so that credentials stay with the origin they were meant
//! for. Every wait has a limit; a transfer may take as long as it likes while it moves.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bakehouse_store::Meter;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Method, Response, StatusCode, Url, redirect};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::TransportError;
use super::endpoint::Trust;
use super::upload_body::UploadBody;
use crate::auth::is_loopback;

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come or go.
pub(crate) const IDLE: Duration = Duration::from_secs(60);
/// How long a server may think after it has got everything: some copy the blob first.
const COMMIT: Duration = Duration::from_secs(300);
/// How long a document may take in all, however slowly it drips.
const DOCUMENT: Duration = Duration::from_secs(180);
const REDIRECTS: usize = 10;

/// The runtime, started at the first use. Nothing that runs on it may own it.
#[derive(Debug, Default)]
pub(crate) struct LazyRuntime {
    started: Mutex<Option<Arc<Runtime>>>,
}

impl LazyRuntime {
    /// The runtime.
    pub(crate) fn get(&self) -> Result<Arc<Runtime>, TransportError> {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*started {
            return Ok(Arc::clone(runtime));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(32)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(|source| TransportError::Runtime { source })?;
        let runtime = Arc::new(runtime);
        *started = Some(Arc::clone(&runtime));
        Ok(runtime)
    }

    #[cfg(test)]
    pub(crate) fn is_started(&self) -> bool {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Drop for LazyRuntime {
    fn drop(&mut self) {
        let started = self.started.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = started.and_then(Arc::into_inner) {
            // Idle connections are all that is left; nobody waits for them.
            runtime.shutdown_background();
        }
    }
}

/// The connections.
pub(crate) struct Http {
    user_agent: String,
    clients: [OnceLock<reqwest::Client>; 3],
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// One request, which can be sent again.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) trust: Trust,
    /// Whether a redirect from https to http is followed.
    pub(crate) downgrade: bool,
}

/// What a request carries.
#[derive(Debug, Clone, Default)]
pub(crate) enum Payload {
    /// Nothing.
    #[default]
    Empty,
    /// A document.
    Bytes(Vec<u8>),
    /// A blob of the store.
    File(UploadBody),
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The network failed.
    Transport(TransportError),
    /// The server answered with nonsense.
    Protocol(&'static str),
}

impl From<TransportError> for HttpError {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

impl Http {
    pub(crate) fn new(user_agent: &str) -> Self {
        Self { user_agent: user_agent.to_owned(), clients: Default::default() }
    }

    fn client(&self, trust: Trust) -> Result<reqwest::Client, TransportError> {
        let slot = &self.clients[trust as usize];
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(&self.user_agent)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT)
            .referer(false)
            .http2_adaptive_window(true)
            .tcp_keepalive(Duration::from_secs(30));
        if trust == Trust::Loopback {
            builder = builder.no_proxy();
        }
        if trust != Trust::Verified {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        let doing = "the HTTP client cannot be set up";
        let client = builder.build().map_err(|source| TransportError::Http { doing, source })?;
        Ok(slot.get_or_init(|| client).clone())
    }

    /// Sends `request`, and the authorization to its own origin only. The response may
    /// come from another one, if a redirect led there.
    pub(crate) async fn send(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, HttpError> {
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let own = same_origin(&url, &request.url);
            let authorization = authorization.filter(|_| own);
            let response = self.once(request, &url, authorization).await?;
            let readable = matches!(request.method, Method::GET | Method::HEAD);
            if !(readable && is_redirect(response.status())) {
                return Ok(response);
            }
            let next = location(&response).ok_or(HttpError::Protocol("a redirect to nowhere"))?;
            if url.scheme() == "https" && next.scheme() == "http" && !request.downgrade {
                return Err(HttpError::Protocol("a redirect from https to http"));
            }
            url = next;
        }
        Err(HttpError::Protocol("too many redirects"))
    }

    async fn once(
        &self,
        request: &Request,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, HttpError> {
        let same_host = url.host_str() == request.url.host_str();
        let trust = if same_host { request.trust } else { trust_of(url) };
        let mut builder = self
            .client(trust)?
            .request(request.method.clone(), url.clone())
            .headers(request.headers.clone());
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization.clone());
        }
        let sent = Meter::default();
        let total = match &request.payload {
            Payload::Empty => 0,
            Payload::Bytes(bytes) => {
                builder = builder.body(bytes.clone());
                0
            }
            Payload::File(file) => {
                builder = builder.body(reqwest::Body::wrap(file.start(sent.clone())?));
                file.size()
            }
        };
        let mut pending = Box::pin(builder.send());
        let mut seen = 0;
        loop {
            let whole = sent.done() >= total && total > 0;
            let limit = if whole { COMMIT } else { IDLE };
            match timeout(limit, &mut pending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(broken(error).into()),
                Err(_) if sent.done() > seen => seen = sent.done(),
                Err(_) => return Err(TransportError::Idle { seconds: limit.as_secs() }.into()),
            }
        }
    }
}

/// The next piece of a body; none at its end.
pub(crate) async fn next_chunk(
    response: &mut Response,
) -> Result<Option<impl AsRef<[u8]> + use<>>, TransportError> {
    match timeout(IDLE, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(TransportError::Idle { seconds: IDLE.as_secs() }),
    }
}

/// At most `limit` bytes of a document, and whether there were more.
pub(crate) async fn read_body(
    response: &mut Response,
    limit: u64,
) -> Result<(Vec<u8>, bool), TransportError> {
    let slow = TransportError::Slow { seconds: DOCUMENT.as_secs() };
    timeout(DOCUMENT, read_all(response, limit)).await.unwrap_or(Err(slow))
}

async fn read_all(response: &mut Response, limit: u64) -> Result<(Vec<u8>, bool), TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(response).await? {
        let room = usize::try_from(limit).unwrap_or(usize::MAX) - body.len();
        let chunk = chunk.as_ref();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, true));
        }
        body.extend_from_slice(chunk);
    }
    Ok((body, false))
}

fn broken(error: reqwest::Error) -> TransportError {
    let doing = if error.is_connect() {
        "the connection cannot be made"
    } else if error.is_timeout() {
        "the connection took too long"
    } else {
        "the connection broke"
    };
    // The URL may hold secrets, and the caller names what was asked for.
    TransportError::Http { doing, source: error.without_url() }
}

fn trust_of(url: &Url) -> Trust {
    let plain = url.scheme() == "http" && url.host_str().is_some_and(is_loopback);
    if plain { Trust::Loopback } else { Trust::Verified }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a response points to, as an http or https URL.
pub(crate) fn location(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let url = response.url().join(location).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Whether two URLs have scheme, host and port in common.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}
