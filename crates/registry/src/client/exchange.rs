//! One question to a registry and its answer: authentication, retries, typed refusals.
//!
//! The order of things: which of http and https the endpoint speaks (asked once), the
//! request with whatever authorization is known, on 401 the challenge's answer and the
//! same request again, on what may pass by itself a wait and everything once more.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;

use super::endpoint::{Endpoint, Scheme};
use super::error::Subject;
use super::http::{HttpError, Payload, Request, read_body, same_origin};
use super::retry::retry_after;
use super::{Answer, ClientError, Shared, TransportError, redact, session};
use crate::auth::{Challenge, Credential, challenges};

/// Bodies of refusals are read up to here.
const REFUSAL: u64 = 64 << 10;
/// How long a mirror is waited for.
const MIRROR_WAIT: Duration = Duration::from_secs(3);

/// A question to a registry.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) endpoint: &'a Endpoint,
    /// The reference or blob, for messages.
    pub(crate) what: &'a str,
    /// `reading`, `writing`: for messages.
    pub(crate) doing: &'static str,
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    /// Added to the target's own.
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// What a token must be good for.
    pub(crate) scopes: Vec<String>,
    /// Whether it may be asked again after a failure.
    pub(crate) again: bool,
}

/// What a question is about.
#[derive(Debug, Clone)]
pub(crate) enum Target<'a> {
    /// `/v2/REPOSITORY/TAIL`.
    Path { repository: &'a str, tail: String },
    /// A place that the registry named.
    Place(Url),
}

impl<'a> Ask<'a> {
    /// A question that changes nothing.
    pub(crate) fn read(endpoint: &'a Endpoint, what: &'a str, target: Target<'a>) -> Self {
        let scopes = match &target {
            Target::Path { repository, .. } => vec![pull_scope(endpoint, repository)],
            Target::Place(_) => Vec::new(),
        };
        Self {
            endpoint,
            what,
            doing: "reading",
            method: Method::GET,
            target,
            query: Vec::new(),
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            scopes,
            again: true,
        }
    }

    /// A question that changes `repository`.
    pub(crate) fn write(
        endpoint: &'a Endpoint,
        what: &'a str,
        repository: &str,
        target: Target<'a>,
    ) -> Self {
        let scopes = vec![format!("repository:{}:pull,push", endpoint.repository(repository))];
        Self { scopes, doing: "writing", method: Method::PUT, ..Self::read(endpoint, what, target) }
    }

    pub(crate) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn payload(self, payload: Payload) -> Self {
        Self { payload, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn protocol(&self, fault: &'static str) -> ClientError {
        ClientError::Protocol {
            what: self.what.to_owned(),
            host: self.endpoint.host.clone(),
            fault,
        }
    }

    pub(crate) fn unreachable(&self, source: TransportError) -> ClientError {
        ClientError::Unreachable {
            what: self.what.to_owned(),
            host: self.endpoint.host.clone(),
            source,
        }
    }

    fn failed(&self, error: HttpError) -> ClientError {
        match error {
            HttpError::Transport(source) => self.unreachable(source),
            HttpError::Protocol(fault) => self.protocol(fault),
        }
    }
}

/// The right to read `repository`.
pub(crate) fn pull_scope(endpoint: &Endpoint, repository: &str) -> String {
    format!("repository:{}:pull", endpoint.repository(repository))
}

impl Shared {
    /// The answer to `ask`, whatever its status; retried as the policy says.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Response, ClientError> {
        let mut made = 0;
        loop {
            let result = match self.request(ask).await {
                Ok(request) => self.authorised(ask, &request).await,
                Err(error) => Err(error),
            };
            made += 1;
            let (again, asked_for) = match &result {
                Ok(response) => (is_temporary(response.status()), wants_wait(response)),
                Err(error) => (may_pass(error, made), None),
            };
            // A mirror has somebody behind it: one more chance and no long wait.
            let enough = ask.endpoint.is_mirror()
                && (made >= 2 || asked_for.is_some_and(|wait| wait > MIRROR_WAIT));
            let wait = self.config.retry.wait(made, asked_for);
            let wait = wait.filter(|_| again && ask.again && !enough);
            let Some(wait) = wait else { return result };
            tokio::time::sleep(wait).await;
        }
    }

    /// The answer to `ask` if it is a success; else the refusal as an error.
    pub(crate) async fn ok(&self, ask: &Ask<'_>) -> Result<Response, ClientError> {
        let response = self.send(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(ask, response).await)
    }

    async fn request(&self, ask: &Ask<'_>) -> Result<Request, ClientError> {
        let mut url = match &ask.target {
            Target::Place(url) => url.clone(),
            Target::Path { repository, tail } => {
                let tls = self.speaks_tls(ask).await?;
                ask.endpoint
                    .url(tls, repository, tail)
                    .ok_or_else(|| ask.protocol("its name makes no URL"))?
            }
        };
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        Ok(Request {
            method: ask.method.clone(),
            url,
            headers: ask.headers.clone(),
            payload: ask.payload.clone(),
            trust: ask.endpoint.trust,
            downgrade: false,
        })
    }

    /// Whether the endpoint speaks TLS; for those that may do either, whichever answers.
    pub(crate) async fn speaks_tls(&self, ask: &Ask<'_>) -> Result<bool, ClientError> {
        let endpoint = ask.endpoint;
        let order = match endpoint.scheme {
            Scheme::Https => return Ok(true),
            Scheme::Http => return Ok(false),
            Scheme::HttpFirst => [false, true],
            Scheme::HttpsFirst => [true, false],
        };
        if let Some(known) = self.sessions.tls(&endpoint.host) {
            return Ok(known);
        }
        let _alone = self.sessions.flights.enter((endpoint.host.clone(), String::new())).await;
        if let Some(known) = self.sessions.tls(&endpoint.host) {
            return Ok(known);
        }
        let mut first_error = None;
        for tls in order {
            match self.probe(ask, tls).await {
                Ok(()) => {
                    self.sessions.set_tls(&endpoint.host, tls);
                    return Ok(tls);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| ask.protocol("neither http nor https is spoken")))
    }

    async fn probe(&self, ask: &Ask<'_>, tls: bool) -> Result<(), ClientError> {
        let endpoint = ask.endpoint;
        let request = Request {
            method: Method::GET,
            url: endpoint.root(tls).ok_or_else(|| ask.protocol("its name makes no URL"))?,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            trust: endpoint.trust,
            downgrade: false,
        };
        let mut response =
            self.http.send(&request, None).await.map_err(|error| ask.failed(error))?;
        // A TLS server that reads plain HTTP says 400.
        if response.status() == StatusCode::BAD_REQUEST && !tls {
            return Err(ask.protocol("it does not take plain HTTP"));
        }
        if let Some(challenge) = offered(&response).into_iter().next() {
            self.sessions.set_challenge(&endpoint.host, challenge);
        }
        // Read to its end so that the connection can be used again.
        drop(read_body(&mut response, REFUSAL).await);
        Ok(())
    }

    async fn authorised(&self, ask: &Ask<'_>, request: &Request) -> Result<Response, ClientError> {
        let host = &ask.endpoint.host;
        let known = self.sessions.challenge(host);
        let authorization = match &known {
            // Places that a registry names elsewhere get nothing; see `Http::send`.
            Some(challenge) if self.is_own(ask, &request.url) => {
                self.authorization(ask, challenge, &request.url).await?
            }
            _ => None,
        };
        let send = |authorization: Option<HeaderValue>| async move {
            let sent = self.http.send(request, authorization.as_ref()).await;
            sent.map_err(|error| ask.failed(error))
        };
        let mut response = send(authorization).await?;
        let refused = response.status() == StatusCode::UNAUTHORIZED
            && same_origin(response.url(), &request.url)
            && self.is_own(ask, &request.url);
        if !refused {
            return Ok(response);
        }
        let Some(challenge) = self.choose(ask, offered(&response)).await else {
            return Ok(response);
        };
        self.sessions.set_challenge(host, challenge.clone());
        self.sessions.forget(host, &ask.scopes.join(" "));
        let Some(answer) = self.authorization(ask, &challenge, &request.url).await? else {
            return Ok(response);
        };
        drop(read_body(&mut response, REFUSAL).await);
        send(Some(answer)).await
    }

    /// Whether `url` belongs to the endpoint itself.
    fn is_own(&self, ask: &Ask<'_>, url: &Url) -> bool {
        let tls = url.scheme() == "https";
        ask.endpoint.root(tls).is_some_and(|root| same_origin(&root, url))
            && match ask.endpoint.scheme {
                Scheme::Https => tls,
                Scheme::Http => !tls,
                Scheme::HttpFirst | Scheme::HttpsFirst => {
                    self.sessions.tls(&ask.endpoint.host).is_none_or(|known| known == tls)
                }
            }
    }

    async fn choose(&self, ask: &Ask<'_>, offered: Vec<Challenge>) -> Option<Challenge> {
        let basic = offered.contains(&Challenge::Basic);
        let bearer = offered.into_iter().find(|offer| matches!(offer, Challenge::Bearer { .. }));
        if bearer.is_some() {
            return bearer;
        }
        let credential = self.sessions.credential(&ask.endpoint.host).await;
        (basic && matches!(credential, Some(Credential::Password { .. })))
            .then_some(Challenge::Basic)
    }

    /// The header that answers `challenge`; none if there is nothing to say.
    async fn authorization(
        &self,
        ask: &Ask<'_>,
        challenge: &Challenge,
        registry: &Url,
    ) -> Result<Option<HeaderValue>, ClientError> {
        match challenge {
            Challenge::Basic => {
                let credential = self.sessions.credential(&ask.endpoint.host).await;
                let Some(Credential::Password { user, password }) = credential else {
                    return Ok(None);
                };
                Ok(session::basic(&user, &password))
            }
            Challenge::Bearer { .. } => {
                let token = self.token(ask, challenge, registry).await?;
                Ok(session::bearer(&token))
            }
        }
    }

    /// The typed error for an answer that is no success. Reads the body, bounded.
    pub(crate) async fn refusal(&self, ask: &Ask<'_>, mut response: Response) -> ClientError {
        let answer = read_answer(&mut response).await;
        let retry_after_s = wants_wait(&response).map(in_seconds);
        let host = ask.endpoint.host.clone();
        if let (401 | 403, Some(source)) = (answer.status, self.sessions.trouble(&host)) {
            return ClientError::Credentials { host, source };
        }
        let with_credentials = self.sessions.knows_us(&host);
        let subject = Subject { what: ask.what.to_owned(), host, doing: ask.doing };
        ClientError::refused(subject, with_credentials, retry_after_s, answer)
    }
}

/// Seconds for a message.
pub(crate) fn in_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)
}

fn offered(response: &Response) -> Vec<Challenge> {
    let values = response.headers().get_all(WWW_AUTHENTICATE);
    challenges(values.iter().filter_map(|value| value.to_str().ok()))
}

/// Whether a status may pass by itself.
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
}

/// How long the server asks to be left alone.
pub(crate) fn wants_wait(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    retry_after(header, SystemTime::now())
}

/// Whether an error may pass by itself. Somebody who does not pick up at all gets three
/// chances, however patient the policy is.
fn may_pass(error: &ClientError, made: u32) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => may_pass_transport(source, made),
        _ => false,
    }
}

pub(crate) fn may_pass_transport(error: &TransportError, made: u32) -> bool {
    match error {
        TransportError::Http { source, .. } if source.is_builder() => false,
        TransportError::Http { source, .. } => !source.is_connect() || made < 3,
        TransportError::Idle { .. } | TransportError::Slow { .. } => made < 3,
        TransportError::Short { .. } => true,
        TransportError::Read { .. } | TransportError::Runtime { .. } => false,
    }
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<OneError>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// What a refusal says. Whatever cannot be read is left out.
pub(crate) async fn read_answer(response: &mut Response) -> Answer {
    let status = response.status().as_u16();
    let body = read_body(response, REFUSAL).await.map(|(body, _)| body).unwrap_or_default();
    answer(status, &body)
}

fn answer(status: u16, body: &[u8]) -> Answer {
    let nothing = Answer { status, ..Answer::default() };
    let Ok(refusal) = serde_json::from_slice::<Refusal>(body) else { return nothing };
    let shown = |text: String| Some(redact::foreign_text(&text)).filter(|text| !text.is_empty());
    match refusal.errors.into_iter().next() {
        Some(first) => Answer {
            code: first.code.and_then(shown),
            message: first.message.and_then(shown),
            ..nothing
        },
        None => Answer { message: refusal.details.or(refusal.message).and_then(shown), ..nothing },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_every_form_that_registries_use() {
        let cases = [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"x":1}}]}"#,
                "status 404, MANIFEST_UNKNOWN (manifest unknown)",
            ),
            (r#"{"errors":[{"code":"DENIED","message":""}]}"#, "status 404, DENIED"),
            (
                r#"{"details":"incorrect username or password"}"#,
                "status 404 (incorrect username or password)",
            ),
            (r#"{"message":"a\nb"}"#, "status 404 (a b)"),
            ("<html>not found</html>", "status 404"),
            ("", "status 404"),
            (r#"{"errors":"x"}"#, "status 404"),
        ];
        for (body, shown) in cases {
            assert_eq!(answer(404, body.as_bytes()).to_string(), format!(": {shown}"));
        }
    }
}
