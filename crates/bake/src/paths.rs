//! Paths as texts, as Go's `path` has them.

/// The shortest path that means the same: without `.`, without `..` where that is known, without
/// double slashes. Nothing is `.`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Whether `name` matches a shell pattern: `*`, `?`, `[a-z]`, `[^a-z]`, `\`. No star goes over a
/// slash. A pattern that is none matches nothing.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if let Some(next) = name.get(n).and_then(|letter| one(&pattern, p, *letter)) {
            (p, n) = (next, n + 1);
            continue;
        }
        match star {
            Some((at, from)) if from < name.len() && name[from] != '/' => {
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
            _ => return false,
        }
    }
}

/// Where the pattern goes on if what is at `p` matches `letter`.
fn one(pattern: &[char], p: usize, letter: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => (letter != '/').then_some(p + 1),
        '\\' => (*pattern.get(p + 1)? == letter).then_some(p + 2),
        '[' => class(pattern, p + 1, letter),
        other => (other == letter).then_some(p + 1),
    }
}

fn class(pattern: &[char], mut p: usize, letter: char) -> Option<usize> {
    let negated = *pattern.get(p)? == '^';
    p += usize::from(negated);
    let (mut found, mut first) = (false, true);
    while first || *pattern.get(p)? != ']' {
        first = false;
        let low = *pattern.get(p)?;
        p += 1;
        let mut high = low;
        if *pattern.get(p)? == '-' {
            high = *pattern.get(p + 1)?;
            p += 2;
        }
        found |= (low..=high).contains(&letter);
    }
    (found != negated).then_some(p + 1)
}

#[cfg(test)]
mod tests {
    use super::{clean, matches};

    #[test]
    fn a_path_is_cleaned_without_looking_at_files() {
        let table = [
            ("", "."),
            ("./a//b/../c/", "a/c"),
            ("../../a", "../../a"),
            ("/../a/.", "/a"),
            ("a/..", "."),
            ("/", "/"),
        ];
        for (path, cleaned) in table {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn a_pattern_matches_names() {
        let table = [
            ("*", "app", true),
            ("app-*", "app-1", true),
            ("app-*", "web", false),
            ("*-[0-9]", "app-1", true),
            ("*-[^0-9]", "app-1", false),
            ("a?p", "app", true),
            ("[", "a", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("", "", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
