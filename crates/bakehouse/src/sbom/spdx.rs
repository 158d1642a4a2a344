//! An SPDX 2.3 document of an image's packages.

use bakehouse_model::Digest;
use bakehouse_plan::time::rfc3339_ms;
use serde_json::{Value, json};

use super::{Contents, Distribution, Manager, Package};

/// The document about the image with this manifest, made at that time in milliseconds since
/// 1970. The same image gives the same document.
pub fn document(name: &str, manifest: &Digest, contents: &Contents, created_ms: u64) -> Value {
    let packages: Vec<Value> = contents
        .packages
        .iter()
        .enumerate()
        .map(|(at, one)| package(at, one, &contents.distribution))
        .collect();
    let relations: Vec<Value> = packages
        .iter()
        .map(|package| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": package["SPDXID"],
            })
        })
        .collect();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("urn:sha256:{}", manifest.hex()),
        "creationInfo": {
            "creators": [format!("Tool: bakehouse-{}", env!("CARGO_PKG_VERSION"))],
            "created": rfc3339_ms(created_ms / 1000 * 1000),
        },
        "packages": packages,
        "relationships": relations,
    });
    if contents.has_rpm {
        document["comment"] = json!("packages that rpm installed are not listed");
    }
    document
}

fn package(at: usize, package: &Package, distribution: &Distribution) -> Value {
    let url = package_url(package, distribution);
    let none = "NOASSERTION";
    json!({
        "SPDXID": format!("SPDXRef-Package-{at}-{}", plain(&package.name)),
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": none,
        "filesAnalyzed": false,
        "licenseConcluded": none,
        "licenseDeclared": none,
        "licenseComments": package.licence,
        "copyrightText": none,
        "sourceInfo": format!("told by /{}", package.found_in),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    })
}

fn package_url(package: &Package, distribution: &Distribution) -> String {
    let id = if distribution.id.is_empty() { "unknown" } else { distribution.id.as_str() };
    let version = escaped(&package.version);
    let (kind, name) = match package.manager {
        Manager::Dpkg => ("deb", format!("{}/{}", escaped(id), escaped(&package.name))),
        Manager::Apk => ("apk", format!("{}/{}", escaped(id), escaped(&package.name))),
        // Python's names are the same in any case, and with `-`, `_` or `.`.
        Manager::Python => {
            let name = package.name.to_ascii_lowercase().replace(['_', '.'], "-");
            ("pypi", escaped(&name))
        }
        Manager::Npm => {
            let parts: Vec<String> = package.name.split('/').map(escaped).collect();
            ("npm", parts.join("/"))
        }
    };
    let mut url = format!("pkg:{kind}/{name}@{version}");
    let mut qualifiers = Vec::new();
    if !package.architecture.is_empty() {
        qualifiers.push(format!("arch={}", escaped(&package.architecture)));
    }
    if matches!(package.manager, Manager::Dpkg | Manager::Apk) && !distribution.version.is_empty() {
        qualifiers.push(format!("distro={}-{}", escaped(id), escaped(&distribution.version)));
    }
    if !qualifiers.is_empty() {
        url.push('?');
        url.push_str(&qualifiers.join("&"));
    }
    url
}

/// What an SPDX id may have in it.
fn plain(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '-' };
    name.chars().map(fits).collect()
}

fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(manager: Manager, name: &str, version: &str, architecture: &str) -> Package {
        Package {
            manager,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            licence: String::new(),
            found_in: "some/file".to_owned(),
        }
    }

    #[test]
    fn packages_have_urls_that_others_know_them_by() {
        let debian = Distribution { id: "debian".to_owned(), version: "12".to_owned() };
        let cases = [
            (
                one(Manager::Dpkg, "libstdc++6", "12.2.0-14", "amd64"),
                "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=debian-12",
            ),
            (one(Manager::Dpkg, "x", "1:2~3", ""), "pkg:deb/debian/x@1:2~3?distro=debian-12"),
            (
                one(Manager::Python, "Typing_Extensions", "4.1", ""),
                "pkg:pypi/typing-extensions@4.1",
            ),
            (one(Manager::Npm, "@types/node", "20.1.0", ""), "pkg:npm/%40types/node@20.1.0"),
        ];
        for (package, expected) in cases {
            assert_eq!(package_url(&package, &debian), expected);
        }
        let apk = one(Manager::Apk, "musl", "1.2", "x86_64");
        assert_eq!(
            package_url(&apk, &Distribution::default()),
            "pkg:apk/unknown/musl@1.2?arch=x86_64"
        );
    }

    #[test]
    fn a_document_describes_each_package_once() {
        let mut contents = Contents { has_rpm: true, ..Contents::default() };
        contents.packages.insert(one(Manager::Npm, "@a/b", "1", ""));
        contents.packages.insert(one(Manager::Npm, "@a_b", "1", ""));
        let document = document("app", &Digest::of("image"), &contents, 1_500);
        let ids: std::collections::BTreeSet<&str> = document["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| package["SPDXID"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), 2, "{ids:?}");
        assert_eq!(document["relationships"].as_array().unwrap().len(), 2);
        assert_eq!(document["creationInfo"]["created"], "1970-01-01T00:00:01Z");
        assert!(document["comment"].as_str().unwrap().contains("rpm"));
    }
}
