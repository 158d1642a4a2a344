//! The tree with places, by itself.

use bakehouse_compose::yaml::{Kind, Node, parse, parse_all};
use proptest::prelude::*;

/// A node in one line: kinds, and the places of keys and scalars.
fn show(node: &Node) -> String {
    let tag = node.tag.as_ref().map_or(String::new(), |tag| format!("{tag} "));
    let place = format!("{}:{}", node.span.line, node.span.column);
    let value = match &node.kind {
        Kind::Null => format!("null@{place}"),
        Kind::Bool(value) => format!("{value}@{place}"),
        Kind::Number(text) => format!("#{text}@{place}"),
        Kind::Text(text) => format!("{text:?}@{place}"),
        Kind::List(items) => {
            format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Kind::Map(entries) => {
            let entry = |entry: &bakehouse_compose::yaml::Entry| {
                let (line, column) = (entry.key_span.line, entry.key_span.column);
                format!("{}@{line}:{column}={}", entry.key, show(&entry.value))
            };
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    };
    tag + &value
}

#[test]
fn a_document_becomes_a_tree_with_places() {
    let table = [
        ("", "null@1:1"),
        ("\u{feff}a: b", "{a@1:1=\"b\"@1:4}"),
        ("a:\n  b: 1\n  c:\n", "{a@1:1={b@2:3=#1@2:6, c@3:3=null@3:4}}"),
        ("- x\n- 'y'\n- \"z\\t\"", "[\"x\"@1:3, \"y\"@2:3, \"z\\t\"@3:3]"),
        ("{a: [1, true], \"b\": no}", "{a@1:2=[#1@1:6, true@1:9], b@1:16=\"no\"@1:21}"),
        (
            "a: |\n  one\n  two\nb: >\n  one\n  two\n",
            "{a@1:1=\"one\\ntwo\\n\"@2:3, b@4:1=\"one two\\n\"@5:3}",
        ),
        (
            "a: !reset null\nb: !override [x]",
            "{a@1:1=!reset \"null\"@1:4, b@2:1=!override [\"x\"@2:15]}",
        ),
        ("a: !!str 5\nb: !!int \"5\"\nc: ! 5", "{a@1:1=\"5\"@1:4, b@2:1=#5@2:4, c@3:1=#5@3:4}"),
        ("on: x\n1: y\n~: z", "{on@1:1=\"x\"@1:5, 1@2:1=\"y\"@2:4, ~@3:1=\"z\"@3:4}"),
        ("a: &x {k: 1}\nb: *x", "{a@1:1={k@1:8=#1@1:11}, b@2:1={k@1:8=#1@1:11}}"),
        (
            "a: &x {k: 1, l: 2}\nb:\n  <<: *x\n  l: 3",
            "{a@1:1={k@1:8=#1@1:11, l@1:14=#2@1:17}, b@2:1={l@4:3=#3@4:6, k@1:8=#1@1:11}}",
        ),
        ("\"<<\": text", "{<<@1:1=\"text\"@1:7}"),
        ("ä: ö # c", "{ä@1:1=\"ö\"@1:4}"),
    ];
    for (text, expected) in table {
        assert_eq!(show(&parse(text, "f.yml").unwrap()), expected, "{text}");
    }
}

#[test]
fn a_place_reaches_to_the_last_line() {
    let root = parse("a:\n  - one\n  - two\nb: |\n  text\n  text\n\nc: x\n", "dir/f.yml").unwrap();
    let lines = |key: &str| {
        let location = root.get(key).unwrap().span.location();
        (location.file, location.line, location.end_line)
    };
    assert_eq!(lines("a"), ("dir/f.yml".to_owned(), 2, 3));
    assert_eq!(lines("b"), ("dir/f.yml".to_owned(), 5, 7));
    assert_eq!(lines("c"), ("dir/f.yml".to_owned(), 8, 8));
}

#[test]
fn a_stream_has_several_documents_with_anchors_of_their_own() {
    let documents = parse_all("a: &x 1\n---\nb: 2\n...\n---\n- 3\n", "f.yml").unwrap();
    let shown: Vec<String> = documents.iter().map(show).collect();
    assert_eq!(shown, ["{a@1:1=#1@1:4}", "{b@3:1=#2@3:4}", "[#3@6:3]"]);
    assert!(parse_all("a: &x 1\n---\nb: *x\n", "f.yml").is_err());
}

#[test]
fn what_is_asked_of_the_wrong_kind_is_not_there() {
    let root = parse("text: t\nlist: [1]\nnumber: 1.0\nnothing:", "f.yml").unwrap();
    let text = root.get("text").unwrap();
    assert_eq!((text.as_str(), text.items().len(), text.entries().len()), (Some("t"), 0, 0));
    assert!(text.get("k").is_none() && root.get("list").unwrap().to_text().is_none());
    let number = root.get("number").unwrap();
    assert_eq!((number.as_str(), number.to_text().as_deref()), (None, Some("1")));
    assert!(root.get("nothing").unwrap().is_null());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(parse_all(&text, "f.yml"));
    }

    #[test]
    fn nothing_that_looks_like_yaml_panics(text in "([-?:,\\[\\]{}&*#!|>'\"%@`a-c0 ~<=.\t\n]|<<|\n  |: |- |&a |\\*a |---\n|\r\n){0,60}") {
        if let Ok(documents) = parse_all(&text, "f.yml") {
            for document in documents {
                prop_assert!(document.weight() > 0);
            }
        }
    }
}
