//! Which files of a folder make a project when none is named.

use bakehouse_model::Diagnostic;

use crate::load::Loader;
use crate::path::join;
use crate::problem::{error, warning};
use crate::read::{SourceFile, Surroundings, env_files};
use crate::yaml::Span;

/// What a project's file may be called, the first choice first.
pub const FILES: &[&str] =
    &["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// What the file may be called that is put on top of it.
pub const OVERRIDES: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// The files of `folder`'s project, in the order of merging; none, if there is no project.
///
/// `COMPOSE_FILE`, set outside or in the folder's env file, names them; otherwise it is the first of
/// [`FILES`] that is there with the first of [`OVERRIDES`].
pub fn find(folder: &str, around: &Surroundings<'_>) -> (Vec<SourceFile>, Vec<Diagnostic>) {
    let folder = join("", folder);
    let mut loader = Loader::new(around.load);
    let environment = env_files(&mut loader, &folder, around);
    let mut diagnostics = Vec::new();
    let files = match environment.get("COMPOSE_FILE").filter(|named| !named.is_empty()) {
        Some(named) => {
            let separator = environment.get("COMPOSE_PATH_SEPARATOR").filter(|it| !it.is_empty());
            let names: Vec<&str> = named.split(separator.as_deref().unwrap_or(":")).collect();
            named_files(&folder, &names, around, &mut diagnostics)
        }
        None => default_files(&folder, around, &mut diagnostics),
    };
    (files, diagnostics)
}

fn named_files(
    folder: &str,
    names: &[&str],
    around: &Surroundings<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for name in names.iter().filter(|name| !name.is_empty()) {
        let path = join(folder, name);
        match (around.load)(&path) {
            Some(text) => files.push(SourceFile { path, text }),
            None => {
                let message = format!("`{path}`, which `COMPOSE_FILE` names, cannot be read");
                let help = "check the variable; paths in it are separated by `:`";
                diagnostics.push(error(&Span::file(&path), "missing-file", message, help));
            }
        }
    }
    files
}

fn default_files(
    folder: &str,
    around: &Surroundings<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for names in [FILES, OVERRIDES] {
        let found = names.iter().filter_map(|name| {
            let path = join(folder, name);
            Some(SourceFile { text: (around.load)(&path)?, path })
        });
        let mut found = found.collect::<Vec<_>>().into_iter();
        let Some(file) = found.next() else { break };
        for other in found {
            let message = format!("`{}` is not read, since `{}` is there", other.path, file.path);
            let help = "remove one of them, or name the files in `COMPOSE_FILE`";
            diagnostics.push(warning(&Span::file(&other.path), "several-files", message, help));
        }
        files.push(file);
    }
    files
}

#[cfg(test)]
mod tests {
    use super::find;
    use crate::read::Surroundings;

    fn found(files: &[(&str, &str)], env: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let load = |path: &str| {
            let file = files.iter().find(|(name, _)| *name == path);
            file.map(|(_, text)| text.as_bytes().to_vec())
        };
        let env = |name: &str| {
            let pair = env.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        let around = Surroundings { env: &env, load: &load, project: "p", profiles: None };
        let (files, diagnostics) = find("app", &around);
        let codes = diagnostics.into_iter().map(|problem| problem.code).collect();
        (files.into_iter().map(|file| file.path).collect(), codes)
    }

    #[test]
    fn the_first_name_wins_and_its_override_comes_after_it() {
        type Row<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
        let table: [Row<'_>; 4] = [
            (&[], &[], &[]),
            (&[("app/compose.override.yml", "")], &[], &[]),
            (&[("app/docker-compose.yaml", "")], &["app/docker-compose.yaml"], &[]),
            (
                &[
                    ("app/docker-compose.yml", ""),
                    ("app/compose.yaml", ""),
                    ("app/docker-compose.override.yml", ""),
                ],
                &["app/compose.yaml", "app/docker-compose.override.yml"],
                &["several-files"],
            ),
        ];
        for (files, expected, codes) in table {
            let (paths, found) = found(files, &[]);
            assert_eq!((paths, found), (strings(expected), strings(codes)), "{files:?}");
        }
    }

    #[test]
    fn compose_file_names_the_files_instead() {
        let files = [
            ("app/compose.yaml", ""),
            ("app/.env", "COMPOSE_FILE=a.yml;../b.yml;c.yml\nCOMPOSE_PATH_SEPARATOR=;"),
            ("app/a.yml", ""),
            ("b.yml", ""),
        ];
        let expected = (strings(&["app/a.yml", "b.yml"]), strings(&["missing-file"]));
        assert_eq!(found(&files, &[]), expected);
        let expected = (strings(&["app/compose.yaml", "app/a.yml"]), Vec::new());
        let env = [("COMPOSE_FILE", "compose.yaml:a.yml"), ("COMPOSE_PATH_SEPARATOR", ":")];
        assert_eq!(found(&files, &env), expected);
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }
}
