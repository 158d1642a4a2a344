//! Paths from the root of the repository, by their letters alone.
//!
//! A path that has been placed begins with `./`, `../` or `/`, so it cannot be taken for a URL or a
//! service however folders are called; [`bare`] takes the `./` away again.

/// `path` as seen from folder `base`, placed and normalised.
pub(crate) fn place(base: &str, path: &str) -> String {
    let joined = join(base, path);
    if joined.starts_with('/') || joined == ".." || joined.starts_with("../") {
        joined
    } else {
        format!("./{joined}")
    }
}

/// A placed path as results have it: `.` for the root, and no `./` in front.
pub(crate) fn bare(placed: &str) -> &str {
    match placed.strip_prefix("./") {
        Some("") => ".",
        Some(path) => path,
        None => placed,
    }
}

/// Whether a result's path points out of the repository.
pub(crate) fn leaves(path: &str) -> bool {
    path.starts_with('/') || path.starts_with('~') || path == ".." || path.starts_with("../")
}

/// `path` as seen from folder `base`, normalised; the root is empty.
pub(crate) fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let absolute = path.starts_with('/') || base.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let lead = if absolute { "/" } else { "" };
    format!("{lead}{}", parts.join("/"))
}

/// The folder that a file is in; the root is empty.
pub(crate) fn folder(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{bare, folder, join, leaves, place};

    #[test]
    fn a_path_is_joined_and_normalised() {
        let table = [
            ("", ".", "."),
            ("a", ".", "a"),
            ("a", "..", "."),
            ("a/b", "../c/./d//", "a/c/d"),
            ("a", "../../c", "../c"),
            ("..", "../c", "../../c"),
            ("a", "/x/../y", "/y"),
            ("a", "/..", "/"),
            ("", "github.com/x", "github.com/x"),
        ];
        for (base, path, expected) in table {
            assert_eq!(bare(&place(base, path)), expected, "{base} {path}");
        }
        assert_eq!(join("", "."), "");
    }

    #[test]
    fn a_path_that_leaves_is_recognised() {
        let table = [
            ("..", true),
            ("../a", true),
            ("/a", true),
            ("~/a", true),
            ("..a", false),
            (".", false),
        ];
        for (path, expected) in table {
            assert_eq!(leaves(path), expected, "{path}");
        }
        assert_eq!(
            (folder("a/b/c"), folder("c"), folder("/c")),
            ("a/b".into(), "".into(), "/".into())
        );
    }
}
