//! Arguments before the first `FROM`, and the ones that are always there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bakehouse_model::oci::Platform;

use super::{LowerFailure, Request, wrong};
use crate::dockerfile::words::{Env, Lexer};

/// Variables in the order they were set; setting one again moves it to the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ArgEnv(Vec<(String, String)>);

impl ArgEnv {
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }
}

impl Env for ArgEnv {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.value(name).map(Cow::Borrowed)
    }
}

/// The global arguments of a Dockerfile, with build args and platforms.
pub(crate) fn global_args(request: &Request<'_>) -> Result<ArgEnv, LowerFailure> {
    let settings = request.settings;
    let target_platform = settings.platform.as_ref().unwrap_or(&settings.build_platform);
    let stage_names = request.dockerfile.stages.last().and_then(|stage| stage.written_name.clone());
    let target = request.target.map(str::to_owned).or(stage_names);
    let mut env = ArgEnv::default();
    let mut set = |prefix: &str, platform: &Platform| {
        let values = [
            ("PLATFORM", super::system::with_version(platform)),
            ("OS", platform.os.clone()),
            ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone().unwrap_or_default()),
        ];
        for (name, value) in values {
            set_default(&mut env, &settings.build_args, &format!("{prefix}{name}"), &value);
        }
    };
    set("BUILD", &settings.build_platform);
    set("TARGET", target_platform);
    let target = target.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
    set_default(&mut env, &settings.build_args, "TARGETSTAGE", &target);
    declared(request, env)
}

fn set_default(env: &mut ArgEnv, given: &BTreeMap<String, String>, name: &str, value: &str) {
    env.set(name, given.get(name).map_or(value, String::as_str));
}

fn declared(request: &Request<'_>, mut env: ArgEnv) -> Result<ArgEnv, LowerFailure> {
    let lexer = Lexer::new(request.dockerfile.escape);
    for instruction in &request.dockerfile.meta_args {
        for arg in &instruction.args {
            let value = match (request.settings.build_args.get(&arg.name), &arg.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let expanded = lexer.expand(default, &env).map_err(|error| {
                        wrong(
                            super::stages::location(request, instruction.span),
                            "bad-word",
                            error.to_string(),
                        )
                    })?;
                    Some(expanded.text)
                }
                (None, None) => None,
            };
            if let Some(value) = value {
                env.set(&arg.name, &value);
            }
        }
    }
    Ok(env)
}
