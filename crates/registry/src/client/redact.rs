//! URLs without what is secret in them.
//!
//! User and password, the query (pre-signed URLs carry their signature there) and the
//! fragment never leave this module.

use reqwest::Url;

/// `url` as it may be shown.
pub(crate) fn url(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}://{host}{port}{}{query}", url.scheme(), url.path())
}

/// The same for text that may or may not be a URL.
pub(crate) fn url_text(text: &str) -> String {
    match Url::parse(text) {
        Ok(parsed) if parsed.has_host() => url(&parsed),
        _ => "…".to_owned(),
    }
}

/// Text of a stranger, for a message: one line, no control characters, not long.
pub(crate) fn foreign_text(text: &str) -> String {
    const LIMIT: usize = 300;
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .take(LIMIT)
        .collect();
    if text.chars().nth(LIMIT).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_url_are_not_shown() {
        let cases = [
            ("https://user:pw@host:8443/a/b?X-Amz-Signature=s#f", "https://host:8443/a/b?…"),
            ("https://host/a", "https://host/a"),
            ("not a url with token=x", "…"),
            ("data:text/plain,secret", "…"),
        ];
        for (text, shown) in cases {
            assert_eq!(url_text(text), shown);
        }
    }

    #[test]
    fn foreign_text_is_short_and_in_one_line() {
        assert_eq!(foreign_text("a\n\u{1b}[31mb\t"), "a  [31mb");
        assert_eq!(foreign_text(&"x".repeat(1000)).chars().count(), 301);
    }
}
