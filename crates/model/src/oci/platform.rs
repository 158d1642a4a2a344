//! Platforms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An operating system, an architecture and its variant: `linux/arm64/v8`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOOS.
    pub os: String,
    /// GOARCH.
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system, which only Windows uses.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

/// The text names no platform.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("platform `{text}` is not `os/architecture[/variant]`")]
pub struct ParsePlatformError {
    text: String,
}

impl Platform {
    /// `linux/ARCH`, normalised.
    pub fn linux(architecture: &str) -> Self {
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
            os_version: None,
        }
        .normalised()
    }

    /// The platform this program was compiled for, with the operating system `linux`.
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        })
    }

    /// With the aliases that containerd's `platforms` package knows resolved:
    /// `x86_64` is `amd64`, `arm64/v8` is `arm64`, `arm` is `arm/v7`.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        self.os = self.os.to_ascii_lowercase();
        if self.os == "macos" {
            self.os = "darwin".to_owned();
        }
        self.architecture = self.architecture.to_ascii_lowercase();
        self.variant = self.variant.map(|v| v.to_ascii_lowercase()).filter(|v| !v.is_empty());
        let variant = self.variant.clone();
        let (architecture, variant) = match (self.architecture.as_str(), variant.as_deref()) {
            ("i386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", Some("v1") | None) => ("amd64", None),
            ("x86_64" | "x86-64", other) => ("amd64", other),
            ("aarch64" | "arm64", Some("8" | "v8") | None) => ("arm64", None),
            ("aarch64", other) => ("arm64", other),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", Some("7") | None) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (other, variant) => (other, variant),
        };
        Self {
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            ..self.clone()
        }
    }

    /// Whether an image for `self` runs where `wanted` is asked for, and how well: 0 is
    /// exactly, more is further away. None if it does not run.
    pub fn distance(&self, wanted: &Self) -> Option<u32> {
        let (own, wanted) = (self.clone().normalised(), wanted.clone().normalised());
        if own.os != wanted.os || own.architecture != wanted.architecture {
            return None;
        }
        if own.variant == wanted.variant {
            return Some(0);
        }
        let level = |variant: Option<&str>, none: u32| {
            variant.map_or(Some(none), |v| v.strip_prefix('v')?.parse::<u32>().ok())
        };
        let none = match own.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => return None,
        };
        let (have, want) =
            (level(own.variant.as_deref(), none)?, level(wanted.variant.as_deref(), none)?);
        (have <= want).then(|| want - have)
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePlatformError { text: text.to_owned() };
        // Windows' version comes in parentheses: `windows(10.0.17763)/amd64`.
        if let Some((os, rest)) = text.split_once('(')
            && let Some((version, rest)) = rest.split_once(')')
            && version.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        {
            let plain: Self = format!("{os}{rest}").parse().map_err(|_| error())?;
            return Ok(Self { os_version: Some(version.to_owned()), ..plain });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        if !parts.iter().all(plain) {
            return Err(error());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [one] if is_os(one) => {
                return Ok(Self { os: (*one).to_owned(), ..Self::host() }.normalised());
            }
            [one] if is_architecture(one) => ("linux", *one, None),
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => return Err(error()),
        };
        Ok(Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant,
            os_version: None,
        }
        .normalised())
    }
}

fn is_architecture(text: &str) -> bool {
    const KNOWN: &[&str] = &[
        "386", "amd64", "amd64p32", "arm", "arm64", "armhf", "armel", "aarch64", "i386", "loong64",
        "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64", "s390x", "sparc64",
        "wasm", "x86_64", "x86-64",
    ];
    KNOWN.contains(&text.to_ascii_lowercase().as_str())
}

fn is_os(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "linux" | "windows" | "darwin" | "macos" | "freebsd" | "netbsd" | "openbsd" | "wasip1"
    )
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_read_and_normalised() {
        let cases = [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("darwin/arm64", "darwin/arm64"),
            ("aarch64", "linux/arm64"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "lala", "a/b/c/d", "linux//", "linux/am d64"] {
            text.parse::<Platform>().unwrap_err();
        }
    }

    #[test]
    fn a_newer_machine_runs_an_older_variant_and_not_the_other_way_round() {
        let parse = |text: &str| text.parse::<Platform>().unwrap();
        let cases = [
            ("linux/amd64", "linux/amd64", Some(0)),
            ("linux/amd64", "linux/amd64/v3", Some(2)),
            ("linux/amd64/v3", "linux/amd64", None),
            ("linux/arm/v6", "linux/arm/v7", Some(1)),
            ("linux/arm/v7", "linux/arm/v6", None),
            ("linux/arm64", "linux/amd64", None),
        ];
        for (have, want, expected) in cases {
            assert_eq!(parse(have).distance(&parse(want)), expected, "{have} for {want}");
        }
    }
}
