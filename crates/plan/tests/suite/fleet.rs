//! From the Dockerfiles of a repository to named images that stand on each other.

use std::collections::{BTreeMap, BTreeSet};

use bakehouse_model::Severity;
use bakehouse_model::oci::{Platform, RunConfig};
use bakehouse_plan::fleet::{
    Described, Fleet, Known, SourceFile, Surroundings, lower_all, lower_needed, read,
};
use bakehouse_plan::lower::{Base, Settings};

use crate::build::{folder, image};

/// A repository `repo` with these Dockerfiles, and these other files.
fn fleet_of(files: &[(&str, &str)], others: &[&str], prefix: Option<&str>) -> Fleet {
    let files: Vec<SourceFile> = files
        .iter()
        .map(|(path, text)| SourceFile {
            path: (*path).to_owned(),
            text: text.as_bytes().to_vec(),
            context: None,
        })
        .collect();
    let settings = Settings::new(Platform::linux("amd64"));
    let exists = |path: &str| {
        others.iter().any(|other| *other == path || other.starts_with(&format!("{path}/")))
    };
    read(
        &files,
        Described::default(),
        &Surroundings {
            repository: "Repo",
            exists: &exists,
            load: &|_| None,
            settings: &settings,
            target: None,
            contexts: &[],
            prefix,
        },
    )
}

fn fleet(files: &[(&str, &str)]) -> Fleet {
    fleet_of(files, &[], None)
}

fn names(fleet: &Fleet) -> Vec<&str> {
    fleet.images.iter().map(|image| image.name.as_str()).collect()
}

/// `a -> b` for every edge.
fn edges(fleet: &Fleet) -> Vec<String> {
    let of = |image: &bakehouse_plan::fleet::Image| {
        let name = image.name.clone();
        image.needs.iter().map(move |edge| format!("{name} -> {}", edge.image)).collect::<Vec<_>>()
    };
    let mut edges: Vec<String> = fleet.images.iter().flat_map(of).collect();
    edges.sort();
    edges
}

#[test]
fn images_are_named_by_suffix_then_folder_then_repository() {
    let files = [
        ("Dockerfile", "FROM x"),
        ("services/api/Dockerfile", "FROM x"),
        ("services/web/docker/Dockerfile", "FROM x"),
        ("base/Dockerfile.python-ml", "FROM x"),
        ("tools/lint.Dockerfile", "FROM x"),
    ];
    assert_eq!(names(&fleet(&files)), ["api", "lint", "python-ml", "repo", "web"]);
}

#[test]
fn images_of_one_name_get_their_folders_names_too() {
    let files = [("a/api/Dockerfile", "FROM scratch"), ("b/api/Dockerfile", "FROM scratch")];
    let fleet = fleet(&files);
    assert_eq!(names(&fleet), ["a-api", "b-api"]);
    let notes: Vec<String> = fleet.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        ["a/api/Dockerfile:1: 2 images would be called `api`, so they are `a-api`, `b-api`",]
    );
    assert!(fleet.diagnostics.iter().all(|d| d.severity == Severity::Note));
    assert!(!fleet.has_errors());
}

#[test]
fn the_context_is_the_nearest_folder_that_has_all_that_is_copied() {
    let others = ["apps/api/src/x", "apps/api/go.mod", "apps/shared/x", "lib/y", "go.mod"];
    let table = [
        ("COPY src /src", "apps/api"),
        ("COPY . .", "apps/api"),
        ("RUN x", "apps/api"),
        ("COPY shared /s", "apps"),
        ("COPY api/src /s", "apps"),
        ("COPY lib /l", "."),
        ("COPY apps/api/go.mod lib /l/", "."),
        ("ADD lib/y /", "."),
        ("COPY go.mod /", "apps/api"),
        ("COPY go.mod lib /", "."),
        // The one with most of them, if none has all.
        ("COPY src go.mod missing /x/", "apps/api"),
        ("COPY lib missing /x/", "."),
        ("COPY missing /x", "apps/api"),
        // These say nothing about the context.
        ("COPY --from=other lib /l", "apps/api"),
        ("COPY $X/lib /l", "apps/api"),
        ("COPY li* /l", "apps/api"),
        ("ADD https://host/lib /l", "apps/api"),
        // Mounts do.
        ("RUN --mount=type=bind,source=lib,target=/l x", "."),
        ("RUN --mount=source=shared,target=/l x", "apps"),
        ("RUN --mount=target=/l,src=/lib/y x", "."),
        ("RUN --mount=from=other,source=lib,target=/l x", "apps/api"),
        ("RUN --mount=type=cache,source=lib,target=/l x", "apps/api"),
        ("RUN --mount=type=bind,target=/l x", "apps/api"),
        ("RUN --mount=type=bind,source=$X,target=/l x", "apps/api"),
        ("RUN --mount=type=secret,source=lib x", "apps/api"),
    ];
    for (text, context) in table {
        let text = format!("FROM x\n{text}");
        let fleet = fleet_of(&[("apps/api/Dockerfile", &text)], &others, None);
        assert!(!fleet.has_errors(), "{text}: {:?}", fleet.diagnostics);
        assert_eq!(fleet.images[0].folder(), Some(context), "{text}");
    }
}

#[test]
fn names_of_bases_mean_images_of_the_fleet() {
    let table: &[(&str, bool)] = &[
        ("FROM base", true),
        ("FROM base:latest", true),
        ("FROM ghcr.io/us/base", true),
        ("FROM localhost:5000/base", true),
        ("FROM ghcr.io/us/deep/base:latest", true),
        ("FROM docker.io/us/base", true),
        ("FROM us/base", true),
        ("FROM them/base", false),
        ("FROM base:1.0", true),
        ("FROM ghcr.io/us/base:1.0", true),
        ("FROM ghcr.io/us/other", false),
        ("FROM x\nCOPY --from=base /a /b", true),
        ("FROM x\nRUN --mount=from=base,target=/b y", true),
        ("ARG B=base\nFROM $B", true),
        ("ARG R=ghcr.io/us\nFROM ${R}/base", true),
        ("FROM base AS base\nFROM base", true),
        ("FROM x AS base\nFROM base", false),
        ("FROM x AS base\nFROM y\nCOPY --from=base /a /b", false),
        ("FROM base AS unused\nFROM x", false),
    ];
    for (text, stands) in table {
        let files = [("app/Dockerfile", *text), ("base/Dockerfile", "FROM x")];
        let fleet = fleet_of(&files, &[], Some("docker.io/us"));
        let expected: &[&str] = if *stands { &["app -> base"] } else { &[] };
        assert_eq!(edges(&fleet), expected, "{text}");
        assert_eq!(names(&fleet).first() == Some(&"base"), *stands, "{text}: parents first");
    }
}

#[test]
fn a_name_at_a_digest_or_of_the_image_itself_is_no_edge() {
    let digest = bakehouse_model::Digest::of("x");
    let pinned = format!("FROM base@{digest}");
    let files = [("app/Dockerfile", pinned.as_str()), ("base/Dockerfile", "FROM base")];
    let fleet = fleet(&files);
    assert!(edges(&fleet).is_empty());
    assert_eq!(fleet.image("base").unwrap().external[0].reference, "base");
    assert!(!fleet.has_errors());
}

#[test]
fn needs_are_followed_all_the_way() {
    let files = [
        ("c/Dockerfile", "FROM b"),
        ("b/Dockerfile", "FROM a"),
        ("a/Dockerfile", "FROM x"),
        ("z/Dockerfile", "FROM a"),
        ("alone/Dockerfile", "FROM x"),
    ];
    let fleet = fleet(&files);
    assert_eq!(names(&fleet), ["a", "alone", "b", "z", "c"]);
    let all = fleet.with_needs(&BTreeSet::from(["c".to_owned()]));
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn images_that_stand_on_each_other_are_told_as_a_ring_with_places() {
    let files = [
        ("b/Dockerfile", "FROM redis AS y\nFROM c"),
        ("c/Dockerfile", "FROM a"),
        ("a/Dockerfile", "# a comment\nFROM b"),
        ("app/Dockerfile", "FROM a"),
        ("good/Dockerfile", "FROM redis"),
    ];
    let fleet = fleet(&files);
    assert_eq!(names(&fleet), ["good"]);
    let [cycle] = fleet.diagnostics.as_slice() else { panic!("{:?}", fleet.diagnostics) };
    assert_eq!(
        cycle.to_string(),
        "a/Dockerfile:2: images stand on each other: `a` stands on `b` (a/Dockerfile:2), `b` stands on `c` (b/Dockerfile:2), `c` stands on `a` (c/Dockerfile:1)"
    );
    assert_eq!(cycle.code, "image-cycle");
}

#[test]
fn what_is_no_dockerfile_of_ours_is_skipped_and_said() {
    let files = [
        ("t/Dockerfile", "FROM {{ base }}\nRUN x"),
        ("j/Dockerfile", "{% if x %}\nFROM a\n{% endif %}"),
        ("f/Dockerfile", "# syntax=other/frontend:1\nWHATEVER"),
        ("o/Dockerfile", "# syntax=docker/dockerfile:1.7-labs\nFROM a"),
    ];
    let fleet = fleet(&files);
    assert_eq!(names(&fleet), ["o"]);
    let skipped: Vec<&str> = fleet.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    assert_eq!(skipped, ["f/Dockerfile", "j/Dockerfile", "t/Dockerfile"]);
    assert!(fleet.skipped[0].reason.contains("other/frontend:1"));
}

#[test]
fn a_dockerfile_that_is_wrong_stops_no_other() {
    let files = [("bad/Dockerfile", "FROM x\nRUNN y"), ("good/Dockerfile", "FROM x")];
    let fleet = fleet(&files);
    assert_eq!(names(&fleet), ["good"]);
    assert!(fleet.has_errors());
}

/// What is known about two images from elsewhere.
fn known(fleet: &Fleet) -> Known {
    let platforms = ["amd64", "arm64"].map(Platform::linux);
    let images = ["x", "y"].into_iter().flat_map(|name| {
        let with = |p: &Platform| ((name.to_owned(), p.clone()), image(name, RunConfig::default()));
        platforms.iter().map(with).collect::<Vec<_>>()
    });
    let root = |image: &bakehouse_plan::fleet::Image| {
        (image.name.clone(), folder(image.folder().unwrap()))
    };
    Known {
        images: images.collect(),
        roots: fleet.images.iter().map(root).collect(),
        ..Known::default()
    }
}

fn all(fleet: &Fleet) -> BTreeSet<String> {
    fleet.images.iter().map(|image| image.name.clone()).collect()
}

#[test]
fn steps_that_images_share_are_one_step() {
    let files = [
        ("a/Dockerfile", "FROM x AS build\nRUN make\nFROM y\nCOPY --from=build /o /a"),
        ("b/Dockerfile", "FROM x AS other\nRUN make\nFROM y\nCOPY --from=other /o /b"),
        ("base/Dockerfile", "FROM y\nENV V=1\nRUN base"),
        ("c/Dockerfile", "FROM base\nRUN c"),
    ];
    let fleet = fleet(&files);
    let settings = Settings::new(Platform::linux("amd64"));
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &[]), &known(&fleet));
    assert!(lowered.needs.is_empty() && lowered.diagnostics.is_empty());
    let by_name: BTreeMap<&str, Vec<&str>> = lowered
        .graph
        .steps()
        .iter()
        .map(|step| {
            let images = step.images.iter().map(String::as_str).collect();
            (step.origin.name.as_str(), images)
        })
        .collect();
    assert_eq!(by_name["RUN make"], ["a", "b"]);
    assert_eq!(by_name["RUN base"], ["base", "c"]);
    assert_eq!(by_name["RUN c"], ["c"]);
    let c = lowered.images.iter().find(|image| image.name == "c").unwrap();
    assert!(c.lowered.config.config.env.contains(&"V=1".to_owned()), "the parent's variables");
    let history: Vec<&str> =
        c.lowered.config.history.iter().map(|entry| entry.created_by.as_str()).collect();
    let own = ["ENV V=1", "RUN /bin/sh -c base # buildkit", "RUN /bin/sh -c c # buildkit"];
    assert_eq!(history[1..], own);
}

#[test]
fn what_is_not_known_is_asked_for_once_and_parents_are_waited_for() {
    let files = [
        ("a/Dockerfile", "FROM unknown"),
        ("b/Dockerfile", "FROM unknown\nCOPY --from=also /a /b"),
        ("c/Dockerfile", "FROM a\nRUN c"),
        ("d/Dockerfile", "FROM x\nRUN d"),
    ];
    let fleet = fleet(&files);
    let settings = Settings::new(Platform::linux("amd64"));
    let mut known = known(&fleet);
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &[]), &known);
    let needs: Vec<&str> = lowered.needs.iter().map(|need| need.name.as_str()).collect();
    let mut once = needs.clone();
    once.dedup();
    assert_eq!(once, ["also", "unknown"]);
    assert_eq!(lowered.images.len(), 1);
    for name in ["unknown", "also"] {
        let key = (name.to_owned(), Platform::linux("amd64"));
        known.images.insert(key, image(name, RunConfig::default()));
    }
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &[]), &known);
    assert!(lowered.needs.is_empty());
    assert_eq!(lowered.images.len(), 4);
}

#[test]
fn a_base_that_cannot_be_had_is_told_at_its_place() {
    let fleet =
        fleet(&[("a/Dockerfile", "FROM x AS b\nRUN b\nFROM gone"), ("c/Dockerfile", "FROM x")]);
    let settings = Settings::new(Platform::linux("amd64"));
    let mut known = known(&fleet);
    let key = ("gone".to_owned(), Platform::linux("amd64"));
    known.images.insert(key, Base::Refused("`gone` is not there".to_owned()));
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &[]), &known);
    let [wrong] = lowered.diagnostics.as_slice() else { panic!("{:?}", lowered.diagnostics) };
    assert_eq!(wrong.to_string(), "a/Dockerfile:3: `gone` is not there");
    assert_eq!(lowered.images.len(), 1);
}

#[test]
fn several_platforms_are_one_graph_with_native_stages_shared() {
    let text = "FROM --platform=$BUILDPLATFORM x AS build\nRUN native\nFROM y\nCOPY --from=build /o /a\nRUN target";
    let fleet = fleet(&[("a/Dockerfile", text), ("b/Dockerfile", "FROM a\nRUN b")]);
    let settings = Settings::new(Platform::linux("amd64"));
    let platforms = ["amd64", "arm64"].map(Platform::linux);
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &platforms), &known(&fleet));
    let names: Vec<&str> = lowered.images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(
        names,
        ["a linux/amd64", "b linux/amd64", "a linux/arm64", "b linux/arm64"],
        "each with its platform"
    );
    let count =
        |name: &str| lowered.graph.steps().iter().filter(|step| step.origin.name == name).count();
    assert_eq!((count("RUN native"), count("RUN target"), count("RUN b")), (1, 2, 2));
    let one = lower_all(&fleet, &all(&fleet), (&settings, &platforms[1..]), &known(&fleet));
    assert_eq!(one.images[0].name, "a");
    assert_eq!(one.images[0].lowered.platform, platforms[1]);
}

#[test]
fn an_image_of_the_fleet_is_taken_for_the_platform_that_a_stage_says() {
    let tool = "FROM x\nARG TARGETARCH\nRUN tool $TARGETARCH";
    let app = "FROM --platform=$BUILDPLATFORM tool AS build\nRUN native\n\
               FROM y\nCOPY --from=build /o /a\nRUN target";
    // Those that others stand on come first, or are found while they are needed.
    for names in [["tool", "app", "zap"], ["b/tool", "a/app", "a/zap"]] {
        let file = |at: usize| format!("{}/Dockerfile", names[at]);
        let zap = "FROM --platform=linux/riscv64 app\nRUN zap";
        let files = [(file(0), tool), (file(1), app), (file(2), zap)];
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
        let fleet = fleet(&files);
        let settings = Settings::new(Platform::linux("amd64"));
        let mut known = known(&fleet);
        for architecture in ["amd64", "arm64", "riscv64"] {
            for name in ["x", "y"] {
                let key = (name.to_owned(), Platform::linux(architecture));
                known.images.insert(key, image(name, RunConfig::default()));
            }
        }
        let last = fleet.images.iter().find(|image| image.name.ends_with("zap")).unwrap();
        let wanted = BTreeSet::from([last.name.clone()]);
        for wanted in [all(&fleet), wanted] {
            let platforms = ["amd64", "arm64"].map(Platform::linux);
            let lowered = lower_all(&fleet, &wanted, (&settings, &platforms), &known);
            assert!(lowered.needs.is_empty(), "{:?}", lowered.needs);
            assert!(lowered.diagnostics.is_empty(), "{:?}", lowered.diagnostics);
            assert_eq!(lowered.images.len(), 2 * wanted.len());
            let of = |name: &str| {
                let steps = lowered.graph.steps().iter();
                let own = steps.filter(|step| step.origin.name.starts_with(name));
                own.map(|step| step.platform.architecture.as_str()).collect::<BTreeSet<_>>()
            };
            assert_eq!(of("RUN native"), BTreeSet::from(["amd64"]));
            let zap = BTreeSet::from(["riscv64"]);
            assert_eq!(of("RUN zap"), zap);
            let only = wanted.len() == 1;
            let apps = BTreeSet::from(["amd64", "arm64", "riscv64"]);
            assert_eq!(of("RUN target"), if only { zap } else { apps });
            let tools = BTreeSet::from(["amd64", "arm64"]);
            assert_eq!(of("RUN tool"), if only { BTreeSet::from(["amd64"]) } else { tools });
        }
        // What is not wanted for itself is a result for the platforms that are needed.
        let app = fleet.images.iter().find(|image| image.name.ends_with("app")).unwrap();
        let named = BTreeSet::from([app.name.clone()]);
        let platforms = ["amd64", "arm64"].map(Platform::linux);
        let wanted = fleet.with_needs(&named);
        let lowered = lower_needed(&fleet, (&wanted, &named), (&settings, &platforms), &known);
        let names: Vec<&str> = lowered.images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["tool linux/amd64", "app linux/amd64", "app linux/arm64"]);
    }
}

#[test]
fn platforms_that_lead_to_ever_more_platforms_are_told() {
    let mut files = vec![("i0/Dockerfile".to_owned(), "FROM x".to_owned())];
    for at in 1..40 {
        let base = at - 1;
        let text = format!(
            "FROM --platform=linux/${{TARGETARCH}}a i{base} AS a\n\
             FROM --platform=linux/${{TARGETARCH}}b i{base}\nCOPY --from=a / /\n"
        );
        files.push((format!("i{at}/Dockerfile"), text));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let fleet = fleet(&files);
    let settings = Settings::new(Platform::linux("amd64"));
    let lowered = lower_all(&fleet, &all(&fleet), (&settings, &[]), &known(&fleet));
    let codes: BTreeSet<&str> = lowered.diagnostics.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["too-many-platforms"]));
}
