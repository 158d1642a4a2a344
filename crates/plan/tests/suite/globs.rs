//! Go's `filepath.Match`.

use bakehouse_plan::dockerfile::glob::{has_wildcard, matches};

#[test]
fn wildcards_match_as_gos_do() {
    let table = [
        ("", "", true),
        ("", "x", false),
        ("abc", "abc", true),
        ("*", "abc", true),
        ("*", "", true),
        ("*", "a/b", false),
        ("*c", "abc", true),
        ("a*", "a", true),
        ("a*", "abc", true),
        ("a*", "ab/c", false),
        ("a*/b", "abc/b", true),
        ("a*/b", "a/c/b", false),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("ab[c]", "abc", true),
        ("ab[b-d]", "abc", true),
        ("ab[e-g]", "abc", false),
        ("ab[^c]", "abc", false),
        ("ab[^b-d]", "abc", false),
        ("ab[^e-g]", "abc", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "ab", false),
        ("a?b", "a\u{263a}b", true),
        ("a[^a]b", "a\u{263a}b", true),
        ("a???b", "a\u{263a}b", false),
        ("a[^a][^a][^a]b", "a\u{263a}b", false),
        ("[a-\u{3b6}]*", "\u{3b1}", true),
        ("*[a-\u{3b6}]", "A", false),
        ("a?b", "a/b", false),
        ("a*b", "a/b", false),
        ("a[^x]b", "a/b", true),
        ("[\\]a]", "]", true),
        ("[\\-]", "-", true),
        ("[x\\-]", "x", true),
        ("[x\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("[\\-x]", "x", true),
        ("[\\-x]", "-", true),
        ("[\\-x]", "a", false),
        ("[z-a]", "m", false),
        ("[!a]", "!", true),
        ("[!a]", "b", false),
        ("*x", "xxx", true),
        ("**", "a", true),
        ("**/b", "a/b", true),
        ("**/b", "b", false),
        ("a]", "a]", true),
        ("*.go", "main.go", true),
        ("*.go", "main.rs", false),
        ("*.go", ".go", true),
        ("*", ".hidden", true),
        ("src/*.rs", "src/lib.rs", true),
        ("src/*.rs", "src/a/lib.rs", false),
        ("?", "é", true),
        ("\\?", "?", true),
        ("\\?", "a", false),
        ("a\\bc", "abc", true),
    ];
    for (pattern, name, expected) in table {
        assert_eq!(matches(pattern, name).ok(), Some(expected), "{pattern} {name}");
    }
}

#[test]
fn a_pattern_that_is_wrong_is_refused_wherever_the_name_differs() {
    let table = [
        "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "x[a", "\\", "a\\",
        "[\\", "[a-\\", "[]", "[^]", "a*[", "a*b\\",
    ];
    for pattern in table {
        for name in ["", "a", "ab", "x", "zzz/y"] {
            let error = matches(pattern, name).map_err(|error| error.to_string());
            assert_eq!(error, Err(format!("syntax error in pattern `{pattern}`")), "{name:?}");
        }
    }
}

#[test]
fn a_wildcard_is_told_from_an_escaped_one() {
    let table = [
        ("a", false),
        ("a*", true),
        ("a?", true),
        ("a[b]", true),
        ("a\\*", false),
        ("a\\\\*", true),
        ("a]", false),
        ("\\", false),
        ("", false),
    ];
    for (path, expected) in table {
        assert_eq!(has_wildcard(path), expected, "{path}");
    }
}
