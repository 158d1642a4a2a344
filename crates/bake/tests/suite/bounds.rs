//! What would take for ever, or all memory, or the stack, is a diagnostic.

use std::fmt::Write as _;

use bakehouse_bake::{SourceFile, Surroundings, read};
use proptest::prelude::*;

/// Codes of what is wrong with a text.
fn codes(path: &str, text: &str) -> Vec<String> {
    let file = SourceFile { path: path.to_owned(), text: text.into() };
    let bake = read(&[file], &Surroundings::new(&|_| None));
    let (_, diagnostics) = bake.resolve_all(&[]);
    for diagnostic in &diagnostics {
        let place = diagnostic.location.as_ref().unwrap();
        assert!(place.line >= 1 && place.column >= 1 && diagnostic.help.is_some());
    }
    diagnostics.into_iter().map(|diagnostic| diagnostic.code).collect()
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str, close: &str| {
        format!("x = {}1{}\n", open.repeat(100_000), close.repeat(100_000))
    };
    let table = [
        deep("(", ")"),
        deep("[", "]"),
        deep("{ a = ", "}"),
        deep("!", ""),
        deep("-", ""),
        deep("\"${", "}\""),
        deep("true ? 1 : ", ""),
        deep("upper(", ")"),
        deep("[for x in ", " : x]"),
        deep("1 + ", ""),
        deep("\"%{ if true }", "%{ endif }\""),
        "a {\n".repeat(100_000),
    ];
    for text in table {
        let found = codes("x.hcl", &text);
        assert_eq!(found, ["syntax"], "{}", &text[..30]);
    }
    for text in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        assert_eq!(codes("x.json", &text), ["syntax"]);
    }
}

#[test]
fn chains_are_refused_before_the_stack_ends() {
    let mut variables = String::from("v0 = 1\n");
    let mut functions = String::from("function \"f0\" {\n  params = []\n  result = 1\n}\n");
    let mut inherits = String::from("target \"t0\" {}\n");
    let mut contexts = String::from("target \"t0\" {}\n");
    let mut references = String::from("target \"t0\" {\n  args = { A = 1 }\n}\n");
    for at in 1..1_000 {
        let before = at - 1;
        writeln!(variables, "v{at} = \"${{v{before}}}\"").unwrap();
        writeln!(functions, "function \"f{at}\" {{\n  params = []\n  result = f{before}()\n}}")
            .unwrap();
        writeln!(inherits, "target \"t{at}\" {{\n  inherits = [\"t{before}\"]\n}}").unwrap();
        writeln!(contexts, "target \"t{at}\" {{\n  contexts = {{ a = \"target:t{before}\" }}\n}}")
            .unwrap();
        writeln!(references, "target \"t{at}\" {{\n  args = {{ A = target.t{before}.args.A }}\n}}")
            .unwrap();
    }
    // Names are gone through in order, so the last ones are come to first in none of these.
    let reversed = |text: &str| text.replace("t0", "u0");
    for text in [variables, functions, inherits, contexts, references] {
        codes("x.hcl", &text);
        codes("x.hcl", &reversed(&text));
    }
}

#[test]
fn values_that_double_are_refused() {
    let doubling = |first: &str, next: &dyn Fn(usize) -> String| {
        let mut text = format!("v0 = {first}\n");
        for at in 1..60 {
            writeln!(text, "v{at} = {}", next(at - 1)).unwrap();
        }
        text
    };
    let table = [
        doubling("\"xxxxxxxx\"", &|v| format!("\"${{v{v}}}${{v{v}}}\"")),
        doubling("[1]", &|v| format!("[v{v}, v{v}]")),
        doubling("{}", &|v| format!("{{ a = v{v}, b = v{v} }}")),
        doubling("[1]", &|v| format!("concat(v{v}, v{v})")),
        doubling("\"ab\"", &|v| format!("join(v{v}, [v{v}, v{v}])")),
        doubling("\"ab\"", &|v| format!("replace(v{v}, \"a\", v{v})")),
        doubling("[1]", &|v| format!("jsonencode([v{v}, v{v}])")),
        doubling("2", &|v| format!("v{v} * v{v}")),
        doubling("[1, 2]", &|v| format!("setproduct(v{v}, v{v})")),
    ];
    for text in table {
        assert!(!codes("x.hcl", &text).is_empty(), "{text}");
    }
    let wide = "x = format(\"%999999999999d\", 1)\ny = indent(999999999999, \"\\n\")\nz = range(99999999)\n";
    assert_eq!(codes("x.hcl", wide).len(), 3);
    let calls = "function \"f0\" {\n  params = [x]\n  result = x\n}\n".to_owned()
        + &(1..40)
            .map(|at| {
                format!(
                    "function \"f{at}\" {{\n  params = [x]\n  result = f{0}(f{0}(x))\n}}\n",
                    at - 1
                )
            })
            .collect::<String>()
        + "x = f39(1)\n";
    assert_eq!(codes("x.hcl", &calls), ["too-much-work"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC*", json in any::<bool>()) {
        codes(if json { "x.json" } else { "x.hcl" }, &text);
    }

    #[test]
    fn nor_does_one_that_looks_like_a_bake_file(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "target", "group", "variable", "function", "\"a\"", "\"b\"", "{", "}", "=", "\n", "[", "]", "(", ")", "a", "b",
                "args", "tags", "inherits", "matrix", "name", "default", "type", "params", "result", "1", "-1.5e3", "true",
                "null", "\"${", "}\"", "%{ if", "%{ endif }", "for", "in", ":", "=>", "...", "if", "?", "+", "-", "*", "/", "%",
                "==", "&&", "!", ",", ".", "[*]", ".*", "upper", "format", "<<-EOT\n", "EOT\n", "target.a.args", "list(string)",
            ]),
            0..60,
        ),
    ) {
        codes("x", &words.join(" "));
    }

    #[test]
    fn nor_does_any_argument_of_any_function(
        name in prop::sample::select(vec![
            "chunklist", "cidrhost", "cidrsubnet", "cidrsubnets", "coalesce", "element", "flatten", "format", "formatdate",
            "formatlist", "indent", "index", "int", "jsondecode", "keys", "log", "lookup", "max", "merge", "parseint", "pow",
            "range", "regex", "regex_replace", "reverse", "setproduct", "slice", "sort", "split", "substr", "timeadd", "title",
            "trim", "uuidv5", "zipmap", "csvdecode", "base64decode", "signum", "ceil", "hasindex", "indexof", "concat",
        ]),
        arguments in prop::collection::vec(
            prop::sample::select(vec![
                "null", "true", "0", "-1", "1.5", "1e300", "9223372036854775807", "-9223372036854775808", "\"\"", "\"a\"",
                "\"%d %s %v %[3]q %5.2f %g\"", "\"10.0.0.0/8\"", "\"::/0\"", "\"2024-02-29T13:04:05Z\"", "\"-1h\"", "[]", "[1, \"a\"]",
                "[[], [null]]", "{}", "{ a = 1 }", "\"é👨‍👩‍👧\"", "\"(a)(?P<b>c)?\"", "convert([\"x\"], set(string))", "\"[1, 2\"",
            ]),
            0..4,
        ),
    ) {
        codes("x.hcl", &format!("x = {name}({})\n", arguments.join(", ")));
    }
}
