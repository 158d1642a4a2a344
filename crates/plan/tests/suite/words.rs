//! The word lexer: facts that BuildKit's own tables state, and more of the same kind.

use std::collections::BTreeMap;

use bakehouse_plan::dockerfile::words::{Lexer, NoEnv, WordProblem};

/// `HOME=/root SH=zsh EMPTY= CITY=東京 FILE=/a/b/c.tar.gz STARS=x***yy* SPACED=a  b c`
fn env() -> BTreeMap<String, String> {
    let pairs = [
        ("HOME", "/root"),
        ("SH", "zsh"),
        ("EMPTY", ""),
        ("CITY", "東京"),
        ("FILE", "/a/b/c.tar.gz"),
        ("STARS", "x***yy*"),
        ("SPACED", "a  b c"),
        ("LEAD", "  a b"),
        ("TRAIL", "a b   "),
        ("DOUBLE", "xxyy"),
        ("LINES", "one\ntwo\none"),
        ("URL", "http://example.org"),
        ("P", "x"),
        ("SLASH", "/a"),
        ("STAR", "\\*/"),
        ("ODD", "()[]{}^$.*?|\\x"),
        ("_u9", "under"),
    ];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const ERROR: &str = "\u{0}error";

fn expand(lexer: Lexer, word: &str) -> String {
    match lexer.expand(word, &env()) {
        Ok(expanded) => expanded.text,
        Err(_) => ERROR.to_owned(),
    }
}

fn check(lexer: Lexer, table: &[(&str, &str)]) {
    for (word, expected) in table {
        assert_eq!(&expand(lexer, word), expected, "{word:?}");
    }
}

#[test]
fn quotes_group_and_go_away() {
    let table = [
        ("", ""),
        ("plain", "plain"),
        ("two words", "two words"),
        ("a'b'c", "abc"),
        ("a\"b\"c", "abc"),
        ("'a b'", "a b"),
        ("a'b", ERROR),
        ("a\"b", ERROR),
        ("'", ERROR),
        ("\"", ERROR),
        ("''", ""),
        ("\"\"", ""),
        ("\"''\"", "''"),
        ("'\"\"'", "\"\""),
        ("\"it's\"", "it's"),
        ("'say \"x\"'", "say \"x\""),
        ("東'京'都", "東京都"),
        ("東'京", ERROR),
        ("\"東京", ERROR),
        ("a<b", "a<b"),
        ("a<<b", "a<<b"),
        ("a<< \tb", "a<< \tb"),
        ("<", "<"),
        ("<<", "<<"),
    ];
    check(Lexer::new('\\'), &table);
}

#[test]
fn escapes_work_as_in_a_shell() {
    let table = [
        (r"a\'b", "a'b"),
        (r"a\\'b", ERROR),
        (r"a\tb", "atb"),
        (r"a\ b", "a b"),
        ("\"a\\tb\"", r"a\tb"),
        ("\"a\\\\tb\"", r"a\tb"),
        ("\"a\\\"b\"", "a\"b"),
        ("'a\\tb'", r"a\tb"),
        ("'a\\'", r"a\"),
        ("'a\\\\b'", r"a\\b"),
        (r"a\", "a"),
        (r"a\\", r"a\"),
        ("\"a\\\"", ERROR),
        ("\"a\\", ERROR),
        (r"\$HOME", "$HOME"),
        (r"\\$HOME", r"\/root"),
        ("\"\\$HOME\"", "$HOME"),
        ("\"\\\\$HOME\"", r"\/root"),
        ("'\\$HOME'", r"\$HOME"),
        (r"\${}", "${}"),
        (r"a\${}b", "a${}b"),
        (r"東\'京", "東'京"),
        (r"東京\", "東京"),
        ("\"\\東\"", r"\東"),
    ];
    check(Lexer::new('\\'), &table);
    let table = [
        ("a`'b", "a'b"),
        ("`$HOME", "$HOME"),
        ("``$HOME", "`/root"),
        (r"C:\windows\$SH", r"C:\windows\zsh"),
        ("\"`$HOME`\"\"", "$HOME\""),
        ("a`", "a"),
        (r"a\'b'", r"a\b"),
    ];
    check(Lexer::new('`'), &table);
}

#[test]
fn variables_are_put_in() {
    let table = [
        ("$HOME", "/root"),
        ("${HOME}", "/root"),
        ("x$HOME", "x/root"),
        ("x${HOME}y", "x/rooty"),
        ("x$HOMEy", "x"),
        ("$HOME.", "/root."),
        ("$home", ""),
        ("$HOME$SH", "/rootzsh"),
        ("$HOME/$SH", "/root/zsh"),
        ("\"$HOME\"", "/root"),
        ("'$HOME'", "$HOME"),
        ("\"'$HOME'\"", "'/root'"),
        ("'${HOME}'", "${HOME}"),
        ("$EMPTY", ""),
        ("$UNSET", ""),
        ("${UNSET}x", "x"),
        ("$CITY", "東京"),
        ("大$CITY", "大東京"),
        ("$_u9", "under"),
        ("$_u9x", ""),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$ HOME", "$ HOME"),
        ("$/x", "$/x"),
        ("$%", "$%"),
        ("$\"HOME\"", "$HOME"),
        ("$SPACED", "a  b c"),
        ("${aaa}}", "}"),
        ("<$HOME", "</root"),
        ("<<$HOME", "<</root"),
    ];
    check(Lexer::new('\\'), &table);
}

#[test]
fn positional_and_special_parameters_are_never_set() {
    for name in ["1", "2", "9", "10", "999", "001", "0", "@", "*", "#", "?", "-", "$", "!"] {
        let table = [
            (format!("${name}"), ""),
            (format!("${{{name}}}"), ""),
            (format!("${{{name}}}a"), "a"),
            (format!("${{{name}:-w}}"), "w"),
            (format!("${{{name}:+w}}"), ""),
            (format!("${{{name}-w}}a"), "wa"),
        ];
        for (word, expected) in table {
            assert_eq!(expand(Lexer::new('\\'), &word), expected, "{word:?}");
        }
    }
    let table = [("x$1y", "xy"), ("$12a", "a"), ("$@@@", "@@"), ("$@a", "a"), ("$$$", "$")];
    check(Lexer::new('\\'), &table);
}

#[test]
fn defaults_and_alternatives_follow_the_colon() {
    let table = [
        ("${HOME:-w}", "/root"),
        ("${HOME-w}", "/root"),
        ("${EMPTY:-w}", "w"),
        ("${EMPTY-w}", ""),
        ("${UNSET:-w}", "w"),
        ("${UNSET-w}", "w"),
        ("${UNSET:-}", ""),
        ("${UNSET-}", ""),
        ("${HOME:+w}", "w"),
        ("${HOME+w}", "w"),
        ("${EMPTY:+w}", ""),
        ("${EMPTY+w}", "w"),
        ("${UNSET:+w}", ""),
        ("${UNSET+w}", ""),
        ("a${UNSET:-w}b", "awb"),
        ("${UNSET:-$HOME}", "/root"),
        ("${UNSET:-${HOME:-z}}", "/root"),
        ("${UNSET:-${ALSO:-z}}", "z"),
        ("${UNSET:-${ALSO:-${MORE:-z}}}", "z"),
        ("${HOME:+${SH}}", "zsh"),
        ("${HOME:+${UNSET}}", ""),
        ("${UNSET:+${HOME}}", ""),
        ("${HOME:+$HOME:}x", "/root:x"),
        ("${UNSET:-a b}", "a b"),
        ("${UNSET:-'a}b'}", "a}b"),
        ("${UNSET:-\"a}b\"}", "a}b"),
        (r"${UNSET:-a\}b}", "a}b"),
        (r"${UNSET:-\$HOME}", "$HOME"),
        (r"${UNSET:-\${HOME}z}", "${HOMEz}"),
        ("${UNSET:-a {b}", "a {b"),
        ("${UNSET:-b}}", "b}"),
        ("${UNSET:--}", "-"),
        ("${UNSET:-:}", ":"),
        ("\"${UNSET:-w}\"", "w"),
        ("\"${UNSET:-\"w w\"}\"", "w w"),
        ("'${UNSET:-w}'", "${UNSET:-w}"),
        ("${HOME-w} ${EMPTY-w} ${UNSET-w}", "/root  w"),
        ("${HOME:+a} ${EMPTY:+b} ${UNSET:+c}", "a  "),
    ];
    check(Lexer::new('\\'), &table);
}

#[test]
fn a_required_variable_says_what_is_wrong() {
    let table = [
        ("${HOME?}", Ok("/root")),
        ("${HOME:?}", Ok("/root")),
        ("${HOME?no}", Ok("/root")),
        ("${EMPTY?no}", Ok("")),
        ("${EMPTY:?no}", Err("EMPTY: no")),
        ("${EMPTY:?}", Err("EMPTY: is not allowed to be empty")),
        ("${UNSET?}", Err("UNSET: is not allowed to be unset")),
        ("${UNSET:?}", Err("UNSET: is not allowed to be unset")),
        ("${UNSET?give me $SH}", Err("UNSET: give me zsh")),
        ("a${UNSET:?give one}b", Err("UNSET: give one")),
        ("${UNSET:-${EMPTY:?deep}}", Err("EMPTY: deep")),
    ];
    for (word, expected) in table {
        let found = Lexer::new('\\').expand(word, &env());
        let found = found.map(|expanded| expanded.text).map_err(|error| error.problem.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{word:?}");
    }
    let error = Lexer::new('\\').expand("x${A?y}", &NoEnv).unwrap_err();
    assert_eq!(error.to_string(), "failed to process \"x${A?y}\": A: y");
}

#[test]
fn prefixes_and_suffixes_are_cut_short_or_long() {
    let table = [
        ("${FILE#*/}", "a/b/c.tar.gz"),
        ("${FILE##*/}", "c.tar.gz"),
        ("${FILE%.*}", "/a/b/c.tar"),
        ("${FILE%%.*}", "/a/b/c"),
        ("${FILE%/*}", "/a/b"),
        ("${FILE%%/*}", ""),
        ("${FILE#/a}", "/b/c.tar.gz"),
        ("${FILE#/x}", "/a/b/c.tar.gz"),
        ("${FILE%.gz}", "/a/b/c.tar"),
        ("${FILE%.xz}", "/a/b/c.tar.gz"),
        ("${FILE#?}", "a/b/c.tar.gz"),
        ("${FILE##?}", "a/b/c.tar.gz"),
        ("${FILE%??}", "/a/b/c.tar."),
        ("${FILE#}", "/a/b/c.tar.gz"),
        ("${FILE##}", "/a/b/c.tar.gz"),
        ("${FILE%}", "/a/b/c.tar.gz"),
        ("${FILE%%}", "/a/b/c.tar.gz"),
        ("${FILE#*}", "/a/b/c.tar.gz"),
        ("${FILE##*}", ""),
        ("${FILE%%*}", ""),
        ("${FILE%*}", "/a/b/c.tar.gz"),
        ("${DOUBLE#*x*y}", "y"),
        ("${DOUBLE##*x}", "yy"),
        ("${DOUBLE##*y}", ""),
        ("${DOUBLE%y*}", "xxy"),
        ("${DOUBLE%%y*}", "xx"),
        ("${DOUBLE%x}", "xxyy"),
        ("${DOUBLE#$P}", "xyy"),
        ("${DOUBLE#$EMPTY}", "xxyy"),
        ("${DOUBLE%%$EMPTY}", "xxyy"),
        ("${DOUBLE#${P}x}", "yy"),
        (r"${STARS%%\**}", "x"),
        (r"${STARS%\**}", "x***yy"),
        (r"${STARS%%\**\*}", "x"),
        (r"${STARS#x\*}", "**yy*"),
        (r"${STARS#?\?}", "x***yy*"),
        (r"${ODD#()[]{\}^$.\*\?|\\}", "x"),
        ("${LINES#*o}", "ne\ntwo\none"),
        ("${LINES##*o}", "ne\ntwo\none"),
        ("${LINES%o*}", "one\ntwo\n"),
        ("${LINES%%o*}", "one\ntwo\n"),
        ("${CITY#東}", "京"),
        ("${CITY%?}", "東"),
        ("${UNSET#x}", ""),
        ("${UNSET%%x}", ""),
        ("${EMPTY##*}", ""),
        (r"${DOUBLE#\a}", ERROR),
        (r"${DOUBLE%\a}", ERROR),
        (r"${UNSET#\a}", ERROR),
        ("${HOME:#x}", ERROR),
        ("${HOME:##x}", ERROR),
        ("${HOME:%x}", ERROR),
        ("${HOME:%%x}", ERROR),
        ("${HOME#x", ERROR),
    ];
    check(Lexer::new('\\'), &table);
}

#[test]
fn text_is_replaced_once_or_everywhere() {
    let table = [
        ("${FILE/a/X}", "/X/b/c.tar.gz"),
        ("${FILE//a/X}", "/X/b/c.tXr.gz"),
        ("${FILE/zz/X}", "/a/b/c.tar.gz"),
        (r"${FILE//\//\/}", r"\/a\/b\/c.tar.gz"),
        (r"${FILE/\/a/}", "/b/c.tar.gz"),
        ("${FILE/$SLASH/}", "/b/c.tar.gz"),
        ("${FILE//?/x}", "xxxxxxxxxxxxx"),
        ("${FILE/*/x}", "x"),
        ("${FILE//*/x}", "x"),
        ("${FILE/.*/}", "/a/b/c"),
        ("${URL/http:\\/\\//https:\\/\\/}", r"https:\/\/example.org"),
        ("${DOUBLE/x/$HOME}", "/rootxyy"),
        ("${DOUBLE//x/$SH}", "zshzshyy"),
        ("${DOUBLE//x}", ERROR),
        ("${DOUBLE/x}", ERROR),
        ("${DOUBLE//}", ERROR),
        ("${DOUBLE///}", "xxyy"),
        ("${DOUBLE/$EMPTY/w}", "wxxyy"),
        ("${DOUBLE//$EMPTY/-}", "-x-x-y-y-"),
        ("${DOUBLE/x/}", "xyy"),
        ("${DOUBLE//x/}", "yy"),
        (r"${STARS//\*/.}", "x...yy."),
        (r"${STARS/\**y/.}", "x.*"),
        ("${UNSET/a/b}", ""),
        ("${UNSET///}", ""),
        ("${UNSET//*/b}", "b"),
        ("${LINES//one/1}", "1\ntwo\n1"),
        ("${LINES//o*/x}", "x\ntwx\nx"),
        ("${CITY/東/西}", "西京"),
        ("${DOUBLE/x/a b}", "a bxyy"),
        (r"${DOUBLE/\q/a}", ERROR),
        ("${DOUBLE/x/a", ERROR),
    ];
    check(Lexer::new('\\'), &table);
}

#[test]
fn replacing_everywhere_knows_the_match_as_go_does() {
    let mut env = env();
    for (name, value) in [
        ("R0", "<$0>"),
        ("R0B", "<${0}>"),
        ("R1", "<$1>"),
        ("RN", "<$x>"),
        ("RD", "<$$>"),
        ("RE", "<$>"),
    ] {
        env.insert(name.to_owned(), value.to_owned());
    }
    let table = [
        ("${DOUBLE//x/$R0}", "<x><x>yy"),
        ("${DOUBLE//x/$R0B}", "<x><x>yy"),
        ("${DOUBLE//x/$R1}", "<><>yy"),
        ("${DOUBLE//x/$RN}", "<><>yy"),
        ("${DOUBLE//x/$RD}", "<$><$>yy"),
        ("${DOUBLE//x/$RE}", "<$><$>yy"),
        ("${DOUBLE/x/$R0}", "<$0>xyy"),
    ];
    for (word, expected) in table {
        assert_eq!(Lexer::new('\\').expand(word, &env).unwrap().text, expected, "{word}");
    }
}

#[test]
fn what_is_no_substitution_is_refused_with_its_reason() {
    use WordProblem::{BadSubstitution, MissingBrace, MissingSlash, Unclosed, UnsupportedModifier};
    let modifier = |text: &str| UnsupportedModifier(text.to_owned());
    let table = [
        ("${", MissingBrace),
        ("a${", MissingBrace),
        ("${HOME", MissingBrace),
        ("${HOME:-a", MissingBrace),
        ("${HOME:-a ${SH}", MissingBrace),
        ("${UNSET:-'a}", MissingBrace),
        ("${HOME%a", MissingBrace),
        ("${HOME/a/b", MissingBrace),
        ("${HOME/a}", MissingSlash),
        ("${HOME/", MissingSlash),
        ("${}", BadSubstitution),
        ("x${}y", BadSubstitution),
        ("${:}", BadSubstitution),
        ("${:-a}", BadSubstitution),
        ("${{a}", BadSubstitution),
        ("${{a:-b}", BadSubstitution),
        ("${HOME=a}", modifier("=")),
        ("${HOME:=a}", modifier(":=")),
        ("${HOME:a}", modifier(":a")),
        ("${HOME:3}", modifier(":3")),
        ("${HOME!}", modifier("!")),
        ("${HOME^^}", modifier("^")),
        ("${HOME,,}", modifier(",")),
        ("${HOME@Q}", modifier("@")),
        ("${HOME[0]}", modifier("[")),
        ("${ HOME}", modifier(" ")),
        ("${.}", modifier(".")),
        ("${!HOME}", modifier("H")),
        ("${#HOME}", modifier("H")),
        ("${1a}", modifier("a")),
        ("${HOME:#a}", modifier(":#")),
        ("${HOME:%a}", modifier(":%")),
        ("'a", Unclosed("single-quote")),
        ("\"a", Unclosed("double-quote")),
        ("\"${HOME\"", modifier("\"")),
        ("\"${HOME", MissingBrace),
    ];
    for (word, expected) in table {
        let error = Lexer::new('\\').expand(word, &env()).unwrap_err();
        assert_eq!(error.problem, expected, "{word:?}");
    }
}

#[test]
fn words_are_split_at_white_space_of_values_too() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        ("   ", &[]),
        ("a", &["a"]),
        ("a b", &["a", "b"]),
        ("  a \t b  ", &["a", "b"]),
        ("a\\ b", &["a b"]),
        ("\"a b\"", &["a b"]),
        ("'a b' c", &["a b", "c"]),
        ("a\" b \"c", &["a b c"]),
        ("\"\"", &[]),
        ("a \"\" b", &["a", "b"]),
        ("x${SPACED}y", &["xa", "b", "cy"]),
        ("x\"${SPACED}\"y", &["xa  b cy"]),
        ("x \"$SPACED\"y", &["x", "a  b cy"]),
        ("x${LEAD}y", &["x", "a", "by"]),
        ("x\"${LEAD}\" y", &["x  a b", "y"]),
        ("x${TRAIL}", &["xa", "b"]),
        ("x${TRAIL}y", &["xa", "b", "y"]),
        ("x\"${TRAIL}\"y", &["xa b   y"]),
        ("he\"l${TRAIL}\"", &["hela b   "]),
        ("$UNSET", &[]),
        ("x $UNSET y", &["x", "y"]),
        ("x\\\" y", &["x\"", "y"]),
        ("\"\\\\x\"", &["\\x"]),
        ("'\\\\x'", &["\\\\x"]),
        ("'$HOME'", &["$HOME"]),
        ("80 ${UNSET:-443}", &["80", "443"]),
        // One buffer serves all depths in BuildKit, and what was in it is lost.
        ("80${UNSET:-443}", &["443"]),
        ("a\u{a0}b", &["a", "b"]),
        ("cat <<  EOF x", &["cat", "<<  EOF", "x"]),
    ];
    for (word, expected) in table {
        let found = Lexer::new('\\').expand_words(word, &env()).unwrap();
        assert_eq!(&found, expected, "{word:?}");
    }
    for word in ["a \"b", "'", "${", "a ${}"] {
        assert!(Lexer::new('\\').expand_words(word, &env()).is_err(), "{word:?}");
    }
}

#[test]
fn quotes_escapes_and_unset_variables_stay_when_asked() {
    let lexer = Lexer::new('\\');
    let table = [
        ("'a' \"b\"", "'a' \"b\""),
        ("'$HOME' \"$HOME\"", "'$HOME' \"/root\""),
        (r"a\ b", "a b"),
        ("'a", ERROR),
    ];
    check(lexer.raw_quotes(true), &table);
    let table = [
        (r"a\ b", r"a\ b"),
        (r"\$HOME", r"\$HOME"),
        ("\"\\\"\"", "\\\""),
        ("'a'", "a"),
        (r"${UNSET:-\a}", "a"),
    ];
    check(lexer.raw_escapes(true), &table);
    let table = [
        ("it's $HOME", "it's /root"),
        ("\"$HOME", "\"/root"),
        ("'$HOME'", "'/root'"),
        (r"\$HOME", "$HOME"),
        (r"a\b", "ab"),
        ("${HOME", ERROR),
    ];
    check(lexer.skip_quotes(true), &table);
    let table = [
        ("$UNSET", "$UNSET"),
        ("${UNSET}", "${UNSET}"),
        ("$HOME $UNSET", "/root $UNSET"),
        ("${UNSET:-w}", "${UNSET:-w}"),
        ("${UNSET-w}", "${UNSET-w}"),
        ("${UNSET:+w}", "${UNSET:+w}"),
        ("${UNSET:?w}", "${UNSET:?w}"),
        ("${UNSET:=w}", "${UNSET:=w}"),
        ("${UNSET:-$HOME}", "${UNSET:-/root}"),
        ("${UNSET##w}", "${UNSET##w}"),
        ("${UNSET%w}", "${UNSET%w}"),
        ("${UNSET/a/b}", "${UNSET/a/b}"),
        ("${EMPTY:-w}", "w"),
        ("$1 $@", "$1 $@"),
        ("$", "$"),
    ];
    check(lexer.keep_unset(true), &table);
}

#[test]
fn an_instruction_is_shown_with_what_is_set() {
    let lexer = Lexer::new('\\');
    let table = [
        ("RUN echo \"$SH\" $UNSET '$HOME'", "RUN echo \"zsh\" $UNSET '$HOME'"),
        ("RUN for i in $(ls); do echo ${i}; done", "RUN for i in $(ls); do echo ${i}; done"),
        ("RUN echo it's", "RUN echo it's"),
        ("RUN echo ${x^^}", "RUN echo ${x^^}"),
    ];
    for (text, expected) in table {
        assert_eq!(lexer.expand_for_display(text, &env()), expected);
    }
}

#[test]
fn names_that_were_looked_up_are_told() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("x", &[], &[]),
        ("$HOME", &["HOME"], &[]),
        ("$HOME ${UNSET}", &["HOME"], &["UNSET"]),
        ("${UNSET:-$SH}", &["SH"], &["UNSET"]),
        ("${HOME:-$SH}", &["HOME", "SH"], &[]),
        ("${EMPTY-w}", &["EMPTY"], &[]),
        ("'$HOME'", &[], &[]),
        ("\\$HOME", &[], &[]),
        ("${FILE%$P}", &["FILE", "P"], &[]),
        ("${FILE/$A/$B}", &["FILE"], &["A", "B"]),
        ("$1 $@", &[], &["1", "@"]),
        ("a-${V}.${OS}${VARIANT:+-${VARIANT}}", &[], &["OS", "V", "VARIANT"]),
    ];
    for (word, matched, unmatched) in table {
        let found = Lexer::new('\\').expand(word, &env()).unwrap();
        assert_eq!(found.matched.iter().collect::<Vec<_>>(), *matched, "{word:?}");
        assert_eq!(found.unmatched.iter().collect::<Vec<_>>(), *unmatched, "{word:?}");
    }
}

#[test]
fn no_word_is_too_deep_or_too_long_to_be_refused() {
    let deep = "${a:-".repeat(100_000);
    let error = Lexer::new('\\').expand(&deep, &NoEnv).unwrap_err();
    assert_eq!(error.problem, WordProblem::TooDeep);
    let mut env = BTreeMap::new();
    env.insert("a".to_owned(), "x".repeat(1 << 20));
    let error = Lexer::new('\\').expand(&"$a".repeat(64), &env).unwrap_err();
    assert_eq!(error.problem, WordProblem::TooLong);
    let error = Lexer::new('\\').expand(&format!("\"{}\"", "$a".repeat(64)), &env).unwrap_err();
    assert_eq!(error.problem, WordProblem::TooLong);
    let error =
        Lexer::new('\\').expand("${a//x/0123456789012345678901234567890}", &env).unwrap_err();
    assert_eq!(error.problem, WordProblem::TooLong);
}
