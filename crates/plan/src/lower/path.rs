//! Slash-separated paths, with the rules of Go's `path` package and of BuildKit's `system`.

/// `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !rooted => parts.push(".."),
                _ => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// `path.Join` of two.
pub(crate) fn join(a: &str, b: &str) -> String {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean(b),
        (false, true) => clean(a),
        (false, false) => clean(&format!("{a}/{b}")),
    }
}

/// `path.Base`.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None => "/",
        Some(name) => name,
    }
}

/// BuildKit's `system.NormalizePath` for Linux: absolute, joined to `parent` if it is not.
pub(crate) fn normalise(parent: &str, path: &str, keep_slash: bool) -> String {
    let parent = if parent.is_empty() { "/" } else { parent };
    let parent = if parent.starts_with('/') { parent.to_owned() } else { join("/", parent) };
    let mut new = match path {
        "" => parent,
        path if path.starts_with('/') => path.to_owned(),
        path => join(&parent, path),
    };
    if keep_slash {
        if path.ends_with('/') && !new.ends_with('/') {
            new.push('/');
        } else if path.ends_with("/.") {
            if new != "/" {
                new.push('/');
            }
            new.push('.');
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        let cases = [
            ("", "."),
            ("/", "/"),
            ("a/b/../c", "a/c"),
            ("/..", "/"),
            ("../a", "../a"),
            ("a//b/./c/", "a/b/c"),
            ("/../a", "/a"),
            ("a/..", "."),
            ("../../x/..", "../.."),
        ];
        for (path, expected) in cases {
            assert_eq!(clean(path), expected, "{path}");
        }
        assert_eq!((base("/a/b/"), base("/"), base("")), ("b", "/", "."));
    }

    #[test]
    fn a_final_slash_is_kept_where_it_means_into() {
        let cases = [
            ("/w", "x", true, "/w/x"),
            ("/w", "x/", true, "/w/x/"),
            ("/w", "./", true, "/w/"),
            ("/", "./", true, "/"),
            ("/w", "/a/.", true, "/a/./."),
            ("/w", "", false, "/w"),
            ("", "x", false, "/x"),
            ("/w", "..", false, "/"),
        ];
        for (parent, path, keep, expected) in cases {
            assert_eq!(normalise(parent, path, keep), expected, "{parent} {path}");
        }
    }
}
