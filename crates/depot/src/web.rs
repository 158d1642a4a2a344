//! Requests, made again where that may help.
//!
//! What may pass by itself is tried again: 429, 5xx, connections that cannot be made or break.
//! Connections to this machine never go through a proxy. Errors have no addresses in them.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

use crate::DepotError;

const CONNECT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const IDLE: Duration = Duration::from_secs(60);
/// Requests in all for one answer, and the wait after the first, which doubles.
const ATTEMPTS: u32 = 5;
const WAIT: Duration = Duration::from_millis(300);
/// The longest `Retry-After` that is obeyed.
const LONGEST: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER: usize = 64 << 10;

/// The connections.
#[derive(Debug)]
pub(crate) struct Web {
    near: Client,
    far: Client,
    /// How long one answer may take with all attempts.
    timeout: Duration,
}

impl Web {
    pub(crate) fn new(user_agent: &str, timeout: Duration) -> Result<Self, DepotError> {
        let client = || {
            Client::builder()
                .user_agent(user_agent)
                .retry(reqwest::retry::never())
                .connect_timeout(CONNECT)
                .read_timeout(IDLE)
                .referer(false)
        };
        let built = |builder: reqwest::ClientBuilder| {
            let doing = "set up the HTTP client".to_owned();
            builder.build().map_err(|source| DepotError::Unreachable { doing, source })
        };
        Ok(Self { near: built(client().no_proxy())?, far: built(client())?, timeout })
    }

    /// The client for `url`.
    pub(crate) fn client(&self, url: &reqwest::Url) -> &Client {
        let near = url.scheme() == "http"
            && url.host_str().is_some_and(|host| {
                let bare = host.trim_matches(['[', ']']);
                host == "localhost"
                    || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
            });
        if near { &self.near } else { &self.far }
    }

    /// Sends what `request` makes until there is an answer that stays.
    pub(crate) async fn send(
        &self,
        doing: &str,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Response, DepotError> {
        let slow = || DepotError::Slow { doing: doing.to_owned(), seconds: self.timeout.as_secs() };
        tokio::time::timeout(self.timeout, attempts(doing, request)).await.map_err(|_| slow())?
    }
}

async fn attempts(
    doing: &str,
    request: impl Fn() -> RequestBuilder,
) -> Result<Response, DepotError> {
    let mut made = 0;
    loop {
        let answer = request().send().await;
        made += 1;
        let wait = match &answer {
            Ok(response) if !is_temporary(response.status()) => None,
            Ok(response) => {
                let asked = response.headers().get(RETRY_AFTER);
                let asked = asked.and_then(|it| it.to_str().ok()?.trim().parse().ok());
                let wait = asked.map_or(WAIT * 2_u32.pow(made - 1), Duration::from_secs);
                Some(wait).filter(|wait| *wait <= LONGEST)
            }
            Err(error) if error.is_builder() => None,
            Err(_) => Some(WAIT * 2_u32.pow(made - 1)),
        };
        match wait {
            Some(wait) if made < ATTEMPTS => tokio::time::sleep(wait).await,
            _ => return answer.map_err(|error| unreachable(doing, error)),
        }
    }
}

/// A broken connection, without the address.
pub(crate) fn unreachable(doing: &str, error: reqwest::Error) -> DepotError {
    DepotError::Unreachable { doing: doing.to_owned(), source: error.without_url() }
}

fn is_temporary(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// The body of a short answer.
pub(crate) async fn body(doing: &str, mut response: Response) -> Result<Vec<u8>, DepotError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(doing, error))? {
        if body.len() + chunk.len() > ANSWER {
            let (doing, why) = (doing.to_owned(), "the answer does not end".to_owned());
            return Err(DepotError::Protocol { doing, why });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
