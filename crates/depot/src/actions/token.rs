//! The token of a workflow: which scopes it may read, and which one it may write.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::DepotError;

/// The bits of a permission.
const READ: u32 = 1;
const WRITE: u32 = 2;

/// What a token allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scopes {
    /// Scopes that may be read, in their order.
    pub(super) readable: Vec<String>,
    /// The scope that is written to.
    pub(super) writable: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    /// A JSON document in a string.
    ac: String,
}

#[derive(Deserialize)]
struct Access {
    #[serde(rename = "Scope")]
    scope: String,
    #[serde(rename = "Permission")]
    permission: u32,
}

/// What the token says of itself. Whether it is right to is for the service to find out.
pub(super) fn scopes(token: &str) -> Result<Scopes, DepotError> {
    let none = || DepotError::Token { why: "does not say what it allows" };
    let mut parts = token.split('.');
    let claims = parts.nth(1).ok_or_else(none)?;
    let claims = URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).map_err(|_| none())?;
    let claims: Claims = serde_json::from_slice(&claims).map_err(|_| none())?;
    let all: Vec<Access> = serde_json::from_str(&claims.ac).map_err(|_| none())?;
    let may = |bit: u32| {
        let with = all.iter().filter(move |access| access.permission & bit != 0);
        with.map(|access| access.scope.clone())
    };
    Ok(Scopes { readable: may(READ).collect(), writable: may(WRITE).next_back() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_what_may_be_read_and_written() {
        let ac = r#"[{\"Scope\":\"refs/heads/b\",\"Permission\":3},{\"Scope\":\"refs/heads/main\",\"Permission\":1}]"#;
        let found = scopes(&token(&format!("{{\"ac\":\"{ac}\",\"exp\":1}}"))).unwrap();
        let readable = ["refs/heads/b", "refs/heads/main"].map(str::to_owned).to_vec();
        assert_eq!(found, Scopes { readable, writable: Some("refs/heads/b".to_owned()) });
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_shown() {
        for text in ["", "hunter2", "a.b.c", &token("{}"), &token("{\"ac\":\"hunter2\"}")] {
            let error = scopes(text).unwrap_err();
            assert_eq!(
                error.to_string(),
                "the token of the cache service does not say what it allows"
            );
        }
    }
}
