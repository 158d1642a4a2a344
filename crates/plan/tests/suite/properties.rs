//! Nothing that anybody can write makes the front end panic or go on for ever.

use bakehouse_plan::dockerfile::ignore::{MatchInfo, Matcher, read_patterns};
use bakehouse_plan::dockerfile::words::Lexer;
use bakehouse_plan::dockerfile::{glob, parse, parse_mount, parse_onbuild_trigger};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Text with much of what means something in it.
fn soup(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![4 => prop::sample::select(pieces).prop_map(str::to_owned), 1 => ".{0,3}"];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

const DOCKERFILE: &[&str] = &[
    "FROM a",
    "FROM a AS b",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "CMD ",
    "HEALTHCHECK ",
    "SHELL ",
    "EXPOSE ",
    "VOLUME ",
    "\n",
    "\n",
    "\r\n",
    "\\\n",
    "`\n",
    " ",
    "\t",
    "<<EOF",
    "<<-'E'",
    "EOF\n",
    "E\n",
    "# ",
    "# escape=`\n",
    "# syntax=x\n",
    "# check=skip=all\n",
    "--from=",
    "--mount=",
    "--chown=",
    "--link",
    "--",
    "[\"a\", \"b\"]",
    "[",
    "]",
    "\"",
    "'",
    "=",
    "$x",
    "${x:-",
    "}",
    "\u{feff}",
    "\0",
    "é",
    "\u{a0}",
    "CMD",
    "NONE",
];
const WORDS: &[&str] = &[
    "$", "${", "}", "a", "b", "$a", "${a", ":", "-", "+", "?", "#", "##", "%", "%%", "/", "//",
    "*", "\\", "`", "'", "\"", " ", "<", "<<", "$0", "\n", "é", "=", "${a//",
];
const PATTERNS: &[&str] = &[
    "*", "**", "**/", "/", "?", "[", "]", "^", "-", "!", "\\", "a", "b", ".", "..", " ", "é", "(",
    ")", "+", "|", "$", "{", "[a-b]", "[^a]", "\\d", "a/",
];

fn env() -> BTreeMap<String, String> {
    BTreeMap::from([("a".to_owned(), "x*y/$0\\".to_owned()), ("b".to_owned(), String::new())])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let parsed = parse(&bytes, "f");
        prop_assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty());
        read_patterns(&bytes);
    }

    #[test]
    fn any_dockerfile_is_parsed_or_refused(text in soup(DOCKERFILE)) {
        let parsed = parse(text.as_bytes(), "f");
        prop_assert!(parsed.has_errors() || !parsed.dockerfile.stages.is_empty());
        let lines = u32::try_from(text.split('\n').count()).unwrap();
        for diagnostic in &parsed.diagnostics {
            let location = diagnostic.location.as_ref().unwrap();
            prop_assert!(1 <= location.line && location.line <= location.end_line);
            prop_assert!(location.end_line <= lines);
        }
        for instruction in parsed.dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            prop_assert!(instruction.span.line <= instruction.span.end_line);
        }
        let _trigger = parse_onbuild_trigger(&text);
    }

    #[test]
    fn any_word_is_expanded_or_refused(word in soup(WORDS)) {
        for escape in ['\\', '`'] {
            let lexer = Lexer::new(escape);
            let env = env();
            let _one = lexer.expand(&word, &env);
            let _many = lexer.expand_words(&word, &env);
            let raw = lexer.raw_quotes(true).raw_escapes(true).keep_unset(true);
            let _raw = raw.expand_words(&word, &env);
            let _loose = lexer.skip_quotes(true).expand(&word, &env);
        }
    }

    #[test]
    fn a_word_without_anything_special_stays(word in "[a-zA-Z0-9 ./:@_=,é-]{0,40}") {
        prop_assert_eq!(Lexer::new('\\').expand(&word, &env()).unwrap().text, word);
    }

    #[test]
    fn any_mount_is_read_or_refused(text in soup(&[
        "type=", "cache", "secret", "bind", ",", "=", "\"", "from=", "size=", "1g", "mode=", "ro",
        "id=", "target=", "sharing=", "locked", "required", "uid=", "9", "\n",
    ])) {
        let _mount = parse_mount(&text, &mut |word| Ok(word.to_owned()));
    }

    #[test]
    fn every_way_to_ask_a_matcher_gives_one_answer(
        patterns in prop::collection::vec(soup(PATTERNS), 0..6),
        path in "([ab.é*]{1,3}/){0,3}[ab.é*]{1,3}",
    ) {
        let Ok(matcher) = Matcher::new(&patterns) else { return Ok(()) };
        let direct = matcher.matches_or_parent_matches(&path);
        let (unaided, _) = matcher.matches_using_parent_results(&path, &MatchInfo::default());
        prop_assert_eq!(direct, unaided);
        let mut info = MatchInfo::default();
        let mut walked = false;
        let mut pruned = false;
        for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
            (walked, info) = matcher.matches_using_parent_results(&path[..end], &info);
            if end < path.len() && walked {
                pruned |= !matcher.may_descend(&path[..end]);
            }
        }
        prop_assert_eq!(direct, walked);
        prop_assert!(walked || !pruned, "a walk would have missed it");
    }

    #[test]
    fn any_glob_matches_or_is_refused(pattern in soup(PATTERNS), name in "[ab/.é*]{0,12}") {
        let found = glob::matches(&pattern, &name);
        prop_assert_eq!(found.is_err(), glob::matches(&pattern, "").is_err());
    }
}
