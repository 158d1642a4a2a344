//! Package URLs of images.

use bakehouse_model::oci::{Platform, Reference};

/// The package URL of an image, such as `pkg:docker/debian@12?platform=linux%2Famd64`.
pub fn image(reference: &Reference, platform: Option<&Platform>) -> String {
    let familiar = reference.familiar();
    let name = familiar.split('@').next().unwrap_or_default();
    // A colon after the last slash begins the tag; one before belongs to the registry.
    let folder = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[folder..].rfind(':') {
        Some(colon) => &name[..folder + colon],
        None => name,
    };
    let mut url = format!("pkg:docker/{}", escaped(name, b"/"));
    if let Some(tag) = reference.tag() {
        url.push('@');
        url.push_str(&escaped(tag, b""));
    }
    let digest = reference.digest().map(|digest| ("digest", digest.to_string()));
    let platform = platform.map(|platform| ("platform", platform.to_string()));
    for (at, (key, value)) in digest.into_iter().chain(platform).enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(&format!("{key}={}", escaped(&value, b":")));
    }
    url
}

/// With everything escaped that means something in a URL, but for `plain`.
fn escaped(text: &str, plain: &[u8]) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        byte if plain.contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_urls() {
        let digest = bakehouse_model::Digest::of("x");
        let pinned = format!("debian@{digest}");
        let cases = [
            ("debian:12", "pkg:docker/debian@12".to_owned()),
            ("ghcr.io/org/app:v1_2", "pkg:docker/ghcr.io/org/app@v1_2".to_owned()),
            ("localhost:5000/app", "pkg:docker/localhost%3A5000/app@latest".to_owned()),
            (pinned.as_str(), format!("pkg:docker/debian?digest={digest}")),
        ];
        for (reference, expected) in cases {
            assert_eq!(image(&reference.parse().unwrap(), None), expected, "{reference}");
        }
    }
}
