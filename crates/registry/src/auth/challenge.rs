//! Reads `WWW-Authenticate`.
//!
//! The header comes from strangers: whatever it holds, the reader ends, keeps at most
//! what [`LIMIT`] allows, and gives the challenges that it understood.

/// Longer headers are cut here.
const LIMIT: usize = 8 << 10;

/// One way to authenticate that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from a service.
    Bearer {
        /// The service's URL.
        realm: String,
        /// What to call the registry there.
        service: Option<String>,
        /// What the refused request would have needed.
        scope: Option<String>,
    },
}

/// The challenges in `headers` that this program can answer, in order.
pub(crate) fn challenges<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Challenge> {
    headers.into_iter().flat_map(read).filter_map(Raw::understood).collect()
}

#[derive(Debug)]
struct Raw {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Raw {
    fn understood(self) -> Option<Challenge> {
        let get = |wanted: &str| {
            let found = self.parameters.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        match self.scheme.as_str() {
            "basic" => Some(Challenge::Basic),
            "bearer" => Some(Challenge::Bearer {
                realm: get("realm")?,
                service: get("service"),
                scope: get("scope"),
            }),
            _ => None,
        }
    }
}

fn read(header: &str) -> Vec<Raw> {
    let end = (0..=header.len().min(LIMIT)).rev().find(|at| header.is_char_boundary(*at));
    let mut rest = &header[..end.unwrap_or(0)];
    let mut found: Vec<Raw> = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        let Some(first) = rest.chars().next() else { return found };
        let (word, after) = split_token(rest);
        if word.is_empty() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        match (after.trim_start().strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, after) = split_value(value.trim_start());
                challenge.parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            (Some(value), None) => rest = split_value(value.trim_start()).1,
            (None, _) => {
                found.push(Raw { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A quoted string with its escapes resolved, or everything up to a comma or blank.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/debian:pull,push""#;
        let cases = [
            (
                hub,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/debian:pull,push"),
                )],
            ),
            (r#"Basic realm="Sonatype Nexus""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (
                "BEARER  realm = https://a/t , service=x",
                vec![bearer("https://a/t", Some("x"), None)],
            ),
            (
                r#"Negotiate, Basic realm="a, b=\"c\"", Bearer realm="https://a/t""#,
                vec![Challenge::Basic, bearer("https://a/t", None, None)],
            ),
        ];
        for (header, expected) in cases {
            assert_eq!(challenges([header]), expected, "{header}");
        }
    }

    #[test]
    fn no_mixture_of_its_characters_stops_the_reader() {
        let alphabet: Vec<char> = "bearerBasic realm=\"\\,;= \té\u{1f4a9}".chars().collect();
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                usize::try_from(state >> 40).unwrap()
            };
            let length = next() % 40;
            let header: String = (0..length).map(|_| alphabet[next() % alphabet.len()]).collect();
            challenges([header.as_str()]);
        }
    }

    #[test]
    fn junk_ends_and_gives_nothing() {
        let long = "Bearer ".repeat(100_000);
        let cases = [
            "",
            ",,,",
            "=",
            "=\"",
            "realm=\"x",
            "Bearer",
            "Bearer realm=",
            "Bearer realm=\"\"",
            "Digest qop=\"auth\"",
            "\u{fffd}\u{1f4a9} \u{e9}",
            "Bearer service=\"x\\",
            long.as_str(),
        ];
        for header in cases {
            assert_eq!(challenges([header]), [], "{header:.40}");
        }
    }
}
