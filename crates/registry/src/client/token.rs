//! Tokens from the service that a registry names.
//!
//! A name and password are shown as Basic to a GET; an identity token goes into the body
//! of a POST, as OAuth 2 has it. Who has neither asks as nobody, which public images
//! want. The request says which scopes, several at once where a mount needs them.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use super::endpoint::Trust;
use super::exchange::{Ask, is_temporary, may_pass_transport, read_answer, wants_wait};
use super::http::{HttpError, Payload, Request, read_body};
use super::{ClientError, Shared, session};
use crate::auth::{Challenge, Credential, Secret, check_realm, is_loopback};

/// Larger answers hold no token.
const LIMIT: u64 = 1 << 20;
/// What the specification says where the service does not.
const DEFAULT_LIFE: u64 = 60;
const CLIENT_ID: &str = "bakehouse";

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Shared {
    /// A token for the scopes of `ask`: one that is known, or a new one.
    pub(crate) async fn token(
        &self,
        ask: &Ask<'_>,
        challenge: &Challenge,
        registry: &Url,
    ) -> Result<Secret, ClientError> {
        let host = &ask.endpoint.host;
        let key = (host.clone(), ask.scopes.join(" "));
        if let Some(known) = self.sessions.token(host, &key.1) {
            return Ok(known);
        }
        let _alone = self.sessions.flights.enter(key.clone()).await;
        if let Some(known) = self.sessions.token(host, &key.1) {
            return Ok(known);
        }
        let credential = self.sessions.credential(host).await;
        if let Some(Credential::Bearer(token)) = credential {
            return Ok(token);
        }
        let (request, authorization) = token_request(ask, challenge, registry, credential)?;
        let mut response = self.ask_service(ask, &request, authorization).await?;
        let (token, life) = read_token(ask, &mut response).await?;
        self.sessions.keep(key, token.clone(), Duration::from_secs(life));
        Ok(token)
    }

    async fn ask_service(
        &self,
        ask: &Ask<'_>,
        request: &Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, ClientError> {
        let mut made = 0;
        loop {
            let result = self.http.send(request, authorization.as_ref()).await;
            made += 1;
            let (again, asked_for) = match &result {
                Ok(response) if response.status().is_success() => (false, None),
                Ok(response) => (is_temporary(response.status()), wants_wait(response)),
                Err(HttpError::Transport(error)) => (may_pass_transport(error, made), None),
                Err(HttpError::Protocol(_)) => (false, None),
            };
            let wait = self.config.retry.wait(made, asked_for).filter(|_| again);
            match (wait, result) {
                (Some(wait), _) => tokio::time::sleep(wait).await,
                (None, Ok(response)) if response.status().is_success() => return Ok(response),
                (None, Ok(response)) => return Err(self.service_refusal(ask, response).await),
                (None, Err(HttpError::Transport(source))) => return Err(ask.unreachable(source)),
                (None, Err(HttpError::Protocol(fault))) => return Err(ask.protocol(fault)),
            }
        }
    }

    /// A token service says 400 or 401 to a wrong password; both mean the same.
    async fn service_refusal(&self, ask: &Ask<'_>, mut response: Response) -> ClientError {
        let host = ask.endpoint.host.clone();
        if response.status() != 400 || !self.sessions.knows_us(&host) {
            return self.refusal(ask, response).await;
        }
        let answer = read_answer(&mut response).await;
        ClientError::Unauthorized {
            what: ask.what.to_owned(),
            host,
            with_credentials: true,
            answer,
        }
    }
}

fn token_request(
    ask: &Ask<'_>,
    challenge: &Challenge,
    registry: &Url,
    credential: Option<Credential>,
) -> Result<(Request, Option<HeaderValue>), ClientError> {
    let Challenge::Bearer { realm, service, scope } = challenge else {
        return Err(ask.protocol("it wants a token and names no service"));
    };
    let mut url = check_realm(registry, realm)
        .map_err(|source| ClientError::Realm { host: ask.endpoint.host.clone(), source })?;
    let scopes = merged(&ask.scopes, scope.as_deref());
    let mut headers = HeaderMap::new();
    let own = url.host_str() == registry.host_str();
    let trust = match url.host_str() {
        Some(host) if is_loopback(host) => Trust::Loopback,
        _ if own => ask.endpoint.trust,
        _ => Trust::Verified,
    };
    let (method, payload, authorization) = match credential {
        Some(Credential::Identity(token)) => {
            let form = refresh_form(&token, service.as_deref(), &scopes);
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form_type);
            (Method::POST, Payload::Bytes(form.into_bytes()), None)
        }
        other => {
            let mut query = url.query_pairs_mut();
            query.extend_pairs(service.as_deref().map(|service| ("service", service)));
            query.extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
            let authorization = match other {
                Some(Credential::Password { user, password }) => {
                    query.append_pair("account", &user);
                    session::basic(&user, &password)
                }
                _ => None,
            };
            drop(query);
            (Method::GET, Payload::Empty, authorization)
        }
    };
    Ok((Request { method, url, headers, payload, trust, downgrade: false }, authorization))
}

fn refresh_form(token: &Secret, service: Option<&str>, scopes: &[String]) -> String {
    // A URL's query is such a form.
    let mut form = Url::parse("http://form/").expect("a literal URL is one");
    form.query_pairs_mut()
        .append_pair("grant_type", "refresh_token")
        .append_pair("client_id", CLIENT_ID)
        .extend_pairs(service.map(|service| ("service", service)))
        .append_pair("scope", &scopes.join(" "))
        .append_pair("refresh_token", token.reveal());
    form.query().unwrap_or_default().to_owned()
}

async fn read_token(ask: &Ask<'_>, response: &mut Response) -> Result<(Secret, u64), ClientError> {
    let (body, more) =
        read_body(response, LIMIT).await.map_err(|source| ask.unreachable(source))?;
    let answer = serde_json::from_slice::<Answer>(&body).ok().filter(|_| !more);
    let token = answer.as_ref().and_then(|answer| {
        let own = [&answer.token, &answer.access_token];
        own.into_iter().flatten().find(|token| !token.is_empty())
    });
    let Some(token) = token else {
        return Err(ask.protocol("its token service gave no token"));
    };
    let life = answer.as_ref().and_then(|answer| answer.expires_in).unwrap_or(DEFAULT_LIFE);
    Ok((Secret::new(token), life))
}

/// What we need and what the registry says was missing, one scope per resource.
fn merged(ours: &[String], theirs: Option<&str>) -> Vec<String> {
    let mut by_resource: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let theirs = theirs.into_iter().flat_map(str::split_ascii_whitespace).take(16);
    for scope in ours.iter().map(String::as_str).chain(theirs) {
        let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
        let known = by_resource.entry(resource).or_default();
        for action in actions.split(',').filter(|action| !action.is_empty()) {
            if !known.contains(&action) {
                known.push(action);
            }
        }
    }
    by_resource
        .into_iter()
        .map(|(resource, actions)| format!("{resource}:{}", actions.join(",")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_both_sides_are_merged_by_resource() {
        let ours = ["repository:a/b:pull,push".to_owned(), "repository:c:pull".to_owned()];
        assert_eq!(
            merged(&ours, Some("repository:a/b:pull junk repository:d:*")),
            ["repository:a/b:pull,push", "repository:c:pull", "repository:d:*"]
        );
        assert_eq!(merged(&ours[1..], None), ["repository:c:pull"]);
    }

    #[test]
    fn an_identity_token_travels_in_the_body_and_is_escaped() {
        let form = refresh_form(&Secret::new("a+b/c="), Some("r"), &["s:x:pull".to_owned()]);
        assert_eq!(
            form,
            "grant_type=refresh_token&client_id=bakehouse&service=r&scope=s%3Ax%3Apull&refresh_token=a%2Bb%2Fc%3D"
        );
    }
}
