//! What is doubtful in a fleet, rule by rule: what is told, and what is passed over in silence.

use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;
use bakehouse_model::{Diagnostic, Location, Severity};
use bakehouse_plan::fleet::{
    Definition, Described, DockerfileAt, Family, Fleet, Policy, SourceFile, SourceKind,
    Surroundings, read,
};
use bakehouse_plan::lint::{Given, RULES, find};
use bakehouse_plan::lower::Settings;
use bakehouse_plan::{codes, families};

/// A repository with these Dockerfiles, and what else is said of it.
pub(crate) fn fleet_of(files: &[(&str, &str)], described: Described) -> Fleet {
    let source = |(path, text): &(&str, &str)| SourceFile {
        path: (*path).to_owned(),
        text: text.as_bytes().to_vec(),
        context: None,
    };
    let files: Vec<SourceFile> = files.iter().map(source).collect();
    let around = Surroundings {
        repository: "repo",
        exists: &|_| false,
        load: &|_| None,
        settings: &Settings::new(Platform::linux("amd64")),
        target: None,
        prefix: None,
        contexts: &[],
    };
    read(&files, described, &around)
}

fn fleet(files: &[(&str, &str)]) -> Fleet {
    fleet_of(files, Described::default())
}

/// `file:line:column code severity: message` of what one rule finds.
fn told(found: &[Diagnostic], code: &str) -> Vec<String> {
    let of = found.iter().filter(|diagnostic| diagnostic.code == code);
    of.map(|diagnostic| diagnostic.to_string()).collect()
}

fn lint(fleet: &Fleet) -> Vec<Diagnostic> {
    find(fleet, &Given::default())
}

#[test]
fn cache_mounts_that_do_nothing_or_break_are_told() {
    const PIP: &str = "pip-no-cache-with-cache-mount";
    const CLEAN: &str = "apt-cache-mount-docker-clean";
    const SHARING: &str = "apt-cache-mount-sharing";
    let table: &[(&str, &[&str])] = &[
        ("RUN --mount=type=cache,target=/root/.cache/pip pip install --no-cache-dir x", &[PIP]),
        (
            "RUN --mount=type=cache,target=/root/.cache/pip \\\n  a && \\\n  python -m pip install -r r.txt --no-cache-dir",
            &[PIP],
        ),
        ("RUN --mount=type=cache,target=/root/.cache/ pip3.11 install --no-cache-dir x", &[PIP]),
        (
            "RUN --mount=type=cache,target=/root/.cache/pip <<EOF\npip install --no-cache-dir x\nEOF",
            &[PIP],
        ),
        (
            "ENV PIP_NO_CACHE_DIR=1\nRUN --mount=type=cache,target=/root/.cache/pip pip install x",
            &[PIP],
        ),
        (
            "ENV PIP_NO_CACHE_DIR=off\nRUN --mount=type=cache,target=/root/.cache/pip pip install x",
            &[],
        ),
        ("RUN --mount=type=cache,target=/root/.cache/pip pip install x", &[]),
        ("RUN pip install --no-cache-dir x", &[]),
        ("RUN --mount=type=cache,target=/root/.cache/pip pip install x; other --no-cache-dir", &[]),
        ("RUN --mount=type=cache,target=/root/.cache/pip uv pip install --no-cache-dir x", &[]),
        ("RUN --mount=type=cache,target=/root/.npm pip install --no-cache-dir x", &[]),
        (
            "RUN --mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y x",
            &[CLEAN, SHARING],
        ),
        (
            "RUN --mount=type=cache,target=/var/cache/apt/,sharing=locked apt-get -y install x",
            &[CLEAN],
        ),
        ("RUN --mount=type=cache,target=/var/cache/apt,sharing=private apt install x", &[CLEAN]),
        ("RUN --mount=type=cache,target=/var/lib/apt apt-get install x", &[SHARING]),
        (
            "RUN rm -f /etc/apt/apt.conf.d/docker-clean\nRUN --mount=type=cache,target=/var/cache/apt,sharing=locked apt-get install x",
            &[],
        ),
        (
            "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked echo 'Binary::apt::APT::Keep-Downloaded-Packages \"true\";' > /etc/apt/apt.conf.d/k; apt-get install x",
            &[],
        ),
        ("RUN --mount=type=cache,target=/var/cache/apt ls /var/cache/apt", &[]),
        ("RUN apt-get update && apt-get install -y x", &[]),
    ];
    for (text, expected) in table {
        let text = format!("FROM x@sha256:{}\n{text}\n", "0".repeat(64));
        let found = lint(&fleet(&[("app/Dockerfile", &text)]));
        let mut codes: Vec<&str> = found.iter().map(|found| found.code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(&codes, expected, "{text}");
    }
}

#[test]
fn what_a_base_of_the_fleet_does_about_docker_clean_holds_for_what_stands_on_it() {
    let run = "RUN --mount=type=cache,target=/var/cache/apt,sharing=locked apt-get install x";
    let app = format!("FROM middle\n{run}\n");
    let with = |base| {
        let files = [
            ("app/Dockerfile", app.as_str()),
            ("middle/Dockerfile", "FROM base"),
            ("base/Dockerfile", base),
        ];
        told(&lint(&fleet(&files)), "apt-cache-mount-docker-clean")
    };
    assert!(with("FROM debian:12\nRUN rm /etc/apt/apt.conf.d/docker-clean").is_empty());
    let expected = "app/Dockerfile:2: the cache mount `/var/cache/apt` stays empty: `docker-clean` is in force";
    assert_eq!(with("FROM debian:12"), [expected]);
}

#[test]
fn a_base_without_a_digest_is_told_once_with_how_often_it_is_written() {
    let pinned = format!("FROM deb@sha256:{}", "0".repeat(64));
    let files = [
        ("a/Dockerfile", "FROM python:3.11-slim AS b\nRUN x\nFROM python:3.11-slim"),
        ("b/Dockerfile", "# first\nFROM python:3.11-slim"),
        ("c/Dockerfile", "FROM registry.example:5000/us/x"),
        ("d/Dockerfile", "FROM golang:latest"),
        ("e/Dockerfile", pinned.as_str()),
        ("f/Dockerfile", "FROM scratch"),
        ("g/Dockerfile", "FROM a"),
    ];
    let fleet = fleet(&files);
    let found = lint(&fleet);
    let expected = [
        "a/Dockerfile:3: the base `python:3.11-slim` has a tag and no digest (in 2 files)",
        "c/Dockerfile:1: the base `registry.example:5000/us/x` has neither a tag nor a digest",
        "d/Dockerfile:1: the base `golang:latest` has no digest, and `latest` is another image tomorrow",
    ];
    assert_eq!(told(&found, "unpinned-base"), expected);
    let severities: Vec<Severity> = found.iter().map(|found| found.severity).collect();
    assert_eq!(severities, [Severity::Note, Severity::Warning, Severity::Warning]);
    let ok = ["python:3.*", "golang", "registry.example:5000/us/*"].map(str::to_owned);
    let given = Given { unpinned_ok: &ok, ..Given::default() };
    assert!(find(&fleet, &given).is_empty());
}

#[test]
fn an_image_among_bases_that_nothing_stands_on_is_told_and_a_service_never() {
    let bases = [
        ("base/Dockerfile.core", "FROM debian:12"),
        ("base/Dockerfile.web", "FROM core"),
        ("base/Dockerfile.ml", "FROM core"),
        ("base/Dockerfile.ml-torch", "FROM ml\nRUN torch"),
        ("base/Dockerfile.runner", "FROM core\nCMD [\"run\"]"),
        ("site/Dockerfile", "FROM web"),
        ("model/Dockerfile", "FROM ml"),
        ("lonely/Dockerfile", "FROM debian:12"),
    ];
    let expected = "base/Dockerfile.ml-torch:1: no image stands on `ml-torch`, and it lies among bases: `ml`, `web`";
    assert_eq!(told(&lint(&fleet(&bases)), "unused-image"), [expected]);
    // Services that lie beside the base they share are what the fleet is for.
    let flat = [
        ("Dockerfile.base", "FROM debian:12"),
        ("Dockerfile.api", "FROM base"),
        ("Dockerfile.web", "FROM base"),
    ];
    assert!(told(&lint(&fleet(&flat)), "unused-image").is_empty());
    // What a definition describes is used by whoever wrote that.
    let mut torch = defined("ml-torch", "compose.yaml", 3);
    torch.dockerfile = DockerfileAt::Path("base/Dockerfile.ml-torch".to_owned());
    let described = Described { definitions: vec![torch], ..Described::default() };
    assert!(told(&lint(&fleet_of(&bases, described)), "unused-image").is_empty());
}

/// An image of a compose file.
fn defined(name: &str, file: &str, line: u32) -> Definition {
    let location = Location::new(file, line, 3);
    Definition::new(SourceKind::Compose, file, name, location)
}

/// Images of one bake file, each with a Dockerfile of its own.
fn baked(images: &[(&str, &[&str], &[&str])]) -> Fleet {
    let files: Vec<(String, String)> = images
        .iter()
        .map(|(name, _, _)| (format!("{name}/Dockerfile"), "FROM scratch".to_owned()))
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
    let definitions = images.iter().zip(1..).map(|((name, references, cache_to), line)| {
        let mut image = defined(name, "docker-bake.hcl", line);
        image.kind = SourceKind::Bake;
        image.dockerfile = DockerfileAt::Path(format!("{name}/Dockerfile"));
        image.references = references.iter().map(|text| (*text).to_owned()).collect();
        image.options.cache_to = cache_to.iter().map(|text| (*text).to_owned()).collect();
        image
    });
    let described = Described { definitions: definitions.collect(), ..Described::default() };
    fleet_of(&files, described)
}

#[test]
fn caches_that_replace_tags_or_each_other_are_told() {
    let fleet = baked(&[
        ("a", &["reg.example/a:latest"], &["reg.example/a"]),
        ("b", &["reg.example/b:1"], &["type=registry,ref=reg.example/cache:all,mode=max"]),
        ("c", &[], &["type=registry,ref=reg.example/cache:all"]),
        ("d", &[], &["type=gha"]),
        ("e", &[], &["type=gha,mode=max,scope=buildkit"]),
        ("f", &[], &["type=gha,scope=f", "type=local,dest=f", "type=inline"]),
        ("g", &[], &["type=registry,ref=reg.example/cache:g"]),
    ]);
    let found = lint(&fleet);
    let expected = "docker-bake.hcl:1: the cache of `a` is written to `reg.example/a`, which is the tag of `a`";
    assert_eq!(told(&found, "cache-ref-is-tag"), [expected]);
    let expected = [
        "docker-bake.hcl:2: `b`, `c` write their caches to `reg.example/cache:all`",
        "docker-bake.hcl:4: `d`, `e` write their caches to the scope `buildkit`",
    ];
    assert_eq!(told(&found, "cache-ref-shared"), expected);
    let is_tag = found.iter().find(|found| found.code == "cache-ref-is-tag").unwrap();
    assert_eq!(is_tag.severity, Severity::Error);
}

#[test]
fn an_inline_cache_with_mode_max_is_told() {
    let table: &[(&[&str], bool, bool)] = &[
        (&["type=registry,ref=r/c,mode=max"], true, true),
        (&["type=registry,ref=r/c,mode=min"], true, false),
        (&["type=registry,ref=r/c,mode=max"], false, false),
        (&["type=inline,mode=max"], false, true),
        (&["type=inline"], true, false),
        (&[], true, false),
    ];
    for (cache_to, argument, expected) in table {
        let mut image = defined("a", "compose.yaml", 2);
        image.dockerfile = DockerfileAt::Path("a/Dockerfile".to_owned());
        image.options.cache_to = cache_to.iter().map(|text| (*text).to_owned()).collect();
        if *argument {
            image.args = BTreeMap::from([("BUILDKIT_INLINE_CACHE".to_owned(), "1".to_owned())]);
        }
        let described = Described { definitions: vec![image], ..Described::default() };
        let found = lint(&fleet_of(&[("a/Dockerfile", "FROM scratch")], described));
        assert_eq!(!told(&found, "inline-cache-max").is_empty(), *expected, "{cache_to:?}");
    }
}

#[test]
fn an_image_that_several_files_describe_is_told_at_the_last_of_them() {
    let at = |file: &str, line| {
        let mut image = defined("app", file, line);
        image.dockerfile = DockerfileAt::Path("app/Dockerfile".to_owned());
        image
    };
    let definitions = vec![at("compose.yaml", 2), at("compose.ci.yaml", 7)];
    let described = Described { definitions, ..Described::default() };
    let found = lint(&fleet_of(&[("app/Dockerfile", "FROM scratch")], described));
    let expected = "compose.ci.yaml:7: the image of the service `app` is described already by the service `app` (compose.yaml:2)";
    assert_eq!(told(&found, "described-twice"), [expected]);
}

/// The fleet that the documents of `fixtures/documented` draw, well or badly.
fn bakery() -> Fleet {
    fleet(&[
        ("base/Dockerfile.flour", "FROM debian:12\n"),
        ("base/Dockerfile.dough", "# mixed\nFROM flour\n"),
        ("base/Dockerfile.rye-dough", "FROM dough\n"),
        ("base/Dockerfile.oven", "FROM flour\n"),
        ("bread/Dockerfile", "FROM dough\n"),
        ("pretzel/Dockerfile", "FROM dough\n"),
        ("baguette/Dockerfile", "FROM oven AS hot\nFROM dough\nCOPY --from=hot /a /a\n"),
        ("cake/Dockerfile", "FROM dough\n"),
    ])
}

fn documented(path: &str, text: &str) -> Vec<Diagnostic> {
    let given = Given { documented: Some((path, text)), ..Given::default() };
    let mut found = find(&bakery(), &given);
    found.retain(|found| found.code == "documented-graph");
    found
}

/// `line:column: message`.
fn lines(found: &[Diagnostic]) -> Vec<String> {
    let line = |found: &Diagnostic| {
        let place = found.location.as_ref().unwrap();
        format!("{}:{}: {}", place.line, place.column, found.message)
    };
    found.iter().map(line).collect()
}

#[test]
fn a_page_is_compared_with_the_dockerfiles_name_by_name_and_edge_by_edge() {
    let found = documented("DOC.md", include_str!("../../../../fixtures/documented/bakery.md"));
    let expected = [
        "3:47: `oven` is drawn below `dough` (line 3) and `flour` (line 16), and it stands on `flour` (base/Dockerfile.oven:1)",
        "5:5: `base images` are 6, and 5 are drawn",
        "13:13: no image of the fleet is `rye_bread`",
        "13:24: `pretzel` is drawn below `rye-dough` (line 13) and `dough` (line 15), and it stands on `dough` (pretzel/Dockerfile:1)",
        "14:16: no image of the fleet is `cake_shop`",
        "18:5: no image of the fleet is `sweet-things`",
    ];
    let shown = lines(&found);
    for expected in expected {
        assert!(shown.iter().any(|line| line == expected), "no `{expected}` in {shown:#?}");
    }
    assert!(shown.iter().any(|line| line.ends_with("1 image of the fleet is not drawn: `cake`")));
    let help = |name: &str| {
        let found = found.iter().find(|found| found.message.contains(name)).unwrap();
        found.help.clone().unwrap()
    };
    assert!(help("`cake_shop`").starts_with("did you mean `cake`?"));
    let never = ["never-said", "not-an-image", "Advanced", "Timeout", "minutes"];
    for word in never {
        assert!(!shown.iter().any(|line| line.contains(word)), "{word} in {shown:#?}");
    }
    assert_eq!(shown.len(), expected.len() + 1, "{shown:#?}");
}

#[test]
fn arrows_and_tables_are_read_in_either_direction() {
    let mermaid = include_str!("../../../../fixtures/documented/bakery.mmd");
    let missing = "2 images of the fleet are not drawn: `cake`, `rye-dough`";
    let check = |path: &str, text: &str| {
        let shown = lines(&documented(path, text));
        let [only] = shown.as_slice() else { panic!("{path}: {shown:#?}") };
        assert!(only.ends_with(missing), "{path}: {only}");
    };
    check("g.mmd", mermaid);
    check("g.md", &format!("# x\n\n```mermaid\n{mermaid}```\n"));
    let dot = "digraph { flour -> dough; dough -> bread; dough -> pretzel;\n flour -> \"oven\" -> baguette [color=red];\n}\n";
    check("g.dot", dot);
    let up = "digraph g {\n dough -> flour\n bread -> dough\n pretzel -> dough\n oven -> flour\n baguette -> oven\n}\n";
    check("up.gv", up);
    let json = r#"{"images": [{"name": "flour"}, {"name": "dough"}, {"name": "bread"}, {"name": "pretzel"},
        {"name": "oven"}, {"name": "baguette"}],
        "edges": [{"image": "dough", "needs": "flour"}, {"image": "baguette", "needs": "dough"}]}"#;
    check("g.json", json);
    let table = documented("t.md", include_str!("../../../../fixtures/documented/table.md"));
    let shown = lines(&table);
    let expected = [
        "5:4: `bread` is drawn below `oven`, and it stands on `dough` (bread/Dockerfile:1)",
        "7:4: no image of the fleet is `baguete`",
    ];
    for expected in expected {
        assert!(shown.iter().any(|line| line == expected), "no `{expected}` in {shown:#?}");
    }
    assert!(table.iter().any(|found| {
        found.help.as_deref().is_some_and(|help| help.starts_with("did you mean `baguette`?"))
    }));
}

#[test]
fn a_document_that_is_right_is_passed_over_and_one_without_a_graph_is_told() {
    let right = "- flour\n  - dough\n    - rye-dough\n    - bread\n    - pretzel\n    - cake\n    - baguette\n  - oven\n    - baguette\n\nThe 3 base images.\n";
    assert_eq!(lines(&documented("right.md", right)), Vec::<String>::new());
    for text in ["", "# Hello\n\nNothing is drawn here.\n", "- one\n- two\n", "\u{0}\u{1}"] {
        let shown = lines(&documented("x.md", text));
        assert_eq!(shown.len(), 1, "{text}: {shown:?}");
        assert!(shown[0].contains("draws no graph"), "{shown:?}");
    }
    let large = "a\n".repeat(1 << 20);
    assert!(lines(&documented("x.md", &large))[0].contains("too large"));
}

#[test]
fn a_hostile_document_is_read_in_a_moment() {
    let texts = [
        "flour -> ".repeat(100_000),
        "flour, dough, ".repeat(70_000),
        "│   ".repeat(100_000),
        (0..900).map(|depth| format!("{}dough\n", " ".repeat(depth))).collect(),
        "| ".repeat(400_000),
        "```\n".repeat(200_000),
        "flour & dough --> ".repeat(50_000),
        format!(
            "- flour\n- dough\n{}",
            (0..60_000).map(|n| format!("- stray{n}\n")).collect::<String>()
        ),
    ];
    for text in texts {
        for path in ["x.md", "x.dot", "x.json"] {
            documented(path, &text);
        }
    }
}

#[test]
fn every_rule_finds_something_somewhere_and_its_code_is_listed() {
    let listed: Vec<&str> = codes::all().map(|code| code.code).collect();
    for rule in RULES {
        assert!(listed.contains(&rule.code.code));
        let source = include_str!("lint.rs");
        assert!(
            source.contains(&format!("\"{}\"", rule.code.code)),
            "`{}` has no test",
            rule.code.code
        );
    }
}

#[test]
fn families_are_shown_with_their_base_and_who_takes_it() {
    let files = [
        ("base/Dockerfile.torch", "FROM cuda:12"),
        ("stt/Dockerfile", "ARG BASE_IMAGE=x\nFROM ${BASE_IMAGE}"),
        ("tts/Dockerfile", "FROM cuda:12"),
    ];
    let place = |line| Location::new("bakehouse.toml", line, 1);
    let family = Family {
        name: "speech".to_owned(),
        base: "torch".to_owned(),
        arg: "BASE_IMAGE".to_owned(),
        services: vec![
            ("stt".to_owned(), place(2)),
            ("tts".to_owned(), place(3)),
            ("sst".to_owned(), place(4)),
        ],
        location: place(1),
    };
    let policy = Policy { families: vec![family], ..Policy::default() };
    let fleet = fleet_of(&files, Described { policy, ..Described::default() });
    let [family] = families::families(&fleet).try_into().unwrap();
    assert_eq!((family.name.as_str(), family.base.as_deref()), ("speech", Some("torch")));
    let members: Vec<(&str, Option<&str>)> =
        family.images.iter().map(|member| (member.image.as_str(), member.arg.as_deref())).collect();
    assert_eq!(members, [("tts", None), ("stt", Some("BASE_IMAGE"))]);
    let wrong: Vec<String> = families::wrong(&fleet).into_iter().map(|wrong| wrong.code).collect();
    assert_eq!(wrong, ["family-arg-ignored", "family-service-unknown"]);
}
