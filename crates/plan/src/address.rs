//! Addresses, as they may be shown: what may be a password is in no message, name or event.

/// An address without what may be a password, whatever is before it, and so are those after it.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let name = scheme.to_ascii_lowercase();
    let is_http = name.ends_with("http") || name.ends_with("https");
    let shown = match authority.rfind('@') {
        Some(at) if is_http || authority[..at].contains(':') => {
            format!("xxxxx{}", &authority[at..])
        }
        _ => authority.to_owned(),
    };
    format!("{scheme}://{shown}{}", without_password(after))
}

/// A line of words without what may be a password in the addresses among them.
pub fn without_passwords(line: &str) -> String {
    if !line.contains("://") {
        return line.to_owned();
    }
    let words: Vec<String> = line.split(' ').map(without_password).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_passwords() {
        let cases = [
            ("https://user:pass@host/x", "https://xxxxx@host/x"),
            ("https://user:p@ss@host/x", "https://xxxxx@host/x"),
            ("HTTPS://token@host", "HTTPS://xxxxx@host"),
            ("https://token@host/x?a=b@c", "https://xxxxx@host/x?a=b@c"),
            ("https://host/x@y", "https://host/x@y"),
            ("ssh://git@host/x", "ssh://git@host/x"),
            ("ssh://git:pass@host/x", "ssh://xxxxx@host/x"),
            ("git@host:x", "git@host:x"),
            ("[\"https://token@host/x\",", "[\"https://xxxxx@host/x\","),
            ("--url=https://token@host", "--url=https://xxxxx@host"),
            ("a=https://u:p@x/,b=https://u:q@y", "a=https://xxxxx@x/,b=https://xxxxx@y"),
        ];
        for (url, expected) in cases {
            assert_eq!(without_password(url), expected);
            assert_eq!(without_passwords(&format!("ADD {url}  /")), format!("ADD {expected}  /"));
        }
    }
}
