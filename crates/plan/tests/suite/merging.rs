//! Dockerfiles, bake targets, compose services and `bakehouse.toml`, put together.

use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;
use bakehouse_model::{Location, Severity};
use bakehouse_plan::fleet::{
    Class, ContextValue, Definition, Described, DockerfileAt, Family, Fleet, NamedContext, Patch,
    Policy, SourceFile, SourceKind, Surroundings, TagMatch, read,
};
use bakehouse_plan::lower::{Settings, Via};

fn fleet_of(files: &[(&str, &str)], described: Described) -> Fleet {
    let file = |(path, text): &(&str, &str)| SourceFile {
        path: (*path).to_owned(),
        text: text.as_bytes().to_vec(),
        context: None,
    };
    let files: Vec<SourceFile> = files.iter().map(file).collect();
    let settings = Settings::new(Platform::linux("amd64"));
    let around = Surroundings {
        repository: "repo",
        exists: &|_| false,
        load: &|path| (path == "hidden/build.txt").then(|| b"FROM scratch".to_vec()),
        settings: &settings,
        target: None,
        prefix: None,
        contexts: &[],
    };
    read(&files, described, &around)
}

fn bake(name: &str, dockerfile: &str, tags: &[&str]) -> Definition {
    let location = Location::new("docker-bake.hcl", 1, 1);
    let definition = Definition::new(SourceKind::Bake, "docker-bake.hcl", name, location);
    with(definition, dockerfile, tags)
}

fn compose(file: &str, name: &str, dockerfile: &str, tags: &[&str]) -> Definition {
    let definition = Definition::new(SourceKind::Compose, file, name, Location::new(file, 2, 3));
    with(definition, dockerfile, tags)
}

fn with(definition: Definition, dockerfile: &str, tags: &[&str]) -> Definition {
    Definition {
        dockerfile: DockerfileAt::Path(dockerfile.to_owned()),
        references: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..definition
    }
}

fn args(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn of(definitions: Vec<Definition>) -> Described {
    Described { definitions, ..Described::default() }
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.images.iter().map(|image| image.name.as_str()).collect()
}

fn codes(fleet: &Fleet) -> Vec<(&str, Severity)> {
    fleet.diagnostics.iter().map(|d| (d.code.as_str(), d.severity)).collect()
}

#[test]
fn one_image_that_several_describe_is_one_image() {
    let files = [("api/Dockerfile", "FROM scratch")];
    let twice = vec![
        bake("api", "api/Dockerfile", &["ghcr.io/acme/api:1"]),
        compose("compose.yaml", "web", "api/Dockerfile", &["ghcr.io/acme/api:1"]),
        compose("compose.ci.yaml", "api", "api/Dockerfile", &[]),
    ];
    let fleet = fleet_of(&files, of(twice));
    assert_eq!(names(&fleet), ["api"]);
    let image = &fleet.images[0];
    let kinds: Vec<SourceKind> = image.sources.iter().map(|source| source.kind).collect();
    assert_eq!(kinds, [SourceKind::Bake, SourceKind::Compose, SourceKind::Compose]);
    assert_eq!(fleet.meant("web"), ["api"]);
    assert!(fleet.diagnostics.is_empty(), "{:?}", fleet.diagnostics);
}

#[test]
fn what_is_described_differently_is_told_with_both_places_and_the_first_counts() {
    let files = [("Dockerfile", "FROM scratch AS a\nFROM scratch")];
    let again = Definition {
        target: Some("a".to_owned()),
        args: args(&[("V", "2"), ("BUILDKIT_INLINE_CACHE", "1")]),
        ..compose("compose.yaml", "app", "Dockerfile", &["acme/app"])
    };
    let first =
        Definition { args: args(&[("V", "1")]), ..bake("app", "Dockerfile", &["acme/app:latest"]) };
    let fleet = fleet_of(&files, of(vec![first, again]));
    assert_eq!(fleet.images[0].args, args(&[("V", "1")]));
    let [told] = fleet.diagnostics.as_slice() else { panic!("{:?}", fleet.diagnostics) };
    assert_eq!(
        told.to_string(),
        "compose.yaml:2: the service `app` is described at docker-bake.hcl:1 already, and here its \
         stage is `a` and not the last stage, its `V` is `2` and not `1`"
    );
    assert_eq!((told.code.as_str(), told.severity), ("described-differently", Severity::Warning));
}

#[test]
fn targets_of_one_bake_file_are_images_of_their_own() {
    let files = [("Dockerfile", "FROM scratch")];
    let tagged = |name: &str, tag: &str| bake(name, "Dockerfile", &[tag]);
    let fleet = fleet_of(&files, of(vec![tagged("a", "x/app:a"), tagged("b", "x/app:b")]));
    assert_eq!(names(&fleet), ["a", "b"], "what is published is called the same: targets tell");
    assert!(fleet.diagnostics.is_empty(), "{:?}", fleet.diagnostics);
    let fleet = fleet_of(&files, of(vec![tagged("a", "x/app:1"), tagged("b", "x/app:1")]));
    assert_eq!(codes(&fleet), [("published-twice", Severity::Warning)]);
    // A service that builds as both of them do is neither.
    let service = compose("compose.yaml", "web", "Dockerfile", &[]);
    let fleet = fleet_of(&files, of(vec![tagged("a", "x/app:a"), tagged("b", "x/app:b"), service]));
    assert_eq!(names(&fleet), ["a", "b", "web"]);
}

#[test]
fn services_that_build_the_same_without_names_are_one_image() {
    let files = [("app/Dockerfile", "FROM scratch")];
    let service = |name: &str, tags: &[&str]| compose("compose.yaml", name, "app/Dockerfile", tags);
    let fleet = fleet_of(&files, of(vec![service("main", &[]), service("standby", &[])]));
    assert_eq!(names(&fleet), ["app"]);
    assert_eq!(
        (fleet.meant("main"), fleet.meant("standby")),
        (vec!["app".into()], vec!["app".into()])
    );
    let fleet = fleet_of(&files, of(vec![service("a", &["x/a"]), service("b", &["x/b"])]));
    assert_eq!(names(&fleet), ["a", "b"]);
}

#[test]
fn what_is_said_is_read_whatever_it_is_called_and_what_is_missing_is_told() {
    let files = [("fixtures/app/Dockerfile", "FROM scratch"), ("a/Dockerfile.j2", "FROM scratch")];
    let named = vec![
        compose("compose.yaml", "odd", "hidden/build.txt", &[]),
        compose("compose.yaml", "app", "fixtures/app/Dockerfile", &[]),
        compose("compose.yaml", "gone", "gone/Dockerfile", &[]),
    ];
    let fleet = fleet_of(&files, of(named));
    assert_eq!(names(&fleet), ["app", "hidden"]);
    let skipped: Vec<&str> = fleet.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    assert_eq!(skipped, ["a/Dockerfile.j2"]);
    assert!(codes(&fleet).contains(&("missing-dockerfile", Severity::Warning)));
}

#[test]
fn named_contexts_are_edges_where_the_dockerfile_uses_them() {
    let files = [
        ("base/Dockerfile", "FROM scratch"),
        ("app/Dockerfile", "FROM base-image\nCOPY --from=tools / /t\nCOPY --from=src / /s"),
    ];
    let context = |name: &str, value: ContextValue| NamedContext {
        name: name.to_owned(),
        value,
        location: Location::new("docker-bake.hcl", 7, 3),
    };
    let app = Definition {
        contexts: vec![
            context("base-image", ContextValue::Definition("base".to_owned())),
            context("tools", ContextValue::Image("ghcr.io/acme/tools:1".to_owned())),
            context("src", ContextValue::Folder("src".to_owned())),
            context("unused", ContextValue::Definition("base".to_owned())),
        ],
        ..bake("app", "app/Dockerfile", &[])
    };
    let fleet = fleet_of(&files, of(vec![bake("base", "base/Dockerfile", &[]), app]));
    let app = fleet.image("app").unwrap();
    let [edge] = app.needs.as_slice() else { panic!("{:?}", app.needs) };
    let place = edge.location.as_ref().unwrap().to_string();
    assert_eq!(
        (edge.image.as_str(), edge.via, place.as_str()),
        ("base", Via::Context, "docker-bake.hcl:7")
    );
    let external: Vec<&str> = app.external.iter().map(|e| e.reference.as_str()).collect();
    assert_eq!(external, ["ghcr.io/acme/tools:1"]);
    assert_eq!(codes(&fleet), [("unused-context", Severity::Note)]);
}

#[test]
fn a_tag_that_an_image_is_published_under_is_an_edge_that_says_how_well_it_fits() {
    let table = [
        ("FROM ghcr.io/acme/base:1", Some(TagMatch::Same)),
        ("FROM ghcr.io/acme/base:2", Some(TagMatch::Other)),
        ("FROM ghcr.io/acme/base", Some(TagMatch::Other)),
        ("FROM base", Some(TagMatch::Inferred)),
        ("FROM ghcr.io/other/base:1", None),
        ("FROM quay.io/acme/base:1", None),
        ("ARG R=ghcr.io/acme\nARG T\nFROM ${R}/base:${T:-1}", Some(TagMatch::Same)),
        ("ARG T=x\nFROM ghcr.io/acme/${T:+base}:1", Some(TagMatch::Same)),
        ("ARG S=build\nFROM scratch AS build\nFROM ${S}", None),
    ];
    for (text, expected) in table {
        let files = [("b/Dockerfile", "FROM scratch"), ("app/Dockerfile", text)];
        let base = compose("compose.yaml", "b", "b/Dockerfile", &["ghcr.io/acme/base:1"]);
        let fleet = fleet_of(&files, of(vec![base]));
        let app = fleet.image("app").unwrap();
        assert_eq!(app.needs.first().map(|edge| edge.tag), expected, "{text}");
    }
}

#[test]
fn a_registry_is_the_fleets_own_if_it_names_its_images_and_nobody_says_otherwise() {
    let table = [
        ("FROM ghcr.io/acme/base:1", "FROM scratch", 1),
        ("FROM acme/base", "FROM scratch", 0),
        ("FROM acme/base", "FROM acme/app", 2),
        ("FROM mcr.microsoft.com/base", "FROM mcr.microsoft.com/app", 0),
        ("FROM nginx", "FROM scratch", 0),
    ];
    for (app, web, edges) in table {
        let files = [
            ("base/Dockerfile", "FROM scratch"),
            ("nginx/Dockerfile", "FROM scratch"),
            ("app/Dockerfile", app),
            ("web/Dockerfile", web),
        ];
        let fleet = fleet_of(&files, Described::default());
        let found: usize = fleet.images.iter().map(|image| image.needs.len()).sum();
        assert_eq!(found, edges, "{app} {web}");
    }
}

#[test]
fn doubts_about_parents_are_told_and_one_that_can_be_built_is_taken() {
    let files = [
        ("a/base/Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}"),
        ("b/base/Dockerfile", "FROM scratch"),
        ("app/Dockerfile", "FROM ghcr.io/acme/base:1"),
        ("web/Dockerfile", "FROM ghcr.io/acme/bose:1"),
    ];
    let fleet = fleet_of(&files, Described::default());
    assert_eq!(fleet.image("app").unwrap().needs[0].image, "b-base");
    assert!(fleet.image("a-base").unwrap().unbuildable.is_some());
    let codes: Vec<&str> = codes(&fleet).into_iter().map(|(code, _)| code).collect();
    for code in
        ["ambiguous-parent", "phantom-parent", "blank-base", "same-name", "inferred-registry"]
    {
        assert!(codes.contains(&code), "{code}: {codes:?}");
    }
    assert!(!fleet.has_errors());
}

fn family(name: &str, base: &str, services: &[&str]) -> Family {
    let place = Location::new("bakehouse.toml", 5, 1);
    Family {
        name: name.to_owned(),
        base: base.to_owned(),
        arg: "BASE_IMAGE".to_owned(),
        services: services.iter().map(|s| ((*s).to_owned(), place.clone())).collect(),
        location: place,
    }
}

#[test]
fn a_family_hands_its_base_to_its_images() {
    let files = [
        ("torch/Dockerfile", "FROM scratch"),
        ("llm/Dockerfile", "FROM scratch"),
        ("a/Dockerfile", "ARG BASE_IMAGE=python\nFROM ${BASE_IMAGE}"),
        ("b/Dockerfile", "ARG BASE_IMAGE\nFROM $BASE_IMAGE AS x"),
        ("c/Dockerfile", "FROM python"),
    ];
    let with = |families: Vec<Family>| {
        let policy = Policy { families, ..Policy::default() };
        fleet_of(&files, Described { policy, ..Described::default() })
    };
    let fleet = with(vec![family("torch", "torch", &["a", "b"])]);
    for name in ["a", "b"] {
        let image = fleet.image(name).unwrap();
        assert_eq!(
            (image.needs[0].image.as_str(), image.family.as_deref()),
            ("torch", Some("torch"))
        );
    }
    assert!(fleet.diagnostics.is_empty(), "{:?}", fleet.diagnostics);
    let table = [
        (vec![family("torch", "torch", &["a"]), family("llm", "llm", &["a"])], "two-families"),
        (vec![family("torch", "torch", &["c"])], "family-arg-ignored"),
        (vec![family("torch", "trch", &["a"])], "family-base-unknown"),
        (vec![family("torch", "torch", &["nobody"])], "family-service-unknown"),
    ];
    for (families, code) in table {
        let fleet = with(families);
        assert!(codes(&fleet).iter().any(|(told, _)| *told == code), "{code}");
    }
}

#[test]
fn bakehouse_toml_has_the_last_word() {
    let files = [
        ("apps/one/Dockerfile", "FROM old/base AS a\nFROM a AS b"),
        ("base/Dockerfile", "FROM scratch"),
    ];
    let patch = Patch {
        name: Some("first".to_owned()),
        file: Some("apps/one/Dockerfile".to_owned()),
        context: Some(".".to_owned()),
        target: Some("a".to_owned()),
        args: args(&[("V", "1")]),
        references: vec!["ghcr.io/acme/first:1".to_owned()],
        platforms: vec![Platform::linux("arm64")],
        class: None,
        location: Location::new("bakehouse.toml", 3, 1),
    };
    let class = |name: &str, images: &[&str], level| Class {
        name: name.to_owned(),
        images: images.iter().map(|name| (*name).to_owned()).collect(),
        level,
        estimate_ms: None,
    };
    let policy = Policy {
        images: vec![patch.clone()],
        bases: BTreeMap::from([("old/*".to_owned(), "target:base".to_owned())]),
        classes: vec![class("foundation", &[], Some(0)), class("services", &["fir*"], None)],
        ..Policy::default()
    };
    let fleet = fleet_of(&files, Described { policy, ..Described::default() });
    let image = fleet.image("first").unwrap();
    assert_eq!((image.folder(), image.target.as_deref()), (Some("."), Some("a")));
    assert_eq!(image.needs[0].image, "base");
    assert_eq!(image.class.as_deref(), Some("services"));
    assert_eq!(fleet.image("base").unwrap().class.as_deref(), Some("foundation"));
    let lost = Patch { file: None, name: Some("frist".to_owned()), ..patch };
    let policy = Policy { images: vec![lost], ..Policy::default() };
    let fleet = fleet_of(&files, Described { policy, ..Described::default() });
    assert!(codes(&fleet).contains(&("unknown-image", Severity::Error)));
}

#[test]
fn groups_and_other_names_mean_images() {
    let files = [("Dockerfile", "FROM scratch")];
    let mut definitions: Vec<Definition> =
        ["a", "b"].iter().map(|name| bake(name, "Dockerfile", &[])).collect();
    definitions[0].groups.push("all".to_owned());
    definitions[1].groups.push("all".to_owned());
    let fleet = fleet_of(&files, of(definitions));
    assert_eq!(fleet.meant("all"), ["a", "b"]);
    assert_eq!(fleet.meant("b"), ["b"]);
    assert!(fleet.meant("Dockerfile").is_empty(), "it is both");
}

#[test]
fn images_of_one_dockerfile_share_the_stages_that_they_build_alike() {
    let text = "FROM python AS build\nARG EXTRAS=all\nRUN make $EXTRAS\n\
                FROM python AS run\nARG WHO=root\nCOPY --from=build /o /o\nRUN who $WHO";
    let files = [("Dockerfile", text)];
    let variant = |name: &str, pairs: &[(&str, &str)]| Definition {
        args: args(pairs),
        platforms: vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()],
        ..bake(name, "Dockerfile", &[])
    };
    let fleet = fleet_of(
        &files,
        of(vec![
            variant("a", &[("EXTRAS", "all"), ("WHO", "root")]),
            variant("b", &[("EXTRAS", "all"), ("WHO", "nobody")]),
            variant("c", &[("EXTRAS", "few"), ("WHO", "root")]),
        ]),
    );
    let stages = fleet.stage_variants(&Settings::new(Platform::linux("amd64")));
    let counts: Vec<(&str, usize)> =
        stages.iter().map(|stage| (stage.stage.as_str(), stage.variants.len())).collect();
    assert_eq!(counts, [("build", 2), ("run", 3)]);
    assert_eq!(stages[0].platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(stages[0].variants[0].args, args(&[("EXTRAS", "all")]));
    assert_eq!(stages[0].variants[0].images, ["a", "b"]);
}
