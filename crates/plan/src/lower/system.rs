//! Images for other systems than Linux: what their configuration has, and what cannot be done
//! for them here.
//!
//! Files can be put into an image of any system. Its programs cannot be run and its paths not be
//! understood, so `RUN` and `WORKDIR` are refused.

use bakehouse_model::oci::{Platform, RunConfig};

use super::stages::Lowering;
use super::{LowerFailure, wrong};
use crate::dockerfile::Span;

/// The `PATH` of an image that has none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn is_windows(platform: &Platform) -> bool {
    platform.os == "windows"
}

/// The run configuration of an empty image.
pub(super) fn empty_config(platform: &Platform) -> RunConfig {
    let dir = if is_windows(platform) { "\\" } else { "/" };
    let mut config = RunConfig { working_dir: dir.to_owned(), ..RunConfig::default() };
    add_path(&mut config, platform);
    config
}

/// Adds a search path for programs, where the system has one that everybody expects.
pub(super) fn add_path(config: &mut RunConfig, platform: &Platform) {
    if !is_windows(platform) && !config.env.iter().any(|line| line.starts_with("PATH=")) {
        config.env.push(DEFAULT_PATH.to_owned());
    }
}

/// The shell of an image that names none.
pub(super) fn default_shell(platform: &Platform) -> Vec<String> {
    let shell: &[&str] =
        if is_windows(platform) { &["cmd", "/S", "/C"] } else { &["/bin/sh", "-c"] };
    shell.iter().map(|&word| word.to_owned()).collect()
}

/// A platform with its system's version, as `TARGETPLATFORM` has it.
pub(super) fn with_version(platform: &Platform) -> String {
    match platform.os_version.as_deref().filter(|version| !version.is_empty()) {
        None => platform.to_string(),
        Some(version) => {
            let os = format!("{}({version})", platform.os);
            Platform { os, ..platform.clone() }.to_string()
        }
    }
}

impl Lowering<'_> {
    /// Refuses an instruction that only Linux's way of doing it is known of.
    pub(super) fn needs_linux(
        &self,
        at: usize,
        keyword: &str,
        span: Span,
    ) -> Result<(), LowerFailure> {
        let platform = self.states[at].platform.clone().unwrap_or_else(|| self.target_platform());
        if platform.os == "linux" {
            return Ok(());
        }
        Err(wrong(
            self.place(span),
            "foreign-system",
            format!(
                "`{keyword}` for `{platform}`: the embedded engine runs Linux alone; BuildKit \
                 (`docker buildx build`) with a builder on that system can"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_told_with_its_version_where_it_has_one() {
        for text in ["windows(10.0.20348.1006)/amd64", "linux/arm/v7", "windows/amd64"] {
            assert_eq!(with_version(&text.parse().unwrap()), text);
        }
    }
}
