//! The files in which package managers note what they installed.

use super::{Distribution, Manager, Package};

/// `/etc/os-release`.
pub(super) fn distribution(text: &str) -> Distribution {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    Distribution { id: field("ID"), version: field("VERSION_ID") }
}

/// dpkg's stanzas; with `status`, those of packages that are installed.
pub(super) fn dpkg(text: &str, file: &str, status: bool) -> Vec<Package> {
    let stanzas = text.split("\n\n").map(|stanza| fields(stanza, ": "));
    stanzas
        .filter(|field| !status || field("Status").is_some_and(|s| s.ends_with(" installed")))
        .filter_map(|field| {
            package(Manager::Dpkg, file, (field("Package")?, field("Version")?), |package| {
                package.architecture = field("Architecture").unwrap_or_default().to_owned();
            })
        })
        .collect()
}

/// apk's stanzas.
pub(super) fn apk(text: &str, file: &str) -> Vec<Package> {
    let stanzas = text.split("\n\n").map(|stanza| fields(stanza, ":"));
    stanzas
        .filter_map(|field| {
            package(Manager::Apk, file, (field("P")?, field("V")?), |package| {
                package.architecture = field("A").unwrap_or_default().to_owned();
                package.licence = field("L").unwrap_or_default().to_owned();
            })
        })
        .collect()
}

/// The head of a Python package's metadata.
pub(super) fn python(text: &str, file: &str) -> Option<Package> {
    let head = text.split("\n\n").next().unwrap_or_default();
    let field = fields(head, ": ");
    package(Manager::Python, file, (field("Name")?, field("Version")?), |package| {
        let licence = field("License-Expression").or_else(|| field("License"));
        package.licence = licence.unwrap_or_default().to_owned();
    })
}

/// An npm package's own description.
pub(super) fn npm(text: &str, file: &str) -> Option<Package> {
    let description: serde_json::Value = serde_json::from_str(text).ok()?;
    let field = |name: &str| description[name].as_str();
    package(Manager::Npm, file, (field("name")?, field("version")?), |package| {
        package.licence = field("license").unwrap_or_default().to_owned();
    })
}

fn package(
    manager: Manager,
    file: &str,
    (name, version): (&str, &str),
    more: impl FnOnce(&mut Package),
) -> Option<Package> {
    if name.is_empty() {
        return None;
    }
    let mut package = Package {
        manager,
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: String::new(),
        licence: String::new(),
        found_in: file.to_owned(),
    };
    more(&mut package);
    // Some put a whole licence where its name belongs.
    package.licence.truncate(package.licence.find('\n').unwrap_or(package.licence.len()));
    Some(package)
}

/// Finds the first line `NAME…VALUE` of a stanza.
fn fields<'a>(stanza: &'a str, separator: &'static str) -> impl Fn(&str) -> Option<&'a str> {
    move |name| {
        let lines = stanza.lines().filter_map(|line| line.split_once(separator));
        lines.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let text = "Package: a\nStatus: install ok installed\nVersion: 1\nDescription: x\n Package: no\n\n\
                    Package: b\nStatus: deinstall ok config-files\nVersion: 2\n\n\
                    Version: 3\nStatus: install ok installed\n";
        let names =
            |status| dpkg(text, "f", status).into_iter().map(|p| p.name).collect::<Vec<_>>();
        assert_eq!(names(true), ["a"]);
        assert_eq!(names(false), ["a", "b"]);
    }

    #[test]
    fn anything_at_all_can_be_read() {
        for text in ["", "\n\n\n", ":", "P:\nV:", "Package: \nVersion: ", "{}", "[1]", "\"x\""] {
            assert_eq!(dpkg(text, "f", false), []);
            assert_eq!(apk(text, "f"), []);
            assert_eq!((python(text, "f"), npm(text, "f")), (None, None));
            assert_eq!(distribution(text), Distribution::default());
        }
    }
}
