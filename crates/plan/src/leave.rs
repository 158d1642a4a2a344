//! The way out: a fleet as a bake file or as commands of `docker buildx`, for anyone who
//! wants to go on without this program.
//!
//! 1. [`recipes`]: each image as one build, with every name settled. Where an image stands on
//!    another one of the fleet, the name that its Dockerfile has for it is a named context, so
//!    that what was just built is used and not what a registry has.
//! 2. [`bake_file`] writes recipes as HCL, [`script`] as commands for a POSIX shell.
//!
//! What is written means the same to the other tool as it does here. What that tool cannot be
//! told is a comment in what is written ([`Recipe::notes`]), never left out in silence.

mod bake;
mod hcl;
mod paths;
mod recipe;
mod script;
mod shell;
mod written;

pub use bake::bake_file;
pub use recipe::{Dockerfile, From, Given, Recipe, recipes};
pub use script::{Sending, script};

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use bakehouse_model::Location;
    use bakehouse_model::oci::Platform;

    use super::*;
    use crate::fleet::{
        self, ContextValue, Definition, Described, DockerfileAt, Family, Fleet, NamedContext,
        Policy, SourceFile, SourceKind, Surroundings,
    };
    use crate::lower::Settings;

    const INLINE: &str = "FROM base\nRUN echo ${HOME} %{x} \"q\" 'it'\"'\"'s'\nEND\n";

    fn file(path: &str, context: Option<&str>, text: &str) -> SourceFile {
        let context = context.map(str::to_owned);
        SourceFile { path: path.to_owned(), text: text.as_bytes().to_vec(), context }
    }

    /// An image with everything that can be said of one, and one within its definition.
    fn definitions() -> Vec<Definition> {
        let at = |line| Location::new("docker-bake.hcl", line, 1);
        let mut full = Definition::new(SourceKind::Bake, "docker-bake.hcl", "api", at(1));
        full.dockerfile = DockerfileAt::Path("docker/api.Dockerfile".to_owned());
        full.context = ContextValue::Folder("services/api".to_owned());
        full.target = Some("final".to_owned());
        full.args = BTreeMap::from([("GREETING".to_owned(), "it's \"${HOME}\"\n$1".to_owned())]);
        full.contexts = vec![
            NamedContext {
                name: "assets".to_owned(),
                value: ContextValue::Folder("assets".to_owned()),
                location: at(2),
            },
            NamedContext {
                // The same image as `FROM` has by its own name.
                name: "tools".to_owned(),
                value: ContextValue::Definition("base".to_owned()),
                location: at(3),
            },
        ];
        full.references = vec!["registry.example:5000/team/api:1".to_owned()];
        full.platforms = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        full.groups = vec!["services".to_owned()];
        full.options.labels.insert("org.example.note".to_owned(), "100%{}".to_owned());
        full.options.secrets = vec!["id=token,env=TOKEN".to_owned()];
        full.options.ssh = vec!["default".to_owned()];
        full.options.no_cache_filter = vec!["final".to_owned()];
        full.options.network = Some("none".to_owned());
        full.options.shm_size = Some("128m".to_owned());
        full.options.ulimits = vec!["nofile=1024:2048".to_owned()];
        full.options.extra_hosts = vec!["db:10.0.0.1".to_owned()];
        full.options.entitlements = vec!["network.host".to_owned()];
        full.options.annotations = vec!["index:title=Api".to_owned()];
        full.options.attests = vec!["type=sbom".to_owned()];
        full.options.cache_from = vec!["type=registry,ref=registry.example/cache".to_owned()];
        let mut inline = Definition::new(SourceKind::Bake, "docker-bake.hcl", "inline", at(9));
        inline.dockerfile = DockerfileAt::Inline(INLINE.replace("END\n", ""));
        inline.groups = vec!["services".to_owned()];
        vec![full, inline]
    }

    fn fleet() -> Fleet {
        let files = [
            file("base/Dockerfile", Some("base"), "FROM scratch\nCOPY a /a\n"),
            file(
                "docker/api.Dockerfile",
                None,
                "FROM base AS build\nFROM build AS final\nCOPY --from=assets / /\n\
                 COPY --from=tools /a /a\n",
            ),
            file("member/Dockerfile", Some("."), "ARG PARENT=debian:12\nFROM $PARENT\n"),
            file("clash/Dockerfile", Some("clash"), "FROM base AS base\nCOPY x /x\n"),
        ];
        let settings = Settings::new(Platform::linux("amd64"));
        let around = Surroundings {
            repository: "repo",
            exists: &|_| true,
            load: &|_| None,
            settings: &settings,
            target: None,
            prefix: None,
            contexts: &[],
        };
        let family = Family {
            name: "all".to_owned(),
            base: "base".to_owned(),
            arg: "PARENT".to_owned(),
            services: vec![("member".to_owned(), Location::file("bakehouse.toml"))],
            location: Location::file("bakehouse.toml"),
        };
        let policy = Policy { families: vec![family], ..Policy::default() };
        let described = Described { definitions: definitions(), groups: Vec::new(), policy };
        let fleet = fleet::read(&files, described, &around);
        assert!(!fleet.has_errors(), "{:?}", fleet.diagnostics);
        fleet
    }

    fn of_fleet(tags: &BTreeMap<String, Vec<String>>) -> Vec<Recipe> {
        let fleet = fleet();
        let named: BTreeSet<String> = fleet.images.iter().map(|i| i.name.clone()).collect();
        let inline = fleet.images.iter().find(|image| image.file.contains('#')).unwrap();
        let texts = BTreeMap::from([(inline.file.clone(), INLINE.replace("END\n", ""))]);
        let settings = Settings::new(Platform::linux("amd64"));
        let given = Given {
            settings: &settings,
            platforms: &[],
            contexts: &BTreeMap::new(),
            tags,
            secrets: &[],
            ssh: &[],
            pull: false,
            single: None,
            texts: &texts,
        };
        recipes(&fleet, &named, &given)
    }

    fn tags() -> BTreeMap<String, Vec<String>> {
        let tag = |name: &str| (name.to_owned(), vec![format!("registry.example:5000/t/{name}:1")]);
        ["base", "api", "member"].map(tag).into()
    }

    #[test]
    fn a_fleet_is_written_as_a_bake_file() {
        let expected = include_str!("../../../fixtures/leave/docker-bake.hcl");
        assert_eq!(bake_file(&of_fleet(&tags())), expected);
    }

    #[test]
    fn a_fleet_is_written_as_commands_that_load() {
        let expected = include_str!("../../../fixtures/leave/load.sh");
        assert_eq!(script(&of_fleet(&BTreeMap::new()), Sending::Load), expected);
    }

    #[test]
    fn a_fleet_is_written_as_commands_that_push() {
        let expected = include_str!("../../../fixtures/leave/push.sh");
        assert_eq!(script(&of_fleet(&tags()), Sending::Push), expected);
    }

    #[test]
    fn names_that_the_other_tool_does_not_take_are_replaced_or_told() {
        let mut recipes = of_fleet(&BTreeMap::new());
        recipes.truncate(3);
        for (recipe, name) in recipes.iter_mut().zip(["a.b", "a-b", "default"]) {
            name.clone_into(&mut recipe.name);
            recipe.contexts = BTreeMap::from([("x".to_owned(), From::Fleet("a-b".to_owned()))]);
            recipe.groups = ["a-b", "all.of it", "fine"].map(str::to_owned).into();
        }
        let told = bake_file(&recipes);
        for part in [
            "target \"a-b\" {",
            "target \"a-b-2\" {",
            "target \"default-2\" {",
            "\"x\" = \"target:a-b-2\"",
            "# The group a-b is left out: a target has that name",
            "# The group all.of it is left out: its name has letters",
            "group \"fine\" {",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
    }

    #[test]
    fn an_image_that_was_not_asked_for_is_built_and_is_in_no_default() {
        let fleet = fleet();
        let settings = Settings::new(Platform::linux("amd64"));
        let none = BTreeMap::new();
        let given = Given {
            settings: &settings,
            platforms: &[Platform::linux("arm64")],
            contexts: &BTreeMap::from([("base".to_owned(), "docker-image://busybox".to_owned())]),
            tags: &none,
            secrets: &["id=a".to_owned()],
            ssh: &[],
            pull: true,
            single: None,
            texts: &BTreeMap::new(),
        };
        let recipes = recipes(&fleet, &BTreeSet::from(["member".to_owned()]), &given);
        let told = bake_file(&recipes);
        let names: Vec<(&str, bool)> =
            recipes.iter().map(|r| (r.name.as_str(), r.wanted)).collect();
        assert_eq!(names, [("base", false), ("member", true)]);
        for part in [
            "targets = [\"member\"]",
            "\"base\" = \"docker-image://busybox\"",
            "platforms = [\"linux/arm64\"]",
            "secret = [\"id=a\"]",
            "pull = true",
        ] {
            assert!(told.contains(part), "no {part} in {told}");
        }
    }
}
