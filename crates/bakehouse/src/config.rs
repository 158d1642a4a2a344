//! `bakehouse.toml`: what a repository says about its images where inference is not enough.
//!
//! [`read`] takes the bytes and gives back what they say and everything that is wrong with
//! them; it touches nothing else. A file that is not TOML is told where it is not, each line
//! at once; only what is TOML, and of a known version, is then looked at for its meaning. What
//! can be understood of a file with mistakes is in the [`Config`], and the caller decides
//! whether that will do.
//!
//! Things that later diagnostics will want to name are [`Placed`]. The names of images, files,
//! stages and classes are not compared with the fleet here: the caller has that.

mod agreement;
mod amounts;
mod meaning;
mod mistake;
mod names;
mod placed;
mod places;
mod reader;
mod schema;
mod tables;

use std::ops::Range;

use bakehouse_model::Diagnostic;
use toml::de::{DeTable, Error};
use toml_parser::Source;
use toml_parser::lexer::TokenKind;

use mistake::{Mistake, shown};
use places::Places;
use reader::Reader;

pub use amounts::{Minutes, Processors, Size, TimeSpan};
pub use names::{
    ArgName, BaseName, ImageRef, Name, PathPattern, Pattern, Prefix, Replacement, RepoPath, TagRef,
    Written,
};
pub use placed::Placed;
pub use schema::schema;
pub use tables::{ClassTable, Cleanup, Config, FamilyTable, ImageTable, LimitScope, LimitTable};

/// What the file is called, at the repository's root.
pub const FILE_NAME: &str = "bakehouse.toml";

/// The largest file that is read.
const MAX_SIZE: usize = 1 << 20;

/// How many dots a key may have. Four are the most that mean something.
const MAX_DOTS: usize = 8;

/// Reads `text`, which is called `path_shown` in what is said about it.
pub fn read(path_shown: &str, text: &[u8]) -> (Config, Vec<Diagnostic>) {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.len() > MAX_SIZE {
        let message =
            format!("`{path_shown}` has {} bytes; more than {MAX_SIZE} are not read", text.len());
        let help = "say it with patterns, in fewer tables";
        let mistake = Mistake::new("too-large", message, help);
        return (Config::default(), vec![mistake.at(Places::new(path_shown, b"").at(0))]);
    }
    let places = Places::new(path_shown, text);
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("`{path_shown}` is not UTF-8");
            let mistake = Mistake::new("not-utf-8", message, "save the file as UTF-8");
            return (Config::default(), vec![mistake.at(places.at(error.valid_up_to()))]);
        }
    };
    let mut reader = Reader::new(places);
    let config = document(&mut reader, text).unwrap_or_default();
    (config, reader.into_diagnostics())
}

/// Nothing, if it is not TOML, or of another version.
fn document(reader: &mut Reader<'_>, text: &str) -> Option<Config> {
    if let Some(at) = long_key(text) {
        let line = text[..at].lines().next_back().unwrap_or_default();
        let key = shown(line.trim());
        let message = format!("key `{key}` has more than {} parts", MAX_DOTS + 1);
        let help = "put text in quotes; a key with dots in it, too";
        reader.wrong(Mistake::new("long-key", message, help), reader.place(&(at..at)));
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        refuse_syntax(reader, text, errors);
        return None;
    }
    let config = meaning::config(reader, document.get_ref())?;
    agreement::check(reader, &config);
    Some(config)
}

/// Notes where a text is not TOML: of each line the first place, since others follow from it.
fn refuse_syntax(reader: &mut Reader<'_>, text: &str, errors: Vec<Error>) {
    let mut errors: Vec<(Range<usize>, Error)> = errors
        .into_iter()
        .map(|error| (error.span().unwrap_or(text.len()..text.len()), error))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut last = 0;
    for (span, error) in errors {
        let place = reader.place(&span);
        if place.line == last {
            continue;
        }
        last = place.line;
        let message = format!("`{}` is not TOML: {}", unreadable(text, &span), error.message());
        let help = "a line is `key = value` or `[table]`, each of them once, and text is in quotes";
        reader.wrong(Mistake::new("bad-toml", message, help), place);
    }
}

/// What is at `span`, or else the line that ends there, for a message.
fn unreadable(text: &str, span: &Range<usize>) -> String {
    let here = text.get(span.clone()).unwrap_or_default().trim();
    let before = text.get(..span.end).unwrap_or(text).trim_end();
    let things = [here, before.lines().next_back().unwrap_or_default().trim()];
    let thing = things.iter().find(|thing| !thing.is_empty() && !thing.contains('\n'));
    shown(thing.unwrap_or(&"\\n"))
}

/// The first key with more parts than any key of the format could have.
///
/// The parser bounds how deep brackets go, and so this bounds how deep tables go: what is
/// made of a file can be dropped, which takes a piece of the stack for each level.
fn long_key(text: &str) -> Option<usize> {
    let mut dots = 0;
    for token in Source::new(text).lex() {
        match token.kind() {
            TokenKind::Dot if dots == MAX_DOTS => return Some(token.span().start()),
            TokenKind::Dot => dots += 1,
            TokenKind::Whitespace
            | TokenKind::Atom
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString => {}
            _ => dots = 0,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bakehouse_model::{Location, Severity};
    use proptest::prelude::*;

    use super::*;

    fn understood(text: &str) -> Config {
        let (config, diagnostics) = read(FILE_NAME, text.as_bytes());
        assert_eq!(diagnostics, [], "{text}");
        config
    }

    /// `line:column code` of each mistake. All of them are complete.
    fn mistakes(text: impl AsRef<[u8]>) -> Vec<String> {
        let (_, diagnostics) = read(FILE_NAME, text.as_ref());
        let spell = |diagnostic: Diagnostic| {
            let place = diagnostic.location.expect("a mistake has a place");
            assert_eq!(place.file, FILE_NAME);
            assert!(diagnostic.help.is_some_and(|help| !help.is_empty()), "{}", diagnostic.code);
            assert!(!diagnostic.message.contains('\n'), "{}", diagnostic.message);
            format!("{}:{} {}", place.line, place.column, diagnostic.code)
        };
        diagnostics.into_iter().map(spell).collect()
    }

    #[test]
    fn nothing_is_needed() {
        for text in ["", "\n\n# a comment\n", "\u{feff}version = 1\r\n", "[images]\n[bases]"] {
            let config = understood(text);
            assert_eq!(Config { version: None, ..config }, Config::default(), "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_code_and_the_place_where_it_is_written() {
        let table: &[(&str, &[&str])] = &[
            ("version = 2", &["1:11 unsupported-version"]),
            ("version = 0x02", &["1:11 unsupported-version"]),
            ("version = -1", &["1:11 bad-number"]),
            ("version = '1'", &["1:11 wrong-type"]),
            ("regsitry = 'x'", &["1:1 unknown-key"]),
            ("images = 3", &["1:10 wrong-type"]),
            ("[[images]]\n[[images]]", &["1:1 wrong-type"]),
            ("[images]\nstt = 3", &["2:7 wrong-type"]),
            ("exclude = 'x'", &["1:11 wrong-type"]),
            ("exclude = ['[', 3]", &["1:12 bad-pattern", "1:17 wrong-type"]),
            ("exclude = ['!', '# x']", &["1:12 bad-pattern", "1:17 bad-pattern"]),
            ("registry = 'https://x'", &["1:12 bad-registry"]),
            ("documented-graph = '../x'", &["1:20 bad-path"]),
            ("unpinned-ok = ['a b', '[a']", &["1:16 bad-pattern", "1:23 bad-pattern"]),
            ("[images.'']", &["1:9 bad-path"]),
            ("[images.'/a']", &["1:9 bad-path"]),
            ("[images.'./a']\n[images.'a']", &["2:9 repeated-key"]),
            ("[images.'a/B']\ndockerfile = 'x'", &["1:9 bad-name"]),
            ("[images.a]\ncontext = 'a/../..'", &["2:11 bad-path"]),
            ("[images.a]\ntarget = ''", &["2:10 bad-name"]),
            ("[images.a]\nargs.A = 1\nargs.'b=' = ''", &["2:10 wrong-type", "3:6 bad-arg-name"]),
            ("[images.a]\ntags = ['A:b', 'a@b']", &["2:9 bad-reference", "2:16 bad-reference"]),
            ("[images.a]\nplatforms = ['linux', 'lunix']", &["2:23 bad-platform"]),
            ("[classes.'a b']", &["1:10 bad-name"]),
            ("[classes.a]\nlevel = 1.5", &["2:9 wrong-type"]),
            ("[classes.a]\nlevel = 99999999999999999999", &["2:9 bad-number"]),
            ("[classes.a]\nmax-parallel = 0", &["2:16 bad-number"]),
            ("[classes.a]\nsize = '2 potatoes'", &["2:8 bad-size"]),
            ("[limits.all]\nmemory = '1g'", &["1:9 unknown-key"]),
            (
                "[limits.step]\nmemory = 'lots'\ncpus = 0\npids = 0",
                &["2:10 bad-size", "3:8 bad-number", "4:8 bad-number"],
            ),
            ("[limits.run]\ncpus = '2'", &["2:8 wrong-type"]),
            ("[classes.a]\ncleanup = 'none'", &["2:11 unknown-value"]),
            ("[family.a]\narg = '1A'", &["1:9 missing-key", "2:7 bad-arg-name"]),
            ("[family.a]\nbase = 'A B'", &["2:8 bad-reference"]),
            ("[bases]\n'A' = 'b'\n'a[' = 'b'", &["2:1 bad-reference", "3:1 bad-pattern"]),
            ("[bases]\na = 'target:'\nb = 3", &["2:5 bad-name", "3:5 wrong-type"]),
            ("version = 1\nversion = 1", &["2:1 bad-toml"]),
            ("ä = 1\nversion =\n[images", &["1:1 bad-toml", "2:10 bad-toml", "3:8 bad-toml"]),
        ];
        for (text, expected) in table {
            assert_eq!(mistakes(text), *expected, "{text}");
        }
        assert_eq!(mistakes(b"version = 1\n# \xff"), ["2:3 not-utf-8"]);
        assert_eq!(mistakes(vec![b'\n'; MAX_SIZE + 1]), ["1:1 too-large"]);
    }

    #[test]
    fn what_diagnostics_will_name_knows_its_place() {
        let config = understood(
            "[images.stt]\nclass = 'x'\n\n[family.torch]\nbase = 'b'\nservices = [\n  's',\n]\n\
             [classes.ml]\nimages = ['a-*']\n[bases]\n'u:1' = 'y'\n",
        );
        let (image, family) = (&config.images["stt"], &config.family["torch"]);
        let class = &config.classes["ml"];
        let places = [
            (&image.place, (1, 9)),
            (&image.value.class.as_ref().unwrap().place, (2, 9)),
            (&family.place, (4, 9)),
            (&family.value.base.place, (5, 8)),
            (&family.value.services[0].place, (7, 3)),
            (&class.place, (9, 10)),
            (&class.value.images[0].place, (10, 11)),
            (&config.bases.values().next().unwrap().place, (12, 1)),
        ];
        for (place, (line, column)) in places {
            assert_eq!(*place, Location::new(FILE_NAME, line, column));
        }
    }

    #[test]
    fn a_base_stands_for_what_is_said_of_it_most_closely() {
        let config = understood(
            "[bases]\n'python:*' = 'a'\n'python:3.*' = 'b'\n'python:3.11' = 'c'\n\
             'ghcr.io/acme/*' = 'target:base'\n'[::1]:5000/x' = 'd'\n\
             'docker.io/library/python:3.1*' = 'e'\n",
        );
        let table = [
            ("python:2", Some("docker.io/library/a:latest")),
            ("python:3.12", Some("docker.io/library/e:latest")),
            ("python:3.11", Some("docker.io/library/c:latest")),
            ("docker.io/library/python:3.11", Some("docker.io/library/c:latest")),
            ("docker.io/library/python:3.9", Some("docker.io/library/b:latest")),
            ("ghcr.io/acme/x", Some("target:base")),
            ("ghcr.io/acme/x/y", None),
            ("[::1]:5000/x:latest", Some("docker.io/library/d:latest")),
            ("python", Some("docker.io/library/a:latest")),
            ("PYTHON OF SOME KIND", None),
        ];
        for (written, expected) in table {
            let found = config.base(written).map(|(_, what)| what.value.to_string());
            assert_eq!(found.as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn paths_that_are_excluded_may_be_taken_back() {
        let config = understood("exclude = ['third_party/**', '/x/', '!third_party/own']");
        let excluded = config.excluded();
        let table = [
            ("third_party/a/Dockerfile", true),
            ("third_party/own/Dockerfile", false),
            ("x/Dockerfile", true),
            ("y/Dockerfile", false),
        ];
        for (path, expected) in table {
            assert_eq!(excluded.matches_or_parent_matches(path), expected, "{path}");
        }
        assert!(Config::default().excluded().is_empty());
    }

    fn two_families(one: &str, other: &str) -> String {
        format!(
            "[family.llm]\nbase = 'a'\nservices = [{one}]\n\
             [family.torch]\nbase = 'b'\nservices = [{other}]\n"
        )
    }

    #[test]
    fn a_service_in_two_families_is_told_with_both_places() {
        let plain = "in two families: in `torch` here, and in `llm` at bakehouse.toml:3:13";
        let table = [
            ("'tiny'", "'stt', 'tiny'", "6:20", plain),
            ("'t*'", "'t*'", "6:13", plain),
            ("'t*'", "'tiny'", "6:13", "and in `llm` at bakehouse.toml:3:13 as `t*`"),
            ("'tiny'", "'t*'", "6:13", "in `torch` here as `t*`, and in `llm` at"),
        ];
        for (one, other, place, says) in table {
            let text = two_families(one, other);
            assert_eq!(mistakes(&text), [format!("{place} service-in-two-families")]);
            let (_, diagnostics) = read(FILE_NAME, text.as_bytes());
            assert!(diagnostics[0].message.contains(says), "{}", diagnostics[0].message);
        }
    }

    #[test]
    fn a_service_may_fit_several_patterns_of_one_family() {
        let config = understood(&two_families("'t*', 'tiny'", "'stt'"));
        let families: Vec<&str> = config.families("tiny").map(|(family, _)| family).collect();
        assert_eq!(families, ["llm", "llm"]);
        assert_eq!(mistakes(two_families("'a', 'b', 'a'", "'c'")), ["3:23 repeated-service"]);
    }

    #[test]
    fn a_class_needs_a_table_only_if_it_is_nearly_called_like_one() {
        let text = |class: &str| format!("[classes.services]\n[images.a]\nclass = '{class}'\n");
        assert!(mistakes(text("tools")).is_empty());
        let (_, diagnostics) = read(FILE_NAME, text("servces").as_bytes());
        assert_eq!(diagnostics[0].code, "unknown-class");
        assert_eq!(diagnostics[0].severity, Severity::Warning);
    }

    #[test]
    fn of_a_great_many_mistakes_some_are_told() {
        let told = mistakes((0..5000).map(|n| format!("key-{n} = 1\n")).collect::<String>());
        assert_eq!(told.len(), 101);
        assert!(told[100].ends_with("more-mistakes"), "{}", told[100]);
    }

    #[test]
    fn however_deep_a_file_goes_the_stack_is_enough() {
        let nest = |parts: usize| {
            let key = vec!["a"; parts].join(".");
            let inline = format!("{key}={{").repeat(79) + &"}".repeat(79);
            format!("[{key}]\nx={{{inline}}}\nx={{{inline}}}\n")
        };
        let lists = |count: usize| format!("a={}", "[".repeat(count));
        for text in [nest(79), nest(10), nest(9), nest(1), lists(79), lists(500_000)] {
            let small = std::thread::Builder::new().stack_size(512 << 10);
            let told = small.spawn(move || mistakes(text)).unwrap().join().unwrap();
            assert!(!told.is_empty());
        }
    }

    #[test]
    fn what_is_made_to_take_long_ends() {
        let fill = |piece: &str| piece.repeat((MAX_SIZE >> 4) / piece.len());
        let numbered = |piece: &str, end: &str, count: u32| -> String {
            (0..count).map(|n| format!("{piece}{n}{end}")).collect()
        };
        let services = |name: &str, wild: &str| {
            let names = numbered(&format!("'{name}"), "',", 64);
            two_families(&names, &numbered(&format!("'{wild}"), "',", 16))
        };
        let texts = [
            fill("["),
            fill("]\n"),
            fill("a.b.c="),
            fill("\"\n"),
            fill("a=1\n"),
            fill("[a]\n"),
            fill("[images.a.args]\n"),
            fill("ü=1 "),
            format!("exclude=[{}]", &fill("3,")[20..]),
            format!("exclude=[{}]", numbered("'a/**/b/**/*", "',", 3_000)),
            numbered("kez", "=1\n", 4_000),
            numbered("[images.a", "]\n", 3_000),
            numbered("[classes.k", "]\n", 2_000) + &numbered("images.a", ".class='q'\n", 2_000),
            numbered("classes.k", "={}\n", 2_000) + &numbered("images.a", ".class='qqqqq'\n", 9),
            services(&"a".repeat(250), &format!("*{}b", "a".repeat(120))),
            services("a", "*a*").replace("*a*", &"*a".repeat(100)),
        ];
        for text in texts {
            assert!(mistakes(&text).len() <= 101, "{}", &text[..20]);
        }
        let many = two_families(&numbered("'a", "',", 3000), &numbered("'b*", "',", 3000));
        assert_eq!(mistakes(many), ["6:13 too-many-patterns"]);
    }

    /// What documents are made of.
    #[rustfmt::skip]
    const PIECES: &[&str] = &[
        "[images.a]\n", "[classes.b]\n", "[family.c]\n", "[family.d]\n", "[bases]\n", "[", "]\n",
        "version = ", "exclude = ", "registry = ", "dockerfile = ", "args = ", "tags = ",
        "platforms = ", "minutes = ", "size = ", "timeout = ", "level = ", "base = ", "arg = ",
        "services = ", "'a*' = ", "class = ", "1", "-1", "1e9", "nan", "inf", "true", "'é'",
        "'linux/amd64'", "'20m'", "'2GB'", "'['", "[1, 2]", "['a', 'b*', 'a']", "{}", "\u{0}",
        "{ A = '1' }", "1979-05-27", "\n", "\n", "\n", "\n", ".", ",", " ", "\"", "'''", "\\",
    ];

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            mistakes(text);
            mistakes(bytes);
        }

        #[test]
        fn no_document_makes_it_panic(
            pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..40),
        ) {
            mistakes(pieces.concat());
        }
    }
}
