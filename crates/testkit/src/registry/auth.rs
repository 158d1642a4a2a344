//! Who may do what.

use std::collections::BTreeSet;

use super::State;
use super::wire::{Request, Response, form_values};

/// Whom the registry lets in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who shows name and password with every request.
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// Who shows a token of the service at `/token`.
    Bearer {
        /// The name that the service wants.
        user: String,
        /// The password that it wants.
        password: String,
        /// An identity token that is as good as name and password.
        identity: Option<String>,
        /// Whether nobody may read.
        anonymous_pull: bool,
    },
}

impl Access {
    /// Name and password `user` and `secret` with every request.
    pub fn basic() -> Self {
        Self::Basic { user: "user".to_owned(), password: "secret".to_owned() }
    }

    /// Tokens for `user` and `secret`, and tokens to read for everybody.
    pub fn bearer() -> Self {
        Self::Bearer {
            user: "user".to_owned(),
            password: "secret".to_owned(),
            identity: Some("identity-token".to_owned()),
            anonymous_pull: true,
        }
    }
}

/// The answer to who may not do `scope`; none to who may.
pub(crate) fn refuse(state: &State, request: &Request, scope: &str) -> Option<Response> {
    let shown = request.header("authorization");
    let unauthorized = |challenge: String| {
        let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
        Some(Response::new(401).header("www-authenticate", challenge).body(body))
    };
    match &state.access {
        Access::Open => None,
        Access::Basic { user, password } => {
            let wanted = format!("Basic {}", base64(&format!("{user}:{password}")));
            if shown == Some(wanted.as_str()) {
                return None;
            }
            unauthorized(r#"Basic realm="test""#.to_owned())
        }
        Access::Bearer { .. } => {
            let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
            if token.is_some_and(|token| is_good(state, token, scope)) {
                return None;
            }
            let realm = format!("http://{}/token", state.host);
            unauthorized(format!(r#"Bearer realm="{realm}",service="test",scope="{scope}""#))
        }
    }
}

/// Whether a token is good for `repository:NAME:ACTION` (or for anything, if empty).
pub(crate) fn is_good(state: &State, token: &str, scope: &str) -> bool {
    let Some(granted) = state.tokens.get(token) else { return false };
    scope.is_empty() || granted.contains(scope)
}

/// `/token`.
pub(crate) fn give_token(state: &mut State, request: &Request) -> Response {
    let Access::Bearer { user, password, identity, anonymous_pull } = &state.access else {
        return Response::new(404);
    };
    let form = String::from_utf8_lossy(&request.body).into_owned();
    let field = |name: &str| form_values(&form, name).into_iter().next();
    let basic = format!("Basic {}", base64(&format!("{user}:{password}")));
    let (known, asked) = match request.method.as_str() {
        "POST" => {
            let known = field("refresh_token").is_some() && field("refresh_token") == *identity;
            (Some(known), field("scope").unwrap_or_default())
        }
        _ => {
            let shown = request.header("authorization");
            (shown.map(|shown| shown == basic), request.query_all("scope").join(" "))
        }
    };
    if known == Some(false) {
        return Response::new(401).body(r#"{"details":"incorrect username or password"}"#);
    }
    let all = known == Some(true);
    let mut granted = BTreeSet::new();
    for scope in asked.split_whitespace() {
        let Some((resource, actions)) = scope.rsplit_once(':') else { continue };
        let allowed = actions.split(',').filter(|a| all || (*a == "pull" && *anonymous_pull));
        granted.extend(allowed.map(|action| format!("{resource}:{action}")));
    }
    state.token_count += 1;
    let token = format!("token-{}", state.token_count);
    state.tokens.insert(token.clone(), granted);
    Response::new(200).body(format!(r#"{{"token":"{token}","expires_in":300}}"#))
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            encoded.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_everybody_does() {
        for (text, encoded) in [("", ""), ("u", "dQ=="), ("u:", "dTo="), ("u:p", "dTpw")] {
            assert_eq!(base64(text), encoded);
        }
    }
}
