//! What the tools cannot tell: places, profiles, files, and what is kept apart.

use bakehouse_compose::{Build, Context, Project, SourceFile, Surroundings, Written, read};

use crate::cases::cases;

fn project(files: &[(&str, &str)], given: usize, profiles: Option<&[String]>) -> Project {
    let load = |path: &str| {
        let file = files.iter().find(|(name, _)| *name == path);
        file.map(|(_, text)| text.as_bytes().to_vec())
    };
    let env = |name: &str| (name == "COMPOSE_PROFILES").then(|| "debug, other".to_owned());
    let around = Surroundings { env: &env, load: &load, project: "My Shop", profiles };
    let source = |(path, text): &(&str, &str)| SourceFile {
        path: (*path).to_owned(),
        text: text.as_bytes().to_vec(),
    };
    read(&files[..given].iter().map(source).collect::<Vec<_>>(), &around)
}

fn place<T>(written: &Written<T>) -> String {
    let location = &written.location;
    format!("{}:{}:{}", location.file, location.line, location.column)
}

fn build<'p>(project: &'p Project, service: &str) -> &'p Build {
    project.services[service].build.as_ref().unwrap()
}

#[test]
fn a_value_is_where_its_last_writer_wrote_it() {
    let files = [
        (
            "compose.yaml",
            "services:\n  app:\n    image: one\n    build:\n      context: app\n      args:\n        A: 1\n        B:\n      tags: [x]\n",
        ),
        (
            "over.yaml",
            "services:\n  app:\n    build:\n      args: [A=2, C]\n      target: end\n      tags: [y]\n  more:\n    build: ./more\n",
        ),
    ];
    let project = project(&files, 2, None);
    let app = build(&project, "app");
    let found = [
        place(project.services["app"].image.as_ref().unwrap()),
        place(&app.context),
        place(&app.args["A"]),
        place(&app.args["B"]),
        place(&app.args["C"]),
        place(app.target.as_ref().unwrap()),
        place(&app.tags[0]),
        place(&app.tags[1]),
        place(&build(&project, "more").context),
    ];
    let expected = [
        "compose.yaml:3:12",
        "compose.yaml:5:16",
        "over.yaml:4:14",
        "compose.yaml:8:9",
        "over.yaml:4:19",
        "over.yaml:5:15",
        "compose.yaml:9:14",
        "over.yaml:6:14",
        "over.yaml:8:12",
    ];
    assert_eq!(found, expected);
    assert_eq!(project.services["app"].location.line, 2);
}

#[test]
fn an_image_without_a_name_has_the_projects_and_its_own() {
    let files = [("app/compose.yaml", "services:\n  a: {build: .}\n  b: {build: ., image: c}\n")];
    let project = project(&files, 1, None);
    assert_eq!(project.name, "myshop");
    let names = |name: &str| {
        let service = &project.services[name];
        (service.image.is_some(), service.default_image.as_str(), service.image_name())
    };
    assert_eq!(names("a"), (false, "myshop-a", "myshop-a"));
    assert_eq!(names("b"), (true, "myshop-b", "c"));
}

#[test]
fn a_service_is_on_when_one_of_its_profiles_is() {
    let text = "services:\n  always: {image: a}\n  debug: {image: a, profiles: [x, debug]}\n  test: {image: a, profiles: [test]}\n";
    let table: [(Option<&[String]>, [bool; 3]); 4] = [
        (None, [true, true, false]),
        (Some(&[]), [true, false, false]),
        (Some(&["test".to_owned()]), [true, false, true]),
        (Some(&["*".to_owned()]), [true, true, true]),
    ];
    for (profiles, expected) in table {
        let project = project(&[("compose.yaml", text)], 1, profiles);
        let on = ["always", "debug", "test"].map(|name| project.services[name].enabled);
        assert_eq!(on, expected, "{profiles:?}");
    }
}

#[test]
fn every_file_that_was_read_is_named_and_no_other() {
    let files = [
        (
            "app/compose.yaml",
            "include: [part/c.yml]\nservices: {a: {extends: {file: ../base.yml, service: b}}}\n",
        ),
        ("app/.env", "A=1\n"),
        ("app/part/c.yml", "services: {c: {image: c}}\n"),
        ("app/part/.env", "B=1\n"),
        ("base.yml", "services: {b: {build: base}}\n"),
        ("other.yml", ""),
    ];
    let project = project(&files, 1, None);
    let expected = ["app/compose.yaml", "app/.env", "app/part/.env", "app/part/c.yml", "base.yml"];
    assert_eq!(project.files, expected);
    assert_eq!(build(&project, "a").context.value, Context::Folder("base".to_owned()));
}

#[test]
fn a_dockerfile_is_seen_from_the_root() {
    let text = "services:\n  a: {build: ../lib}\n  b: {build: {dockerfile: ../B}}\n  c: {build: {dockerfile_inline: FROM x}}\n  d: {build: \"https://git.example/x.git\"}\n  e: {build: {dockerfile: /E}}\n";
    let project = project(&[("app/compose.yaml", text)], 1, None);
    let paths = ["a", "b", "c", "d", "e"].map(|name| build(&project, name).dockerfile_path());
    let expected = [Some("lib/Dockerfile"), Some("B"), None, None, Some("/E")];
    assert_eq!(paths, expected.map(|path| path.map(str::to_owned)));
}

#[test]
fn agents_and_keys_of_ssh_are_told_apart() {
    let case = cases("ok").into_iter().find(|case| case.name == "ssh").unwrap();
    let project = case.read();
    let keys = |service: &str| -> Vec<(String, Option<String>)> {
        let ssh = build(&project, service).ssh.iter();
        ssh.map(|(id, path)| (id.clone(), path.value.clone())).collect()
    };
    let deploy = ("deploy".to_owned(), Some("keys/deploy".to_owned()));
    assert_eq!(keys("list"), [("default".to_owned(), None), deploy.clone()]);
    assert_eq!(keys("map"), [deploy]);
}

#[test]
fn a_folder_that_is_called_like_a_host_stays_a_folder() {
    let text = "services:\n  a: {build: .}\n  b: {build: github.com/x/y}\n";
    let project = project(&[("github.com/x/compose.yaml", text)], 1, None);
    let contexts = ["a", "b"].map(|name| build(&project, name).context.value.clone());
    let expected =
        [Context::Folder("github.com/x".to_owned()), Context::Remote("github.com/x/y".to_owned())];
    assert_eq!(contexts, expected);
}

#[test]
fn the_environment_says_which_env_files_are_read() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
    let table: [Row<'_>; 4] = [
        (&[], "beside", "app"),
        (&[("COMPOSE_DISABLE_ENV_FILE", "true")], "none", "app"),
        (&[("COMPOSE_ENV_FILES", "one.env,two.env")], "two", "app"),
        (&[("COMPOSE_PROJECT_NAME", "Bad Name"), ("TAG", "set")], "set", "badname"),
    ];
    for (env, tag, name) in table {
        let load = |path: &str| match path {
            "app/.env" => Some(b"TAG=beside".to_vec()),
            "app/one.env" => Some(b"TAG=one".to_vec()),
            "app/two.env" => Some(b"TAG=two".to_vec()),
            _ => None,
        };
        let env = |name: &str| {
            let pair = env.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings { env: &env, load: &load, project: "app", profiles: None };
        let text = b"services: {a: {image: \"${TAG:-none}\"}}".to_vec();
        let project = read(&[SourceFile { path: "app/compose.yaml".to_owned(), text }], &around);
        let image = project.services["a"].image_name();
        assert_eq!((image, project.name.as_str()), (tag, name));
        let complains = project.diagnostics.iter().any(|problem| problem.code == "invalid-name");
        assert_eq!(complains, name == "badname");
    }
}
