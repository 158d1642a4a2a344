//! Input that is made to cost: it must end soon, and with a diagnostic.

use std::time::Duration;

use bakehouse_compose::{Project, SourceFile, Surroundings, read};
use proptest::prelude::*;

/// Reads files from memory; the first is the project's.
fn project(files: &[(String, String)]) -> Project {
    let load = |path: &str| {
        let file = files.iter().find(|(name, _)| name == path);
        file.map(|(_, text)| text.clone().into_bytes())
    };
    let around = Surroundings { env: &|_| None, load: &load, project: "p", profiles: None };
    let (path, text) = &files[0];
    read(&[SourceFile { path: path.clone(), text: text.clone().into_bytes() }], &around)
}

fn file(name: &str, text: String) -> (String, String) {
    (name.to_owned(), text)
}

/// Reads on a thread, so that a reading that does not end fails the test.
fn soon(files: Vec<(String, String)>) -> Vec<String> {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let codes = project(&files).diagnostics.into_iter().map(|problem| problem.code);
        send.send(codes.collect::<Vec<_>>()).ok();
    });
    receive.recv_timeout(Duration::from_secs(60)).expect("the reading ends")
}

fn has(codes: &[String], code: &str) {
    assert!(codes.iter().any(|found| found == code), "no `{code}` in {codes:?}");
}

#[test]
fn a_file_of_any_shape_ends_soon() {
    let services =
        |inside: String| format!("services:\n  app:\n    build:\n      target: {inside}\n");
    let table = [
        ("long", "# ".to_owned() + &"x".repeat(5 << 20), "yaml-too-large"),
        ("open brackets", "[".repeat(1 << 20), "invalid-yaml"),
        ("open braces", "{a: ".repeat(1 << 18), "invalid-yaml"),
        ("indented lists", "- ".repeat(1 << 18), "yaml-too-deep"),
        ("question marks", "? ".repeat(1 << 18), "yaml-too-deep"),
        (
            "long scalars repeated",
            {
                let aliases = "*a,".repeat(10_000);
                format!("x-a: &a {}\nx-b: [{aliases}]\n", "y".repeat(1 << 16))
            },
            "yaml-too-large",
        ),
        (
            "nested variables",
            services("${A:-".repeat(2000) + &"}".repeat(2000)),
            "interpolation-too-deep",
        ),
        ("open variables", services("${A:-".repeat(100_000)), "invalid-interpolation"),
    ];
    for (name, text, code) in table {
        let codes = soon(vec![file("compose.yaml", text)]);
        assert!(codes.iter().any(|found| found == code), "{name}: {codes:?}");
    }
}

#[test]
fn includes_that_multiply_are_stopped() {
    let mut files = Vec::new();
    for level in 0..30 {
        let next = level + 1;
        let text = format!(
            "include: [f{next}.yml, f{next}.yml, f{next}.yml]\nservices: {{s: {{image: x}}}}\n"
        );
        files.push(file(&format!("f{level}.yml"), text));
    }
    files.push(file("f30.yml", "services: {s: {image: x}}\n".to_owned()));
    has(&soon(files), "compose-too-large");
}

#[test]
fn includes_and_extensions_without_end_are_stopped() {
    let include =
        |level: usize| file(&format!("f{level}.yml"), format!("include: [f{}.yml]\n", level + 1));
    has(&soon((0..200).map(include).collect()), "include-too-deep");
    let mut text = "services:\n".to_owned();
    for level in 0..5000 {
        text += &format!("  s{level}: {{extends: s{}, build: {{tags: [t{level}]}}}}\n", level + 1);
    }
    has(&soon(vec![file("compose.yaml", text)]), "extends-too-deep");
    let extend = |level: usize| {
        let text =
            format!("services: {{s: {{extends: {{file: f{}.yml, service: s}}}}}}\n", level + 1);
        file(&format!("f{level}.yml"), text)
    };
    has(&soon((0..200).map(extend).collect()), "extends-too-deep");
}

#[test]
fn one_large_service_cannot_be_extended_for_ever() {
    let tags = "tag-of-some-length,".repeat(20_000);
    let mut text = format!("services:\n  base:\n    build: {{tags: [{tags}]}}\n");
    for index in 0..2000 {
        text += &format!("  s{index}: {{extends: base}}\n");
    }
    has(&soon(vec![file("compose.yaml", text)]), "compose-too-large");
}

#[test]
fn env_files_that_multiply_are_stopped() {
    let mut env = "A0=0123456789\n".to_owned();
    for index in 0..100 {
        env += &format!("A{}=${{A{index}}}${{A{index}}}\n", index + 1);
    }
    let compose = file("compose.yaml", "services: {app: {image: \"$A60\"}}\n".to_owned());
    has(&soon(vec![compose, file(".env", env)]), "interpolation-too-long");
    let value = format!("A={}\n", "x".repeat(1 << 19));
    let text = format!("services: {{app: {{build: {{tags: [{}]}}}}}}\n", "$A,".repeat(1000));
    let compose = file("compose.yaml", text);
    has(&soon(vec![compose, file(".env", value)]), "compose-too-large");
}

#[test]
fn what_is_large_costs_no_more_than_its_size() {
    let services = |from: usize| {
        let lines = (from..from + 10_000).map(|index| format!("  s{index}: {{image: x}}\n"));
        format!("services:\n{}", lines.collect::<String>())
    };
    let hosts: String = (0..20_000).map(|index| format!("h{index}=1,")).collect();
    let hosts = format!("services: {{a: {{build: {{extra_hosts: [{hosts}]}}}}}}\n");
    let needs: String = (0..10_000).map(|index| format!("s{index},")).collect();
    let needs = format!("{}  a: {{image: x, depends_on: [{needs}]}}\n", services(0));
    let unset: String = (0..20_000).map(|index| format!("A{index}=$B{index}\n")).collect();
    let table = [
        ("the same services", format!("{0}---\n{0}", services(0)), String::new()),
        (
            "many documents",
            services(0) + &"---\nservices: {s1: {image: y}}\n".repeat(2000),
            String::new(),
        ),
        ("many hosts", format!("{hosts}---\n{hosts}"), String::new()),
        ("many needs", format!("{needs}---\n{needs}"), String::new()),
        ("many unset variables", services(0), unset),
        (
            "many long values",
            services(0).replace('x', "'${L+x}'"),
            format!("L={}", "l".repeat(1 << 19)),
        ),
    ];
    for (name, compose, env) in table {
        let started = std::thread::spawn(move || {
            soon(vec![file("compose.yaml", compose), file(".env", env)])
        });
        assert!(started.join().is_ok(), "{name}");
    }
}

#[test]
fn many_includes_of_a_large_project_are_stopped() {
    let includes: String = (0..3000).map(|index| format!("  - f{}.yml\n", index % 50)).collect();
    let services: String = (0..10_000).map(|index| format!("  s{index}: {{image: x}}\n")).collect();
    let mut files =
        vec![file("compose.yaml", format!("include:\n{includes}services:\n{services}"))];
    let part = |index: usize| {
        file(&format!("f{index}.yml"), format!("services: {{t{index}: {{image: x}}}}\n"))
    };
    files.extend((0..50).map(part));
    files.push(file(".env", "A=1\n".repeat(1000)));
    has(&soon(files), "compose-too-large");
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), env in any::<String>()) {
        project(&[file("compose.yaml", text), file(".env", env)]);
    }

    #[test]
    fn no_project_panics(values in prop::collection::vec(value(), 12)) {
        let keys = ["image", "platform", "profiles", "depends_on", "extends"];
        let inner = ["context", "args", "secrets", "extra_hosts", "ulimits", "ssh", "additional_contexts"];
        let mut text = "services:\n  a:\n".to_owned();
        for (key, value) in keys.iter().zip(&values) {
            text += &format!("    {key}: {value}\n");
        }
        text += "    build:\n";
        for (key, value) in inner.iter().zip(&values[5..]) {
            text += &format!("      {key}: {value}\n");
        }
        let over = text.replace("  a:", "  b:") + &text.replace("services:\n", "");
        let include = format!("include: {}\nsecrets: {}\n{text}", values[0], values[1]);
        project(&[file("compose.yaml", format!("{include}---\n{over}")), file("a", text)]);
    }
}

/// A value in flow style.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a",
        "b",
        "~",
        "5",
        "1.5",
        "true",
        "'$A'",
        "'${A?}'",
        "a=b",
        "a:b",
        "'='",
        "''",
        "./a",
        "../..",
        "'~/x'",
        "service:a",
        "!reset null",
        "!override a",
        "/",
        "{service: b}",
        "{file: a, service: a}",
        "{source: a}",
        "{soft: 1, hard: 2}",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|all| format!("[{}]", all.join(", "))),
            prop::collection::vec(("[ab]|context|path|file", inner), 0..3).prop_map(|all| {
                let pairs =
                    all.iter().enumerate().map(|(at, (key, value))| format!("{key}{at}: {value}"));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }),
        ]
    })
}
