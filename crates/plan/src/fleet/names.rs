//! What an image is called: as it is published, else as its definition calls it, else by its
//! file's suffix or folder.

use std::collections::BTreeMap;

use bakehouse_model::oci::Reference;
use bakehouse_model::{Diagnostic, Severity};

use super::{Image, SourceKind};

/// Folders that say nothing about what is in them.
const EMPTY_WORDS: &[&str] = &["docker", ".docker", "build", "deploy", "container", "image", "."];

/// The most images that a note about a shared name lists.
const NAMED: usize = 4;

/// Whether a file of that name is a Dockerfile: `Dockerfile`, `Dockerfile.x`, `x.Dockerfile`,
/// `Containerfile` and so on.
pub fn is_dockerfile_name(name: &str) -> bool {
    if name.ends_with(".dockerignore") || name.ends_with('~') {
        return false;
    }
    let lower = name.to_ascii_lowercase();
    ["dockerfile", "containerfile"].iter().any(|word| {
        lower == *word
            || lower
                .strip_prefix(word)
                .is_some_and(|rest| rest.starts_with(['.', '-', '_']) && rest.len() > 1)
            || lower.strip_suffix(word).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    })
}

/// The name of the image of a Dockerfile.
pub(super) fn of_file(path: &str, repository: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let lower = file.to_ascii_lowercase();
    for word in ["dockerfile", "containerfile"] {
        if let Some(rest) = lower.strip_prefix(word)
            && rest.len() > 1
        {
            return clean(&rest[1..]);
        }
        if let Some(rest) = lower.strip_suffix(word)
            && rest.len() > 1
        {
            return clean(&rest[..rest.len() - 1]);
        }
    }
    of_folder(folder, repository)
}

fn of_folder(folder: &str, repository: &str) -> String {
    let telling = folder.rsplit('/').find(|part| !part.is_empty() && !EMPTY_WORDS.contains(part));
    clean(telling.unwrap_or(repository))
}

/// As a repository's name must be: lower-case words and digits, joined by one of `._-`.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with(['.', '-', '_']) {
            out.push(if matches!(c, '.' | '_') { c } else { '-' });
        }
    }
    let out = out.trim_end_matches(['.', '-', '_']);
    if out.is_empty() { "image".to_owned() } else { out.to_owned() }
}

/// Gives every image its name, and says where that was not clear.
///
/// What an image is published as comes first, then the name that a bake file or
/// `bakehouse.toml` gives it, then its file's suffix or folder. A Dockerfile that several
/// images share says nothing about their names: those are called as their definitions call
/// them.
pub(super) fn give(images: &mut [Image], repository: &str, diagnostics: &mut Vec<Diagnostic>) {
    let mut on_file: BTreeMap<String, usize> = BTreeMap::new();
    for image in images.iter() {
        *on_file.entry(image.file.clone()).or_insert(0) += 1;
    }
    let candidates: Vec<Vec<String>> =
        images.iter().map(|image| candidates(image, on_file[&image.file], repository)).collect();
    for (image, candidates) in images.iter_mut().zip(&candidates) {
        image.name.clone_from(&candidates[0]);
        image.aliases.extend(candidates.iter().cloned());
    }
    // Whoever shares a name gets the next one that it could have.
    let most = candidates.iter().map(Vec::len).max().unwrap_or(0);
    for round in 1..most {
        for (name, indexes) in shared(images) {
            for index in &indexes {
                if let Some(next) = candidates[*index].get(round) {
                    images[*index].name.clone_from(next);
                }
            }
            tell(images, &name, &indexes, diagnostics);
        }
    }
    for (name, indexes) in shared(images) {
        for index in &indexes {
            let image = &mut images[*index];
            image.name = longer(&image.file, &name, repository);
        }
        tell(images, &name, &indexes, diagnostics);
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for image in images {
        let count = seen.entry(image.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            image.name = format!("{}-{count}", image.name);
        }
    }
}

/// What an image could be called, the best first; never empty.
fn candidates(image: &Image, on_file: usize, repository: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    if let Some(name) = image.references.first().and_then(|reference| published(reference)) {
        add(name);
    }
    let named = |kind: SourceKind| image.sources.iter().find(move |source| source.kind == kind);
    for kind in [SourceKind::Config, SourceKind::Bake] {
        if let Some(source) = named(kind) {
            add(source.name.clone());
        }
    }
    let service = named(SourceKind::Compose).map(|source| source.name.clone());
    let of_file = (!image.file.contains('#')).then(|| of_file(&image.file, repository));
    let with_folder = of_file.as_ref().and_then(|_| with_folder(&image.file, repository));
    let rest =
        if on_file > 1 { [service, of_file, with_folder] } else { [of_file, service, with_folder] };
    rest.into_iter().flatten().for_each(add);
    if names.is_empty() {
        names.push(clean(&image.name));
    }
    names
}

/// The last word of a reference.
fn published(reference: &str) -> Option<String> {
    let reference: Reference = reference.parse().ok()?;
    reference.repository().rsplit('/').next().map(str::to_owned)
}

/// Names that several images have.
fn shared(images: &[Image]) -> Vec<(String, Vec<usize>)> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, image) in images.iter().enumerate() {
        by_name.entry(&image.name).or_default().push(index);
    }
    let several = by_name.into_iter().filter(|(_, indexes)| indexes.len() > 1);
    several.map(|(name, indexes)| (name.to_owned(), indexes)).collect()
}

fn tell(images: &[Image], name: &str, indexes: &[usize], diagnostics: &mut Vec<Diagnostic>) {
    // Targets of one bake file have names of their own; nothing is in doubt.
    let named = |at: &&usize| {
        let image = &images[**at];
        image.name != name && image.kind() != SourceKind::Bake
    };
    let Some(first) = indexes.iter().find(named).map(|at| &images[*at]) else { return };
    let mut called: Vec<String> =
        indexes.iter().map(|at| format!("`{}`", images[*at].name)).collect();
    let rest = called.len().saturating_sub(NAMED);
    called.truncate(NAMED);
    if rest > 0 {
        called.push(format!("{rest} more"));
    }
    diagnostics.push(Diagnostic {
        location: Some(first.location()),
        severity: Severity::Note,
        code: "same-name".to_owned(),
        message: format!(
            "{} images would be called `{name}`, so they are {}",
            indexes.len(),
            called.join(", ")
        ),
        help: Some("name them in `bakehouse.toml` to choose others".to_owned()),
    });
}

/// What distinguishes files of one suffix: the folder, then the whole path.
fn with_folder(file: &str, repository: &str) -> Option<String> {
    let (folder, name) = file.rsplit_once('/')?;
    let suffix = of_file(name, "");
    let folder = of_folder(folder, repository);
    let plain = ["dockerfile", "containerfile"].contains(&name.to_ascii_lowercase().as_str());
    (!plain && folder != suffix).then(|| format!("{folder}-{suffix}"))
}

/// The whole path as a name: `apps/api/Dockerfile` is `apps-api`.
fn longer(file: &str, name: &str, repository: &str) -> String {
    let (folder, file_name) = file.rsplit_once('/').unwrap_or(("", file));
    let suffix = file_name.len() > "containerfile".len() || file_name.contains('.');
    let parts = folder.split('/').filter(|part| !part.is_empty() && !EMPTY_WORDS.contains(part));
    let mut words: Vec<String> = parts.map(clean).collect();
    if words.is_empty() {
        words.push(clean(repository));
    }
    if suffix && words.last().map(String::as_str) != Some(name) {
        words.push(name.to_owned());
    }
    words.join("-")
}

/// The known name that `wrong` was probably meant to be.
pub fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = 1 + wrong.len() / 4;
    known
        .into_iter()
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_names() {
        let yes = [
            "Dockerfile",
            "dockerfile",
            "Dockerfile.dev",
            "api.Dockerfile",
            "Containerfile",
            "Dockerfile-x",
            "web.dockerfile",
        ];
        let no = [
            "Dockerfile.dockerignore",
            "dockerfile_parser.rs~",
            "MyDockerfile",
            "Dockerfiles",
            ".dockerignore",
            "Dockerfile.",
        ];
        for name in yes {
            assert!(is_dockerfile_name(name), "{name}");
        }
        for name in no {
            assert!(!is_dockerfile_name(name), "{name}");
        }
    }

    #[test]
    fn suffix_comes_before_folder_before_repository() {
        let cases = [
            ("services/base/Dockerfile.python-ml", "python-ml"),
            ("services/stt/Dockerfile", "stt"),
            ("services/stt/docker/Dockerfile", "stt"),
            ("Dockerfile", "repo"),
            ("docker/api.Dockerfile", "api"),
            ("My App/Dockerfile", "my-app"),
        ];
        for (path, name) in cases {
            assert_eq!(of_file(path, "Repo"), name, "{path}");
        }
    }

    #[test]
    fn a_typing_error_is_recognised() {
        assert_eq!(suggest("sst", ["stt", "tts", "gateway"]), Some("stt"));
        assert_eq!(suggest("xyz", ["gateway"]), None);
    }
}
