//! Two versions in memory: what definitions, selections and hostile trees come to.

use std::collections::BTreeMap;

use bakehouse_model::Location;
use bakehouse_model::oci::Platform;
use bakehouse_plan::affected::{self, Affected, Because, Entry, EntryKind, Listing, Side, World};
use bakehouse_plan::fleet::{
    self, ContextValue, Definition, Described, NamedContext, SourceFile, SourceKind, Surroundings,
};
use bakehouse_plan::lower::Settings;

/// Files by path; a content that begins with `->` is a link.
#[derive(Debug, Clone, Default)]
struct Version {
    files: BTreeMap<String, String>,
    definitions: Vec<Definition>,
}

impl Version {
    fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self { files: files.collect(), definitions: Vec::new() }
    }

    fn with(&self, path: &str, text: &str) -> Self {
        let mut other = self.clone();
        other.files.insert(path.to_owned(), text.to_owned());
        other
    }

    fn without(&self, path: &str) -> Self {
        let mut other = self.clone();
        other.files.remove(path).unwrap();
        other
    }

    fn defined(&self, change: impl Fn(&mut Definition)) -> Self {
        let location = Location::new("bake.hcl", 3, 1);
        let mut definition = Definition::new(SourceKind::Bake, "bake.hcl", "app", location);
        change(&mut definition);
        Self { definitions: vec![definition], ..self.clone() }
    }

    fn listing(&self) -> Listing {
        let entry = |text: &String| match text.strip_prefix("->") {
            Some(target) => Entry { kind: EntryKind::Link, content: target.to_owned() },
            None => Entry { kind: EntryKind::File, content: text.clone() },
        };
        let entries = self.files.iter().map(|(path, text)| (path.clone(), entry(text)));
        Listing::new("", entries.collect())
    }
}

fn compare(before: &Version, after: &Version) -> Affected {
    let settings = Settings::new(Platform::linux("amd64"));
    let contexts = BTreeMap::new();
    let world = World { settings: &settings, platforms: &[], contexts: &contexts };
    let load = |version: &Version, path: &str| -> Option<Vec<u8>> {
        version.files.get(path).map(|text| text.clone().into_bytes())
    };
    let (old, new) = (|path: &str| load(before, path), |path: &str| load(after, path));
    let side = |version: &Version, load: &'static str| {
        let listing = version.listing();
        let files = version.files.iter().filter(|(path, _)| path.ends_with("Dockerfile"));
        let files: Vec<SourceFile> = files
            .map(|(path, text)| SourceFile {
                path: path.clone(),
                text: text.clone().into_bytes(),
                context: None,
            })
            .collect();
        let around = Surroundings {
            repository: "repo",
            exists: &|path| listing.has(path),
            load: if load == "old" { &old } else { &new },
            settings: &settings,
            target: None,
            prefix: None,
            contexts: &[],
        };
        let definitions = version.definitions.clone();
        let described = Described { definitions, ..Described::default() };
        (fleet::read(&files, described, &around), listing.clone())
    };
    let ((fleet, listing), (new_fleet, new_listing)) = (side(before, "old"), side(after, "new"));
    affected::compare(
        Side { fleet, listing, load: &old },
        Side { fleet: new_fleet, listing: new_listing, load: &new },
        &world,
    )
}

/// The reasons of the only image, in few words; nothing if it is not affected.
fn reasons(before: &Version, after: &Version) -> Vec<String> {
    let affected = compare(before, after);
    let because = affected.images.into_iter().flat_map(|image| image.because);
    let words = because.map(|because| match because {
        Because::Definition { what, before, after, .. } => {
            let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{what}: {} -> {}", text(before), text(after))
        }
        Because::File { path, change, .. } => format!("{path} {change:?}"),
        Because::MoreFiles { count, .. } => format!("{count} more"),
        Because::Ignore { path, seen, .. } => format!("{path} seen={seen}"),
        Because::Instruction { before, after, .. } => {
            format!("{} -> {}", before.unwrap_or_default(), after.unwrap_or_default())
        }
        Because::External { before, after, .. } => format!("{before:?} {after:?}"),
        other => format!("{other:?}"),
    });
    words.collect()
}

const APP: &str = "ARG TAG=1\nFROM debian:$TAG AS build\nARG VERSION\nRUN make $VERSION\n\
                   FROM scratch AS small\nCOPY --from=build /out /\n\
                   FROM small\nCOPY --from=assets /a /a\nCOPY src /src\n";

#[test]
fn what_a_definition_says_counts_if_something_comes_of_it() {
    let files = Version::of(&[
        ("Dockerfile", APP),
        ("src/a", "a"),
        ("assets/a", "a"),
        ("moved/a", "a"),
        ("other/a", "b"),
    ]);
    let arg = |name: &str, value: &str| {
        let (name, value) = (name.to_owned(), value.to_owned());
        move |d: &mut Definition| drop(d.args.insert(name.clone(), value.clone()))
    };
    let assets = |folder: &str| NamedContext {
        name: "assets".to_owned(),
        value: ContextValue::Folder(folder.to_owned()),
        location: Location::new("bake.hcl", 5, 1),
    };
    let with = |more: &dyn Fn(&mut Definition)| {
        files.defined(|definition| {
            definition.contexts.push(assets("assets"));
            more(definition);
        })
    };
    let plain = with(&|_| {});
    let table: &[(&dyn Fn(&mut Definition), &[&str])] = &[
        (&arg("VERSION", "2"), &["arg VERSION: - -> 2"]),
        (&arg("TAG", "2"), &["Some(\"debian:1\") Some(\"debian:2\")", "arg TAG: - -> 2"]),
        (&arg("NOBODY", "2"), &[]),
        (&|d| d.references.push("registry.example/app:2".to_owned()), &[]),
        (&|d| d.groups.push("all".to_owned()), &[]),
        (&|d| d.options.no_cache = true, &[]),
        (&|d| d.platforms.push("linux/arm64".to_owned()), &["platforms: - -> linux/arm64"]),
        (
            &|d| drop(d.options.labels.insert("team".to_owned(), "a".to_owned())),
            &["label team: - -> a"],
        ),
        (&|d| d.contexts = vec![assets("moved")], &[]),
        (
            &|d| d.contexts = vec![assets("other")],
            &["other/a Modified", "named context assets: assets -> other"],
        ),
    ];
    for (at, (change, expected)) in table.iter().enumerate() {
        let after = with(&|definition| change(definition));
        let found = reasons(&plain, &after);
        assert_eq!(found, *expected, "{at}");
    }
    let target = with(&|definition| definition.target = Some("small".to_owned()));
    let found = reasons(&plain, &target);
    assert!(found.contains(&"target: - -> small".to_owned()), "{found:?}");
}

#[test]
fn selections_read_what_the_engine_would_copy() {
    let tree = [
        ("d/a.txt", "1"),
        ("d/b.md", "1"),
        ("d/sub/c.txt", "1"),
        ("e/x", "1"),
        ("link", "->d/a.txt"),
        ("dir", "->d/sub"),
        ("loop", "->loop"),
        ("abs", "->/e/x"),
        ("up", "->../../e"),
    ];
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);
    // An instruction, ignore patterns, paths whose change counts, and paths whose does not.
    let table: &[Case<'_>] = &[
        ("COPY d /d", "", &["d/a.txt", "d/b.md", "d/sub/c.txt", "d/new"], &["e/x", "link", "new"]),
        ("COPY . /", "", &["d/a.txt", "e/x", "new", "deep/new"], &[]),
        (
            "COPY d/*.txt /t/",
            "",
            &["d/a.txt", "d/new.txt"],
            &["d/b.md", "d/sub/c.txt", "d/sub/n.txt"],
        ),
        ("COPY */x /t/", "", &["e/x", "f/x"], &["d/a.txt", "x", "a/b/x"]),
        ("COPY d* /t/", "", &["d/sub/c.txt", "dnew"], &["e/x"]),
        (
            "COPY --exclude=*.md --exclude=sub d /d",
            "",
            &["d/a.txt", "d/new"],
            &["d/b.md", "d/n.md", "d/sub/c.txt"],
        ),
        (
            "COPY --parents d/./**/*.txt /d/",
            "",
            &["d/a.txt", "d/sub/c.txt", "d/x/y/z.txt"],
            &["d/b.md", "e/x.txt"],
        ),
        ("COPY link /l", "", &["d/a.txt"], &["d/b.md"]),
        ("COPY dir /l", "", &["d/sub/c.txt", "d/sub/new"], &["d/a.txt"]),
        ("COPY dir/c.txt /l", "", &["d/sub/c.txt"], &["d/sub/new"]),
        ("COPY abs /l", "", &["e/x"], &["d/a.txt"]),
        ("COPY up/x /l", "", &["e/x"], &["d/a.txt"]),
        ("COPY loop /l", "", &[], &["d/a.txt"]),
        ("RUN --mount=type=bind,source=d,target=/m ls", "", &["d/a.txt", "d/new"], &["e/x"]),
        ("RUN --mount=type=bind,target=/m ls", "e\n", &["d/a.txt", "new"], &["e/x", "e/new"]),
        ("COPY . /", "*\n!d/sub\n", &["d/sub/c.txt", "d/sub/new"], &["d/a.txt", "e/x", "new"]),
        ("COPY . /", "**/*.md\n!d/b.md\n", &["d/b.md", "e/new"], &["e/n.md"]),
        ("COPY . /", "d\n", &["e/x"], &["d/a.txt", "d/new"]),
        // The folder is there as soon as something is in it, whatever is ignored of that.
        ("COPY . /", "**/*.md\n", &["deep/n.md"], &["e/n.md"]),
        ("COPY [\"d/a.txt\", \"/l\"]", "", &["d/a.txt"], &["d/b.md"]),
        ("COPY ../../d/a.txt /l", "", &["d/a.txt"], &["e/x"]),
    ];
    for (instruction, ignore, counts, idle) in table {
        let dockerfile = format!("FROM scratch\n{instruction}\n");
        let ignore = format!("Dockerfile\n.dockerignore\n{ignore}");
        let before =
            Version::of(&tree).with("Dockerfile", &dockerfile).with(".dockerignore", &ignore);
        let before = before.defined(|_| {});
        for (paths, expected) in [(counts, true), (idle, false)] {
            for path in *paths {
                let after = before.with(path, "other");
                let found = reasons(&before, &after);
                assert_eq!(!found.is_empty(), expected, "{instruction} {path}: {found:?}");
                let back = reasons(&after, &before);
                assert_eq!(!back.is_empty(), expected, "back: {instruction} {path}: {back:?}");
            }
        }
    }
}

#[test]
fn a_version_that_cannot_be_read_is_told_and_nothing_is_gone_for_it() {
    let good = Version::of(&[("app/Dockerfile", "FROM scratch\nCOPY a /\n"), ("app/a", "a")]);
    let bad = good.with("app/Dockerfile", "FROM scratch\nCOPPY a /\n");
    let now = compare(&good, &bad);
    assert!(now.removed.is_empty() && now.images.is_empty(), "{now:?}");
    assert!(now.diagnostics.iter().any(|wrong| wrong.code == "unknown-instruction"));
    let then = compare(&bad, &good);
    assert!(matches!(then.images[0].because[..], [Because::Unreadable { before: true, .. }]));
    let gone = compare(&good, &good.without("app/Dockerfile"));
    assert_eq!(gone.removed, ["app"]);
}

#[test]
fn many_files_are_counted_and_not_all_named() {
    let mut before = Version::of(&[("Dockerfile", "FROM scratch\nCOPY d /d\n"), ("d/a", "a")]);
    before = before.defined(|_| {});
    let mut after = before.clone();
    for at in 0..1000 {
        after.files.insert(format!("d/{at}"), "x".to_owned());
    }
    let found = reasons(&before, &after);
    assert_eq!(found.len(), 51);
    assert_eq!(found[50], "950 more");
}
