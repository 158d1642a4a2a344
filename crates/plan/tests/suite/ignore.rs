//! Ignore patterns: what moby's matcher does, path by path.

use bakehouse_plan::dockerfile::ignore::{MatchInfo, Matcher, PatternError, read_patterns};

/// The answer of the three ways to ask, which must be one.
fn ignored(patterns: &[&str], path: &str) -> bool {
    let matcher = Matcher::new(patterns).unwrap();
    let direct = matcher.matches_or_parent_matches(path);
    let (unaided, _) = matcher.matches_using_parent_results(path, &MatchInfo::default());
    assert_eq!(direct, unaided, "{patterns:?} {path}");
    let mut info = MatchInfo::default();
    let mut walked = false;
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    for end in ends {
        (walked, info) = matcher.matches_using_parent_results(&path[..end], &info);
    }
    assert_eq!(direct, walked, "{patterns:?} {path} by walking");
    direct
}

#[test]
fn one_pattern_matches_what_its_wildcards_say() {
    let table = [
        ("fileutils.go", "fileutils.go", true),
        ("fileutils.go", "x/fileutils.go", false),
        ("a", "a/b/c", true),
        ("a/b", "a/b/c", true),
        ("a/b", "a", false),
        ("a/b", "x/a/b", false),
        ("/a", "/a", true),
        ("*", "a", true),
        ("*", "a/b", true),
        ("*.go", "x.go", true),
        ("*.go", "d/x.go", false),
        ("*.go", "d.go/x", true),
        ("*/*.go", "d/x.go", true),
        ("*/*.go", "d/e/x.go", false),
        ("?", "a", true),
        ("?", "ab", false),
        ("a?c", "abc", true),
        ("a?c", "a/c", false),
        ("**", "a", true),
        ("**", "a/b/c", true),
        ("**/", "a", true),
        ("**/", "a/b", true),
        ("**/**", "a/b", true),
        ("**/a", "a", true),
        ("**/a", "b/a", true),
        ("**/a", "b/c/a", true),
        ("**/a", "b/a/c", true),
        ("**/a", "ba", false),
        ("**/a", "ab", false),
        ("**a", "ba", true),
        ("**a", "b/ca", true),
        ("**a", "ab", false),
        ("a**", "a", true),
        ("a**", "abc", true),
        ("a**", "a/b", true),
        ("a**", "ba", false),
        ("a/**", "a", false),
        ("a/**", "a/b", true),
        ("a/**", "a/b/c", true),
        ("a/**", "ab", false),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a/**b", "a/xb", false),
        ("a/**b", "a/b", true),
        ("a/**b", "a/x/b", true),
        ("a**b", "ab", true),
        ("a**b", "axb", false),
        ("a**b", "ax/b", true),
        ("**/a/**", "a/b", true),
        ("**/a/**", "x/a/b/c", true),
        ("**/a/**", "x/a", false),
        ("**/*.txt", "x.txt", true),
        ("**/*.txt", "a/b/x.txt", true),
        ("**/*.txt", "a/x.txt/y", true),
        ("**/*.txt", "x.txtz", false),
        ("**/.git", ".git", true),
        ("**/.git", "a/.git/config", true),
        ("**/.git", ".gitignore", false),
        ("**/file.txt", "file.txt", true),
        ("**/file.txt", "dir/dir/file.txt", true),
        ("**/file.txt", "filextxt", false),
        ("**/*/c", "a/c", true),
        ("**/*/c", "c", false),
        ("a/*/c", "a/b/c", true),
        ("a/*/c", "a/c", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aee", false),
        ("a[^b-d]e", "aze", true),
        ("a[^b-d]e", "a/e", true),
        ("a[!b]c", "a!c", true),
        ("a[b\\]]c", "a]c", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a\\?b", "a?b", true),
        ("a\\?b", "axb", false),
        ("a\\[b", "a[b", true),
        ("\\*", "*", true),
        ("a.b", "a.b", true),
        ("a.b", "axb", false),
        ("a.b*", "axb", false),
        ("a+b*", "a+bc", true),
        ("a+b*", "aab", false),
        ("a(b)*", "a(b)c", true),
        ("a|b*", "a|b", true),
        ("a|b*", "a", false),
        ("a{b}*", "a{b}", true),
        ("$a*", "$ab", true),
        ("a$b*", "a$bc", true),
        ("a^b", "a^b", true),
        ("dir/file-?.txt", "dir/file-1.txt", true),
        ("dir/file-?.txt", "dir/file-12.txt", false),
        ("日本*", "日本語", true),
        ("日?語", "日本語", true),
        ("a//b", "a/b", true),
        ("./a", "a", true),
        ("a/./b", "a/b", true),
        ("a/../b", "b", true),
        ("a/", "a", true),
        (" a ", "a", true),
        (".", "a", false),
        ("a b", "a b", true),
        ("***", "a", true),
        ("***", "a/b", true),
        ("**/**/c", "c", true),
        ("**/**/c", "a/b/c", true),
    ];
    for (pattern, path, expected) in table {
        assert_eq!(ignored(&[pattern], path), expected, "{pattern} {path}");
    }
}

#[test]
fn the_last_match_wins() {
    let table: &[(&[&str], &str, bool)] = &[
        (&["*", "!a"], "a", false),
        (&["*", "!a"], "b", true),
        (&["!a", "*"], "a", true),
        (&["a", "!a", "a"], "a", true),
        (&["a", "!a/b"], "a/b", false),
        (&["a", "!a/b"], "a/c", true),
        (&["a", "!a/b"], "a", true),
        (&["a", "!a/b"], "a/b/c", false),
        (&["a", "!a/b", "a/b/c"], "a/b/c", true),
        (&["a", "!a/b", "a/b/c"], "a/b/d", false),
        (&["**", "!**/*.go"], "x.go", false),
        (&["**", "!**/*.go"], "a/b/x.go", false),
        (&["**", "!**/*.go"], "a/b/x.rs", true),
        (&["*", "!src", "!Cargo.*"], "src/main.rs", false),
        (&["*", "!src", "!Cargo.*"], "Cargo.toml", false),
        (&["*", "!src", "!Cargo.*"], "target/x", true),
        (&["**/*.md", "!README.md"], "README.md", false),
        (&["**/*.md", "!README.md"], "docs/README.md", true),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/x.md", true),
        (&["docs/**", "!docs/a/**"], "docs/a/x", false),
        (&["docs/**", "!docs/a/**"], "docs/a", true),
        (&["docs/**", "!docs/a/**"], "docs/b/x", true),
        (&["util/docker/web", "!util/docker/web/foo"], "util/docker/web/foo", false),
        (&["util/docker/web", "!util/docker/web/foo"], "util/docker/web/foo/bar", false),
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (&["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", true),
        (&["**/dist", "!apps/*/dist"], "apps/web/dist/index.html", false),
        (&["**/dist", "!apps/*/dist"], "apps/web/sub/dist/index.html", true),
        (&["!a"], "a", false),
        (&[], "a", false),
        (&["", "  "], "a", false),
        (&["a", "!b"], "a/b", true),
        (&["*", "!*.txt", "!**/*.txt"], "a/b.txt", false),
        (&["a*", "!ab", "abc"], "ab", false),
        (&["a*", "!ab", "abc"], "abc", true),
    ];
    for (patterns, path, expected) in table {
        assert_eq!(ignored(patterns, path), *expected, "{patterns:?} {path}");
    }
}

#[test]
fn oddities_of_mobys_expressions_are_kept() {
    let table: &[(&str, &str, bool)] = &[
        // Within brackets a star closes them: `[[^/]*]`.
        ("x[*]", "x*", false),
        ("x[*]", "xab]", false),
        ("x[*]", "x[^]", true),
        // A caret that is not quoted is an anchor.
        ("a^b*", "a^bc", false),
        ("^a*", "ab", true),
        // So are Perl's classes.
        ("x\\d", "x5", true),
        ("x\\d", "xd", false),
    ];
    for (pattern, path, expected) in table {
        assert_eq!(ignored(&[pattern], path), *expected, "{pattern} {path}");
    }
}

#[test]
fn patterns_that_mean_nothing_are_refused() {
    for pattern in ["[", "a[", "[a-", "[]", "a\\", "!a[", "[b-a]x", "x\\e"] {
        let error = Matcher::new(&[pattern]).unwrap_err();
        let named = pattern.trim_start_matches('!').to_owned();
        assert_eq!(error, PatternError::Syntax { pattern: named }, "{pattern}");
    }
    for pattern in ["!", " ! ", "!/.."] {
        let found = Matcher::new(&[pattern]);
        assert_eq!(found.is_err(), pattern.trim() == "!", "{pattern}");
    }
    assert_eq!(Matcher::new(&["!"]).unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
}

#[test]
fn an_ignore_file_is_cleaned_line_by_line() {
    let file = "\u{feff}test1\n/test2\n/a/file/here\n\nlastfile\n# a comment\n! /inverted/abs/path\n\
                !\n! \n  # no comment\n\ttabbed\t\ncr\r\n/\n.\n./x\nx//y/../z/\n../up\n/../root\n#\n!#x\n\
                \\#y\ntrail  ";
    let expected = [
        "test1",
        "test2",
        "a/file/here",
        "lastfile",
        "!inverted/abs/path",
        "!",
        "!",
        "# no comment",
        "tabbed",
        "cr",
        "/",
        ".",
        "x",
        "x/z",
        "../up",
        "root",
        "!#x",
        "\\#y",
        "trail",
    ];
    assert_eq!(read_patterns(file.as_bytes()), expected);
    assert_eq!(read_patterns(b""), Vec::<String>::new());
    assert_eq!(read_patterns(b"a\xff"), ["a\u{fffd}"]);
}

#[test]
fn a_walk_enters_an_ignored_folder_only_if_something_in_it_may_come_back() {
    let table: &[(&[&str], &str, bool)] = &[
        (&["a"], "a", false),
        (&["a", "!a/b"], "a", true),
        (&["a", "!a/b/c"], "a/b", true),
        (&["a", "!a/b/c"], "a/x", false),
        (&["*", "!src/*.rs"], "src", true),
        (&["*", "!src/*.rs"], "target", false),
        (&["*", "!*/keep"], "target", true),
        (&["*", "!*/keep"], "target/debug", false),
        (&["**", "!**/*.go"], "any/where", true),
        (&["**", "!a/**/x"], "a/b/c", true),
        (&["**", "!a/**/x"], "b", false),
        (&["**", "!a[^x]b"], "z", true),
        (&["a", "!b"], "a", false),
        (&["a", "!a"], "a/b", true),
    ];
    for (patterns, path, expected) in table {
        let matcher = Matcher::new(patterns).unwrap();
        assert_eq!(matcher.may_descend(path), *expected, "{patterns:?} {path}");
    }
    assert!(Matcher::new(&["a", "!b"]).unwrap().has_exclusions());
    assert!(!Matcher::new(&["a", "b"]).unwrap().has_exclusions());
    assert!(Matcher::new::<&str>(&[]).unwrap().is_empty());
}
